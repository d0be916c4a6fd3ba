"""What happens to a picture between its provider and its caller: another format or size, and a place in our own store.

Rules
- Pictures are given another form by Pillow alone, in a thread, and only as the dialect has planned (wire.finish.Finish).
- ``response_format: url``: the picture is kept in the objects room, and the caller gets a link to it. The link ends, is
  signed with a key that is kept beside the picture, and needs no virtual key: browsers and users are to open it.
- To bring a picture to a size is to scale it until it covers that size, and to cut off what is over, from both sides.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import struct
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import msgspec

from penstock.base.errors import UpstreamMalformed
from penstock.base.events import MediaMade
from penstock.dialects.openai_images import ImagesAsk
from penstock.gateway.house import House
from penstock.gateway.room import PICTURES, check_room
from penstock.gateway.settle import CallFacts
from penstock.objects.keeper import Keeper
from penstock.objects.names import new_id
from penstock.wire.finish import Finish
from penstock.wire.pictures import FORMATS

KIND = "picture"
OWNER = "links"
"""Links are followed without a key, so all links lie with one owner, who is no virtual key. They say whose the picture is."""
BYTES = "picture-bytes"
"""The picture itself, under the link's name, with the virtual key that had it made."""
PATH = "/v1/images/content/"
_QUALITY = 85
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, struct.error)
"""What Pillow raises for damaged pictures, SyntaxError for a broken PNG among it (found by fuzzing; Pillow 13)."""
_MOST_PIXELS = 64 * 1024 * 1024


def finishing(
    house: House, facts: CallFacts, finish: Finish
) -> Callable[[MediaMade], Awaitable[MediaMade]] | None:
    """What is to be done to each picture of this call; None: nothing."""
    ask = facts.ask
    by_link = isinstance(ask, ImagesAsk) and ask.fields.response_format == "url"
    if finish.idle and not by_link:
        return None

    async def finished(picture: MediaMade) -> MediaMade:
        if not finish.idle:
            picture = await asyncio.to_thread(converted, picture, finish)
        if by_link and isinstance(ask, ImagesAsk):
            link = await _kept(house, picture, facts.principal.name, ask.link_base)
            picture = msgspec.structs.replace(picture, url=link)
        return picture

    return finished


async def check_room_for_links(house: House, facts: CallFacts) -> None:
    """Raises Forbidden where a call's pictures are to be kept, and its key has too many already."""
    ask = facts.ask
    if isinstance(ask, ImagesAsk) and ask.fields.response_format == "url":
        most = house.config.images.max_total_bytes
        await check_room(house.keeper, BYTES, facts.principal.name, most, PICTURES)


def converted(picture: MediaMade, finish: Finish) -> MediaMade:
    """The picture in another form. Blocks. Raises UpstreamMalformed for what Pillow cannot read."""
    from PIL import Image  # noqa: PLC0415 - an extra: see tests/house/test_floors.py

    wanted = finish.format or picture.mime.removeprefix("image/")
    size = (finish.width, finish.height)
    try:
        with Image.open(BytesIO(base64.b64decode(picture.data))) as source:
            if source.width * source.height > _MOST_PIXELS:
                raise UpstreamMalformed("The provider's picture is too large to be given another form.")
            same = not all(size) or source.size == size
            if same and FORMATS.get(wanted) == picture.mime and finish.compression is None:
                return picture
            image: Any = source if same else _covering(source, size)
            out = BytesIO()
            if wanted == "jpeg" and image.mode not in ("RGB", "L"):
                image = image.convert("RGB")
            options: dict[str, Any] = {} if wanted == "png" else {"quality": finish.compression or _QUALITY}
            image.save(out, wanted.upper(), **options)
    except (*_UNREADABLE, Image.DecompressionBombError):
        raise UpstreamMalformed("The provider's picture cannot be read.") from None
    data = base64.b64encode(out.getvalue()).decode()
    return msgspec.structs.replace(picture, mime=FORMATS[wanted], data=data)


def _covering(source: Any, size: tuple[int, int]) -> Any:
    scale = max(size[0] / source.width, size[1] / source.height)
    box_width, box_height = size[0] / scale, size[1] / scale
    left, top = (source.width - box_width) / 2, (source.height - box_height) / 2
    return source.resize(size, box=(left, top, left + box_width, top + box_height))


async def _kept(house: House, picture: MediaMade, owner: str, base: str) -> str:
    """Keep it, and the link to it."""
    name, secret = new_id("img_"), secrets.token_hex(32)
    now_ms = int(house.clock.unix_s() * 1000)
    settings = house.config.images
    expires_s = now_ms // 1000 + settings.url_ttl_s
    keeper, expires_ms = house.keeper, expires_s * 1000
    body = base64.b64decode(picture.data)
    await keeper.put(BYTES, name, owner, meta={}, body=body, expires_ms=expires_ms)
    meta = {"mime": picture.mime, "secret": secret, "for": owner}
    await keeper.put(KIND, name, OWNER, meta=meta, expires_ms=expires_ms)
    base = settings.base_url or base
    return (
        f"{base.rstrip('/')}{PATH}{name}?expires={expires_s}&signature={signature(secret, name, expires_s)}"
    )


def signature(secret: str, name: str, expires_s: int) -> str:
    """Of one link."""
    return hmac.new(bytes.fromhex(secret), f"{name}\n{expires_s}".encode(), hashlib.sha256).hexdigest()


async def looked_up(
    keeper: Keeper, name: str, expires: str, signed: str, unix_s: float
) -> tuple[str, bytes] | None:
    """The picture behind a link: its kind and its bytes. None: there is none, the link is not ours, or it has ended."""
    if not expires.isdecimal() or len(expires) > 12 or int(expires) <= unix_s:
        return None
    stored = await keeper.get(KIND, name, OWNER)
    if stored is None:
        return None
    right = signature(stored.meta["secret"], name, int(expires))
    if not hmac.compare_digest(right.encode(), signed.encode("utf-8", "replace")):
        return None
    body = await keeper.body(BYTES, name, str(stored.meta["for"]))
    return None if body is None else (str(stored.meta["mime"]), body)

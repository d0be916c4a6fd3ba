"""Events -> what an OpenAI client reads: an ImagesResponse, or a stream of partial and completed pictures.

Rules
- Size and format are the picture's own, not what was asked for: they stand in its first bytes.
- Usage is told where tokens were counted. Of a stream with several pictures each says what it added itself.
"""

import base64
import binascii
from typing import Any

import msgspec

from penstock.base.errors import PenstockError
from penstock.base.events import Event, MediaMade, UsageSeen, fold
from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.dialects.openai_chat.errors import write_error
from penstock.dialects.openai_images.envelope import ImagesAsk
from penstock.wire.pictures import Facts, look
from penstock.wire.ports import Identity
from penstock.wire.sse import sse

_encode = msgspec.json.encode
_HEAD_CHARS = 64 * 1024


class ImagesWriter:
    """One reply."""

    content_type = b""

    def __init__(self, ask: ImagesAsk, identity: Identity) -> None:
        self._ask = ask
        self._identity = identity
        self._told = Usage()

    def write(self, events: list[Event]) -> bytes:
        """Stream frames for these events. A picture and the usage that came with it are one frame."""
        usage: Usage | None = None
        for event in events:
            if isinstance(event, UsageSeen):
                usage = event.usage
        pictures = [event for event in events if isinstance(event, MediaMade)]
        out: list[bytes] = []
        for picture in pictures:
            if picture.partial >= 0:
                out.append(self._partial(picture))
                continue
            added = None if usage is None else _less(usage, self._told)
            self._told, usage = usage or self._told, None
            out.append(self._completed(picture, added))
        return b"".join(out)

    def fail(self, error: PenstockError) -> bytes:
        """The honest end of a stream that failed after its start: the official client raises on it."""
        return sse(_encode({"type": "error", **write_error(error, self._identity.id)}), b"error")

    def whole(self, events: list[Event]) -> bytes:
        """The ImagesResponse."""
        folded = fold(events)
        data: list[dict[str, Any]] = []
        for picture in sorted(folded.media, key=lambda one: one.index):
            one: dict[str, Any] = {"url": picture.url} if picture.url else {"b64_json": picture.data}
            if picture.revised_prompt:
                one["revised_prompt"] = picture.revised_prompt
            data.append(one)
        body: dict[str, Any] = {"created": self._identity.created_s, "data": data}
        if folded.media:
            body |= self._facts(folded.media[0])
        if folded.usage is not None and folded.usage.total_tokens:
            body["usage"] = written(folded.usage)
        return _encode(body)

    def _partial(self, picture: MediaMade) -> bytes:
        name = f"image_{self._ask.kind}.partial_image"
        body = {
            "type": name,
            "b64_json": picture.data,
            "partial_image_index": picture.partial,
            "created_at": self._identity.created_s,
            **self._facts(picture),
        }
        return sse(_encode(body), name.encode())

    def _completed(self, picture: MediaMade, usage: Usage | None) -> bytes:
        name = f"image_{self._ask.kind}.completed"
        body = {
            "type": name,
            "b64_json": picture.data,
            "created_at": self._identity.created_s,
            **self._facts(picture),
        }
        if usage is not None and usage.total_tokens:
            body["usage"] = written(usage)
        return sse(_encode(body), name.encode())

    def _facts(self, picture: MediaMade) -> dict[str, Any]:
        facts = _look(picture)
        fields = self._ask.fields
        size = f"{facts.width}x{facts.height}" if facts.width else ""
        found = {
            "background": fields.background,
            "output_format": facts.mime.removeprefix("image/").partition("+")[0],
            "quality": fields.quality,
            "size": size,
        }
        return {name: value for name, value in found.items() if value not in (None, "auto", "")}


def _look(picture: MediaMade) -> Facts:
    head = picture.data[:_HEAD_CHARS]
    try:
        facts = look(base64.b64decode(head[: len(head) - len(head) % 4]))
    except (binascii.Error, ValueError):
        facts = None
    return facts or Facts(picture.mime)


def _less(usage: Usage, told: Usage) -> Usage:
    return msgspec.structs.replace(
        usage, **{unit: getattr(usage, unit) - getattr(told, unit) for unit in TOKEN_UNITS}
    )


def written(usage: Usage) -> dict[str, Any]:
    """``usage`` as OpenAI's images API counts it."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "text_tokens": usage.prompt_tokens - usage.input_image,
            "image_tokens": usage.input_image,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {
            "image_tokens": usage.output_image,
            "text_tokens": usage.completion_tokens - usage.output_image,
        },
        "total_tokens": usage.total_tokens,
    }

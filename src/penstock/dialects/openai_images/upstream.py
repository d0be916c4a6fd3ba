"""OpenAI's images API spoken to a provider: the neutral request -> its request, its pictures -> events.

One exchange, and one more for each picture that is told by its address (servers other than OpenAI's own do that).
"""

import base64
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.chat import Image
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamFault, UpstreamMalformed
from penstock.base.events import MediaMade
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.dialects.openai_chat.errors import read_error, read_error_in_200, read_page_in_200
from penstock.dialects.openai_images.forward import PATHS, headers
from penstock.dialects.openai_images.models import is_own
from penstock.dialects.openai_images.usage import UsageField, by_picture, read_usage
from penstock.wire.http import WireRequest
from penstock.wire.multipart import FormPart, write_form
from penstock.wire.pictures import decoded, look
from penstock.wire.ports import Elsewhere
from penstock.wire.strands import Handle, Made, Strand

_DIFFUSION = ("seed", "steps", "guidance", "strength", "negative_prompt", "aspect_ratio")
_PLAIN = (
    "size",
    "quality",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "input_fidelity",
    "style",
    "user",
)
_NOT_IN_FORM = ("moderation", "style")
"""The form of OpenAI's edits has no such fields (openai 3.52.0, ImageEditParams)."""
_NONE = Raw(b"")
_OK = range(200, 300)


class _Picture(Struct):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Reply(Struct):
    data: list[_Picture] | None = None
    usage: UsageField | None = None
    size: str | None = None
    quality: str | None = None
    model: str | None = None
    output_format: str | None = None
    error: Raw = _NONE


def refuse(request: ImagesRequest, target: Target) -> Rejected | None:
    """Pictures by their address, for an edit: the form takes bytes."""
    if request.mask is not None and request.mask.url and any(image.data for image in request.images):
        return Rejected(
            "image-url-unsupported",
            f"{target.name} takes the mask as data, where the pictures are data.",
            param="mask",
            caller_fault=True,
        )
    return None


def adjusted(request: ImagesRequest, target: Target) -> tuple[str, ...]:
    """What OpenAI's own models have no field for."""
    if not is_own(target.model):
        return ()
    names = (*_DIFFUSION, *_NOT_IN_FORM) if _is_form(request) else _DIFFUSION
    return tuple(f"{name}-dropped" for name in names if getattr(request, name) is not None)


def _is_form(request: ImagesRequest) -> bool:
    """An edit of bytes; an edit of addresses is JSON."""
    return bool(request.images) and not any(image.url for image in request.images)


def _fields(request: ImagesRequest, target: Target) -> dict[str, Any]:
    names = _PLAIN if is_own(target.model) else (*_PLAIN, *_DIFFUSION)
    if is_own(target.model) and _is_form(request):
        names = tuple(name for name in names if name not in _NOT_IN_FORM)
    fields: dict[str, Any] = {"model": target.model, "prompt": request.prompt, "n": request.n}
    fields |= {name: value for name in names if (value := getattr(request, name)) is not None}
    if not is_own(target.model):
        fields["response_format"] = "b64_json"
    return {**fields, **request.extras.get("openai", {})}


def write(request: ImagesRequest, target: Target, credential: str) -> WireRequest:
    """The one call."""
    fields = _fields(request, target)
    if not request.images:
        return WireRequest(
            b"POST",
            PATHS["generation"],
            headers(credential, b"application/json", stream=False),
            msgspec.json.encode(fields),
        )
    if not _is_form(request):
        fields["images"] = [{"image_url": _url(image)} for image in request.images]
        if request.mask is not None:
            fields["mask"] = {"image_url": _url(request.mask)}
        content_type, body = b"application/json", msgspec.json.encode(fields)
    else:
        parts = [FormPart(name, _text(value)) for name, value in fields.items()]
        name = "image" if len(request.images) == 1 else "image[]"
        parts += [_file(name, image, at) for at, image in enumerate(request.images)]
        if request.mask is not None:
            parts.append(_file("mask", request.mask, 0))
        content_type, body = write_form(parts)
    return WireRequest(b"POST", PATHS["edit"], headers(credential, content_type, stream=False), body)


def _url(image: Image) -> str:
    return image.url or f"data:{image.mime or 'image/png'};base64,{image.data}"


def _text(value: Any) -> bytes:
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode()).encode()


def _file(name: str, image: Image, at: int) -> FormPart:
    mime = image.mime or "image/png"
    data = decoded(image.data, name)
    return FormPart(name, data, f"{name.removesuffix('[]')}-{at}.{mime.partition('/')[2]}", mime)


def strand(request: ImagesRequest, target: Target, credential: str, _handle: Handle) -> Strand:
    """Ask, and fetch what is told by its address."""
    (answer,) = yield (write(request, target, credential),)
    if answer.status not in _OK:
        raise read_error(answer.status, answer.headers, answer.body)
    reply = _read(answer.body)
    found: list[MediaMade] = []
    urls = [one.url for one in reply.data or () if one.url and not one.b64_json]
    fetched = (yield tuple(Elsewhere(url) for url in urls)) if urls else ()
    bodies = iter(fetched)
    for one in reply.data or ():
        if one.b64_json:
            data, mime = one.b64_json, _mime(one.b64_json, reply.output_format)
        else:
            got = next(bodies, None)
            if got is None or got.status not in _OK:
                raise UpstreamFault("A picture that the provider made could not be fetched.")
            data = base64.b64encode(got.body).decode()
            mime = _mime(data, reply.output_format)
        found.append(MediaMade("image", mime, data, revised_prompt=one.revised_prompt or ""))
    usage = (
        by_picture(
            target.facts.price,
            len(found),
            reply.size or request.size,
            reply.quality or request.quality,
            "provider",
        )
        if reply.usage is None
        else read_usage(reply.usage, "provider")
    )
    return Made(tuple(found), usage, reply.model or "")


def _read(body: bytes) -> _Reply:
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise read_page_in_200(body) from None
    if reply.error and bytes(reply.error) != b"null":
        raise read_error_in_200(body)
    if not reply.data:
        raise UpstreamMalformed("The upstream answered 200 without a picture.")
    return reply


def _mime(data: str, said: str | None) -> str:
    head = data[:64]
    try:
        facts = look(base64.b64decode(head[: len(head) - len(head) % 4]))
    except ValueError:
        raise UpstreamMalformed("The upstream's picture is no base64.") from None
    return facts.mime if facts is not None else f"image/{said or 'png'}"

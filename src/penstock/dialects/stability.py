"""Stability's v2beta images: always multipart, one picture a call.

Rules
- n pictures are n calls; a seed is counted up, so that no two are the same.
- The model is the endpoint: stable-image-core, stable-image-ultra, sd3.5-..., or an edit's own name (inpaint, erase ...),
  each with a price of its own. Nothing here chooses another one.
- A size is the nearest aspect ratio; with Pillow the picture is then brought to that very size.
- 200 with CONTENT_FILTERED is a blurred picture: a refusal, whatever the status says.
- An edit's mask is white where the picture may change: OpenAI's alpha turned round (wire.pictures).

Source: Stability's OpenAPI as carried by third parties, read 2026-11-21 (shared wire facts 5.1).
"""

from base64 import b64decode
from functools import partial

import msgspec
from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamMalformed
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.picture_fees import fees_of_all
from penstock.base.usage import Usage
from penstock.wire.conversing import Conversing
from penstock.wire.http import Headers, WireRequest
from penstock.wire.multipart import FormPart, write_form
from penstock.wire.pictures import (
    Encoding,
    Shape,
    both,
    decoded,
    dropped,
    encoding,
    inverted_mask,
    picture_of,
    shape_by_ratio,
)
from penstock.wire.ports import Dialogue
from penstock.wire.refused import blocked, refusal
from penstock.wire.strands import Answer, Handle, Made, Strand, Strands

RATIOS = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
FORMATS = ("png", "jpeg", "webp")
MOST_SEED = 4_294_967_294
MOST_PROMPT_CHARS = 10_000
MOST_BYTES = 10 * 1024 * 1024
STRENGTH = 0.5
"""Of an edit whose caller does not say: as far from the picture as from the words."""
_LABEL = "Stability"
_OK = range(200, 300)


class _Endpoint(Struct, frozen=True):
    """One address. ``image``: "" takes none, "may", "must". ``shape``: it takes an aspect ratio."""

    path: str
    image: str = ""
    mask: bool = False
    prompt: bool = True
    shape: bool = False
    strength: bool = False
    guidance: bool = False
    negative: bool = True
    seed: bool = True
    formats: tuple[str, ...] = FORMATS


_SD3 = _Endpoint("generate/sd3", "may", shape=True, strength=True, guidance=True)
_EDITS = {
    "inpaint": _Endpoint("edit/inpaint", "must", mask=True),
    "erase": _Endpoint("edit/erase", "must", mask=True, prompt=False, negative=False),
    "remove-background": _Endpoint(
        "edit/remove-background", "must", prompt=False, negative=False, seed=False, formats=("png", "webp")
    ),
    "sketch": _Endpoint("control/sketch", "must"),
    "structure": _Endpoint("control/structure", "must"),
    "style": _Endpoint("control/style", "must", shape=True),
    "fast": _Endpoint("upscale/fast", "must", prompt=False, negative=False, seed=False),
    "conservative": _Endpoint("upscale/conservative", "must"),
}
_GENERATE = {
    "core": _Endpoint("generate/core", shape=True),
    "ultra": _Endpoint("generate/ultra", "may", shape=True, strength=True),
}
_MODELS = {
    "sd3": "sd3.5-large",
    "sd3-large": "sd3.5-large",
    "sd3-large-turbo": "sd3.5-large-turbo",
    "sd3-medium": "sd3.5-medium",
}
"""Stability serves the older names by these models (catalogue: the same prices)."""


def _endpoint(model: str) -> _Endpoint | None:
    name = model.removeprefix("stability/").removeprefix("stable-image-")
    if name.startswith("sd3"):
        return _SD3
    return _GENERATE.get(name) or _EDITS.get(name)


class Stability(Conversing):
    """UpstreamDialect and ConversingDialect of wire.ports."""

    name = "stability"
    default_base_url = "https://api.stability.ai"

    def refuse(self, request: ImagesRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        end = _endpoint(target.model)
        if end is None:
            return Rejected(
                "model-unsupported",
                f"Stability's {target.model} is asked for by none of our words; {', '.join([*_GENERATE, 'sd3.5-large', *_EDITS])} are.",
                param="model",
                caller_fault=True,
            )
        if end.image == "must" and not request.images:
            return _no("model", f"{target.name} edits a picture: ask at /v1/images/edits.")
        if not end.image and request.images:
            return _no(
                "image", f"{target.name} takes no picture; stability/sd3.5-large and stability/inpaint do."
            )
        if len(request.images) > 1:
            return _no("image", f"{target.name} takes one picture; {len(request.images)} were sent.")
        if request.mask is not None and not end.mask:
            return _no("mask", f"{target.name} takes no mask; stability/inpaint does.")
        if any(image.url for image in (*request.images, *((request.mask,) if request.mask else ()))):
            return _no("image", "Stability takes a picture's data, not its address.")
        if request.background == "transparent" and target.model != "remove-background":
            return _no(
                "background",
                f"{target.name} makes no transparent background; stability/remove-background does.",
            )
        if request.output_format in ("gif", "svg"):
            return _no("output_format", f"Stability makes no {request.output_format}.")
        if end.prompt and len(request.prompt) > MOST_PROMPT_CHARS:
            return _no(
                "prompt",
                f"Stability takes {MOST_PROMPT_CHARS} characters; the prompt has {len(request.prompt)}.",
            )
        return None

    def converse(self, request: ImagesRequest, target: Target, credential: str) -> Dialogue:
        """n calls for n pictures."""
        end = _endpoint(target.model)
        assert end is not None, "refused before"
        ratio = end.shape and not (request.images and end is _SD3)
        shape = shape_by_ratio(request, RATIOS) if ratio else Shape("", dropped_shape(request))
        coded = encoding(request, end.formats, shape.finish)
        makers = [
            partial(_strand, request, target, credential, end, (shape, coded), at) for at in range(request.n)
        ]
        words = (*shape.adjusted, *coded.adjusted, *_words(request, end))
        return Strands(makers, words, both(coded.finish, shape.finish))

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        try:
            said = msgspec.json.decode(body, type=_Error)
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = _Error()
        words = "; ".join(said.errors or ()) or said.name
        if status == 403 and said.name == "content_moderation":
            return blocked(_LABEL, words, status)
        return refusal(
            _LABEL, status, words, headers, code=said.name or None if 400 <= status < 429 else None
        )


STABILITY = Stability()


class _Error(Struct):
    name: str = ""
    errors: list[str] | None = None


class _Reply(Struct):
    image: str = ""
    finish_reason: str = ""
    seed: int = 0


def dropped_shape(request: ImagesRequest) -> tuple[str, ...]:
    """An endpoint that keeps the picture's own shape."""
    found = (("size", request.size), ("aspect_ratio", request.aspect_ratio))
    return tuple(f"{name}-dropped" for name, value in found if value is not None)


def _no(param: str, reason: str) -> Rejected:
    return Rejected(f"{param}-unsupported", reason, param=param, caller_fault=True)


def _words(request: ImagesRequest, end: _Endpoint) -> tuple[str, ...]:
    names = ["quality", "partial_images", "input_fidelity", "style", "steps", "user", "moderation"]
    for name, takes in (
        ("guidance", end.guidance),
        ("strength", end.strength and bool(request.images)),
        ("negative_prompt", end.negative),
        ("seed", end.seed),
    ):
        if not takes:
            names.append(name)
    words = dropped(request, *names)
    return words if end.prompt else ("prompt-dropped", *words)


def _strand(
    request: ImagesRequest,
    target: Target,
    credential: str,
    end: _Endpoint,
    made_as: tuple[Shape, Encoding],
    at: int,
    _handle: Handle,
) -> Strand:
    """One picture."""
    content_type, body = _form(request, target, end, made_as, at)
    headers: Headers = [
        (b"authorization", b"Bearer " + credential.encode()),
        (b"accept", b"image/*"),
        (b"content-type", content_type),
    ]
    path = f"/v2beta/stable-image/{end.path}".encode()
    (answer,) = yield (WireRequest(b"POST", path, headers, body),)
    return _made(answer, target)


def _form(
    request: ImagesRequest, target: Target, end: _Endpoint, made_as: tuple[Shape, Encoding], at: int
) -> tuple[bytes, bytes]:
    shape, coded = made_as
    texts: dict[str, str] = {"output_format": coded.format}
    if end.prompt:
        texts["prompt"] = request.prompt
    if shape.ratio:
        texts["aspect_ratio"] = shape.ratio
    if request.negative_prompt is not None and end.negative:
        texts["negative_prompt"] = request.negative_prompt
    if request.seed is not None and end.seed:
        texts["seed"] = str((request.seed + at) % (MOST_SEED + 1))
    if end is _SD3:
        name = target.model.removeprefix("stability/")
        texts["model"] = _MODELS.get(name, name)
        texts["mode"] = "image-to-image" if request.images else "text-to-image"
        if request.guidance is not None:
            texts["cfg_scale"] = f"{request.guidance:g}"
    if request.images and end.strength:
        texts["strength"] = f"{STRENGTH if request.strength is None else request.strength:g}"
    parts = [FormPart(name, value.encode()) for name, value in texts.items()]
    parts += [
        FormPart("image", decoded(image.data, "image"), "image", image.mime or "image/png")
        for image in request.images
    ]
    if request.mask is not None:
        parts.append(
            FormPart("mask", inverted_mask(decoded(request.mask.data, "mask")), "mask.png", "image/png")
        )
    return write_form(parts)


def _made(answer: Answer, target: Target) -> Made:
    if answer.status not in _OK:
        raise STABILITY.read_error(answer.status, answer.headers, answer.body)
    told = dict(answer.headers)
    data, finish = answer.body, told.get(b"finish-reason", b"").decode("latin-1")
    if told.get(b"content-type", b"").startswith(b"application/json"):
        try:
            reply = msgspec.json.decode(answer.body, type=_Reply)
            data, finish = b64decode(reply.image), reply.finish_reason
        except (msgspec.DecodeError, ValueError):
            raise UpstreamMalformed("Stability's reply is not what was promised.") from None
    if finish == "CONTENT_FILTERED":
        raise blocked(_LABEL, "the picture was withheld")
    picture, size = picture_of(data, _LABEL)
    return Made((picture,), Usage(fees=fees_of_all(target.facts.price, [size])), target.model)

"""fal's queue: submit, ask how it stands, fetch the result and its pictures.

Rules
- The queue's host (queue.fal.run), never the one that holds a call open for as long as a model runs.
- A failure stands inside COMPLETED: a status with an ``error``, or a result that answers with the error's own status.
- The model is the endpoint, edits too (fal-ai/flux/dev/image-to-image): nothing here chooses another one.
- A picture's address is fetched, and its size read from its bytes: fal charges by pixels.
- Whoever hangs up is told to the queue (PUT cancel_url).

Source: fal_client 1.0.3 and third-party copies of fal's OpenAPI, read 2026-11-21 (shared wire facts 5.2).
"""

import base64
import re
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.picture_fees import fees_of_all
from penstock.base.usage import Usage
from penstock.wire.conversing import Conversing
from penstock.wire.finish import Finish
from penstock.wire.http import Headers, WireRequest, header
from penstock.wire.pictures import (
    CONVERTS,
    both,
    data_url,
    decoded,
    dropped,
    encoding,
    inverted_mask,
    shape_by_ratio,
    size_of,
)
from penstock.wire.ports import Dialogue, Elsewhere
from penstock.wire.refused import blocked, clean, refusal
from penstock.wire.strands import Answer, Handle, Made, Strand, Strands, pictures_at

_LABEL = "fal"
_OK = range(200, 300)
_EDITS = re.compile(
    r"(?:^|[/-])(?:edit|image-to-image|inpaint|inpainting|redux|kontext|fill|img2img|remix|canny|depth|upscale\w*"
    r"|image-editing|control\w*)(?:[/-]|$)"
)
"""An endpoint whose name says that it takes a picture."""
_GPT = re.compile(r"^openai/gpt-image")
_BY_RATIO = re.compile(r"nano-banana|gemini|imagen|-ultra$|/ultra$")
"""Models that take an aspect ratio, not a size."""
RATIOS = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16", "9:21")
GRID = 16
STEPS = {"low": 12, "medium": 28, "high": 50, "xhigh": 50, "max": 50, "standard": 28, "hd": 50}
"""Of FLUX.1 [dev], whose own default is 28."""
FIRST_POLL_S = 0.2
LONGEST_POLL_S = 3.0
POLL_GROWS = 1.5
_BLOCKED = frozenset({"content_policy_violation", "nsfw_content_detected", "content_policy"})


class Fal(Conversing):
    """UpstreamDialect and ConversingDialect of wire.ports."""

    name = "fal"
    default_base_url = "https://queue.fal.run"

    def refuse(self, request: ImagesRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        edits = _EDITS.search(target.model) is not None
        if request.images and not edits:
            return _no("image", f"{target.name} takes words only: name the model's own endpoint for edits.")
        if edits and not request.images:
            return _no("model", f"{target.name} edits a picture: ask at /v1/images/edits.")
        if request.mask is not None and _GPT.match(target.model):
            return _no("mask", f"{target.name} is sent no mask.")
        if request.mask is not None and request.mask.url:
            return _no("mask", "A mask is turned round here, so it must come as data.")
        if request.background == "transparent" and not _GPT.match(target.model):
            return _no("background", f"{target.name} makes no transparent background.")
        if request.output_format in ("gif", "svg"):
            return _no("output_format", f"fal makes no {request.output_format}.")
        return None

    def converse(self, request: ImagesRequest, target: Target, credential: str) -> Dialogue:
        """One job."""
        body, adjusted, finish = _body(request, target)
        return Strands([partial(_strand, request, target, credential, body)], adjusted, finish)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        words, kinds = _said(body)
        kind = (header(headers, b"x-fal-error-type") or b"").decode("latin-1")
        if not _BLOCKED.isdisjoint({*kinds, kind}):
            return blocked(_LABEL, words, status)
        return refusal(_LABEL, status, words, headers, code=kind or next(iter(kinds), None))


FAL = Fal()


class _Queued(Struct):
    request_id: str = ""
    status_url: str = ""
    response_url: str = ""
    cancel_url: str = ""


class _Metrics(Struct):
    inference_time: float | None = None


class _Status(Struct):
    status: str = ""
    error: Any = None
    error_type: str | None = None
    metrics: _Metrics | None = None


class _Picture(Struct):
    url: str = ""


class _Result(Struct):
    images: list[_Picture] = field(default_factory=list[_Picture])
    image: _Picture | None = None
    has_nsfw_concepts: list[bool] | None = None
    prompt: str | None = None


class _Detail(Struct):
    msg: str = ""
    type: str = ""


class _Error(Struct):
    detail: str | list[_Detail] = ""
    error: Any = None


def _said(body: bytes) -> tuple[str, list[str]]:
    """The sentence and the kinds of an error body of any shape."""
    try:
        found = msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", []
    if isinstance(found.detail, str):
        return found.detail or (found.error if isinstance(found.error, str) else ""), []
    return "; ".join(one.msg for one in found.detail), [one.type for one in found.detail]


def _no(param: str, reason: str) -> Rejected:
    return Rejected(f"{param}-unsupported", reason, param=param, caller_fault=True)


def _body(request: ImagesRequest, target: Target) -> tuple[dict[str, Any], tuple[str, ...], Finish]:
    """What the model is given, the words for what was changed, and what is done to its pictures."""
    gpt = _GPT.match(target.model) is not None
    body: dict[str, Any] = {"prompt": request.prompt, "num_images": request.n}
    shaped, finish = _shape(request, target.model, body)
    coded = encoding(request, ("png", "jpeg", "webp") if gpt else ("png", "jpeg"), finish)
    body["output_format"] = coded.format
    names = ["partial_images", "input_fidelity", "style", "negative_prompt", "user"]
    adjusted: list[str] = [*shaped, *coded.adjusted]
    diffuses = not (gpt or _BY_RATIO.search(target.model))
    for name, said, takes in (
        ("seed", "seed", not gpt),
        ("guidance", "guidance_scale", diffuses),
        ("steps", "num_inference_steps", diffuses),
    ):
        value = getattr(request, name)
        if not takes:
            names.append(name)
        elif value is not None:
            body[said] = value
    if request.quality is not None:
        if gpt:
            body["quality"] = request.quality
        elif "flux/dev" in target.model and request.steps is None:
            body["num_inference_steps"] = STEPS[request.quality]
            adjusted.append("quality-approximated")
        else:
            names.append("quality")
    if request.moderation == "low" and not gpt:
        body["enable_safety_checker"] = False
        adjusted.append("moderation-approximated")
    if gpt and request.background is not None:
        body["background"] = request.background
    if request.images:
        urls = [data_url(image) for image in request.images]
        many = gpt or len(urls) > 1 or "nano-banana" in target.model
        body |= {"image_urls": urls} if many else {"image_url": urls[0]}
        if request.strength is not None:
            body["strength"] = request.strength
    else:
        names.append("strength")
    return body, (*adjusted, *dropped(request, *names)), both(coded.finish, finish)


def _shape(request: ImagesRequest, model: str, body: dict[str, Any]) -> tuple[tuple[str, ...], Finish]:
    """The size in the model's own words."""
    size = size_of(request.size)
    if _BY_RATIO.search(model):
        shape = shape_by_ratio(request, RATIOS)
        if shape.ratio:
            body["aspect_ratio"] = shape.ratio
        return shape.adjusted, shape.finish
    words: tuple[str, ...] = ()
    if size is None and request.aspect_ratio is not None and not request.images:
        preset = _PRESETS.get(request.aspect_ratio)
        body["image_size"] = preset or "square_hd"
        return (() if preset else ("aspect_ratio-dropped",)), Finish()
    if size is None:
        if not request.images:
            body["image_size"] = "square_hd"
        return words, Finish()
    width, height = (max(GRID, (side + GRID // 2) // GRID * GRID) for side in size)
    body["image_size"] = {"width": width, "height": height}
    if (width, height) == size:
        return words, Finish()
    if CONVERTS:
        return ("size-resized",), Finish(width=size[0], height=size[1])
    return ("size-approximated",), Finish()


_PRESETS = {
    "1:1": "square_hd",
    "3:4": "portrait_4_3",
    "9:16": "portrait_16_9",
    "4:3": "landscape_4_3",
    "16:9": "landscape_16_9",
}


def _strand(
    request: ImagesRequest, target: Target, credential: str, body: dict[str, Any], handle: Handle
) -> Strand:
    if request.mask is not None:
        mask = inverted_mask(decoded(request.mask.data, "mask"))
        body["mask_url"] = "data:image/png;base64," + base64.b64encode(mask).decode()
    headers: Headers = [
        (b"authorization", b"Key " + credential.encode()),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
    ]
    path = "/" + quote(target.model.removeprefix("fal/"), safe="/-._~")
    (answer,) = yield (WireRequest(b"POST", path.encode(), headers, msgspec.json.encode(body)),)
    queued = _read(answer, _Queued)
    if not (queued.status_url and queued.response_url):
        raise UpstreamMalformed("fal took the request, and did not say where to ask for it.")
    if queued.cancel_url:
        handle.stop = Elsewhere(queued.cancel_url, b"PUT")
    wait_s = FIRST_POLL_S
    while True:
        yield wait_s
        wait_s = min(wait_s * POLL_GROWS, LONGEST_POLL_S)
        (answer,) = yield (Elsewhere(queued.status_url),)
        status = _read(answer, _Status)
        if status.status == "COMPLETED":
            break
        if status.status not in ("IN_QUEUE", "IN_PROGRESS"):
            raise UpstreamMalformed(f"fal says that the job is {status.status[:40]!r}.")
    handle.stop = None
    if status.error:
        raise _failure(status)
    (answer,) = yield (Elsewhere(queued.response_url),)
    result = _read(answer, _Result)
    if any(result.has_nsfw_concepts or ()):
        raise blocked(_LABEL, "the picture was withheld")
    urls = [one.url for one in (*result.images, *((result.image,) if result.image else ())) if one.url]
    if not urls:
        raise UpstreamMalformed("fal's result has no picture.")
    seconds = 0.0 if status.metrics is None else status.metrics.inference_time or 0.0
    pictures, sizes = yield from pictures_at(urls, _LABEL)
    fees = fees_of_all(target.facts.price, sizes, quality=request.quality or "", seconds=seconds)
    return Made(pictures, Usage(fees=fees), target.model, queued.request_id)


def _failure(status: _Status) -> UpstreamError:
    """A job that ended in an error: told by its kind."""
    words, kinds = _said(msgspec.json.encode({"detail": status.error}))
    words = words or (status.error if isinstance(status.error, str) else "")
    if not _BLOCKED.isdisjoint({*kinds, status.error_type or ""}):
        return blocked(_LABEL, words)
    return UpstreamFault(
        f"fal's job failed: {clean(words) or 'without a reason'}", code=status.error_type or "job_failed"
    )


def _read(answer: Answer, kind: Any) -> Any:
    if answer.status not in _OK:
        raise FAL.read_error(answer.status, answer.headers, answer.body)
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamMalformed("fal's answer is not what was promised.") from None

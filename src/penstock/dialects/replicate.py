"""Replicate's predictions: made, waited for, asked after, and their pictures fetched before they are gone.

Rules
- ``Prefer: wait`` spares most polls; what is still running then is asked after.
- Models that make several pictures at once are told so (num_outputs, four at most); any other is called once a picture.
- A picture's address lasts an hour, so it is fetched at once.
- An edit's picture goes along as a data URL: Replicate takes 256 kB so; a larger one must be sent by its address.
- Whoever hangs up is told to the prediction (POST cancel).

Source: replicate 1.0.7 and Replicate's OpenAPI, read 2026-11-21 (shared wire facts 5.3).
"""

import base64
import re
from functools import partial
from typing import Any, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.picture_fees import fees_of_all
from penstock.base.usage import Usage
from penstock.wire.conversing import Conversing
from penstock.wire.finish import Finish
from penstock.wire.http import Headers, WireRequest
from penstock.wire.pictures import (
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

_LABEL = "Replicate"
_OK = range(200, 300)
_SEVERAL = re.compile(r"flux-(?:schnell|dev|krea-dev)|sdxl|stable-diffusion$")
"""Models that take num_outputs."""
_BY_PIXELS = re.compile(r"sdxl|stable-diffusion$")
"""Models that take width and height."""
MOST_OUTPUTS = 4
RATIOS = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21")
MOST_DATA_URL_BYTES = 256 * 1024
WAIT_S = 30
FIRST_POLL_S = 0.2
LONGEST_POLL_S = 3.0
POLL_GROWS = 1.5
_FORMATS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_FILTERED = re.compile(r"\bNSFW\b|flagged as sensitive|\(E005\)", re.IGNORECASE)
"""Replicate has one status for all failures; its filters' own words are all there is to tell them by."""


class Replicate(Conversing):
    """UpstreamDialect and ConversingDialect of wire.ports."""

    name = "replicate"
    default_base_url = "https://api.replicate.com/v1"

    def refuse(self, request: ImagesRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        if len(request.images) > 1:
            return _no("image", f"{target.name} is sent one picture; there are {len(request.images)}.")
        if request.mask is not None and request.mask.url:
            return _no("mask", "A mask is turned round here, so it must come as data.")
        for image in request.images:
            if not image.url and len(image.data) * 3 // 4 > MOST_DATA_URL_BYTES:
                return _no("image", "Replicate takes 256 kB of data; send a larger picture by its address.")
        if request.background == "transparent":
            return _no("background", f"{target.name} makes no transparent background.")
        if request.output_format in ("gif", "svg"):
            return _no("output_format", f"Replicate makes no {request.output_format}.")
        return None

    def converse(self, request: ImagesRequest, target: Target, credential: str) -> Dialogue:
        """One prediction, or as many as it takes."""
        given, adjusted, finish = _input(request, target.model)
        most = MOST_OUTPUTS if _SEVERAL.search(_bare(target.model)) else 1
        shares = [min(most, request.n - start) for start in range(0, request.n, most)]
        makers = [
            partial(_strand, request, target, credential, given, share, at * most)
            for at, share in enumerate(shares)
        ]
        return Strands(makers, adjusted, finish)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises. The shape is RFC 7807's."""
        try:
            said = msgspec.json.decode(body, type=_Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = _Problem()
        return refusal(_LABEL, status, said.detail or said.title, headers)


REPLICATE = Replicate()


class _Problem(Struct):
    title: str = ""
    detail: str = ""


class _Urls(Struct):
    get: str = ""
    cancel: str = ""


class _Metrics(Struct):
    predict_time: float | None = None


class _Prediction(Struct):
    id: str = ""
    status: str = ""
    output: Any = None
    error: Any = None
    metrics: _Metrics | None = None
    urls: _Urls | None = None


def _no(param: str, reason: str) -> Rejected:
    return Rejected(f"{param}-unsupported", reason, param=param, caller_fault=True)


def _bare(model: str) -> str:
    """Without its version."""
    return model.removeprefix("replicate/").partition(":")[0]


def _input(request: ImagesRequest, model: str) -> tuple[dict[str, Any], tuple[str, ...], Finish]:
    """What the model is given, the words for what was changed, and what is done to its pictures."""
    given: dict[str, Any] = {"prompt": request.prompt}
    adjusted: list[str] = []
    finish, size = Finish(), size_of(request.size)
    if size is not None and _BY_PIXELS.search(_bare(model)):
        given["width"], given["height"] = size
    elif not request.images or request.size is not None or request.aspect_ratio is not None:
        shape = shape_by_ratio(request, RATIOS, "1:1")
        given["aspect_ratio"], finish = shape.ratio, shape.finish
        adjusted += shape.adjusted
    coded = encoding(request, ("png", "webp", "jpeg"), finish, compresses=True)
    given["output_format"] = _FORMATS[coded.format]
    adjusted += coded.adjusted
    if request.output_compression is not None and coded.format != "png" and coded.finish.idle:
        given["output_quality"] = request.output_compression
    for name, said in (
        ("guidance", "guidance"),
        ("steps", "num_inference_steps"),
        ("negative_prompt", "negative_prompt"),
        ("strength", "prompt_strength"),
    ):
        if (value := getattr(request, name)) is not None:
            given[said] = value
    if request.moderation == "low":
        given["disable_safety_checker"] = True
        adjusted.append("moderation-approximated")
    if request.images:
        given["image"] = data_url(request.images[0])
    adjusted += dropped(request, "quality", "partial_images", "input_fidelity", "style", "user")
    return given, tuple(adjusted), both(coded.finish, finish)


def _strand(
    request: ImagesRequest,
    target: Target,
    credential: str,
    given: dict[str, Any],
    share: int,
    first: int,
    handle: Handle,
) -> Strand:
    """``share`` pictures, the first of which is the ``first``-th of the call."""
    given = dict(given)
    if _SEVERAL.search(_bare(target.model)):
        given["num_outputs"] = share
    if request.seed is not None:
        given["seed"] = request.seed + first
    if request.mask is not None:
        mask = inverted_mask(decoded(request.mask.data, "mask"))
        given["mask"] = "data:image/png;base64," + base64.b64encode(mask).decode()
    (answer,) = yield (_create(target.model, credential, given),)
    one = _read(answer)
    wait_s = FIRST_POLL_S
    while one.status in ("starting", "processing"):
        urls = one.urls or _Urls()
        if not urls.get:
            raise UpstreamMalformed("Replicate did not say where to ask after its prediction.")
        handle.stop = Elsewhere(urls.cancel, b"POST") if urls.cancel else None
        yield wait_s
        wait_s = min(wait_s * POLL_GROWS, LONGEST_POLL_S)
        (answer,) = yield (Elsewhere(urls.get),)
        one = _read(answer)
    handle.stop = None
    if one.status != "succeeded":
        raise _failure(one)
    pictures, sizes = yield from pictures_at(_addresses(one.output), _LABEL)
    seconds = 0.0 if one.metrics is None else one.metrics.predict_time or 0.0
    return Made(
        pictures, Usage(fees=fees_of_all(target.facts.price, sizes, seconds=seconds)), target.model, one.id
    )


def _create(model: str, credential: str, given: dict[str, Any]) -> WireRequest:
    headers: Headers = [
        (b"authorization", b"Bearer " + credential.encode()),
        (b"content-type", b"application/json"),
        (b"prefer", b"wait=%d" % WAIT_S),
    ]
    bare, _, version = model.removeprefix("replicate/").partition(":")
    if version:
        return WireRequest(
            b"POST",
            b"/predictions",
            headers,
            msgspec.json.encode({"version": f"{bare}:{version}", "input": given}),
        )
    place = "deployments" if bare.startswith("deployments/") else "models"
    path = f"/{place}/{quote(bare.removeprefix('deployments/'), safe='/-._~')}/predictions"
    return WireRequest(b"POST", path.encode(), headers, msgspec.json.encode({"input": given}))


def _addresses(output: Any) -> list[str]:
    """A model's output is an address, a list of them, or whatever it likes."""
    found = cast("list[Any]", output) if isinstance(output, list) else [output]
    urls = [one for one in found if isinstance(one, str) and one.startswith(("https://", "http://", "data:"))]
    if not urls:
        raise UpstreamMalformed("Replicate's prediction has no picture.")
    return urls


def _failure(one: _Prediction) -> UpstreamError:
    words = one.error if isinstance(one.error, str) else ""
    if _FILTERED.search(words):
        return blocked(_LABEL, words)
    if one.status not in ("failed", "canceled", "aborted"):
        return UpstreamMalformed(f"Replicate says that the prediction is {one.status[:40]!r}.")
    return UpstreamFault(
        f"Replicate's prediction {one.status}: {clean(words) or 'without a reason'}",
        code=f"prediction_{one.status}",
    )


def _read(answer: Answer) -> _Prediction:
    if answer.status not in _OK:
        raise REPLICATE.read_error(answer.status, answer.headers, answer.body)
    try:
        return msgspec.json.decode(answer.body, type=_Prediction)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamMalformed("Replicate's answer is not what was promised.") from None

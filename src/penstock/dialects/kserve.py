"""KServe's inference protocol, version 2, as NVIDIA Triton and others speak it: embeddings, classifiers, images.

Theory
------
Such a server knows tensors, not texts: which tensor takes the words and which gives the answer stands in the provider's
``tensors`` (config). Words go in as BYTES of shape [n, 1]; vectors come out as floats of shape [n, D], a classifier's scores as
floats of shape [n, C] beside its labels, pictures as BYTES (base64 of a file) of shape [n] or as UINT8 pixels of [n, H, W, 3].

Facts: kserve.github.io, Open Inference Protocol V2, REST (``POST /v2/models/{model}[/versions/{version}]/infer``), read 2026-11.
It counts nothing that is billed: what such a call costs is known where the model has a price per request or per input.
"""

import struct
import time
import zlib
from base64 import b64encode
from typing import Any, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from penstock.base.chat import Text
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.base.events import Event, Finished, Judged, MediaMade, Started, Stopped, UsageSeen, VectorMade
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.ranking import ModerationsRequest
from penstock.base.usage import Usage
from penstock.wire.floats import packed
from penstock.wire.gathered import Gathered
from penstock.wire.http import Headers, WireRequest
from penstock.wire.retry_hint import retry_after_s

DEFAULT_INPUT = "TEXT"
_FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})
_encode = msgspec.json.Encoder().encode


class _Tensor(Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] = field(default_factory=list[Any])


class _Answer(Struct, gc=False):
    outputs: list[_Tensor]
    model_name: str = ""
    id: str = ""


_decode = msgspec.json.Decoder(_Answer).decode


def _setting(target: Target, name: str, default: str = "") -> str:
    return target.options.get(f"tensors.{name}", default)


def _words_in(name: str, words: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(words), 1], "datatype": "BYTES", "data": words}


def _request(
    target: Target, credential: str, inputs: list[dict[str, Any]], adjusted: list[str]
) -> WireRequest:
    model, _, version = target.model.partition("@")
    path = f"/v2/models/{quote(model, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
    ]
    if credential:
        headers.append((b"authorization", b"Bearer " + credential.encode()))
    body: dict[str, Any] = {"inputs": inputs}
    output = _setting(target, "output")
    if output:
        body["outputs"] = [{"name": output}]
    return WireRequest(b"POST", f"{path}/infer".encode(), headers, _encode(body), tuple(adjusted))


class _KServe:
    """What the three have in common."""

    name = "kserve"
    default_base_url = "http://127.0.0.1:8000"

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """``{"error": "words"}`` with a status. Never raises."""
        try:
            said = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
        words = cast("dict[str, Any]", said).get("error", "") if isinstance(said, dict) else ""
        shown = " ".join(str(words)[:2000].split())[:500]
        told = f"The inference server answered {status}" + (f": {shown}" if shown else " without a reason.")
        if status in (401, 403):
            return UpstreamAuthFailed(
                "The inference server refused the gateway's credential.", upstream_status=status
            )
        if status == 404 or (status == 400 and "unknown model" in shown):
            return UpstreamNotFound(told, upstream_status=status)
        if status == 413:
            return UpstreamTooLarge(told, upstream_status=status)
        wait = retry_after_s(headers, time.time())
        if status == 429:
            return UpstreamRateLimited(told, upstream_status=status, retry_after_s=wait)
        if status >= 500 or status in (408, 425):
            return UpstreamFault(told, upstream_status=status, retry_after_s=wait)
        return UpstreamBadRequest(told, status=status, upstream_status=status)


class _Reader(Gathered):
    """A whole reply -> its one answering tensor -> events."""

    def __init__(self, target: Target, kind: str) -> None:
        super().__init__()
        self._target = target
        self._kind = kind

    def read(self, body: bytes) -> list[Event]:
        """All of it. Raises UpstreamMalformed."""
        try:
            answer = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamMalformed(f"The inference server's reply cannot be read: {error}") from None
        tensor = self._answering(answer.outputs)
        made = {"embeddings": _vectors, "moderations": _verdicts, "images": _pictures}[self._kind](
            tensor, self._target
        )
        fees = (("image", len(made)),) if self._kind == "images" else ()
        usage = UsageSeen(Usage(source="counted", fees=fees))
        # Nothing is counted in tokens: a usage of nothing says so, and a price per request or picture still counts.
        return [Started(answer.model_name, answer.id), *made, usage, Stopped("stop"), Finished()]

    def _answering(self, outputs: list[_Tensor]) -> _Tensor:
        wanted = _setting(self._target, "output")
        for tensor in outputs:
            if tensor.name == wanted or (not wanted and _fits(tensor, self._kind)):
                return tensor
        names = ", ".join(f"{one.name} {one.datatype}{one.shape}" for one in outputs) or "none"
        raise UpstreamMalformed(
            f"No tensor of the inference server's reply holds {self._kind}: {names}. Name it in tensors.output."
        )


def _fits(tensor: _Tensor, kind: str) -> bool:
    if kind == "images":
        return tensor.datatype in ("BYTES", "UINT8")
    return tensor.datatype in _FLOATS and len(tensor.shape) >= 2


def _rows(tensor: _Tensor) -> list[list[float]]:
    """A float tensor of [n, ..., D] as n rows; nested or flat, as servers write it. Raises UpstreamMalformed."""
    flat: list[float] = []
    stack: list[Any] = [tensor.data]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack.extend(reversed(cast("list[Any]", one)))
        elif isinstance(one, int | float):
            flat.append(float(one))
        else:
            raise UpstreamMalformed(f"The tensor {tensor.name} holds something that is no number.")
    count = tensor.shape[0] if tensor.shape else 0
    if count <= 0 or not flat or len(flat) % count:
        raise UpstreamMalformed(
            f"The tensor {tensor.name} has {len(flat)} numbers for the shape {tensor.shape}."
        )
    width = len(flat) // count
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _vectors(tensor: _Tensor, target: Target) -> list[Event]:
    return [VectorMade(index, packed(row)) for index, row in enumerate(_rows(tensor))]


def _verdicts(tensor: _Tensor, target: Target) -> list[Event]:
    rows = _rows(tensor)
    labels = [label.strip() for label in _setting(target, "labels").split(",") if label.strip()]
    threshold = float(_setting(target, "threshold", "0.5"))
    if len(labels) != len(rows[0]):
        raise UpstreamMalformed(
            f"The tensor {tensor.name} has {len(rows[0])} scores an input, and tensors.labels names {len(labels)}."
        )
    judged: list[Event] = []
    for index, row in enumerate(rows):
        scores = dict(zip(labels, row, strict=True))
        categories = {label: score >= threshold for label, score in scores.items()}
        judged.append(Judged(index, any(categories.values()), categories, scores))
    return judged


def _pictures(tensor: _Tensor, target: Target) -> list[Event]:
    if tensor.datatype == "BYTES":
        texts = [
            str(cast("list[Any]", one)[0] if isinstance(one, list) and one else cast("Any", one))
            for one in tensor.data
        ]
        return [
            MediaMade("image", _setting(target, "mime", "image/png"), data, index=index)
            for index, data in enumerate(texts)
        ]
    if len(tensor.shape) != 4 or tensor.shape[3] != 3:
        raise UpstreamMalformed(
            f"The pixels of {tensor.name} are of {tensor.shape}, not [n, height, width, 3]."
        )
    _, height, width, _ = tensor.shape
    made: list[Event] = []
    for index, row in enumerate(_rows(tensor)):
        try:
            pixels = bytes([int(value) for value in row])
        except ValueError:
            raise UpstreamMalformed(f"The pixels of {tensor.name} are not from 0 to 255.") from None
        made.append(
            MediaMade("image", "image/png", b64encode(png(pixels, width, height)).decode(), index=index)
        )
    return made


def png(pixels: bytes, width: int, height: int) -> bytes:
    """RGB pixels as a PNG file (ISO/IEC 15948): one IHDR, one IDAT without filters, one IEND."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    stride = 3 * width
    lines = b"".join(b"\0" + pixels[at : at + stride] for at in range(0, stride * height, stride))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


class KServeEmbeddings(_KServe):
    """UpstreamDialect for embeddings."""

    def refuse(self, request: EmbeddingsRequest, target: Target) -> Rejected | None:
        """All but words."""
        for index, one in enumerate(request.inputs):
            if not isinstance(one, str):
                why = f"{target.name} takes words. Send them, or configure the provider's `tokenizer` for tokens."
                return Rejected("input-unsupported", why, param=f"input[{index}]", caller_fault=True)
        return None

    def write_request(self, request: EmbeddingsRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        given = (("dimensions", request.dimensions), ("task", request.task), ("title", request.title))
        adjusted = [f"{name}-dropped" for name, value in (*given, ("user", request.user)) if value]
        words = [one for one in request.inputs if isinstance(one, str)]
        name = _setting(target, "input", DEFAULT_INPUT)
        return _request(target, credential, [_words_in(name, words)], adjusted)

    def reader(self, target: Target, *, stream: bool) -> _Reader:
        """A reader for one reply."""
        return _Reader(target, "embeddings")


class KServeModerations(_KServe):
    """UpstreamDialect for moderations: any classifier."""

    def refuse(self, request: ModerationsRequest, target: Target) -> Rejected | None:
        """All but words; and a classifier without labels."""
        if not _setting(target, "labels"):
            why = f"What {target.name}'s scores are for is not known: name its classes in the provider's tensors.labels."
            return Rejected("labels-missing", why)
        if any(not isinstance(part, Text) for parts in request.inputs for part in parts):
            return Rejected(
                "image-unsupported", f"{target.name} takes words.", param="input", caller_fault=True
            )
        return None

    def write_request(self, request: ModerationsRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        words = ["\n".join(part.text for part in parts if isinstance(part, Text)) for parts in request.inputs]
        return _request(target, credential, [_words_in(_setting(target, "input", DEFAULT_INPUT), words)], [])

    def reader(self, target: Target, *, stream: bool) -> _Reader:
        """A reader for one reply."""
        return _Reader(target, "moderations")


class KServeImages(_KServe):
    """UpstreamDialect for images: one prompt for each picture of the batch."""

    def refuse(self, request: ImagesRequest, target: Target) -> Rejected | None:
        """Edits: what a model wants of a picture stands in no standard."""
        if request.images:
            why = f"{target.name} makes pictures of words; it cannot be asked to edit one."
            return Rejected("edit-unsupported", why, param="image", caller_fault=True)
        return None

    def write_request(self, request: ImagesRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request: what the configuration names a tensor for is sent, the rest is told as dropped."""
        inputs = [_words_in(_setting(target, "input", DEFAULT_INPUT), [request.prompt] * request.n)]
        adjusted: list[str] = []
        wide, _, high = (request.size or "").partition("x")
        numbers: dict[str, Any] = {
            "seed": request.seed,
            "steps": request.steps,
            "guidance": request.guidance,
            "width": int(wide) if wide.isdigit() else None,
            "height": int(high) if high.isdigit() else None,
        }
        for name, value in numbers.items():
            if value is None:
                continue
            tensor = _setting(target, name)
            if not tensor:
                adjusted.append(f"{'size' if name in ('width', 'height') else name}-dropped")
                continue
            kind = "FP32" if isinstance(value, float) else "INT32"
            column = {"name": tensor, "shape": [request.n, 1], "datatype": kind, "data": [value] * request.n}
            inputs.append(column)
        if request.negative_prompt:
            tensor = _setting(target, "negative_prompt")
            if tensor:
                inputs.append(_words_in(tensor, [request.negative_prompt] * request.n))
            else:
                adjusted.append("negative_prompt-dropped")
        rest = ("quality", "background", "output_format", "output_compression", "style")
        adjusted += [
            f"{name}-dropped" for name in rest if getattr(request, name) not in (None, "auto", "png")
        ]
        return _request(target, credential, inputs, list(dict.fromkeys(adjusted)))

    def reader(self, target: Target, *, stream: bool) -> _Reader:
        """A reader for one reply."""
        return _Reader(target, "images")


KSERVE_EMBEDDINGS = KServeEmbeddings()
KSERVE_MODERATIONS = KServeModerations()
KSERVE_IMAGES = KServeImages()

"""Gemini's picture models: ``generateContent`` with responseModalities IMAGE, one call a picture.

Rules
- n pictures are n calls. A size is an aspect ratio and, from Gemini 3 on, a resolution (1K, 2K, 4K).
- A picture comes as PNG, or as the model likes; another format is made here, if Pillow is installed.
- A mask has no word here: to edit all of the picture would be another request, so it is refused.
"""

from functools import partial
from typing import Any

import msgspec

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamFault
from penstock.base.events import Event, MediaMade, Started, Stopped, TextDelta, UsageSeen
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.picture_fees import picture_fees
from penstock.base.usage import Usage
from penstock.dialects.gemini import errors
from penstock.dialects.gemini.media import media_part
from penstock.dialects.gemini.reply import GeminiReader
from penstock.dialects.gemini.request import path_of, request_headers
from penstock.wire.conversing import Conversing
from penstock.wire.http import Headers, WireRequest
from penstock.wire.pictures import both, dropped, encoding, shape_by_ratio, size_of
from penstock.wire.ports import Dialogue
from penstock.wire.refused import blocked
from penstock.wire.strands import Handle, Made, Strand, Strands

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_OK = range(200, 300)
_2K, _4K = 1536, 3072
"""The longer side above which so much is asked for."""
_LOOSE = [
    {"category": f"HARM_CATEGORY_{name}", "threshold": "BLOCK_ONLY_HIGH"}
    for name in ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
]


class GeminiImages(Conversing):
    """UpstreamDialect and ConversingDialect, for AI Studio or Vertex."""

    def __init__(self, name: str, label: str, default_base_url: str, *, vertex: bool) -> None:
        self.name = name
        self.default_base_url = default_base_url
        self._label = label
        self._vertex = vertex

    def refuse(self, request: ImagesRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        if request.mask is not None:
            return _no(
                "mask", "Gemini edits a whole picture: there is no mask. Say in the prompt what may change."
            )
        if request.background == "transparent":
            return _no("background", "Gemini makes no transparent background.")
        if request.output_format in ("gif", "svg"):
            return _no("output_format", f"Gemini makes no {request.output_format}.")
        if self._vertex and not target.options.get("project"):
            return Rejected("no-project", f"{target.name} has no `project` in its configuration.")
        for image in request.images:
            part = media_part(image, self._vertex)
            if isinstance(part, Rejected):
                return part
        return None

    def converse(self, request: ImagesRequest, target: Target, credential: str) -> Dialogue:
        """n calls for n pictures."""
        shape = shape_by_ratio(request, RATIOS)
        coded = encoding(request, ("png",), shape.finish)
        words = dropped(
            request,
            "quality",
            "partial_images",
            "input_fidelity",
            "style",
            "negative_prompt",
            "steps",
            "guidance",
            "strength",
            "user",
        )
        body = msgspec.json.encode(self._body(request, target, shape.ratio))
        makers = [partial(self._strand, request, target, credential, body, at) for at in range(request.n)]
        return Strands(makers, (*shape.adjusted, *coded.adjusted, *words), both(coded.finish, shape.finish))

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return errors.read_error(self._label, status, headers, body)

    def _body(self, request: ImagesRequest, target: Target, ratio: str) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        for image in request.images:
            part = media_part(image, self._vertex)
            assert not isinstance(part, Rejected), "refused before"
            parts.append(part.value)
        parts.append({"text": request.prompt})
        config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
        shape: dict[str, Any] = {}
        if ratio:
            shape["aspectRatio"] = ratio
        longer = max(size_of(request.size) or (0, 0))
        if longer > _2K and "gemini-2" not in target.model:
            shape["imageSize"] = "4K" if longer > _4K else "2K"
        if shape:
            config["imageConfig"] = shape
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        if request.moderation == "low":
            body["safetySettings"] = _LOOSE
        if not self._vertex:
            body["store"] = False
        return body

    def _strand(
        self,
        request: ImagesRequest,
        target: Target,
        credential: str,
        body: bytes,
        at: int,
        _handle: Handle,
    ) -> Strand:
        """One picture."""
        if request.seed is not None:
            value = msgspec.json.decode(body)
            value["generationConfig"]["seed"] = request.seed + at
            body = msgspec.json.encode(value)
        (answer,) = yield (
            WireRequest(
                b"POST",
                path_of(target, self._vertex, "generateContent"),
                request_headers(credential, self._vertex, stream=False),
                body,
            ),
        )
        if answer.status not in _OK:
            raise self.read_error(answer.status, answer.headers, answer.body)
        reader = GeminiReader(self._label, stream=False)
        return self._made([*reader.feed(answer.body), *reader.close()], target)

    def _made(self, events: list[Event], target: Target) -> Made:
        pictures: list[MediaMade] = []
        usage: Usage | None = None
        why, native, model, reply_id, words = "", "", "", "", ""
        for event in events:
            match event:
                case MediaMade(kind="image"):
                    pictures.append(event)
                case UsageSeen():
                    usage = event.usage
                case Stopped():
                    why, native = event.why, event.native
                case Started():
                    model, reply_id = event.model, event.id
                case TextDelta(text=text):
                    words += text
                case _:
                    pass
        if not pictures and why == "content_filter":
            raise blocked(self._label, native)
        if not pictures:
            raise UpstreamFault(
                f"{self._label} made no picture ({native or 'no reason'}): {errors.clean(words)[:200]}",
                code="no_image",
            )
        if usage is None:
            usage = Usage(fees=picture_fees(target.facts.price, len(pictures)))
        return Made(tuple(pictures), usage, model, reply_id)


def _no(param: str, reason: str) -> Rejected:
    return Rejected(f"{param}-unsupported", reason, param=param, caller_fault=True)


GEMINI_IMAGES = GeminiImages("gemini", "Gemini", "https://generativelanguage.googleapis.com", vertex=False)
VERTEX_IMAGES = GeminiImages("vertex", "Vertex AI", "https://aiplatform.googleapis.com", vertex=True)

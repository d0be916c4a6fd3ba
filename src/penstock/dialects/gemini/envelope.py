"""The envelope of a ``generateContent`` call: body -> Ask, without reading the conversation.

The model, the verb and the framing stand in the path, so they come from the caller object; the body tells the rest.
"""

import re
from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.bulk import size_of
from penstock.base.chat import Ask, Effort, Reasoning
from penstock.base.errors import BadRequest
from penstock.base.media_size import Medium, medium_bytes
from penstock.dialects.gemini.fields import Json, Reader, first, named, wrong
from penstock.wire.preferences import read_chain
from penstock.wire.unreadable import unreadable

Framing = Literal["whole", "sse", "array"]
GATEWAY_FIELDS = ("models", "fallbacks", "provider", "penstock")
"""Fields that Google does not know: they never go on."""
_EFFORT: dict[str, Effort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
THINKING = "generationConfig.thinkingConfig"
_LEAST_BUDGET = -1
MAX_CANDIDATES = 8
_CONTENTS_HINT = 'Send [{"role": "user", "parts": [{"text": "Hello"}]}].'


class GeminiAsk(Ask):
    """An Ask that knows how its caller wants to be answered. ``begun``: a stream's first bytes were made."""

    framing: Framing = "whole"
    vertex: bool = False
    version: str = "v1beta"
    thoughts: bool = False
    """The caller asked to see thoughts; Google shows none unasked."""
    begun: bool = False
    counting: bool = False
    """Its tokens are asked for, not an answer."""
    documents: tuple[tuple[str, str, int], ...] = ()
    """Its documents: where each stands, its type, and how many characters of base64 it has."""


class _Blob(Struct, gc=False):
    mime_type: str | None = None
    mime: str | None = field(default=None, name="mimeType")
    data: Raw = Raw(b"")
    file_uri: str | None = None
    uri: str | None = field(default=None, name="fileUri")


class _Part(Struct, gc=False):
    inline_data: _Blob | None = None
    inline: _Blob | None = field(default=None, name="inlineData")
    file_data: _Blob | None = None
    file: _Blob | None = field(default=None, name="fileData")


class _Content(Struct, gc=False):
    parts: list[_Part | str] | _Part | str | None = None


_CONTENTS: msgspec.json.Decoder[list[_Content | str] | _Content | str] = msgspec.json.Decoder(
    list[_Content | str] | _Content | str
)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_FUNCTIONS = re.compile(rb'"function_?[dD]eclarations"')
_MEDIA = re.compile(rb'"(?:inline_?[dD]ata|file_?[dD]ata)"')


def read_envelope(
    body: bytes, *, dialect: str, model: str, framing: Framing, vertex: bool, version: str
) -> GeminiAsk:
    """Body -> GeminiAsk. Raises BadRequest naming the field, or the position of what is not JSON."""
    if not model:
        raise BadRequest("The path names no model.", param="model", hint="Use /v1beta/models/NAME:VERB.")
    fields = top_level(body)
    contents = fields.get("contents")
    if contents is None or _is_empty(contents):
        raise wrong("contents", "is missing or empty", _CONTENTS_HINT)
    if first(contents) not in b'[{"':
        raise wrong("contents", "is neither a list, an object nor a string", _CONTENTS_HINT)
    ask = GeminiAsk(dialect, body, model, framing != "whole", messages=contents)
    ask.framing, ask.vertex, ask.version = framing, vertex, version
    ask.input_bytes = len(contents)
    _read_config(ask, fields.get("generationConfig"))
    for name in ("systemInstruction", "tools"):
        if name in fields:
            ask.input_bytes += len(fields[name])
    tools = fields.get("tools")
    if tools is not None and _FUNCTIONS.search(memoryview(tools)) is not None:
        ask.needs |= {"tools"}
    ask.gateway_fields = tuple(name for name in GATEWAY_FIELDS if name in fields)
    if ask.gateway_fields:
        read_chain(ask, fields)
    if "labels" in fields:
        _read_labels(ask, fields["labels"])
    if _MEDIA.search(memoryview(contents)) is not None:
        _read_media(ask, contents)
    return ask


def _is_empty(contents: Raw) -> bool:
    start = bytes(memoryview(contents)[:64])
    return len(contents) < len(start) + 1 and b"".join(start.split()) in (b"[]", b'""')


def top_level(body: bytes) -> dict[str, Raw]:
    """The body's fields by camelCase name. Raises BadRequest."""
    try:
        return named(_FIELDS.decode(body), "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, body) from None


def _read_config(ask: GeminiAsk, raw: Raw | None) -> None:
    if raw is None:
        return
    config = Reader().message("GenerationConfig", raw, "generationConfig")
    cap = config.get("maxOutputTokens")
    if cap is not None and cap > 0:
        ask.max_tokens = cap
    count = config.get("candidateCount")
    if count is not None:
        if not 1 <= count <= MAX_CANDIDATES:
            raise wrong("generationConfig.candidateCount", f"is {count}", "Send 1 to 8.")
        ask.n = count
    if "responseSchema" in config or "responseJsonSchema" in config:
        ask.needs |= {"json_schema"}
    thinking = config.get("thinkingConfig")
    if thinking is not None:
        ask.thoughts = thinking.get("includeThoughts") is True
        ask.reasoning = read_reasoning(thinking)


def read_reasoning(thinking: Json) -> Reasoning | None:
    """``thinkingConfig`` as Reasoning; None if nothing is asked. Raises BadRequest for what Google refuses, too."""
    budget, level, shown = (
        thinking.get("thinkingBudget"),
        thinking.get("thinkingLevel"),
        thinking.get("includeThoughts"),
    )
    if level == "THINKING_LEVEL_UNSPECIFIED":
        level = None
    exclude = shown is not True
    if budget is not None and level is not None:
        raise wrong(THINKING, "has both thinkingBudget and thinkingLevel", "Send one of them.")
    if budget is not None:
        if budget < _LEAST_BUDGET:
            raise wrong(f"{THINKING}.thinkingBudget", f"is {budget}", "Send -1 (dynamic), 0 (off) or more.")
        return Reasoning(max_tokens=budget, exclude=exclude and budget != 0, param=THINKING)
    if level is not None:
        if level not in _EFFORT:
            raise wrong(
                f"{THINKING}.thinkingLevel", f"is {level[:40]!r}", f"Send one of {', '.join(_EFFORT)}."
            )
        return Reasoning(effort=_EFFORT[level], exclude=exclude, param=THINKING)
    # Thoughts shown, nothing said of how many: Google's models decide that themselves.
    return Reasoning(max_tokens=-1, param=THINKING) if shown else None


def _read_labels(ask: GeminiAsk, raw: Raw) -> None:
    """Google's labels are for its bills, as metadata is for ours."""
    try:
        ask.metadata = msgspec.json.decode(raw, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise wrong("labels", "is not an object of strings") from None


def _read_media(ask: GeminiAsk, contents: Raw) -> None:
    """Which senses the target must have, and how much of the bytes are media rather than words."""
    try:
        found = _CONTENTS.decode(contents)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # a shape that we do not know: expand() names it if we must translate, else Google judges
    needs: set[str] = set()
    for index, content in enumerate(found if isinstance(found, list) else [found]):
        parts = content.parts if isinstance(content, _Content) else None
        for number, part in enumerate(parts if isinstance(parts, list) else [parts]):
            if not isinstance(part, _Part):
                continue
            for blob in (part.inline_data, part.inline, part.file_data, part.file):
                if blob is None:
                    continue
                mime = blob.mime_type or blob.mime
                need = need_of(mime) if mime else kind_of_address(blob.file_uri or blob.uri or "")
                needs.add(need)
                size = size_of(memoryview(blob.data))
                ask.input_bytes += medium_bytes(need, size, mime or "") - size
                if need == "document":
                    place = f"contents[{index}].parts[{number}]"
                    ask.documents += ((place, (mime or "").partition(";")[0].strip().lower(), size),)
    ask.needs |= needs


def need_of(mime: str) -> Medium:
    """Which sense a medium needs: image, audio, video or document."""
    kind = mime.partition("/")[0].strip().lower()
    return kind if kind in ("image", "audio", "video") else "document"


def kind_of_address(url: str) -> Medium:
    """What a fileUri without a type is: a film on YouTube, a picture by its ending, else a document."""
    if "youtube.com/" in url or "youtu.be/" in url:
        return "video"
    ending = url.partition("?")[0].rpartition(".")[2].lower()
    return "image" if ending in ("png", "jpg", "jpeg", "webp", "gif", "heic", "heif") else "document"

"""The envelope of a chat request: body -> Ask, without reading the conversation.

Theory
------
One typed decode. The conversation and the tools stay raw; only if a word such as ``"image_url"`` is somewhere in the
bytes are they looked at, because a capability must not be asked of a target for a word in a sentence.

References: OpenAI's chat completions request; OpenRouter's ``models``, ``provider`` and ``reasoning``.
"""

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import astuple

from penstock.base.bulk import size_of
from penstock.base.chat import Ask, Effort, Reasoning
from penstock.base.errors import BadRequest
from penstock.base.media_size import data_url_bytes, medium_bytes
from penstock.wire.preferences import ProviderField, read_preferences
from penstock.wire.unreadable import unreadable as _unreadable

GATEWAY_FIELDS = (
    "models",
    "fallbacks",
    "provider",
    "reasoning",
    "include_reasoning",
    "route",
    "transforms",
    "plugins",
    "usage",
    "cache_control",
    "penstock",
)
"""Fields that OpenAI does not know: they go on only where the upstream is said to know them."""

MAX_METADATA = 16

_NONE = Raw(b"")
_LEAST_BUDGET = -1
_LONGEST_NULL = 2  # "[]"


class StreamOptions(Struct, gc=False):
    """``stream_options``, as far as we read it."""

    include_usage: bool | None = None


MAX_METADATA_KEY, MAX_METADATA_VALUE = 64, 512
"""OpenAI's own limits (API reference, metadata)."""
_Name = Annotated[str, Meta(min_length=1)]


class _Fallback(Struct, gc=False, forbid_unknown_fields=True):
    model: _Name


class ReasoningWish(Struct, gc=False):
    """OpenRouter's ``reasoning``."""

    effort: Effort | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool | None = None


class _Envelope(Struct, gc=False):
    model: str | None = None
    messages: Raw = _NONE
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: Raw = _NONE
    functions: Raw = _NONE
    response_format: Raw = _NONE
    metadata: Raw = _NONE
    reasoning_effort: Effort | None = None
    user: Raw = _NONE
    # From here on GATEWAY_FIELDS: read_envelope looks at all of them at once.
    models: tuple[_Name, ...] | UnsetType | None = UNSET
    fallbacks: tuple[_Name | _Fallback, ...] | UnsetType | None = UNSET
    provider: ProviderField | UnsetType | None = UNSET
    reasoning: ReasoningWish | UnsetType | None = UNSET
    include_reasoning: bool | UnsetType | None = UNSET
    route: Raw = _NONE
    transforms: Raw = _NONE
    plugins: Raw = _NONE
    usage: Raw = _NONE
    cache_control: Raw = _NONE
    penstock: Raw = _NONE


class _Kind(Struct, gc=False):
    type: str = ""


class _Url(Struct, gc=False):
    url: str = ""


class _Data(Struct, gc=False):
    data: str = ""


class _File(Struct, gc=False):
    file_data: Raw = _NONE  # a view: documents are large, and only their length and their head count


class _Part(Struct, gc=False):
    type: str = ""
    image_url: _Url | str | None = None
    input_audio: _Data | None = None
    file: _File | None = None
    video_url: _Url | str | None = None


class _Turn(Struct, gc=False):
    content: str | list[_Part] | None = None


_FIRST_GATEWAY_FIELD = _Envelope.__struct_fields__.index("models")
_NO_GATEWAY_FIELDS = astuple(_Envelope())[_FIRST_GATEWAY_FIELD:]
_decode = msgspec.json.Decoder(_Envelope).decode
_decode_turns = msgspec.json.Decoder(list[_Turn]).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_decode_text = msgspec.json.Decoder(str).decode
_OPENING_BRACKET = ord("[")
_QUOTE = ord('"')
_URL_HEAD_CHARS = 128
_SURELY_NOT_EMPTY = 24
_TOOLS: frozenset[str] = frozenset({"tools"})
_JSON_SCHEMA: frozenset[str] = frozenset({"json_schema"})
_NO_WISH = ReasoningWish()
_REMEDIES = {
    "model": 'Send a string such as "openai/gpt-4o-mini".',
    "stream": "Send true or false.",
    "stream_options": 'Send an object such as {"include_usage": true}.',
    "max_tokens": "Send a whole number.",
    "max_completion_tokens": "Send a whole number.",
    "n": "Send a whole number of at least 1.",
    "models": "Send a list of model names.",
    "fallbacks": 'Send a list of model names, or of objects {"model": "..."}.',
    "provider": 'Send an object such as {"order": ["openai"], "allow_fallbacks": true}.',
    "reasoning": 'Send an object with "effort" or "max_tokens", not both.',
    "reasoning_effort": "Send one of none, minimal, low, medium, high, xhigh, max.",
    "reasoning.max_tokens": "Send -1 (dynamic), 0 (off) or a number of tokens above 0.",
    "include_reasoning": "Send true or false.",
    "metadata": "Send an object of at most 16 strings: keys of up to 64 characters, values of up to 512.",
    "tools": "Send a list of tools.",
    "functions": "Send a list of functions; better, tools.",
    "response_format": 'Send an object such as {"type": "json_object"}.',
    "messages": 'Send a list of messages such as [{"role": "user", "content": "Hello"}].',
}


_LARGE_BYTES = 1024 * 1024
_MEDIUM = re.compile(rb'"(?:image_url|input_audio|file|video_url)"')
"""One search, which ends at the first: a large body is mostly one medium, and is not gone through for every kind."""


def read_envelope(body: bytes, dialect: str) -> Ask:
    """Body -> Ask. Raises BadRequest naming the field, or the position of what is not JSON."""
    try:
        envelope = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, body) from None
    messages = envelope.messages
    size = len(messages)
    if size < _SURELY_NOT_EMPTY or memoryview(messages)[0] != _OPENING_BRACKET:
        _check_messages(messages)
    cap, options = envelope.max_completion_tokens, envelope.stream_options
    if cap is None:
        cap = envelope.max_tokens
    # A cap below 1 (-1 is "no cap" to some servers) is the upstream's to judge; it is no estimate.
    if cap is not None and cap < 1:
        cap = None
    ask = Ask(
        dialect,
        body,
        envelope.model or "",
        envelope.stream is True,
        options is not None and options.include_usage is True,
        max_tokens=cap,
        input_bytes=size,
        messages=messages,
    )
    if envelope.n is not None:
        if envelope.n < 1:
            raise _wrong("n", f"The field n is {envelope.n}.")
        ask.n = envelope.n
    if envelope.reasoning_effort is not None:
        ask.reasoning = _reasoning(envelope)
    if astuple(envelope)[_FIRST_GATEWAY_FIELD:] != _NO_GATEWAY_FIELDS:
        _read_gateway_fields(ask, envelope)
    if not ask.model and not ask.models:
        raise _wrong("model", "The field model is missing.")
    if envelope.metadata is not _NONE:
        _read_metadata(ask, envelope.metadata)
    if envelope.user is not _NONE:
        ask.user = _user(envelope.user)
    if len(envelope.tools) > _LONGEST_NULL or len(envelope.functions) > _LONGEST_NULL:
        _read_tools(ask, envelope)
    if envelope.response_format is not _NONE and _kind(envelope.response_format) == "json_schema":
        ask.needs |= _JSON_SCHEMA
    # find, not "in": for that, CPython first takes the needle for an int and words an error about it.
    find = body.find
    if len(body) > _LARGE_BYTES:
        if _MEDIUM.search(body) is not None:
            _read_media(ask, messages)
    elif find(b'"type"') >= 0 and (
        find(b'"image_url"') >= 0
        or find(b'"input_audio"') >= 0
        or find(b'"file"') >= 0
        or find(b'"video_url"') >= 0
    ):
        _read_media(ask, messages)
    return ask


def _read_gateway_fields(ask: Ask, envelope: _Envelope) -> None:
    names: list[str] = []
    for name in GATEWAY_FIELDS:
        value = getattr(envelope, name)
        if value is not UNSET and value is not _NONE:
            names.append(name)
    ask.gateway_fields = tuple(names)
    if envelope.models:
        ask.models = envelope.models
    if envelope.fallbacks:
        ask.fallbacks = tuple(
            entry if isinstance(entry, str) else entry.model for entry in envelope.fallbacks
        )
    wish = envelope.provider
    if wish:
        ask.provider = read_preferences(wish, ask.body)
    ask.reasoning = _reasoning(envelope)


def _reasoning(envelope: _Envelope) -> Reasoning | None:
    """The three spellings as one. Contradictions are refused, as OpenRouter refuses effort beside max_tokens."""
    wish = envelope.reasoning or _NO_WISH
    exclude = wish.exclude is True or (wish.exclude is None and envelope.include_reasoning is False)
    reasoning = make_reasoning(wish, envelope.reasoning_effort)
    if reasoning is None:
        return Reasoning(exclude=True) if exclude else None
    return msgspec.structs.replace(reasoning, exclude=True) if exclude else reasoning


def make_reasoning(wish: ReasoningWish, flat_effort: Effort | None) -> Reasoning | None:
    """``reasoning{}`` and ``reasoning_effort`` as one Reasoning, None if nothing is asked."""
    effort, budget, enabled = wish.effort, wish.max_tokens, wish.enabled
    if flat_effort is not None:
        if effort is not None and effort != flat_effort:
            raise _wrong(
                "reasoning_effort", f"reasoning_effort {flat_effort} contradicts reasoning.effort {effort}."
            )
        effort = flat_effort
    if effort is None and budget is None and enabled is None:
        return None
    if effort is not None and budget is not None:
        raise _wrong("reasoning", "Only one of a reasoning effort and reasoning.max_tokens is allowed.")
    if budget is not None and budget < _LEAST_BUDGET:
        raise _wrong(
            "reasoning.max_tokens",
            f"The field reasoning.max_tokens is {budget}.",
        )
    off = effort == "none" or budget == 0
    if enabled is not None and (effort is not None or budget is not None) and enabled is off:
        raise _wrong("reasoning.enabled", "The field reasoning.enabled contradicts the rest of reasoning.")
    param = "reasoning_effort" if flat_effort is not None and wish is _NO_WISH else "reasoning"
    return Reasoning(effort=effort, max_tokens=budget, enabled=enabled, param=param)


def _user(raw: Raw) -> str:
    """Who asks; what is no string is the upstream's to judge."""
    try:
        return _decode_text(raw)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return ""


def _read_metadata(ask: Ask, raw: Raw) -> None:
    """An object of strings is kept for the ledger; anything else is the upstream's to judge."""
    try:
        metadata = _decode_metadata(raw)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return
    if len(metadata) > MAX_METADATA:
        raise _wrong("metadata", f"The field metadata holds {len(metadata)} pairs.")
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            raise _wrong("metadata", f"The pair {key[:MAX_METADATA_KEY]!r} of metadata is too long.")
    ask.metadata = metadata


def _read_tools(ask: Ask, envelope: _Envelope) -> None:
    for name in ("tools", "functions"):
        raw: Raw = getattr(envelope, name)
        text = bytes(raw)
        if raw is _NONE or text == b"null":
            continue
        if not text.startswith(b"["):
            raise _wrong(name, f"The field {name} is not a list.")
        if text[1:-1].strip():
            ask.needs |= _TOOLS
            ask.input_bytes += len(text)


def _read_media(ask: Ask, messages: Raw) -> None:
    """Which senses the target must have, and how much of the bytes are pictures rather than words."""
    try:
        turns = _decode_turns(messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A shape that we do not know: expand() names it if we must translate, else the upstream judges.
        return
    needs: set[str] = set()
    for turn in turns:
        if not isinstance(turn.content, list):
            continue
        for part in turn.content:
            if part.type == "image_url":
                needs.add("image")
                ask.input_bytes += data_url_bytes("image", _address(part.image_url))
            elif part.type == "input_audio":
                needs.add("audio")
                size = size_of((part.input_audio or _Data()).data)
                ask.input_bytes += medium_bytes("audio", size) - size
            elif part.type == "file":
                needs.add("document")
                ask.input_bytes += _file_bytes((part.file or _File()).file_data)
            elif part.type == "video_url":
                needs.add("video")
                ask.input_bytes += data_url_bytes("video", _address(part.video_url))
    if needs:
        ask.needs |= needs


def _address(given: _Url | str | None) -> str:
    return given if isinstance(given, str) else (given or _Url()).url


def _file_bytes(data: Raw) -> int:
    """A file's bytes come as a data URL or, from some clients, as base64 alone."""
    view = memoryview(data)
    if len(view) < len(b'""') or view[0] != _QUOTE:
        return 0
    chars, mime = size_of(view) - len(b'""'), ""
    head = bytes(view[1 : 1 + _URL_HEAD_CHARS]).replace(b"\\/", b"/").decode("latin-1")
    if head.startswith("data:"):
        mime = head[5:].partition(";")[0].partition(",")[0]
    return medium_bytes("document", chars, mime) - chars


def _kind(raw: Raw) -> str:
    if bytes(raw) == b"null":
        return ""
    try:
        return _decode_kind(raw).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _wrong("response_format", "The field response_format is not an object with a type.") from None


def _check_messages(messages: Raw) -> None:
    text = bytes(messages)
    if not text or text == b"null":
        raise _wrong("messages", "The field messages is missing.")
    if not text.startswith(b"["):
        raise _wrong("messages", "The field messages is not a list.")
    if not text[1:-1].strip():
        raise _wrong("messages", "The field messages is empty.")


def _wrong(param: str, message: str) -> BadRequest:
    return BadRequest(
        message, param=param, hint=_REMEDIES.get(param) or _REMEDIES.get(param.partition(".")[0])
    )


def unreadable(error: Exception, body: bytes) -> BadRequest:
    """What msgspec says of a body, as a sentence for who sent it: the field, or the line and column."""
    return _unreadable(error, body, _REMEDIES)

"""The envelope of a Messages request: body -> Ask, without reading more of the conversation than it must.

What the two API versions differ in (platform.claude.com, migration-2026-10-21): with the newer one sampling parameters,
documents in an assistant's message and citations on a user's words are refused. A caller that names no version (curl)
gets the older one, which takes all of it.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from penstock.base.bulk import size_of
from penstock.base.chat import Ask, Effort, Reasoning
from penstock.base.errors import BadRequest
from penstock.base.media_size import Medium, medium_bytes
from penstock.wire.preferences import ProviderField, read_preferences
from penstock.wire.unreadable import unreadable

OLD_VERSION, NEW_VERSION = "2023-06-01", "2026-10-21"
VERSIONS = ("", OLD_VERSION, NEW_VERSION)
GATEWAY_FIELDS = ("models", "fallbacks", "provider", "penstock")
"""Fields that Anthropic does not know: they never go on."""
SAMPLING = ("temperature", "top_p", "top_k")

_NONE = Raw(b"")
_Name = Annotated[str, Meta(min_length=1)]
_EFFORTS: dict[str, Effort] = {
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}


class MessagesAsk(Ask):
    """An Ask with what Anthropic's callers say in headers."""

    version: str = ""
    betas: str = ""
    counting: bool = False
    """Only the prompt's tokens are asked for."""


class ThinkingWish(Struct, gc=False):
    """``thinking``."""

    type: str = ""
    budget_tokens: int | None = None
    display: str | None = None


class OutputConfig(Struct, gc=False):
    """``output_config``."""

    effort: str | None = None
    format: Raw = _NONE


class _Metadata(Struct, gc=False):
    user_id: str | None = None


class _Fallback(Struct, gc=False, forbid_unknown_fields=True):
    model: _Name


class _Envelope(Struct, gc=False):
    model: str | None = None
    messages: Raw = _NONE
    max_tokens: int | None = None
    stream: bool | None = None
    system: Raw = _NONE
    tools: Raw = _NONE
    thinking: ThinkingWish | None = None
    output_config: OutputConfig | None = None
    metadata: _Metadata | None = None
    temperature: Raw = _NONE
    top_p: Raw = _NONE
    top_k: Raw = _NONE
    # UNSET, for Anthropic must not get a null of ours either.
    models: tuple[_Name, ...] | UnsetType | None = UNSET
    fallbacks: tuple[_Name | _Fallback, ...] | UnsetType | None = UNSET
    provider: ProviderField | UnsetType | None = UNSET
    penstock: Raw = _NONE


class _Source(Struct, gc=False):
    type: str = ""
    media_type: str = ""
    data: Raw = _NONE  # not copied: it may be a whole book of scans


class _Part(Struct, gc=False):
    type: str = ""
    source: _Source | None = None
    citations: Raw = _NONE
    content: Raw = _NONE


class _Turn(Struct, gc=False):
    role: str = ""
    content: str | list[_Part] = ""


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_turns = msgspec.json.Decoder(list[_Turn]).decode
_decode_parts = msgspec.json.Decoder(list[_Part]).decode
_NOTHING = (b"", b"null", b"[]", b"{}", b"false")
_LONGEST_NOTHING = 5
_SURELY_NOT_EMPTY = 24
_MEDIA: dict[str, Medium] = {"image": "image", "document": "document"}
REMEDIES = {
    "model": 'Send a string such as "anthropic/claude-haiku-4-5".',
    "max_tokens": "Send a whole number of at least 1.",
    "messages": 'Send a list of messages such as [{"role": "user", "content": "Hello"}].',
    "system": 'Send a string, or a list of blocks such as [{"type": "text", "text": "..."}].',
    "stream": "Send true or false.",
    "tools": 'Send a list of tools such as [{"name": "...", "input_schema": {"type": "object"}}].',
    "thinking": 'Send an object such as {"type": "enabled", "budget_tokens": 2048} or {"type": "adaptive"}.',
    "output_config": 'Send an object such as {"effort": "low"}.',
    "metadata": 'Send an object such as {"user_id": "..."}.',
    "models": "Send a list of model names.",
    "fallbacks": 'Send a list of model names, or of objects {"model": "..."}.',
    "provider": 'Send an object such as {"order": ["anthropic"], "allow_fallbacks": true}.',
}


def read_envelope(body: bytes, version: str, betas: str, *, counting: bool = False) -> MessagesAsk:
    """Body -> Ask. Raises BadRequest naming the field, or the position of what is not JSON."""
    if version not in VERSIONS:
        raise BadRequest(
            f"anthropic-version: {version[:40]!r} is not a valid version.",
            param="anthropic-version",
            hint=f"Send {NEW_VERSION} or {OLD_VERSION}.",
        )
    try:
        envelope = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, body, REMEDIES) from None
    _check_required(envelope, counting=counting)
    messages = envelope.messages
    ask = MessagesAsk(
        "anthropic",
        body,
        envelope.model or "",
        envelope.stream is True and not counting,
        max_tokens=envelope.max_tokens or None,
        input_bytes=len(messages) + len(envelope.system),
        messages=messages,
        reasoning=read_reasoning(envelope.thinking, envelope.output_config),
        version=version,
        betas=betas,
        counting=counting,
    )
    if not is_nothing(envelope.tools):
        ask.needs |= {"tools"}
        ask.input_bytes += len(envelope.tools)
    if envelope.output_config is not None and not is_nothing(envelope.output_config.format):
        ask.needs |= {"json_schema"}
    if envelope.metadata is not None:
        ask.user = envelope.metadata.user_id or ""
    _read_gateway_fields(ask, envelope)
    new = version == NEW_VERSION
    if new:
        _refuse_sampling(envelope)
    find = body.find
    if find(b'"source"') >= 0 or (new and (find(b'"document"') >= 0 or find(b'"citations"') >= 0)):
        _read_parts(ask, messages, new=new)
    return ask


def _check_required(envelope: _Envelope, *, counting: bool) -> None:
    if not envelope.model and not envelope.models:
        raise wrong("model", "model: Field required.")
    if envelope.max_tokens is None:
        if not counting:
            raise wrong("max_tokens", "max_tokens: Field required.")
    elif envelope.max_tokens < 0:
        raise wrong("max_tokens", f"max_tokens: {envelope.max_tokens} is no cap.")
    messages = envelope.messages
    if len(messages) >= _SURELY_NOT_EMPTY and begins(messages, b"["):
        return
    text = bytes(messages)
    if not text or text == b"null":
        raise wrong("messages", "messages: Field required.")
    if not text.startswith(b"["):
        raise wrong("messages", "messages: Input should be a list.")
    if not text[1:-1].strip():
        raise wrong("messages", "messages: at least one message is required.")


def _read_gateway_fields(ask: MessagesAsk, envelope: _Envelope) -> None:
    wish = envelope.provider
    given = (envelope.models, envelope.fallbacks, wish, envelope.penstock)
    ask.gateway_fields = tuple(
        name
        for name, value in zip(GATEWAY_FIELDS, given, strict=True)
        if value is not UNSET and value is not _NONE
    )
    if not ask.gateway_fields:
        return
    ask.models = envelope.models or ()
    ask.fallbacks = tuple(
        entry if isinstance(entry, str) else entry.model for entry in envelope.fallbacks or ()
    )
    if wish:
        ask.provider = read_preferences(wish, ask.body)


def read_reasoning(thinking: ThinkingWish | None, output: OutputConfig | None) -> Reasoning | None:
    """Thinking and effort as one wish; None if there is none that we know. A budget beside an effort: the budget."""
    effort = output.effort if output is not None else None
    level = _EFFORTS.get(effort or "")
    if thinking is None:
        return None if level is None else Reasoning(effort=level, param="output_config.effort")
    exclude = thinking.display == "omitted"
    if thinking.type == "enabled":
        if thinking.budget_tokens is None:
            raise wrong("thinking.budget_tokens", "thinking.enabled.budget_tokens: Field required.")
        if thinking.budget_tokens < 1:
            raise wrong("thinking.budget_tokens", f"{thinking.budget_tokens} tokens are no thinking budget.")
        return Reasoning(max_tokens=thinking.budget_tokens, exclude=exclude, param="thinking.budget_tokens")
    if thinking.type == "adaptive":
        if level is not None:
            return Reasoning(effort=level, exclude=exclude, param="output_config.effort")
        return Reasoning(max_tokens=-1, exclude=exclude, param="thinking")
    if thinking.type in ("disabled", "between_tools"):
        return Reasoning(effort="none", param="thinking")
    return None  # a newer type: Anthropic's to judge, and anybody else's to be told of


def _refuse_sampling(envelope: _Envelope) -> None:
    given = (envelope.temperature, envelope.top_p, envelope.top_k)
    for name, raw in zip(SAMPLING, given, strict=True):
        if raw is not _NONE:
            raise BadRequest(
                f"{name}: Extra inputs are not permitted in anthropic-version {NEW_VERSION}.",
                param=name,
                hint=f"Leave it out, or send anthropic-version: {OLD_VERSION}.",
            )


def _read_parts(ask: MessagesAsk, messages: Raw, *, new: bool) -> None:
    """Which senses the target must have, how much of the bytes are pictures; and the newer version's rules."""
    try:
        turns = _decode_turns(messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # expand() names it if we must translate, else the upstream judges
    needs: set[str] = set()
    for index, turn in enumerate(turns):
        if isinstance(turn.content, str):
            continue
        for number, part in enumerate(turn.content):
            if new:
                _check_part(part, turn.role, f"messages.{index}.content.{number}")
            _count(ask, part, needs)
            if part.type == "tool_result" and begins(part.content, b"["):
                for inner in _inner(part.content):
                    _count(ask, inner, needs)
    if needs:
        ask.needs |= needs


def _inner(content: Raw) -> list[_Part]:
    try:
        return _decode_parts(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _count(ask: MessagesAsk, part: _Part, needs: set[str]) -> None:
    need = _MEDIA.get(part.type)
    if need is None:
        return
    source = part.source or _Source()
    if need == "image" or source.type not in ("text", "content"):
        needs.add(need)
    if source.type == "base64":
        size = size_of(source.data)
        ask.input_bytes += medium_bytes(need, size, source.media_type) - size


def _check_part(part: _Part, role: str, place: str) -> None:
    if part.type == "document" and role == "assistant":
        raise BadRequest(
            f"{place}: `document` blocks are not permitted in assistant messages.",
            param=place,
            hint="Send it in a user's message.",
        )
    if part.type == "text" and role == "user" and not is_nothing(part.citations):
        raise BadRequest(
            f"{place}.text.citations: must be empty in a user message.",
            param=f"{place}.citations",
            hint="Leave it out.",
        )


def begins(raw: Raw, mark: bytes) -> bool:
    """Whether a value begins so. A Raw is not copied for it: it may be a whole book."""
    return bytes(memoryview(raw)[:1]) == mark


def is_nothing(raw: Raw) -> bool:
    """Absent, null, false, or empty."""
    return len(raw) <= _LONGEST_NOTHING and bytes(raw) in _NOTHING


def wrong(param: str, message: str) -> BadRequest:
    """What is wrong with a field, and what to send."""
    return BadRequest(message, param=param, hint=REMEDIES.get(param) or REMEDIES.get(param.partition(".")[0]))

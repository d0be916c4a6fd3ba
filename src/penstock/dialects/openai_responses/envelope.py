"""A caller's body -> ResponsesAsk: what routing, limits and our own store need of it.

The conversation that ``previous_response_id`` stands for is not in the body: whoever keeps it gives it to
``with_history`` before the ask goes on.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from penstock.base.bulk import size_of
from penstock.base.chat import Ask, Effort, Reasoning
from penstock.base.errors import BadRequest
from penstock.base.media_size import data_url_bytes, medium_bytes
from penstock.dialects.openai_chat import OPENAI
from penstock.dialects.openai_responses.shapes import NONE, Item, Part, ToolDef
from penstock.wire.unreadable import unreadable

NAME = "responses"
GATEWAY_FIELDS = ("models", "fallbacks", "provider", "route", "transforms", "plugins", "usage", "penstock")
"""Fields that OpenAI does not know: they are ours, or nobody's."""
REPORTED = ("transforms", "plugins")
"""Asked of a gateway, done by none of ours: taken out, and said."""


class ResponsesAsk(Ask):
    """The envelope of a Responses call, and what must be known of it until its end.

    ``history`` is the stored conversation before ``input``, as JSON items. ``final`` is the whole Response, filled by
    whoever writes or relays the reply once it has ended; ``sequence`` the number of the last stream event.
    """

    previous: str = ""
    store: bool = True
    background: bool = False
    input: Raw = NONE
    tools: Raw = NONE
    history: list[bytes] = field(default_factory=list[bytes])
    custom: frozenset[str] = frozenset()
    """Names of the custom tools, whose calls have an input instead of arguments."""
    summary: bool = False
    """Thoughts are shown as the summary that was asked for, else as reasoning text."""
    native: str = ""
    """Where ``previous`` was made, if the provider itself keeps it: its name and its key's digest (forward.place_of)."""
    translated: bool = True
    """How the attempt at hand is made."""
    made_at: str = ""
    """The same of this reply, where it goes through as it comes; "" where it is translated."""
    final: bytes = b""
    sequence: int = -1


class _ReasoningField(Struct, gc=False):
    effort: Effort | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Envelope(Struct, gc=False):
    model: str | None = None
    input: Raw = NONE
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: Raw = NONE
    reasoning: _ReasoningField | None = None
    text: Raw = NONE
    metadata: Raw = NONE
    user: Raw = NONE
    prompt: Raw = NONE
    models: Any | UnsetType = UNSET
    fallbacks: Any | UnsetType = UNSET
    provider: Any | UnsetType = UNSET
    route: Any | UnsetType = UNSET
    transforms: Any | UnsetType = UNSET
    plugins: Any | UnsetType = UNSET
    usage: Any | UnsetType = UNSET
    penstock: Any | UnsetType = UNSET


class _Kind(Struct, gc=False):
    type: str = ""


class _Format(Struct, gc=False):
    format: _Kind | None = None


_decode = msgspec.json.Decoder(_Envelope).decode
_decode_items = msgspec.json.Decoder(list[Item]).decode
_decode_tools = msgspec.json.Decoder(list[ToolDef]).decode
_decode_format = msgspec.json.Decoder(_Format).decode
_PROBE = [{"role": "user", "content": "-"}]


def read_envelope(body: bytes) -> ResponsesAsk:
    """Body -> ask. Raises BadRequest naming the field, or the position of what is not JSON."""
    try:
        envelope = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, body) from None
    size = len(envelope.input)
    if not size and not envelope.prompt:
        raise BadRequest(
            "The field input is missing.", param="input", hint="Send a string, or a list of items."
        )
    if first_byte(envelope.input) not in (b"", b'"', b"["):
        raise BadRequest("The field input is neither a string nor a list.", param="input")
    cap = envelope.max_output_tokens
    if cap is not None and cap < 1:
        raise BadRequest(
            f"The field max_output_tokens is {cap}.", param="max_output_tokens", hint="Send at least 1."
        )
    ask = ResponsesAsk(
        NAME,
        body,
        envelope.model or "",
        envelope.stream is True,
        True,
        max_tokens=cap,
        input_bytes=size,
        previous=envelope.previous_response_id or "",
        store=envelope.store is not False,
        background=envelope.background is True,
        input=envelope.input,
    )
    if envelope.reasoning is not None:
        _read_reasoning(ask, envelope.reasoning)
    _read_shared(ask, envelope)
    if not ask.model and not ask.models:
        raise BadRequest(
            "The field model is missing.", param="model", hint='Send a string such as "openai/gpt-4o-mini".'
        )
    if envelope.tools and bytes(envelope.tools) != b"null":
        _read_tools(ask, envelope.tools)
    if envelope.text and _wants_schema(envelope.text):
        ask.needs |= {"json_schema"}
    _see_media(ask, bytes(envelope.input))
    return ask


def with_history(ask: ResponsesAsk, items: list[bytes]) -> None:
    """Put the stored conversation before what the caller sent: it is read, and paid for, like all of it."""
    ask.history = items
    for item in items:
        ask.input_bytes += len(item)
        _see_media(ask, b"[" + item + b"]")


def check_history(ask: ResponsesAsk) -> None:
    """Raise BadRequest where nobody has put in what ``previous_response_id`` stands for: half a conversation is none."""
    if ask.previous and not ask.history:
        raise BadRequest(
            f"Previous response with id {ask.previous!r} not found.",
            code="previous_response_not_found",
            param="previous_response_id",
        )


def items_of(ask: ResponsesAsk) -> list[Item]:
    """All of the conversation: what is stored, and what came now. Raises BadRequest naming the place."""
    items: list[Item] = []
    if ask.history:
        items = _decode_items(b"[" + b",".join(ask.history) + b"]")
    return items + input_items(ask.input)


def input_items(raw: Raw) -> list[Item]:
    """``input`` alone, as items."""
    if first_byte(raw) == b'"':
        return [Item(type="message", role="user", content=msgspec.json.decode(raw, type=str))]
    if not raw:
        return []
    try:
        return _decode_items(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = unreadable(error, bytes(raw))
        if found.param:
            found.param = f"input{found.param}" if found.param.startswith("[") else f"input.{found.param}"
        raise found from None


def first_byte(raw: Raw) -> bytes:
    """What a value begins with: its kind, in JSON."""
    return bytes(memoryview(raw)[:1])


def _read_reasoning(ask: ResponsesAsk, wish: _ReasoningField) -> None:
    if wish.effort is not None:
        ask.reasoning = Reasoning(effort=wish.effort, param="reasoning.effort")
    ask.summary = bool(wish.summary or wish.generate_summary)


def _read_shared(ask: ResponsesAsk, envelope: _Envelope) -> None:
    """What a chat body says in the same words is read by its reader: metadata, user, and what only a gateway knows."""
    names = [name for name in GATEWAY_FIELDS if getattr(envelope, name) is not UNSET]
    if not (names or envelope.metadata or envelope.user):
        return
    probe: dict[str, Any] = {"model": envelope.model, "messages": _PROBE}
    probe.update({name: getattr(envelope, name) for name in names})
    for name in ("metadata", "user"):
        value: Raw = getattr(envelope, name)
        if value:
            probe[name] = value
    said = OPENAI.read_request(msgspec.json.encode(probe))
    ask.models, ask.fallbacks, ask.provider = said.models, said.fallbacks, said.provider
    ask.metadata, ask.user = said.metadata, said.user
    ask.gateway_fields = tuple(names)


def _read_tools(ask: ResponsesAsk, raw: Raw) -> None:
    try:
        tools = _decode_tools(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "The field tools is not a list of tools.",
            param="tools",
            hint='Send a list such as [{"type": "function", "name": "...", "parameters": {...}}].',
        ) from None
    if not tools:
        return
    ask.tools = raw
    ask.needs |= {"tools"}
    ask.input_bytes += len(raw)
    ask.custom = frozenset(tool.name for tool in tools if tool.type == "custom" and tool.name)


def _wants_schema(raw: Raw) -> bool:
    try:
        found = _decode_format(raw).format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # expand() names it, if we must translate
    return found is not None and found.type == "json_schema"


def _see_media(ask: ResponsesAsk, items: bytes) -> None:
    """Which senses the target must have, and how much of the bytes are pictures rather than words."""
    if not any(items.find(word) >= 0 for word in (b'"input_image"', b'"input_file"', b'"input_audio"')):
        return
    try:
        found = _decode_items(items)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    needs: set[str] = set()
    for item in found:
        for parts in (item.content, item.output):
            for part in parts if isinstance(parts, list) else ():
                _see_part(ask, part, needs)
    ask.needs |= needs


def _see_part(ask: ResponsesAsk, part: Part, needs: set[str]) -> None:
    if part.type == "input_image":
        needs.add("image")
        ask.input_bytes += data_url_bytes("image", part.image_url or "")
    elif part.type == "input_audio":
        needs.add("audio")
        if part.input_audio is not None:
            size = size_of(part.input_audio.data)
            ask.input_bytes += medium_bytes("audio", size) - size
    elif part.type == "input_file":
        needs.add("document")
        data = part.file_data or ""
        size = size_of(data)
        ask.input_bytes += data_url_bytes("document", data) or medium_bytes("document", size) - size

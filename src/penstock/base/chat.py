"""What a caller asks of a chat model: the envelope (cheap, always) and the neutral request (only to translate).

Theory
------
``Ask`` is read from every body: the few fields that routing, limits and pass-through need, plus the bytes. When
the chosen target speaks another dialect, the caller's dialect expands the Ask into a ``ChatRequest``, the neutral
form that every upstream dialect can write. Same dialect: the bytes are spliced and go through.
"""

from typing import Any, Literal

from msgspec import Raw, Struct, field

from penstock.base.bulk import Bulk
from penstock.base.operations import Operation

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Sort = Literal["price", "throughput", "latency", "exacto"]


class Reasoning(Struct, frozen=True):
    """Reasoning as asked, in any of three spellings. None of it asked = no Reasoning at all = nothing is sent.

    ``max_tokens``: a budget; -1 is dynamic, 0 is off. ``effort``: a level. ``enabled`` True with neither: medium.
    ``exclude``: think, but do not return the thoughts. ``param`` names the caller's field, for errors.
    """

    effort: Effort | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool = False
    param: str = "reasoning"


class Text(Struct, frozen=True, tag="text"):
    """Words."""

    text: str
    cache: str | None = None
    """A cache breakpoint after this part: "5m" or "1h"."""


class Image(Struct, frozen=True, tag="image"):
    """A picture: ``data`` (base64) with ``mime``, or a ``url``."""

    url: str = ""
    data: str = ""
    mime: str = ""
    detail: str | None = None
    cache: str | None = None


class Document(Struct, frozen=True, tag="document"):
    """A file: ``data`` (base64) with ``mime``, a ``url``, or a provider's ``file_id``."""

    data: str = ""
    mime: str = ""
    url: str = ""
    file_id: str = ""
    filename: str = ""
    cache: str | None = None


class Audio(Struct, frozen=True, tag="audio"):
    """A sound: base64 ``data``, or a ``url``, or a provider's ``file_id``; ``format`` such as wav, mp3."""

    data: str
    format: str
    url: str = ""
    file_id: str = ""


class Video(Struct, frozen=True, tag="video"):
    """A film: ``data`` (base64) with ``mime``, a ``url``, or a provider's ``file_id``. ``start_s`` to ``end_s`` of it, at ``fps``."""

    data: str = ""
    mime: str = ""
    url: str = ""
    file_id: str = ""
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None


class Thinking(Struct, frozen=True, tag="thinking"):
    """Reasoning of an earlier turn, to be returned to the model that made it. See events.ThinkingDelta."""

    text: str = ""
    signature: str = ""
    format: str = "unknown"
    redacted: str = ""
    tool_id: str = ""


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """A call made by the assistant. ``arguments`` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class ToolResult(Struct, frozen=True, tag="tool_result"):
    """The answer to a call. ``name`` is looked up in the history by the reader ("" if unknown)."""

    id: str
    name: str
    text: str
    is_error: bool = False
    images: tuple[Image, ...] = ()


Part = Text | Image | Document | Audio | Video | Thinking | ToolCall | ToolResult


class Message(Struct, frozen=True):
    """One turn. A system message's parts are Text. Tool results stand in role "tool", one message each."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""


class Tool(Struct, frozen=True):
    """A function the model may call. ``parameters`` is a JSON Schema, keys in the caller's order."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache: str | None = None


class ToolChoice(Struct, frozen=True):
    """``mode`` auto, none, required, or named with ``names`` (one for a forced tool, several for allowed ones)."""

    mode: Literal["auto", "none", "required", "named"]
    names: tuple[str, ...] = ()


class ResponseFormat(Struct, frozen=True):
    """``kind`` text, json_object or json_schema with its ``schema``."""

    kind: Literal["text", "json_object", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class OnlyAt(Struct, frozen=True):
    """What only targets of some dialects can serve, for the request would mean something else without it."""

    dialects: tuple[str, ...]
    reason: str
    param: str


class ChatRequest(Struct):
    """The neutral request. Absent is None: what the caller did not say is not sent.

    ``extras`` keeps what the neutral form has no word for, by dialect ("openai": {...}); only the same dialect
    may use it, any other reports it as dropped.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    adjusted: tuple[str, ...] = ()
    """What the caller's dialect dropped or approximated on the way here, in the words of ``WireRequest.adjusted``."""
    only_at: OnlyAt | None = None


class ProviderPreferences(Struct, frozen=True):
    """OpenRouter's ``provider{}`` (wire.md 1.3), as chat routing understands it.

    ``data_collection`` deny, ``zdr`` and ``enforce_distillable_text`` exclude what is not known to comply. ``max_price``
    pairs prompt, completion, request, image or audio with pico-dollars per unit (a token, a call, a picture) and excludes
    too. ``min_throughput`` (tokens per second) and ``max_latency`` (seconds) pair a percentile with a bound, and only put
    what misses it behind the rest. ``sort`` or ``order`` ends load balancing; ``partition`` none sorts across models.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    data_collection: Literal["allow", "deny"] = "allow"
    zdr: bool = False
    enforce_distillable_text: bool = False
    quantizations: tuple[str, ...] = ()
    sort: Sort | None = None
    partition: Literal["model", "none"] = "model"
    max_price: tuple[tuple[str, int], ...] = ()
    min_throughput: tuple[tuple[int, float], ...] = ()
    max_latency: tuple[tuple[int, float], ...] = ()


class Ask(Struct):
    """The envelope of one call: what is needed before, and beside, translation.

    ``needs`` are capabilities the target must have: "image", "document", "audio", "video", "tools",
    "json_schema".
    ``input_bytes`` is the size of what the model will read (messages and tools), for estimates.
    ``fallbacks`` and ``models`` are the caller's own chain. ``metadata`` is the body's ``metadata`` if it is an
    object of strings. ``gateway_fields`` are the names, present in the body, that only a gateway reads. ``user`` is the
    body's own word for who asks through the caller.
    """

    dialect: str
    body: bytes
    model: str
    stream: bool = False
    include_usage: bool = False
    models: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    provider: ProviderPreferences | None = None
    reasoning: Reasoning | None = None
    max_tokens: int | None = None
    n: int = 1
    needs: frozenset[str] = frozenset()
    input_bytes: int = 0
    metadata: dict[str, str] | None = None
    gateway_fields: tuple[str, ...] = ()
    messages: Raw = Raw(b"")
    """The conversation as it stands in ``body``."""
    spans: dict[str, tuple[int, int, int]] | None = None
    """Filled by the caller's dialect on demand: field -> (start of its key, start, end of its value) in body."""
    user: str = ""
    operation: Operation = "chat"
    units: tuple[tuple[str, int], ...] = ()
    """What the call will surely be charged for beside tokens, where that is known before: ("image", 4)."""
    items: int = 0
    """How many documents are to be ranked."""
    bulk: Bulk | None = None
    """Then ``body`` is the slim one, and so is what stands in it: tokens are for the long strings. Lengths of the whole
    body are ``body_bytes`` and ``messages_bytes``."""

    @property
    def body_bytes(self) -> int:
        """The length of the body that came."""
        return len(self.body) + (0 if self.bulk is None else self.bulk.hidden_bytes)

    @property
    def messages_bytes(self) -> int:
        """The length of ``messages`` in it."""
        size = len(self.messages)
        return size + self.bulk.hidden_bytes if size and self.bulk is not None else size

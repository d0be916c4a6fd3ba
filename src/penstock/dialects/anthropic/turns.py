"""The wire shape of a Messages request's conversation and tools, as a caller writes them.

A block is one loose shape: which of its fields count, its ``type`` says (``expand``), and so an unknown type is named in a
sentence of ours.
"""

from typing import Any, Literal

from msgspec import Raw, Struct

from penstock.dialects.anthropic.envelope import OutputConfig

NONE = Raw(b"")


class CacheControl(Struct):
    """A cache breakpoint."""

    type: Literal["ephemeral"] = "ephemeral"
    ttl: Literal["5m", "1h"] | None = None


class Source(Struct):
    """Where a picture or a document is. ``content`` is text or blocks."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    content: Raw = NONE


class Block(Struct):
    """One content block of any type."""

    type: str
    text: str = ""
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    citations: Raw = NONE
    cache_control: CacheControl | None = None
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = NONE
    tool_use_id: str = ""
    content: Raw = NONE
    is_error: bool | None = None


class Turn(Struct):
    """One message. A system's may stand in mid-conversation (anthropic-python 2.11.0, SystemMessageParam)."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolDef(Struct):
    """One of ``tools``. A ``type`` other than "custom" is one of Anthropic's own."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    input_examples: Raw = NONE
    defer_loading: bool | None = None
    allowed_callers: Raw = NONE


class Choice(Struct):
    """``tool_choice``."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Format(Struct):
    """``output_config.format``."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class Body(Struct):
    """The request's fields that the neutral form has words for. All others are extras."""

    messages: list[Turn]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    tools: list[ToolDef] | None = None
    tool_choice: Choice | None = None
    output_config: OutputConfig | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    service_tier: str | None = None

"""What a Messages reply is made of, and its figures as our disjoint vector."""

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple

from penstock.base.events import StopReason
from penstock.base.usage import Usage, UsageSource, service_tier_of

FORMAT = "anthropic-claude-v1"

WHY: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class CacheCreation(Struct, gc=False):
    """How long what was written to the cache is kept."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(Struct, gc=False):
    """``output_tokens_details``."""

    thinking_tokens: int | None = None


class ServerTools(Struct, gc=False):
    """What the provider's own tools did."""

    web_search_requests: int | None = None


class UsageField(Struct, gc=False):
    """``usage``, as a reply carries it."""

    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    server_tool_use: ServerTools | None = None
    service_tier: str | None = None
    speed: str | None = None


_INPUT = frozenset(
    {"input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"}
)


def _whole_input(usage: UsageField) -> int:
    return (
        (usage.input_tokens or 0)
        + (usage.cache_read_input_tokens or 0)
        + (usage.cache_creation_input_tokens or 0)
    )


def _is_nothing(value: Any) -> bool:
    return not any(astuple(value)) if isinstance(value, Struct) else not value


class StopDetails(Struct, gc=False):
    """Why the model refused."""

    explanation: str | None = None


class Delta(Struct, gc=False):
    """One piece of a block, or the end of a message."""

    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class Block(Struct, gc=False):
    """A content block, or its beginning."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw(b"")


class Message(Struct, gc=False):
    """A message, or its beginning."""

    type: str = ""
    id: str = ""
    model: str = ""
    content: list[Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: UsageField | None = None
    error: Any = None


class Frame(Struct, gc=False):
    """One event of a stream."""

    type: str = ""
    index: int = -1
    delta: Delta | None = None
    content_block: Block | None = None
    message: Message | None = None
    usage: UsageField | None = None
    error: Any = None


decode_frame = msgspec.json.Decoder(Frame).decode
decode_message = msgspec.json.Decoder(Message).decode


def merged(held: UsageField | None, said: UsageField) -> UsageField:
    """Totals replace totals (``held`` is changed): None says nothing, and 0 says it of what has been counted."""
    if held is None:
        return said
    moved = _whole_input(said) >= _whole_input(held)
    for name in UsageField.__struct_fields__:
        value, before = getattr(said, name), getattr(held, name)
        if value is None or (before is not None and _is_nothing(value) and not (moved and name in _INPUT)):
            continue
        setattr(held, name, value)
    return held


def normal(usage: UsageField, source: UsageSource) -> Usage:
    """Anthropic's figures as the disjoint vector; a contradiction is noted."""
    notes: list[str] = []
    if usage.input_tokens is None:
        notes.append("input_tokens not reported")
    if usage.output_tokens is None:
        notes.append("output_tokens not reported")
    split = usage.cache_creation
    hour = (split.ephemeral_1h_input_tokens if split else None) or 0
    written = usage.cache_creation_input_tokens
    if written is None:
        written = hour + ((split.ephemeral_5m_input_tokens if split else None) or 0)
    if hour > written:
        notes.append(f"cache writes: {hour} for 1h of {written} in all")
        hour = written
    output = usage.output_tokens or 0
    details = usage.output_tokens_details
    thinking = (details.thinking_tokens if details else None) or 0
    if thinking > output:
        notes.append(f"thinking_tokens {thinking} of {output} output_tokens")
        thinking = output
    tools = usage.server_tool_use
    searches = (
        tools.web_search_requests if tools else None
    ) or 0  # pages fetched are charged as tokens alone
    return Usage(
        input=usage.input_tokens or 0,
        cache_read=usage.cache_read_input_tokens or 0,
        cache_write_5m=written - hour,
        cache_write_1h=hour,
        output=output - thinking,
        reasoning=thinking,
        source=source,
        # Fast mode has prices of its own, in whatever tier.
        service_tier=service_tier_of(usage.speed) or service_tier_of(usage.service_tier),
        fees=(("web_search", searches),) if searches > 0 else (),
        note="; ".join(notes),
    )

"""The wire shapes of the Responses API, as callers write its input and as providers write its output.

Wide structs instead of one per type: an item may leave its ``type`` out (OpenAI's "easy" forms), and new types come
often. What an item is, ``kind_of`` says; what a kind must hold, its reader says, with the place of what is missing.
"""

from typing import Any, Literal

from msgspec import Raw, Struct

NONE = Raw(b"")


class InputAudio(Struct, gc=False):
    """A sound's bytes."""

    data: str = ""
    format: str = ""


class Part(Struct, gc=False):
    """One element of an item's ``content``, of a tool's ``output``, or of a reasoning item's texts."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: InputAudio | None = None
    prompt_cache_breakpoint: Any = None


class Item(Struct, gc=False):
    """One element of ``input`` or ``output``."""

    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None
    result: str | None = None
    output_format: str | None = None
    status: str | None = None


class Loose(Struct, gc=False):
    """An item of a type whose fields we do not read."""

    type: str | None = None
    role: str | None = None
    id: str | None = None


class ToolDef(Struct, gc=False):
    """One of ``tools``: a function, a custom tool, or one that the provider hosts."""

    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: dict[str, Any] | None = None


class NamedTool(Struct, gc=False):
    """A tool as ``tool_choice`` names it."""

    type: str = ""
    name: str | None = None


class ChosenTool(Struct, gc=False):
    """``tool_choice`` as an object."""

    type: str = ""
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[NamedTool] | None = None


class TextFormat(Struct, gc=False):
    """``text.format``."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class TextField(Struct, gc=False):
    """``text``."""

    format: TextFormat | None = None
    verbosity: str | None = None


READ = frozenset(
    {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    }
)
"""Item types that the neutral form has words for."""


def kind_of(item: Item | Loose) -> str:
    """An item's type, also where it is left out: a role makes a message, an id alone a reference."""
    if item.type:
        return item.type
    if item.role:
        return "message"
    return "item_reference" if item.id else ""

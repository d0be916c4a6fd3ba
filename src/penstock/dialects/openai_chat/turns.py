"""The wire shape of a chat request's conversation and tools, as a caller writes them.

Typed, so that what is wrong is named by its place: ``messages[3].content[1].type``.
"""

from typing import Any, Literal

from msgspec import Raw, Struct

from penstock.dialects.openai_chat.details import Detail

_NONE = Raw(b"")


class CacheControl(Struct):
    """Anthropic's and OpenRouter's breakpoint."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextPart(Struct, tag="text"):
    """Words."""

    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: Any = None


class RefusalPart(Struct, tag="refusal"):
    """What an assistant refused, sent back."""

    refusal: str


class ImageUrl(Struct):
    """Where a picture is, or the picture itself as a data URL."""

    url: str
    detail: str | None = None


class ImagePart(Struct, tag="image_url"):
    """A picture."""

    image_url: ImageUrl | str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: Any = None


class InputAudio(Struct):
    """A sound's bytes."""

    data: str
    format: str


class AudioPart(Struct, tag="input_audio"):
    """A sound."""

    input_audio: InputAudio


class FileFacts(Struct):
    """A file's bytes as a data URL, its URL, or its id."""

    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class FilePart(Struct, tag="file"):
    """A document."""

    file: FileFacts
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: Any = None


AnyPart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart
Content = str | list[AnyPart] | None


class CalledFunction(Struct):
    """Which function an assistant called, and how."""

    name: str
    arguments: str = ""


class Call(Struct):
    """One of an assistant's ``tool_calls``."""

    id: str
    function: CalledFunction | None = None
    type: str = "function"


class SystemTurn(Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: Content = None
    name: str | None = None


class DeveloperTurn(Struct, tag_field="role", tag="developer"):
    """Instructions, by their newer name."""

    content: Content = None
    name: str | None = None


class UserTurn(Struct, tag_field="role", tag="user"):
    """What a person says."""

    content: Content = None
    name: str | None = None


class AssistantTurn(Struct, tag_field="role", tag="assistant"):
    """What the model said."""

    content: Content = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: CalledFunction | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Detail] | None = None
    audio: Raw = _NONE


class ToolTurn(Struct, tag_field="role", tag="tool"):
    """The answer to a call."""

    tool_call_id: str
    content: Content = None
    name: str | None = None


class FunctionTurn(Struct, tag_field="role", tag="function"):
    """The answer to a call, as it was before there were tools."""

    name: str
    content: Content = None


Turn = SystemTurn | DeveloperTurn | UserTurn | AssistantTurn | ToolTurn | FunctionTurn


class FunctionDef(Struct):
    """A function the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDef(Struct):
    """One of ``tools``."""

    type: str = "function"
    function: FunctionDef | None = None
    cache_control: CacheControl | None = None


class _Named(Struct):
    name: str


class _AllowedTool(Struct):
    function: _Named | None = None
    name: str | None = None


class _Allowed(Struct):
    tools: list[_AllowedTool]
    mode: Literal["auto", "required"] = "auto"


class ChosenTool(Struct):
    """``tool_choice`` as an object."""

    type: str
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


class JsonSchema(Struct):
    """``response_format.json_schema``."""

    schema: dict[str, Any] | None = None
    name: str = ""
    strict: bool | None = None


class ResponseFormatField(Struct):
    """``response_format``."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(Struct):
    """The request's fields that the neutral form has words for. All others are extras."""

    messages: list[Turn]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[ToolDef] | None = None
    functions: list[FunctionDef] | None = None
    tool_choice: Literal["auto", "none", "required"] | ChosenTool | None = None
    function_call: Literal["auto", "none"] | _Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormatField | None = None
    user: str | None = None
    service_tier: str | None = None
    store: bool | None = None

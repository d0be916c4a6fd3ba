"""A Responses request as the neutral form, for a target of another dialect.

What OpenAI's chat has a word for goes to ``extras["openai"]``, what only this API has to ``extras["responses"]``; whoever
cannot use it says so. ``metadata``, ``store``, ``previous_response_id`` and the stream's options are served by us.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from penstock.base.errors import BadRequest
from penstock.dialects.openai_responses.envelope import (
    GATEWAY_FIELDS,
    REPORTED,
    ResponsesAsk,
    check_history,
    items_of,
)
from penstock.dialects.openai_responses.proof import unseal
from penstock.dialects.openai_responses.shapes import (
    ChosenTool,
    Item,
    TextField,
    ToolDef,
    kind_of,
)
from penstock.dialects.openai_responses.shapes import Part as WirePart
from penstock.wire.preferences import provider_losses
from penstock.wire.unreadable import unreadable

INPUT = "input"
CUSTOM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {INPUT: {"type": "string"}},
    "required": [INPUT],
    "additionalProperties": False,
}
"""A custom tool takes free text: to others it is a function of one string."""
_SERVED = frozenset(
    {
        *GATEWAY_FIELDS, "model", "input", "instructions", "previous_response_id", "store", "background", "stream",
        "stream_options", "metadata", "reasoning", "text", "tools", "tool_choice", "parallel_tool_calls",
        "max_output_tokens", "temperature", "top_p", "user", "service_tier", "include", "truncation",
    }
)  # fmt: skip
"""Fields that are read here or by the gateway."""
_OF_CHAT = frozenset(
    {"safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "moderation"}
)
_REFUSED = {
    "prompt": "A stored prompt template is known only to the account that made it.",
    "conversation": "Conversation objects are kept by OpenAI only; previous_response_id works with every provider.",
}
_SHOWN_BY_US = frozenset({"reasoning.encrypted_content"})
_PASSED_OVER = frozenset({"web_search_call", "file_search_call", "compaction_trigger"})
"""Traces of a hosted tool whose result stands in the message after them: without them the conversation still says it."""
_MIME_OF_SUFFIX = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
}


class _Body(Struct, gc=False):
    instructions: str | None = None
    tools: list[ToolDef] | None = None
    tool_choice: str | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: TextField | None = None
    service_tier: str | None = None
    include: list[str] | None = None
    truncation: str | None = None


_NULL = Raw(b"null")
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def expand(ask: ResponsesAsk) -> ChatRequest:
    """The neutral request. Raises BadRequest naming the field."""
    check_history(ask)
    try:
        body = _decode_body(ask.body)
        fields = _decode_fields(ask.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, ask.body) from None
    shared, own = _extras(fields, body)
    text = body.text or TextField()
    if text.verbosity is not None:
        shared["verbosity"] = text.verbosity
    messages = _messages(items_of(ask), own)
    if body.instructions:
        messages.insert(0, Message("system", (Text(body.instructions),)))
    if not messages:
        raise BadRequest(
            "The field input is empty.", param="input", hint="Send a string, or a list of items."
        )
    extras = {name: found for name, found in (("openai", shared), ("responses", own)) if found}
    return ChatRequest(
        model=ask.model,
        messages=tuple(messages),
        stream=ask.stream,
        max_tokens=ask.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        tools=_tools(body.tools or (), own),
        tool_choice=_tool_choice(body.tool_choice, own),
        parallel_tool_calls=body.parallel_tool_calls if body.tools else None,
        response_format=_format(text),
        reasoning=ask.reasoning,
        user=ask.user or None,
        service_tier=body.service_tier,
        extras=extras,
        adjusted=_adjusted(ask, fields),
    )


def _adjusted(ask: ResponsesAsk, fields: dict[str, Raw]) -> tuple[str, ...]:
    words = ["tools.custom-approximated"] if ask.custom else []
    words += [f"{name}-dropped" for name in REPORTED if bytes(fields.get(name, _NULL)) != b"null"]
    return (*words, *provider_losses(bytes(fields.get("provider", _NULL))))


def _extras(fields: dict[str, Raw], body: _Body) -> tuple[dict[str, Any], dict[str, Any]]:
    shared: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, raw in fields.items():
        if name in _SERVED or bytes(raw) == b"null":
            continue
        if name in _REFUSED:
            raise BadRequest(
                _REFUSED[name],
                param=name,
                hint="Ask for a model of a provider with dialect: responses, or send the words themselves.",
            )
        (shared if name in _OF_CHAT else own)[name] = msgspec.json.decode(raw)
    for wanted in body.include or ():
        if wanted not in _SHOWN_BY_US:
            own[f"include.{wanted}"] = True
    if body.truncation not in (None, "disabled"):
        own["truncation"] = body.truncation
    return shared, own


class _Turns:
    """Items -> messages: what one assistant did in a row is one message."""

    def __init__(self, own: dict[str, Any]) -> None:
        self.messages: list[Message] = []
        self._own = own
        self._said: list[Part] = []
        self._names: dict[str, str] = {}

    def add(self, item: Item, at: str) -> None:
        kind = kind_of(item)
        match kind:
            case "message":
                self._message(item, at)
            case "reasoning":
                self._said.extend(unseal(item))
            case "function_call":
                self._call(item, item.arguments, at)
            case "custom_tool_call":
                self._call(item, msgspec.json.encode({INPUT: item.input or ""}).decode(), at)
            case "function_call_output" | "custom_tool_call_output":
                self._result(item, at)
            case "image_generation_call" if item.result:
                self._said.append(Image(data=item.result, mime=f"image/{item.output_format or 'png'}"))
            case _ if kind in _PASSED_OVER:
                self._own[f"input.{kind}"] = True
            case _:
                raise _unknown(kind, at)

    def end(self) -> None:
        """What the assistant said since the last other turn, as its message."""
        if self._said:
            self.messages.append(Message("assistant", tuple(self._said)))
            self._said = []

    def _message(self, item: Item, at: str) -> None:
        if item.role == "assistant":
            self._said.extend(_parts(item.content, f"{at}.content"))
            return
        self.end()
        parts = _parts(item.content, f"{at}.content")
        if item.role == "user":
            self.messages.append(Message("user", parts))
        elif item.role in ("system", "developer"):
            for place, part in enumerate(parts):
                if not isinstance(part, Text):
                    raise BadRequest("A system message takes text only.", param=f"{at}.content[{place}]")
            self.messages.append(Message("system", parts))
        else:
            raise BadRequest(
                f"The role {item.role!r} is not known.",
                param=f"{at}.role",
                hint="Send user, assistant, system or developer.",
            )

    def _call(self, item: Item, arguments: str | None, at: str) -> None:
        if not item.call_id or not item.name:
            raise BadRequest("The call has no call_id or no name.", param=at)
        self._names[item.call_id] = item.name
        self._said.append(ToolCall(item.call_id, item.name, arguments or "{}"))

    def _result(self, item: Item, at: str) -> None:
        call_id = item.call_id or ""
        if call_id not in self._names:
            raise BadRequest(
                f"No tool call found for function call output with call_id {call_id}.", param=f"{at}.call_id"
            )
        self.end()
        words: list[str] = []
        images: list[Image] = []
        for place, part in enumerate(_parts(item.output, f"{at}.output")):
            match part:
                case Text(text=text):
                    words.append(text)
                case Image():
                    images.append(part)
                case _:
                    raise BadRequest(
                        "To this provider a tool's output is text and images only.",
                        param=f"{at}.output[{place}]",
                    )
        result = ToolResult(call_id, self._names[call_id], "".join(words), images=tuple(images))
        self.messages.append(Message("tool", (result,)))


def _messages(items: list[Item], own: dict[str, Any]) -> list[Message]:
    turns = _Turns(own)
    for place, item in enumerate(items):
        turns.add(item, f"input[{place}]")
    turns.end()
    return turns.messages


def _unknown(kind: str, at: str) -> BadRequest:
    if kind == "item_reference":
        return BadRequest(
            "A reference to an item can be followed only by the provider that keeps it.",
            param=at,
            hint="Send the item itself, or previous_response_id.",
        )
    if not kind:
        return BadRequest("The item has neither a type nor a role.", param=f"{at}.type")
    return BadRequest(
        f"An item of type {kind!r} can go only to OpenAI's own Responses API.",
        param=f"{at}.type",
        hint="Ask for a model of a provider with dialect: responses, or leave the item out.",
    )


def _parts(content: str | list[WirePart] | None, at: str) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    parts: list[Part] = []
    for place, part in enumerate(content):
        here = f"{at}[{place}]"
        match part.type:
            case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
                if part.text:
                    parts.append(Text(part.text, _cache(part)))
            case "refusal":
                if part.refusal:
                    parts.append(Text(part.refusal))
            case "input_image":
                parts.append(_image(part, here))
            case "input_file":
                parts.append(_document(part, here))
            case "input_audio":
                sound = part.input_audio
                if sound is None or not sound.data:
                    raise BadRequest("The sound has no data.", param=f"{here}.input_audio")
                parts.append(Audio(sound.data, sound.format))
            case kind:
                raise BadRequest(
                    f"The content type {kind!r} is not known.",
                    param=f"{here}.type",
                    hint="Send input_text, input_image, input_file or input_audio; of an assistant, output_text or refusal.",
                )
    return tuple(parts)


def _cache(part: WirePart) -> str | None:
    return "5m" if part.prompt_cache_breakpoint else None


def _image(part: WirePart, at: str) -> Image:
    url = part.image_url or ""
    if not url:
        raise BadRequest(
            "An image by file id can go only to the provider that keeps the file."
            if part.file_id
            else "The image has no image_url.",
            param=at,
            hint='Send "https://..." or "data:image/png;base64,..." as image_url.',
        )
    if url.startswith("data:"):
        mime, data = _data_url(url, f"{at}.image_url")
        return Image(data=data, mime=mime, detail=part.detail, cache=_cache(part))
    if not url.startswith(("https://", "http://", "gs://")):
        raise BadRequest("The image's URL is neither http(s) nor a data URL.", param=f"{at}.image_url")
    return Image(url=url, detail=part.detail, cache=_cache(part))


def _document(part: WirePart, at: str) -> Document:
    filename, cache = part.filename or "", _cache(part)
    if part.file_id:
        return Document(file_id=part.file_id, filename=filename, cache=cache)
    if part.file_url:
        return Document(url=part.file_url, filename=filename, cache=cache)
    if not part.file_data:
        raise BadRequest(
            f"The file in {at} has none of file_data, file_url and file_id.",
            param=at,
            hint='Send file_url: "https://...", or file_data: "data:application/pdf;base64,...".',
        )
    if part.file_data.startswith("data:"):
        mime, data = _data_url(part.file_data, f"{at}.file_data")
    else:
        mime, data = _MIME_OF_SUFFIX.get(filename.rpartition(".")[2].lower(), ""), part.file_data
    return Document(data=data, mime=mime, filename=filename, cache=cache)


def _data_url(url: str, at: str) -> tuple[str, str]:
    head, comma, data = url.partition(",")
    mime, *options = head.removeprefix("data:").split(";")
    if not comma or "base64" not in options or not data:
        raise BadRequest("The data URL is not base64.", param=at, hint='Send "data:<type>;base64,<data>".')
    return mime, data


def _tools(found: Iterable[ToolDef], own: dict[str, Any]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for place, tool in enumerate(found):
        at = f"tools[{place}]"
        if tool.type not in ("function", "custom"):
            raise BadRequest(
                f"The tool {tool.type!r} is run by OpenAI itself: only a provider with dialect: responses has it.",
                param=f"{at}.type",
                hint="Use a function tool, or a model of such a provider.",
            )
        if not tool.name:
            raise BadRequest("The tool has no name.", param=f"{at}.name")
        if tool.type == "function":
            tools.append(Tool(tool.name, tool.description or "", tool.parameters, tool.strict))
            continue
        words = [tool.description or ""]
        if tool.format is not None and tool.format.get("type") == "grammar":
            own["tools.grammar"] = True
            words.append(f"The input follows this grammar: {tool.format.get('definition', '')}")
        tools.append(Tool(tool.name, "\n".join(filter(None, words)), CUSTOM_SCHEMA))
    return tuple(tools)


def _tool_choice(choice: str | ChosenTool | None, own: dict[str, Any]) -> ToolChoice | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise BadRequest(
                f"The tool_choice {choice!r} is not known.",
                param="tool_choice",
                hint="Send auto, none or required.",
            )
        return ToolChoice(choice)
    if choice.type in ("function", "custom") and choice.name:
        return ToolChoice("named", (choice.name,))
    if choice.type == "allowed_tools" and choice.tools is not None:
        names = tuple(tool.name for tool in choice.tools if tool.name)
        if choice.mode == "auto":
            own["tool_choice.allowed_tools"] = list(names)
        return ToolChoice("named" if choice.mode == "required" else "auto", names)
    raise BadRequest(
        f"A tool_choice of type {choice.type!r} cannot go to this provider.",
        param="tool_choice.type",
        hint='Send "auto", "none", "required", or an object of type function, custom or allowed_tools.',
    )


def _format(text: TextField) -> ResponseFormat | None:
    found = text.format
    if found is None or found.type == "text":
        return None
    if found.type == "json_object":
        return ResponseFormat("json_object")
    if found.schema is None:
        raise BadRequest("The schema is missing.", param="text.format.schema")
    return ResponseFormat("json_schema", found.schema, found.name or "", found.strict)

"""The neutral request as OpenAI's Responses API reads it.

Used where the caller's bytes cannot go through: another dialect's caller, or a request that had to change. Every call
stands for itself: nothing is stored there, and thoughts come back encrypted, to be given back by the caller.
"""

import re
from typing import Any

import msgspec

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.dialects.openai_chat.rules import (
    JSON_WORD,
    effort_of,
    has_breakpoints,
    headers,
    wants_json_word,
)
from penstock.dialects.openai_responses.proof import FORMAT
from penstock.wire.http import WireRequest

PATH = b"/responses"
LEAST_CAP = 16
"""A lower ``max_output_tokens`` is refused (openai-openapi 2.3.0)."""
# o-series, gpt-5 and later think; others refuse to encrypt what they have not got (reference wire.md, 4.1).
_THINKS = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))")
_PLAIN = ("temperature", "top_p", "user", "service_tier")
_UNKNOWN = ("seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "top_k")
_TAKEN = frozenset(
    {
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "moderation",
    }
)
"""Extras of OpenAI's chat that have the same name here."""


def refuse(request: ChatRequest, target: Target) -> Rejected | None:
    """Why the request cannot be translated for ``target``."""
    if request.n is not None and request.n > 1:
        return _no("n-unsupported", f"{target.name} gives one answer a call.", "n")
    if request.stop:
        # To leave it out would let the answer run on past where the caller wants its end.
        return _no(
            "stop-unsupported",
            f"The Responses API of {target.name} has no stop sequences. "
            "Leave stop out and cut the answer yourself, or ask for a model that is reached by chat.",
            "stop",
        )
    for message in request.messages:
        for part in message.parts:
            media = part.images if isinstance(part, ToolResult) else (part,)
            if any(isinstance(one, Image | Document) and one.url.startswith("gs://") for one in media):
                return _no(
                    "gs-unsupported",
                    f"{target.name} reads no gs:// address; only Google does. Send the bytes instead.",
                    "messages",
                )
            if isinstance(part, Audio | Video):
                kind = type(part).__name__.lower()
                return _no(
                    f"{kind}-unsupported", f"The Responses API of {target.name} takes no {kind}.", "messages"
                )
    return None


def _no(code: str, reason: str, param: str) -> Rejected:
    return Rejected(code, reason, param=param, caller_fault=True)


def write_request(request: ChatRequest, target: Target, credential: str) -> WireRequest:
    """The call to ``target``."""
    adjusted: list[str] = []
    body: dict[str, Any] = {
        "model": target.model,
        "input": _Input(adjusted).of(request.messages),
        "store": False,
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.max_tokens is not None:
        body["max_output_tokens"] = max(request.max_tokens, LEAST_CAP)
        if request.max_tokens < LEAST_CAP:
            adjusted.append("max_tokens-approximated")
    for name in _PLAIN:
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    for name in _UNKNOWN:
        value = getattr(request, name)
        if value is not None and value is not False:
            adjusted.append(f"{name}-dropped")
    if request.store:
        adjusted.append("store-dropped")
    if has_breakpoints(request):
        adjusted.append("cache_control-dropped")
    if request.response_format is not None:
        body["text"] = {"format": _format(request.response_format)}
        if wants_json_word(request):
            body["input"].insert(0, {"role": "system", "content": JSON_WORD})
            adjusted.append("json-word-added")
    _reasoning(body, request.reasoning, target, adjusted)
    _extras(body, request, adjusted)
    if request.stream:
        body["stream"] = True
    return WireRequest(
        b"POST",
        PATH,
        headers(credential, stream=request.stream),
        msgspec.json.encode(body),
        tuple(dict.fromkeys(adjusted)),
    )


def thinks(target: Target) -> bool:
    """Whether the model has thoughts to encrypt, as far as that is known."""
    style = target.facts.reasoning
    if style is not None:
        return style != "none"
    return not target.facts.known and _THINKS.match(target.model.rpartition("/")[2]) is not None


def _reasoning(body: dict[str, Any], wish: Reasoning | None, target: Target, adjusted: list[str]) -> None:
    if thinks(target):
        body["include"] = ["reasoning.encrypted_content"]
    if wish is None:
        return
    effort, losses = effort_of(wish, target)
    adjusted.extend(loss for loss in losses if loss != "reasoning.exclude-dropped")
    if effort is None:
        return
    body["reasoning"] = {"effort": effort}
    if effort != "none" and not wish.exclude:
        # Without it nothing of the thoughts is shown, and the chat inlet has no word to ask for it.
        body["reasoning"]["summary"] = "auto"


def _extras(body: dict[str, Any], request: ChatRequest, adjusted: list[str]) -> None:
    for dialect, fields in request.extras.items():
        for name, value in fields.items():
            if dialect == "responses":
                if "." in name:
                    if name != "tool_choice.allowed_tools":
                        adjusted.append(f"{name}-dropped")
                else:
                    body.setdefault(name, value)
            elif dialect == "openai" and name == "verbosity":
                body.setdefault("text", {})["verbosity"] = value
            elif dialect == "openai" and name in _TAKEN:
                body.setdefault(name, value)
            elif name != "tool_choice.allowed_tools":
                adjusted.append(f"{name}-dropped")


def _format(wish: ResponseFormat) -> dict[str, Any]:
    if wish.kind != "json_schema":
        return {"type": wish.kind}
    facts = {"type": wish.kind, "name": wish.name or "answer", "schema": wish.schema, "strict": wish.strict}
    return {name: value for name, value in facts.items() if value is not None}


def _tool(tool: Tool) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    wire["parameters"] = (
        tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    )
    # Absent means true here, and false in chat: said, so that a schema which is not strict is not refused.
    wire["strict"] = tool.strict is True
    return wire


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if not choice.names:
        return "required" if choice.mode == "named" else choice.mode
    named = [{"type": "function", "name": name} for name in choice.names]
    if choice.mode == "named" and len(named) == 1:
        return named[0]
    mode = "auto" if choice.mode == "auto" else "required"
    return {"type": "allowed_tools", "mode": mode, "tools": named}


class _Input:
    """Messages -> input items."""

    def __init__(self, adjusted: list[str]) -> None:
        self._adjusted = adjusted
        self._items: list[dict[str, Any]] = []

    def of(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        """All of them."""
        for message in messages:
            if message.name:
                self._adjusted.append("name-dropped")
            match message.role:
                case "assistant":
                    self._assistant(message)
                case "tool":
                    for part in message.parts:
                        if isinstance(part, ToolResult):
                            self._result(part)
                case role:
                    content = [_content(part) for part in message.parts if _is_content(part)]
                    if len(content) == 1 and content[0]["type"] == "input_text":
                        self._items.append({"role": role, "content": content[0]["text"]})
                    else:
                        self._items.append({"role": role, "content": content})
        return self._items

    def _assistant(self, message: Message) -> None:
        """Thoughts, words and calls in their order; the words of a run are one message."""
        words: list[str] = []
        shown = ""
        for part in message.parts:
            if isinstance(part, Text):
                words.append(part.text)
                continue
            self._words(words)
            match part:
                case Thinking():
                    shown = self._thought(part, shown)
                case ToolCall():
                    call = {"call_id": part.id, "name": part.name, "arguments": part.arguments or "{}"}
                    self._items.append({"type": "function_call", **call})
                case _:
                    self._adjusted.append("assistant-media-dropped")
        self._words(words)

    def _words(self, words: list[str]) -> None:
        text = "".join(words)
        words.clear()
        if text:
            self._items.append({"role": "assistant", "content": text})

    def _thought(self, part: Thinking, shown: str) -> str:
        """OpenAI's own state goes back with the summary that came before it. Nobody else's means anything there."""
        if part.format != FORMAT:
            self._adjusted.append("thinking-dropped")
            return ""
        if not part.redacted:
            return shown + part.text
        item: dict[str, Any] = {"type": "reasoning"}
        if part.tool_id:
            item["id"] = part.tool_id
        item["summary"] = [{"type": "summary_text", "text": shown}] if shown else []
        item["encrypted_content"] = part.redacted
        self._items.append(item)
        return ""

    def _result(self, result: ToolResult) -> None:
        output: str | list[dict[str, Any]] = result.text
        if result.images:
            output = [{"type": "input_text", "text": result.text}] if result.text else []
            output += [_image(image) for image in result.images]
        if result.is_error:
            self._adjusted.append("tool_result.is_error-dropped")
        self._items.append({"type": "function_call_output", "call_id": result.id, "output": output})


def _is_content(part: Part) -> bool:
    return isinstance(part, Text | Image | Document)


def _content(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image():
            return _image(part)
        case Document():
            return _file(part)
        case _:
            raise AssertionError(f"a {type(part).__name__} among content parts")


def _image(image: Image) -> dict[str, Any]:
    wire = {"type": "input_image", "image_url": image.url or f"data:{image.mime};base64,{image.data}"}
    return {**wire, "detail": image.detail or "auto"}


def _file(document: Document) -> dict[str, Any]:
    if document.file_id:
        return {"type": "input_file", "file_id": document.file_id}
    if document.url:
        return {"type": "input_file", "file_url": document.url}
    mime = document.mime or "application/octet-stream"
    name = document.filename or f"file.{mime.rpartition('/')[2]}"
    return {"type": "input_file", "filename": name, "file_data": f"data:{mime};base64,{document.data}"}

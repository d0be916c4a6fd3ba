"""The neutral request as an OpenAI-compatible provider reads it.

Used where the caller's bytes cannot go through: another dialect's caller, or a request that we had to change.
"""

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
from penstock.base.events import ThinkingDelta
from penstock.base.models import Target
from penstock.dialects.openai_chat.details import write_detail
from penstock.dialects.openai_chat.envelope import GATEWAY_FIELDS
from penstock.dialects.openai_chat.rules import (
    JSON_WORD,
    PATH,
    cap_name,
    effort_of,
    has_breakpoints,
    headers,
    is_openai_own,
    known_fields,
    wants_json_word,
)
from penstock.wire.http import WireRequest

_PLAIN = (
    "temperature",
    "top_p",
    "top_k",
    "n",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
    "user",
    "service_tier",
    "store",
)
_SOUNDS = frozenset({"wav", "mp3"})
"""What ``input_audio`` takes (OpenAI's API reference, chat; read 2026-11)."""


def refuse(request: ChatRequest, target: Target) -> Rejected | None:
    """Why the request cannot be translated for ``target``."""
    for number, message in enumerate(request.messages):
        for place, part in enumerate(message.parts):
            no = (
                None
                if isinstance(part, Text)
                else _fault(part, target, f"messages[{number}].content[{place}]")
            )
            if no is not None:
                return no
    return None


def _fault(part: Part, target: Target, where: str) -> Rejected | None:
    """Why a part cannot go to ``target``, or None. A code that ends in "-url": its bytes could."""
    media = part.images if isinstance(part, ToolResult) else (part,)
    for one in media:
        if isinstance(one, Image | Document | Audio | Video) and one.url.startswith("gs://"):
            return _no("gs-unsupported", where, f"{target.name} reads no gs:// address; only Google does")
    if not is_openai_own(target):
        return None
    match part:
        case Video():
            return _no("video-unsupported", where, f"{target.name} takes no video", "Send pictures of it")
        case Audio(data="", url=url):
            code = "audio-url" if url else "audio-unsupported"
            return _no(code, where, f"{target.name} takes of a sound its bytes alone (input_audio)")
        case Audio(format=form) if form.lower().removeprefix("audio/") not in _SOUNDS:
            return _no(
                "audio-format",
                where,
                f"{target.name} takes wav and mp3, not {form[:40] or 'a sound of no type'}",
                "Convert it",
            )
        case Document(url=url) if url:
            return _no("document-by-url", where, f"{target.name} takes a file's data or id, not its URL")
        case _:
            return None


def _no(code: str, where: str, what: str, remedy: str = "Send the bytes instead") -> Rejected:
    return Rejected(code, f"{what} ({where}). {remedy}.", param=where, caller_fault=True)


def write_request(request: ChatRequest, target: Target, credential: str) -> WireRequest:
    """The call to ``target``."""
    known = known_fields(target)
    adjusted: list[str] = []
    body: dict[str, Any] = {"model": target.model, "messages": _messages(request, target, known, adjusted)}
    if request.tools:
        body["tools"] = [_tool(tool, known) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.max_tokens is not None:
        body[cap_name(target) or "max_tokens"] = request.max_tokens
    for name in _PLAIN:
        value = getattr(request, name)
        if value is not None and name == "top_k" and is_openai_own(target):
            adjusted.append(
                "top_k-dropped"
            )  # OpenAI refuses the field, which many who speak its dialect take
        elif value is not None:
            body[name] = value
    if request.stop:
        body["stop"] = list(request.stop)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    if is_openai_own(target) and wants_json_word(request):
        body["messages"].insert(0, {"role": "system", "content": JSON_WORD})
        adjusted.append("json-word-added")
    if "cache_control" not in known and has_breakpoints(request):
        adjusted.append("cache_control-dropped")
    if request.reasoning is not None:
        _reasoning(body, request.reasoning, target, known, adjusted)
    for name, value in request.extras.get("openai", {}).items():
        if name in GATEWAY_FIELDS and name not in known:
            adjusted.append(f"{name}-dropped")
        elif "." in name:
            if name != "tool_choice.allowed_tools":
                adjusted.append(f"{name}-dropped")
        else:
            body.setdefault(name, value)
    adjusted.extend(
        f"{name}-dropped"
        for dialect, fields in request.extras.items()
        if dialect != "openai"
        for name in fields
    )
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return WireRequest(
        b"POST",
        PATH,
        headers(credential, stream=request.stream),
        msgspec.json.encode(body),
        tuple(dict.fromkeys(adjusted)),
    )


def _response_format(wish: ResponseFormat) -> dict[str, Any]:
    if wish.kind != "json_schema":
        return {"type": wish.kind}
    schema = {"name": wish.name or "answer", "schema": wish.schema, "strict": wish.strict}
    return {"type": wish.kind, "json_schema": {k: v for k, v in schema.items() if v is not None}}


def _reasoning(
    body: dict[str, Any], wish: Reasoning, target: Target, known: frozenset[str], adjusted: list[str]
) -> None:
    if "reasoning" not in known:
        effort, losses = effort_of(wish, target)
        adjusted.extend(losses)
        if effort is not None:
            body["reasoning_effort"] = effort
        return
    facts = {
        "effort": wish.effort,
        "max_tokens": wish.max_tokens,
        "enabled": wish.enabled,
        "exclude": wish.exclude or None,
    }
    body["reasoning"] = {name: value for name, value in facts.items() if value is not None}


def _messages(
    request: ChatRequest, target: Target, known: frozenset[str], adjusted: list[str]
) -> list[dict[str, Any]]:
    wire: list[dict[str, Any]] = []
    moved: list[Image] = []
    """Images of tool results: OpenAI takes them only from a user, so they follow the run of results."""
    for message in request.messages:
        if message.role != "tool" and moved:
            wire.append(_moved(moved))
            moved = []
        match message.role:
            case "tool":
                for part in message.parts:
                    if isinstance(part, ToolResult):
                        wire.append({"role": "tool", "tool_call_id": part.id, "content": part.text})
                        moved.extend(part.images)
                        if part.is_error:
                            adjusted.append("tool_result.is_error-dropped")
            case "assistant":
                wire.append(_assistant(message, target, known, adjusted))
            case _:
                entry: dict[str, Any] = {"role": message.role, "content": _content(message.parts, known)}
                if message.name:
                    entry["name"] = message.name
                wire.append(entry)
        if moved:
            adjusted.append("tool_result.images-moved")
    if moved:
        wire.append(_moved(moved))
    return wire


def _moved(images: list[Image]) -> dict[str, Any]:
    return {"role": "user", "content": [_image(image) for image in images]}


def _assistant(
    message: Message, target: Target, known: frozenset[str], adjusted: list[str]
) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": "assistant"}
    thoughts = [part for part in message.parts if isinstance(part, Thinking)]
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    words = tuple(part for part in message.parts if not isinstance(part, Thinking | ToolCall))
    entry["content"] = _content(words, known) if words else (None if calls else "")
    if message.name:
        entry["name"] = message.name
    if thoughts:
        _thoughts(entry, thoughts, target, known, adjusted)
    if calls:
        entry["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in calls
        ]
    return entry


def _thoughts(
    entry: dict[str, Any],
    thoughts: list[Thinking],
    target: Target,
    known: frozenset[str],
    adjusted: list[str],
) -> None:
    """OpenRouter takes ``reasoning_details``; most others ``reasoning_content``; OpenAI's chat takes none."""
    if "reasoning" in known:
        entry["reasoning_details"] = [
            write_detail(
                ThinkingDelta(part.text, part.signature, part.format, part.redacted, part.tool_id), index
            )
            for index, part in enumerate(thoughts)
        ]
        return
    text = "".join(part.text for part in thoughts)
    if is_openai_own(target) or any(part.signature or part.redacted for part in thoughts) or not text:
        # Another maker's signed thoughts mean nothing here, and OpenAI refuses the field.
        adjusted.append("thinking-dropped")
        return
    entry["reasoning_content"] = text


def _content(parts: tuple[Part, ...], known: frozenset[str]) -> str | list[dict[str, Any]]:
    if not parts:
        return ""
    first = parts[0]
    marks = "cache_control" in known
    if len(parts) == 1 and isinstance(first, Text) and not (first.cache and marks):
        return first.text
    return [_part(part, marks=marks) for part in parts]


def _part(part: Part, *, marks: bool) -> dict[str, Any]:
    wire: dict[str, Any]
    match part:
        case Text(text=text):
            wire = {"type": "text", "text": text}
        case Image():
            wire = _image(part)
        case Audio():
            wire = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case Document():
            wire = {"type": "file", "file": _file(part)}
        case Video():
            wire = {
                "type": "video_url",
                "video_url": {"url": part.url or f"data:{part.mime};base64,{part.data}"},
            }
        case Thinking() | ToolCall() | ToolResult():
            # These stand in fields of their own; here only if a reader put them into a wrong role.
            raise AssertionError(f"a {type(part).__name__} among content parts")
    cache = None if isinstance(part, Audio | Video) else part.cache
    if marks and cache:
        wire["cache_control"] = (
            {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
        )
    return wire


def _image(image: Image) -> dict[str, Any]:
    url: dict[str, Any] = {"url": image.url or f"data:{image.mime};base64,{image.data}"}
    if image.detail:
        url["detail"] = image.detail
    return {"type": "image_url", "image_url": url}


def _file(document: Document) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if document.file_id:
        facts["file_id"] = document.file_id
    else:
        mime = document.mime or "application/octet-stream"
        facts["file_data"] = document.url or f"data:{mime};base64,{document.data}"
    if document.filename:
        facts["filename"] = document.filename
    return facts


def _tool(tool: Tool, known: frozenset[str]) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    wire: dict[str, Any] = {"type": "function", "function": function}
    if tool.cache and "cache_control" in known:
        wire["cache_control"] = (
            {"type": "ephemeral"} if tool.cache == "5m" else {"type": "ephemeral", "ttl": tool.cache}
        )
    return wire


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if not choice.names:
        return "required" if choice.mode == "named" else choice.mode
    functions = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if choice.mode == "named" and len(functions) == 1:
        return functions[0]
    mode = "auto" if choice.mode == "auto" else "required"
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": functions}}

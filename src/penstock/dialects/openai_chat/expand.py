"""The caller's request as the neutral form, for a target of another dialect.

What the neutral form has no word for goes to ``extras["openai"]``, so that whoever drops it can say so. Names with a
dot are facts about fields that were read otherwise, such as ``provider.sort``.
"""

from typing import Any

import msgspec
from msgspec import Raw

from penstock.base.chat import (
    Ask,
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
)
from penstock.base.errors import BadRequest
from penstock.base.events import ThinkingDelta
from penstock.dialects.openai_chat import turns
from penstock.dialects.openai_chat.details import Formats, read_detail
from penstock.dialects.openai_chat.envelope import GATEWAY_FIELDS, unreadable
from penstock.wire.preferences import provider_losses

MAX_STOPS = 4
# Read by the gateway itself, or without effect: nothing is lost with them.
_CONSUMED = frozenset(GATEWAY_FIELDS) - {"transforms", "plugins", "cache_control"}
_KNOWN = frozenset(turns.ChatBody.__struct_fields__) | {
    "model",
    "stream",
    "stream_options",
    "reasoning_effort",
}
_BODY = msgspec.json.Decoder(turns.ChatBody)
_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_MIME_OF_SUFFIX = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
}


def expand(ask: Ask) -> ChatRequest:
    """The neutral request. Raises BadRequest naming the field."""
    try:
        body = _BODY.decode(ask.body)
        fields = _FIELDS.decode(ask.body)
        extras = _extras(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, ask.body) from None
    cap = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    if cap is not None and cap < 1:
        raise BadRequest(f"The output cap is {cap}.", param="max_tokens", hint="Send at least 1.")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if len(stop) > MAX_STOPS:
        raise BadRequest(f"The field stop holds {len(stop)} sequences.", param="stop", hint="Send at most 4.")
    choice = _tool_choice(body)
    if choice is not None and choice.mode == "auto" and choice.names:
        extras["tool_choice.allowed_tools"] = list(choice.names)
    return ChatRequest(
        model=ask.model,
        messages=_messages(body.messages, extras),
        stream=ask.stream,
        max_tokens=cap,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        n=body.n,
        seed=body.seed,
        stop=stop,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logprobs=body.logprobs,
        top_logprobs=body.top_logprobs,
        tools=_tools(body),
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        response_format=_response_format(body.response_format),
        reasoning=_asked(ask.reasoning),
        user=body.user,
        service_tier=body.service_tier,
        store=body.store,
        extras={"openai": extras} if extras else {},
    )


def _asked(reasoning: Reasoning | None) -> Reasoning | None:
    """``exclude`` alone asks for no thinking: it is the writer's affair."""
    if reasoning is None or (reasoning.effort, reasoning.max_tokens, reasoning.enabled) == (None, None, None):
        return None
    return reasoning


def _extras(fields: dict[str, Raw]) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    for name, raw in fields.items():
        if name == "provider":
            extras.update({loss.removesuffix("-dropped"): True for loss in provider_losses(bytes(raw))})
        if name in _KNOWN or name in _CONSUMED or bytes(raw) == b"null":
            continue
        extras[name] = msgspec.json.decode(raw)
    return extras


def _messages(found: list[turns.Turn], extras: dict[str, Any]) -> tuple[Message, ...]:
    names: dict[str, str] = {}
    """Call id -> function name, as far as the history goes."""
    last_legacy = ""
    messages: list[Message] = []
    for place, turn in enumerate(found):
        at = f"messages[{place}]"
        match turn:
            case turns.SystemTurn() | turns.DeveloperTurn():
                messages.append(Message("system", _system(turn.content, at), turn.name or ""))
            case turns.UserTurn():
                messages.append(Message("user", _parts(turn.content, at), turn.name or ""))
            case turns.AssistantTurn():
                parts = _assistant(turn, at)
                for part in parts:
                    if isinstance(part, ToolCall):
                        names[part.id] = part.name
                        last_legacy = part.id
                if bytes(turn.audio) not in (b"", b"null"):
                    extras["messages.audio"] = True
                messages.append(Message("assistant", parts, turn.name or ""))
            case turns.ToolTurn():
                if turn.tool_call_id not in names:
                    raise BadRequest(
                        f"The call id {turn.tool_call_id!r} is not in the messages before it.",
                        param=f"{at}.tool_call_id",
                        hint="Send the assistant's message with its tool_calls before the tool's answer.",
                    )
                messages.append(_result(turn.tool_call_id, names[turn.tool_call_id], turn.content, at))
            case turns.FunctionTurn():
                if names.get(last_legacy) != turn.name:
                    raise BadRequest(
                        f"No call of the function {turn.name!r} stands before its answer.",
                        param=f"{at}.name",
                        hint="Send the assistant's message with its function_call before it.",
                    )
                messages.append(_result(last_legacy, turn.name, turn.content, at))
    return tuple(messages)


def _system(content: turns.Content, at: str) -> tuple[Part, ...]:
    parts = _parts(content, at)
    for place, part in enumerate(parts):
        if not isinstance(part, Text):
            raise BadRequest(
                "A system message takes text only.",
                param=f"{at}.content[{place}]",
                hint="Send other parts in a user message.",
            )
    return parts


def _assistant(turn: turns.AssistantTurn, at: str) -> tuple[Part, ...]:
    parts: list[Part] = [*_thinking(turn), *_parts(turn.content, at)]
    if turn.refusal:
        parts.append(Text(turn.refusal))
    for place, call in enumerate(turn.tool_calls or ()):
        if call.function is None:
            raise BadRequest(
                f"A call of type {call.type!r} can go only to a provider of OpenAI's own dialect.",
                param=f"{at}.tool_calls[{place}]",
                hint="Use a function tool.",
            )
        parts.append(ToolCall(call.id, call.function.name, call.function.arguments))
    if turn.function_call is not None:
        # A legacy call has no id; its place makes one that stays the same when the history is sent again.
        call_id = f"call_{at.removeprefix('messages[').removesuffix(']')}"
        parts.append(ToolCall(call_id, turn.function_call.name, turn.function_call.arguments))
    return tuple(parts)


def _thinking(turn: turns.AssistantTurn) -> list[Thinking]:
    """Thoughts echoed back. Fragments of one block, as a stream sent them, become one block again."""
    blocks: list[Thinking] = []
    indices: list[int | None] = []
    formats = Formats()
    for detail in turn.reasoning_details or ():
        delta = read_detail(detail, formats.of(detail))
        if delta is None:
            continue
        if blocks and indices[-1] == detail.index and _continues(blocks[-1], delta):
            blocks[-1] = Thinking(blocks[-1].text + delta.text, delta.signature, delta.format)
        else:
            blocks.append(Thinking(delta.text, delta.signature, delta.format, delta.redacted, delta.tool_id))
            indices.append(detail.index)
    if blocks:
        return blocks
    text = turn.reasoning or turn.reasoning_content
    return [Thinking(text)] if text else []


def _continues(block: Thinking, delta: ThinkingDelta) -> bool:
    return not (block.signature or block.redacted or delta.redacted or delta.tool_id) and (
        block.format == delta.format
    )


def _result(call_id: str, name: str, content: turns.Content, at: str) -> Message:
    words: list[str] = []
    images: list[Image] = []
    for place, part in enumerate(_parts(content, at)):
        match part:
            case Text(text=text):
                words.append(text)
            case Image():
                images.append(part)
            case _:
                raise BadRequest(
                    "A tool's answer takes text and images only.", param=f"{at}.content[{place}]"
                )
    return Message("tool", (ToolResult(call_id, name, "".join(words), images=tuple(images)),))


def _parts(content: turns.Content, at: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),) if content else ()
    parts: list[Part] = []
    for place, part in enumerate(content):
        match part:
            case turns.TextPart(text=text):
                parts.append(Text(text, _cache(part)))
            case turns.RefusalPart(refusal=text):
                parts.append(Text(text))
            case turns.ImagePart():
                parts.append(_image(part, f"{at}.content[{place}].image_url"))
            case turns.AudioPart(input_audio=sound):
                parts.append(Audio(sound.data, sound.format))
            case turns.FilePart():
                parts.append(_document(part, f"{at}.content[{place}].file"))
    return tuple(parts)


def _cache(part: turns.TextPart | turns.ImagePart | turns.FilePart) -> str | None:
    if part.cache_control is not None:
        return part.cache_control.ttl or "5m"
    return "5m" if part.prompt_cache_breakpoint else None


def _image(part: turns.ImagePart, at: str) -> Image:
    image = part.image_url if isinstance(part.image_url, turns.ImageUrl) else turns.ImageUrl(part.image_url)
    if image.url.startswith("data:"):
        mime, data = _data_url(image.url, at)
        return Image(data=data, mime=mime, detail=image.detail, cache=_cache(part))
    if not image.url.startswith(("https://", "http://", "gs://")):
        raise BadRequest(
            "The image's URL is neither http(s) nor a data URL.",
            param=at,
            hint='Send "https://..." or "data:image/png;base64,...".',
        )
    return Image(url=image.url, detail=image.detail, cache=_cache(part))


def _document(part: turns.FilePart, at: str) -> Document:
    facts, cache = part.file, _cache(part)
    filename = facts.filename or ""
    if facts.file_id:
        return Document(file_id=facts.file_id, filename=filename, cache=cache)
    if facts.file_url:
        if not facts.file_url.startswith(("https://", "http://", "gs://")):
            raise BadRequest(
                "The file_url is no web address.", param=f"{at}.file_url", hint='Send "https://...".'
            )
        return Document(url=facts.file_url, filename=filename, cache=cache)
    if not facts.file_data:
        raise BadRequest(
            f"The file in {at} has none of file_data, file_id and file_url.",
            param=at,
            hint='Send file_data: "data:application/pdf;base64,...", or file_url: "https://...".',
        )
    if facts.file_data.startswith(("https://", "http://", "gs://")):
        return Document(url=facts.file_data, filename=filename, cache=cache)
    if facts.file_data.startswith("data:"):
        mime, data = _data_url(facts.file_data, at)
    else:
        mime, data = _MIME_OF_SUFFIX.get(filename.rpartition(".")[2].lower(), ""), facts.file_data
    return Document(data=data, mime=mime, filename=filename, cache=cache)


def _data_url(url: str, at: str) -> tuple[str, str]:
    head, comma, data = url.partition(",")
    mime, *options = head.removeprefix("data:").split(";")
    if not comma or "base64" not in options or not data:
        raise BadRequest("The data URL is not base64.", param=at, hint='Send "data:<type>;base64,<data>".')
    return mime, data


def _tools(body: turns.ChatBody) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for place, entry in enumerate(body.tools or ()):
        if entry.function is None:
            raise BadRequest(
                f"A tool of type {entry.type!r} can go only to a provider that has it.",
                param=f"tools[{place}].type",
                hint="Use a function tool.",
            )
        control = entry.cache_control
        tools.append(_tool(entry.function, (control.ttl or "5m") if control else None))
    tools.extend(_tool(function, None) for function in body.functions or ())
    return tuple(tools)


def _tool(function: turns.FunctionDef, cache: str | None) -> Tool:
    return Tool(function.name, function.description or "", function.parameters, function.strict, cache)


def _tool_choice(body: turns.ChatBody) -> ToolChoice | None:
    """``allowed_tools`` in mode auto keeps its names beside mode "auto": the model may also call none."""
    choice, legacy = body.tool_choice, body.function_call
    if choice is None:
        if legacy is None:
            return None
        return ToolChoice(legacy) if isinstance(legacy, str) else ToolChoice("named", (legacy.name,))
    if isinstance(choice, str):
        return ToolChoice(choice)
    if choice.function is not None:
        return ToolChoice("named", (choice.function.name,))
    if choice.allowed_tools is None:
        raise BadRequest(
            f"A tool_choice of type {choice.type!r} cannot go to this provider.",
            param="tool_choice.type",
            hint='Send "auto", "none", "required", or an object of type function or allowed_tools.',
        )
    names = tuple(
        tool.function.name if tool.function is not None else tool.name or ""
        for tool in choice.allowed_tools.tools
    )
    return ToolChoice("named" if choice.allowed_tools.mode == "required" else "auto", names)


def _response_format(found: turns.ResponseFormatField | None) -> ResponseFormat | None:
    if found is None:
        return None
    if found.type != "json_schema":
        return ResponseFormat(found.type)
    schema = found.json_schema
    if schema is None:
        raise BadRequest("The schema is missing.", param="response_format.json_schema")
    return ResponseFormat("json_schema", schema.schema, schema.name, schema.strict)

"""Anthropic's Messages API as its servers write it, both versions.

Source: anthropic-python 2.11.0 (types and streaming fixtures) and platform.claude.com/docs, read 2026-11.
"""

import hashlib
from typing import Any

import msgspec

from penstock.base.usage import Usage
from penstock.simulate import anthropic_rules as rules
from penstock.simulate.content import Answer, Asked, ToolSpec, answer_to, grouped, tokens_in
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.untyped import as_int, as_list, as_object, as_text
from penstock.wire.http import Headers

_encode = msgspec.json.Encoder().encode
_ERRORS = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found."),
    409: ("conflict_error", "Conflict."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "stop_sequence": "stop_sequence",
    "filter": "refusal",
    "refusal": "refusal",
    "blocked": "refusal",
    "malformed": "end_turn",
}
_EFFORT_TOKENS = {"low": 8, "medium": 16, "high": 32, "xhigh": 64, "max": 128}
_MAX_PROMPTS_SEEN = 10_000
_NOTHING: dict[str, Any] = {}


class Anthropic:
    """The dialect: ``/v1/messages``, ``/v1/messages/count_tokens``, ``/v1/models``."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(401, "x-api-key header is required")
        if call.path.endswith("/models"):
            return _models(call)
        if call.method != "POST" or call.path not in ("/v1/messages", "/v1/messages/count_tokens"):
            raise Refused(404 if call.method == "POST" else 405, "Not Found")
        body = as_object(call.json)
        counting = call.path.endswith("/count_tokens")
        rules.check(body, call, counting=counting)
        asked, display = _asked(body, call)
        if counting:
            return _reply(call, {"input_tokens": asked.input_tokens + asked.image_tokens})
        answer = answer_to(asked, call)
        if answer.stop == "blocked":
            answer.text = []
        if call.stream:
            headers = _headers(call, b"text/event-stream; charset=utf-8")
            return Reply(
                200, [*headers, (b"cache-control", b"no-cache")], frames=_frames(answer, call, display)
            )
        reply = _reply(call, _message(answer, call, display))
        reply.tokens = answer.usage.completion_tokens
        return reply

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        reply = _reply(call, _error(refused, call))
        reply.status = refused.status
        return reply

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """An ``error`` event."""
        return _event(b"error", _error(refused, call))


ANTHROPIC = Anthropic()


def _error(refused: Refused, call: Call) -> dict[str, Any]:
    kind, message = _ERRORS.get(refused.status) or _ERRORS[400 if refused.status < 500 else 500]
    error: dict[str, Any] = {"type": refused.kind or kind, "message": refused.message or message}
    if refused.code:
        error["details"] = {"error_code": refused.code}
    return {"type": "error", "error": error, "request_id": _request_id(call)}


def _request_id(call: Call) -> str:
    return f"req_sim{call.serial:021d}"


def _reply(call: Call, value: dict[str, Any]) -> Reply:
    return Reply(200, _headers(call, b"application/json"), _encode(value))


def _headers(call: Call, content_type: bytes) -> Headers:
    headers: Headers = [
        (b"content-type", content_type),
        (b"request-id", _request_id(call).encode()),
        (b"anthropic-organization-id", b"00000000-0000-4000-8000-000000000000"),
    ]
    for name, limit in ((b"requests", b"4000"), (b"tokens", b"480000"), (b"input-tokens", b"400000")):
        headers.append((b"anthropic-ratelimit-%b-limit" % name, limit))
        headers.append((b"anthropic-ratelimit-%b-remaining" % name, limit[:-1] + b"0"))
        headers.append((b"anthropic-ratelimit-%b-reset" % name, b"2026-11-21T00:00:00Z"))
    return headers


def _asked(body: dict[str, Any], call: Call) -> tuple[Asked, str]:
    """The request, and how thinking is to be shown."""
    pieces = _Pieces()
    for tool in as_list(body.get("tools")):
        pieces.add(tokens_in(str(tool)), tool, as_object(tool))
    system = body.get("system")
    for block in [{"text": system}] if isinstance(system, str) else as_list(system):
        pieces.add(tokens_in(as_text(as_object(block).get("text"))), block, as_object(block))
    prompt, after_tools, images = _read_messages(as_list(body["messages"]), pieces)
    if body.get("cache_control") is not None:
        pieces.mark(as_object(body["cache_control"]))
    thinking = as_object(body.get("thinking"))
    choice = as_object(body.get("tool_choice"))
    form = as_object(as_object(body.get("output_config")).get("format"))
    read, write_5m, write_1h = pieces.cached(call.prompts_seen)
    if "cached" in call.model:
        read, write_5m, write_1h = pieces.tokens // 2, pieces.tokens // 4, 0
    asked = Asked(
        prompt=prompt,
        input_tokens=pieces.tokens,
        max_tokens=as_int(body.get("max_tokens")),
        image_tokens=images,
        tools=() if choice.get("type") == "none" else _tools(body),
        forced=_forced(choice),
        parallel=choice.get("disable_parallel_tool_use") is not True,
        after_tools=after_tools,
        schema=as_object(form.get("schema")) if form.get("type") == "json_schema" else None,
        stops=tuple(as_text(stop) for stop in as_list(body.get("stop_sequences"))),
        thinking=_thinking_tokens(thinking, body),
        cache_read=read,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
    )
    return asked, as_text(thinking.get("display")) or "summarized"


class _Pieces:
    """The prompt as a list of pieces in cache order, with the places that carry a cache mark."""

    def __init__(self) -> None:
        self.tokens = 0
        self._digest = hashlib.sha256()
        self._marks: list[tuple[bytes, int, str]] = []

    def add(self, tokens: int, value: Any, block: dict[str, Any]) -> None:
        """One piece; ``block`` may hold ``cache_control``."""
        self.tokens += tokens
        self._digest.update(_encode(value))
        control = block.get("cache_control")
        if control is not None:
            self.mark(as_object(control))

    def mark(self, control: dict[str, Any]) -> None:
        """A cache mark after the last piece."""
        self._marks.append((self._digest.digest(), self.tokens, as_text(control.get("ttl")) or "5m"))

    def cached(self, seen: dict[bytes, None]) -> tuple[int, int, int]:
        """(read, written for 5 minutes, written for 1 hour): the longest known prefix is read, the rest written."""
        if not self._marks:
            return 0, 0, 0
        read = max((tokens for digest, tokens, _ in self._marks if digest in seen), default=0)
        if len(seen) > _MAX_PROMPTS_SEEN:
            seen.clear()
        seen.update((digest, None) for digest, _, _ in self._marks)
        _, last, ttl = self._marks[-1]
        written = max(0, last - read)
        return (read, 0, written) if ttl == "1h" else (read, written, 0)


def _read_messages(messages: list[Any], pieces: _Pieces) -> tuple[str, str | None, int]:
    """(last user text, text of trailing tool results, image tokens)."""
    prompt, after_tools, images = "", None, 0
    for raw in messages:
        message = as_object(raw)
        content = message["content"]
        blocks: list[Any] = (
            [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)
        )
        texts: list[str] = []
        results: list[str] = []
        for raw_block in blocks:
            block = as_object(raw_block)
            text, tokens, seen_images = _read_block(block)
            images += seen_images
            (results if block.get("type") == "tool_result" else texts).append(text)
            pieces.add(tokens, raw_block, block)
        if message["role"] == "user":
            after_tools = " | ".join(results) if results else None
            if any(texts):
                prompt = "".join(texts)
        else:
            after_tools = None
    return prompt, after_tools, images


def _read_block(block: dict[str, Any]) -> tuple[str, int, int]:
    """(text, text tokens, image tokens)."""
    match block.get("type"):
        case "text":
            text = as_text(block.get("text"))
            return text, tokens_in(text), 0
        case "image":
            return "", 0, 300
        case "document":
            return "", 500, 0
        case "tool_result":
            content = block.get("content")
            if isinstance(content, str):
                return content, tokens_in(content) + 5, 0
            parts = [_read_block(as_object(part)) for part in as_list(content)]
            return (
                "".join(text for text, _, _ in parts),
                sum(part[1] for part in parts) + 5,
                sum(part[2] for part in parts),
            )
        case _:
            return "", tokens_in(str(block)), 0


def _thinking_tokens(thinking: dict[str, Any], body: dict[str, Any]) -> int:
    match thinking.get("type"):
        case "enabled":
            return min(as_int(thinking.get("budget_tokens")) or 0, 32)
        case "adaptive":
            effort = as_text(as_object(body.get("output_config")).get("effort"))
            return _EFFORT_TOKENS.get(effort, 32)
        case _:
            return 0


def _tools(body: dict[str, Any]) -> tuple[ToolSpec, ...]:
    tools = [as_object(raw) for raw in as_list(body.get("tools"))]
    return tuple(
        ToolSpec(as_text(tool["name"]), as_object(tool["input_schema"]))
        for tool in tools
        if "input_schema" in tool
    )


def _forced(choice: dict[str, Any]) -> tuple[str, ...] | None:
    match choice.get("type"):
        case "any":
            return ()
        case "tool":
            return (as_text(choice.get("name")),)
        case _:
            return None


def _blocks(answer: Answer, call: Call, display: str) -> list[dict[str, Any]]:
    """The whole content."""
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        thought = "" if display == "omitted" else "".join(answer.thinking)
        if answer.redacted:
            blocks.append({"type": "redacted_thinking", "data": rules.REDACTED_DATA})
        else:
            blocks.append({"type": "thinking", "thinking": thought, "signature": rules.sign(thought)})
    if answer.text:
        blocks.append({"type": "text", "text": "".join(answer.text), "citations": None})
    for number, made in enumerate(answer.calls):
        value = as_object(msgspec.json.decode(made.arguments)) if made.whole else _NOTHING
        blocks.append({"type": "tool_use", "id": _tool_id(call, number), "name": made.name, "input": value})
    return blocks


def _tool_id(call: Call, number: int) -> str:
    return f"toolu_sim{call.serial:018d}{number:03d}"


def _message(answer: Answer, call: Call, display: str) -> dict[str, Any]:
    message = _envelope(answer, call)
    message["content"] = _blocks(answer, call, display)
    message["stop_reason"] = _STOP[answer.stop]
    message["stop_sequence"] = answer.stop_sequence
    message["stop_details"] = _stop_details(answer)
    usage = shown_usage(answer.usage, call.quirks.usage)
    if usage is None:
        del message["usage"]
    else:
        message["usage"] = usage
    return message


def _stop_details(answer: Answer) -> dict[str, Any] | None:
    if _STOP[answer.stop] != "refusal":
        return None
    return {"type": "refusal", "category": None, "explanation": None}


def _envelope(answer: Answer, call: Call) -> dict[str, Any]:
    return {
        "id": f"msg_sim{call.serial:021d}",
        "type": "message",
        "role": "assistant",
        "model": call.shown_model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": (shown_usage(answer.usage, "") or {}) | {"output_tokens": 1},
    }


def shown_usage(usage: Usage, quirk: str) -> dict[str, Any] | None:
    """The vendor's sums: input without cache, output with thinking. ``quirk`` is bad_usage's mode."""
    shown: dict[str, Any] = {
        "input_tokens": usage.input + usage.input_image,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output + usage.reasoning,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }
    match quirk:
        case "missing":
            return None
        case "zero":
            shown["input_tokens"] = shown["output_tokens"] = 0
        case "negative":
            shown["output_tokens"] = -1
        case "inconsistent":
            shown["cache_creation_input_tokens"] += 1000
        case _:
            pass
    return shown


def _event(name: bytes, value: dict[str, Any]) -> bytes:
    return b"event: " + name + b"\ndata: " + _encode(value) + b"\n\n"


_PING = _event(b"ping", {"type": "ping"})


def _delta(index: int, kind: bytes, name: bytes, text: str) -> bytes:
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
        % (index, kind, name, _encode(text))
    )


def _start(index: int, block: dict[str, Any]) -> bytes:
    return _event(
        b"content_block_start", {"type": "content_block_start", "index": index, "content_block": block}
    )


def _stop(index: int) -> bytes:
    return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index


def _frames(answer: Answer, call: Call, display: str) -> Frames:
    yield Frame(
        Kind.OPEN, _event(b"message_start", {"type": "message_start", "message": _envelope(answer, call)})
    )
    for _ in range(call.quirks.role_only):
        yield Frame(Kind.OPEN, _PING)
    index, size = 0, call.profile.tokens_per_event
    if answer.thinking:
        yield from _thinking_frames(answer, display, size)
        index = 1
    if answer.text:
        yield Frame(Kind.OPEN, _start(index, {"type": "text", "text": ""}))
        yield Frame(Kind.OPEN, _PING)
        for text, tokens in grouped(answer.text, size):
            yield Frame(Kind.CONTENT, _delta(index, b"text_delta", b"text", text), tokens)
        yield Frame(Kind.OPEN, _stop(index))
        index += 1
    for number, made in enumerate(answer.calls):
        block = {"type": "tool_use", "id": _tool_id(call, number), "name": made.name, "input": _NOTHING}
        yield Frame(Kind.CONTENT, _start(index, block), 1)
        arguments = "" if made.arguments == "{}" else made.arguments
        for fragment in ["", *(arguments[start : start + 8] for start in range(0, len(arguments), 8))]:
            yield Frame(Kind.CONTENT, _delta(index, b"input_json_delta", b"partial_json", fragment), 2)
        yield Frame(Kind.OPEN, _stop(index))
        index += 1
    yield from _end_frames(answer, call)


def _thinking_frames(answer: Answer, display: str, size: int) -> Frames:
    if answer.redacted:
        yield Frame(Kind.CONTENT, _start(0, {"type": "redacted_thinking", "data": rules.REDACTED_DATA}))
    else:
        yield Frame(Kind.OPEN, _start(0, {"type": "thinking", "thinking": "", "signature": ""}))
        shown = [] if display == "omitted" else answer.thinking
        for thought, tokens in grouped(shown, size):
            yield Frame(Kind.CONTENT, _delta(0, b"thinking_delta", b"thinking", thought), tokens)
        yield Frame(Kind.OPEN, _delta(0, b"signature_delta", b"signature", rules.sign("".join(shown))))
    yield Frame(Kind.OPEN, _stop(0))


def _end_frames(answer: Answer, call: Call) -> Frames:
    delta: dict[str, Any] = {
        "stop_reason": _STOP[answer.stop],
        "stop_sequence": answer.stop_sequence,
        "stop_details": _stop_details(answer),
    }
    message: dict[str, Any] = {"type": "message_delta", "delta": delta}
    usage = shown_usage(answer.usage, call.quirks.usage)
    if usage is not None:
        message["usage"] = usage
    if call.quirks.terminal == "split":
        empty = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        yield Frame(Kind.USAGE, _event(b"message_delta", message | {"delta": empty}))
    yield Frame(Kind.FINISH, _event(b"message_delta", message))
    yield Frame(Kind.DONE, b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def _models(call: Call) -> Reply:
    names = [name for name in call.settings.models if not any(sign in name for sign in "*?[")] or [
        "claude-haiku-4-5"
    ]
    rows = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"}
        for name in names
    ]
    return _reply(call, {"data": rows, "has_more": False, "first_id": names[0], "last_id": names[-1]})

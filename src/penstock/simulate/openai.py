"""OpenAI chat completions as its servers write them.

Source: shared facts of openai-openapi 2.3.0 (CreateChatCompletionRequest/Response/StreamResponse) and openai-python
3.52.0, read 2026-11.
"""

import zlib
from typing import Any

import msgspec

from penstock.base.usage import Usage
from penstock.simulate import openai_completions as completions
from penstock.simulate import openai_responses as responses
from penstock.simulate import openai_rules as rules
from penstock.simulate import vectors
from penstock.simulate.content import Answer, Asked, ToolSpec, answer_to, grouped, tokens_in
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.untyped import as_int, as_list, as_object, as_text, is_object
from penstock.wire.http import Headers

_encode = msgspec.json.Encoder().encode
_EFFORT_TOKENS = {"none": 0, "minimal": 8, "low": 16, "medium": 32, "high": 64, "xhigh": 96, "max": 128}
_IMAGE_TOKENS = {"low": 85}
_ERRORS = {
    400: ("invalid_request_error", None, "Invalid request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "credit_balance_exhausted", "Your credit balance is exhausted."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to use this model."),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please slow down."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "slow_down", "The server is overloaded. Please slow down."),
}
_FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "filter": "content_filter",
    "blocked": "content_filter",
    "refusal": "stop",
    "malformed": "stop",
}
_RESPONSES = "/responses"
_PADDING = "aQzX7kPm2LwTb9Rc"


class OpenAI:
    """The dialect. Paths: anything that ends in ``/completions``, ``/responses`` or ``/models``."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if call.path.endswith("/models"):
            return _models(call)
        if not call.path.endswith(("/completions", _RESPONSES)):
            other = vectors.answer(call)
            if other is not None:
                return other
            raise Refused(404, f"Invalid URL ({call.method} {call.path})", code="unknown_url")
        if call.method != "POST":
            raise Refused(405, f"Not allowed to {call.method} on {call.path}.", code="method_not_allowed")
        if not call.key:
            raise Refused(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        body = rules.check_object(call.json)
        if call.path.endswith(_RESPONSES):
            return _respond(body, call)
        if not call.path.endswith("/chat/completions"):
            return _complete(body, call)
        rules.check(body, call)
        answer = answer_to(_asked(body, call), call)
        if answer.stop == "blocked":
            raise Refused(
                400,
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                code="invalid_prompt",
            )
        if call.stream:
            return Reply(
                200, _headers(call, b"text/event-stream; charset=utf-8"), frames=_frames(body, answer, call)
            )
        return Reply(
            200,
            _headers(call, b"application/json"),
            _encode(_completion(body, answer, call)),
            tokens=answer.usage.completion_tokens,
        )

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return Reply(refused.status, _headers(call, b"application/json"), _encode(_error(refused)))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """A data frame whose JSON is an error."""
        if call.path.endswith(_RESPONSES):
            error = _error(refused)["error"]
            return responses.error_frame(error["message"], error["code"], error["type"], error["param"])
        return b"data: " + _encode(_error(refused)) + b"\n\n"


OPENAI = OpenAI()


def _complete(body: dict[str, Any], call: Call) -> Reply:
    said = completions.answers(body, call)
    if call.stream:
        frames = completions.frames(body, said, call)
        return Reply(200, _headers(call, b"text/event-stream; charset=utf-8"), frames=frames)
    whole = completions.whole(body, said, call)
    tokens = sum(one.usage.completion_tokens for one in said)
    return Reply(200, _headers(call, b"application/json"), whole, tokens=tokens)


def _respond(body: dict[str, Any], call: Call) -> Reply:
    said = responses.answer(body, call)
    if call.stream:
        frames = responses.frames(body, said, call)
        return Reply(200, _headers(call, b"text/event-stream; charset=utf-8"), frames=frames)
    return Reply(
        200,
        _headers(call, b"application/json"),
        responses.whole(body, said, call),
        tokens=said.usage.completion_tokens,
    )


def _error(refused: Refused) -> dict[str, Any]:
    kind, code, message = _ERRORS.get(refused.status) or _ERRORS[400 if refused.status < 500 else 500]
    code = refused.code or (code if refused.status != 400 else None)
    if refused.code == "insufficient_quota":
        kind = "insufficient_quota"
    return {
        "error": {
            "message": refused.message or message,
            "type": refused.kind or kind,
            "param": refused.param,
            "code": code or None,
        }
    }


def _headers(call: Call, content_type: bytes) -> Headers:
    serial = b"%032d" % call.serial
    return [
        (b"content-type", content_type),
        (b"openai-organization", b"org-simulated"),
        (b"openai-processing-ms", b"1"),
        (b"openai-version", b"2020-10-01"),
        (b"x-request-id", b"req_" + serial),
        (b"x-ratelimit-limit-requests", b"10000"),
        (b"x-ratelimit-limit-tokens", b"200000000"),
        (b"x-ratelimit-remaining-requests", b"9999"),
        (b"x-ratelimit-remaining-tokens", b"199999000"),
        (b"x-ratelimit-reset-requests", b"6ms"),
        (b"x-ratelimit-reset-tokens", b"0s"),
    ]


def _asked(body: dict[str, Any], call: Call) -> Asked:
    prompt, after_tools, text_tokens, images, audio = _read_messages(as_list(body["messages"]))
    choice = body.get("tool_choice")
    tools = () if choice == "none" else _tools(body)
    cap = as_int(body.get("max_completion_tokens"))
    cap = as_int(body.get("max_tokens")) if cap is None else cap
    form = as_object(body.get("response_format"))
    stop = body.get("stop")
    input_tokens = text_tokens + sum(tokens_in(str(tool.schema)) for tool in tools)
    return Asked(
        prompt=prompt,
        input_tokens=input_tokens,
        max_tokens=cap,
        image_tokens=images,
        audio_tokens=audio,
        tools=tools,
        forced=_forced(choice),
        parallel=body.get("parallel_tool_calls") is not False,
        after_tools=after_tools,
        schema=as_object(as_object(form.get("json_schema")).get("schema"))
        if form.get("type") == "json_schema"
        else None,
        any_json=form.get("type") == "json_object",
        stops=(stop,) if isinstance(stop, str) else tuple(as_text(text) for text in as_list(stop)),
        thinking=_EFFORT_TOKENS.get(as_text(body.get("reasoning_effort")), 0),
        cache_read=input_tokens * 3 // 4 if "cached" in call.model else 0,
    )


def _read_messages(messages: list[Any]) -> tuple[str, str | None, int, int, int]:
    """(last user text, text of trailing tool results, text tokens, image tokens, audio tokens)."""
    prompt, after_tools = "", None
    text_tokens = images = audio = 0
    for raw in messages:
        message = as_object(raw)
        content = message.get("content")
        if isinstance(content, str):
            text = content
        else:
            parts = [as_object(part) for part in as_list(content)]
            text = "".join(as_text(part.get("text")) for part in parts)
            for part in parts:
                kind = part.get("type")
                if kind == "image_url":
                    images += _IMAGE_TOKENS.get(as_text(as_object(part.get("image_url")).get("detail")), 255)
                elif kind == "input_audio":
                    audio += 50
                elif kind == "file":
                    text_tokens += 500
        for made in as_list(message.get("tool_calls")):
            text_tokens += tokens_in(str(made))
        text_tokens += tokens_in(text) + 3
        role = message["role"]
        if role == "tool":
            after_tools = text if after_tools is None else f"{after_tools} | {text}"
        else:
            after_tools = None
            if role == "user":
                prompt = text
    return prompt, after_tools, text_tokens, images, audio


def _tools(body: dict[str, Any]) -> tuple[ToolSpec, ...]:
    tools: list[ToolSpec] = []
    for raw in as_list(body.get("tools")):
        tool = as_object(raw)
        function = as_object(tool.get("function"))
        if function:
            tools.append(ToolSpec(as_text(function["name"]), as_object(function.get("parameters"))))
    return tuple(tools)


def _forced(choice: Any) -> tuple[str, ...] | None:
    if choice == "required":
        return ()
    if not is_object(choice):
        return None
    named = as_object(choice)
    allowed = as_object(named.get("allowed_tools"))
    if allowed:
        names = [
            as_text(as_object(as_object(tool).get("function")).get("name"))
            for tool in as_list(allowed.get("tools"))
        ]
        return tuple(names) if allowed.get("mode") == "required" else None
    return (as_text(as_object(named.get("function")).get("name")),)


def _completion(body: dict[str, Any], answer: Answer, call: Call) -> dict[str, Any]:
    count = as_int(body.get("n")) or 1
    whole: dict[str, Any] = {
        "id": f"chatcmpl-sim{call.serial:024d}",
        "object": "chat.completion",
        "created": call.unix_s,
        "model": call.shown_model,
        "choices": [
            {
                "index": index,
                "message": _message(answer, call, index),
                "logprobs": _logprobs(answer.text) if body.get("logprobs") else None,
                "finish_reason": _FINISH[answer.stop],
            }
            for index in range(count)
        ],
        "service_tier": _served_tier(body),
        "system_fingerprint": "fp_simulated",
    }
    usage = shown_usage(answer.usage, count, call.quirks.usage)
    if usage is not None:
        whole["usage"] = usage
    return whole


def _message(answer: Answer, call: Call, index: int) -> dict[str, Any]:
    text = "".join(answer.text)
    refusing = answer.stop == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refusing or answer.calls else text,
        "refusal": text if refusing else None,
        "annotations": [],
    }
    if call.settings.reasoning_field and answer.thinking:
        message[call.settings.reasoning_field] = "".join(answer.thinking)
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": _call_id(call, index, number),
                "type": "function",
                "function": {"name": made.name, "arguments": made.arguments},
            }
            for number, made in enumerate(answer.calls)
        ]
    return message


def _call_id(call: Call, index: int, number: int) -> str:
    return f"call_sim{call.serial:012d}{index:02d}{number:02d}"


def _logprobs(tokens: list[str]) -> dict[str, Any]:
    rows = [
        {"token": token, "logprob": -0.1, "bytes": list(token.encode()), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": rows, "refusal": None}


def shown_usage(usage: Usage, count: int, quirk: str) -> dict[str, Any] | None:
    """The vendor's sum of the vector; ``quirk`` is bad_usage's mode."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens * count
    total = prompt + completion
    match quirk:
        case "missing":
            return None
        case "zero":
            prompt = completion = total = 0
        case "negative":
            completion = total = -1
        case "inconsistent":
            total += 1000
        case _:
            pass
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": usage.input_audio},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning * count,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _served_tier(body: dict[str, Any]) -> str:
    """Whoever asks for flex or priority gets it, as long as there is room."""
    asked = body.get("service_tier")
    return asked if asked in ("flex", "priority") else "default"


class _Chunks:
    """Writes the chunks of one stream; all but the choice is the same bytes on each."""

    def __init__(self, body: dict[str, Any], call: Call) -> None:
        self.include_usage = as_object(body.get("stream_options")).get("include_usage") is True
        self._head = (
            b'data: {"id":"chatcmpl-sim%024d","object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"service_tier":%b,"system_fingerprint":"fp_simulated","choices":['
            % (call.serial, call.unix_s, _encode(call.shown_model), _encode(_served_tier(body)))
        )
        self._usage = b',"usage":null' if self.include_usage else b""
        self._tail = b',"logprobs":null,"finish_reason":null}]%b}\n\n' % self._usage
        self._obfuscate = call.settings.obfuscation and (
            as_object(body.get("stream_options")).get("include_obfuscation") is not False
        )

    def text(self, index: int, name: bytes, text: str) -> bytes:
        """A delta of one string field; most of a stream, so the shortest way when there is no padding."""
        if self._obfuscate:
            return self.delta(index, b'{"%b":%b}' % (name, _encode(text)))
        return b'%b{"index":%d,"delta":{"%b":%b}%b' % (self._head, index, name, _encode(text), self._tail)

    def delta(self, index: int, delta: bytes, finish: bytes = b"null", usage: bytes | None = None) -> bytes:
        """A chunk of one choice."""
        padding = b""
        if self._obfuscate:
            padding = b',"obfuscation":"%b"' % _PADDING[: 1 + zlib.crc32(delta) % len(_PADDING)].encode()
        return b'%b{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}]%b%b}\n\n' % (
            self._head,
            index,
            delta,
            finish,
            self._usage if usage is None else b',"usage":' + usage,
            padding,
        )

    def usage_only(self, usage: bytes) -> bytes:
        """The chunk with no choices."""
        return self._head + b'],"usage":' + usage + b"}\n\n"


def _frames(body: dict[str, Any], answer: Answer, call: Call) -> Frames:
    chunks = _Chunks(body, call)
    count = as_int(body.get("n")) or 1
    refusing = answer.stop == "refusal"
    first = b'{"role":"assistant","content":%b,"refusal":null}' % (
        b"null" if refusing or answer.calls else b'""'
    )
    for index in range(count):
        yield Frame(Kind.OPEN, chunks.delta(index, first))
    for _ in range(call.quirks.role_only):
        yield Frame(Kind.OPEN, chunks.delta(0, b'{"role":"assistant","content":""}'))
    yield from _content(answer, call, chunks, count, b"refusal" if refusing else b"content")
    usage = shown_usage(answer.usage, count, call.quirks.usage)
    shown = _encode(usage) if usage is not None and chunks.include_usage else None
    joined = shown if call.quirks.terminal == "joined" else None
    for index in range(count):
        finish = b'"%b"' % _FINISH[answer.stop].encode()
        yield Frame(Kind.FINISH, chunks.delta(index, b"{}", finish, joined if index == count - 1 else None))
    if shown is not None and joined is None:
        yield Frame(Kind.USAGE, chunks.usage_only(shown))
    yield Frame(Kind.DONE, b"data: [DONE]\n\n")


def _content(answer: Answer, call: Call, chunks: _Chunks, count: int, name: bytes) -> Frames:
    size = call.profile.tokens_per_event
    thoughts_in = call.settings.reasoning_field.encode()
    for thought, tokens in grouped(answer.thinking, size):
        if thoughts_in:
            yield Frame(Kind.CONTENT, chunks.text(0, thoughts_in, thought), tokens)
    for text, tokens in grouped(answer.text, size):
        for index in range(count):
            yield Frame(Kind.CONTENT, chunks.text(index, name, text), tokens)
    for index in range(count):
        yield from _call_frames(answer, call, chunks, index)


def _call_frames(answer: Answer, call: Call, chunks: _Chunks, index: int) -> Frames:
    for number, made in enumerate(answer.calls):
        head = (
            b'{"tool_calls":[{"index":%d,"id":"%b","type":"function","function":{"name":%b,"arguments":""}}]}'
            % (
                number,
                _call_id(call, index, number).encode(),
                _encode(made.name),
            )
        )
        yield Frame(Kind.CONTENT, chunks.delta(index, head), 1)
        for start in range(0, len(made.arguments), 8):
            fragment = _encode(made.arguments[start : start + 8])
            delta = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (number, fragment)
            yield Frame(Kind.CONTENT, chunks.delta(index, delta), 2)


def _models(call: Call) -> Reply:
    names = [name for name in call.settings.models if not any(sign in name for sign in "*?[")] or [
        "gpt-4o-mini",
        "gpt-5",
    ]
    rows = [{"id": name, "object": "model", "created": 1721172741, "owned_by": "system"} for name in names]
    return Reply(200, _headers(call, b"application/json"), _encode({"object": "list", "data": rows}))

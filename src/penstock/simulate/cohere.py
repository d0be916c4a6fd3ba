"""Cohere's v2 chat as its servers write it.

Source: the SDK's types (cohere 7.3.1) and docs.cohere.com, read 2026-11. Counts are floats; ``tokens`` holds a preamble
that ``billed_units`` leaves out. Documents are cited.
"""

from typing import Any

import msgspec

from penstock.base.usage import Usage
from penstock.simulate import cohere_rules
from penstock.simulate.content import Answer, Asked, ToolSpec, answer_to, grouped, tokens_in
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.untyped import as_int, as_list, as_object, as_text
from penstock.wire.http import Headers

_encode = msgspec.json.Encoder().encode
PREAMBLE_TOKENS = 66
_MESSAGES = {
    401: "invalid api token",
    402: "Please add or update your payment method at https://dashboard.cohere.com/billing to continue",
    403: "api token does not have access to this resource",
    404: "model not found",
    429: "You are past the per minute request limit, please wait and try again later.",
    498: "blocked input",
    500: "internal server error",
    503: "service unavailable",
}
_STATUS = {529: 503}
_STOP = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "filter": "ERROR_TOXIC",
    "refusal": "COMPLETE",
    "stop_sequence": "STOP_SEQUENCE",
    "malformed": "ERROR",
}
_PLAN = "I will use the tools that fit."


class Cohere:
    """The dialect: ``POST /v2/chat``."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if call.method != "POST":
            raise Refused(404, "page not found")
        if not call.key:
            raise Refused(401, "no api key supplied")
        body = as_object(call.json)
        cohere_rules.check(body, call)
        answer = answer_to(_asked(body), call)
        if answer.stop == "blocked":
            raise Refused(498, "")
        cited = bool(as_list(body.get("documents")))
        if call.stream:
            return Reply(200, _headers(b"text/event-stream"), frames=_frames(answer, call, cited=cited))
        reply = Reply(200, _headers(b"application/json"), _encode(_whole(answer, call, cited=cited)))
        reply.tokens = answer.usage.completion_tokens
        return reply

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        status = _STATUS.get(refused.status, refused.status)
        return Reply(status, _headers(b"application/json"), _encode(_error(refused, call)))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """A stream that fails ends with its message-end, which holds the error."""
        if first:
            return b"data: " + _encode(_error(refused, call)) + b"\n\n"
        message = _error(refused, call)["message"]
        return _event({"type": "message-end", "delta": {"error": message, "finish_reason": "ERROR"}})


COHERE = Cohere()


def _error(refused: Refused, call: Call) -> dict[str, Any]:
    status = _STATUS.get(refused.status, refused.status)
    return {"id": _id(call), "message": refused.message or _MESSAGES.get(status, "the simulator was told so")}


def _id(call: Call) -> str:
    return f"00000000-0000-4000-8000-{call.serial:012d}"


def _headers(content_type: bytes) -> Headers:
    return [(b"content-type", content_type), (b"x-api-warning", b"simulated")]


def _asked(body: dict[str, Any]) -> Asked:
    prompt, after, images, tokens = "", None, 0, 0
    results: list[str] = []
    for raw in as_list(body["messages"]):
        message = as_object(raw)
        text, pictured = _read(message.get("content"))
        images += pictured
        tokens += tokens_in(text)
        if message["role"] == "tool":
            results.append(text)
            after = " | ".join(results)
            continue
        results, after = [], None
        if message["role"] == "user" and text:
            prompt = text
    tokens += sum(tokens_in(str(tool)) for tool in as_list(body.get("tools")))
    tokens += sum(tokens_in(str(document)) for document in as_list(body.get("documents")))
    thinking = as_object(body.get("thinking"))
    form = as_object(body.get("response_format"))
    schema = as_object(form.get("json_schema"))
    choice = body.get("tool_choice")
    return Asked(
        prompt=prompt,
        input_tokens=tokens,
        max_tokens=as_int(body.get("max_tokens")),
        image_tokens=images,
        tools=() if choice == "NONE" else _tools(body),
        forced=() if choice == "REQUIRED" else None,
        after_tools=after,
        schema=schema or None,
        any_json=form.get("type") == "json_object",
        stops=tuple(as_text(stop) for stop in as_list(body.get("stop_sequences"))),
        thinking=min(as_int(thinking.get("token_budget")) or 16, 32)
        if thinking.get("type") == "enabled"
        else 0,
    )


def _tools(body: dict[str, Any]) -> tuple[ToolSpec, ...]:
    functions = [as_object(as_object(raw)["function"]) for raw in as_list(body.get("tools"))]
    return tuple(
        ToolSpec(as_text(function["name"]), as_object(function["parameters"])) for function in functions
    )


def _read(content: Any) -> tuple[str, int]:
    """(text, image tokens)."""
    if isinstance(content, str):
        return content, 0
    blocks = [as_object(raw) for raw in as_list(content)]
    texts = [
        as_text(block.get("text")) or (str(block["document"]) if "document" in block else "")
        for block in blocks
    ]
    return "".join(texts), 300 * sum(block.get("type") == "image_url" for block in blocks)


def _calls(answer: Answer, call: Call) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{made.name}_sim{call.serial:012d}{number:03d}",
            "type": "function",
            "function": {"name": made.name, "arguments": made.arguments},
        }
        for number, made in enumerate(answer.calls)
    ]


def _citation(answer: Answer) -> dict[str, Any]:
    text = answer.text[0]
    source = {"type": "document", "id": "doc:0", "document": {"id": "doc:0"}}
    return {"start": 0, "end": len(text), "text": text, "sources": [source], "type": "TEXT_CONTENT"}


def _whole(answer: Answer, call: Call, *, cited: bool) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if answer.thinking:
        content.append({"type": "thinking", "thinking": "".join(answer.thinking)})
    if answer.text:
        content.append({"type": "text", "text": "".join(answer.text)})
    message: dict[str, Any] = {"role": "assistant"}
    if content:
        message["content"] = content
    if answer.calls:
        message |= {"tool_plan": _PLAN, "tool_calls": _calls(answer, call)}
    if cited and answer.text:
        message["citations"] = [_citation(answer)]
    whole: dict[str, Any] = {"id": _id(call), "finish_reason": _STOP[answer.stop], "message": message}
    usage = shown_usage(answer.usage, call.quirks.usage)
    return whole | ({"usage": usage} if usage is not None else {})


def shown_usage(usage: Usage, quirk: str) -> dict[str, Any] | None:
    """The vendor's sums, as floats. ``quirk``: bad_usage's mode."""
    if quirk == "missing":
        return None
    fresh, output = usage.input + usage.input_image, usage.output + usage.reasoning
    if quirk == "zero":
        fresh = output = 0
    if quirk == "negative":
        output = -1
    return {
        "billed_units": {"input_tokens": float(fresh), "output_tokens": float(output)},
        "tokens": {"input_tokens": float(fresh + PREAMBLE_TOKENS), "output_tokens": float(output)},
        "cached_tokens": float(usage.cache_read),
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + _encode(value) + b"\n\n"


def _frames(answer: Answer, call: Call, *, cited: bool) -> Frames:
    start: dict[str, Any] = {
        "role": "assistant",
        "content": [],
        "tool_plan": "",
        "tool_calls": [],
        "citations": [],
    }
    yield Frame(Kind.OPEN, _event({"id": _id(call), "type": "message-start", "delta": {"message": start}}))
    index, size = 0, call.profile.tokens_per_event
    for kind, tokens in (("thinking", answer.thinking), ("text", answer.text)):
        if not tokens:
            continue
        yield Frame(Kind.OPEN, _content("content-start", index, {"type": kind, kind: ""}))
        for text, count in grouped(tokens, size):
            yield Frame(Kind.CONTENT, _content("content-delta", index, {kind: text}), count)
        if kind == "text" and cited:
            citation = {"message": {"citations": _citation(answer)}}
            yield Frame(Kind.OPEN, _event({"type": "citation-start", "index": 0, "delta": citation}))
            yield Frame(Kind.OPEN, _event({"type": "citation-end", "index": 0}))
        yield Frame(Kind.OPEN, _event({"type": "content-end", "index": index}))
        index += 1
    if answer.calls:
        yield from _tool_frames(answer, call)
    delta: dict[str, Any] = {"finish_reason": _STOP[answer.stop]}
    if answer.stop == "malformed":
        delta["error"] = "the model's output could not be parsed"
    usage = shown_usage(answer.usage, call.quirks.usage)
    if usage is not None:
        delta["usage"] = usage
    yield Frame(Kind.FINISH, _event({"type": "message-end", "delta": delta}))
    yield Frame(Kind.DONE, b"data: [DONE]\n\n")


def _content(kind: str, index: int, content: dict[str, Any]) -> bytes:
    return _event({"type": kind, "index": index, "delta": {"message": {"content": content}}})


def _tool_frames(answer: Answer, call: Call) -> Frames:
    words = _PLAN.split(" ")
    for number, word in enumerate(words):
        plan = {"message": {"tool_plan": word if not number else f" {word}"}}
        yield Frame(Kind.CONTENT, _event({"type": "tool-plan-delta", "delta": plan}), 1)
    for index, made in enumerate(_calls(answer, call)):
        arguments = as_text(as_object(made["function"])["arguments"])
        opened = {**made, "function": {"name": answer.calls[index].name, "arguments": ""}}
        start = {"message": {"tool_calls": opened}}
        yield Frame(Kind.CONTENT, _event({"type": "tool-call-start", "index": index, "delta": start}), 1)
        for at in range(0, len(arguments), 8):
            piece = {"message": {"tool_calls": {"function": {"arguments": arguments[at : at + 8]}}}}
            yield Frame(Kind.CONTENT, _event({"type": "tool-call-delta", "index": index, "delta": piece}), 2)
        yield Frame(Kind.OPEN, _event({"type": "tool-call-end", "index": index}))

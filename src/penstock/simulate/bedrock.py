"""Amazon Bedrock's Converse and ConverseStream as its servers write them.

Sources: botocore 1.44's service model of bedrock-runtime 2023-09-30, the API reference of Converse, read 2026-11. Streams are
binary frames (wire.eventstream), padded with a field ``p`` as AWS pads them.
"""

import hashlib
from typing import Any

import msgspec

from penstock.base.usage import Usage
from penstock.simulate import anthropic_rules, bedrock_rules
from penstock.simulate.aws_signature import check_signature
from penstock.simulate.content import Answer, Asked, ToolSpec, answer_to, grouped, tokens_in
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.untyped import as_int, as_list, as_object, as_text
from penstock.wire.eventstream import CONTENT_TYPE, event_frame
from penstock.wire.http import Headers

_encode = msgspec.json.Encoder().encode
_ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
# Statuses that AWS has no word for -> its own.
_STATUS = {401: 403, 402: 403, 504: 408, 529: 503}
_MESSAGES = {
    403: "You don't have access to the model with the specified model ID.",
    404: "The requested resource was not found.",
    429: "Too many requests, please wait before trying again.",
    503: "Service is temporarily unavailable.",
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "filter": "content_filtered",
    "refusal": "content_filtered",
    "stop_sequence": "stop_sequence",
    "blocked": "guardrail_intervened",
    "malformed": "malformed_model_output",
}
_EFFORT_TOKENS = {"low": 8, "medium": 16, "high": 32, "xhigh": 48, "max": 64}
_MAX_PROMPTS_SEEN = 10_000
_BLOCKED = "Sorry, the model cannot answer this question."
_PAD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Bedrock:
    """The dialect: ``/model/{modelId}/converse`` and ``/converse-stream``."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        check_signature(call)
        body = as_object(call.json)
        bedrock_rules.check(body, call)
        answer = answer_to(_asked(body, call), call)
        if answer.stop == "blocked":
            answer.text = [_BLOCKED]
        if call.stream:
            return Reply(200, _headers(call, CONTENT_TYPE), frames=_frames(answer, call))
        reply = Reply(200, _headers(call, b"application/json"), _encode(_whole(answer, call)))
        reply.tokens = answer.usage.completion_tokens
        return reply

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        status, name, message = _error(refused)
        headers = [*_headers(call, b"application/json"), (b"x-amzn-errortype", name.encode())]
        return Reply(status, headers, _encode({"message": message}))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """An exception frame."""
        _, name, message = _error(refused)
        headers = {
            ":exception-type": name[0].lower() + name[1:],
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        return event_frame(headers, _encode({"message": message}))


BEDROCK = Bedrock()


def _error(refused: Refused) -> tuple[int, str, str]:
    status = _STATUS.get(refused.status, refused.status)
    name = refused.kind or refused.code or _ERRORS.get(status) or _ERRORS[400 if status < 500 else 500]
    return status, name, refused.message or _MESSAGES.get(status, f"{name}: the simulator was told so.")


def _headers(call: Call, content_type: bytes) -> Headers:
    return [
        (b"content-type", content_type),
        (b"x-amzn-requestid", f"00000000-0000-4000-8000-{call.serial:012d}".encode()),
    ]


# The request.


class _Pieces:
    """The prompt as a list of pieces in cache order, with the places that carry a cache point."""

    def __init__(self) -> None:
        self.tokens = 0
        self._digest = hashlib.sha256()
        self._marks: list[tuple[bytes, int, str]] = []

    def add(self, tokens: int, block: dict[str, Any]) -> None:
        """One block, or a mark after the last one."""
        if "cachePoint" in block:
            ttl = as_text(as_object(block["cachePoint"]).get("ttl")) or "5m"
            self._marks.append((self._digest.digest(), self.tokens, ttl))
            return
        self.tokens += tokens
        self._digest.update(_encode(block))

    def cached(self, seen: dict[bytes, None]) -> tuple[int, int, int]:
        """(read, written for 5 minutes, written for 1 hour)."""
        if not self._marks:
            return 0, 0, 0
        read = max((tokens for digest, tokens, _ in self._marks if digest in seen), default=0)
        if len(seen) > _MAX_PROMPTS_SEEN:
            seen.clear()
        seen.update((digest, None) for digest, _, _ in self._marks)
        _, last, ttl = self._marks[-1]
        written = max(0, last - read)
        return (read, 0, written) if ttl == "1h" else (read, written, 0)


def _asked(body: dict[str, Any], call: Call) -> Asked:
    pieces = _Pieces()
    config = as_object(body.get("toolConfig"))
    for raw in as_list(config.get("tools")):
        pieces.add(tokens_in(str(raw)), as_object(raw))
    for raw in as_list(body.get("system")):
        pieces.add(tokens_in(as_text(as_object(raw).get("text"))), as_object(raw))
    prompt, after_tools, images = _read_messages(as_list(body["messages"]), pieces)
    inference = as_object(body.get("inferenceConfig"))
    read, write_5m, write_1h = pieces.cached(call.prompts_seen)
    choice = as_object(config.get("toolChoice"))
    return Asked(
        prompt=prompt,
        input_tokens=pieces.tokens,
        max_tokens=as_int(inference.get("maxTokens")),
        image_tokens=images,
        tools=_tools(config),
        forced=()
        if "any" in choice
        else (as_text(as_object(choice["tool"])["name"]),)
        if "tool" in choice
        else None,
        after_tools=after_tools,
        schema=_schema(as_object(body.get("outputConfig"))),
        stops=tuple(as_text(stop) for stop in as_list(inference.get("stopSequences"))),
        thinking=_thinking_tokens(as_object(body.get("additionalModelRequestFields"))),
        cache_read=read,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
    )


def _schema(output: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that stands as text below ``textFormat``."""
    for name in ("textFormat", "structure", "jsonSchema"):
        output = as_object(output.get(name))
    text = as_text(output.get("schema"))
    if not text:
        return None
    try:
        return as_object(msgspec.json.decode(text))
    except msgspec.DecodeError as error:
        raise bedrock_rules.bad("The schema in outputConfig is not valid JSON.") from error


def _tools(config: dict[str, Any]) -> tuple[ToolSpec, ...]:
    specs = [as_object(as_object(raw).get("toolSpec")) for raw in as_list(config.get("tools"))]
    return tuple(
        ToolSpec(as_text(spec["name"]), as_object(as_object(spec["inputSchema"])["json"]))
        for spec in specs
        if spec
    )


def _read_messages(messages: list[Any], pieces: _Pieces) -> tuple[str, str | None, int]:
    """(last user text, text of trailing tool results, image tokens)."""
    prompt, after_tools, images = "", None, 0
    for raw in messages:
        message = as_object(raw)
        texts: list[str] = []
        results: list[str] = []
        for raw_block in as_list(message["content"]):
            block = as_object(raw_block)
            text, tokens, pictured = _read_block(block)
            images += pictured
            (results if "toolResult" in block else texts).append(text)
            pieces.add(tokens, block)
        if message["role"] == "user":
            after_tools = " | ".join(results) if results else None
            if any(texts):
                prompt = "".join(texts)
        else:
            after_tools = None
    return prompt, after_tools, images


def _read_block(block: dict[str, Any]) -> tuple[str, int, int]:
    """(text, text tokens, image tokens)."""
    if "text" in block:
        text = as_text(block["text"])
        return text, tokens_in(text), 0
    if "image" in block:
        return "", 0, 300
    if "document" in block or "video" in block or "audio" in block:
        return "", 500, 0
    if "toolResult" in block:
        parts = [_read_block(as_object(raw)) for raw in as_list(as_object(block["toolResult"])["content"])]
        return (
            "".join(text for text, _, _ in parts),
            sum(part[1] for part in parts) + 5,
            sum(part[2] for part in parts),
        )
    return "", tokens_in(str(block)), 0


def _thinking_tokens(fields: dict[str, Any]) -> int:
    thinking = as_object(fields.get("thinking"))
    if thinking.get("type") == "enabled":
        return min(as_int(thinking.get("budget_tokens")) or 0, 32)
    nova = as_object(fields.get("reasoningConfig"))
    effort = as_text(
        fields.get("reasoning_effort")
        or nova.get("maxReasoningEffort")
        or as_object(fields.get("output_config")).get("effort")
    )
    if thinking.get("type") == "adaptive":
        return _EFFORT_TOKENS.get(effort, 32)
    return _EFFORT_TOKENS.get(effort, 0) if thinking.get("type") != "disabled" else 0


# The reply.


def _reasoning(answer: Answer, call: Call) -> dict[str, Any]:
    thought = "".join(answer.thinking)
    if answer.redacted:
        return {"redactedContent": anthropic_rules.REDACTED_DATA}
    text = {"text": thought}
    return {
        "reasoningText": text
        | ({"signature": anthropic_rules.sign(thought)} if "claude" in call.model else {})
    }


def _tool_id(call: Call, number: int) -> str:
    return f"tooluse_sim{call.serial:018d}{number:03d}"


def _whole(answer: Answer, call: Call) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        blocks.append({"reasoningContent": _reasoning(answer, call)})
    if answer.text:
        blocks.append({"text": "".join(answer.text)})
    for number, made in enumerate(answer.calls):
        value = as_object(msgspec.json.decode(made.arguments)) if made.whole else {}
        blocks.append({"toolUse": {"toolUseId": _tool_id(call, number), "name": made.name, "input": value}})
    whole: dict[str, Any] = {
        "metrics": {"latencyMs": 17},
        "output": {"message": {"content": blocks, "role": "assistant"}},
        "stopReason": _STOP[answer.stop],
    }
    usage = shown_usage(answer.usage, call.quirks.usage)
    return whole | ({"usage": usage} if usage is not None else {})


def shown_usage(usage: Usage, quirk: str) -> dict[str, Any] | None:
    """The vendor's sums: input without the cache, output with thinking, the total of all. ``quirk``: bad_usage's mode."""
    fresh, output = usage.input + usage.input_image, usage.output + usage.reasoning
    written = usage.cache_write_5m + usage.cache_write_1h
    if quirk == "missing":
        return None
    if quirk == "zero":
        fresh = output = 0
    if quirk == "negative":
        output = -1
    shown: dict[str, Any] = {
        "inputTokens": fresh,
        "outputTokens": output,
        "totalTokens": fresh + output + usage.cache_read + written + (1000 if quirk == "inconsistent" else 0),
    }
    if usage.cache_read or written:
        shown |= {"cacheReadInputTokens": usage.cache_read, "cacheWriteInputTokens": written}
        details = (("1h", usage.cache_write_1h), ("5m", usage.cache_write_5m))
        shown["cacheDetails"] = [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in details if tokens]
    return shown


def _event(name: str, value: dict[str, Any], salt: int) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return event_frame(headers, _encode({**value, "p": _PAD[: 5 + salt * 7 % 50]}))


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}, index + len(delta))


def _frames(answer: Answer, call: Call) -> Frames:
    yield Frame(Kind.OPEN, _event("messageStart", {"role": "assistant"}, 1))
    index, size = 0, call.profile.tokens_per_event
    if answer.thinking:
        yield from _thinking_frames(answer, call, size)
        yield Frame(Kind.OPEN, _event("contentBlockStop", {"contentBlockIndex": 0}, 2))
        index = 1
    if answer.text:
        for text, tokens in grouped(answer.text, size):
            yield Frame(Kind.CONTENT, _delta(index, {"text": text}), tokens)
        yield Frame(Kind.OPEN, _event("contentBlockStop", {"contentBlockIndex": index}, 3))
        index += 1
    for number, made in enumerate(answer.calls):
        start = {"toolUse": {"name": made.name, "toolUseId": _tool_id(call, number)}}
        yield Frame(
            Kind.CONTENT, _event("contentBlockStart", {"contentBlockIndex": index, "start": start}, 4), 1
        )
        arguments = "" if made.arguments == "{}" else made.arguments
        for fragment in [
            "",
            *(arguments[start_at : start_at + 8] for start_at in range(0, len(arguments), 8)),
        ]:
            yield Frame(Kind.CONTENT, _delta(index, {"toolUse": {"input": fragment}}), 2)
        yield Frame(Kind.OPEN, _event("contentBlockStop", {"contentBlockIndex": index}, 5))
        index += 1
    yield Frame(Kind.FINISH, _event("messageStop", {"stopReason": _STOP[answer.stop]}, 6))
    usage = shown_usage(answer.usage, call.quirks.usage)
    metadata: dict[str, Any] = {"metrics": {"latencyMs": 17}} | (
        {"usage": usage} if usage is not None else {}
    )
    yield Frame(Kind.DONE, _event("metadata", metadata, 7))


def _thinking_frames(answer: Answer, call: Call, size: int) -> Frames:
    reasoning = _reasoning(answer, call)
    if "redactedContent" in reasoning:
        yield Frame(Kind.CONTENT, _delta(0, {"reasoningContent": reasoning}))
        return
    for thought, tokens in grouped(answer.thinking, size):
        yield Frame(Kind.CONTENT, _delta(0, {"reasoningContent": {"text": thought}}), tokens)
    signature = as_object(reasoning["reasoningText"]).get("signature")
    if signature:
        yield Frame(Kind.OPEN, _delta(0, {"reasoningContent": {"signature": signature}}))

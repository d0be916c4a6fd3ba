"""OpenAI's Responses API as its servers write it.

Source: openai-openapi 2.3.0 and openai-python 3.52.0 (types.responses), read 2026-11. Items, events and their order
follow the reference's streaming section; what is kept of a response is that it was made, not what was said in it.
"""

import base64
import zlib
from typing import Any

import msgspec

from penstock.simulate import openai_responses_rules as rules
from penstock.simulate.content import Answer, Asked, ToolSpec, answer_to, grouped, tokens_in
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused
from penstock.simulate.untyped import as_int, as_list, as_object, as_text

_encode = msgspec.json.Encoder().encode
_EFFORT_TOKENS = {"none": 0, "minimal": 8, "low": 16, "medium": 32, "high": 64, "xhigh": 96, "max": 128}
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def answer(body: dict[str, Any], call: Call) -> Answer:
    """What the model says; what the vendor would refuse is refused."""
    rules.check(body, call)
    said = answer_to(_asked(body, call), call)
    if said.stop == "blocked":
        raise Refused(
            400,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            code="invalid_prompt",
        )
    if body.get("store") is not False:
        call.prompts_seen[rules.mark(_id(call))] = None
    return said


def whole(body: dict[str, Any], said: Answer, call: Call) -> bytes:
    """The reply that is not streamed."""
    status = "incomplete" if said.stop in ("length", "filter") else "completed"
    return _encode(_response(body, said, call, status, [item for item, _ in _items(body, said, call)]))


def frames(body: dict[str, Any], said: Answer, call: Call) -> Frames:
    """The same as a stream of events."""
    events = _Events()
    begun = _response(body, said, call, "in_progress", [])
    yield Frame(Kind.OPEN, events.say("response.created", response=begun))
    yield Frame(Kind.OPEN, events.say("response.in_progress", response=begun))
    done: list[dict[str, Any]] = []
    for place, (item, bare) in enumerate(_items(body, said, call)):
        yield Frame(Kind.OPEN, events.say("response.output_item.added", output_index=place, item=bare))
        at = {"item_id": item["id"], "output_index": place}
        match item["type"]:
            case "reasoning":
                yield from _thinking(events, at, item, said, call)
            case "message":
                yield from _words(events, at, item, said, call)
            case _:
                yield from _arguments(events, at, item)
        yield Frame(Kind.CONTENT, events.say("response.output_item.done", output_index=place, item=item))
        done.append(item)
    status = "incomplete" if said.stop in ("length", "filter") else "completed"
    last = _response(body, said, call, status, done)
    yield Frame(Kind.FINISH, events.say(f"response.{status}", response=last))


def error_frame(message: str, code: str | None, kind: str, param: str | None) -> bytes:
    """The event of a stream that fails."""
    error = {"type": kind, "code": code, "message": message, "param": param}
    return _frame("error", {"type": "error", "sequence_number": 0, "error": error})


def _frame(name: str, facts: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(facts))


class _Events:
    def __init__(self) -> None:
        self._next = 0

    def say(self, kind: str, /, **facts: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._next, **facts}
        self._next += 1
        return _frame(kind, event)


def _id(call: Call) -> str:
    return f"resp_sim{call.serial:045d}"


def _asked(body: dict[str, Any], call: Call) -> Asked:
    prompt, after_tools, text_tokens, images = _read_input(body.get("input"))
    text_tokens += tokens_in(as_text(body.get("instructions")))
    choice = body.get("tool_choice")
    tools = () if choice == "none" else _tools(body)
    form = as_object(as_object(body.get("text")).get("format"))
    input_tokens = text_tokens + sum(tokens_in(str(tool.schema)) for tool in tools)
    effort = as_text(as_object(body.get("reasoning")).get("effort"))
    return Asked(
        prompt=prompt,
        input_tokens=input_tokens,
        max_tokens=as_int(body.get("max_output_tokens")),
        image_tokens=images,
        tools=tools,
        forced=_forced(choice),
        parallel=body.get("parallel_tool_calls") is not False,
        after_tools=after_tools,
        schema=as_object(form.get("schema")) if form.get("type") == "json_schema" else None,
        any_json=form.get("type") == "json_object",
        thinking=_EFFORT_TOKENS.get(effort, 0),
        cache_read=input_tokens * 3 // 4 if "cached" in call.model else 0,
    )


def _read_input(given: Any) -> tuple[str, str | None, int, int]:
    """(last user text, text of trailing tool results, text tokens, image tokens)."""
    if isinstance(given, str):
        return given, None, tokens_in(given) + 3, 0
    prompt, after_tools = "", None
    text_tokens = images = 0
    for raw in as_list(given):
        item = as_object(raw)
        kind = rules.kind_of(item)
        content = item.get("output" if kind.endswith("_output") else "content")
        text = content if isinstance(content, str) else ""
        for part in map(as_object, as_list(content)):
            text += as_text(part.get("text"))
            images += 255 if part.get("type") == "input_image" else 0
            text_tokens += 500 if part.get("type") == "input_file" else 0
        text_tokens += tokens_in(text + as_text(item.get("arguments"))) + 3
        if kind == "function_call_output":
            after_tools = text if after_tools is None else f"{after_tools} | {text}"
        elif kind in ("message", "function_call"):
            after_tools = None
            prompt = text if item.get("role") == "user" else prompt
    return prompt, after_tools, text_tokens, images


def _tools(body: dict[str, Any]) -> tuple[ToolSpec, ...]:
    return tuple(
        ToolSpec(as_text(tool.get("name")), as_object(tool.get("parameters")))
        for tool in map(as_object, as_list(body.get("tools")))
        if tool.get("type") in ("function", "custom")
    )


def _forced(choice: Any) -> tuple[str, ...] | None:
    if choice == "required":
        return ()
    named = as_object(choice)
    if named.get("type") == "allowed_tools":
        names = tuple(as_text(as_object(tool).get("name")) for tool in as_list(named.get("tools")))
        return names if named.get("mode") == "required" else None
    return (as_text(named["name"]),) if named.get("name") else None


def _items(body: dict[str, Any], said: Answer, call: Call) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The output's items, each with how it looks when it begins."""
    items: list[tuple[dict[str, Any], dict[str, Any]]] = []
    serial = f"sim{call.serial:020d}"
    status = "incomplete" if said.stop in ("length", "filter") else "completed"
    if said.thinking:
        bare: dict[str, Any] = {"id": f"rs_{serial}", "type": "reasoning", "summary": []}
        item = dict(bare)
        if as_object(body.get("reasoning")).get("summary"):
            item["summary"] = [{"type": "summary_text", "text": "".join(said.thinking)}]
        if "reasoning.encrypted_content" in as_list(body.get("include")):
            state = base64.urlsafe_b64encode(b"%d:%d" % (call.serial, zlib.crc32(call.body))).decode()
            item["encrypted_content"] = f"{rules.SEALED}{state}"
        items.append((item, bare))
    if said.text:
        bare = {"id": f"msg_{serial}", "type": "message", "status": "in_progress", "role": "assistant"}
        text = "".join(said.text)
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        if said.stop == "refusal":
            part = {"type": "refusal", "refusal": text}
        items.append(({**bare, "status": status, "content": [part]}, {**bare, "content": []}))
    custom = {
        as_text(tool.get("name"))
        for tool in map(as_object, as_list(body.get("tools")))
        if tool.get("type") == "custom"
    }
    for number, made in enumerate(said.calls):
        facts = {"call_id": f"call_{serial}{number:02d}", "name": made.name}
        if made.name in custom:
            bare = {"id": f"ctc_{serial}{number:02d}", "type": "custom_tool_call", **facts, "input": ""}
            items.append(({**bare, "input": "free text"}, bare))
            continue
        bare = {"id": f"fc_{serial}{number:02d}", "type": "function_call", "status": "in_progress"}
        bare = {**bare, **facts, "arguments": ""}
        items.append(({**bare, "status": status, "arguments": made.arguments}, bare))
    return items


def _thinking(events: _Events, at: dict[str, Any], item: dict[str, Any], said: Answer, call: Call) -> Frames:
    if not item["summary"]:
        return
    at = {**at, "summary_index": 0}
    part = {"type": "summary_text", "text": ""}
    yield Frame(Kind.OPEN, events.say("response.reasoning_summary_part.added", **at, part=part))
    for text, tokens in grouped(said.thinking, call.profile.tokens_per_event):
        delta = events.say("response.reasoning_summary_text.delta", **at, delta=text)
        yield Frame(Kind.CONTENT, delta, tokens)
    text = item["summary"][0]["text"]
    yield Frame(Kind.CONTENT, events.say("response.reasoning_summary_text.done", **at, text=text))
    yield Frame(
        Kind.CONTENT, events.say("response.reasoning_summary_part.done", **at, part=item["summary"][0])
    )


def _words(events: _Events, at: dict[str, Any], item: dict[str, Any], said: Answer, call: Call) -> Frames:
    part = item["content"][0]
    kind, field = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
    more: dict[str, Any] = {} if kind == "refusal" else {"logprobs": []}
    at = {**at, "content_index": 0}
    yield Frame(Kind.OPEN, events.say("response.content_part.added", **at, part={**part, field: ""}))
    for text, tokens in grouped(said.text, call.profile.tokens_per_event):
        delta = events.say(f"response.{kind}.delta", **at, delta=text, **more)
        yield Frame(Kind.CONTENT, delta, tokens)
    yield Frame(Kind.CONTENT, events.say(f"response.{kind}.done", **at, **{field: part[field]}, **more))
    yield Frame(Kind.CONTENT, events.say("response.content_part.done", **at, part=part))


def _arguments(events: _Events, at: dict[str, Any], item: dict[str, Any]) -> Frames:
    custom = item["type"] == "custom_tool_call"
    kind, field = ("custom_tool_call_input", "input") if custom else ("function_call_arguments", "arguments")
    for start in range(0, len(item[field]), 8):
        delta = events.say(f"response.{kind}.delta", **at, delta=item[field][start : start + 8])
        yield Frame(Kind.CONTENT, delta, 2)
    more = {} if custom else {"name": item["name"]}
    yield Frame(Kind.CONTENT, events.say(f"response.{kind}.done", **at, **more, **{field: item[field]}))


def _response(
    body: dict[str, Any], said: Answer, call: Call, status: str, output: list[dict[str, Any]]
) -> dict[str, Any]:
    response: dict[str, Any] = {
        "id": _id(call),
        "object": "response",
        "created_at": call.unix_s,
        "status": status,
        "completed_at": call.unix_s if status == "completed" else None,
        "error": None,
        "incomplete_details": None,
        "model": call.shown_model,
        "output": output,
        "usage": None,
        "service_tier": "default",
    }
    for name, default in _ECHOED.items():
        given = body.get(name)
        response[name] = default if given is None else given
    response["reasoning"] = {**_ECHOED["reasoning"], **as_object(body.get("reasoning"))}
    response["text"] = {**_ECHOED["text"], **as_object(body.get("text"))}
    response["tools"] = [_echoed_tool(tool) for tool in map(as_object, as_list(body.get("tools")))]
    if body.get("service_tier") in ("flex", "priority"):
        response["service_tier"] = body["service_tier"]
    if status == "incomplete":
        reason = "content_filter" if said.stop == "filter" else "max_output_tokens"
        response["incomplete_details"] = {"reason": reason}
    if status != "in_progress":
        response["usage"] = _usage(said, call.quirks.usage)
    return response


def _echoed_tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}


def _usage(said: Answer, quirk: str) -> dict[str, Any] | None:
    usage = said.usage
    total = usage.total_tokens + (1000 if quirk == "inconsistent" else 0)
    if quirk == "missing":
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": total,
    }

"""A neutral request -> ``POST /model/{modelId}/converse[-stream]``; and what this target can never take.

Rules
- Refused (the meaning would change): n > 1, media that Converse cannot take, a prefill on models that have none, a
  tool_choice that names no tool, tool_choice none beside tools that the model may still call.
- Everything else that Converse has no word for is dropped or approximated and listed in ``adjusted``; what says only
  the default anyway is left out without a word.
- ``maxTokens`` absent stays absent: the model's own maximum holds (some Claudes demand it in thinking: see ``thinking``).
- What is Bedrock's own by name (guardrailConfig, performanceConfig, requestMetadata, ...) goes through untouched.
- The model's id is one segment of the path: every mark but letters, digits and ``-_.~`` is escaped, as botocore does.
- A credential that is no pair of access key and secret is a Bedrock API key, and goes as a bearer. A pair is signed with
  at the edge (net.aws_sign); nothing of it stands in the request.
"""

import re
from typing import Any
from urllib.parse import quote

import msgspec

from penstock.base.chat import ChatRequest, Message, Text, Tool, ToolCall, ToolChoice, ToolResult
from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.dialects.bedrock.history import (
    cache_point,
    keep_breakpoints,
    unsigned_loop,
    write_history,
)
from penstock.dialects.bedrock.media import fault
from penstock.dialects.bedrock.models import Rules, rules_for
from penstock.dialects.bedrock.schema import output_format
from penstock.dialects.bedrock.thinking import plan_thinking
from penstock.wire.http import Headers, WireRequest
from penstock.wire.notes import Notes
from penstock.wire.turns import Block, History

DIALECT = "bedrock"
MAX_BREAKPOINTS = 4
OWN_FIELDS = frozenset(
    {
        "guardrailConfig",
        "performanceConfig",
        "requestMetadata",
        "promptVariables",
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
    }
)
"""Converse's own: nobody else has fields of these names, so that they are known in any caller's body."""
_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
_JSON_ONLY = "Answer with one JSON object and nothing else: no prose before or after it, no code fence."
_JSON_SCHEMA = "{only} It must be valid against this JSON Schema:\n{schema}"
_MUST_CALL = "You must call {what} in this turn, and not answer in words alone."
_TIERS = frozenset({"priority", "flex", "default", "reserved"})
_encode = msgspec.json.Encoder().encode


def is_key_pair(credential: str) -> bool:
    """``access-key-id:secret[:session-token]``, to be signed with; else an API key, which has no colon."""
    return ":" in credential


def refuse(request: ChatRequest, target: Target) -> Rejected | None:
    """Why the target cannot take the request as it stands, or None."""
    if request.n is not None and request.n > 1:
        return _no(
            "n-unsupported", "Converse makes one answer a call (n). Send n calls, or leave n out.", "n"
        )
    for index, message in enumerate(request.messages):
        if (rejected := _message_fault(message, index)) is not None:
            return rejected
    if _is_prefill(request.messages) and not rules_for(target).prefill:
        return _no(
            "prefill-unsupported",
            f"{target.model} does not continue an assistant's message: the last one must be the user's. "
            "Move the beginning of the answer into the instructions.",
            f"messages[{len(request.messages) - 1}]",
        )
    for index, tool in enumerate(request.tools):
        if not _NAME.match(tool.name):
            return _no(
                "tool-name",
                f"Converse takes tool names of 1 to 64 letters, digits, _ and - (tools[{index}]). Rename it.",
                f"tools[{index}].function.name",
            )
    choice = request.tool_choice
    if choice is not None and choice.mode == "named" and request.tools:
        known = {tool.name for tool in request.tools}
        if not known.intersection(choice.names):
            return _no(
                "tool_choice-unknown",
                "tool_choice names no tool of this request. Name one of its tools.",
                "tool_choice",
            )
    return None


def _no(code: str, reason: str, param: str) -> Rejected:
    return Rejected(code, reason, param=param, caller_fault=True)


def _is_prefill(messages: tuple[Message, ...]) -> bool:
    """The last words are the assistant's own. (A last call without its result gets one, so that is no prefill.)"""
    words = False
    for message in reversed(messages):
        if message.role != "assistant":
            break
        for part in message.parts:
            if isinstance(part, ToolCall):
                return False
            words = words or (isinstance(part, Text) and bool(part.text.strip()))
    return words


def _message_fault(message: Message, index: int) -> Rejected | None:
    if message.role == "assistant":
        return None
    for position, part in enumerate(message.parts):
        where = f"messages[{index}].content[{position}]"
        for one in part.images if isinstance(part, ToolResult) else (part,):
            if (rejected := fault(one, where)) is not None:
                return rejected
    return None


def write_request(request: ChatRequest, target: Target, credential: str) -> WireRequest:
    """The request, for a target that did not refuse it."""
    notes = Notes()
    rules = rules_for(target)
    history = write_history(request.messages, rules, notes)
    if history.prefilled and "text" in (last := history.messages[-1]["content"][-1]):
        if last["text"] != last["text"].rstrip():
            notes.add("prefill-trimmed")
        last["text"] = last["text"].rstrip()
    tools, choice = _tools(request, history, rules, notes)
    forced = choice is not None and "auto" not in choice
    plan = plan_thinking(
        request.reasoning,
        rules,
        _max_tokens(request, target, notes),
        notes,
        manual_ok=not (unsigned_loop(history) or history.prefilled or forced),
    )
    output = _output_config(request, rules, history, notes)
    inference, fields = _sampling(request, rules, notes, thinking=plan.active)
    if plan.max_tokens is not None:
        inference = {"maxTokens": plan.max_tokens, **inference}
    fields = {**fields, **plan.fields}
    keep_breakpoints(
        [tools, history.system, *(turn["content"] for turn in history.messages)], MAX_BREAKPOINTS, notes
    )
    body: dict[str, Any] = {}
    if history.system:
        body["system"] = history.system
    body["messages"] = history.messages
    if inference:
        body["inferenceConfig"] = inference
    if tools:
        body["toolConfig"] = {"tools": tools, **({"toolChoice": choice} if choice is not None else {})}
    if output:
        body["outputConfig"] = output
    if fields:
        body["additionalModelRequestFields"] = fields
    _rest(request, body, notes)
    verb = "converse-stream" if request.stream else "converse"
    return WireRequest(
        b"POST",
        f"/model/{quote(target.model, safe='')}/{verb}".encode(),
        _headers(credential, stream=request.stream),
        _encode(body),
        notes.words(),
    )


def _headers(credential: str, *, stream: bool) -> Headers:
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/vnd.amazon.eventstream" if stream else b"application/json"),
        (b"accept-encoding", b"identity"),
    ]
    if not is_key_pair(credential):
        headers.append((b"authorization", b"Bearer " + credential.encode()))
    return headers


def _max_tokens(request: ChatRequest, target: Target, notes: Notes) -> int | None:
    known = target.facts.max_output_tokens
    if request.max_tokens is not None and known is not None and request.max_tokens > known:
        notes.add("max_tokens-clamped")
        return known
    return request.max_tokens


# Tools


def _tools(
    request: ChatRequest, history: History, rules: Rules, notes: Notes
) -> tuple[list[Block], dict[str, Any] | None]:
    choice = request.tool_choice
    if request.parallel_tool_calls is False and request.tools:
        notes.add("parallel_tool_calls-dropped")
    if not request.tools or (choice is not None and choice.mode == "none"):
        return _no_tools(request, history, notes), None
    chosen = request.tools
    if choice is not None and choice.mode == "named" and len(choice.names) > 1:
        # Several names are a list of allowed tools: the others are not shown.
        notes.add("tools-filtered")
        chosen = tuple(tool for tool in chosen if tool.name in choice.names)
    kind = _tool_choice(choice)
    if kind is not None and "auto" not in kind and (not rules.forced_tools or rules.family == "other"):
        chosen, kind = _unforced(chosen, kind, history, notes)
    return [block for tool in chosen for block in _tool(tool, rules, notes)], kind


def _no_tools(request: ChatRequest, history: History, notes: Notes) -> list[Block]:
    """Converse has no tool_choice none: the tools are not shown. A history with tools is refused without any."""
    choice = request.tool_choice
    if choice is not None and choice.mode in ("required", "named"):
        notes.add("tool_choice-dropped")
    if request.tools:
        notes.add("tool_choice-approximated")
    if not history.tool_names:
        return []
    notes.add("tools-stubbed")
    history.system.append({"text": "Do not call any tool in this turn: answer in words."})
    known = {tool.name: tool for tool in request.tools}
    return [
        _spec(known.get(name) or Tool(name=name, parameters={"type": "object"}))
        for name in history.tool_names
    ]


def _tool_choice(choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    match choice.mode:
        case "required":
            return {"any": {}}
        case "named":
            return {"tool": {"name": choice.names[0]}} if len(choice.names) == 1 else {"any": {}}
        case _:
            return {"auto": {}}


def _unforced(
    tools: tuple[Tool, ...], kind: dict[str, Any], history: History, notes: Notes
) -> tuple[tuple[Tool, ...], dict[str, Any] | None]:
    """A model that cannot be forced: offer only what was named, and say so in words."""
    notes.add("tool_choice-approximated")
    what = "one of the tools"
    if "tool" in kind:
        name = kind["tool"]["name"]
        tools = tuple(tool for tool in tools if tool.name == name)
        what = f"the tool {name}"
    history.system.append({"text": _MUST_CALL.format(what=what)})
    return tools, None


def _tool(tool: Tool, rules: Rules, notes: Notes) -> list[Block]:
    block = _spec(tool)
    if tool.strict:
        if rules.json_schema:
            block["toolSpec"]["strict"] = True
        else:
            notes.add("strict-dropped")
    if not tool.cache:
        return [block]
    if rules.cache and rules.family == "claude":
        return [block, cache_point(tool.cache, rules, notes)]
    notes.add("cache_control-dropped")
    return [block]


def _spec(tool: Tool) -> Block:
    spec: Block = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    schema: dict[str, Any] = tool.parameters or {"properties": {}}
    if "type" not in schema:
        schema = {"type": "object", **schema}
    spec["inputSchema"] = {"json": schema}
    return {"toolSpec": spec}


# Output and sampling


def _output_config(request: ChatRequest, rules: Rules, history: History, notes: Notes) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return {}
    if wanted.kind == "json_schema" and wanted.schema is not None and rules.json_schema:
        schema = output_format(wanted.schema)
        if schema != wanted.schema:
            notes.add("response_format-schema-adjusted")
        definition = {"schema": _encode(schema).decode()}
        if wanted.name:
            definition["name"] = wanted.name
        return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}
    notes.add("response_format-approximated")
    text = _JSON_ONLY
    if wanted.schema is not None:
        text = _JSON_SCHEMA.format(only=_JSON_ONLY, schema=_encode(wanted.schema).decode())
    history.system.append({"text": text})
    return {}


def _sampling(
    request: ChatRequest, rules: Rules, notes: Notes, *, thinking: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(inferenceConfig, additionalModelRequestFields). A Claude's default values are the same as none."""
    inference: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    temperature = request.temperature
    if temperature is not None and temperature > 1:
        notes.add("temperature-clamped")
        temperature = 1.0
    default_is_one = rules.family == "claude"
    if temperature is not None and not (default_is_one and temperature == 1):
        inference["temperature"] = temperature
    if request.top_p is not None and not (default_is_one and request.top_p == 1):
        inference["topP"] = request.top_p
    if request.top_k:
        match rules.family:
            case "claude":
                fields["top_k"] = request.top_k
            case "nova":
                fields["inferenceConfig"] = {"topK": request.top_k}
            case _:
                notes.add("top_k-dropped")
    if thinking or not rules.sampling:
        for name, word in (("temperature", "temperature"), ("topP", "top_p")):
            if inference.pop(name, None) is not None:
                notes.add(f"{word}-dropped")
        if fields:
            notes.add("top_k-dropped")
            fields = {}
    elif rules.family == "claude" and rules.json_schema and len(inference) == 2:
        # From 4.5 on a Claude takes one of the two (wire facts, parameters).
        del inference["topP"]
        notes.add("top_p-dropped")
    stops = [text for text in request.stop if text.strip()]
    if len(stops) != len(request.stop):
        notes.add("stop-dropped")
    if stops:
        inference["stopSequences"] = stops
    return inference, fields


def _rest(request: ChatRequest, body: dict[str, Any], notes: Notes) -> None:
    """The tier, Bedrock's own fields; and what has no counterpart."""
    tier = request.service_tier
    if tier is not None and tier != "auto":
        if tier in _TIERS:
            body["serviceTier"] = {"type": tier}
        else:
            notes.add("service_tier-dropped")
    for name in (
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
        "top_logprobs",
        "store",
        "user",
    ):
        value = getattr(request, name)
        if value is not None and (value or name == "seed"):
            notes.add(f"{name}-dropped")
    for given in request.extras.values():
        for name, value in given.items():
            if name == "additionalModelRequestFields" and isinstance(value, dict):
                body[name] = {**value, **body.get(name, {})}
            elif name in OWN_FIELDS:
                body[name] = value
            elif name != "metadata":  # the ledger's: the gateway itself has honoured it
                notes.add(f"{name}-dropped")

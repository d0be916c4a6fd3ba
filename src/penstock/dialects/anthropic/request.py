"""A neutral request -> ``POST /v1/messages``; and what this target can never take.

Rules
- Refused (the meaning would change): audio, n > 1, foreign file ids, formats Anthropic cannot read, URLs that are
  not https, a prefill on models that have none, a tool_choice that names no tool.
- Everything else that Anthropic has no word for is dropped or approximated and listed in ``adjusted``; what says
  only the default anyway (temperature 1, n 1, a penalty of 0, store false) is left out without a word.
- API version 2026-10-21, which has no sampling parameters; 2023-06-01 only where one of them has to be kept and the
  model takes it, or where ``target.options["api_version"]`` pins it.
- ``max_tokens`` is required: absent, it is the model's own maximum, which is no adjustment.
- Keys and blocks stand in a fixed order, so that equal requests have equal bytes (behaviour 19).
"""

from typing import Any

import msgspec

from penstock.base.chat import ChatRequest, Message, Text, Tool, ToolCall, ToolChoice, ToolResult
from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.dialects.anthropic.envelope import GATEWAY_FIELDS
from penstock.dialects.anthropic.expand import BETAS
from penstock.dialects.anthropic.forward import PATH, headers
from penstock.dialects.anthropic.history import (
    keep_breakpoints,
    trim_prefill,
    unsigned_loop,
    write_history,
)
from penstock.dialects.anthropic.media import fault
from penstock.dialects.anthropic.models import Rules, rules_for
from penstock.dialects.anthropic.schema import output_format, tool_input
from penstock.dialects.anthropic.thinking import Plan, plan_thinking
from penstock.wire.http import WireRequest
from penstock.wire.notes import Notes
from penstock.wire.turns import Block, History

VERSION = "2026-10-21"
VERSION_WITH_SAMPLING = "2023-06-01"
MAX_BREAKPOINTS = 4
DIALECT = "anthropic"

_JSON_ONLY = "Answer with one JSON object and nothing else: no prose before or after it, no code fence."
_JSON_SCHEMA = "{only} It must be valid against this JSON Schema:\n{schema}"
_MUST_CALL = "You must call {what} in this turn, and not answer in words alone."
_TIERS = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
_encode = msgspec.json.Encoder().encode


def refuse(request: ChatRequest, target: Target) -> Rejected | None:
    """Why the target cannot take the request as it stands, or None."""
    if request.n is not None and request.n > 1:
        return Rejected(
            "n-unsupported",
            "Anthropic makes one answer a call (n). Send n calls, or leave n out.",
            param="n",
            caller_fault=True,
        )
    for index, message in enumerate(request.messages):
        if (rejected := _message_fault(message, index)) is not None:
            return rejected
    if _is_prefill(request.messages) and not rules_for(target).prefill:
        return Rejected(
            "prefill-unsupported",
            f"{target.model} does not continue an assistant's message: the last one must be the user's. "
            "Move the beginning of the answer into the instructions.",
            param=f"messages[{len(request.messages) - 1}]",
            caller_fault=True,
        )
    choice = request.tool_choice
    if choice is not None and choice.mode == "named" and request.tools:
        known = {tool.name for tool in request.tools}
        if not known.intersection(choice.names):
            return Rejected(
                "tool_choice-unknown",
                "tool_choice names no tool of this request. Name one of its tools.",
                param="tool_choice",
                caller_fault=True,
            )
    return None


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
        if isinstance(part, ToolResult):
            for image in part.images:
                if (rejected := fault(image, where)) is not None:
                    return rejected
        elif (rejected := fault(part, where)) is not None:
            return rejected
    return None


def write_request(request: ChatRequest, target: Target, credential: str) -> WireRequest:
    """The request, for a target that did not refuse it."""
    notes = Notes()
    rules = rules_for(target)
    history = write_history(request.messages, notes)
    tools, choice = _tools(request, history, rules, notes)
    forced = choice is not None and choice["type"] in ("any", "tool")
    plan = plan_thinking(
        request.reasoning,
        rules,
        _max_tokens(request, rules, target, notes),
        notes,
        manual_ok=not unsigned_loop(history) and not history.prefilled,
        forced=forced,
    )
    output = _output_config(request, rules, history, plan, notes)
    if history.prefilled:
        trim_prefill(history, notes)
    sampling = _sampling(request, rules, plan, target, notes)
    keep_breakpoints(
        [tools, history.system, *(turn["content"] for turn in history.messages)], MAX_BREAKPOINTS, notes
    )
    body: dict[str, Any] = {"model": target.model, "max_tokens": plan.max_tokens}
    if history.system:
        body["system"] = _system(history.system)
    body["messages"] = history.messages
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    if plan.thinking is not None:
        body["thinking"] = plan.thinking
    if output:
        body["output_config"] = output
    body.update(sampling)
    betas = _rest(request, body, notes)
    version = target.options.get("api_version") or (VERSION_WITH_SAMPLING if sampling else VERSION)
    if request.stream:
        body["stream"] = True
    return WireRequest(
        b"POST",
        PATH,
        headers(credential, version, betas, stream=request.stream),
        _encode(body),
        notes.words(),
    )


def _system(blocks: list[Block]) -> str | list[Block]:
    if any("cache_control" in block for block in blocks):
        return blocks
    return "\n\n".join(block["text"] for block in blocks)


def _max_tokens(request: ChatRequest, rules: Rules, target: Target, notes: Notes) -> int:
    if request.max_tokens is None:
        return rules.max_output
    known = target.facts.max_output_tokens
    if known is not None and request.max_tokens > known:
        notes.add("max_tokens-lowered")
        return known
    return request.max_tokens


# Tools


def _tools(
    request: ChatRequest, history: History, rules: Rules, notes: Notes
) -> tuple[list[Block], dict[str, Any] | None]:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in ("required", "named"):
            notes.add("tool_choice-dropped")
        if not history.tool_names:
            return [], None
        # A history with tool blocks is refused without tools: name them, and allow none.
        notes.add("tools-stubbed")
        stubs = [{"name": name, "input_schema": {"type": "object"}} for name in history.tool_names]
        return stubs, {"type": "none"}
    chosen = request.tools
    kind: dict[str, Any] | None = None
    if choice is not None:
        chosen = _allowed(chosen, choice, notes)
        kind = _tool_choice(choice)
    if kind is not None and kind["type"] in ("any", "tool") and not rules.forced_tools:
        chosen, kind = _unforced(chosen, kind, history, notes)
    if request.parallel_tool_calls is False and (kind is None or kind["type"] != "none"):
        kind = kind or {"type": "auto"}
        kind["disable_parallel_tool_use"] = True
    return [_tool(tool, rules, notes) for tool in chosen], kind


def _allowed(tools: tuple[Tool, ...], choice: ToolChoice, notes: Notes) -> tuple[Tool, ...]:
    """Several names are a list of allowed tools: the others are not shown."""
    if choice.mode != "named" or len(choice.names) < 2:
        return tools
    notes.add("tools-filtered")
    return tuple(tool for tool in tools if tool.name in choice.names)


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    match choice.mode:
        case "required":
            return {"type": "any"}
        case "named":
            # Several names: any of them must be called; the others are not shown (_allowed).
            return {"type": "tool", "name": choice.names[0]} if len(choice.names) == 1 else {"type": "any"}
        case "none":
            return {"type": "none"}
        case "auto":
            return {"type": "auto"}


def _unforced(
    tools: tuple[Tool, ...], kind: dict[str, Any], history: History, notes: Notes
) -> tuple[tuple[Tool, ...], dict[str, Any]]:
    """From 5.5 on no tool can be forced: offer only what was named, and say so in words."""
    notes.add("tool_choice-approximated")
    what = "one of the tools"
    if kind["type"] == "tool":
        tools = tuple(tool for tool in tools if tool.name == kind["name"])
        what = f"the tool {kind['name']}"
    history.system.append({"type": "text", "text": _MUST_CALL.format(what=what)})
    return tools, {"type": "auto"}


def _tool(tool: Tool, rules: Rules, notes: Notes) -> Block:
    block: Block = {"name": tool.name}
    if tool.description:
        block["description"] = tool.description
    block["input_schema"] = tool_input(tool.parameters)
    if tool.strict:
        if rules.json_schema:
            block["strict"] = True
        else:
            notes.add("strict-dropped")
    if tool.cache:
        block["cache_control"] = (
            {"type": "ephemeral", "ttl": "1h"} if tool.cache == "1h" else {"type": "ephemeral"}
        )
    return block


# Output and sampling


def _output_config(
    request: ChatRequest, rules: Rules, history: History, plan: Plan, notes: Notes
) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if plan.effort is not None:
        output["effort"] = plan.effort
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return output
    if wanted.kind == "json_object" or wanted.schema is None:
        notes.add("response_format-approximated")
        history.system.append({"type": "text", "text": _JSON_ONLY})
    elif rules.json_schema:
        schema = output_format(wanted.schema)
        if schema != wanted.schema:
            notes.add("response_format-schema-adjusted")
        output["format"] = {"type": "json_schema", "schema": schema}
    else:
        notes.add("response_format-approximated")
        text = _JSON_SCHEMA.format(only=_JSON_ONLY, schema=_encode(wanted.schema).decode())
        history.system.append({"type": "text", "text": text})
    return output


def _sampling(
    request: ChatRequest, rules: Rules, plan: Plan, target: Target, notes: Notes
) -> dict[str, float | int]:
    """The sampling parameters that can be kept. A default value is the same as none (2023-06-01: 1, 1, off)."""
    asked: dict[str, float | int] = {}
    temperature = request.temperature
    if temperature is not None and temperature > 1:
        notes.add("temperature-clamped")
        temperature = 1
    if temperature is not None and temperature != 1:
        asked["temperature"] = temperature
    if request.top_p is not None and request.top_p != 1:
        asked["top_p"] = request.top_p
    if request.top_k:
        asked["top_k"] = request.top_k
    if not asked:
        return asked
    pinned = target.options.get("api_version")
    # Thinking excludes them too: only temperature 1 stands beside it.
    if not rules.sampling or plan.active or (pinned is not None and pinned != VERSION_WITH_SAMPLING):
        for name in asked:
            notes.add(f"{name}-dropped")
        return {}
    if "temperature" in asked and "top_p" in asked and not rules.top_p_beside_temperature:
        del asked["top_p"]
        notes.add("top_p-dropped")
    return asked


def _rest(request: ChatRequest, body: dict[str, Any], notes: Notes) -> str:
    """Stop sequences, user, tier; and what has no counterpart. The caller's beta headers, if it speaks this dialect."""
    betas = ""
    stops = [text for text in request.stop if text.strip()]
    if len(stops) != len(request.stop):
        notes.add("stop-dropped")
    if stops:
        body["stop_sequences"] = stops
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if request.service_tier is not None:
        if (tier := _TIERS.get(request.service_tier)) is not None:
            body["service_tier"] = tier
        else:
            notes.add("service_tier-dropped")
    for name in ("seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "store"):
        value = getattr(request, name)
        if value is not None and (value or name == "seed"):
            notes.add(f"{name}-dropped")
    for dialect, fields in request.extras.items():
        for name, value in fields.items():
            if dialect == DIALECT and name == BETAS:
                betas = value
            elif dialect == DIALECT and name not in body and name not in GATEWAY_FIELDS:
                body[name] = value
            elif name != "metadata":  # the ledger's: the gateway itself has honoured it
                notes.add(f"{name}-dropped")
    return betas

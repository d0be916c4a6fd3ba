"""A neutral request -> ``POST /v2/chat``; and what Cohere can never take.

Sources: Cohere's v2 chat reference and the SDK's types (cohere 7.3.1), read 2026-11.

Rules
- Refused (the meaning would change): n > 1, sounds, films, files that are no text, an assistant's message to be continued,
  a tool_choice that names no tool.
- Everything else that Cohere has no word for is dropped or approximated and listed in ``adjusted``; what says only the
  default anyway is left out without a word.
- ``response_format`` cannot stand beside tools or documents (Cohere: 400): it becomes an instruction there.
- A tool cannot be forced by its name: the others are not shown, and one of what is left is required.
- What is Cohere's own by name (safety_mode, citation_options, documents, ...) goes through untouched.
"""

from typing import Any

import msgspec

from penstock.base.chat import ChatRequest, Message, Reasoning, Text, Tool, ToolCall
from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.dialects.cohere.history import Block, fault, write_history
from penstock.wire.http import WireRequest
from penstock.wire.notes import Notes

OWN_FIELDS = frozenset({"documents", "citation_options", "safety_mode", "strict_tools", "priority"})
MAX_STOPS = 5
MAX_K = 500
MIN_P, MAX_P = 0.01, 0.99
_RATIO = {"max": 0.95, "xhigh": 0.95, "high": 0.8, "medium": 0.5, "low": 0.2, "minimal": 0.1}
_THINKING = ("reasoning", "command-a-plus", "command-b")
"""Parts of the names of models that think; the catalogue's word counts more."""
_JSON_ONLY = "Answer with one JSON object and nothing else: no prose before or after it, no code fence."
_JSON_SCHEMA = "{only} It must be valid against this JSON Schema:\n{schema}"
_encode = msgspec.json.Encoder().encode


def refuse(request: ChatRequest, target: Target) -> Rejected | None:
    """Why the target cannot take the request as it stands, or None."""
    del target
    if request.n is not None and request.n > 1:
        return _no("n-unsupported", "Cohere makes one answer a call (n). Send n calls, or leave n out.", "n")
    for index, message in enumerate(request.messages):
        if message.role == "assistant":
            continue
        for position, part in enumerate(message.parts):
            if (rejected := fault(part, f"messages[{index}].content[{position}]")) is not None:
                return rejected
    if _is_prefill(request.messages):
        return _no(
            "prefill-unsupported",
            "Cohere does not continue an assistant's message: the last one must be the user's. "
            "Move the beginning of the answer into the instructions.",
            f"messages[{len(request.messages) - 1}]",
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
    words = False
    for message in reversed(messages):
        if message.role != "assistant":
            break
        for part in message.parts:
            if isinstance(part, ToolCall):
                return False
            words = words or (isinstance(part, Text) and bool(part.text.strip()))
    return words


def write_request(request: ChatRequest, target: Target, credential: str) -> WireRequest:
    """The request, for a target that did not refuse it."""
    notes = Notes()
    wanted = request.response_format
    structured = wanted is not None and wanted.kind != "text"
    own = _own_fields(request, notes)
    history = write_history(request.messages, notes, with_documents=not (structured or request.tools))
    tools, choice = _tools(request, notes)
    documents = [*history.documents, *own.pop("documents", [])]
    body: dict[str, Any] = {"model": target.model, "messages": history.messages}
    if tools:
        body["tools"] = tools
        _strict(request, {tool["function"]["name"] for tool in tools}, body, notes)
    if choice is not None:
        body["tool_choice"] = choice
    if documents:
        body["documents"] = documents
    if structured:
        _format(request, body, notes, apart=not (tools or documents))
    _sampling(request, body, notes)
    _thinking(request.reasoning, body, target, notes)
    _rest(request, notes)
    body.update(own)
    if request.stream:
        body["stream"] = True
    return WireRequest(
        b"POST",
        b"/v2/chat",
        [
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream" if request.stream else b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"authorization", b"Bearer " + credential.encode()),
        ],
        _encode(body),
        notes.words(),
    )


def _own_fields(request: ChatRequest, notes: Notes) -> dict[str, Any]:
    own: dict[str, Any] = {}
    for given in request.extras.values():
        for name, value in given.items():
            if name in OWN_FIELDS and (name != "documents" or isinstance(value, list)):
                own[name] = value
            elif name != "metadata":  # the ledger's: the gateway itself has honoured it
                notes.add(f"{name}-dropped")
    return own


def _tools(request: ChatRequest, notes: Notes) -> tuple[list[Block], str | None]:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in ("required", "named"):
            notes.add("tool_choice-dropped")
        return [], None
    if request.parallel_tool_calls is False:
        notes.add("parallel_tool_calls-dropped")
    if any(tool.cache for tool in request.tools):
        notes.add("cache_control-dropped")
    chosen, said = request.tools, None
    if choice is not None:
        if choice.mode == "named":
            notes.add("tools-filtered")
            chosen = tuple(tool for tool in chosen if tool.name in choice.names)
        said = {"required": "REQUIRED", "named": "REQUIRED", "none": "NONE"}.get(choice.mode)
    return [_tool(tool) for tool in chosen], said


def _strict(request: ChatRequest, shown: set[str], body: dict[str, Any], notes: Notes) -> None:
    """One switch for all tools: it is set where all of them ask for it."""
    asked = [bool(tool.strict) for tool in request.tools if tool.name in shown]
    if all(asked):
        body["strict_tools"] = True
    elif any(asked):
        notes.add("strict-dropped")


def _tool(tool: Tool) -> Block:
    function: Block = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _format(request: ChatRequest, body: dict[str, Any], notes: Notes, *, apart: bool) -> None:
    wanted = request.response_format
    assert wanted is not None
    if apart:
        form: dict[str, Any] = {"type": "json_object"}
        body["response_format"] = form
        if wanted.schema is not None:
            form["json_schema"] = wanted.schema
        return
    notes.add("response_format-approximated")
    text = _JSON_ONLY
    if wanted.schema is not None:
        text = _JSON_SCHEMA.format(only=_JSON_ONLY, schema=_encode(wanted.schema).decode())
    body["messages"].insert(0, {"role": "system", "content": text})


def _sampling(request: ChatRequest, body: dict[str, Any], notes: Notes) -> None:
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    stops = [text for text in request.stop if text]
    if len(stops) > MAX_STOPS or len(stops) != len(request.stop):
        notes.add("stop-dropped")
    if stops:
        body["stop_sequences"] = stops[:MAX_STOPS]
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.seed is not None:
        body["seed"] = request.seed
    limits = (
        ("frequency_penalty", "frequency_penalty", 0, 1),
        ("presence_penalty", "presence_penalty", 0, 1),
    )
    for name, wire, low, high in (*limits, ("top_k", "k", 0, MAX_K), ("top_p", "p", MIN_P, MAX_P)):
        value = getattr(request, name)
        if value is None or (not value and name != "top_p"):
            continue
        kept = min(max(value, low), high)
        if kept != value:
            notes.add(f"{name}-clamped")
        body[wire] = kept


def _thinking(asked: Reasoning | None, body: dict[str, Any], target: Target, notes: Notes) -> None:
    """A budget is taken as it is; an effort is a share of max_tokens, where there is one."""
    if asked is None:
        return
    off = asked.max_tokens == 0 or (
        asked.max_tokens is None and (asked.effort == "none" or (asked.enabled is False and not asked.effort))
    )
    wanted = asked.max_tokens is not None or asked.effort is not None or asked.enabled is True
    if not off and not wanted:
        return  # `{}` asks to see what the model thinks anyway: Cohere always shows it
    known = target.facts.reasoning
    thinks = known != "none" if known else any(part in target.model for part in _THINKING)
    if off:
        if thinks:
            body["thinking"] = {"type": "disabled"}
        return
    if not thinks:
        notes.add("reasoning-dropped")
        return
    if asked.exclude:
        notes.add("reasoning-exclude-dropped")
    thinking: dict[str, Any] = {"type": "enabled"}
    if asked.max_tokens is not None and asked.max_tokens > 0:
        thinking["token_budget"] = asked.max_tokens
    elif asked.effort is not None:
        notes.add("reasoning_effort-approximated")
        if (cap := body.get("max_tokens")) is not None:
            thinking["token_budget"] = max(1, int(cap * _RATIO[asked.effort]))
    body["thinking"] = thinking


def _rest(request: ChatRequest, notes: Notes) -> None:
    """What has no counterpart. Log probabilities come, but nothing neutral could carry them."""
    if request.service_tier not in (None, "auto", "default"):
        notes.add("service_tier-dropped")
    for name in ("logprobs", "top_logprobs", "store", "user"):
        if getattr(request, name):
            notes.add(f"{name}-dropped")

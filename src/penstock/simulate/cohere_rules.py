"""What Cohere's v2 chat refuses. Source: the SDK's types (cohere 7.3.1) and docs.cohere.com, read 2026-11."""

import re
from typing import Any

import msgspec

from penstock.simulate.reply import Call, Refused
from penstock.simulate.untyped import as_int, as_list, as_number, as_object, as_text, is_list, is_object

_FIELDS = frozenset(
    [
        "model",
        "messages",
        "tools",
        "strict_tools",
        "documents",
        "citation_options",
        "response_format",
        "safety_mode",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "k",
        "p",
        "logprobs",
        "tool_choice",
        "thinking",
        "priority",
        "stream",
    ]
)
_RANGES = {
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
    "k": (0, 500),
    "p": (0.01, 0.99),
}
_DATA_URI = re.compile(r"^data:image/[a-z+]+;base64,[A-Za-z0-9+/=\s]+$")
_MAX_STOPS = 5


def bad(message: str) -> Refused:
    """A 400."""
    return Refused(400, f"invalid request: {message}")


def check(body: dict[str, Any], call: Call) -> None:
    """Raise Refused as the vendor would."""
    for name in body:
        if name not in _FIELDS and call.settings.unknown_fields == "refuse":
            raise Refused(422, f"unknown field: parameter '{name}' is not a valid field")
    if not call.model:
        raise bad("model is required")
    messages = [as_object(raw) for raw in as_list(body.get("messages"))]
    if not messages:
        raise bad("messages must not be empty")
    for name, (low, high) in _RANGES.items():
        value = as_number(body.get(name))
        if value is not None and not low <= value <= high:
            raise bad(f"{name} must be between {low} and {high} inclusive.")
    if len(as_list(body.get("stop_sequences"))) > _MAX_STOPS:
        raise bad(f"stop_sequences has at most {_MAX_STOPS} entries.")
    tools = _check_tools(body)
    form = as_object(body.get("response_format"))
    if form.get("type") not in (None, "text", "json_object"):
        raise bad("response_format.type must be text or json_object")
    if form.get("type") == "json_object" and (tools or body.get("documents")):
        raise bad("response_format is not supported in combination with tools or documents")
    thinking = as_object(body.get("thinking"))
    if thinking and (
        thinking.get("type") not in ("enabled", "disabled")
        or ("token_budget" in thinking and (as_int(thinking["token_budget"]) or 0) < 1)
    ):
        raise bad("thinking.token_budget must be a positive integer")
    for index, raw in enumerate(as_list(body.get("documents"))):
        if not isinstance(raw, str) and not is_object(as_object(raw).get("data")):
            raise bad(f"documents[{index}].data must be an object")
    _check_messages(messages)


def _check_tools(body: dict[str, Any]) -> list[Any]:
    tools = as_list(body.get("tools"))
    for index, raw in enumerate(tools):
        function = as_object(as_object(raw).get("function"))
        if as_object(raw).get("type") != "function" or not as_text(function.get("name")):
            raise bad(f"tools[{index}].function.name is required")
        if not is_object(function.get("parameters")):
            raise bad(f"tools[{index}].function.parameters is required")
    choice = body.get("tool_choice")
    if choice not in (None, "REQUIRED", "NONE"):
        raise bad("tool_choice must be REQUIRED or NONE")
    if choice == "REQUIRED" and not tools:
        raise bad("tool_choice is REQUIRED, but no tools were given")
    return tools


def _check_messages(messages: list[dict[str, Any]]) -> None:
    open_ids: list[str] = []
    for index, message in enumerate(messages):
        role = message.get("role")
        where = f"messages[{index}]"
        if role not in ("system", "user", "assistant", "tool"):
            raise bad(f"{where}.role must be one of system, user, assistant, tool")
        if role == "tool":
            wanted = as_text(message.get("tool_call_id"))
            if wanted not in open_ids:
                raise bad(f"{where}: tool_call_id '{wanted}' does not answer a tool call")
            open_ids.remove(wanted)
        elif open_ids:
            raise bad(f"{where}: tool calls without results: {', '.join(open_ids)}")
        if role == "assistant":
            open_ids = _check_assistant(message, where)
        else:
            _check_content(message.get("content"), where, role or "")
    if open_ids:
        raise bad(f"tool calls without results: {', '.join(open_ids)}")
    if messages[-1]["role"] not in ("user", "tool"):
        raise bad("the last message must be from the user or from a tool")


def _check_assistant(message: dict[str, Any], where: str) -> list[str]:
    calls = as_list(message.get("tool_calls"))
    if not calls and not message.get("content"):
        raise bad(f"{where} must have content or tool_calls")
    if message.get("tool_plan") and not calls:
        raise bad(f"{where}: a tool_plan needs tool_calls")
    found: list[str] = []
    for raw in calls:
        call = as_object(raw)
        function = as_object(call.get("function"))
        try:
            whole = is_object(msgspec.json.decode(as_text(function.get("arguments"))))
        except msgspec.DecodeError:
            whole = False
        if not whole or not as_text(call.get("id")):
            raise bad(f"{where}.tool_calls: id and arguments (a JSON object) are required")
        found.append(as_text(call.get("id")))
    if len(set(found)) != len(found):
        raise bad(f"{where}.tool_calls: ids must be unique")
    return found


def _check_content(content: Any, where: str, role: str) -> None:
    if isinstance(content, str):
        if not content:
            raise bad(f"{where}.content must not be empty")
        return
    if not is_list(content) or not content:
        raise bad(f"{where}.content must not be empty")
    allowed = {"user": ("text", "image_url"), "tool": ("text", "document"), "system": ("text",)}[role]
    for raw in as_list(content):
        block = as_object(raw)
        kind = block.get("type")
        if kind not in allowed:
            raise bad(f"{where}.content: type must be one of {', '.join(allowed)}")
        if kind == "text" and not as_text(block.get("text")):
            raise bad(f"{where}.content.text must not be empty")
        if kind == "image_url":
            url = as_text(as_object(block.get("image_url")).get("url"))
            if not (_DATA_URI.match(url) or url.startswith(("http://", "https://"))):
                raise bad(f"{where}.content.image_url.url must be a data URI or a web URL")

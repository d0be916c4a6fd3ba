"""What OpenAI's Responses API refuses, with its own words."""

from typing import Any

from penstock.simulate.openai_rules import bad, is_reasoning_model
from penstock.simulate.reply import Call
from penstock.simulate.untyped import as_int, as_list, as_object, as_text

_FIELDS_TEXT = (
    "access_programs background context_management conversation image include input instructions "
    "max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store "
    "stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user"
)
FIELDS = frozenset(_FIELDS_TEXT.split())
SEALED = "gAAAAsimulated."
"""How reasoning that this vendor has encrypted begins."""
_ROLES = frozenset({"user", "assistant", "system", "developer"})
_PARTS = {
    "assistant": frozenset({"output_text", "refusal"}),
    "user": frozenset({"input_text", "input_image", "input_file"}),
    "system": frozenset({"input_text"}),
    "developer": frozenset({"input_text"}),
}
_ITEMS = frozenset(
    {
        "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning",
        "item_reference", "web_search_call", "file_search_call", "image_generation_call", "code_interpreter_call",
    }
)  # fmt: skip
_TOOLS = frozenset(
    {"function", "custom", "web_search", "file_search", "code_interpreter", "image_generation", "mcp"}
)


def mark(name: str) -> bytes:
    """By which a made response is remembered."""
    return b"response:" + name.encode()


def kind_of(item: dict[str, Any]) -> str:
    """An item's type, also where it is left out."""
    return as_text(item.get("type")) or ("message" if item.get("role") else "item_reference")


def check(body: dict[str, Any], call: Call) -> None:
    """Raise Refused as the vendor would."""
    if not as_text(body.get("model")):
        raise bad("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    for name in body:
        if name not in FIELDS:
            raise bad(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if not body.get("input"):
        raise bad("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    previous = as_text(body.get("previous_response_id"))
    if previous and mark(previous) not in call.prompts_seen:
        raise bad(
            f"Previous response with id '{previous}' not found.",
            "previous_response_id",
            "previous_response_not_found",
        )
    _check_items(as_list(body["input"]), open_end=bool(previous))
    _check_tools(body)
    cap = body.get("max_output_tokens")
    if cap is not None and (as_int(cap) or 0) < 16:
        raise bad(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {cap} instead.",
            "max_output_tokens",
            "integer_below_min_value",
        )
    _check_model(body, call.model)


def _check_items(items: list[Any], *, open_end: bool) -> None:
    """``open_end``: calls may stand in a conversation that the vendor keeps."""
    called: dict[str, bool] = {}
    for index, item in enumerate(map(as_object, items)):
        kind, place = kind_of(item), f"input[{index}]"
        if kind not in _ITEMS:
            raise bad(f"Invalid value: '{kind}'.", place, "invalid_value")
        if kind == "message":
            _check_message(item, place)
        elif kind in ("function_call", "custom_tool_call"):
            called[as_text(item.get("call_id"))] = False
        elif kind in ("function_call_output", "custom_tool_call_output"):
            call_id = as_text(item.get("call_id"))
            if call_id not in called and not open_end:
                raise bad(f"No tool call found for function call output with call_id {call_id}.", "input")
            called[call_id] = True
        elif kind == "reasoning":
            _check_reasoning(item, place)
    for call_id, answered in called.items():
        if not answered:
            raise bad(f"No tool output found for function call {call_id}.", "input")


def _check_reasoning(item: dict[str, Any], place: str) -> None:
    sealed = as_text(item.get("encrypted_content"))
    if not sealed:
        raise bad(f"Item with id '{item.get('id')}' not found.", "input")
    if not sealed.startswith(SEALED):
        raise bad(
            f"The encrypted content {sealed[:16]}... could not be verified.",
            f"{place}.encrypted_content",
            "invalid_encrypted_content",
        )


def _check_message(item: dict[str, Any], place: str) -> None:
    role = as_text(item.get("role"))
    if role not in _ROLES:
        raise bad(f"Invalid value: '{role}'.", f"{place}.role", "invalid_value")
    for number, part in enumerate(map(as_object, as_list(item.get("content")))):
        kind = as_text(part.get("type"))
        if kind not in _PARTS[role]:
            supported = " and ".join(f"'{name}'" for name in sorted(_PARTS[role]))
            raise bad(
                f"Invalid value: '{kind}'. Supported values are: {supported}.",
                f"{place}.content[{number}]",
                "invalid_value",
            )


def _check_tools(body: dict[str, Any]) -> None:
    for index, tool in enumerate(map(as_object, as_list(body.get("tools")))):
        kind = as_text(tool.get("type"))
        if kind not in _TOOLS:
            raise bad(f"Invalid value: '{kind}'.", f"tools[{index}].type", "invalid_value")
        if kind == "function" and not as_text(tool.get("name")):
            place = f"tools[{index}].name"
            raise bad(f"Missing required parameter: '{place}'.", place, "missing_required_parameter")
        schema = as_object(tool.get("parameters"))
        strict = kind == "function" and tool.get("strict") is not False
        if strict and schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            raise bad(
                f"Invalid schema for function '{tool.get('name')}': In context=(), 'additionalProperties' is required "
                "to be supplied and to be false.",
                f"tools[{index}].parameters",
                "invalid_function_parameters",
            )


def _check_model(body: dict[str, Any], model: str) -> None:
    reasoning = as_object(body.get("reasoning"))
    if is_reasoning_model(model):
        for name in ("temperature", "top_p"):
            if body.get(name) not in (None, 1, 1.0):
                raise bad(
                    f"Unsupported parameter: '{name}' is not supported with this model.",
                    name,
                    "unsupported_parameter",
                )
        return
    if reasoning.get("effort"):
        raise bad(
            "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
            "reasoning.effort",
            "unsupported_parameter",
        )
    if "reasoning.encrypted_content" in as_list(body.get("include")):
        raise bad("Encrypted content is not supported with this model.", "include")

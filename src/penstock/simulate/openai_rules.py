"""What OpenAI's chat completions refuse, with their own words."""

from typing import Any

from penstock.simulate.reply import Call, Refused
from penstock.simulate.untyped import as_int, as_list, as_number, as_object, as_text, is_list, is_object

_FIELDS_TEXT = (
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens "
    "messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty "
    "prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format "
    "safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools "
    "top_logprobs top_p user verbosity web_search_options"
)
FIELDS = frozenset(_FIELDS_TEXT.split())
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_PART_TYPES = {
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "assistant": frozenset({"text", "refusal"}),
    "tool": frozenset({"text"}),
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "function": frozenset({"text"}),
}


def bad(message: str, param: str | None, code: str = "") -> Refused:
    """A 400 of type invalid_request_error."""
    return Refused(400, message, param=param, code=code)


def is_reasoning_model(model: str) -> bool:
    """gpt-5, gpt-6 and the o-series: no ``max_tokens``, no sampling."""
    name = model.rpartition("/")[2]
    return name.startswith(("gpt-5", "gpt-6", "o1", "o3", "o4"))


def check(body: dict[str, Any], call: Call) -> None:
    """Raise Refused as the vendor would."""
    if not as_text(body.get("model")):
        raise bad("you must provide a model parameter", None)
    if call.settings.unknown_fields == "refuse" and not body.keys() <= FIELDS:
        unknown = next(name for name in body if name not in FIELDS)
        raise bad(f"Unrecognized request argument supplied: {unknown}", None)
    if "messages" not in body:
        raise bad("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    messages = as_list(body["messages"])
    if not messages:
        raise bad(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    _check_messages(messages)
    _check_tools(body)
    _check_options(body)
    _check_model_rules(body, call.model)


def _check_messages(messages: list[Any]) -> None:
    open_calls: list[str] = []
    for index, raw in enumerate(messages):
        message = as_object(raw)
        role = as_text(message.get("role"))
        if role not in _ROLES:
            supported = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
            raise bad(
                f"Invalid value: '{role}'. Supported values are: {supported}.",
                f"messages[{index}].role",
                "invalid_value",
            )
        if role == "tool":
            open_calls = _answered(message, open_calls, index)
        elif open_calls:
            raise _unanswered(open_calls)
        if role == "assistant":
            open_calls = [as_text(as_object(made).get("id")) for made in as_list(message.get("tool_calls"))]
        _check_content(message, role, index)
    if open_calls:
        raise _unanswered(open_calls)


def _answered(message: dict[str, Any], open_calls: list[str], index: int) -> list[str]:
    call_id = as_text(message.get("tool_call_id"))
    if not call_id:
        place = f"messages[{index}].tool_call_id"
        raise bad(f"Missing required parameter: '{place}'.", place, "missing_required_parameter")
    if call_id not in open_calls:
        raise bad(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
            f"messages.[{index}].role",
        )
    return [known for known in open_calls if known != call_id]


def _unanswered(open_calls: list[str]) -> Refused:
    return bad(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
        "messages",
    )


def _check_content(message: dict[str, Any], role: str, index: int) -> None:
    content = message.get("content")
    if content is None:
        if role == "assistant":
            return
        place = f"messages.[{index}].content"
        raise bad("Invalid value for 'content': expected a string, got null.", place, "invalid_type")
    if isinstance(content, str):
        return
    if not is_list(content):
        place = f"messages[{index}].content"
        raise bad(
            f"Invalid type for '{place}': expected one of a string or array of objects.",
            place,
            "invalid_type",
        )
    for number, raw in enumerate(as_list(content)):
        part = as_object(raw)
        kind = as_text(part.get("type"))
        place = f"messages[{index}].content[{number}]"
        if kind not in _PART_TYPES[role]:
            raise bad(f"Invalid value: '{kind}' at '{place}.type'.", f"{place}.type", "invalid_value")
        if kind == "image_url" and not as_text(as_object(part.get("image_url")).get("url")):
            raise bad(
                f"Missing required parameter: '{place}.image_url.url'.",
                f"{place}.image_url.url",
                "missing_required_parameter",
            )


def _check_tools(body: dict[str, Any]) -> None:
    tools = as_list(body.get("tools"))
    if "tools" in body and not tools:
        raise bad(
            "Invalid 'tools': empty array. Expected an array with minimum length 1.", "tools", "empty_array"
        )
    if not tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if name in body:
                raise bad(
                    f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name
                )
        return
    names: list[str] = []
    for index, raw in enumerate(tools):
        tool = as_object(raw)
        kind = as_text(tool.get("type"))
        if kind not in ("function", "custom"):
            place = f"tools[{index}].type"
            raise bad(f"Missing required parameter: '{place}'.", place, "missing_required_parameter")
        name = as_text(as_object(tool.get(kind)).get("name"))
        if (
            not name
            or (not name.replace("-", "_").isidentifier() and not name.replace("-", "_").isalnum())
            or len(name) > 64
        ):
            place = f"tools[{index}].function.name"
            raise bad(
                f"Invalid '{place}': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
                place,
                "invalid_value",
            )
        names.append(name)
    choice = body.get("tool_choice")
    forced = as_text(as_object(as_object(choice).get("function")).get("name"))
    if forced and forced not in names:
        raise bad(f"Tool choice '{forced}' not found in 'tools' parameter.", "tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise bad(
            f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        )


def _check_options(body: dict[str, Any]) -> None:
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise bad(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
        )
    stops = body.get("stop")
    if len(as_list(stops)) > 4:
        raise bad(
            "Invalid 'stop': array too long. Expected an array with maximum length 4.",
            "stop",
            "array_above_max_length",
        )
    for name, least, most in (("temperature", 0, 2), ("top_p", 0, 1), ("n", 1, 128)):
        number = as_number(body.get(name))
        if number is not None and not least <= number <= most:
            raise bad(
                f"Invalid '{name}': decimal out of range. Expected a value between {least} and {most}, got {number}.",
                name,
                "decimal_out_of_range",
            )
    for name in ("max_tokens", "max_completion_tokens"):
        cap = body.get(name)
        if cap is not None and (as_int(cap) or 0) < 1:
            raise bad(
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {cap} instead.",
                name,
                "integer_below_min_value",
            )
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise bad(f"Invalid value: '{effort}'.", "reasoning_effort", "invalid_value")
    _check_format(body)


def _check_format(body: dict[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    form = as_object(wanted)
    kind = as_text(form.get("type"))
    if kind not in ("text", "json_object", "json_schema"):
        raise bad(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            "response_format.type",
            "invalid_value",
        )
    if kind == "json_object" and "json" not in str(body["messages"]).lower():
        raise bad(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )
    if kind != "json_schema":
        return
    named = as_object(form.get("json_schema"))
    if not as_text(named.get("name")):
        place = "response_format.json_schema.name"
        raise bad(f"Missing required parameter: '{place}'.", place, "missing_required_parameter")
    schema = as_object(named.get("schema"))
    loose = schema.get("type") == "object" and schema.get("additionalProperties") is not False
    if named.get("strict") is True and loose:
        raise bad(
            f"Invalid schema for response_format '{named['name']}': In context=(), 'additionalProperties' is "
            "required to be supplied and to be false.",
            "response_format",
        )


def _check_model_rules(body: dict[str, Any], model: str) -> None:
    if not is_reasoning_model(model):
        if body.get("reasoning_effort") is not None and model.startswith(("gpt-4", "gpt-3.5")):
            raise bad("Unrecognized request argument supplied: reasoning_effort", None)
        return
    if body.get("max_tokens") is not None:
        raise bad(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    for name, default in (
        ("temperature", 1),
        ("top_p", 1),
        ("presence_penalty", 0),
        ("frequency_penalty", 0),
    ):
        value = body.get(name)
        if value is not None and value != default:
            raise bad(
                f"Unsupported value: '{name}' does not support {value} with this model. Only the default ({default}) "
                "value is supported.",
                name,
                "unsupported_value",
            )
    for name in ("logprobs", "top_logprobs", "logit_bias"):
        if body.get(name):
            raise bad(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                name,
                "unsupported_parameter",
            )


def check_object(value: Any) -> dict[str, Any]:
    """The body, if it is an object."""
    if not is_object(value):
        raise bad(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
            None,
        )
    return as_object(value)

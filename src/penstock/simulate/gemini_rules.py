"""What Gemini refuses beyond its schema, with its own words: thinking, tools, turns, per generation of models."""

import re
from typing import Any

from penstock.simulate.reply import Refused
from penstock.simulate.untyped import as_int, as_list, as_number, as_object, as_text, is_object

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?-")
_FUNCTION_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$")
_BUDGETS = {
    "flash-lite": (512, 24_576, True),
    "flash": (1, 24_576, True),
    "pro": (128, 32_768, False),
}
"""2.5's thinking budgets: least, most, whether 0 turns it off; -1 is dynamic for all."""
_CONTENT_FIELDS = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
SIGNATURE = "c2ltdWxhdGVkLXRob3VnaHQtc2lnbmF0dXJl"
_SKIP_SIGNATURES = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})


def bad(message: str) -> Refused:
    """A 400 INVALID_ARGUMENT."""
    return Refused(400, message)


def model_version(model: str) -> tuple[int, int] | None:
    """(2, 5) for gemini-2.5-flash; None where the name does not say."""
    found = _VERSION.search(model + "-")
    return (int(found[1]), int(found[2] or 0)) if found else None


def check(request: dict[str, Any], model: str, *, vertex: bool) -> None:
    """Raise Refused as the vendor would. ``request`` has camelCase names."""
    contents = [as_object(content) for content in as_list(request.get("contents"))]
    if not contents:
        raise bad("* GenerateContentRequest.contents: contents is not specified\n")
    config = as_object(request.get("generationConfig"))
    for index, content in enumerate(contents):
        _check_content(content, index)
    _check_system(as_object(request.get("systemInstruction")))
    _check_turns(contents, model)
    _check_tools(request, config, model)
    _check_thinking(as_object(config.get("thinkingConfig")), model)
    _check_config(config, model, vertex=vertex)
    version = model_version(model)
    if version is not None and version >= (3, 6) and contents[-1].get("role") == "model":
        raise bad("Please ensure that the last turn is a user turn or a function response turn.")


def _check_content(content: dict[str, Any], index: int) -> None:
    role = content.get("role")
    if role is not None and str(role).lower() not in ("user", "model", "function"):
        raise bad("Please use a valid role: user, model.")
    if role is not None:
        content["role"] = str(role).lower()
    parts = as_list(content.get("parts"))
    if not parts:
        raise bad(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.\n")
    for number, raw in enumerate(parts):
        part = as_object(raw)
        place = f"GenerateContentRequest.contents[{index}].parts[{number}]"
        filled = [name for name in _CONTENT_FIELDS if name in part]
        if len(filled) != 1:
            raise bad(f"* {place}.data: required oneof field 'data' must have one initialized field\n")
        call, response = as_object(part.get("functionCall")), part.get("functionResponse")
        if "functionCall" in part and not as_text(call.get("name")):
            raise bad(f"* {place}.function_call.name: Name cannot be empty.\n")
        if response is not None:
            if not as_text(as_object(response).get("name")):
                raise bad(f"* {place}.function_response.name: Name cannot be empty.\n")
            if not is_object(as_object(response).get("response")):
                raise bad(f"* {place}.function_response.response: response is required.\n")
        if "inlineData" in part and not as_text(as_object(part["inlineData"]).get("mimeType")):
            raise bad("Unable to submit request because it must have a mimeType parameter.")


def _check_system(system: dict[str, Any]) -> None:
    for part in as_list(system.get("parts")):
        if "text" not in as_object(part):
            raise bad("System instruction only supports text parts.")


def _parts(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [
        as_object(as_object(part)[name]) for part in as_list(content.get("parts")) if name in as_object(part)
    ]


def _check_turns(contents: list[dict[str, Any]], model: str) -> None:
    for index, content in enumerate(contents):
        calls = _parts(content, "functionCall")
        if calls:
            before = contents[index - 1] if index else {}
            if not before or before.get("role") == "model":
                raise bad(
                    "Please ensure that function call turn comes immediately after a user turn or after a function "
                    "response turn."
                )
            after = contents[index + 1] if index + 1 < len(contents) else {}
            if len(_parts(after, "functionResponse")) != len(calls):
                raise bad(
                    "Please ensure that the number of function response parts is equal to the number of function call "
                    "parts of the function call turn."
                )
            _check_ids(calls, _parts(after, "functionResponse"))
        elif _parts(content, "functionResponse"):
            before = contents[index - 1] if index else {}
            if not _parts(before, "functionCall"):
                raise bad(
                    "Please ensure that function response turn comes immediately after a function call turn."
                )
    version = model_version(model)
    if version is not None and version >= (3, 0):
        _check_signatures(contents)


def _check_ids(calls: list[dict[str, Any]], responses: list[dict[str, Any]]) -> None:
    known = {as_text(call.get("id")) for call in calls}
    for response in responses:
        if response.get("id") and response["id"] not in known:
            raise bad(f"Function response id '{response['id']}' does not match any function call id.")


def _check_signatures(contents: list[dict[str, Any]]) -> None:
    """Gemini 3 and later: the first call of each step of the current turn must bear its signature."""
    start = max((index for index, content in enumerate(contents) if _is_question(content)), default=0)
    for index in range(start, len(contents)):
        for raw in as_list(contents[index].get("parts")):
            part = as_object(raw)
            if "functionCall" not in part:
                continue
            signature = as_text(part.get("thoughtSignature"))
            if not signature:
                name = as_object(part["functionCall"])["name"]
                raise bad(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                    f"work correctly. Function call `{name}`, position {index + 1}."
                )
            if signature != SIGNATURE and signature not in _SKIP_SIGNATURES:
                raise bad("Thought signature is not valid.")
            break


def _is_question(content: dict[str, Any]) -> bool:
    return content.get("role") != "model" and not _parts(content, "functionResponse")


def _check_tools(request: dict[str, Any], config: dict[str, Any], model: str) -> None:
    names: list[str] = []
    built_in = False
    for raw in as_list(request.get("tools")):
        tool = as_object(raw)
        built_in = built_in or any(name != "functionDeclarations" for name in tool)
        for declared in as_list(tool.get("functionDeclarations")):
            names.append(_check_declaration(as_object(declared), len(names)))
    version = model_version(model)
    old = version is not None and version < (3, 0)
    if names and old and built_in:
        raise bad("Tool use with function calling is unsupported")
    if names and old and config.get("responseMimeType") == "application/json":
        raise bad("Function calling with a response mime type: 'application/json' is unsupported")
    calling = as_object(as_object(request.get("toolConfig")).get("functionCallingConfig"))
    allowed = as_list(calling.get("allowedFunctionNames"))
    if allowed and calling.get("mode") not in ("ANY", "VALIDATED"):
        raise bad("Allowed function names are only supported in function calling mode ANY or VALIDATED.")
    if calling.get("mode") == "ANY" and not names:
        raise bad("Function calling config is set without function_declarations.")
    for name in allowed:
        if name not in names:
            raise bad(f"Allowed function name '{name}' is not among the function declarations.")


def _check_declaration(declared: dict[str, Any], index: int) -> str:
    place = f"GenerateContentRequest.tools[0].function_declarations[{index}]"
    name = as_text(declared.get("name"))
    if not _FUNCTION_NAME.match(name):
        raise bad(
            f"* {place}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric "
            "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.\n"
        )
    if "parameters" in declared and "parametersJsonSchema" in declared:
        raise bad(f"* {place}: only one of parameters and parameters_json_schema may be set.\n")
    parameters = as_object(declared.get("parameters"))
    if parameters.get("type") == "OBJECT" and not as_object(parameters.get("properties")):
        raise bad(f"* {place}.parameters.properties: should be non-empty for OBJECT type\n")
    return name


def _check_thinking(thinking: dict[str, Any], model: str) -> None:
    budget, level = as_int(thinking.get("thinkingBudget")), thinking.get("thinkingLevel")
    version = model_version(model)
    if budget is not None and level is not None:
        raise bad("You can only set only one of thinking budget and thinking level.")
    if version is None:
        return
    if level is not None:
        if version < (3, 0):
            raise bad("Thinking level is not supported for this model.")
        if level == "MINIMAL" and version >= (3, 8):
            raise bad("Thinking level MINIMAL is not supported for this model.")
    if thinking and version < (2, 5):
        raise bad("Unable to submit request because thinking is not supported by this model.")
    if budget is not None and version == (2, 5):
        _check_budget(budget, model)


def _check_budget(budget: int, model: str) -> None:
    least, most, off = next(
        rule for name, rule in (*_BUDGETS.items(), ("", _BUDGETS["flash"])) if name in model
    )
    if budget == -1 or (budget == 0 and off):
        return
    if budget == 0:
        raise bad("Budget 0 is invalid. This model only works in thinking mode.")
    if not least <= budget <= most:
        raise bad(
            f"The thinking budget {budget} is invalid. Please choose a value between {least} and {most}."
        )


def _check_config(config: dict[str, Any], model: str, *, vertex: bool) -> None:
    for name, least, most in (("temperature", 0, 2), ("topP", 0, 1)):
        number = as_number(config.get(name))
        if number is not None and not least <= number <= most:
            raise bad(
                f"* GenerateContentRequest.generation_config.{name.lower()}: {name} must be in [{least}, {most}].\n"
            )
    if len(as_list(config.get("stopSequences"))) > 5:
        raise bad("The number of stop sequences must not be more than 5.")
    cap = as_int(config.get("maxOutputTokens"))
    most_tokens = 65_535 if vertex else 65_536
    if cap is not None and not 1 <= cap <= most_tokens:
        raise bad(
            f"Unable to submit request because it has a maxOutputTokens value of {cap} but the supported range is from 1 "
            f"(inclusive) to {most_tokens + 1} (exclusive). Update the value and try again."
        )
    mime = config.get("responseMimeType")
    if mime is not None and mime not in ("text/plain", "application/json", "text/x.enum"):
        raise bad(
            f"* GenerateContentRequest.generation_config.response_mime_type: {mime} is not supported.\n"
        )
    wants_schema = "responseSchema" in config or "responseJsonSchema" in config
    if "responseSchema" in config and "responseJsonSchema" in config:
        raise bad("Only one of response_schema and response_json_schema may be set.")
    if wants_schema and mime not in ("application/json", "text/x.enum"):
        raise bad(
            "Unable to submit request because response_schema requires response_mime_type application/json."
        )
    version = model_version(model)
    if version is None or not (version >= (3, 6) or "3.5-flash-lite" in model):
        return
    for name in ("presencePenalty", "frequencyPenalty"):
        if name in config:
            raise bad(f"{name} is not supported by this model.")
    if as_int(config.get("candidateCount")) not in (None, 1):
        raise bad("Multiple candidates is not enabled for this model")

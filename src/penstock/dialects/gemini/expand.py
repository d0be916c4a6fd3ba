"""A Gemini caller's request as the neutral form, for a target of another dialect or of Google's other door.

What the neutral form has no word for goes to ``extras["gemini"]`` under its dotted name ("tools.googleSearch"): Google's
other door gets it back at its place (``native``), any other provider reports it as dropped.
"""

import re
from typing import Any

import msgspec
from msgspec import Raw, json

from penstock.base.chat import ChatRequest, OnlyAt, ResponseFormat, Tool, ToolChoice
from penstock.base.errors import BadRequest
from penstock.dialects.gemini.declared import from_openapi, json_schema
from penstock.dialects.gemini.envelope import GATEWAY_FIELDS, GeminiAsk, top_level
from penstock.dialects.gemini.fields import Json, Reader, wrong
from penstock.dialects.gemini.turns import Turns
from penstock.wire.preferences import provider_losses
from penstock.wire.unreadable import unreadable

_HELD_ELSEWHERE = {
    "cachedContent": "names content that is kept at Google",
    "continuationToken": "continues an answer that another call began at Google",
}
"""Without it the request would mean something else; only the provider that has it can serve it."""
_CONFIG = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "candidateCount": "n",
    "maxOutputTokens": "max_tokens",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "seed": "seed",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
_ONLY_GOOGLE = frozenset(
    {"modelArmorConfig", "generationConfig.responseModalities", "generationConfig.responseMimeType"}
)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What OpenAI takes for a schema's name."""
_INDEX = re.compile(r"\[\d+\]")
_FORMATS = frozenset({"responseMimeType", "responseSchema", "responseJsonSchema"})
_DETAIL = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
_NO_TIER = frozenset({"STANDARD", "SERVICE_TIER_STANDARD", "UNSPECIFIED", "SERVICE_TIER_UNSPECIFIED"})


def expand(ask: GeminiAsk) -> ChatRequest:
    """The neutral request. Raises BadRequest naming the field."""
    try:
        return _expand(ask)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, ask.body) from None


def _expand(ask: GeminiAsk) -> ChatRequest:
    reader = Reader()
    given = top_level(ask.body)
    losses = provider_losses(bytes(given.get("provider", b"null")))
    body = reader.read(
        "Request", {name: raw for name, raw in given.items() if name not in GATEWAY_FIELDS}, ""
    )
    for name, why in _HELD_ELSEWHERE.items():
        if name in body:
            raise BadRequest(
                f"The field {name} {why}, and this target is not the one.",
                param=name,
                hint="Ask for a model at Google by its own door, or send the content itself.",
            )
    extras: dict[str, Any] = {}
    config: Json = body.get("generationConfig", {})
    turns = Turns(reader, _DETAIL.get(config.get("mediaResolution", "")))
    messages = turns.contents(body["contents"])
    if "systemInstruction" in body:
        said = turns.system(body["systemInstruction"])
        messages = messages if said is None else [said, *messages]
    fields = {neutral: config[name] for name, neutral in _CONFIG.items() if name in config}
    if fields.get("max_tokens") is not None and fields["max_tokens"] < 1:
        raise wrong("generationConfig.maxOutputTokens", f"is {fields['max_tokens']}", "Send at least 1.")
    _note_config(config, extras)
    tools = _tools(body.get("tools", []), extras)
    choice = _choice(body.get("toolConfig", {}), extras)
    for name in ("safetySettings", "modelArmorConfig", "outputConfig", "labels"):
        if name in body:
            extras[name] = json.decode(body[name])
    extras |= dict.fromkeys((*(f"contents.{name}" for name in turns.lost), *map(_plain_name, reader.unknown)))
    tier: str | None = body.get("serviceTier")
    return ChatRequest(
        model=ask.model,
        messages=tuple(messages),
        stream=ask.stream,
        stop=tuple(config.get("stopSequences", ())),
        tools=tools,
        tool_choice=choice,
        response_format=_format(config, extras),
        reasoning=ask.reasoning,
        service_tier=None if tier is None or tier in _NO_TIER else tier.removeprefix("SERVICE_TIER_").lower(),
        store=body.get("store"),
        extras={"gemini": extras} if extras else {},
        adjusted=tuple(losses),
        only_at=_only_at(extras),
        **fields,
    )


def _only_at(extras: dict[str, Any]) -> OnlyAt | None:
    """Without a search, a filter or a picture the answer would be to another question."""
    for name, value in extras.items():
        head, _, rest = name.partition(".")
        own_tool = head == "tools" and "." not in rest and value is not None
        if own_tool or name in _ONLY_GOOGLE:
            return OnlyAt(
                ("gemini", "vertex"),
                f"{rest or head} is Google's own: ask for a model of Google's, or leave it out.",
                head,
            )
    return None


def _note_config(config: Json, extras: dict[str, Any]) -> None:
    for name, value in config.items():
        if name in _CONFIG or name in _FORMATS or name in ("stopSequences", "thinkingConfig"):
            continue
        if name == "mediaResolution" and (value in _DETAIL or value.endswith("_UNSPECIFIED")):
            continue
        if name == "responseModalities" and value in ([], ["TEXT"]):
            continue
        extras[f"generationConfig.{name}"] = json.decode(value) if isinstance(value, Raw) else value


def _tools(found: list[Json], extras: dict[str, Any]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for index, one in enumerate(found):
        for name, value in one.items():
            if name != "functionDeclarations":
                extras[f"tools.{name}"] = json.decode(value)
                continue
            for place, declared in enumerate(value):
                here = f"tools[{index}].functionDeclarations[{place}]"
                tools.append(_tool(declared, here, extras))
    return tuple(tools)


def _tool(declared: Json, place: str, extras: dict[str, Any]) -> Tool:
    name = declared.get("name", "")
    if not name:
        raise wrong(f"{place}.name", "is missing")
    if "parameters" in declared and "parametersJsonSchema" in declared:
        raise wrong(place, "has both parameters and parametersJsonSchema", "Send one of them.")
    schema = None
    if "parametersJsonSchema" in declared:
        schema = json_schema(declared["parametersJsonSchema"], f"{place}.parametersJsonSchema")
    elif "parameters" in declared:
        schema = from_openapi(declared["parameters"], f"{place}.parameters")
    for lost in ("response", "responseJsonSchema", "behavior"):
        if lost in declared:
            extras[f"tools.functionDeclarations.{lost}"] = None
    return Tool(name, declared.get("description", ""), schema)


def _choice(config: Json, extras: dict[str, Any]) -> ToolChoice | None:
    for name in ("retrievalConfig", "includeServerSideToolInvocations"):
        if name in config:
            value = config[name]
            extras[f"toolConfig.{name}"] = json.decode(value) if isinstance(value, Raw) else value
    calling: Json = config.get("functionCallingConfig", {})
    names = tuple(calling.get("allowedFunctionNames", ()))
    if calling.get("streamFunctionCallArguments"):
        extras["toolConfig.functionCallingConfig.streamFunctionCallArguments"] = True
    match calling.get("mode"):
        case None | "MODE_UNSPECIFIED":
            return None
        case "AUTO":
            return ToolChoice("auto", names)
        case "VALIDATED":
            extras["toolConfig.functionCallingConfig.mode"] = "VALIDATED"
            return ToolChoice("auto", names)
        case "NONE":
            return ToolChoice("none")
        case "ANY":
            return ToolChoice("named", names) if names else ToolChoice("required")
        case other:
            raise wrong(
                "toolConfig.functionCallingConfig.mode",
                f"is {str(other)[:40]!r}",
                "Send AUTO, ANY, NONE or VALIDATED.",
            )


def _format(config: Json, extras: dict[str, Any]) -> ResponseFormat | None:
    mime: str = config.get("responseMimeType", "")
    raw, own = config.get("responseSchema"), config.get("responseJsonSchema")
    if raw is not None and own is not None:
        raise wrong("generationConfig", "has both responseSchema and responseJsonSchema", "Send one of them.")
    if mime not in ("", "application/json", "text/plain"):
        # text/x.enum: one of a list of words, without quotes. As JSON it would be another answer.
        extras["generationConfig.responseMimeType"] = mime
        if raw is not None:
            extras["generationConfig.responseSchema"] = json.decode(raw)
        return None
    if mime != "application/json":
        if raw is not None or own is not None:
            raise wrong(
                "generationConfig.responseMimeType",
                "must be application/json where there is a schema",
                "Google refuses a schema without it, too.",
            )
        return None
    if own is not None:
        schema = json_schema(own, "generationConfig.responseJsonSchema")
    elif raw is not None:
        schema = from_openapi(raw, "generationConfig.responseSchema")
    else:
        return ResponseFormat("json_object")
    title: object = schema.get("title")
    named = isinstance(title, str) and _NAME.fullmatch(title) is not None
    return ResponseFormat("json_schema", schema, str(title) if named else "")


def _plain_name(place: str) -> str:
    """``contents[0].parts[1].odd`` -> ``contents.parts.odd``: one word, however often."""
    return _INDEX.sub("", place)

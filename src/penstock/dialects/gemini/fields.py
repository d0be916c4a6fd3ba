"""Gemini's request as its callers write it: the fields by name, and the proto-JSON reading of them.

Rules (protobuf's JSON mapping; google-genai 3.4.0 sends both spellings in one body, measured 2026-11)
- A name is camelCase or snake_case, at every level on its own; both of one field are refused: readers disagree.
- null is absent; a repeated field given as one value is a list of one (Google's own REST sample does so).
- int64 may be a string of digits; an enum's case does not matter (that sample says "USER").
- What is the caller's own JSON (arguments, results, JSON Schemas) is not looked into: it stays as its bytes.

A kind is written as: ``Message``, ``[kind]`` repeated, ``raw`` bytes, ``str``, ``num``, ``int``, ``bool``, ``enum``.
Source: Vertex discovery documents revision 20261106, google-genai 3.4.0's types.
"""

import re
from typing import Any, cast

import msgspec
from msgspec import Raw

from penstock.base.errors import BadRequest

Json = dict[str, Any]

TABLE: dict[str, dict[str, str]] = {
    "Request": {
        "contents": "raw",
        "systemInstruction": "raw",
        "tools": "[Tool]",
        "toolConfig": "ToolConfig",
        "safetySettings": "raw",
        "cachedContent": "str",
        "generationConfig": "GenerationConfig",
        "labels": "raw",
        "continuationToken": "str",
        "store": "bool",
        "serviceTier": "enum",
        "model": "str",
        "modelArmorConfig": "raw",
        "outputConfig": "raw",
    },
    "Content": {"role": "enum", "parts": "[Part]"},
    "Part": {
        "text": "str",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "raw",
        "codeExecutionResult": "raw",
        "thought": "bool",
        "thoughtSignature": "str",
        "videoMetadata": "raw",
        "mediaResolution": "raw",
        "toolCall": "raw",
        "toolResponse": "raw",
        "partMetadata": "raw",
    },
    "Blob": {"mimeType": "str", "data": "str", "displayName": "str"},
    "FileData": {"mimeType": "str", "fileUri": "str", "displayName": "str"},
    "FunctionCall": {
        "id": "str",
        "name": "str",
        "args": "raw",
        "partialArgs": "raw",
        "willContinue": "bool",
    },
    "FunctionResponse": {
        "id": "str",
        "name": "str",
        "response": "raw",
        "parts": "[Part]",
        "willContinue": "bool",
        "scheduling": "enum",
    },
    "Tool": {
        "functionDeclarations": "[FunctionDeclaration]",
        "googleSearch": "raw",
        "googleSearchRetrieval": "raw",
        "urlContext": "raw",
        "codeExecution": "raw",
        "googleMaps": "raw",
        "computerUse": "raw",
        "fileSearch": "raw",
        "mcpServers": "raw",
        "retrieval": "raw",
        "enterpriseWebSearch": "raw",
        "parallelAiSearch": "raw",
    },
    "FunctionDeclaration": {
        "name": "str",
        "description": "str",
        "parameters": "raw",
        "parametersJsonSchema": "raw",
        "response": "raw",
        "responseJsonSchema": "raw",
        "behavior": "enum",
    },
    "ToolConfig": {
        "functionCallingConfig": "FunctionCallingConfig",
        "retrievalConfig": "raw",
        "includeServerSideToolInvocations": "bool",
    },
    "FunctionCallingConfig": {
        "mode": "enum",
        "allowedFunctionNames": "[str]",
        "streamFunctionCallArguments": "bool",
    },
    "GenerationConfig": {
        "temperature": "num",
        "topP": "num",
        "topK": "int",
        "candidateCount": "int",
        "maxOutputTokens": "int",
        "stopSequences": "[str]",
        "presencePenalty": "num",
        "frequencyPenalty": "num",
        "seed": "int",
        "responseLogprobs": "bool",
        "logprobs": "int",
        "responseMimeType": "str",
        "responseSchema": "raw",
        "responseJsonSchema": "raw",
        "responseModalities": "[enum]",
        "mediaResolution": "enum",
        "speechConfig": "raw",
        "imageConfig": "raw",
        "thinkingConfig": "ThinkingConfig",
        "responseFormat": "raw",
        "enableAffectiveDialog": "bool",
        "enableEnhancedCivicAnswers": "bool",
        "audioTimestamp": "bool",
        "routingConfig": "raw",
        "modelSelectionConfig": "raw",
        "modelConfig": "raw",
    },
    "ThinkingConfig": {"thinkingBudget": "int", "includeThoughts": "bool", "thinkingLevel": "enum"},
    "EmbedRequest": {
        "model": "str",
        "content": "raw",
        "taskType": "enum",
        "title": "str",
        "outputDimensionality": "int",
        "embedContentConfig": "EmbedConfig",
    },
    "EmbedConfig": {
        "taskType": "enum",
        "title": "str",
        "outputDimensionality": "int",
        "autoTruncate": "bool",
        "documentOcr": "bool",
        "audioTrackExtraction": "bool",
    },
    "BatchEmbedRequest": {"requests": "[EmbedRequest]"},
    "CountRequest": {
        "contents": "raw",
        "generateContentRequest": "raw",
        "systemInstruction": "raw",
        "tools": "raw",
        "generationConfig": "raw",
        "model": "str",
    },
}

_MAX_DIGITS = 20
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_LIST = msgspec.json.Decoder(list[Raw]).decode
_ANY = msgspec.json.Decoder().decode
_OPEN_OBJECT, _OPEN_LIST, _QUOTE, _NULL = b"{"[0], b"["[0], b'"'[0], b"n"[0]


def camel(name: str) -> str:
    """``inline_data`` -> ``inlineData``; camelCase stays."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def first(raw: Raw) -> int:
    """The byte that tells a value's kind."""
    return memoryview(raw)[0]


def is_null(raw: Raw) -> bool:
    """Absent, by another name."""
    return first(raw) == _NULL


def members(raw: Raw, place: str) -> dict[str, Raw]:
    """The fields of an object, by camelCase name, nulls left out. Raises BadRequest."""
    if first(raw) != _OPEN_OBJECT:
        raise wrong(place or "the body", "is not an object")
    return named(_OBJECT(raw), place)


def named(fields: dict[str, Raw], place: str) -> dict[str, Raw]:
    """The same of an object that was taken apart: for a large one that costs more than all the rest."""
    found: dict[str, Raw] = {}
    for key, value in fields.items():
        if is_null(value):
            continue
        name = camel(key)
        if name in found:
            here = f"{place}.{name}" if place else name
            raise BadRequest(
                f"The field {here} stands in the body under two spellings.",
                code="duplicate_field",
                param=here,
                hint="Send it once, in camelCase or in snake_case.",
            )
        found[name] = value
    return found


def elements(raw: Raw) -> list[Raw]:
    """A list's values; one value is a list of one."""
    return _LIST(raw) if first(raw) == _OPEN_LIST else [raw]


class Reader:
    """Reads messages by the table. ``unknown`` gathers the names that it does not have, with their place."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def message(self, kind: str, raw: Raw, place: str) -> Json:
        """One message's fields by camelCase name. Raises BadRequest naming the field."""
        return self.read(kind, members(raw, place), place)

    def read(self, kind: str, fields: dict[str, Raw], place: str) -> Json:
        """The same of fields that were taken apart."""
        known, read = TABLE[kind], Json()
        for name, value in fields.items():
            here = f"{place}.{name}" if place else name
            if (wanted := known.get(name)) is None:
                self.unknown.append(here)
            else:
                read[name] = self._value(wanted, value, here)
        return read

    def _value(self, kind: str, raw: Raw, place: str) -> Any:
        if kind == "raw":
            return raw
        if kind[0] == "[":
            return [
                self._value(kind[1:-1], item, f"{place}[{index}]")
                for index, item in enumerate(elements(raw))
                if not is_null(item)
            ]
        if kind in TABLE:
            if kind == "Part" and first(raw) == _QUOTE:
                return {"text": text(raw, place)}
            return self.message(kind, raw, place)
        return _scalar(kind, raw, place)


def _scalar(kind: str, raw: Raw, place: str) -> Any:
    value = _ANY(raw)
    match kind:
        case "str":
            if isinstance(value, str):
                return value
        case "enum":
            if isinstance(value, str):
                return value.upper()
        case "bool":
            if isinstance(value, bool):
                return value
        case "num":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return value
        case _:
            if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.removeprefix("-").isdecimal():
                return int(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
                return int(value)
    raise wrong(place, f"is not {_WORDS[kind]}")


_WORDS = {
    "str": "a string",
    "enum": "one of Google's words, a string",
    "bool": "true or false",
    "num": "a number",
    "int": "a whole number",
}


def text(raw: Raw, place: str) -> str:
    """A string. Raises BadRequest."""
    return _scalar("str", raw, place)


def wrong(param: str, what: str, hint: str | None = None) -> BadRequest:
    """The error for a field that cannot be used."""
    return BadRequest(f"The field {param} {what}.", param=param, hint=hint)


def loose(raw: Raw | None) -> Json:
    """An object of a shape that nobody promised, by camelCase name; an empty one for anything else."""
    if raw is None or first(raw) != _OPEN_OBJECT:
        return {}
    return {camel(key): value for key, value in cast("Json", _ANY(raw)).items()}


def compact(raw: Raw) -> str:
    """The caller's own JSON without the spaces between its values; order and spelling of numbers stay."""
    return msgspec.json.format(bytes(raw), indent=-1).decode()

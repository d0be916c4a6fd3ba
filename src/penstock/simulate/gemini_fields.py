"""Gemini's request schema as data, and the strict proto-JSON reading of it.

Source: Vertex discovery documents v1 and v1beta1, revision 20261106; AI Studio's differences from google-genai 3.4.0's
converters. Rules of proto-JSON: names in camelCase or snake_case, also mixed; an unknown name is an error; null is
absent; a repeated field given as one value is taken as a list of one (Google's own REST sample does so).

A type is written as: ``Message``, ``[Message]`` repeated, ``{}`` a free object, ``*`` anything, ``str``, ``num``, ``int``,
``bool``, ``[str]``, ``A|B`` an enum.
"""

import re
from typing import Any

from penstock.simulate.reply import Refused
from penstock.simulate.untyped import as_list, as_object, is_list, is_object

_SAFETY = (
    "HARM_CATEGORY_UNSPECIFIED|HARM_CATEGORY_HARASSMENT|HARM_CATEGORY_HATE_SPEECH|HARM_CATEGORY_SEXUALLY_EXPLICIT|"
    "HARM_CATEGORY_DANGEROUS_CONTENT|HARM_CATEGORY_CIVIC_INTEGRITY|HARM_CATEGORY_IMAGE_HATE|HARM_CATEGORY_JAILBREAK|"
    "HARM_CATEGORY_IMAGE_DANGEROUS_CONTENT|HARM_CATEGORY_IMAGE_HARASSMENT|HARM_CATEGORY_IMAGE_SEXUALLY_EXPLICIT"
)
_THRESHOLD = "HARM_BLOCK_THRESHOLD_UNSPECIFIED|BLOCK_LOW_AND_ABOVE|BLOCK_MEDIUM_AND_ABOVE|BLOCK_ONLY_HIGH|BLOCK_NONE|OFF"
_COMMON: dict[str, dict[str, str]] = {
    "Request": {
        "contents": "[Content]",
        "systemInstruction": "Content",
        "tools": "[Tool]",
        "toolConfig": "ToolConfig",
        "safetySettings": "[SafetySetting]",
        "cachedContent": "str",
        "generationConfig": "GenerationConfig",
        "labels": "{}",
        "continuationToken": "str",
    },
    "Content": {"role": "str", "parts": "[Part]"},
    "Part": {
        "text": "str",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "{}",
        "codeExecutionResult": "{}",
        "thought": "bool",
        "thoughtSignature": "str",
        "videoMetadata": "{}",
        "mediaResolution": "{}",
    },
    "Blob": {"mimeType": "str", "data": "str", "displayName": "str"},
    "FileData": {"mimeType": "str", "fileUri": "str", "displayName": "str"},
    "FunctionCall": {"id": "str", "name": "str", "args": "{}"},
    "FunctionResponse": {
        "id": "str",
        "name": "str",
        "response": "{}",
        "parts": "[*]",
        "willContinue": "bool",
        "scheduling": "str",
    },
    "Tool": {
        "functionDeclarations": "[FunctionDeclaration]",
        "googleSearch": "{}",
        "googleSearchRetrieval": "{}",
        "urlContext": "{}",
        "codeExecution": "{}",
        "googleMaps": "{}",
        "computerUse": "{}",
    },
    "FunctionDeclaration": {
        "name": "str",
        "description": "str",
        "parameters": "Schema",
        "parametersJsonSchema": "*",
        "response": "Schema",
        "responseJsonSchema": "*",
        "behavior": "str",
    },
    "ToolConfig": {"functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "{}"},
    "FunctionCallingConfig": {
        "mode": "MODE_UNSPECIFIED|AUTO|ANY|NONE|VALIDATED",
        "allowedFunctionNames": "[str]",
    },
    "SafetySetting": {"category": _SAFETY, "threshold": _THRESHOLD},
    "GenerationConfig": {
        "temperature": "num",
        "topP": "num",
        "topK": "num",
        "candidateCount": "int",
        "maxOutputTokens": "int",
        "stopSequences": "[str]",
        "presencePenalty": "num",
        "frequencyPenalty": "num",
        "seed": "int",
        "responseLogprobs": "bool",
        "logprobs": "int",
        "responseMimeType": "str",
        "responseSchema": "Schema",
        "responseJsonSchema": "*",
        "responseModalities": "[str]",
        "mediaResolution": "str",
        "speechConfig": "{}",
        "imageConfig": "{}",
        "thinkingConfig": "ThinkingConfig",
        "responseFormat": "[*]",
        "enableAffectiveDialog": "bool",
    },
    "ThinkingConfig": {
        "thinkingBudget": "int",
        "includeThoughts": "bool",
        "thinkingLevel": "THINKING_LEVEL_UNSPECIFIED|MINIMAL|LOW|MEDIUM|HIGH|XHIGH",
    },
    "Schema": {
        "type": "TYPE_UNSPECIFIED|STRING|NUMBER|INTEGER|BOOLEAN|ARRAY|OBJECT|NULL",
        "anyOf": "[Schema]",
        "items": "Schema",
        "properties": "{Schema}",
        "defs": "{Schema}",
        "propertyOrdering": "[str]",
        "required": "[str]",
        "enum": "[str]",
        "nullable": "bool",
        "additionalProperties": "*",
        "default": "*",
        "example": "*",
        "description": "str",
        "format": "str",
        "pattern": "str",
        "ref": "str",
        "title": "str",
        "maxItems": "int",
        "minItems": "int",
        "maxLength": "int",
        "minLength": "int",
        "maxProperties": "int",
        "minProperties": "int",
        "maximum": "num",
        "minimum": "num",
    },
}
_ONLY_STUDIO: dict[str, dict[str, str]] = {
    "Request": {"store": "bool", "serviceTier": "str", "model": "str"},
    "Part": {"partMetadata": "{}", "toolCall": "{}", "toolResponse": "{}"},
    "Tool": {"fileSearch": "{}", "mcpServers": "[*]"},
    "ToolConfig": {"includeServerSideToolInvocations": "bool"},
    "GenerationConfig": {"enableEnhancedCivicAnswers": "bool"},
}
_ONLY_VERTEX: dict[str, dict[str, str]] = {
    "Request": {"modelArmorConfig": "{}", "outputConfig": "{}"},
    "FunctionCall": {"partialArgs": "[*]", "willContinue": "bool"},
    "FunctionCallingConfig": {"streamFunctionCallArguments": "bool"},
    "SafetySetting": {"method": "HARM_BLOCK_METHOD_UNSPECIFIED|SEVERITY|PROBABILITY"},
    "Tool": {"retrieval": "{}", "enterpriseWebSearch": "{}", "parallelAiSearch": "{}"},
    "GenerationConfig": {
        "audioTimestamp": "bool",
        "routingConfig": "{}",
        "modelSelectionConfig": "{}",
        "modelConfig": "{}",
    },
}


def _merged(extra: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {name: fields | extra.get(name, {}) for name, fields in _COMMON.items()}


_STUDIO, _VERTEX = _merged(_ONLY_STUDIO), _merged(_ONLY_VERTEX)
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def read_request(body: Any, *, vertex: bool, accept_unknown: bool = False) -> dict[str, Any]:
    """The request with camelCase names everywhere, or Refused listing every unknown name and wrong type."""
    reader = _Reader(_VERTEX if vertex else _STUDIO, accept_unknown=accept_unknown)
    if not is_object(body):
        raise Refused(400, "Invalid JSON payload received. Expected an object.")
    read = reader.message("Request", as_object(body), "")
    if reader.faults:
        raise Refused(
            400,
            "\n".join(text for _, text in reader.faults),
            details=[
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        {"field": place, "description": text} for place, text in reader.faults
                    ],
                }
            ],
        )
    return read


def _camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def _snake(name: str) -> str:
    return _CAPITAL.sub(r"_\1", name).lower()


class _Reader:
    def __init__(self, table: dict[str, dict[str, str]], *, accept_unknown: bool) -> None:
        self._table = table
        self._accept_unknown = accept_unknown
        self.faults: list[tuple[str, str]] = []

    def message(self, name: str, value: dict[str, Any], place: str) -> dict[str, Any]:
        fields = self._table[name]
        read: dict[str, Any] = {}
        for key, item in value.items():
            kind = fields.get(_camel(key))
            if kind is None:
                if not self._accept_unknown:
                    where = f" at '{place}'" if place else ""
                    text = f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.'
                    self.faults.append((place, text))
            elif item is not None:
                here = f"{place}.{_snake(key)}" if place else _snake(key)
                read[_camel(key)] = self._value(kind, item, here)
        return read

    def _value(self, kind: str, value: Any, place: str) -> Any:
        if kind == "*":
            return value
        if kind.startswith("["):
            items = as_list(value) if is_list(value) else [value]
            return [self._value(kind[1:-1], item, f"{place}[{index}]") for index, item in enumerate(items)]
        if is_list(value):
            parent, _, name = place.rpartition(".")
            text = f"Invalid JSON payload received. Unknown name \"{name}\" at '{parent}': Proto field is not repeating, "
            self.faults.append((place, text + "cannot start list."))
            return None
        if kind.startswith("{"):
            if not is_object(value):
                return self._wrong(value, place, "google.protobuf.Struct")
            inner = kind[1:-1]
            pairs = as_object(value)
            return (
                {key: self._value(inner, item, f"{place}[{key}]") for key, item in pairs.items()}
                if inner
                else pairs
            )
        if kind in self._table:
            return (
                self.message(kind, as_object(value), place)
                if is_object(value)
                else self._wrong(value, place, kind)
            )
        return self._scalar(kind, value, place)

    def _scalar(self, kind: str, value: Any, place: str) -> Any:
        match kind:
            case "str":
                return value if isinstance(value, str) else self._wrong(value, place, "TYPE_STRING")
            case "bool":
                return value if isinstance(value, bool) else self._wrong(value, place, "TYPE_BOOL")
            case "num" | "int":
                number = isinstance(value, int | float) and not isinstance(value, bool)
                whole = number and (kind == "num" or float(value).is_integer())
                return (
                    value
                    if whole
                    else self._wrong(value, place, "TYPE_INT32" if kind == "int" else "TYPE_FLOAT")
                )
            case _:
                known = kind.split("|")
                upper = value.upper() if isinstance(value, str) else value
                return upper if upper in known else self._wrong(value, place, "enum")

    def _wrong(self, value: Any, place: str, kind: str) -> None:
        shown = f'"{value}"' if isinstance(value, str) else str(value)[:80]
        self.faults.append((place, f"Invalid value at '{place}' ({kind}), {shown}"))

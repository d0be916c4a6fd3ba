"""Is this a body that Google takes? Told by the SDK's own types and by Vertex's discovery document.

``VERTEX_V1`` holds the property names of the discovery document aiplatform v1, revision 20261106 (facts, copied from
``googleapiclient/discovery_cache`` of google-api-python-client 2.202.0). Unknown names there are a 400.
"""

from typing import Any

from google.genai import types

VERTEX_V1: dict[str, frozenset[str]] = {
    "request": frozenset(
        {
            "cachedContent",
            "contents",
            "continuationToken",
            "generationConfig",
            "labels",
            "modelArmorConfig",
            "outputConfig",
            "safetySettings",
            "systemInstruction",
            "toolConfig",
            "tools",
        }
    ),
    "generationConfig": frozenset(
        {
            "audioTimestamp",
            "candidateCount",
            "enableAffectiveDialog",
            "frequencyPenalty",
            "imageConfig",
            "logprobs",
            "maxOutputTokens",
            "mediaResolution",
            "presencePenalty",
            "responseFormat",
            "responseJsonSchema",
            "responseLogprobs",
            "responseMimeType",
            "responseModalities",
            "responseSchema",
            "routingConfig",
            "seed",
            "speechConfig",
            "stopSequences",
            "temperature",
            "thinkingConfig",
            "topK",
            "topP",
        }
    ),
    "thinkingConfig": frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"}),
    "part": frozenset(
        {
            "fileData",
            "functionCall",
            "functionResponse",
            "inlineData",
            "mediaResolution",
            "text",
            "thought",
            "thoughtSignature",
        }
    ),
    "functionCall": frozenset({"args", "id", "name"}),
    "functionResponse": frozenset({"id", "name", "parts", "response"}),
    "inlineData": frozenset({"data", "displayName", "mimeType"}),
    "fileData": frozenset({"displayName", "fileUri", "mimeType"}),
    "declaration": frozenset({"description", "name", "parameters", "parametersJsonSchema"}),
    "functionCallingConfig": frozenset({"allowedFunctionNames", "mode"}),
}
AI_STUDIO_ONLY = frozenset({"store", "serviceTier"})


def check_body(body: dict[str, Any], *, vertex: bool) -> None:
    """AssertionError or pydantic's ValidationError for what Google would refuse."""
    top = VERTEX_V1["request"] | (frozenset() if vertex else AI_STUDIO_ONLY)
    assert set(body) <= top, set(body) - top
    assert body["contents"]
    for content in body["contents"]:
        assert content["role"] in ("user", "model")
        assert content["parts"]
        types.Content.model_validate(content)
        for part in content["parts"]:
            _check_part(part)
    if "systemInstruction" in body:
        assert set(body["systemInstruction"]) == {"parts"}
        assert all(set(part) == {"text"} for part in body["systemInstruction"]["parts"])
    for tool in body.get("tools", []):
        types.Tool.model_validate(tool)
        assert all(set(one) <= VERTEX_V1["declaration"] for one in tool["functionDeclarations"])
    if "toolConfig" in body:
        types.ToolConfig.model_validate(body["toolConfig"])
        calling = body["toolConfig"]["functionCallingConfig"]
        assert set(calling) <= VERTEX_V1["functionCallingConfig"]
        assert "allowedFunctionNames" not in calling or calling["mode"] == "ANY"
    config = body.get("generationConfig", {})
    assert set(config) <= VERTEX_V1["generationConfig"]
    types.GenerationConfig.model_validate(config)
    thinking = config.get("thinkingConfig", {})
    assert set(thinking) <= VERTEX_V1["thinkingConfig"]
    assert not {"thinkingBudget", "thinkingLevel"} <= set(thinking)


def _check_part(part: dict[str, Any]) -> None:
    assert set(part) <= VERTEX_V1["part"], set(part)
    kinds = set(part) & {"text", "functionCall", "functionResponse", "inlineData", "fileData"}
    assert len(kinds) == 1
    kind = kinds.pop()
    if kind == "text":
        assert part["text"] or part.get("thoughtSignature")
    else:
        assert set(part[kind]) <= VERTEX_V1[kind]
    if kind == "functionResponse":
        assert part[kind]["name"]
        assert isinstance(part[kind]["response"], dict)


def check_turns(contents: list[dict[str, Any]]) -> None:
    """Roles alternate from the user on; n calls are answered by n responses, in order, in the next content."""
    assert [content["role"] for content in contents] == [
        ("user", "model")[place % 2] for place in range(len(contents))
    ]
    answers = [_called(content, "functionResponse") for content in contents[1:]] + [[]]
    assert not _called(contents[0], "functionResponse")
    for content, following in zip(contents, answers, strict=True):
        if content["role"] == "model":
            assert _called(content, "functionCall") == following
    for content in contents:
        first = content["parts"][: len(_called(content, "functionResponse"))]
        assert all("functionResponse" in part for part in first)


def _called(content: dict[str, Any], kind: str) -> list[tuple[str, str | None]]:
    return [(part[kind]["name"], part[kind].get("id")) for part in content["parts"] if kind in part]

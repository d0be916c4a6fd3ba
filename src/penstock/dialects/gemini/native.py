"""What only Gemini has words for, on its way from a Gemini caller to Google's other door: back to its place, or not.

Theory: same words, two doors (wire facts 2.7). What the other door lacks and without which the request would mean
something else (a search, a filter) is refused; the rest is left out and reported.
"""

from typing import Any, cast

from penstock.base.decisions import Rejected

Json = dict[str, Any]
_VERTEX_ONLY = frozenset(
    {
        "outputConfig",
        "generationConfig.routingConfig",
        "generationConfig.modelSelectionConfig",
        "generationConfig.modelConfig",
        "generationConfig.audioTimestamp",
        "toolConfig.functionCallingConfig.streamFunctionCallArguments",
    }
)
_STUDIO_ONLY = frozenset(
    {"generationConfig.enableEnhancedCivicAnswers", "toolConfig.includeServerSideToolInvocations"}
)
_MUST_VERTEX = frozenset(
    {"modelArmorConfig", "tools.retrieval", "tools.enterpriseWebSearch", "tools.parallelAiSearch"}
)
_MUST_STUDIO = frozenset({"tools.fileSearch", "tools.mcpServers"})
_PLACED = frozenset(
    {
        "safetySettings",
        "labels",
        "modelArmorConfig",
        "outputConfig",
        "toolConfig.retrievalConfig",
        "toolConfig.includeServerSideToolInvocations",
        "toolConfig.functionCallingConfig.mode",
    }
)


def refuse(extras: Json, vertex: bool) -> Rejected | None:
    """What this door lacks and the request cannot do without, or None."""
    must, other = (_MUST_STUDIO, "AI Studio") if vertex else (_MUST_VERTEX, "Vertex AI")
    for name in extras:
        if name in must:
            return Rejected(
                "gemini-door",
                f"Only {other} has {name.removeprefix('tools.')}.",
                param=name.partition(".")[0],
                caller_fault=True,
            )
    return None


def place(extras: Json, body: Json, vertex: bool, adjusted: list[str]) -> None:
    """Put what this door takes at its place in ``body``; name the rest in ``adjusted``. None: of no known place."""
    lacks = _STUDIO_ONLY if vertex else _VERTEX_ONLY
    for name, value in extras.items():
        head, _, rest = name.partition(".")
        if value is None or name in lacks:
            adjusted.append(f"{name}-dropped")
        elif head == "tools" and "." not in rest:
            body.setdefault("tools", []).append({rest: value})
        elif name in _PLACED or head == "generationConfig":
            _put(body, name.split("."), _for_door(name, value, vertex))
        else:
            adjusted.append(f"{name}-dropped")


def _for_door(name: str, value: Any, vertex: bool) -> Any:
    """SafetySetting.method is Vertex's alone."""
    if name != "safetySettings" or vertex or not isinstance(value, list):
        return value
    settings = cast("list[Json]", value)
    return [{key: one[key] for key in one if key != "method"} for one in settings]


def _put(body: Json, path: list[str], value: Any) -> None:
    for step in path[:-1]:
        body = body.setdefault(step, {})
    body[path[-1]] = value

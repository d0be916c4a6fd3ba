"""What a provider received, told in one way for all formats: its calls and their results, its leaves, its signatures."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Exchange(NamedTuple):
    """The tool calls in a history with their results, each (id, words) in the order of the history."""

    calls: list[tuple[str, str]]
    results: list[tuple[str, str]]


def nodes(value: Any) -> Iterator[Any]:
    """Every value inside a JSON value, in order."""
    yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    ):
        yield from nodes(inner)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside."""
    return (node for node in nodes(value) if isinstance(node, dict))


def holds(value: Any, wanted: str | float) -> bool:
    """Is ``wanted`` among the leaves: a number or a flag as itself, words as a part of any text."""
    for node in nodes(value):
        if isinstance(wanted, str):
            if isinstance(node, str) and wanted in node:
                return True
        elif isinstance(node, int | float) and type(node) is not bool and node == wanted:
            return True
    return False


_SIGNED = ("signature", "thoughtSignature", "encrypted_content")


def signatures(body: Any) -> list[str]:
    """Opaque state that a maker gets back."""
    return [one[name] for one in objects(body) for name in _SIGNED if isinstance(one.get(name), str)]


def exchange(dialect: str, body: dict[str, Any]) -> Exchange:
    """The calls and the results of a history."""
    calls: list[tuple[str, str]] = []
    results: list[tuple[str, str]] = []
    history = body.get("contents") or body.get("input") or body["messages"]
    for one in objects(history):
        match dialect:
            case "openai" | "cohere":
                calls += [(call["id"], call["function"]["name"]) for call in one.get("tool_calls") or ()]
                if one.get("role") == "tool":
                    results.append((one["tool_call_id"], _words(one["content"])))
            case "responses":
                if one.get("type") == "function_call":
                    calls.append((one["call_id"], one["name"]))
                elif one.get("type") == "function_call_output":
                    results.append((one["call_id"], _words(one["output"])))
            case "anthropic":
                if one.get("type") == "tool_use":
                    calls.append((one["id"], one["name"]))
                elif one.get("type") == "tool_result":
                    results.append((one["tool_use_id"], _words(one["content"])))
            case "bedrock":
                if "toolUse" in one:
                    calls.append((one["toolUse"]["toolUseId"], one["toolUse"]["name"]))
                elif "toolResult" in one:
                    results.append((one["toolResult"]["toolUseId"], _words(one["toolResult"]["content"])))
            case _:
                if "functionCall" in one:
                    calls.append((one["functionCall"].get("id", ""), one["functionCall"]["name"]))
                elif "functionResponse" in one:
                    found = one["functionResponse"]
                    results.append((found.get("id", ""), _words(found["response"])))
    return Exchange(calls, results)


def _words(value: Any) -> str:
    return " ".join(
        node for node in nodes(value) if isinstance(node, str) and node not in ("text", "input_text")
    )

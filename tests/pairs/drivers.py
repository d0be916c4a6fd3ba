"""A small client of each inlet: raw JSON, a history that it keeps as its format has it, whole replies and streams.

What a reply held goes into the history as it came, opaque pieces too: the way of a client that knows no vendor.
"""

import json
from typing import Any, NamedTuple

from tests.behaviours.gateway import Answer, frames_of

TOOLS = ("weather", "tide")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
TOLD = "Tells it for a city."


class Made(NamedTuple):
    """A tool call as the caller sees it."""

    id: str
    name: str
    arguments: dict[str, Any]


class Turn(NamedTuple):
    """What the model did."""

    text: str
    calls: list[Made]


class Chat:
    """OpenAI's chat, and OpenRouter's."""

    def __init__(self, inlet: str) -> None:
        self.history: list[Any] = []
        self.asked: dict[str, Any] = {
            "max_completion_tokens": 4000,
            "tools": [
                {"type": "function", "function": {"name": name, "description": TOLD, "parameters": SCHEMA}}
                for name in TOOLS
            ],
        }
        self.asked |= (
            {"reasoning": {"effort": "low"}} if inlet == "openrouter" else {"reasoning_effort": "low"}
        )

    def user(self, text: str) -> None:
        self.history.append({"role": "user", "content": text})

    def results(self, calls: list[Made], words: list[str]) -> None:
        self.history += [
            {"role": "tool", "tool_call_id": call.id, "content": word}
            for call, word in zip(calls, words, strict=True)
        ]

    def body(self) -> dict[str, Any]:
        return {**self.asked, "messages": self.history}

    def read(self, answer: Answer, *, stream: bool) -> Turn:
        message = self._streamed(answer) if stream else answer.json()["choices"][0]["message"]
        self.history.append(message)
        calls = [
            Made(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ]
        return Turn(message["content"] or "", calls)

    @staticmethod
    def _streamed(answer: Answer) -> dict[str, Any]:
        assert answer.done
        content, calls, details = "", {}, []
        for choice in answer.choices():
            delta = choice["delta"]
            content += delta.get("content") or ""
            details += delta.get("reasoning_details") or ()
            for part in delta.get("tool_calls") or ():
                call = calls.setdefault(
                    part["index"], {"type": "function", "function": {"name": "", "arguments": ""}}
                )
                call["id"] = part.get("id") or call["id"]
                call["function"]["name"] += part["function"].get("name") or ""
                call["function"]["arguments"] += part["function"].get("arguments") or ""
        message: dict[str, Any] = {"role": "assistant", "content": content or None}
        if calls:
            message["tool_calls"] = [calls[index] for index in sorted(calls)]
        return message | ({"reasoning_details": details} if details else {})


class Responses:
    """OpenAI's Responses, nothing kept by the server: its items go back."""

    def __init__(self, _inlet: str) -> None:
        self.history: list[Any] = []
        self.asked: dict[str, Any] = {
            "max_output_tokens": 4000,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low"},
            "tools": [
                {
                    "type": "function",
                    "name": name,
                    "description": TOLD,
                    "parameters": SCHEMA,
                    "strict": False,
                }
                for name in TOOLS
            ],
        }

    def user(self, text: str) -> None:
        self.history.append({"role": "user", "content": text})

    def results(self, calls: list[Made], words: list[str]) -> None:
        self.history += [
            {"type": "function_call_output", "call_id": call.id, "output": word}
            for call, word in zip(calls, words, strict=True)
        ]

    def body(self) -> dict[str, Any]:
        return {**self.asked, "input": self.history}

    def read(self, answer: Answer, *, stream: bool) -> Turn:
        if stream:
            frames = frames_of(answer.body)
            items = [one["item"] for one in frames if one["type"] == "response.output_item.done"]
            assert frames[-1]["type"] == "response.completed"
            assert frames[-1]["response"]["output"] == items
        else:
            items = answer.json()["output"]
        self.history += items
        text = "".join(
            part["text"] for item in items if item["type"] == "message" for part in item["content"]
        )
        calls = [
            Made(item["call_id"], item["name"], json.loads(item["arguments"]))
            for item in items
            if item["type"] == "function_call"
        ]
        return Turn(text, calls)


class Messages:
    """Anthropic's Messages."""

    def __init__(self, _inlet: str) -> None:
        self.history: list[Any] = []
        self.asked: dict[str, Any] = {
            "max_tokens": 4000,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [{"name": name, "description": TOLD, "input_schema": SCHEMA} for name in TOOLS],
        }

    def user(self, text: str) -> None:
        self.history.append({"role": "user", "content": text})

    def results(self, calls: list[Made], words: list[str]) -> None:
        blocks = [
            {"type": "tool_result", "tool_use_id": call.id, "content": word}
            for call, word in zip(calls, words, strict=True)
        ]
        self.history.append({"role": "user", "content": blocks})

    def body(self) -> dict[str, Any]:
        return {**self.asked, "messages": self.history}

    def read(self, answer: Answer, *, stream: bool) -> Turn:
        blocks = self._streamed(answer) if stream else answer.json()["content"]
        self.history.append({"role": "assistant", "content": blocks})
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        calls = [
            Made(block["id"], block["name"], block["input"])
            for block in blocks
            if block["type"] == "tool_use"
        ]
        return Turn(text, calls)

    @staticmethod
    def _streamed(answer: Answer) -> list[dict[str, Any]]:
        frames = frames_of(answer.body)
        assert frames[-1] == {"type": "message_stop"}
        blocks: list[dict[str, Any]] = []
        for frame in frames:
            if frame["type"] == "content_block_start":
                assert frame["index"] == len(blocks)
                blocks.append({**frame["content_block"]})
            elif frame["type"] == "content_block_delta":
                delta, block = frame["delta"], blocks[frame["index"]]
                name = {"input_json_delta": "partial_json"}.get(
                    delta["type"], delta["type"].removesuffix("_delta")
                )
                held = "json" if name == "partial_json" else name
                block[held] = block.get(held, "") + delta[name]
        for block in blocks:
            if block["type"] == "tool_use":
                block["input"] = json.loads(block.pop("json", "") or "{}")
        return blocks


class Contents:
    """Gemini's contents."""

    def __init__(self, _inlet: str) -> None:
        self.history: list[Any] = []
        declared = [{"name": name, "description": TOLD, "parameters": SCHEMA} for name in TOOLS]
        self.asked: dict[str, Any] = {
            "tools": [{"functionDeclarations": declared}],
            "generationConfig": {
                "maxOutputTokens": 4000,
                "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
            },
        }

    def user(self, text: str) -> None:
        self.history.append({"role": "user", "parts": [{"text": text}]})

    def results(self, calls: list[Made], words: list[str]) -> None:
        parts = [
            {
                "functionResponse": {
                    **({"id": call.id} if call.id else {}),
                    "name": call.name,
                    "response": {"output": word},
                }
            }
            for call, word in zip(calls, words, strict=True)
        ]
        self.history.append({"role": "user", "parts": parts})

    def body(self) -> dict[str, Any]:
        return {**self.asked, "contents": self.history}

    def read(self, answer: Answer, *, stream: bool) -> Turn:
        pieces = frames_of(answer.body) if stream else [answer.json()]
        assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"
        parts = [
            part
            for piece in pieces
            for found in piece.get("candidates", ())
            for part in found.get("content", {}).get("parts", ())
        ]
        self.history.append({"role": "model", "parts": parts})
        text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
        calls = [
            Made(call.get("id", ""), call["name"], call.get("args", {}))
            for part in parts
            if (call := part.get("functionCall"))
        ]
        return Turn(text, calls)


DRIVERS = {
    "openai": Chat,
    "openrouter": Chat,
    "responses": Responses,
    "anthropic": Messages,
    "gemini": Contents,
}

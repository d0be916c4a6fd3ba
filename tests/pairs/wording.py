"""Requests in each inlet's own format, from which the features are put together."""

import base64
from typing import Any

Mark = tuple[str | float, ...]
"""One value in its spellings."""
Body = dict[str, Any]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = f"data:image/png;base64,{PIXEL}"
PDF = base64.b64encode(b"%PDF-1.4\nmatrix of pairs\n%%EOF\n").decode()
NOTE = "The quokka note."
NOTE_DATA = base64.b64encode(NOTE.encode()).decode()
SOUND = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt pairs").decode()
FILM = base64.b64encode(b"\x00\x00\x00\x18ftypmp42pairs").decode()
PICTURE_URL = "https://media.invalid/pairs.png"
PDF_URL = "https://media.invalid/pairs.pdf"
FILM_URL = "https://media.invalid/pairs.mp4"
SCHEMA: Body = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED: Body = {**SCHEMA, "additionalProperties": False}
FORM: Body = {
    "type": "object",
    "properties": {"verdict": {"type": "string"}},
    "required": ["verdict"],
    "additionalProperties": False,
}
NAMES = ("weather", "tide")
LOOK = "Look closely."


def both(body: Body) -> dict[str, Body]:
    return {"openai": body, "openrouter": body}


def messages(*messages: Body) -> Body:
    return {"messages": list(messages)}


def user(content: Any) -> Body:
    return {"role": "user", "content": content}


TEXT_OF: dict[str, Body] = {
    **both(messages(user("Hello quokka"))),
    "responses": {"input": "Hello quokka"},
    "completions": {"prompt": "Hello quokka"},
    "anthropic": {"max_tokens": 4000, "messages": [user("Hello quokka")]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hello quokka"}]}]},
}


def also(
    *,
    chat: Body | None = None,
    responses: Body | None = None,
    anthropic: Body | None = None,
    gemini: Body | None = None,
    config: Body | None = None,
    completions: Body | None = None,
) -> dict[str, Body]:
    """The text, with these fields added in each format."""
    if config is not None:
        gemini = {**(gemini or {}), "generationConfig": config}
    added = {
        "openai": chat,
        "openrouter": chat,
        "responses": responses,
        "completions": completions,
        "anthropic": anthropic,
        "gemini": gemini,
    }
    return {inlet: {**TEXT_OF[inlet], **more} for inlet, more in added.items() if more is not None}


def with_part(
    chat: Body | None = None,
    responses: Body | None = None,
    anthropic: Body | None = None,
    gemini: Body | None = None,
) -> dict[str, Body]:
    """One more part of the user's message."""
    found: dict[str, Body] = {}
    if chat is not None:
        found |= both(messages(user([{"type": "text", "text": LOOK}, chat])))
    if responses is not None:
        found["responses"] = {"input": [user([{"type": "input_text", "text": LOOK}, responses])]}
    if anthropic is not None:
        found["anthropic"] = {
            "max_tokens": 4000,
            "messages": [user([{"type": "text", "text": LOOK}, anthropic])],
        }
    if gemini is not None:
        found["gemini"] = {"contents": [{"role": "user", "parts": [{"text": LOOK}, gemini]}]}
    return found


def tools_of(strict: bool | None = None) -> dict[str, Body]:
    """Two tools in each format."""
    told = "Tells it for a city."
    strictly = {} if strict is None else {"strict": strict}
    schema = CLOSED if strict else SCHEMA
    chat = [
        {
            "type": "function",
            "function": {"name": name, "description": told, "parameters": schema, **strictly},
        }
        for name in NAMES
    ]
    flat = [
        {
            "type": "function",
            "name": name,
            "description": told,
            "parameters": schema,
            "strict": bool(strict),
        }
        for name in NAMES
    ]
    blocks = [{"name": name, "description": told, "input_schema": schema, **strictly} for name in NAMES]
    declared = [{"name": name, "description": told, "parameters": SCHEMA} for name in NAMES]
    found: dict[str, Body] = {
        **both({"tools": chat}),
        "responses": {"tools": flat},
        "anthropic": {"tools": blocks},
    }
    return found if strict else found | {"gemini": {"tools": [{"functionDeclarations": declared}]}}


def tooled(added: dict[str, Body]) -> dict[str, Body]:
    """The text with two tools and these fields."""
    tools = tools_of()
    return {inlet: {**TEXT_OF[inlet], **tools[inlet], **more} for inlet, more in added.items()}


def history(
    results: dict[str, list[Any]], *, calls: int = 1, anthropic: Body | None = None
) -> dict[str, Body]:
    """Calls that were made, with their results in each format."""
    found: dict[str, Body] = {}
    numbers = range(calls)
    tools = tools_of()
    for inlet, said in results.items():
        match inlet:
            case "openai" | "openrouter":
                made = [
                    {
                        "id": f"call_{n}",
                        "type": "function",
                        "function": {"name": NAMES[n], "arguments": '{"city":"Bremen"}'},
                    }
                    for n in numbers
                ]
                answers = [{"role": "tool", "tool_call_id": f"call_{n}", "content": said[n]} for n in numbers]
                history = [user("Hello quokka"), {"role": "assistant", "tool_calls": made}, *answers]
                found[inlet] = {"messages": history, **tools[inlet]}
            case "responses":
                made = [
                    {
                        "type": "function_call",
                        "call_id": f"call_{n}",
                        "name": NAMES[n],
                        "arguments": '{"city":"Bremen"}',
                    }
                    for n in numbers
                ]
                answers = [
                    {"type": "function_call_output", "call_id": f"call_{n}", "output": said[n]}
                    for n in numbers
                ]
                found[inlet] = {"input": [user("Hello quokka"), *made, *answers], **tools[inlet]}
            case "anthropic":
                made = [
                    {"type": "tool_use", "id": f"toolu_{n}", "name": NAMES[n], "input": {"city": "Bremen"}}
                    for n in numbers
                ]
                answers = [
                    {
                        "type": "tool_result",
                        "tool_use_id": f"toolu_{n}",
                        "content": said[n],
                        **(anthropic or {}),
                    }
                    for n in numbers
                ]
                turns = [
                    user("Hello quokka"),
                    {"role": "assistant", "content": made},
                    {"role": "user", "content": answers},
                ]
                found[inlet] = {"max_tokens": 4000, "messages": turns, **tools[inlet]}
            case _:
                made = [{"functionCall": {"name": NAMES[n], "args": {"city": "Bremen"}}} for n in numbers]
                answers = [{"functionResponse": {"name": NAMES[n], **said[n]}} for n in numbers]
                turns = [
                    {"role": "user", "parts": [{"text": "Hello quokka"}]},
                    {"role": "model", "parts": made},
                    {"role": "user", "parts": answers},
                ]
                found[inlet] = {"contents": turns, **tools[inlet]}
    return found


def results(*words: str) -> dict[str, list[Any]]:
    answers: list[Any] = list(words)
    spoken = [{"response": {"output": word}} for word in words]
    return {
        "openai": answers,
        "openrouter": answers,
        "responses": answers,
        "anthropic": answers,
        "gemini": spoken,
    }


CLAUDE_PICTURE: Body = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
}
CHAT_PICTURE: Body = {"type": "image_url", "image_url": {"url": PICTURE}}
WORDS = "sunny 4711"
WITH_PICTURE: dict[str, list[Any]] = {
    "openai": [[{"type": "text", "text": WORDS}, CHAT_PICTURE]],
    "openrouter": [[{"type": "text", "text": WORDS}, CHAT_PICTURE]],
    "responses": [[{"type": "input_text", "text": WORDS}, {"type": "input_image", "image_url": PICTURE}]],
    "anthropic": [[{"type": "text", "text": WORDS}, CLAUDE_PICTURE]],
    "gemini": [
        {
            "response": {"output": WORDS},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}],
        }
    ],
}


def form(strict: bool) -> dict[str, Body]:
    named = {"name": "verdict", "schema": FORM, "strict": strict}
    return also(
        chat={"response_format": {"type": "json_schema", "json_schema": named}},
        responses={"text": {"format": {"type": "json_schema", **named}}},
        anthropic={"output_config": {"format": {"type": "json_schema", "schema": FORM}}} if strict else None,
        config={"responseMimeType": "application/json", "responseJsonSchema": FORM} if strict else None,
    )


CACHED: Body = {"type": "text", "text": "Stay brief. " * 400, "cache_control": {"type": "ephemeral"}}
UNCACHED: Body = {"type": "text", "text": "Stay brief. " * 400}
ASKED = user("Hello quokka")


def long_system(part: Body) -> dict[str, Body]:
    return {
        **both(messages({"role": "system", "content": [part]}, ASKED)),
        "anthropic": {"max_tokens": 4000, "system": [part], "messages": [ASKED]},
    }

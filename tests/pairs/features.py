"""What a caller can ask for, in the words of each inlet's own format. Nothing here says what becomes of it.

A feature's ``marks`` are values that must be found in what the provider received, each in one of its spellings;
``beside`` is the feature from which what the provider received must differ, for what has no value of its own to look for.
"""

import base64
from typing import Any, NamedTuple

from tests.behaviours.test_bedrock_and_cohere import PNG as PICTURE

Mark = tuple[str | float, ...]
"""One value in its spellings."""
Body = dict[str, Any]

PIXEL = PICTURE.partition(",")[2]
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


class Feature(NamedTuple):
    """One row. ``said`` holds a body for each inlet whose format can say it."""

    name: str
    said: dict[str, Body]
    marks: tuple[Mark, ...] = ()
    beside: str = "text"
    thinks: bool = False
    stream: bool = False
    never: tuple[str, ...] = ()
    """What must not be received: the provider's own default stands for what was asked."""


def _both(body: Body) -> dict[str, Body]:
    return {"openai": body, "openrouter": body}


def _messages(*messages: Body) -> Body:
    return {"messages": list(messages)}


def _user(content: Any) -> Body:
    return {"role": "user", "content": content}


_TEXT: dict[str, Body] = {
    **_both(_messages(_user("Hello quokka"))),
    "responses": {"input": "Hello quokka"},
    "completions": {"prompt": "Hello quokka"},
    "anthropic": {"max_tokens": 4000, "messages": [_user("Hello quokka")]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hello quokka"}]}]},
}


def _with(
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
    return {inlet: {**_TEXT[inlet], **more} for inlet, more in added.items() if more is not None}


def _part(
    chat: Body | None = None,
    responses: Body | None = None,
    anthropic: Body | None = None,
    gemini: Body | None = None,
) -> dict[str, Body]:
    """One more part of the user's message."""
    found: dict[str, Body] = {}
    if chat is not None:
        found |= _both(_messages(_user([{"type": "text", "text": LOOK}, chat])))
    if responses is not None:
        found["responses"] = {"input": [_user([{"type": "input_text", "text": LOOK}, responses])]}
    if anthropic is not None:
        found["anthropic"] = {
            "max_tokens": 4000,
            "messages": [_user([{"type": "text", "text": LOOK}, anthropic])],
        }
    if gemini is not None:
        found["gemini"] = {"contents": [{"role": "user", "parts": [{"text": LOOK}, gemini]}]}
    return found


def _tools(strict: bool | None = None) -> dict[str, Body]:
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
        **_both({"tools": chat}),
        "responses": {"tools": flat},
        "anthropic": {"tools": blocks},
    }
    return found if strict else found | {"gemini": {"tools": [{"functionDeclarations": declared}]}}


def _tooled(added: dict[str, Body]) -> dict[str, Body]:
    """The text with two tools and these fields."""
    tools = _tools()
    return {inlet: {**_TEXT[inlet], **tools[inlet], **more} for inlet, more in added.items()}


def _history(
    results: dict[str, list[Any]], *, calls: int = 1, anthropic: Body | None = None
) -> dict[str, Body]:
    """Calls that were made, with their results in each format."""
    found: dict[str, Body] = {}
    numbers = range(calls)
    tools = _tools()
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
                answers = [
                    {"role": "tool", "tool_call_id": f"call_{n}", "content": said[n]} for n in numbers
                ]
                history = [_user("Hello quokka"), {"role": "assistant", "tool_calls": made}, *answers]
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
                found[inlet] = {"input": [_user("Hello quokka"), *made, *answers], **tools[inlet]}
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
                    _user("Hello quokka"),
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


def _results(*words: str) -> dict[str, list[Any]]:
    answers: list[Any] = list(words)
    spoken = [{"response": {"output": word}} for word in words]
    return {
        "openai": answers,
        "openrouter": answers,
        "responses": answers,
        "anthropic": answers,
        "gemini": spoken,
    }


_CLAUDE_PICTURE: Body = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
}
_CHAT_PICTURE: Body = {"type": "image_url", "image_url": {"url": PICTURE}}
_WORDS = "sunny 4711"
_WITH_PICTURE: dict[str, list[Any]] = {
    "openai": [[{"type": "text", "text": _WORDS}, _CHAT_PICTURE]],
    "openrouter": [[{"type": "text", "text": _WORDS}, _CHAT_PICTURE]],
    "responses": [[{"type": "input_text", "text": _WORDS}, {"type": "input_image", "image_url": PICTURE}]],
    "anthropic": [[{"type": "text", "text": _WORDS}, _CLAUDE_PICTURE]],
    "gemini": [
        {
            "response": {"output": _WORDS},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}],
        }
    ],
}


def _form(strict: bool) -> dict[str, Body]:
    named = {"name": "verdict", "schema": FORM, "strict": strict}
    return _with(
        chat={"response_format": {"type": "json_schema", "json_schema": named}},
        responses={"text": {"format": {"type": "json_schema", **named}}},
        anthropic={"output_config": {"format": {"type": "json_schema", "schema": FORM}}} if strict else None,
        config={"responseMimeType": "application/json", "responseJsonSchema": FORM} if strict else None,
    )


_CACHED: Body = {"type": "text", "text": "Stay brief. " * 400, "cache_control": {"type": "ephemeral"}}
_UNCACHED: Body = {"type": "text", "text": "Stay brief. " * 400}
_ASKED = _user("Hello quokka")


def _long_system(part: Body) -> dict[str, Body]:
    return {
        **_both(_messages({"role": "system", "content": [part]}, _ASKED)),
        "anthropic": {"max_tokens": 4000, "system": [part], "messages": [_ASKED]},
    }


_CONVERSING: tuple[Feature, ...] = (
    Feature("text", _TEXT, (("Hello quokka",),), beside=""),
    Feature("text, streamed", _TEXT, (("Hello quokka",),), beside="", stream=True),
    Feature(
        "system prompt",
        {
            **_both(_messages({"role": "system", "content": "Speak like a miller."}, _ASKED)),
            "responses": {"instructions": "Speak like a miller.", "input": "Hello quokka"},
            "anthropic": {"max_tokens": 4000, "system": "Speak like a miller.", "messages": [_ASKED]},
            "gemini": {
                **_TEXT["gemini"],
                "systemInstruction": {"parts": [{"text": "Speak like a miller."}]},
            },
        },
        (("Speak like a miller.",),),
    ),
    Feature(
        "several system messages",
        {
            **_both(
                _messages(
                    {"role": "system", "content": "Speak like a miller."},
                    _ASKED,
                    {"role": "system", "content": "Now like a baker."},
                    _user("And now?"),
                )
            ),
            "responses": {
                "input": [
                    {"role": "system", "content": "Speak like a miller."},
                    _ASKED,
                    {"role": "developer", "content": "Now like a baker."},
                    _user("And now?"),
                ]
            },
            "anthropic": {
                "max_tokens": 4000,
                "system": [
                    {"type": "text", "text": "Speak like a miller."},
                    {"type": "text", "text": "Now like a baker."},
                ],
                "messages": [_ASKED],
            },
            "gemini": {
                **_TEXT["gemini"],
                "systemInstruction": {
                    "parts": [{"text": "Speak like a miller."}, {"text": "Now like a baker."}]
                },
            },
        },
        (("Speak like a miller.",), ("Now like a baker.",)),
    ),
    Feature(
        "names of participants",
        _both(_messages({**_ASKED, "name": "Marlene"})),
        (("Marlene",),),
    ),
    Feature(
        "image as data",
        _part(
            _CHAT_PICTURE,
            {"type": "input_image", "image_url": PICTURE},
            _CLAUDE_PICTURE,
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        ),
        ((PIXEL,),),
    ),
    Feature(
        "image by URL",
        _part(
            {"type": "image_url", "image_url": {"url": PICTURE_URL}},
            {"type": "input_image", "image_url": PICTURE_URL},
            {"type": "image", "source": {"type": "url", "url": PICTURE_URL}},
            {"fileData": {"mimeType": "image/png", "fileUri": PICTURE_URL}},
        ),
        ((PICTURE_URL,),),
    ),
    Feature(
        "audio as data",
        _part(
            {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
            None,
            {"inlineData": {"mimeType": "audio/wav", "data": SOUND}},
        ),
        ((SOUND,),),
    ),
    Feature(
        "video as data", _part(gemini={"inlineData": {"mimeType": "video/mp4", "data": FILM}}), ((FILM,),)
    ),
    Feature(
        "video by URL",
        _part(gemini={"fileData": {"mimeType": "video/mp4", "fileUri": FILM_URL}}),
        ((FILM_URL,),),
    ),
    Feature(
        "PDF as data",
        _part(
            {
                "type": "file",
                "file": {"filename": "pairs.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            },
            {
                "type": "input_file",
                "filename": "pairs.pdf",
                "file_data": f"data:application/pdf;base64,{PDF}",
            },
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            },
            {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
        ),
        ((PDF,),),
    ),
    Feature(
        "PDF by URL",
        _part(
            {"type": "file", "file": {"filename": "pairs.pdf", "file_data": PDF_URL}},
            {"type": "input_file", "file_url": PDF_URL},
            {"type": "document", "source": {"type": "url", "url": PDF_URL}},
            {"fileData": {"mimeType": "application/pdf", "fileUri": PDF_URL}},
        ),
        ((PDF_URL,),),
    ),
    Feature(
        "text document",
        _part(
            {
                "type": "file",
                "file": {"filename": "note.txt", "file_data": f"data:text/plain;base64,{NOTE_DATA}"},
            },
            {
                "type": "input_file",
                "filename": "note.txt",
                "file_data": f"data:text/plain;base64,{NOTE_DATA}",
            },
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": NOTE}},
            {"inlineData": {"mimeType": "text/plain", "data": NOTE_DATA}},
        ),
        ((NOTE, NOTE_DATA),),
    ),
)

_TOOLS: tuple[Feature, ...] = (
    Feature("tools", _tooled({inlet: {} for inlet in _tools()}), (("weather",), ("tide",), ("city",))),
    Feature(
        "strict tools",
        {inlet: {**_TEXT[inlet], **body} for inlet, body in _tools(strict=True).items()},
        (("weather",),),
        beside="tools",
    ),
    Feature(
        "one forced tool",
        _tooled(
            {
                **_both({"tool_choice": {"type": "function", "function": {"name": "tide"}}}),
                "responses": {"tool_choice": {"type": "function", "name": "tide"}},
                "anthropic": {"tool_choice": {"type": "tool", "name": "tide"}},
                "gemini": {
                    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["tide"]}}
                },
            }
        ),
        (("tide",),),
        beside="tools",
    ),
    Feature(
        "any tool forced",
        _tooled(
            {
                **_both({"tool_choice": "required"}),
                "responses": {"tool_choice": "required"},
                "anthropic": {"tool_choice": {"type": "any"}},
                "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            }
        ),
        beside="tools",
    ),
    Feature(
        "tools forbidden",
        _tooled(
            {
                **_both({"tool_choice": "none"}),
                "responses": {"tool_choice": "none"},
                "anthropic": {"tool_choice": {"type": "none"}},
                "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
            }
        ),
        beside="tools",
    ),
    Feature(
        "parallel tool calls off",
        _tooled(
            {
                **_both({"parallel_tool_calls": False}),
                "responses": {"parallel_tool_calls": False},
                "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            }
        ),
        beside="tools",
    ),
    Feature("tool result", _history(_results(_WORDS)), ((_WORDS,), ("Bremen",))),
    Feature(
        "results of parallel tools",
        _history(_results(_WORDS, "high 4712"), calls=2),
        ((_WORDS,), ("high 4712",)),
    ),
    Feature(
        "tool result with an image", _history(_WITH_PICTURE), ((_WORDS,), (PIXEL,)), beside="tool result"
    ),
    Feature(
        "tool result is an error",
        _history({"anthropic": [_WORDS]}, anthropic={"is_error": True})
        | _history({"gemini": [{"response": {"error": _WORDS}}]}),
        ((_WORDS,),),
        beside="tool result",
    ),
)

_STEERING: tuple[Feature, ...] = (
    Feature(
        "thinking effort",
        {
            "openai": {**_TEXT["openai"], "reasoning_effort": "low", "max_completion_tokens": 3000},
            "openrouter": {**_TEXT["openrouter"], "reasoning": {"effort": "low"}, "max_tokens": 3000},
            "responses": {**_TEXT["responses"], "reasoning": {"effort": "low"}, "max_output_tokens": 3000},
            "anthropic": {
                **_TEXT["anthropic"],
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "low"},
            },
            "gemini": {**_TEXT["gemini"], "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
        },
        beside="max_tokens",
        thinks=True,
    ),
    Feature(
        "thinking budget",
        {
            **_both({**_TEXT["openai"], "reasoning": {"max_tokens": 1537}, "max_completion_tokens": 3000}),
            "anthropic": {**_TEXT["anthropic"], "thinking": {"type": "enabled", "budget_tokens": 1537}},
            "gemini": {
                **_TEXT["gemini"],
                "generationConfig": {"maxOutputTokens": 3000, "thinkingConfig": {"thinkingBudget": 1537}},
            },
        },
        ((1537,),),
        beside="max_tokens",
        thinks=True,
    ),
    Feature(
        "thinking off",
        {
            **_both({**_TEXT["openai"], "reasoning": {"enabled": False}}),
            "responses": {**_TEXT["responses"], "reasoning": {"effort": "none"}},
            "anthropic": {**_TEXT["anthropic"], "thinking": {"type": "disabled"}},
            "gemini": {**_TEXT["gemini"], "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        },
        beside="thinking effort",
        thinks=True,
    ),
    Feature(
        "JSON, any",
        _with(
            chat={"response_format": {"type": "json_object"}, **_messages(_user("Hello quokka, as JSON"))},
            responses={"text": {"format": {"type": "json_object"}}, "input": "Hello quokka, as JSON"},
            config={"responseMimeType": "application/json"},
        ),
    ),
    Feature("JSON by a strict schema", _form(strict=True), (("verdict",),)),
    Feature("JSON by a lax schema", _form(strict=False), (("verdict",),)),
    Feature(
        "stop sequences",
        _with(
            chat={"stop": ["HALT-7"]},
            anthropic={"stop_sequences": ["HALT-7"]},
            config={"stopSequences": ["HALT-7"]},
            completions={"stop": ["HALT-7"]},
        ),
        (("HALT-7",),),
    ),
    Feature(
        "seed", _with(chat={"seed": 7117}, config={"seed": 7117}, completions={"seed": 7117}), ((7117,),)
    ),
    Feature(
        "temperature",
        _with(
            chat={"temperature": 0.37},
            responses={"temperature": 0.37},
            anthropic={"temperature": 0.37},
            config={"temperature": 0.37},
            completions={"temperature": 0.37},
        ),
        ((0.37,),),
    ),
    Feature(
        "top_p",
        _with(
            chat={"top_p": 0.83},
            responses={"top_p": 0.83},
            anthropic={"top_p": 0.83},
            config={"topP": 0.83},
            completions={"top_p": 0.83},
        ),
        ((0.83,),),
    ),
    Feature("top_k", _with(chat={"top_k": 23}, anthropic={"top_k": 23}, config={"topK": 23}), ((23,),)),
    Feature(
        "penalties",
        _with(
            chat={"presence_penalty": 0.31, "frequency_penalty": 0.53},
            config={"presencePenalty": 0.31, "frequencyPenalty": 0.53},
            completions={"presence_penalty": 0.31, "frequency_penalty": 0.53},
        ),
        ((0.31,), (0.53,)),
    ),
    Feature(
        "logprobs",
        _with(
            chat={"logprobs": True, "top_logprobs": 3},
            responses={"top_logprobs": 3, "include": ["message.output_text.logprobs"]},
            config={"responseLogprobs": True, "logprobs": 3},
            completions={"logprobs": 3},
        ),
    ),
    Feature(
        "several answers (n)",
        _with(chat={"n": 2}, config={"candidateCount": 2}, completions={"n": 2}),
        ((2,),),
    ),
    Feature(
        "max_tokens",
        _with(
            chat={"max_completion_tokens": 3000},
            responses={"max_output_tokens": 3000},
            anthropic={"max_tokens": 3000},
            config={"maxOutputTokens": 3000},
            completions={"max_tokens": 3000},
        ),
        ((3000,),),
        thinks=True,
    ),
)

_SERVICE: tuple[Feature, ...] = (
    Feature("long system prompt", _long_system(_UNCACHED), (("Stay brief.",),)),
    Feature("cache breakpoint", _long_system(_CACHED), beside="long system prompt"),
    Feature(
        "user",
        _with(
            chat={"user": "person-7"},
            responses={"user": "person-7"},
            anthropic={"metadata": {"user_id": "person-7"}},
            completions={"user": "person-7"},
        ),
        (("person-7",),),
    ),
    Feature(
        "metadata",
        _with(
            chat={"metadata": {"ticket": "T-77"}},
            responses={"metadata": {"ticket": "T-77"}},
            gemini={"labels": {"ticket": "T-77"}},
        ),
        (("T-77",),),
    ),
    Feature(
        "service tier",
        _with(
            chat={"service_tier": "flex"},
            responses={"service_tier": "flex"},
            gemini={"serviceTier": "FLEX"},
        ),
    ),
    Feature(
        "the standard service tier",
        _with(
            chat={"service_tier": "default"},
            responses={"service_tier": "default"},
            anthropic={"service_tier": "standard_only"},
            gemini={"serviceTier": "STANDARD"},
        ),
        beside="",
        never=("flex", "priority"),
    ),
    Feature("verbosity", _with(chat={"verbosity": "low"}, responses={"text": {"verbosity": "low"}})),
    Feature(
        "a field nobody knows",
        _with(
            chat={"some_new_field": 1},
            responses={"some_new_field": 1},
            anthropic={"some_new_field": 1},
            gemini={"someNewField": 1},
            completions={"some_new_field": 1},
        ),
    ),
)

FEATURES: dict[str, Feature] = {
    one.name: one for one in (*_CONVERSING, *_TOOLS, *_STEERING, *_SERVICE)
}
"""All rows, in the page's order."""

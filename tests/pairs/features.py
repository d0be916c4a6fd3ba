"""What a caller can ask for, in the words of each inlet's own format. Nothing here says what becomes of it.

A feature's ``marks`` are values that must be found in what the provider received, each in one of its spellings;
``beside`` is the feature from which what the provider received must differ, for what has no value of its own to look for.
"""

from typing import NamedTuple

from tests.pairs.wording import (
    ASKED,
    CACHED,
    CHAT_PICTURE,
    CLAUDE_PICTURE,
    FILM,
    FILM_URL,
    NOTE,
    NOTE_DATA,
    PDF,
    PDF_URL,
    PICTURE,
    PICTURE_URL,
    PIXEL,
    SOUND,
    TEXT_OF,
    UNCACHED,
    WITH_PICTURE,
    WORDS,
    Body,
    Mark,
    also,
    both,
    form,
    history,
    long_system,
    messages,
    results,
    tooled,
    tools_of,
    user,
    with_part,
)


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


_CONVERSING: tuple[Feature, ...] = (
    Feature("text", TEXT_OF, (("Hello quokka",),), beside=""),
    Feature("text, streamed", TEXT_OF, (("Hello quokka",),), beside="", stream=True),
    Feature(
        "system prompt",
        {
            **both(messages({"role": "system", "content": "Speak like a miller."}, ASKED)),
            "responses": {"instructions": "Speak like a miller.", "input": "Hello quokka"},
            "anthropic": {"max_tokens": 4000, "system": "Speak like a miller.", "messages": [ASKED]},
            "gemini": {
                **TEXT_OF["gemini"],
                "systemInstruction": {"parts": [{"text": "Speak like a miller."}]},
            },
        },
        (("Speak like a miller.",),),
    ),
    Feature(
        "several system messages",
        {
            **both(
                messages(
                    {"role": "system", "content": "Speak like a miller."},
                    ASKED,
                    {"role": "system", "content": "Now like a baker."},
                    user("And now?"),
                )
            ),
            "responses": {
                "input": [
                    {"role": "system", "content": "Speak like a miller."},
                    ASKED,
                    {"role": "developer", "content": "Now like a baker."},
                    user("And now?"),
                ]
            },
            "anthropic": {
                "max_tokens": 4000,
                "system": [
                    {"type": "text", "text": "Speak like a miller."},
                    {"type": "text", "text": "Now like a baker."},
                ],
                "messages": [ASKED],
            },
            "gemini": {
                **TEXT_OF["gemini"],
                "systemInstruction": {
                    "parts": [{"text": "Speak like a miller."}, {"text": "Now like a baker."}]
                },
            },
        },
        (("Speak like a miller.",), ("Now like a baker.",)),
    ),
    Feature(
        "names of participants",
        both(messages({**ASKED, "name": "Marlene"})),
        (("Marlene",),),
    ),
    Feature(
        "image as data",
        with_part(
            CHAT_PICTURE,
            {"type": "input_image", "image_url": PICTURE},
            CLAUDE_PICTURE,
            {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        ),
        ((PIXEL,),),
    ),
    Feature(
        "image by URL",
        with_part(
            {"type": "image_url", "image_url": {"url": PICTURE_URL}},
            {"type": "input_image", "image_url": PICTURE_URL},
            {"type": "image", "source": {"type": "url", "url": PICTURE_URL}},
            {"fileData": {"mimeType": "image/png", "fileUri": PICTURE_URL}},
        ),
        ((PICTURE_URL,),),
    ),
    Feature(
        "audio as data",
        with_part(
            {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
            None,
            {"inlineData": {"mimeType": "audio/wav", "data": SOUND}},
        ),
        ((SOUND,),),
    ),
    Feature(
        "video as data", with_part(gemini={"inlineData": {"mimeType": "video/mp4", "data": FILM}}), ((FILM,),)
    ),
    Feature(
        "video by URL",
        with_part(gemini={"fileData": {"mimeType": "video/mp4", "fileUri": FILM_URL}}),
        ((FILM_URL,),),
    ),
    Feature(
        "PDF as data",
        with_part(
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
        with_part(
            {"type": "file", "file": {"filename": "pairs.pdf", "file_data": PDF_URL}},
            {"type": "input_file", "file_url": PDF_URL},
            {"type": "document", "source": {"type": "url", "url": PDF_URL}},
            {"fileData": {"mimeType": "application/pdf", "fileUri": PDF_URL}},
        ),
        ((PDF_URL,),),
    ),
    Feature(
        "text document",
        with_part(
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
    Feature("tools", tooled({inlet: {} for inlet in tools_of()}), (("weather",), ("tide",), ("city",))),
    Feature(
        "strict tools",
        {inlet: {**TEXT_OF[inlet], **body} for inlet, body in tools_of(strict=True).items()},
        (("weather",),),
        beside="tools",
    ),
    Feature(
        "one forced tool",
        tooled(
            {
                **both({"tool_choice": {"type": "function", "function": {"name": "tide"}}}),
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
        tooled(
            {
                **both({"tool_choice": "required"}),
                "responses": {"tool_choice": "required"},
                "anthropic": {"tool_choice": {"type": "any"}},
                "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            }
        ),
        beside="tools",
    ),
    Feature(
        "tools forbidden",
        tooled(
            {
                **both({"tool_choice": "none"}),
                "responses": {"tool_choice": "none"},
                "anthropic": {"tool_choice": {"type": "none"}},
                "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
            }
        ),
        beside="tools",
    ),
    Feature(
        "parallel tool calls off",
        tooled(
            {
                **both({"parallel_tool_calls": False}),
                "responses": {"parallel_tool_calls": False},
                "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            }
        ),
        beside="tools",
    ),
    Feature("tool result", history(results(WORDS)), ((WORDS,), ("Bremen",))),
    Feature(
        "results of parallel tools",
        history(results(WORDS, "high 4712"), calls=2),
        ((WORDS,), ("high 4712",)),
    ),
    Feature("tool result with an image", history(WITH_PICTURE), ((WORDS,), (PIXEL,)), beside="tool result"),
    Feature(
        "tool result is an error",
        history({"anthropic": [WORDS]}, anthropic={"is_error": True})
        | history({"gemini": [{"response": {"error": WORDS}}]}),
        ((WORDS,),),
        beside="tool result",
    ),
)

_STEERING: tuple[Feature, ...] = (
    Feature(
        "thinking effort",
        {
            "openai": {**TEXT_OF["openai"], "reasoning_effort": "low", "max_completion_tokens": 3000},
            "openrouter": {**TEXT_OF["openrouter"], "reasoning": {"effort": "low"}, "max_tokens": 3000},
            "responses": {**TEXT_OF["responses"], "reasoning": {"effort": "low"}, "max_output_tokens": 3000},
            "anthropic": {
                **TEXT_OF["anthropic"],
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "low"},
            },
            "gemini": {**TEXT_OF["gemini"], "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW"}}},
        },
        beside="max_tokens",
        thinks=True,
    ),
    Feature(
        "thinking budget",
        {
            **both({**TEXT_OF["openai"], "reasoning": {"max_tokens": 1537}, "max_completion_tokens": 3000}),
            "anthropic": {**TEXT_OF["anthropic"], "thinking": {"type": "enabled", "budget_tokens": 1537}},
            "gemini": {
                **TEXT_OF["gemini"],
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
            **both({**TEXT_OF["openai"], "reasoning": {"enabled": False}}),
            "responses": {**TEXT_OF["responses"], "reasoning": {"effort": "none"}},
            "anthropic": {**TEXT_OF["anthropic"], "thinking": {"type": "disabled"}},
            "gemini": {**TEXT_OF["gemini"], "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        },
        beside="thinking effort",
        thinks=True,
    ),
    Feature(
        "JSON, any",
        also(
            chat={"response_format": {"type": "json_object"}, **messages(user("Hello quokka, as JSON"))},
            responses={"text": {"format": {"type": "json_object"}}, "input": "Hello quokka, as JSON"},
            config={"responseMimeType": "application/json"},
        ),
    ),
    Feature("JSON by a strict schema", form(strict=True), (("verdict",),)),
    Feature("JSON by a lax schema", form(strict=False), (("verdict",),)),
    Feature(
        "stop sequences",
        also(
            chat={"stop": ["HALT-7"]},
            anthropic={"stop_sequences": ["HALT-7"]},
            config={"stopSequences": ["HALT-7"]},
            completions={"stop": ["HALT-7"]},
        ),
        (("HALT-7",),),
    ),
    Feature("seed", also(chat={"seed": 7117}, config={"seed": 7117}, completions={"seed": 7117}), ((7117,),)),
    Feature(
        "temperature",
        also(
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
        also(
            chat={"top_p": 0.83},
            responses={"top_p": 0.83},
            anthropic={"top_p": 0.83},
            config={"topP": 0.83},
            completions={"top_p": 0.83},
        ),
        ((0.83,),),
    ),
    Feature("top_k", also(chat={"top_k": 23}, anthropic={"top_k": 23}, config={"topK": 23}), ((23,),)),
    Feature(
        "penalties",
        also(
            chat={"presence_penalty": 0.31, "frequency_penalty": 0.53},
            config={"presencePenalty": 0.31, "frequencyPenalty": 0.53},
            completions={"presence_penalty": 0.31, "frequency_penalty": 0.53},
        ),
        ((0.31,), (0.53,)),
    ),
    Feature(
        "logprobs",
        also(
            chat={"logprobs": True, "top_logprobs": 3},
            responses={"top_logprobs": 3, "include": ["message.output_text.logprobs"]},
            config={"responseLogprobs": True, "logprobs": 3},
            completions={"logprobs": 3},
        ),
    ),
    Feature(
        "several answers (n)",
        also(chat={"n": 2}, config={"candidateCount": 2}, completions={"n": 2}),
        ((2,),),
    ),
    Feature(
        "max_tokens",
        also(
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
    Feature("long system prompt", long_system(UNCACHED), (("Stay brief.",),)),
    Feature("cache breakpoint", long_system(CACHED), beside="long system prompt"),
    Feature(
        "user",
        also(
            chat={"user": "person-7"},
            responses={"user": "person-7"},
            anthropic={"metadata": {"user_id": "person-7"}},
            completions={"user": "person-7"},
        ),
        (("person-7",),),
    ),
    Feature(
        "metadata",
        also(
            chat={"metadata": {"ticket": "T-77"}},
            responses={"metadata": {"ticket": "T-77"}},
            gemini={"labels": {"ticket": "T-77"}},
        ),
        (("T-77",),),
    ),
    Feature(
        "service tier",
        also(
            chat={"service_tier": "flex"},
            responses={"service_tier": "flex"},
            gemini={"serviceTier": "FLEX"},
        ),
    ),
    Feature(
        "the standard service tier",
        also(
            chat={"service_tier": "default"},
            responses={"service_tier": "default"},
            anthropic={"service_tier": "standard_only"},
            gemini={"serviceTier": "STANDARD"},
        ),
        beside="",
        never=("flex", "priority"),
    ),
    Feature("verbosity", also(chat={"verbosity": "low"}, responses={"text": {"verbosity": "low"}})),
    Feature(
        "a field nobody knows",
        also(
            chat={"some_new_field": 1},
            responses={"some_new_field": 1},
            anthropic={"some_new_field": 1},
            gemini={"someNewField": 1},
            completions={"some_new_field": 1},
        ),
    ),
)

FEATURES: dict[str, Feature] = {one.name: one for one in (*_CONVERSING, *_TOOLS, *_STEERING, *_SERVICE)}
"""All rows, in the page's order."""

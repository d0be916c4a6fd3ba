"""Behaviours 14-18: tool calls, reasoning, and how a reply ends, through three upstream dialects."""

import json
from typing import Any

import openai
import pytest

from tests.behaviours.gateway import MODELS, THREE_DIALECTS, Answer, Gateway, Scripted, chat

CONFIG = (
    THREE_DIALECTS
    + """
  deepseek:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/deepseek", retry: {max_retries: 0}}
  said-openai:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", retry: {max_retries: 0}}
  said-anthropic:
    dialect: anthropic
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{scripted}", retry: {max_retries: 0}}
  said-gemini:
    dialect: gemini
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{scripted}", retry: {max_retries: 0}}
"""
)
SCENARIO = {"providers": {"deepseek": {"reasoning_field": "reasoning_content", "unknown_fields": "accept"}}}
PROVIDERS = tuple(MODELS)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "zone": {"type": "string"},
                "city": {"type": "string"},
                "days": {"type": "integer"},
            },
            "required": ["city"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
BARE = {"type": "function", "function": {"name": "bare"}}

each_dialect = pytest.mark.parametrize("provider", PROVIDERS)
either = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def message_of(answer: Answer) -> dict[str, Any]:
    """The assistant's message, put together as a client does: fragments of a stream by their index."""
    assert answer.status == 200, answer.body
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.json()["choices"][0]["message"]
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    for choice in answer.choices():
        delta = choice["delta"]
        message["content"] += delta.get("content") or ""
        for name in ("reasoning", "reasoning_content"):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        message.setdefault("reasoning_details", []).extend(delta.get("reasoning_details") or [])
        for piece in delta.get("tool_calls") or []:
            call = calls.setdefault(
                piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            )
            call["id"] += piece.get("id") or ""
            call["function"]["name"] += piece["function"].get("name") or ""
            call["function"]["arguments"] += piece["function"].get("arguments") or ""
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
        message["content"] = message["content"] or None
    if not message["reasoning_details"]:
        del message["reasoning_details"]
    return message


def called(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """(name, arguments) of each call; the arguments must be JSON."""
    return [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message["tool_calls"]
    ]


def follow_up(asked: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """The next request of a tool loop: the assistant's message as it came, and the tools' answers."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({"degrees": 20 + number})}
        for number, call in enumerate(message["tool_calls"])
    ]
    return {**asked, "messages": [*asked["messages"], message, *results]}


# 14. Parallel calls.


@either
@each_dialect
def test_behaviour_14_parallel_calls_keep_index_id_and_arguments(
    gateway: Gateway, provider: str, stream: bool
) -> None:
    """Three calls at once: three ids, three indices in order, each with its own arguments."""
    answer = gateway.post(chat(MODELS[provider], "CALL_TOOLS 3", tools=[WEATHER, NOW], stream=stream))
    message = message_of(answer)
    assert called(message) == [
        ("weather", {"zone": "value-0", "city": "value-0", "days": 1}),
        ("now", {}),
        ("weather", {"zone": "value-2", "city": "value-2", "days": 3}),
    ]
    ids = [call["id"] for call in message["tool_calls"]]
    assert len(set(ids)) == 3
    assert all(ids)
    assert answer.finish() == "tool_calls"
    assert gateway.entry(answer.request_id).finish_reason == "tool_calls"


@each_dialect
def test_behaviour_14_a_call_is_begun_once_and_its_fragments_follow_it(
    gateway: Gateway, provider: str
) -> None:
    """Id and name stand in a call's first fragment only; every fragment carries its index."""
    answer = gateway.post(chat(MODELS[provider], "CALL_TOOLS 3", tools=[WEATHER], stream=True))
    pieces = [piece for choice in answer.choices() for piece in choice["delta"].get("tool_calls") or []]
    assert [piece["index"] for piece in pieces] == sorted(piece["index"] for piece in pieces)
    begun = [piece for piece in pieces if piece.get("id")]
    assert [piece["index"] for piece in begun] == [0, 1, 2]
    assert all(piece["function"]["name"] == "weather" and piece["type"] == "function" for piece in begun)
    assert {piece["index"] for piece in pieces if piece["function"].get("arguments")} == {0, 1, 2}


@each_dialect
def test_behaviour_14_the_official_client_puts_parallel_calls_together(
    gateway: Gateway, provider: str
) -> None:
    """The openai client's own accumulator reads the stream."""
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
        client.chat.completions.stream(
            model=MODELS[provider], messages=[{"role": "user", "content": "CALL_TOOLS 2"}], tools=[WEATHER]
        ) as stream,
    ):
        completion = stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["value-0", "value-1"]


# 15. Arguments are complete.


@either
@each_dialect
def test_behaviour_15_a_call_without_arguments_has_an_empty_object(
    gateway: Gateway, provider: str, stream: bool
) -> None:
    """``{}``, also where the provider sends an empty string or nothing."""
    answer = gateway.post(chat(MODELS[provider], "CALL_TOOLS 2", tools=[NOW, BARE], stream=stream))
    message = message_of(answer)
    assert called(message) == [("now", {}), ("bare", {})]
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ["{}", "{}"]


DEEP = {
    "type": "function",
    "function": {
        "name": "deep",
        "parameters": {
            "type": "object",
            "properties": {
                "zeta": {"type": "object", "properties": {"b": {"type": "array", "items": {"type": "number"}, "minItems": 3}}},
                "alpha": {"const": 'quote " backslash \\ newline \n 水車 }'},
                "mid": {"type": "object", "properties": {"x": {"type": "object", "properties": {"y": {"type": "boolean"}}}}},
            },
        },
    },
}  # fmt: skip


@either
@each_dialect
def test_behaviour_15_nested_arguments_arrive_whole_and_in_order(
    gateway: Gateway, provider: str, stream: bool
) -> None:
    """To the last brace, with their keys in the model's order."""
    answer = gateway.post(chat(MODELS[provider], "CALL_TOOL", tools=[DEEP], stream=stream))
    [(name, arguments)] = called(message_of(answer))
    assert name == "deep"
    assert list(arguments) == ["zeta", "alpha", "mid"]
    assert arguments["mid"] == {"x": {"y": True}}
    assert arguments["alpha"] == 'quote " backslash \\ newline \n 水車 }'
    assert arguments["zeta"] == {"b": [1.5, 2.5, 3.5]}


BIG = '{"id":12345678901234567890123,"ratio":1.0e-7,"z":1,"a":2}'
SPOKEN_CALLS: dict[str, list[Any]] = {
    "anthropic": [
        {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}},
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t1","name":"deep","input":' + BIG.encode() + b"}}\n\n",
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t2", "name": "deep", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": BIG[:9]}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": BIG[9:]}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ],
    "gemini": [
        b'data: {"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"deep","args":' + BIG.encode() + b"}},"
        b'{"functionCall":{"name":"deep","args":' + BIG.encode() + b'}}]},"finishReason":"STOP"}]}\n\n',
    ],
    "openai": [
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": n, "id": f"t{n}", "type": "function", "function": {"name": "deep", "arguments": BIG}}]}, "finish_reason": None}]}
        for n in (0, 1)
    ]
    + [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, b"data: [DONE]\n\n"],
}  # fmt: skip


@each_dialect
def test_behaviour_15_arguments_keep_their_spelling(
    gateway: Gateway, scripted: Scripted, provider: str
) -> None:
    """Big numbers, exponents and the order of keys are the model's, wherever its dialect puts the arguments."""
    scripted.sse(*SPOKEN_CALLS[provider])
    answer = gateway.post(chat(f"said-{provider}/m", tools=[DEEP], stream=True))
    message = message_of(answer)
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == [BIG, BIG]
    assert answer.finish() == "tool_calls"


@either
@each_dialect
def test_behaviour_15_a_call_cut_by_the_cap_says_length(
    gateway: Gateway, provider: str, stream: bool
) -> None:
    """Half a call is never called a call: the caller must not execute it."""
    answer = gateway.post(chat(MODELS[provider], "CALL_TOOL", tools=[WEATHER], max_tokens=8, stream=stream))
    assert answer.status == 200
    assert answer.finish() == "length"
    assert gateway.entry(answer.request_id).finish_reason == "length"


@each_dialect
def test_behaviour_15_a_stream_cut_inside_arguments_is_an_error(gateway: Gateway, provider: str) -> None:
    """The caller is told, and sees no finish reason."""
    gateway.faults({"kind": "close_mid_stream", "after": 1 if provider == "gemini" else 3})
    answer = gateway.post(chat(MODELS[provider], "CALL_TOOLS 2", tools=[WEATHER], stream=True))
    assert answer.stream_error() is not None
    assert answer.finish() is None
    assert not answer.done
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.error_code) == ("billed_not_delivered", "upstream_truncated")


# 16. Reasoning goes round.

THINKERS = {
    "anthropic/claude-haiku-4-5": {"reasoning": {"max_tokens": 1024}, "max_tokens": 4000},
    "anthropic/claude-sonnet-4-6": {"reasoning": {"effort": "high"}, "max_tokens": 4000},
    "anthropic/claude-opus-4-7": {"reasoning_effort": "low"},
}
GEMINIS = {
    "gemini/gemini-2.5-flash": {"reasoning": {"max_tokens": 512}},
    "gemini/gemini-3-flash-preview": {"reasoning": {"effort": "high"}},
    "gemini/gemini-3.5-flash": {},
}


def assistants(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Anthropic's blocks of every assistant turn that the provider received."""
    return [block for turn in body["messages"] if turn["role"] == "assistant" for block in turn["content"]]


@either
@pytest.mark.parametrize("model", THINKERS)
def test_behaviour_16_anthropic_thinking_and_its_signature_go_round(
    gateway: Gateway, model: str, stream: bool
) -> None:
    """The reply's reasoning_details, sent back as they came, are the very block that Anthropic signed."""
    asked = chat(model, "CALL_TOOLS 2", tools=[WEATHER], stream=stream, **THINKERS[model])
    message = message_of(gateway.post(asked))
    details = message["reasoning_details"]
    assert message["reasoning"]
    assert "".join(one.get("text", "") for one in details) == message["reasoning"]
    assert [one["signature"] for one in details if one.get("signature")]
    assert {one["format"] for one in details if "format" in one} == {"anthropic-claude-v1"}

    answer = gateway.post(follow_up(asked, message))
    assert answer.status == 200, answer.body
    assert "degrees" in answer.text()
    [thought, *calls] = assistants(gateway.sent())
    [signature] = [one["signature"] for one in details if one.get("signature")]
    assert thought == {"type": "thinking", "thinking": message["reasoning"], "signature": signature}
    assert [block["id"] for block in calls] == [call["id"] for call in message["tool_calls"]]
    assert "thinking-dropped" not in answer.headers.get("x-penstock-adjusted", "")


@either
def test_behaviour_16_redacted_thinking_goes_round(gateway: Gateway, stream: bool) -> None:
    """Encrypted thoughts have no text; they come back as they were."""
    asked = chat(
        "anthropic/claude-haiku-4-5",
        "CALL_TOOL REDACT_THINKING",
        tools=[WEATHER],
        stream=stream,
        reasoning={"max_tokens": 1024},
    )
    message = message_of(gateway.post(asked))
    [detail] = message["reasoning_details"]
    assert detail["type"] == "reasoning.encrypted"
    assert gateway.post(follow_up(asked, message)).status == 200
    assert assistants(gateway.sent())[0] == {"type": "redacted_thinking", "data": detail["data"]}


@either
@pytest.mark.parametrize("model", GEMINIS)
def test_behaviour_16_gemini_thought_signatures_go_round(gateway: Gateway, model: str, stream: bool) -> None:
    """Each signature returns on the part it came with; models from 3 on refuse the call otherwise."""
    asked = chat(model, "CALL_TOOLS 2", tools=[WEATHER], stream=stream, **GEMINIS[model])
    message = message_of(gateway.post(asked))
    signed = [one for one in message["reasoning_details"] if one["type"] == "reasoning.encrypted"]
    assert [one["id"] for one in signed] == [message["tool_calls"][0]["id"]]
    formats = {one["format"] for one in message["reasoning_details"] if "format" in one}
    assert formats == {"google-gemini-v1"}

    answer = gateway.post(follow_up(asked, message))
    assert answer.status == 200, answer.body
    turn = next(content for content in gateway.sent()["contents"] if content["role"] == "model")
    calls = [part for part in turn["parts"] if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in calls] == [signed[0]["data"], None]
    if "2.5" not in model:
        assert [part["functionCall"]["id"] for part in calls] == [
            call["id"] for call in message["tool_calls"]
        ]
    assert "thought-signature" not in answer.headers.get("x-penstock-adjusted", "")


@either
def test_behaviour_16_the_signature_of_gemini_text_goes_round(gateway: Gateway, stream: bool) -> None:
    """Without tools the signature belongs to the text, and returns on it."""
    asked = chat("gemini/gemini-3-flash-preview", "SAY_TOKENS 4", stream=stream)
    message = message_of(gateway.post(asked))
    [detail] = [one for one in message["reasoning_details"] if one.get("data")]
    asked["messages"] += [message, {"role": "user", "content": "go on"}]
    assert gateway.post(asked).status == 200
    turn = next(content for content in gateway.sent()["contents"] if content["role"] == "model")
    assert [part.get("thoughtSignature") for part in turn["parts"] if part.get("text")][-1] == detail["data"]


@either
def test_behaviour_16_deepseek_reasoning_content_goes_round(gateway: Gateway, stream: bool) -> None:
    """OpenAI's dialect: the provider's own field is neither renamed nor lost, in either direction."""
    asked = chat(
        "deepseek/deepseek-chat", "CALL_TOOL", tools=[WEATHER], stream=stream, reasoning_effort="low"
    )
    message = message_of(gateway.post(asked))
    assert message["reasoning_content"]
    assert gateway.post(follow_up(asked, message)).status == 200
    echoed = next(turn for turn in gateway.sent()["messages"] if turn["role"] == "assistant")
    assert echoed == message


@pytest.mark.parametrize(
    ("model", "word"),
    [("anthropic/claude-haiku-4-5", "thinking-dropped"), ("gemini/gemini-2.5-flash", "thinking-stripped")],
)
@pytest.mark.parametrize(
    "thoughts",
    [
        {"reasoning_content": "plain thoughts"},
        {"reasoning": "plain thoughts"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "plain", "format": "unknown", "index": 0}]},
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "t", "signature": "c2ln", "format": "openai-responses-v1"}
            ]
        },
    ],
    ids=["reasoning_content", "reasoning", "unsigned", "foreign"],
)
def test_behaviour_16_thoughts_without_a_right_signature_are_left_out_and_said(
    gateway: Gateway, model: str, word: str, thoughts: dict[str, Any]
) -> None:
    """Another provider's thoughts prove nothing here: the call goes through, and the reply says what was dropped."""
    history = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi", **thoughts},
        {"role": "user", "content": "go on"},
    ]
    answer = gateway.post({"model": model, "messages": history})
    assert answer.status == 200, answer.body
    assert word in answer.headers["x-penstock-adjusted"]
    assert word in gateway.ledger(answer.request_id).call.adjusted
    assert b"plain" not in gateway.sim.requests[-1].body
    assert b"c2ln" not in gateway.sim.requests[-1].body


def test_behaviour_16_a_tool_loop_may_change_its_provider(gateway: Gateway) -> None:
    """Gemini 3 demands a signature on a call that Anthropic made: Google's documented stand-in is sent, and said."""
    asked = chat("anthropic/claude-haiku-4-5", "CALL_TOOL", tools=[WEATHER], reasoning={"max_tokens": 1024})
    message = message_of(gateway.post(asked))
    answer = gateway.post(follow_up(asked, message) | {"model": "gemini/gemini-3-flash-preview"})
    assert answer.status == 200, answer.body
    assert "thinking-stripped" in answer.headers["x-penstock-adjusted"]
    back = gateway.post(follow_up(asked, message) | {"model": MODELS["openai"], "reasoning": None})
    assert back.status == 200, back.body


# 17. How a reply ends.

ENDS = {
    "openai": {
        "SAY_TOKENS 3": ("stop", "stop"),
        "SAY_TOKENS 90": ("length", "length"),
        "CALL_TOOL": ("tool_calls", "tool_calls"),
        "FILTER_ANSWER": ("content_filter", "content_filter"),
        "REFUSE_ANSWER": ("stop", "stop"),
        "SPEND_ON_THINKING": ("length", "length"),
        "EMPTY_ANSWER": ("stop", "stop"),
    },
    "anthropic": {
        "SAY_TOKENS 3": ("stop", "end_turn"),
        "SAY_TOKENS 90": ("length", "max_tokens"),
        "CALL_TOOL": ("tool_calls", "tool_use"),
        "FILTER_ANSWER": ("content_filter", "refusal"),
        "REFUSE_ANSWER": ("content_filter", "refusal"),
        "SPEND_ON_THINKING": ("length", "max_tokens"),
        "EMPTY_ANSWER": ("stop", "end_turn"),
    },
    "gemini": {
        "SAY_TOKENS 3": ("stop", "STOP"),
        "SAY_TOKENS 90": ("length", "MAX_TOKENS"),
        "CALL_TOOL": ("tool_calls", "STOP"),
        "FILTER_ANSWER": ("content_filter", "SAFETY"),
        "REFUSE_ANSWER": ("stop", "STOP"),
        "SPEND_ON_THINKING": ("length", "MAX_TOKENS"),
        "BLOCK_PROMPT": ("content_filter", "PROHIBITED_CONTENT"),
        "EMPTY_ANSWER": ("stop", "STOP"),
    },
}


@either
@pytest.mark.parametrize(
    ("provider", "order"), [(provider, order) for provider, orders in ENDS.items() for order in orders]
)
def test_behaviour_17_finish_reasons_are_mapped_and_kept(
    gateway: Gateway, provider: str, order: str, stream: bool
) -> None:
    """OpenAI's word for the caller, the provider's own beside it; a cap that was hit is never a stop."""
    more = {"max_tokens": 20} if order in ("SAY_TOKENS 90", "SPEND_ON_THINKING") else {}
    answer = gateway.post(chat(MODELS[provider], order, tools=[WEATHER], stream=stream, **more))
    reason, native = ENDS[provider][order]
    assert (answer.status, answer.finish()) == (200, reason)
    entry = gateway.entry(answer.request_id)
    assert (entry.finish_reason, entry.native_finish_reason, entry.klass) == (reason, native, "delivered")
    if provider != "openai":
        choices = answer.choices() if stream else answer.json()["choices"]
        assert [choice["native_finish_reason"] for choice in choices if choice.get("finish_reason")] == [
            native
        ]


ODD_ENDS = [
    ("said-anthropic/m", "pause_turn", "stop"),
    ("said-anthropic/m", "model_context_window_exceeded", "length"),
    ("said-anthropic/m", "stop_sequence", "stop"),
    ("said-anthropic/m", "something_new", "stop"),
    ("said-gemini/m", "RECITATION", "content_filter"),
    ("said-gemini/m", "SPII", "content_filter"),
    ("said-gemini/m", "BLOCKLIST", "content_filter"),
    ("said-gemini/m", "CONTINUATION", "length"),
    ("said-gemini/m", "LANGUAGE", "stop"),
    ("said-gemini/m", "SOMETHING_NEW", "stop"),
]


def spoken(model: str, native: str, text: str) -> list[Any]:
    """A stream of a dialect that ends with ``native``."""
    if "gemini" in model:
        parts = [{"text": text}] if text else []
        return [{"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": native}]}]
    start = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}}
    return [
        {"type": "message_start", "message": start},
        block,
        {"type": "message_delta", "delta": {"stop_reason": native}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(("model", "native", "reason"), ODD_ENDS)
def test_behaviour_17_rare_and_future_reasons_have_a_word(
    gateway: Gateway, scripted: Scripted, model: str, native: str, reason: str
) -> None:
    """The mapping is total: every provider's word gives one of OpenAI's."""
    scripted.sse(*spoken(model, native, "words"))
    answer = gateway.post(chat(model, stream=True))
    assert (answer.text(), answer.finish(), answer.done) == ("words", reason, True)
    assert gateway.entry(answer.request_id).native_finish_reason == native


@pytest.mark.parametrize("model", ["said-anthropic/m", "said-gemini/m"])
def test_behaviour_17_an_unknown_end_without_any_answer_is_a_failure(
    gateway: Gateway, scripted: Scripted, model: str
) -> None:
    """Nothing was said, and the reason is nobody's: no success, and another provider may answer."""
    scripted.sse(*spoken(model, "SOMETHING_NEW", ""))
    answer = gateway.post(chat(model, stream=True))
    assert (answer.status, answer.error["code"]) == (502, "model_output_error")
    assert gateway.entry(answer.request_id).error_code == "model_output_error"
    again = gateway.post(chat(model, "ECHO repaired", stream=True, fallbacks=["backup/gpt-4o-mini"]))
    assert (again.text(), again.headers["x-penstock-provider"]) == ("repaired", "backup")


def test_behaviour_17_an_error_after_words_ends_the_stream_as_an_error(
    gateway: Gateway, scripted: Scripted
) -> None:
    """Gemini spoke, then failed: the words are delivered, then an error event; the ledger has a failure."""
    said, failed = spoken("gemini", "", "words"), spoken("gemini", "MALFORMED_FUNCTION_CALL", " more")
    scripted.sse(*said, 0.05, *failed)
    answer = gateway.post(chat("said-gemini/m", stream=True))
    assert (answer.text(), answer.finish(), answer.done) == ("words more", None, False)
    assert answer.stream_error()["code"] == "model_output_error"
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.error_code) == ("billed_not_delivered", "model_output_error")


@either
def test_behaviour_17_a_malformed_call_of_gemini_is_a_failure(gateway: Gateway, stream: bool) -> None:
    """MALFORMED_FUNCTION_CALL gives no answer: an error that another provider may repair, not an empty stop."""
    asked = chat(MODELS["gemini"], "MALFORMED_CALL", tools=[WEATHER], stream=stream)
    answer = gateway.post(asked)
    assert (answer.status, answer.error["code"]) == (502, "model_failed")
    assert gateway.entry(answer.request_id).klass != "delivered"
    assert gateway.post(asked | {"fallbacks": ["backup/gpt-4o-mini"]}).status == 200


def test_behaviour_17_finish_reason_error_of_a_router_is_an_error(
    gateway: Gateway, scripted: Scripted
) -> None:
    """OpenRouter ends a failed stream with finish_reason "error": the caller gets an error event, not a stop."""
    head = {"id": "c", "model": "m", "object": "chat.completion.chunk", "created": 1}
    scripted.sse(
        {**head, "choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]},
        {
            **head,
            "choices": [{"index": 0, "delta": {}, "finish_reason": "error", "native_finish_reason": None}],
        },
        b"data: [DONE]\n\n",
    )
    answer = gateway.post(chat("said-openai/m", stream=True))
    assert answer.stream_error() is not None
    assert not answer.done
    assert gateway.ledger(answer.request_id).call.error_code is not None


# 18. tool_choice.

NAMED = {"type": "function", "function": {"name": "now"}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    """OpenAI's allowed_tools."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


CHOICES: list[tuple[str, Any, Any]] = [
    ("anthropic", "auto", {"type": "auto"}),
    ("anthropic", "required", {"type": "any"}),
    ("anthropic", "none", {"type": "none"}),
    ("anthropic", NAMED, {"type": "tool", "name": "now"}),
    ("anthropic", allowed("required", "now", "weather"), {"type": "any"}),
    ("anthropic", allowed("required", "now"), {"type": "tool", "name": "now"}),
    ("gemini", "auto", {"mode": "AUTO"}),
    ("gemini", "required", {"mode": "ANY"}),
    ("gemini", "none", {"mode": "NONE"}),
    ("gemini", NAMED, {"mode": "ANY", "allowedFunctionNames": ["now"]}),
    (
        "gemini",
        allowed("required", "now", "weather"),
        {"mode": "ANY", "allowedFunctionNames": ["now", "weather"]},
    ),
    ("openai", "auto", "auto"),
    ("openai", "required", "required"),
    ("openai", "none", "none"),
    ("openai", NAMED, NAMED),
    ("openai", allowed("required", "now", "weather"), allowed("required", "now", "weather")),
]


def choice_of(body: dict[str, Any]) -> Any:
    """``tool_choice`` as the provider received it."""
    if "contents" in body:
        return body.get("toolConfig", {}).get("functionCallingConfig")
    return body.get("tool_choice")


@pytest.mark.parametrize(
    ("provider", "choice", "sent"),
    CHOICES,
    ids=[f"{p}-{c if isinstance(c, str) else c['type']}-{i}" for i, (p, c, _) in enumerate(CHOICES)],
)
def test_behaviour_18_tool_choice_is_each_providers_own(
    gateway: Gateway, provider: str, choice: Any, sent: Any
) -> None:
    """auto, required, none, one by name, several: in the provider's words."""
    answer = gateway.post(chat(MODELS[provider], tools=[WEATHER, NOW], tool_choice=choice))
    assert answer.status == 200, answer.body
    assert choice_of(gateway.sent()) == sent
    if choice == NAMED:
        assert [name for name, _ in called(message_of(answer))] == ["now"]
    forced = choice == "required" or isinstance(choice, dict)
    assert ("tool_calls" in message_of(answer)) is forced


@each_dialect
def test_behaviour_18_no_tool_choice_asked_is_none_sent(gateway: Gateway, provider: str) -> None:
    """The provider's default stays the provider's."""
    assert gateway.post(chat(MODELS[provider], tools=[WEATHER])).status == 200
    assert choice_of(gateway.sent()) is None


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_behaviour_18_allowed_tools_in_mode_auto_do_not_force_a_call(gateway: Gateway, provider: str) -> None:
    """The model may still answer in words; if the list itself cannot be sent, the reply says so."""
    answer = gateway.post(chat(MODELS[provider], tools=[WEATHER, NOW], tool_choice=allowed("auto", "now")))
    assert answer.status == 200, answer.body
    assert "tool_calls" not in message_of(answer)
    assert choice_of(gateway.sent()) in ({"type": "auto"}, {"mode": "AUTO"})
    assert "tool_choice" in answer.headers["x-penstock-adjusted"]


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_behaviour_18_a_choice_of_an_unknown_tool_names_the_field(gateway: Gateway, provider: str) -> None:
    """400 before the provider is asked."""
    unknown = {"type": "function", "function": {"name": "nobody"}}
    answer = gateway.post(chat(MODELS[provider], tools=[WEATHER], tool_choice=unknown))
    assert (answer.status, answer.error["param"]) == (400, "tool_choice")
    assert gateway.sim.requests == []


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_behaviour_18_a_forced_choice_without_tools_is_dropped_and_said(
    gateway: Gateway, provider: str
) -> None:
    """Providers refuse it; the call itself can be served."""
    answer = gateway.post(chat(MODELS[provider], tool_choice="required"))
    assert answer.status == 200, answer.body
    assert "tool_choice-dropped" in answer.headers["x-penstock-adjusted"]


def test_behaviour_18_one_call_at_a_time(gateway: Gateway) -> None:
    """parallel_tool_calls false: a flag at Anthropic, nothing at Gemini (said), unchanged at OpenAI."""
    for provider, model in MODELS.items():
        answer = gateway.post(chat(model, "CALL_TOOLS 2", tools=[WEATHER], parallel_tool_calls=False))
        assert answer.status == 200, answer.body
        count = len(message_of(answer)["tool_calls"])
        if provider == "gemini":
            assert "parallel_tool_calls-dropped" in answer.headers["x-penstock-adjusted"]
        else:
            assert count == 1
    assert gateway.sim.requests


def test_behaviour_18_models_that_cannot_be_forced_are_told_in_words(gateway: Gateway) -> None:
    """From Claude 5.5 on no tool can be forced: only the named one is offered, and the reply says approximated."""
    answer = gateway.post(chat("anthropic/claude-opus-5-5", tools=[WEATHER, NOW], tool_choice=NAMED))
    assert answer.status == 200, answer.body
    sent = gateway.sent()
    assert sent["tool_choice"] == {"type": "auto"}
    assert [tool["name"] for tool in sent["tools"]] == ["now"]
    assert "now" in sent["system"]
    assert "tool_choice-approximated" in answer.headers["x-penstock-adjusted"]

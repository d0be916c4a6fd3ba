"""Behaviours 1-13: what is on the wire of a stream, and what a gateway must make of it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.behaviours.gateway import MODELS, THREE_DIALECTS, Answer, Gateway, Scripted, at, chat, frames_of

HOLD_BACK_MS = 1500
IDLE_MS = 400
EXTRA = """
  hasty-openai:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/hasty-openai/v1", idle_timeout_ms: 400, retry: {max_retries: 0}}
  hasty-anthropic:
    dialect: anthropic
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/hasty-anthropic", idle_timeout_ms: 400, retry: {max_retries: 0}}
  hasty-gemini:
    dialect: gemini
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/hasty-gemini", idle_timeout_ms: 400, retry: {max_retries: 0}}
  retried:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/retried/v1", retry: {max_retries: 1, backoff_initial_ms: 1}}
  said-openai:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", idle_timeout_ms: 400, retry: {max_retries: 0}}
  said-anthropic:
    dialect: anthropic
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{scripted}", idle_timeout_ms: 400, retry: {max_retries: 0}}
  said-gemini:
    dialect: gemini
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{scripted}", idle_timeout_ms: 400, retry: {max_retries: 0}}
server: {hold_back_ms: 1500}
"""
CONFIG = THREE_DIALECTS + EXTRA
QUICK = CONFIG.replace("hold_back_ms: 1500", "hold_back_ms: 100")
BACKUP = "backup/gpt-4o-mini"
WORDS = "ECHO naïve 水車 🙂 grinds — façade"
ECHOED = WORDS.removeprefix("ECHO ")
PROVIDERS = tuple(MODELS)
USAGE = {"stream_options": {"include_usage": True}}
SCENARIO = {"profiles": {"paced-*": {"tokens_per_s": 100, "output_tokens": 8}}}

each_dialect = pytest.mark.parametrize("provider", PROVIDERS)


def model_of(provider: str, prefix: str = "") -> str:
    """The dialect's model, at the provider ``prefix`` + dialect."""
    return prefix + MODELS[provider]


def streamed(gateway: Gateway, provider: str, text: str = WORDS, **more: Any) -> Answer:
    """One streamed call to a dialect."""
    return gateway.post(chat(MODELS[provider], text, stream=True, **more))


def assert_whole(answer: Answer, text: str = ECHOED) -> None:
    """The caller has all of a stream, and its end."""
    assert (answer.status, answer.ended, answer.text(), answer.finish()) == (200, "complete", text, "stop")
    assert answer.done
    assert answer.stream_error() is None


def assert_delivered(gateway: Gateway, answer: Answer, source: str = "stream") -> None:
    """The ledger knows the only attempt as a success, with the provider's own usage."""
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.error_code, entry.usage_source) == ("delivered", None, source)
    assert entry.completion_tokens > 0
    assert gateway.ledger(answer.request_id).call.error_code is None


def assert_broken(answer: Answer, code: str) -> None:
    """A stream that failed after its first content says so in OpenAI's way, and is not dressed up as whole."""
    assert (answer.status, answer.ended) == (200, "complete")
    error = answer.stream_error()
    assert error is not None
    assert error["code"] == code
    assert error["message"]
    assert b"[DONE]" not in answer.body
    assert answer.finish() is None


@pytest.fixture
def quick(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway with a short hold-back."""
    assert gateway.reload(QUICK) == []
    yield gateway
    assert gateway.reload(CONFIG) == []


@pytest.fixture
def fast_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for progress ten times a second."""
    monkeypatch.setattr("penstock.gateway.stream.TICK_S", 0.1)


# 1. A role or an empty delta is neither content nor the end.


@each_dialect
def test_behaviour_01_role_only_deltas_are_forwarded_and_are_not_the_end(
    gateway: Gateway, provider: str
) -> None:
    """Empty first deltas reach the caller (pass-through: each of them), and the answer after them too."""
    gateway.faults({"kind": "role_only", "times": 3})
    answer = streamed(gateway, provider)
    assert_whole(answer)
    roles = [choice for choice in answer.choices() if choice["delta"].get("role") == "assistant"]
    assert len(roles) == (4 if provider == "openai" else 1)
    assert_delivered(gateway, answer)


@each_dialect
def test_behaviour_01_a_role_is_not_the_first_token(gateway: Gateway, provider: str) -> None:
    """200 is held back until the first content, and the time to first token is that content's."""
    gateway.faults({"kind": "role_only", "times": 2}, {"kind": "stall", "after": 0, "ms": 150})
    answer = streamed(gateway, provider)
    assert_whole(answer)
    assert answer.head_s - answer.sent_s >= 0.145
    assert gateway.entry(answer.request_id).ttft_ms >= 145


@each_dialect
def test_behaviour_01_after_a_role_alone_another_provider_answers(gateway: Gateway, provider: str) -> None:
    """A role is no commitment: the stream that dies after it is replaced, and nothing of it is seen."""
    gateway.faults(at(provider, "role_only", times=2), at(provider, "close_mid_stream", after=0))
    answer = streamed(gateway, provider, fallbacks=[BACKUP])
    assert_whole(answer)
    assert answer.headers["x-penstock-provider"] == "backup"
    assert len({frame["id"] for frame in answer.frames() if isinstance(frame, dict)}) == 1
    assert len([choice for choice in answer.choices() if choice["delta"].get("role")]) == 1
    first, second = gateway.ledger(answer.request_id).entries
    assert (first.error_code, first.ttft_ms) == ("upstream_truncated", None)
    assert (second.klass, second.error_code) == ("delivered", None)


def test_behaviour_01_when_hold_back_is_over_the_role_goes_out_and_comments_keep_the_caller(
    quick: Gateway, fast_ticks: None
) -> None:
    """200 after hold_back_ms even without content; then the content, in order, behind comments."""
    quick.faults({"kind": "stall", "after": 0, "ms": 450})
    answer = streamed(quick, "openai")
    assert_whole(answer)
    content = next(piece for piece in answer.pieces if "naïve".encode() in piece.data)
    assert content.at_s - answer.head_s >= 0.15
    before = answer.body[: answer.body.index("naïve".encode())]
    assert before.count(b": penstock") >= 2
    assert b'"role":"assistant"' in before
    assert quick.entry(answer.request_id).ttft_ms >= 440


@each_dialect
def test_behaviour_01_a_failure_after_hold_back_is_an_error_event(quick: Gateway, provider: str) -> None:
    """Once 200 is out for comments alone, another provider cannot answer any more: the caller is told."""
    quick.faults({"kind": "stall", "after": 0, "ms": 300}, {"kind": "close_mid_stream", "after": 0})
    with quick.stream(chat(MODELS[provider], fallbacks=[BACKUP])) as stream:
        answer = stream.rest()
    assert_broken(answer, "upstream_truncated")
    assert not answer.text()


# 2. Bytes split anywhere.


@pytest.mark.parametrize("crlf", [False, True], ids=["lf", "crlf"])
@pytest.mark.parametrize("size", [1, 3, 64])
@each_dialect
def test_behaviour_02_any_split_of_the_bytes_reads_the_same(
    gateway: Gateway, provider: str, size: int, crlf: bool
) -> None:
    """Cuts inside ``data:``, inside a character and between CR and LF change nothing."""
    whole = streamed(gateway, provider, **USAGE)
    gateway.faults(
        {"kind": "split", "bytes": size, "ms": 0.0 if size == 1 else 0.05},
        *([{"kind": "crlf"}] if crlf else []),
    )
    answer = streamed(gateway, provider, **USAGE)
    assert (answer.status, answer.ended, answer.stream_error()) == (200, "complete", None)
    assert answer.text() == whole.text() == ECHOED
    assert answer.usage() == whole.usage()
    assert [strip(frame) for frame in answer.frames()] == [strip(frame) for frame in whole.frames()]
    assert_delivered(gateway, answer)


def strip(frame: Any) -> Any:
    """A frame without what differs from call to call."""
    return frame if isinstance(frame, str) else {k: v for k, v in frame.items() if k not in ("id", "created")}


@each_dialect
def test_behaviour_02_split_tool_arguments_are_put_together(gateway: Gateway, provider: str) -> None:
    """Fragments of tool calls survive one byte at a time."""
    gateway.faults({"kind": "split", "bytes": 1})
    tools = [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ]
    answer = streamed(gateway, provider, "CALL_TOOLS 2", tools=tools)
    assert answer.finish() == "tool_calls"
    assert answer.done


# 3. The last event without its blank line.


@each_dialect
def test_behaviour_03_a_last_event_without_blank_line_is_delivered_and_billed(
    gateway: Gateway, provider: str
) -> None:
    """EOF ends an event as a blank line does."""
    gateway.faults({"kind": "no_blank_line_at_end"})
    answer = streamed(gateway, provider, **USAGE)
    assert_whole(answer)
    assert answer.usage()["completion_tokens"] > 0
    assert_delivered(gateway, answer)


def test_behaviour_03_usage_in_an_unterminated_last_event_is_read_and_forwarded_whole(
    gateway: Gateway,
) -> None:
    """Usage is the last thing on the wire, without line end: the caller gets it as a whole event."""
    gateway.faults({"kind": "no_done"}, {"kind": "no_blank_line_at_end"})
    answer = streamed(gateway, "openai", **USAGE)
    assert (answer.text(), answer.finish()) == (ECHOED, "stop")
    assert answer.body.endswith(b"}\n\n")
    assert answer.usage()["completion_tokens"] == gateway.entry(answer.request_id).completion_tokens
    assert_delivered(gateway, answer)


# 4. Comments, names, long lines.


@each_dialect
def test_behaviour_04_heartbeats_between_events_change_nothing(gateway: Gateway, provider: str) -> None:
    """Comments are not content, not an error and not the end; pass-through hands them on."""
    gateway.faults({"kind": "heartbeats", "after": 2, "times": 5})
    answer = streamed(gateway, provider)
    assert_whole(answer)
    assert answer.body.count(b": ping\n\n") == (5 if provider == "openai" else 0)
    assert_delivered(gateway, answer)


@pytest.mark.parametrize("size", [70_000, 1_000_000])
@each_dialect
def test_behaviour_04_very_long_events_pass(gateway: Gateway, provider: str, size: int) -> None:
    """One data line far beyond 64 KB, as an image in base64 is."""
    gateway.faults({"kind": "huge_event", "bytes": size})
    answer = streamed(gateway, provider)
    assert_whole(answer, "x" * size + ECHOED)
    assert_delivered(gateway, answer)


CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
ODD_OPENAI = (
    b": hello\n\n"
    b"event: ping\n\n"
    b"retry: 3000\n\n"
    b'id: 7\ndata: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",\n'
    b'data: "choices":[{"index":0,"delta":{"role":"assistant","content":"two"},"finish_reason":null}]}\n\n'
    b": between\n"
    b'data:{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    b'[{"index":0,"delta":{"content":" lines"},"finish_reason":"stop"}]}\n\n'
    b"event: done\ndata: [DONE]\n\n"
)
ODD_ANTHROPIC = (
    b": hello\n\nevent: ping\n\n"
    b'event: message_start\ndata: {"type":"message_start","message":\n'
    b'data: {"id":"m1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata:{"type":"content_block_delta","index":0,\ndata:"delta":{"type":"text_delta","text":"two lines"}}\n\n'
    b": between\n"
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
ODD_GEMINI = (
    b": hello\r\n\r\nevent: ping\r\n\r\n"
    b'data: {"candidates":[{"content":{"role":"model","parts":[\r\ndata: {"text":"two"}]}}],"modelVersion":"m"}\r\n\r\n'
    b": between\r\n"
    b'data:{"candidates":[{"content":{"role":"model","parts":[{"text":" lines"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}}\r\n\r\n'
)
ODD = {"openai": ODD_OPENAI, "anthropic": ODD_ANTHROPIC, "gemini": ODD_GEMINI}


@each_dialect
def test_behaviour_04_names_ids_and_several_data_lines_are_understood(
    gateway: Gateway, scripted: Scripted, provider: str
) -> None:
    """All that the standard allows: event-only frames, ids, retry, several data lines, no space after the colon."""
    scripted.sse(ODD[provider])
    answer = gateway.post(chat(model_of(provider, "said-"), stream=True))
    assert_whole(answer, "two lines")
    assert gateway.entry(answer.request_id).klass == "delivered"
    if provider == "openai":
        assert answer.body == ODD_OPENAI


@each_dialect
def test_behaviour_04_heartbeats_keep_a_slow_start_alive(gateway: Gateway, provider: str) -> None:
    """Comments reset the idle deadline: content may come after twice that time."""
    gateway.faults({"kind": "heartbeats", "after": 0, "times": 18, "ms": 45})
    answer = gateway.post(chat(model_of(provider, "hasty-"), WORDS, stream=True, fallbacks=[BACKUP]))
    assert_whole(answer)
    assert answer.headers["x-penstock-provider"] == f"hasty-{provider}"
    assert answer.head_s - answer.sent_s >= 2 * IDLE_MS / 1000


@each_dialect
def test_behaviour_04_heartbeats_alone_are_no_progress(
    quick: Gateway, provider: str, fast_ticks: None
) -> None:
    """A stream that only beats is stuck: after the idle time it is ended honestly, and the provider is let go."""
    quick.faults({"kind": "heartbeats", "after": 3, "forever": True, "ms": 20})
    answer = quick.post(chat(model_of(provider, "hasty-"), stream=True))
    assert_broken(answer, "upstream_timeout_idle")
    assert answer.text()
    entry = quick.entry(answer.request_id)
    assert (entry.klass, entry.error_code) == ("billed_not_delivered", "upstream_timeout_idle")
    quick.sim.wait_for(lambda request: request.disconnected_unix_s is not None)


@each_dialect
def test_behaviour_04_heartbeats_without_content_fall_back(gateway: Gateway, provider: str) -> None:
    """A provider that beats for ever and says nothing is replaced before 200 is sent."""
    gateway.faults(at(f"hasty-{provider}", "heartbeats", after=0, forever=True, ms=20))
    answer = gateway.post(chat(model_of(provider, "hasty-"), WORDS, stream=True, fallbacks=[BACKUP]))
    assert_whole(answer)
    assert answer.headers["x-penstock-provider"] == "backup"
    assert gateway.ledger(answer.request_id).entries[0].error_code == "upstream_timeout_idle"


FINISHED: dict[str, list[bytes | dict[str, Any]]] = {
    "openai": [
        {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "all"}, "finish_reason": None}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**CHUNK, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
    ],
    "gemini": [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "all"}]}, "finishReason": "STOP"}],
         "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("quiet", [True, False], ids=["silent", "beating"])
@pytest.mark.parametrize("provider", FINISHED)
def test_behaviour_04_a_lost_end_marker_does_not_hang_a_finished_stream(
    quick: Gateway, scripted: Scripted, provider: str, quiet: bool, fast_ticks: None
) -> None:
    """Finished, but the connection stays open, with or without heartbeats: that is the end, and a success."""
    scripted.sse(*FINISHED[provider], *([] if quiet else [b": ping\n\n"]), end=False)
    if not quiet:
        scripted.says += [0.03, b": ping\n\n"] * 200
    answer = quick.post(chat(model_of(provider, "said-"), stream=True))
    assert (answer.ended, answer.text(), answer.finish()) == ("complete", "all", "stop")
    assert answer.stream_error() is None
    assert_delivered(quick, answer)


# 5. Cut streams.

CUTS = {
    "cut": {"kind": "close_mid_stream", "after": 4},
    "cut-cleanly": {"kind": "close_mid_stream", "after": 4, "clean": True},
    "before-the-end": {"kind": "close_before_terminal"},
    "reset": {"kind": "reset", "after": 4},
}


@pytest.mark.parametrize("cut", CUTS)
@each_dialect
def test_behaviour_05_a_stream_without_terminal_marker_is_an_error(
    gateway: Gateway, provider: str, cut: str
) -> None:
    """What came is delivered, then the truth; the ledger has a failure, and the money that it cost."""
    gateway.faults(CUTS[cut])
    answer = streamed(gateway, provider)
    error = answer.stream_error()
    assert error is not None
    assert_broken(answer, error["code"])
    assert error["code"] in ("upstream_truncated", "upstream_unreachable")
    assert ECHOED.startswith(answer.text()[:5])
    record = gateway.ledger(answer.request_id)
    assert record.call.error_code == error["code"]
    assert record.call.status == 502
    [entry] = record.entries
    assert (entry.klass, entry.error_code, entry.finish_reason) == (
        "billed_not_delivered",
        error["code"],
        None,
    )
    assert entry.cost_nusd
    assert entry.cost_nusd > 0


@pytest.mark.parametrize("cut", [{"after": 0}, {"after": 0, "clean": True}], ids=["cut", "cleanly"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@each_dialect
def test_behaviour_05_cut_before_content_is_a_502_that_may_be_retried(
    gateway: Gateway, provider: str, stream: bool, cut: dict[str, Any]
) -> None:
    """Nothing was sent: a status, a JSON error, and the caller may try again."""
    gateway.faults({"kind": "close_mid_stream", **cut})
    answer = gateway.post(chat(MODELS[provider], stream=stream))
    assert (answer.status, answer.error["code"]) == (502, "upstream_truncated")
    assert answer.headers["content-type"] == "application/json"
    record = gateway.ledger(answer.request_id)
    assert (record.call.status, record.call.error_code) == (502, "upstream_truncated")
    assert record.entries[0].klass != "delivered"


@each_dialect
def test_behaviour_05_cut_before_content_is_retried_at_another_provider(
    gateway: Gateway, provider: str
) -> None:
    """The same failure with a fallback: the caller never knows."""
    gateway.faults(at(provider, "close_before_terminal"), at(provider, "close_mid_stream", after=0))
    for stream in (True, False):
        answer = gateway.post(chat(MODELS[provider], WORDS, stream=stream, fallbacks=[BACKUP]))
        assert (answer.status, answer.text()) == (200, ECHOED)
        assert answer.headers["x-penstock-attempts"] == "2"


def test_behaviour_05_a_cut_reply_is_tried_again_at_the_same_provider(gateway: Gateway) -> None:
    """Truncation before content is worth a retry."""
    gateway.faults({"kind": "close_mid_stream", "after": 0, "count": 1})
    answer = gateway.post(chat("retried/gpt-4o-mini", WORDS, stream=True))
    assert_whole(answer)
    assert [entry.error_code for entry in gateway.ledger(answer.request_id).entries] == [
        "upstream_truncated",
        None,
    ]


@each_dialect
def test_behaviour_05_the_official_client_raises_on_a_cut_stream(gateway: Gateway, provider: str) -> None:
    """The openai client is silent about a stream that just stops: our error event makes it raise."""
    gateway.faults({"kind": "close_mid_stream", "after": 4})
    seen: list[str] = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(
            model=MODELS[provider], messages=[{"role": "user", "content": WORDS}], stream=True
        )
        with pytest.raises(openai.APIError) as raised, stream:
            seen.extend(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert "".join(seen)
    assert raised.value.code in ("upstream_truncated", "upstream_unreachable")


# 6. No end marker, but a finish reason.


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "cut"])
@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_behaviour_06_finished_without_end_marker_is_a_success(
    gateway: Gateway, provider: str, clean: bool
) -> None:
    """Some servers never send ``[DONE]``, and close as they like: finish_reason is enough."""
    gateway.faults({"kind": "no_done", "clean": clean})
    answer = streamed(gateway, provider)
    assert (answer.ended, answer.text(), answer.finish(), answer.stream_error()) == (
        "complete",
        ECHOED,
        "stop",
        None,
    )
    assert_delivered(gateway, answer)


def test_behaviour_06_the_official_client_reads_such_a_stream_to_its_end(gateway: Gateway) -> None:
    """No exception, all of the text, the reason."""
    gateway.faults({"kind": "no_done"})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model=MODELS["openai"], messages=[{"role": "user", "content": WORDS}], stream=True
            )
        )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ECHOED
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_behaviour_06_one_unfinished_choice_is_a_cut(gateway: Gateway, scripted: Scripted) -> None:
    """With two choices, one finish reason does not end both."""
    begun = [
        {**CHUNK, "choices": [{"index": i, "delta": {"content": "a"}, "finish_reason": None}]} for i in (0, 1)
    ]
    scripted.sse(*begun, {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    answer = gateway.post(chat("said-openai/gpt-4o-mini", stream=True, n=2))
    assert answer.stream_error() is not None
    assert gateway.entry(answer.request_id).error_code == "upstream_truncated"


def test_behaviour_06_anthropic_without_message_stop_is_a_cut(gateway: Gateway) -> None:
    """Anthropic always sends its terminal event: without it the stream was cut."""
    gateway.faults({"kind": "no_done"})
    answer = streamed(gateway, "anthropic")
    assert answer.stream_error()["code"] == "upstream_truncated"
    assert b"[DONE]" not in answer.body


# 7. The terminal chunk.


@pytest.mark.parametrize("mode", ["split", "joined"])
@each_dialect
def test_behaviour_07_finish_reason_and_usage_are_kept_wherever_they_stand(
    gateway: Gateway, provider: str, mode: str
) -> None:
    """In one chunk or in two."""
    plain = streamed(gateway, provider, **USAGE)
    gateway.faults({"kind": "terminal_split", "mode": mode})
    answer = streamed(gateway, provider, **USAGE)
    assert_whole(answer)
    assert answer.usage() == plain.usage()
    entry, before = gateway.entry(answer.request_id), gateway.entry(plain.request_id)
    assert (entry.prompt_tokens, entry.completion_tokens) == (before.prompt_tokens, before.completion_tokens)
    assert entry.finish_reason == "stop"
    assert_delivered(gateway, answer)


def test_behaviour_07_usage_beside_the_finish_reason_is_billed_although_not_asked_for(
    gateway: Gateway,
) -> None:
    """A chunk with a choice is never taken out."""
    gateway.faults({"kind": "terminal_split", "mode": "joined"})
    answer = streamed(gateway, "openai")
    assert_whole(answer)
    assert_delivered(gateway, answer)


# 8. The usage-only chunk.


@each_dialect
def test_behaviour_08_usage_is_shown_only_to_who_asked(gateway: Gateway, provider: str) -> None:
    """The ledger has the provider's usage either way."""
    for more in ({}, {"stream_options": {"include_usage": False}}, {"stream_options": None}):
        answer = streamed(gateway, provider, **more)
        assert_whole(answer)
        assert answer.usage() is None
        assert all(frame == "[DONE]" or frame["choices"] for frame in answer.frames())
        assert_delivered(gateway, answer)
    answer = streamed(gateway, provider, **USAGE)
    assert_whole(answer)
    last = answer.frames()[-2]
    assert last["choices"] == []
    entry = gateway.entry(answer.request_id)
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (
        entry.prompt_tokens,
        entry.completion_tokens,
    )
    assert len([frame for frame in answer.frames() if frame != "[DONE]" and frame.get("usage")]) == 1


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        (
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
        ),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
    ],
)
def test_behaviour_08_the_gateway_asks_for_usage_itself(gateway: Gateway, options: Any, sent: Any) -> None:
    """``stream_options.include_usage`` is added upstream; what else stands there stays."""
    assert_whole(streamed(gateway, "openai", **options))
    assert gateway.sent()["stream_options"] == sent


def test_behaviour_08_without_stream_nothing_is_added(gateway: Gateway) -> None:
    """``stream_options`` is refused by OpenAI where ``stream`` is not set."""
    assert gateway.post(chat(MODELS["openai"])).status == 200
    assert "stream_options" not in gateway.sent()


# 9. An error inside a 200.

FIRST_ERRORS = [(529, 502), (500, 502), (429, 429)]


@pytest.mark.parametrize("kind", ["error_first_frame", "error_in_200"])
@pytest.mark.parametrize(("upstream", "status"), FIRST_ERRORS)
@each_dialect
def test_behaviour_09_an_error_in_a_200_is_a_failure_with_a_status(
    gateway: Gateway, provider: str, kind: str, upstream: int, status: int
) -> None:
    """The caller gets a status and a JSON error, not a 200; the attempt cost nothing."""
    gateway.faults({"kind": kind, "status": upstream})
    answer = streamed(gateway, provider)
    assert answer.status in (status, 503)
    assert answer.error["message"]
    assert b"data:" not in answer.body
    record = gateway.ledger(answer.request_id)
    assert (record.entries[0].klass, record.entries[0].cost_nusd) == ("failed", 0)
    assert record.call.status == answer.status


@pytest.mark.parametrize("kind", ["error_first_frame", "error_in_200"])
@pytest.mark.parametrize("upstream", [529, 429, 500])
@each_dialect
def test_behaviour_09_an_error_in_a_200_falls_back(
    gateway: Gateway, provider: str, kind: str, upstream: int
) -> None:
    """Nothing was sent yet: another provider answers."""
    gateway.faults(at(provider, kind, status=upstream))
    answer = streamed(gateway, provider, fallbacks=[BACKUP])
    assert_whole(answer)
    assert answer.headers["x-penstock-provider"] == "backup"
    assert gateway.ledger(answer.request_id).entries[0].klass == "failed"


@each_dialect
def test_behaviour_09_an_error_in_a_whole_200_falls_back(gateway: Gateway, provider: str) -> None:
    """The same for a reply that is not streamed; without a fallback it is an error."""
    gateway.faults(at(provider, "error_in_200", status=500))
    answer = gateway.post(chat(MODELS[provider], WORDS, fallbacks=[BACKUP]))
    assert (answer.status, answer.text()) == (200, ECHOED)
    assert gateway.post(chat(MODELS[provider], WORDS)).status == 502


def test_behaviour_09_an_error_in_a_200_is_retried(gateway: Gateway) -> None:
    """At the same provider, where retries are configured."""
    gateway.faults({"kind": "error_first_frame", "count": 1})
    answer = gateway.post(chat("retried/gpt-4o-mini", WORDS, stream=True))
    assert_whole(answer)
    assert answer.headers["x-penstock-attempts"] == "2"


# 10. After content there is no other provider.

MID_FAULTS = {
    "error": ({"kind": "error_mid_stream", "after": 3}, None),
    "cut": ({"kind": "close_mid_stream", "after": 3}, "upstream_truncated"),
    "malformed": ({"kind": "malformed", "after": 3}, "upstream_malformed"),
}


@pytest.mark.parametrize("fault", MID_FAULTS)
@each_dialect
def test_behaviour_10_after_the_first_content_there_is_no_fallback(
    gateway: Gateway, provider: str, fault: str
) -> None:
    """One provider's words are never continued by another's: an error event ends the stream."""
    told, code = MID_FAULTS[fault]
    gateway.faults(told | {"when": {"providers": [provider]}})
    answer = gateway.post(chat(f"{provider}/paced-model", "SAY_TOKENS 8", stream=True, fallbacks=[BACKUP]))
    error = answer.stream_error()
    assert error is not None
    assert_broken(answer, code or error["code"])
    assert set(error) >= {"message", "type", "code", "param"}
    assert len(answer.text().split()) == 3
    assert [request.provider for request in gateway.sim.requests] == [provider]
    record = gateway.ledger(answer.request_id)
    [entry] = record.entries
    assert (entry.klass, entry.error_code) == ("billed_not_delivered", error["code"])
    assert record.call.error_code == error["code"]
    assert record.call.status >= 400


@each_dialect
def test_behaviour_10_a_caller_of_openrouter_gets_its_error_event(gateway: Gateway, provider: str) -> None:
    """Below /api/v1 the last chunk carries the error and finish_reason "error", as OpenRouter's own do."""
    gateway.faults({"kind": "close_mid_stream", "after": 3})
    asked = chat(f"{provider}/paced-model", "SAY_TOKENS 8", stream=True)
    answer = gateway.post(asked, path="/api/v1/chat/completions")
    assert (answer.status, answer.ended, answer.done) == (200, "complete", False)
    last = answer.frames()[-1]
    assert last["error"]["code"] == 502
    assert last["error"]["message"]
    assert [choice["finish_reason"] for choice in last["choices"]] == ["error"]
    assert len(answer.text().split()) == 3
    assert gateway.entry(answer.request_id).error_code == "upstream_truncated"


# 11. No buffering.


@each_dialect
def test_behaviour_11_content_is_readable_while_the_provider_still_writes(
    gateway: Gateway, provider: str
) -> None:
    """The provider hangs after three tokens: all three are here, with the head of a stream."""
    gateway.faults({"kind": "stall", "after": 3})
    with gateway.stream(chat(MODELS[provider], "SAY_TOKENS 8"), {"accept-encoding": "gzip, br"}) as stream:
        while len(Answer(200, stream.headers, stream.answer.pieces).text().split()) < 3:
            next(iter(stream))
        headers = stream.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-accel-buffering"] == "no"
    assert "no-cache" in headers["cache-control"]
    assert "content-encoding" not in headers
    assert "content-length" not in headers


@each_dialect
def test_behaviour_11_each_event_leaves_on_its_own(gateway: Gateway, provider: str) -> None:
    """Events that come one by one go out one by one (two may share a piece where this machine is busy)."""
    answer = gateway.post(chat(f"{provider}/paced-model", "SAY_TOKENS 8", stream=True))
    assert answer.status == 200, answer.body
    assert all(piece.data.endswith(b"\n\n") for piece in answer.pieces)
    with_text = [piece for piece in answer.pieces if any(has_text(frame) for frame in frames_of(piece.data))]
    assert len(with_text) >= 5
    assert with_text[-1].at_s - with_text[0].at_s >= 0.06


def has_text(frame: Any) -> bool:
    """The event carries words."""
    return isinstance(frame, dict) and any(choice["delta"].get("content") for choice in frame["choices"])


@each_dialect
def test_behaviour_11_the_first_content_is_prompt(gateway: Gateway, provider: str) -> None:
    """Between the provider's first byte and the caller's there are milliseconds (asserted: a tenth of a second)."""
    assert streamed(gateway, provider).status == 200
    waits = []
    for _ in range(3):
        answer = streamed(gateway, provider)
        upstream = gateway.sim.requests[-1]
        received = upstream.first_byte_unix_s - upstream.started_unix_s
        waits.append(answer.head_s - answer.sent_s - received)
    assert min(waits) < 0.1


# 12. Content encodings.

ENCODINGS: dict[str, dict[str, Any]] = {
    "gzip": {"kind": "gzip"},
    "deflate": {"kind": "deflate"},
    "deflate-raw": {"kind": "deflate", "mode": "raw"},
    "br": {"kind": "br"},
    "plain-called-gzip": {"kind": "wrong_encoding_header"},
    "plain-called-br": {"kind": "wrong_encoding_header", "name": "br"},
    "gzip-called-br": {"kind": "gzip", "name": "br"},
    "gzip-called-nothing": {"kind": "gzip", "name": "none"},
    "deflate-called-gzip": {"kind": "deflate", "name": "gzip"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@each_dialect
def test_behaviour_12_compressed_replies_are_undone_and_the_header_is_gone(
    gateway: Gateway, provider: str, stream: bool, encoding: str
) -> None:
    """Also where the header is wrong or missing."""
    gateway.faults(ENCODINGS[encoding])
    answer = gateway.post(chat(MODELS[provider], WORDS, stream=stream))
    assert (answer.status, answer.text(), answer.finish()) == (200, ECHOED, "stop")
    assert "content-encoding" not in answer.headers
    assert answer.done is stream
    assert_delivered(gateway, answer, "stream" if stream else "provider")
    assert gateway.sim.requests[-1].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
@each_dialect
def test_behaviour_12_compressed_errors_are_read_too(gateway: Gateway, provider: str, encoding: str) -> None:
    """The provider's sentence is in the error, not its bytes."""
    gateway.faults({"kind": encoding}, {"kind": "status", "status": 400, "message": "No such knob."})
    answer = gateway.post(chat(MODELS[provider]))
    assert answer.status == 400
    assert "No such knob." in answer.error["message"]


@each_dialect
def test_behaviour_12_a_compressed_stream_that_stops_short_is_a_cut(gateway: Gateway, provider: str) -> None:
    """Compression does not hide a truncation."""
    gateway.faults({"kind": "gzip"}, {"kind": "close_mid_stream", "after": 3, "clean": True})
    assert_broken(streamed(gateway, provider), "upstream_truncated")


# 13. Pages where JSON was promised.

PAGES: dict[str, dict[str, Any]] = {
    "html-502": {"kind": "html"},
    "html-503": {"kind": "html", "status": 503},
    "html-500": {"kind": "html", "status": 500},
    "html-200": {"kind": "html", "status": 200},
    "text-502": {"kind": "plain_text"},
    "text-503": {"kind": "plain_text", "status": 503},
    "text-200": {"kind": "plain_text", "status": 200},
    "empty-502": {"kind": "plain_text", "body": ""},
    "empty-200": {"kind": "plain_text", "status": 200, "body": ""},
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@each_dialect
def test_behaviour_13_a_page_from_a_proxy_becomes_a_json_error(
    gateway: Gateway, provider: str, stream: bool, page: str
) -> None:
    """No crash, no markup, an error object in the caller's dialect, and a failed attempt that cost nothing."""
    gateway.faults(PAGES[page])
    answer = gateway.post(chat(MODELS[provider], stream=stream))
    assert answer.status in (502, 503)
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.error) >= {"message", "type", "code", "param"}
    assert "<" not in answer.error["message"]
    entry = gateway.entry(answer.request_id)
    assert entry.error_code == answer.error["code"]
    assert entry.klass != "delivered"
    assert gateway.ledger(answer.request_id).call.status == answer.status


@pytest.mark.parametrize("page", ["html-502", "html-200", "text-200"])
@each_dialect
def test_behaviour_13_a_page_falls_back(gateway: Gateway, provider: str, page: str) -> None:
    """A CDN's page is the provider's failure: another one answers."""
    gateway.faults(PAGES[page] | {"when": {"providers": [provider]}})
    for stream in (True, False):
        answer = gateway.post(chat(MODELS[provider], WORDS, stream=stream, fallbacks=[BACKUP]))
        assert (answer.status, answer.text()) == (200, ECHOED)


def test_behaviour_13_the_official_client_gets_a_typed_error(gateway: Gateway) -> None:
    """InternalServerError with a readable sentence, not a decoding failure."""
    gateway.faults({"kind": "html"})
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as raised,
    ):
        client.chat.completions.create(model=MODELS["openai"], messages=[{"role": "user", "content": "hi"}])
    assert raised.value.code == "upstream_fault"

"""Bedrock's replies: the event stream in any split and any truncation, the whole message, usage, errors."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import (
    Event,
    Finished,
    MediaMade,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
    fold,
)
from penstock.base.usage import Usage
from penstock.config.catalogue import Catalogue
from penstock.dialects.bedrock import BEDROCK
from penstock.ledger.prices import price_lines
from penstock.simulate.bedrock import shown_usage
from penstock.wire.ports import ReplyReader
from tests.dialects.bedrock_kit import HAIKU, delta, event, exception, stream, target
from tests.dialects.harness import check_any_split, play, squash

CLAUDE = "anthropic-claude-v1"
TOOLS = stream(
    delta(0, reasoningContent={"text": "Let me "}),
    delta(0, reasoningContent={"text": "see."}),
    delta(0, reasoningContent={"signature": "sig=="}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    delta(1, text="Zürich "),
    delta(1, text="🙂"),
    event("contentBlockStop", {"contentBlockIndex": 1}),
    event(
        "contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}
    ),
    delta(2, toolUse={"input": ""}),
    delta(2, toolUse={"input": '{"n":123'}),
    delta(2, toolUse={"input": "45}"}),
    event("contentBlockStop", {"contentBlockIndex": 2}),
    event(
        "contentBlockStart", {"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "t2", "name": "g"}}}
    ),
    event("contentBlockStop", {"contentBlockIndex": 3}),
    why="tool_use",
    usage={
        "inputTokens": 10,
        "outputTokens": 20,
        "totalTokens": 1030,
        "cacheReadInputTokens": 400,
        "cacheWriteInputTokens": 600,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 500}],
    },
)
EVENTS: list[Event] = [
    Started(),
    ThinkingDelta("Let me see.", "sig==", CLAUDE),
    TextDelta("Zürich 🙂"),
    ToolStarted(0, "t1", "f"),
    ToolArgs(0, '{"n":12345}'),
    ToolStarted(1, "t2", "g"),
    Stopped("tool_calls", "tool_use"),
    UsageSeen(
        Usage(input=10, cache_read=400, cache_write_5m=500, cache_write_1h=100, output=20, source="stream")
    ),
    Finished(),
]


def reader(model: str = HAIKU, *, streamed: bool = True) -> ReplyReader:
    return BEDROCK.reader(target(model), stream=streamed)


def failing(chunks: list[bytes], *, streamed: bool = True) -> tuple[list[Event], UpstreamError]:
    player, seen = reader(streamed=streamed), []
    try:
        for chunk in chunks:
            seen += player.feed(chunk)
        seen += player.close()
    except UpstreamError as error:
        return seen, error
    raise AssertionError("the failure was not noticed")


def test_behaviour_02_a_stream_gives_the_same_events_in_any_split() -> None:
    """Whole, byte by byte, and in random cuts."""
    check_any_split(reader, TOOLS, EVENTS)


def test_behaviour_05_a_cut_stream_is_never_taken_for_a_whole_one() -> None:
    """At every byte; what was given before is a beginning of what would have come."""
    want = squash(EVENTS)
    for cut in range(len(TOOLS)):
        seen, error = failing([TOOLS[:cut]])
        assert isinstance(error, UpstreamTruncated | UpstreamMalformed)
        assert Finished() not in seen
        text = fold(seen).text
        assert fold(want).text.startswith(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(TOOLS) - 1), st.integers(1, 255), st.lists(st.integers(0, len(TOOLS)), max_size=5))
def test_a_corrupted_stream_is_an_error_with_blame(place: int, flip: int, cuts: list[int]) -> None:
    """Any byte, any split: never a hang, never an invented end."""
    broken = TOOLS[:place] + bytes((TOOLS[place] ^ flip,)) + TOOLS[place + 1 :]
    edges = [0, *sorted(cuts), len(broken)]
    seen, error = failing([broken[a:b] for a, b in itertools.pairwise(edges)])
    assert error.blame == "upstream"
    assert Finished() not in seen


FRAMES = (
    event("messageStart", {"role": "assistant"}),
    event(
        "contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}
    ),
    delta(0, toolUse={"input": "{}"}),
    delta(1, text="x"),
    delta(1, reasoningContent={"redactedContent": "AAAA"}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {}}),
    event("somethingNew", {"a": 1}),
    exception("throttlingException", "slow down"),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAMES), max_size=8))
def test_any_order_of_frames_is_lawful_or_an_error(frames: list[bytes]) -> None:
    """``play`` holds every event to the law; an end is there only where both ends have come."""
    try:
        seen = play(reader(), [b"".join(frames)])
    except UpstreamError:
        return
    assert {FRAMES[6], FRAMES[7]} <= set(frames)
    assert seen[-1] == Finished()


def test_a_whole_reply_says_what_its_stream_says() -> None:
    """Thinking, words, tools with big numbers as they were written, usage."""
    body = b"""{"metrics":{"latencyMs":1},"output":{"message":{"role":"assistant","content":[
      {"reasoningContent":{"reasoningText":{"text":"Let me see.","signature":"sig=="}}},{"text":"Z\xc3\xbcrich "},
      {"citationsContent":{"content":[{"text":"\xf0\x9f\x99\x82"}],"citations":[]}},
      {"toolUse":{"toolUseId":"s","name":"web","input":{"q":1},"type":"server_tool_use"}},
      {"toolUse":{"toolUseId":"t1","name":"f","input":{"n":12345}}},{"toolUse":{"toolUseId":"t2","name":"g","input":{}}}]}},
      "stopReason":"tool_use","usage":{"inputTokens":10,"outputTokens":20,"totalTokens":1030,"cacheReadInputTokens":400,
      "cacheWriteInputTokens":600,"cacheDetails":[{"ttl":"1h","inputTokens":100}]},"serviceTier":{"type":"flex"}}"""
    check = play(reader(streamed=False), [body[:40], body[40:]])
    folded, streamed = fold(check), fold(play(reader(), [TOOLS]))
    assert (folded.text, folded.thinking, folded.tools) == (streamed.text, streamed.thinking, streamed.tools)
    assert folded.stopped == streamed.stopped
    assert folded.usage is not None
    assert (folded.usage.service_tier, folded.usage.total_tokens) == ("flex", 1030)
    for cut in range(len(body)):
        with pytest.raises(UpstreamError):
            play(reader(streamed=False), [body[:cut]])


def test_pictures_and_redacted_thoughts() -> None:
    """A picture in a stream keeps its type; what is redacted goes back to Bedrock alone."""
    body = stream(
        delta(0, reasoningContent={"redactedContent": "c2VjcmV0"}),
        event("contentBlockStart", {"contentBlockIndex": 1, "start": {"image": {"format": "webp"}}}),
        delta(1, image={"source": {"bytes": "UklGRg=="}}),
    )
    seen = play(reader("amazon.nova-canvas"), [body])
    assert ThinkingDelta(format="amazon-bedrock-v1", redacted="c2VjcmV0") in seen
    assert MediaMade("image", "image/webp", "UklGRg==") in seen


@pytest.mark.parametrize(
    ("native", "why"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("something_new", "stop"),
    ],
)
def test_behaviour_17_every_reason_to_stop(native: str, why: str) -> None:
    """The native word is kept."""
    stopped = fold(play(reader(), [stream(delta(0, text="x"), why=native)])).stopped
    assert stopped == Stopped(why, native)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("throttlingException", "UpstreamRateLimited", 429),
        ("modelStreamErrorException", "UpstreamFault", 502),
        ("internalServerException", "UpstreamFault", 502),
        ("serviceUnavailableException", "UpstreamFault", 503),
        ("validationException", "UpstreamBadRequest", 400),
    ],
)
def test_behaviour_09_an_exception_in_a_stream_is_raised_and_loses_no_event(
    name: str, kind: str, status: int
) -> None:
    """After the words that came before it, whole or byte by byte."""
    body = event("messageStart", {"role": "assistant"}) + delta(0, text="so far") + exception(name, "why not")
    for chunks in ([body, b""], [body[i : i + 1] for i in range(len(body))]):
        seen, error = failing(chunks)
        assert squash(seen) == [Started(), TextDelta("so far")]
        assert (type(error).__name__, error.status) == (kind, status)
        assert "why not" in error.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"message":"Too many requests"}', UpstreamFault),
        (b'{"__type":"com.amazon#ThrottlingException","message":"x"}', UpstreamError),
        (b"<html>no</html>", UpstreamMalformed),
        (b'{"other":1}', UpstreamMalformed),
        (b"", UpstreamTruncated),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_behaviour_10_what_is_no_reply_is_an_error(body: bytes, kind: type, streamed: bool) -> None:
    """JSON errors, pages and nothing at all, inside a 200."""
    _, error = failing([body], streamed=streamed)
    assert isinstance(error, kind)


COUNTS = st.integers(0, 10**7)
USAGES = st.builds(
    Usage, input=COUNTS, cache_read=COUNTS, cache_write_5m=COUNTS, cache_write_1h=COUNTS, output=COUNTS
)
ROW = Catalogue.load().facts("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0").price


@settings(max_examples=200, deadline=None)
@given(USAGES)
def test_usage_is_exact_and_its_parts_sum_to_the_providers_total(usage: Usage) -> None:
    """Read back from what the provider would say; the cost is the sum of its lines, to the last nano-dollar."""
    said: dict[str, Any] = shown_usage(usage, "") or {}
    folded = fold(play(reader(), [stream(delta(0, text="x"), usage=said)]))
    assert folded.usage is not None
    found = folded.usage
    assert (found.total_tokens, found.note) == (said["totalTokens"], "")
    for part in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
        assert getattr(found, part) == getattr(usage, part)
    lines, total = price_lines(found, ROW)
    assert total == sum(line.cost_nusd or 0 for line in lines)
    assert sum(line.quantity for line in lines) == said["totalTokens"]


def test_a_total_that_is_no_sum_is_said_and_openais_double_count_is_undone() -> None:
    """OpenAI's models count the cache into the stream's input (bifrost #6942, 2026-09)."""
    odd = {"inputTokens": 5, "outputTokens": 3, "totalTokens": 9}
    usage = fold(play(reader(), [stream(delta(0, text="x"), usage=odd)])).usage
    assert usage is not None
    assert usage.note == "totalTokens 9 is not the sum 8"
    double = {"inputTokens": 4995, "outputTokens": 19, "totalTokens": 10007, "cacheWriteInputTokens": 4993}
    for model, fresh in (("openai.gpt-5.6", 2), (HAIKU, 4995)):
        usage = fold(play(reader(model), [stream(delta(0, text="x"), usage=double)])).usage
        assert usage is not None
        assert (usage.input, usage.cache_write_5m, usage.output, usage.note) == (fresh, 4993, 19, "")


def error_of(status: int, kind: str, message: str, body: bytes | None = None) -> UpstreamError:
    payload = json.dumps({"message": message}).encode() if body is None else body
    headers = [(b"x-amzn-errortype", f"{kind}:http://internal.amazon.com/coral/".encode())] if kind else []
    return BEDROCK.read_error(status, headers, payload)


@pytest.mark.parametrize(
    ("status", "kind", "message", "name", "public", "code"),
    [
        (429, "ThrottlingException", "Too many requests", "UpstreamRateLimited", 429, "rate_limit_exceeded"),
        (429, "ModelNotReadyException", "Loading", "UpstreamFault", 503, "upstream_fault"),
        (408, "ModelTimeoutException", "Slow", "UpstreamFault", 504, "upstream_fault"),
        (424, "ModelErrorException", "Oh", "UpstreamFault", 502, "upstream_fault"),
        (503, "ServiceUnavailableException", "Later", "UpstreamFault", 503, "upstream_fault"),
        (500, "InternalServerException", "Oh", "UpstreamFault", 502, "upstream_fault"),
        (403, "AccessDeniedException", "No", "UpstreamAuthFailed", 502, "upstream_credentials_exhausted"),
        (403, "ExpiredTokenException", "Old", "UpstreamAuthFailed", 502, "upstream_credentials_exhausted"),
        (404, "ResourceNotFoundException", "No model", "UpstreamNotFound", 404, "model_not_found"),
        (400, "ValidationException", "Wrong", "UpstreamBadRequest", 400, "invalid_request"),
        (400, "ValidationException", "The provided model identifier is invalid.", "UpstreamNotFound", 404, "model_not_found"),
        (400, "ValidationException", "Input is too long for requested model.", "UpstreamBadRequest", 400,
         "context_length_exceeded"),
        (400, "ValidationException", "The model returned the following errors: prompt is too long: 2 > 1", "UpstreamBadRequest",
         400, "context_length_exceeded"),
        (400, "ServiceQuotaExceededException", "Spent", "UpstreamRateLimited", 429, "rate_limit_exceeded"),
        (413, "", "Big", "UpstreamTooLarge", 413, "request_too_large"),
        (502, "", "", "UpstreamFault", 502, "upstream_fault"),
    ],
)  # fmt: skip
def test_errors_have_their_blame(
    status: int, kind: str, message: str, name: str, public: int, code: str
) -> None:
    """By the exception's name, else the status; the caller never sees AWS's 403."""
    error = error_of(status, kind, message)
    assert (type(error).__name__, error.status, error.code) == (name, public, code)
    assert message in error.message


def test_errors_hold_no_secrets_and_never_raise() -> None:
    """The canonical string of a refused signature has the session token in it; a day's quota is not waited for."""
    told = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key.\n\n"
        "The Canonical String for this request should have been\n'POST\n/model/x\n\nx-amz-security-token:IQoJb3JpZ2luX2V'"
    )
    error = error_of(403, "InvalidSignatureException", told)
    assert "IQoJ" not in error.message
    assert "does not match" in error.message
    assert "AKIA" not in error_of(403, "", "key AKIAIOSFODNN7EXAMPLE is unknown").message
    limited = error_of(
        429, "ThrottlingException", "Too many tokens per day, please wait before trying again."
    )
    assert getattr(limited, "quota_exhausted", None) is True
    for body in (b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"message": 7}', b"<html>"):
        assert isinstance(error_of(500, "", "", body), UpstreamFault)

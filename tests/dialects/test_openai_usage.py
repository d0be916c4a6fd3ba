"""A provider's token figures as our disjoint vector, and where in a stream they may stand."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import UpstreamTruncated
from penstock.base.events import fold
from penstock.dialects.openai_chat import usage as usage_module
from penstock.dialects.openai_chat.usage import UsageField, read_usage, write_usage
from penstock.wire.sse import sse
from tests.dialects.harness import play
from tests.dialects.openai_kit import DONE, HELLO, chunk, reader, relay, through


def test_behaviour_07_usage_may_ride_on_the_finish_chunk_or_follow_it() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    ride = HELLO + chunk({}, "stop", usage=usage) + DONE
    split = HELLO + chunk({}, "stop") + sse(json.dumps({"choices": [], "usage": usage}).encode()) + DONE
    bare = HELLO + chunk({}, "stop") + sse(json.dumps({"usage": usage}).encode()) + DONE
    for body in (ride, split, bare):
        one = relay()
        through(one, [body])
        assert one.usage is not None
        assert (one.usage.input, one.usage.output, one.usage.source) == (5, 2, "stream")
        assert fold(play(reader(), [body])).usage == one.usage


def test_behaviour_08_the_usage_chunk_is_for_those_who_asked() -> None:
    usage = sse(b'{"id":"c","choices":[],"usage":{"prompt_tokens":5}}')
    body = HELLO + chunk({}, "stop") + usage + DONE
    assert through(relay(), [body]) == body.replace(usage, b"")
    assert through(relay(), [HELLO, chunk({}, "stop"), usage, DONE]) == body.replace(usage, b"")
    assert through(relay(include_usage=True), [body]) == body


_COUNT = st.integers(0, 10_000)


@given(_COUNT, _COUNT, _COUNT, _COUNT, _COUNT, _COUNT, _COUNT, st.booleans())
def test_behaviour_34_the_usage_vector_is_disjoint_and_sums_to_the_provider_s_total(
    fresh: int, cached: int, written: int, audio: int, output: int, reasoning: int, sound: int, beside: bool
) -> None:
    """Inclusive counting (OpenAI) and reasoning beside the completion (xAI) alike."""
    prompt = fresh + cached + written + audio
    completion = output + sound + (0 if beside else reasoning)
    total = prompt + output + sound + reasoning
    seen = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "audio_tokens": audio,
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": sound},
    }
    usage = read_usage(_field(seen), "provider")
    assert usage.note == ""
    assert (usage.input, usage.cache_read, usage.cache_write_5m, usage.input_audio) == (
        *(fresh, cached, written, audio),
    )
    assert (usage.output, usage.reasoning, usage.output_audio) == (output, reasoning, sound)
    assert usage.total_tokens == total
    again = read_usage(_field(write_usage(usage)), "provider")
    assert again == usage


_ANY = st.none() | st.integers(-5, 100)


@given(_ANY, _ANY, _ANY, _ANY, _ANY, _ANY)
def test_behaviour_34_contradictory_figures_are_clamped_and_said(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    cached: int | None,
    audio: int | None,
    thought: int | None,
) -> None:
    seen = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    usage = read_usage(_field(seen), "stream")
    counts = (usage.input, usage.cache_read, usage.input_audio, usage.output, usage.reasoning)
    assert min(counts) >= 0
    assert usage.prompt_tokens == max(prompt or 0, 0)
    parts = [part or 0 for part in (cached, audio)]
    fits = min(parts) >= 0 and sum(parts) <= (prompt or 0)
    whole = (prompt or 0) + (completion or 0)
    if not fits or (total is not None and total not in (whole, whole + (thought or 0))):
        assert usage.note


def _field(seen: dict[str, Any]) -> UsageField:
    return msgspec.convert(seen, UsageField)


def test_deepseek_s_spelling_of_cached_is_read() -> None:
    usage = read_usage(
        _field({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4}), "stream"
    )
    assert (usage.input, usage.cache_read) == (5, 4)


def test_usage_that_is_no_usage_does_not_break_a_stream() -> None:
    body = HELLO + chunk({}, "stop", usage={"prompt_tokens": "many"}) + DONE
    one = relay()
    assert through(one, [body]) == body
    assert one.usage is None


def test_behaviour_36_a_stream_that_breaks_keeps_what_was_counted() -> None:
    """Usage seen so far, and bytes of text, thinking and arguments for an estimate where there was none."""
    one = relay()
    riding = chunk({"reasoning": "hm"}, usage={"prompt_tokens": 5, "completion_tokens": 1})
    call = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]})
    one.feed(HELLO + riding + call + chunk({"content": "Grüße"}) + b'data: {"choices":[{"del')
    with pytest.raises(UpstreamTruncated):
        one.close()
    assert one.content_bytes == len("Hello" + "hm" + "f{}") + len("Grüße".encode())
    assert one.usage is not None
    assert one.usage.total_tokens == 6
    assert not one.finished


_FEW = st.none() | st.integers(-2, 3)
_DETAILS = st.none() | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"), _FEW),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": _FEW,
            "completion_tokens": _FEW,
            "total_tokens": _FEW,
            "prompt_tokens_details": _DETAILS,
            "completion_tokens_details": _DETAILS,
            "prompt_cache_hit_tokens": _FEW,
        },
    )
)
def test_the_short_way_reads_what_the_long_way_reads(seen: dict[str, Any]) -> None:
    short = read_usage(_field(seen), "stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage_module, "_is_plain", lambda seen: False)
        assert read_usage(_field(seen), "stream") == short

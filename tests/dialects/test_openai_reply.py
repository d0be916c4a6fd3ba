"""A provider's reply, read into events and passed through: golden files in any split, cut at every byte."""

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from penstock.base.errors import (
    UpstreamError,
    UpstreamMalformed,
    UpstreamTruncated,
)
from penstock.base.events import Finished, Stopped, UsageSeen, fold, is_content
from penstock.base.models import ModelFacts, Target
from penstock.dialects import UPSTREAMS
from penstock.wire.sse import SseReader, sse
from tests.dialects.harness import Case, check_any_split, dump, play
from tests.dialects.openai_kit import (
    CASES,
    DONE,
    HELLO,
    STREAMS,
    by_name,
    chunk,
    reader,
    relay,
    streams_by_name,
    through,
)


def usage_only(body: bytes) -> list[bytes]:
    """The usage-only events of a stream."""
    found = []
    sse_reader = SseReader()
    for event in [*sse_reader.feed(body), *sse_reader.close()]:
        if event.data is not None and event.data.startswith(b"{"):
            facts = json.loads(event.data)
            if not facts.get("choices") and facts.get("usage"):
                found.append(event.raw)
    return found


# --- golden files


def test_there_are_golden_files_of_both_kinds() -> None:
    assert len(STREAMS) >= 15
    assert len(CASES) - len(STREAMS) >= 5


@by_name
def test_behaviour_02_events_are_the_same_for_any_split(case: Case) -> None:
    assert dump(play(reader(stream=case.stream), [case.reply])) == dump(case.events)
    check_any_split(lambda: reader(stream=case.stream), case.reply, case.events)


@by_name
def test_behaviour_02_relayed_bytes_are_the_same_for_any_split(case: Case) -> None:
    body = case.reply
    want = through(relay(stream=case.stream), [body])
    assert through(relay(stream=case.stream), [body[i : i + 1] for i in range(len(body))]) == want
    rng = random.Random(11)
    for _ in range(40):
        cuts = sorted(rng.sample(range(len(body) + 1), k=rng.randint(1, 9)))
        chunks = [body[a:b] for a, b in itertools.pairwise([0, *cuts, len(body)])]
        assert through(relay(stream=case.stream), chunks) == want


@by_name
def test_the_reply_is_not_touched_but_for_the_usage_that_nobody_asked_for(case: Case) -> None:
    body = case.reply
    assert through(relay(stream=case.stream, include_usage=True), [body]).rstrip() == body.rstrip()
    assert through(relay(stream=case.stream, dialect="openrouter"), [body]).rstrip() == body.rstrip()
    expected = body
    for event in usage_only(body) if case.stream else []:
        expected = expected.replace(event, b"")
    assert through(relay(stream=case.stream), [body]).rstrip() == expected.rstrip()


@by_name
def test_the_relay_learns_what_the_events_say(case: Case) -> None:
    folded = fold(case.events)
    one = relay(stream=case.stream)
    through(one, [case.reply])
    assert one.finished
    assert one.usage == folded.usage
    assert one.content_seen == any(map(is_content, case.events))
    assert (one.model, one.upstream_id) == (folded.model, folded.id)
    assert folded.stopped is not None
    assert one.native_stop == folded.stopped.native
    spoken = folded.text + folded.refusal + "".join(part.text for part in folded.thinking)
    called = "".join(tool.name + tool.arguments for tool in folded.tools)
    unsaid = 2 * sum(tool.arguments == "{}" for tool in folded.tools)
    assert one.content_bytes == len((spoken + called).encode()) - unsaid


def _complete_at(body: bytes) -> Callable[[int], bool]:
    """Whether a stream cut at a byte is a whole reply: after the finish reason, and not inside an event.

    A piece of ``data: [DONE]`` is no loss; a piece of a usage chunk is.
    """
    finish = max(body.rfind(f'"finish_reason":"{why}"'.encode()) for why in _REASONS)
    line_end = len(body.rstrip()) if body.find(b"\n", finish) < 0 else body.find(b"\n", finish)
    done_from = line_end - (1 if body[line_end - 1 : line_end] == b"\r" else 0)
    holes: list[tuple[int, int]] = []
    at = done_from
    while (start := body.find(b"data: {", at)) >= 0:
        end = body.find(b"\n", start)
        end = len(body.rstrip()) if end < 0 else end
        holes.append((start + len(b"data: "), end - (1 if body[end - 1 : end] == b"\r" else 0)))
        at = end
    return lambda cut: cut >= done_from and not any(low < cut < high for low, high in holes)


_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")


@streams_by_name
def test_behaviour_05_a_stream_cut_at_any_byte_is_reported(case: Case) -> None:
    body = case.reply
    complete = _complete_at(body)
    for cut in range(len(body)):
        try:
            events = play(reader(), [body[:cut]])
        except UpstreamTruncated:
            assert not complete(cut), f"cut at {cut} of {len(body)} was called broken"
        else:
            assert complete(cut), f"cut at {cut} of {len(body)} passed for a whole reply"
            assert events[-1] == Finished()


@streams_by_name
def test_behaviour_05_a_relay_cut_at_any_byte_is_reported_and_forwards_whole_events_only(case: Case) -> None:
    body = case.reply
    whole = through(relay(include_usage=True), [body])
    complete = _complete_at(body)
    for cut in range(len(body)):
        one = relay(include_usage=True)
        out = one.feed(body[:cut])
        assert whole.startswith(out)
        try:
            last = one.close()
        except UpstreamTruncated:
            assert not complete(cut), f"cut at {cut} of {len(body)} was called broken"
        else:
            assert complete(cut), f"cut at {cut} of {len(body)} passed for a whole reply"
            assert whole.startswith((out + last).rstrip())
            assert one.finished


@pytest.mark.parametrize("case", [case for case in CASES if not case.stream], ids=lambda case: case.name)
def test_behaviour_05_a_whole_reply_cut_at_any_byte_is_reported(case: Case) -> None:
    body = case.reply
    for cut in range(len(body.rstrip())):
        for one in (reader(stream=False), relay(stream=False)):
            assert not one.feed(body[:cut])
            with pytest.raises(UpstreamError):
                one.close()


# --- content, ends


def test_behaviour_01_roles_pings_and_empty_deltas_are_no_content() -> None:
    one = relay()
    for piece in (
        b": ping\n\n",
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": None}),
        chunk({"reasoning": "", "reasoning_details": [], "tool_calls": []}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "format": "f"}]}),
        chunk({}, usage={"prompt_tokens": 1}),
        sse(b'{"choices":[],"prompt_filter_results":[]}'),
    ):
        assert one.feed(piece) == piece
        assert not one.content_seen


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning": "x"},
        {"reasoning_content": "x"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "x"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"images": [{"image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"audio": {"data": "AA=="}},
        {"content": [{"type": "text", "text": "x"}]},
    ],
)
def test_behaviour_01_content_of_every_kind_is_seen_at_once(delta: dict[str, Any]) -> None:
    one = relay()
    assert one.feed(chunk(delta)) == chunk(delta)
    assert one.content_seen


def test_behaviour_06_a_finish_reason_is_enough_without_done() -> None:
    body = HELLO + chunk({}, "stop")
    assert through(relay(), [body]) == body
    assert play(reader(), [body])[-1] == Finished()


def test_done_without_a_finish_reason_is_an_end_and_done_alone_is_none() -> None:
    assert play(reader(), [HELLO + DONE])[-2:] == [Stopped("stop"), Finished()]
    one = relay()
    assert through(one, [HELLO + DONE]) == HELLO + DONE
    assert one.finished
    for made in (reader(), relay()):
        with pytest.raises(UpstreamMalformed):
            made.feed(DONE)


def test_several_choices_are_over_when_each_of_them_is() -> None:
    first = chunk({"content": "a"}, index=0) + chunk({"content": "b"}, index=1) + chunk({}, "stop", index=0)
    with pytest.raises(UpstreamTruncated):
        through(relay(), [first])
    body = first + chunk({}, "length", index=1)
    one = relay()
    assert through(one, [body]) == body
    assert one.stopped == "stop"


def test_nothing_at_all_is_a_truncated_reply() -> None:
    for body in (b"", b"\n\n", b": ping\n\n"):
        for one in (reader(), relay()):
            one.feed(body)
            with pytest.raises(UpstreamTruncated):
                one.close()


def test_behaviour_03_a_last_event_without_its_blank_line_is_forwarded_with_it() -> None:
    one = relay(include_usage=True)
    assert one.feed(HELLO + chunk({}, "stop", usage={"prompt_tokens": 3}).rstrip()) == HELLO
    assert one.close() == chunk({}, "stop", usage={"prompt_tokens": 3})
    assert one.usage is not None
    assert one.usage.input == 3


def test_behaviour_04_an_image_of_a_megabyte_passes() -> None:
    url = "data:image/png;base64," + "A" * 1_000_000
    body = chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]}) + chunk({}, "stop") + DONE
    chunks = [body[i : i + 65_536] for i in range(0, len(body), 65_536)]
    assert through(relay(), chunks) == body
    assert fold(play(reader(), chunks)).media[0].data == "A" * 1_000_000


@pytest.mark.parametrize(
    ("native", "why"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("abort", "error"),
        ("insufficient_system_resource", "error"),
        ("something_new", "error"),
    ],
)
def test_behaviour_17_finish_reasons_are_honest(native: str, why: str) -> None:
    body = HELLO + chunk({}, native) + DONE
    one = relay()
    assert through(one, [body]) == body
    assert (one.stopped, one.native_stop) == (why, native)
    assert fold(play(reader(), [body])).stopped == Stopped(why, native)  # type: ignore[arg-type]


def test_content_after_the_finish_reason_is_not_swallowed() -> None:
    with pytest.raises(UpstreamMalformed):
        play(reader(), [HELLO + chunk({}, "stop") + chunk({"content": "more"}) + DONE])


# --- tools


def test_behaviour_14_calls_without_index_are_told_apart_by_id() -> None:
    def call(call_id: str | None, name: str | None, arguments: str) -> bytes:
        return chunk({"tool_calls": [{"id": call_id, "function": {"name": name, "arguments": arguments}}]})

    body = (
        call("a", "f", '{"x"')
        + call(None, None, ":1}")
        + call("b", "g", "{}")
        + chunk({}, "tool_calls")
        + DONE
    )
    tools = fold(play(reader(), [body])).tools
    assert [(tool.id, tool.name, tool.arguments) for tool in tools] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
    ]


def test_behaviour_14_a_name_that_comes_late_or_again_changes_nothing() -> None:
    def call(**function: Any) -> bytes:
        return chunk({"tool_calls": [{"index": 0, "id": "a", "function": function}]})

    late = call(arguments='{"x"') + call(name="f") + call(name="f", arguments=":1}") + chunk({}, "tool_calls")
    assert [(t.name, t.arguments) for t in fold(play(reader(), [late])).tools] == [("f", '{"x":1}')]
    with pytest.raises(UpstreamMalformed):
        play(reader(), [call(arguments="{}") + chunk({}, "tool_calls")])


def test_behaviour_15_arguments_as_an_object_become_text() -> None:
    call = {"function": {"name": "f", "arguments": {"city": "Köln"}}}
    body = json.dumps({"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "stop"}]}).encode()
    one = reader(stream=False)
    one.feed(body)
    (tool,) = fold(one.close()).tools
    assert json.loads(tool.arguments) == {"city": "Köln"}
    assert tool.id
    passing = relay(stream=False)
    passing.feed(body)
    assert passing.close() == body


def test_usage_events_are_cumulative() -> None:
    events = play(reader(), [HELLO + chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 1})])
    seen = [event.usage for event in events if isinstance(event, UsageSeen)]
    assert [usage.total_tokens for usage in seen] == [4]


def test_a_body_with_a_number_beyond_all_numbers_is_the_providers_fault():
    """Found by sending every reader what no provider says: msgspec refuses 1e999 wherever it stands."""
    reader = UPSTREAMS["openai"].reader(
        Target("openai", "m", "openai", ModelFacts("openai", "m")), stream=False
    )
    reader.feed(b'{"results":[{"relevance_score":1e999}]}')
    with pytest.raises(UpstreamError):
        reader.close()

"""The SSE reader agrees with the standard for any bytes and any split of them."""

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import UpstreamMalformed
from penstock.wire.sse import SseEvent, SseReader, completed, sse

_PIECES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"data:",
    b"data: ",
    b"event: e",
    b": c",
    b"x",
    b"\xc3\xa4",
    b"\n\n",
    b"\r\n\r\n",
]


def _reference(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The standard's algorithm, line by line; plus the last event without its blank line (behaviour 3)."""
    events: list[tuple[bytes, bytes]] = []
    name, data = b"", []
    for line in [*re.split(rb"\r\n|\n|\r", stream), b""]:
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = b"", []
        elif not line.startswith(b":"):
            key, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if key == b"data":
                data.append(value)
            elif key == b"event":
                name = value
    return events


def _read(chunks: list[bytes]) -> list[SseEvent]:
    reader = SseReader()
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()


def _said(events: list[SseEvent]) -> list[tuple[bytes, bytes]]:
    return [(event.name, event.data) for event in events if event.data is not None]


def _cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join), st.lists(st.integers(0, 120), max_size=6)
)
def test_any_bytes_in_any_split_read_as_the_standard_says(stream: bytes, cuts: list[int]) -> None:
    expected = _reference(stream)
    assert _said(_read([stream])) == expected
    assert _said(_read(_cut(stream, cuts))) == expected
    assert _said(_read([stream[i : i + 1] for i in range(len(stream))])) == expected


@given(
    st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join), st.lists(st.integers(0, 120), max_size=6)
)
def test_raw_bytes_join_to_the_stream(stream: bytes, cuts: list[int]) -> None:
    """Nothing but a trailing run of line ends at EOF is left out of ``raw``."""
    joined = b"".join(event.raw for event in _read(_cut(stream, cuts)))
    assert stream.startswith(joined)
    assert stream[len(joined) :].strip() == b""


def test_behaviour_02_a_split_inside_a_character_or_a_line_end_changes_nothing() -> None:
    stream = 'data: {"a":"Ω🚰"}\r\n\r\nevent: x\r\ndata: 2\r\n\r\n'.encode()
    for cut in range(len(stream) + 1):
        events = _read([stream[:cut], stream[cut:]])
        assert _said(events) == [(b"", '{"a":"Ω🚰"}'.encode()), (b"x", b"2")]
        assert b"".join(event.raw for event in events) == stream


def test_behaviour_03_the_last_event_needs_no_blank_line() -> None:
    for end in (b"", b"\n", b"\r\n", b"\n\n"):
        assert _said(_read([b"data: 1\n\ndata: last" + end])) == [(b"", b"1"), (b"", b"last")]


def test_behaviour_04_comments_names_and_lines_of_data() -> None:
    events = _read([b": ping\n\nevent: only\n\ndata: a\ndata: b\n\n"])
    assert [(event.name, event.data) for event in events] == [(b"", None), (b"only", None), (b"", b"a\nb")]


def test_behaviour_04_a_comment_comes_out_at_once() -> None:
    reader = SseReader()
    assert reader.feed(b": ping\n\n") == [SseEvent(b"", None, b": ping\n\n")]
    assert reader.pending == 0


@pytest.mark.parametrize("eol", [b"\n", b"\r\n", b"\r"])
def test_behaviour_04_a_ten_megabyte_event_in_64_kb_pieces(eol: bytes) -> None:
    """It comes out whole, and pieces are not joined again and again (the test's time-out would tell)."""
    body = b'{"b64":"' + b"A" * 10_000_000 + b'"}'
    stream = b"data: " + body + eol + eol + b"data: 2" + eol + eol
    chunks = [stream[i : i + 65_536] for i in range(0, len(stream), 65_536)]
    assert _said(_read(chunks)) == [(b"", body), (b"", b"2")]
    small = [stream[i : i + 4096] for i in range(0, len(stream), 4096)]
    assert _said(_read(small)) == [(b"", body), (b"", b"2")]


def test_a_byte_order_mark_at_the_start_is_ignored() -> None:
    assert _said(_read([b"\xef\xbb\xbfdata: 1\n\n"])) == [(b"", b"1")]


def test_an_endless_event_is_refused() -> None:
    reader = SseReader(max_event_bytes=1000)
    for _ in range(10):
        reader.feed(b"x" * 100)
    with pytest.raises(UpstreamMalformed):
        reader.feed(b"x")


def test_pending_counts_what_is_held_back() -> None:
    reader = SseReader()
    reader.feed(b"data: 1\n\ndata:")
    assert reader.pending == len(b"data:")
    reader.feed(b" 2\n")
    assert reader.pending == len(b"data: 2\n")
    assert [event.data for event in reader.feed(b"\n")] == [b"2"]
    assert reader.pending == 0


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        (b"data: 1", b"data: 1\n\n"),
        (b"data: 1\n", b"data: 1\n\n"),
        (b"data: 1\r\n", b"data: 1\r\n\n"),
        (b"data: 1\n\n", b"data: 1\n\n"),
        (b"data: 1\r\r", b"data: 1\r\r"),
    ],
)
def test_completed_gives_the_blank_line_that_eof_cut_off(cut: bytes, whole: bytes) -> None:
    assert completed(cut) == whole
    reader = SseReader()
    assert [event.data for event in [*reader.feed(completed(cut)), *reader.close()]] == [b"1"]


def test_what_is_written_is_read_back() -> None:
    assert _said(_read([sse(b'{"a":1}') + sse(b"2", b"name")])) == [(b"", b'{"a":1}'), (b"name", b"2")]


def test_many_events_in_one_piece_and_pieces_across_them() -> None:
    rng = random.Random(5)
    stream = b"".join(sse(b'{"n":%d}' % n) for n in range(500))
    expected = [b'{"n":%d}' % n for n in range(500)]
    for _ in range(20):
        cuts = [rng.randrange(len(stream)) for _ in range(40)]
        assert [event.data for event in _read(_cut(stream, cuts))] == expected

"""AWS's event stream: any split of any frames, against botocore's own reader; damage is always seen."""

import itertools
import struct
from binascii import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.wire.eventstream import EventFrame, EventStreamReader, event_frame

NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
FRAMES = st.lists(
    st.tuples(st.dictionaries(NAMES, st.text(max_size=12), max_size=4), st.binary(max_size=60)), max_size=5
)
# One header of each type of the specification, in front of a string that must still be found.
EVERY_TYPE = (
    b"\x01a\x00" b"\x01b\x01" b"\x01c\x02\x7f" b"\x01d\x03\x00\x01" b"\x01e\x04\x00\x00\x00\x01"
    b"\x01f\x05\x00\x00\x00\x00\x00\x00\x00\x01" b"\x01g\x06\x00\x02xy" b"\x01h\x08\x00\x00\x00\x00\x00\x00\x00\x01"
    b"\x01i\x090123456789abcdef" b"\x01j\x07\x00\x02ok"
)  # fmt: skip


def read(chunks: list[bytes]) -> list[EventFrame]:
    reader = EventStreamReader()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    reader.close()
    return frames


@settings(max_examples=200, deadline=None)
@given(FRAMES, st.lists(st.integers(0, 400), max_size=8))
def test_frames_come_back_from_any_split_and_botocore_reads_the_same(said, cuts) -> None:
    """What is written is what is read, by us and by AWS's own reader."""
    body = b"".join(event_frame(headers, payload) for headers, payload in said)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
    frames = read(chunks)
    assert [(frame.headers, frame.payload) for frame in frames] == said
    theirs = EventStreamBuffer()
    theirs.add_data(body)
    assert [(message.headers, message.payload) for message in theirs] == said


@settings(max_examples=200, deadline=None)
@given(FRAMES.filter(bool), st.data())
def test_a_cut_or_a_changed_byte_is_an_error_and_gives_no_wrong_frame(said, data) -> None:
    """What was given before is right; nothing is invented."""
    body = b"".join(event_frame(headers, payload) for headers, payload in said)
    place = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        broken = body[:place]
    else:
        broken = body[:place] + bytes((body[place] ^ data.draw(st.integers(1, 255)),)) + body[place + 1 :]
    reader, seen = EventStreamReader(), []
    try:
        for i in range(len(broken)):
            seen += reader.feed(broken[i : i + 1])
        reader.close()
    except UpstreamError as error:
        assert isinstance(error, UpstreamMalformed | UpstreamTruncated)
    else:
        assert len(seen) < len(said)  # cut between two frames: the dialect must miss its end
    assert [(frame.headers, frame.payload) for frame in seen] == said[: len(seen)]


def test_headers_of_every_type_are_stepped_over() -> None:
    """Only strings are kept."""
    lengths = struct.pack(">II", 16 + len(EVERY_TYPE), len(EVERY_TYPE))
    head = lengths + struct.pack(">I", crc32(lengths)) + EVERY_TYPE
    (frame,) = read([head + struct.pack(">I", crc32(head))])
    assert frame.headers == {"j": "ok"}


@pytest.mark.parametrize(("total", "headers"), [(2**31, 0), (15, 0), (40, 30), (300_000, 200_000)])
def test_lengths_that_cannot_be_are_refused_by_the_prelude(total: int, headers: int) -> None:
    """Before anything is gathered."""
    lengths = struct.pack(">II", total, headers)
    with pytest.raises(UpstreamMalformed, match="lengths"):
        EventStreamReader().feed(lengths + struct.pack(">I", crc32(lengths)))

"""What answers mean, by an embedder: only where it reads both of them whole, and beside the loop."""

import struct
import threading

import pytest

from penstock.gateway.caching.sense import MAX_TOKENS, EmbeddedSense, cosine
from tests.cache.looped import looped


class Words:
    """An embedder that counts words: three of them have a dimension."""

    build_id, dimensions, english_only = "words", 3, True

    def __init__(self):
        self.threads = set()

    def tokens(self, text):
        return len(text.split())

    def embed(self, text):
        self.threads.add(threading.current_thread().name)
        counts = [text.split().count(word) for word in ("red", "blue", "mug")]
        length = sum(count * count for count in counts) ** 0.5 or 1.0
        return struct.pack("<3f", *(count / length for count in counts))


@looped
async def test_answers_are_compared_by_their_vectors():
    words = Words()
    sense = EmbeddedSense(words, lambda one, other: ("numbers",) if one != other else ())
    assert await sense.similarity("red mug", "mug red") == pytest.approx(1.0)
    assert await sense.similarity("red mug", "blue mug") == pytest.approx(0.5)
    assert sense.vetoes("a", "b") == ("numbers",)
    assert all(name.startswith("penstock-audit-sense") for name in words.threads)
    sense.close()


@looped
async def test_what_is_not_read_whole_is_not_compared():
    """Two long answers with one beginning would look alike."""
    sense = EmbeddedSense(Words(), lambda _one, _other: ())
    long = "mug " * (MAX_TOKENS + 1)
    assert await sense.similarity(long + "red", long + "blue") is None
    assert await sense.similarity("mug " * MAX_TOKENS, "mug") == pytest.approx(1.0)
    assert await sense.similarity("", "mug") is None
    sense.close()


@pytest.mark.parametrize(("one", "other"), [(b"", b""), (b"abc", b"abc"), (b"\0" * 8, b"\0" * 4)])
def test_vectors_that_cannot_be_compared(one, other):
    assert cosine(one, other) is None

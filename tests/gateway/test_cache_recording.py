"""What passes through a recording: an answer that says more than events can is known by it, wherever its bytes are cut."""

from typing import Any

import pytest

from penstock.gateway.caching.recording import Recorded


class Through:
    """A relay that passes everything on."""

    finished = False

    def feed(self, data: bytes) -> bytes:
        return data


def recorded(*pieces: bytes) -> Recorded:
    relay: Any = Through()
    target: Any = None  # nothing here is asked of it
    made = Recorded(relay, lambda: relay, target, 1_000_000)
    for piece in pieces:
        made.feed(piece)
    return made


MORE = [
    b'{"message":{"content":"x","annotations":[{"type":"url_citation"}]}}',
    b'{"citations":["https://example.com"],"choices":[]}',
    b'{"search_results":[{"url":"https://example.com"}]}',
    b'{"delta":{"type":"citations_delta","citation":{"cited_text":"x"}}}',
    b'{"delta":{"message":{"citations": {"start": 1}}}}',
    b'{"choices":[{"logprobs":{"content":[]}}]}',
    b'{"type":"output_text","logprobs":[{"token":"a"}]}',
    b'{"candidates":[{"groundingMetadata":{"x":1}}]}',
]
PLAIN = [
    b'{"annotations":[],"citations":null,"logprobs":null,"logprobs":[]}',
    rb'{"content":"a \"citations\": [{\"x\": 1}]"}',
]


@pytest.mark.parametrize("data", MORE)
def test_sources_and_probabilities_are_found(data: bytes):
    """Whole, and cut anywhere: a stream's pieces end where the network ends them."""
    assert recorded(data).unwritten()
    assert all(recorded(data[:at], data[at:]).unwritten() for at in range(1, len(data)))


@pytest.mark.parametrize("data", PLAIN)
def test_empty_ones_and_words_about_them_are_not(data: bytes):
    assert not recorded(data).unwritten()

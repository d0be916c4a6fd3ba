"""Word pieces without the tokenizer are the tokenizer's."""

import pytest

pytest.importorskip("onnxruntime", reason="needs penstock[semantic]")
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cache.proof.phrases import SCORING
from tests.cache.proof.sentences import sentences


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
@example('What\'s the well-known (and "quoted") price of 3.5kg, e.g. $12.50?')
@example("a" * 101 + " and " + "b" * 99)
@example("an [UNK] and a [MASK] in the text")
@example("naive ##ing [")
def test_printable_ascii(embedder, text):
    """Every text, character by character."""
    assert embedder.pieces(text) == embedder._tokenized(text)


@given(st.text(max_size=40))
@example("caf\u00e9 \u4e2d\u6587 na\u00efve")
@example("a\tb\nc\x00d")
def test_other_texts(embedder, text):
    """They are left to the tokenizer."""
    assert embedder.pieces(text) == embedder._tokenized(text)


def test_sentences(embedder):
    """Of a stream of questions; nearly all of their words are in the vocabulary."""
    texts = [one.text for one in sentences(5, SCORING, 300)]
    assert [embedder.pieces(text) for text in texts] == [embedder._tokenized(text) for text in texts]
    assert all(embedder._words.pieces(text) is not None for text in texts if text.isascii())

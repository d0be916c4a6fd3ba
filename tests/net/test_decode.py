"""Behaviour 12, pure: compressed bodies are undone piece by piece, also where the header lies."""

import contextlib
import gzip
import itertools
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.net import decode

TEXT = b'{"choices":[{"delta":{"content":"' + b"hello " * 400 + b'"}}]}'


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"br": brotli.compress, b"raw": raw_deflate}


def undo(decoder, pieces):
    out = [part for piece in pieces for part in decoder.feed(piece)]
    out += decoder.finish()
    assert all(out)
    return b"".join(out)


def cut(data, places):
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@pytest.mark.parametrize("packing", PACK)
@given(places=st.lists(st.integers(0, 5000), max_size=12))
def test_any_split_of_a_compressed_body_gives_the_same_text(packing, places):
    data = PACK[packing](TEXT)
    word = b"deflate" if packing == b"raw" else packing
    assert undo(decode.declared(word, "h:1"), cut(data, places)) == TEXT


@pytest.mark.parametrize("packing", PACK)
def test_byte_by_byte(packing):
    data = PACK[packing](TEXT)
    word = b"deflate" if packing == b"raw" else packing
    assert undo(decode.declared(word, "h:1"), [bytes([b]) for b in data]) == TEXT


@pytest.mark.parametrize("word", [b"gzip", b"x-gzip", b"deflate", b"br"])
@pytest.mark.parametrize(
    "plain", [TEXT, b"data: {}\n\n", b"event: ping\ndata: {}\n\n", b": ping\n\n", b"<!DOCTYPE html>", b""]
)
def test_behaviour_12_a_header_that_names_an_encoding_over_a_plain_body(word, plain):
    assert undo(decode.declared(word, "h:1"), [plain] if plain else []) == plain
    assert undo(decode.declared(word, "h:1"), [bytes([b]) for b in plain]) == plain


@pytest.mark.parametrize("word", [b"gzip", b"deflate", b"br"])
@pytest.mark.parametrize("packing", [b"gzip", b"deflate"])
def test_behaviour_12_a_header_that_names_another_encoding(word, packing):
    assert undo(decode.declared(word, "h:1"), [PACK[packing](TEXT)]) == TEXT


@pytest.mark.parametrize("packing", [b"gzip", b"deflate"])
def test_behaviour_12_no_header_over_a_compressed_body(packing):
    data = PACK[packing](TEXT)
    assert data[0] in decode.SUSPECT
    assert undo(decode.suspected("h:1"), [bytes([b]) for b in data]) == TEXT


@pytest.mark.parametrize("plain", [b"x", b"x^2 + 1", b"\x1f", b"\x1f\x8b", b"xylophone"])
def test_a_suspect_that_is_innocent_stays_as_it_is(plain):
    assert undo(decode.suspected("h:1"), [plain]) == plain


@pytest.mark.parametrize("packing", PACK)
def test_a_compressed_body_cut_short_is_truncated_and_never_silently_whole(packing):
    data = PACK[packing](TEXT)
    word = b"deflate" if packing == b"raw" else packing
    for end in range(decode._PROBE, len(data)):
        with pytest.raises(UpstreamTruncated):
            undo(decode.declared(word, "h:1"), [data[:end]])


@pytest.mark.parametrize(("packing", "place"), [(b"gzip", 12), (b"deflate", 8), (b"br", 8), (b"gzip", -6)])
def test_a_broken_stream_is_an_error(packing, place):
    data = bytearray(PACK[packing](TEXT))
    data[place] ^= 0xFF
    with pytest.raises((UpstreamMalformed, UpstreamTruncated)):
        undo(decode.declared(packing, "h:1"), [bytes(data)])


@given(data=st.binary(min_size=1, max_size=200), word=st.sampled_from([b"gzip", b"deflate", b"br"]))
def test_any_bytes_under_any_header_give_bytes_or_our_error(data, word):
    with contextlib.suppress(UpstreamError):
        undo(decode.declared(word, "h:1"), [data])


def test_members_of_gzip_are_one_body_and_trailing_bytes_are_ignored():
    double = gzip.compress(b"one ") + gzip.compress(b"two")
    assert undo(decode.declared(b"gzip", "h:1"), [double]) == b"one two"
    assert undo(decode.declared(b"gzip", "h:1"), [bytes([b]) for b in double]) == b"one two"
    assert undo(decode.declared(b"gzip", "h:1"), [gzip.compress(b"one"), b"\0\0\0"]) == b"one"
    assert undo(decode.declared(b"br", "h:1"), [brotli.compress(b"one two"), b"\0"]) == b"one two"


@pytest.mark.parametrize("packing", PACK)
def test_a_bomb_comes_in_pieces(packing):
    size = 64 * 1024 * 1024
    data = PACK[packing](bytes(size)) if packing != b"br" else brotli.compress(bytes(size), quality=1)
    word = b"deflate" if packing == b"raw" else packing
    decoder = decode.declared(word, "h:1")
    total = 0
    for part in decoder.feed(data):
        assert len(part) <= 4 * decode.PIECE
        total += len(part)
    assert total == size


@pytest.mark.parametrize("word", [b"identity", b"", b"utf-8", b"none", b"UTF-8"])
def test_words_that_are_no_encoding_change_nothing(word):
    assert decode.declared(word, "h:1") is None


@pytest.mark.parametrize("word", [b"zstd", b"compress", b"gzip, br"])
def test_an_encoding_that_was_not_asked_for_is_malformed(word):
    with pytest.raises(UpstreamMalformed):
        decode.declared(word, "h:1")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (None, True),
        (b"application/json; charset=utf-8", True),
        (b"text/event-stream", True),
        (b"application/problem+json", True),
        (b"application/gzip", False),
        (b"image/png", False),
        (b"audio/mpeg", False),
        (b"application/octet-stream", False),
    ],
)
def test_only_a_text_is_suspected(kind, text):
    assert decode.looks_like_text(kind) is text

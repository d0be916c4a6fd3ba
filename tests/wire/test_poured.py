"""Base64 that is decoded as it leaves: the same bytes as decoded at once, for any split and any writing of it."""

import base64
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import poured
from penstock.wire.poured import Around, Decoded

WRITINGS = {
    "plain": lambda text: text,
    "unpadded": lambda text: text.rstrip("="),
    "url": lambda text: text.replace("+", "-").replace("/", "_"),
    "lines": lambda text: "\\r\\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    "php": lambda text: text.replace("/", "\\/"),
    "dotnet": lambda text: text.replace("+", "\\u002B").replace("=", "\\u003d"),
}


def split(text: bytes, at: list[int]) -> tuple[memoryview, ...]:
    view = memoryview(text)
    places = sorted({0, len(text), *(one % (len(text) + 1) for one in at)})
    return tuple(view[start:end] for start, end in pairwise(places))


def whole(body: Decoded | Around) -> bytes:
    out = b"".join(body)
    assert len(out) == body.size
    return out


@pytest.mark.parametrize("writing", WRITINGS)
@given(data=st.binary(max_size=300), at=st.lists(st.integers(0, 2000), max_size=6), chunk=st.integers(8, 40))
def test_the_same_bytes(writing: str, data: bytes, at: list[int], chunk: int):
    """Twice, for a request may be sent twice; and around it what stands around it."""
    text = WRITINGS[writing](base64.b64encode(data).decode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poured, "_CHUNK_BYTES", chunk)
        body = Decoded(split(text.encode(), at))
        assert whole(body) == whole(body) == data
        assert whole(Around(b"<", body, b">")) == b"<" + data + b">"


@given(
    text=st.text(st.sampled_from("Aa0+/-_= \n*é"), max_size=40), at=st.lists(st.integers(0, 99), max_size=4)
)
def test_what_is_no_base64_is_refused_before(text: str, at: list[int]):
    """Or it is as long as was said: never a body of another length than its head tells."""
    inside = json.dumps(text)[1:-1].encode()
    letters = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    if re.fullmatch(r"[Aa0+/]*", letters) is None or len(letters) % 4 == 1:
        with pytest.raises(ValueError, match=r"it "):
            Decoded(split(inside, at))
    else:
        padded = letters + "=" * (-len(letters) % 4)
        assert whole(Decoded(split(inside, at))) == base64.b64decode(padded)


@pytest.mark.parametrize("text", [b"AAAA\\", b"AAAA\\u00", b"AA\\q", b"A", b"AA==AA", b'A"AA'])
def test_broken(text: bytes):
    with pytest.raises(ValueError, match=r"it "):
        Decoded((memoryview(text),))

"""Forms with parts, and the envelope of an images call."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.dialects.openai_images import ImagesCaller
from penstock.simulate.picture import png
from penstock.wire.multipart import FormPart, read_form, write_form

NAMES = st.text(
    st.characters(codec="ascii", exclude_characters='\r\n"\\%', categories=("L", "N", "P")), min_size=1
)


@given(st.lists(st.builds(FormPart, NAMES, st.binary(max_size=200), st.none() | NAMES), max_size=6))
def test_what_is_written_is_read(parts: list[FormPart]):
    """Any bytes, any order, names that come again."""
    content_type, body = write_form(parts)
    if not parts:
        return
    assert read_form(content_type, body) == parts


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_body_breaks_the_reader(noise: bytes, cut: int):
    """Cut or noisy: parts, or a BadRequest."""
    content_type, body = write_form(
        [FormPart("a", b"1" * 50), FormPart("image", noise, "f.png", "image/png")]
    )
    for broken in (body[:cut], noise, body.replace(b"name", b"nome", 1)):
        try:
            read_form(content_type, broken)
        except BadRequest as error:
            assert error.code in ("invalid_multipart", "invalid_request")


def form(**fields: str | bytes) -> tuple[bytes, bytes]:
    return write_form(
        [
            FormPart(name, value, "p.png", "image/png")
            if isinstance(value, bytes)
            else FormPart(name, value.encode())
            for name, value in fields.items()
        ]
    )


PNG = png(2, 2, 1)
GOOD: dict[str, Any] = {"model": "m", "prompt": "p"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "m"}, "prompt"),
        ({"prompt": "p"}, "model"),
        ({**GOOD, "n": 0}, "n"),
        ({**GOOD, "n": 11}, "n"),
        ({**GOOD, "n": "two"}, "n"),
        ({**GOOD, "prompt": "x" * 32_001}, "prompt"),
        ({**GOOD, "size": "big"}, "size"),
        ({**GOOD, "quality": "best"}, "quality"),
        ({**GOOD, "background": "pink"}, "background"),
        ({**GOOD, "output_format": "bmp"}, "output_format"),
        ({**GOOD, "output_compression": 101}, "output_compression"),
        ({**GOOD, "partial_images": 4, "stream": True}, "partial_images"),
        ({**GOOD, "partial_images": 1}, "partial_images"),
        ({**GOOD, "response_format": "file"}, "response_format"),
        ({**GOOD, "response_format": "url", "stream": True}, "response_format"),
    ],
)
def test_each_wrong_field_is_named_with_its_remedy(fields: dict[str, Any], param: str):
    """In a body of either kind."""
    json = ImagesCaller("generation", b"application/json", "")
    with pytest.raises(BadRequest) as caught:
        json.expand(json.read_request(msgspec.json.encode(fields)))
    assert caught.value.param == param
    assert caught.value.hint
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items()
    }
    content_type, body = form(**texts, image=PNG)
    caller = ImagesCaller("edit", content_type, "")
    with pytest.raises(BadRequest) as caught:
        caller.expand(caller.read_request(body))
    assert caught.value.param == param


def test_a_form_says_the_same_as_json():
    """Numbers and words are read as what they stand for; several pictures keep their order."""
    content_type, body = write_form(
        [
            FormPart("model", b"m"),
            FormPart("prompt", b"p"),
            FormPart("n", b"3"),
            FormPart("stream", b"true"),
            FormPart("seed", b"7"),
            FormPart("image[]", png(2, 2, 1), "a.png", "image/png"),
            FormPart("image[]", png(3, 3, 2), "b.png", "image/png"),
            FormPart("mask", png(2, 2, 3), "m.png", "image/png"),
            FormPart("provider", b'{"order": ["openai"]}'),
            FormPart("house_style", b"plain"),
        ]
    )
    caller = ImagesCaller("edit", content_type, "")
    ask = caller.read_request(body)
    request = caller.expand(ask)
    assert (ask.model, ask.n, ask.stream, ask.units[0]) == ("m", 3, True, ("image", 3))
    assert ask.provider is not None
    assert ask.provider.order == ("openai",)
    assert (request.seed, len(request.images), request.mask is not None) == (7, 2, True)
    assert request.extras == {"openai": {"house_style": "plain"}}


@pytest.mark.parametrize("pictures", [0, 17])
def test_an_edit_has_one_to_sixteen_pictures(pictures: int):
    """No more, no fewer."""
    content_type, body = write_form(
        [FormPart("model", b"m"), FormPart("prompt", b"p")] + [FormPart("image[]", PNG, "p.png")] * pictures
    )
    with pytest.raises(BadRequest) as caught:
        ImagesCaller("edit", content_type, "").read_request(body)
    assert caught.value.param == "image"


def test_file_ids_are_for_their_own_provider():
    """Passed on they may be right; translated they cannot be."""
    caller = ImagesCaller("edit", b"application/json", "")
    ask = caller.read_request(msgspec.json.encode({**GOOD, "images": [{"file_id": "file-1"}]}))
    with pytest.raises(BadRequest) as caught:
        caller.expand(ask)
    assert caught.value.param == "images[0].file_id"

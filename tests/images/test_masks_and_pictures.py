"""Masks pixel by pixel, and what a picture's first bytes say: beside Pillow, which knows."""

import base64
import io
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penstock.base.errors import BadRequest, UpstreamMalformed
from penstock.base.events import MediaMade
from penstock.base.images import ImagesRequest
from penstock.gateway.pictures import converted
from penstock.wire.finish import Finish
from penstock.wire.pictures import Facts, inverted_mask, look, nearest_ratio, shape_by_ratio


def picture(
    mode: str, width: int, height: int, form: str = "PNG", seed: int = 0
) -> tuple[bytes, Image.Image]:
    rng = random.Random(seed)
    size = len(Image.new(mode, (1, 1)).tobytes())
    image = Image.frombytes(mode, (width, height), rng.randbytes(width * height * size))
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue(), image


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (64, 33)])
def test_a_mask_is_255_minus_its_alpha_in_every_pixel(mode: str, width: int, height: int):
    """Transparent, which may change, becomes white; what is kept is black."""
    data, image = picture(mode, width, height, seed=width)
    turned = Image.open(io.BytesIO(inverted_mask(data)))
    assert (turned.mode, turned.size) == ("L", image.size)
    assert turned.tobytes() == bytes(255 - alpha for alpha in image.getchannel("A").tobytes())


@given(
    st.integers(1, 12),
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.sampled_from([8, 16]),
    st.randoms(use_true_random=False),
)
def test_every_filter_of_png_is_undone(width: int, filters: list[int], depth: int, rng: random.Random):
    """All five filters (PNG 9.2), at 8 and 16 bits, row after row: as Pillow reads them."""
    stride = width * 4 * depth // 8
    rows = b"".join(bytes([kind]) + rng.randbytes(stride) for kind in filters)
    data = _png(width, len(filters), depth, 6, rows)
    alpha = Image.open(io.BytesIO(data)).convert("RGBA").getchannel("A").tobytes()
    assert Image.open(io.BytesIO(inverted_mask(data))).tobytes() == bytes(255 - one for one in alpha)


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_palette_with_transparency_is_a_mask():
    """As drawing programs save them."""
    image = Image.new("P", (4, 1))
    image.putpalette(list(range(256)) * 3)
    image.putdata([0, 1, 2, 0])
    out = io.BytesIO()
    image.save(out, "PNG", transparency=bytes([0, 255, 128]))
    assert Image.open(io.BytesIO(inverted_mask(out.getvalue()))).tobytes() == bytes([255, 0, 127, 255])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"JFIF", "is no PNG"),
        (picture("RGB", 3, 3)[0], "no alpha"),
        (picture("RGBA", 3, 3)[0][:60], "cut off"),
        (_png(2, 2, 8, 6, b"\x07" * 18), "readable"),
        (_png(2, 2, 8, 6, b"\0"), "readable"),
        (_png(60000, 60000, 8, 6, b""), "too large"),
    ],
)
def test_what_is_no_mask_is_refused_with_the_field(data: bytes, why: str):
    """The caller learns what to send."""
    with pytest.raises(BadRequest, match=why) as caught:
        inverted_mask(data)
    assert caught.value.param == "mask"
    assert caught.value.hint is not None


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_size_and_kind_stand_in_the_first_bytes(form: str):
    """Without decoding."""
    data, _ = picture("RGB" if form != "GIF" else "L", 31, 17, form)
    assert look(data) == Facts(f"image/{form.lower()}", 31, 17)
    assert look(data[:4]) in (None, Facts("image/jpeg"))
    assert look(b"") is None


@given(st.binary(max_size=60))
def test_no_bytes_make_the_look_fail(data: bytes):
    """Heads that are lies included."""
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBPVP8X", b"GIF89a"):
        found = look(head + data)
        assert found is None or found.mime.startswith("image/")


@pytest.mark.parametrize(
    ("size", "ratio"),
    [("1024x1024", "1:1"), ("1536x1024", "3:2"), ("1024x1536", "2:3"), ("1920x1080", "16:9")],
)
def test_the_nearest_ratio(size: str, ratio: str):
    """And the words that say so."""
    ratios = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
    shape = shape_by_ratio(ImagesRequest("m", "p", size=size), ratios)
    assert (shape.ratio, shape.adjusted) == (ratio, ("size-resized",))
    assert f"{shape.finish.width}x{shape.finish.height}" == size
    assert nearest_ratio(2, 1, ("1:1", "21:9")) == "21:9"


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_picture_is_given_the_form_that_was_asked(form: str):
    """Format, size, and the middle of what was there."""
    source = Image.new("RGB", (60, 20), "red")
    source.paste("blue", (20, 0, 40, 20))
    out = io.BytesIO()
    source.save(out, "PNG")
    made = MediaMade("image", "image/png", base64.b64encode(out.getvalue()).decode())
    found = converted(made, Finish(form, 90 if form != "png" else None, 30, 30))
    image = Image.open(io.BytesIO(base64.b64decode(found.data))).convert("RGB")
    assert (found.mime, image.size) == (f"image/{form}", (30, 30))
    red, _, blue = image.getpixel((15, 15))
    assert blue > 200 > red
    with pytest.raises(UpstreamMalformed):
        converted(MediaMade("image", "image/png", "AAAA"), Finish(form))

"""Stability's v2beta images, asked as Stability's documents say."""

import base64
import struct
import zlib
from collections.abc import Iterator

import pytest

from penstock.simulate import Simulator, running_simulator
from penstock.simulate.picture import WEBP, jpeg, png
from tests.simulate.raw import RawReply, ask

PATH = "/v2beta/stable-image/generate/"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator() as sim:
        yield sim


def generate(sim: Simulator, kind: str = "core", accept: str = "image/*", **fields: str) -> RawReply:
    """A multipart request, written by hand."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    body = ("".join(parts) + "--b--\r\n").encode()
    headers = {"accept": accept, "content-type": "multipart/form-data; boundary=b"}
    return ask(sim.url, PATH + kind, body, headers=headers)


def size_of(picture: bytes) -> tuple[int, int]:
    return struct.unpack(">II", picture[16:24])


def test_bytes_and_json_are_the_same_picture(sim: Simulator) -> None:
    """Accept decides; finish reason and seed are headers or fields."""
    raw = generate(sim, prompt="a mill", seed="42", aspect_ratio="16:9")
    assert (raw.status, raw.headers["content-type"], raw.headers["finish-reason"]) == (
        200,
        "image/png",
        "SUCCESS",
    )
    assert raw.headers["seed"] == "42"
    assert raw.headers["x-request-id"]
    wide, high = size_of(raw.body)
    assert wide * 9 == high * 16
    told = generate(sim, accept="application/json", prompt="a mill", seed="42", aspect_ratio="16:9").json()
    assert (base64.b64decode(told["image"]), told["finish_reason"], told["seed"]) == (raw.body, "SUCCESS", 42)


def test_a_filtered_picture_is_a_200_and_a_blocked_prompt_a_403(sim: Simulator) -> None:
    """As the vendor does."""
    filtered = generate(sim, accept="application/json", prompt="FILTER_ANSWER")
    assert (filtered.status, filtered.json()["finish_reason"]) == (200, "CONTENT_FILTERED")
    blocked = generate(sim, prompt="BLOCK_PROMPT")
    assert (blocked.status, blocked.json()["name"]) == (403, "content_moderation")


@pytest.mark.parametrize(
    ("kind", "fields", "word"),
    [
        ("core", {"prompt": "x", "aspect_ratio": "4:3"}, "aspect_ratio"),
        ("core", {"prompt": "x", "width": "512"}, "width"),
        ("core", {}, "prompt"),
        ("core", {"prompt": "x", "seed": "4294967295"}, "seed"),
        ("core", {"prompt": "x", "output_format": "gif"}, "output_format"),
        ("sd3", {"prompt": "x", "model": "sd2"}, "model"),
        ("sd3", {"prompt": "x", "mode": "image-to-image", "strength": "0.5"}, "image"),
        ("ultra", {"prompt": "x", "cfg_scale": "5"}, "cfg_scale"),
    ],
)
def test_fields_are_checked(sim: Simulator, kind: str, fields: dict[str, str], word: str) -> None:
    """A wrong field is a 400 that names it."""
    reply = generate(sim, kind, **fields)
    assert reply.status == 400
    assert word in reply.json()["errors"][0]


def test_only_multipart_is_taken_and_only_known_paths(sim: Simulator) -> None:
    """JSON is a 400, an unknown model a 404, no key a 401."""
    assert (
        ask(sim.url, PATH + "core", {"prompt": "x"}, headers={"content-type": "application/json"}).status
        == 400
    )
    assert generate(sim, "sdxl", prompt="x").status == 404
    assert ask(sim.url, PATH + "core", b"", headers={"authorization": ""}).status == 401


def test_other_formats_have_their_own_bytes(sim: Simulator) -> None:
    """JPEG and WebP are what their content type says."""
    assert generate(sim, prompt="x", output_format="jpeg").body == jpeg()
    assert generate(sim, prompt="x", output_format="webp").body == WEBP
    assert jpeg()[:2] + jpeg()[-2:] == b"\xff\xd8\xff\xd9"
    assert WEBP[:4] + WEBP[8:12] == b"RIFFWEBP"


def test_a_png_has_whole_chunks_and_all_its_pixels() -> None:
    """Checksums are right and the rows unpack to width x height."""
    picture, place, data = png(5, 3, 7), 8, b""
    while place < len(picture):
        (length,) = struct.unpack(">I", picture[place : place + 4])
        name, body = picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", picture[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(name + body)
        data += body if name == b"IDAT" else b""
        place += 12 + length
    assert len(zlib.decompress(data)) == 3 * (1 + 5 * 3)

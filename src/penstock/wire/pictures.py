"""What the bytes of a picture say of it, and masks: without an image library.

Rules
- A picture's kind and size stand in its first bytes (PNG 3rd edition 5.2, RFC 9649 2, ITU T.81 B.2.2): nothing is decoded.
- A mask is read as far as its alpha: OpenAI's transparent pixels are what may change, everybody else's white ones, so
  that one is 255 minus the other. Only PNG has such a mask; PNG's filters work on each channel by itself (9.2), so that
  three of four are never looked at.
"""

import base64
import binascii
import re
import struct
import zlib
from importlib.util import find_spec
from itertools import accumulate
from math import log

from msgspec import Struct

from penstock.base.chat import Image
from penstock.base.errors import BadRequest, UpstreamMalformed
from penstock.base.events import MediaMade
from penstock.base.images import ImagesRequest
from penstock.wire.finish import Finish

CONVERTS = find_spec("PIL") is not None
"""Pillow is installed (pip install 'penstock[images]'): pictures can be given another format or size here."""
FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_MASK_PIXELS = 3840 * 2160 * 2
_SOF = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}


class Facts(Struct, frozen=True):
    """What a picture is. Sizes are 0 where its bytes do not say."""

    mime: str
    width: int = 0
    height: int = 0


def look(data: bytes) -> Facts | None:
    """The kind and size of a picture; None where it is none that we know."""
    if data.startswith(_PNG) and len(data) >= 24:
        return Facts("image/png", *struct.unpack(">II", data[16:24]))
    if data.startswith(b"\xff\xd8\xff"):
        return Facts("image/jpeg", *_jpeg_size(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Facts("image/webp", *_webp_size(data))
    if data[:6] in (b"GIF87a", b"GIF89a") and len(data) >= 10:
        return Facts("image/gif", *struct.unpack("<HH", data[6:10]))
    return None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _SOF:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    kind, head = data[12:16], data[20:30]
    if kind == b"VP8X" and len(head) == 10:
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(head) == 10:
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def decoded(data: str, param: str) -> bytes:
    """The bytes of base64. Raises BadRequest naming the field."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"The field {param} holds no valid base64.", param=param) from None


def size_of(size: str | None) -> tuple[int, int] | None:
    """ "1536x1024" as numbers; None for auto, or what is no size."""
    found = _SIZE.fullmatch(size or "")
    return (int(found[1]), int(found[2])) if found else None


def nearest_ratio(width: int, height: int, ratios: tuple[str, ...]) -> str:
    """Which of "16:9", "1:1" ... is most like it: by the logarithm, so that 2:1 is as far from 1:1 as 1:2 is."""
    return min(ratios, key=lambda one: abs(log(width / height) - log(_ratio(one))))


def is_ratio(width: int, height: int, ratio: str) -> bool:
    """Whether a size has this ratio, to a hundredth."""
    return abs(width / height / _ratio(ratio) - 1) < 0.01


def _ratio(text: str) -> float:
    wide, _, high = text.partition(":")
    return int(wide) / int(high)


class Shape(Struct, frozen=True):
    """What a provider without pixel sizes is asked for instead, and the words for it. ``ratio`` "": its own choice."""

    ratio: str
    adjusted: tuple[str, ...] = ()
    finish: Finish = Finish()


def shape_by_ratio(request: ImagesRequest, ratios: tuple[str, ...], otherwise: str = "") -> Shape:
    """The nearest ratio for a size; with Pillow the picture is then brought to that very size."""
    size = size_of(request.size)
    if size is None:
        if request.aspect_ratio is None:
            return Shape(otherwise)
        if request.aspect_ratio in ratios:
            return Shape(request.aspect_ratio)
        wide, _, high = request.aspect_ratio.partition(":")
        if not (wide.isdigit() and high.isdigit() and int(wide) and int(high)):
            return Shape(otherwise, ("aspect_ratio-dropped",))
        return Shape(nearest_ratio(int(wide), int(high), ratios), ("aspect_ratio-approximated",))
    ratio = nearest_ratio(*size, ratios)
    if CONVERTS:
        return Shape(ratio, ("size-resized",), Finish(width=size[0], height=size[1]))
    return Shape(ratio, ("size-approximated",))


class Encoding(Struct, frozen=True):
    """The format a provider is asked for, what is then done here, and the words for it."""

    format: str
    adjusted: tuple[str, ...] = ()
    finish: Finish = Finish()


def encoding(
    request: ImagesRequest, formats: tuple[str, ...], resized: Finish, *, compresses: bool = False
) -> Encoding:
    """``output_format`` and ``output_compression`` for a provider that makes ``formats``, the first by itself.

    ``resized``: what is done for the size; a picture that is changed here is encoded here, once.
    """
    wanted, quality = request.output_format, request.output_compression
    asked = wanted if wanted in formats else formats[0]
    lossy = (wanted or formats[0]) in ("jpeg", "webp")
    here = CONVERTS and lossy and not resized.idle
    if wanted in (None, asked) and not here and (quality is None or compresses or not lossy):
        return Encoding(asked, ("output_compression-dropped",) if quality is not None and not lossy else ())
    if not CONVERTS:
        words = () if wanted in (None, asked) else ("output_format-dropped",)
        return Encoding(asked, words if quality is None else (*words, "output_compression-dropped"))
    # What is to be encoded anew is asked for without loss, where that can be had.
    return Encoding(
        "png" if "png" in formats else asked, finish=Finish(wanted or asked, quality if lossy else None)
    )


def both(one: Finish, other: Finish) -> Finish:
    """One for the format, the other for the size."""
    return Finish(
        one.format or other.format,
        other.compression if one.compression is None else one.compression,
        one.width or other.width,
        one.height or other.height,
    )


def inverted_mask(png: bytes, param: str = "mask") -> bytes:
    """OpenAI's mask (transparent: edit) as everybody else's (white: edit): a grey PNG of 255 minus alpha."""
    width, height, rows = _alpha_rows(png, param)
    turned = bytes(255 - value for value in range(256))
    return grey_png(width, height, [row.translate(turned) for row in rows])


def grey_png(width: int, height: int, rows: list[bytes]) -> bytes:
    """A picture of one byte a pixel."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join([b"\0" + row for row in rows]), 6)
    return _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _no_mask(param: str, why: str) -> BadRequest:
    return BadRequest(
        f"The {param} {why}.",
        param=param,
        hint="Send a PNG with an alpha channel, transparent where the picture may change.",
    )


def _alpha_rows(png: bytes, param: str) -> tuple[int, int, list[bytes]]:
    """The alpha channel, row by row."""
    if not png.startswith(_PNG):
        raise _no_mask(param, "is no PNG")
    chunks = _chunks(png, param)
    head = chunks.get(b"IHDR", b"")
    if len(head) != 13:
        raise _no_mask(param, "is no readable PNG")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    channels = {4: 2, 6: 4, 3: 1}.get(colour)
    see_through = chunks.get(b"tRNS")
    if channels is None or (colour == 3 and see_through is None):
        raise _no_mask(param, "has no alpha channel")
    if interlaced or depth not in ((8,) if colour == 3 else (8, 16)):
        raise _no_mask(param, "is an interlaced PNG, or one of less than 8 bits a channel")
    if not 0 < width * height <= _MOST_MASK_PIXELS:
        raise _no_mask(param, f"is {width}x{height} pixels: too large")
    size = depth // 8
    stride = width * channels * size
    whole = zlib.decompressobj()
    try:
        data = whole.decompress(chunks.get(b"IDAT", b""), (stride + 1) * height)
    except zlib.error:
        data = b""
    if len(data) != (stride + 1) * height:
        raise _no_mask(param, "is no readable PNG")
    step, first = channels * size, (channels - 1) * size
    rows: list[bytes] = []
    above = bytes(width)
    for top in range(0, len(data), stride + 1):
        above = _unfiltered(data[top], data[top + 1 + first : top + 1 + stride : step], above, param)
        rows.append(above)
    if see_through is not None and colour == 3:
        alphas = see_through.ljust(256, b"\xff")
        rows = [row.translate(alphas) for row in rows]
    return width, height, rows


def _chunks(png: bytes, param: str) -> dict[bytes, bytes]:
    found: dict[bytes, list[bytes]] = {}
    at = len(_PNG)
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if len(data) != length:
            raise _no_mask(param, "is a PNG that was cut off")
        found.setdefault(name, []).append(data)
        at += 12 + length
    return {name: b"".join(pieces) for name, pieces in found.items()}


def _unfiltered(kind: int, row: bytes, above: bytes, param: str) -> bytes:
    """One channel of a row, its filter undone."""
    if kind == 0:
        return row
    if kind == 1:
        return bytes([total & 255 for total in accumulate(row)])
    if kind == 2:
        return bytes([(value + up) & 255 for value, up in zip(row, above, strict=True)])
    left, corner = 0, 0
    out = bytearray()
    if kind == 3:
        for value, up in zip(row, above, strict=True):
            left = (value + (left + up >> 1)) & 255
            out.append(left)
        return bytes(out)
    if kind != 4:
        raise _no_mask(param, "is no readable PNG")
    for value, up in zip(row, above, strict=True):
        by_left, by_up, by_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
        near = left if by_left <= by_up and by_left <= by_corner else up if by_up <= by_corner else corner
        left, corner = (value + near) & 255, up
        out.append(left)
    return bytes(out)


def dropped(request: ImagesRequest, *names: str) -> tuple[str, ...]:
    """A word for each of these fields that was asked for. ``extras``: what only OpenAI has a word for."""
    words = [f"{name}-dropped" for name in names if getattr(request, name) is not None]
    words += [f"{name}-dropped" for name in request.extras.get("openai", {})]
    return tuple(words)


def data_url(image: Image) -> str:
    """A picture as an address: its own, or its bytes as one."""
    return image.url or f"data:{image.mime or 'image/png'};base64,{image.data}"


def picture_of(data: bytes, label: str, number: int = 0) -> tuple[MediaMade, tuple[int, int]]:
    """A picture that a provider has sent, and its size. Raises UpstreamMalformed for what is none."""
    facts = look(data)
    if facts is None:
        raise UpstreamMalformed(f"{label} sent something that is no picture.")
    made = MediaMade("image", facts.mime, base64.b64encode(data).decode(), index=number)
    return made, (facts.width, facts.height)

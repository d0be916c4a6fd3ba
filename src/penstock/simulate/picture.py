"""Small lawful pictures without an image library: any size as PNG, one pixel block as JPEG and WebP."""

import base64
import struct
import zlib

# A lossless one-pixel picture (RFC 9649).
WEBP = base64.b64decode("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")


def png(width: int, height: int, seed: int) -> bytes:
    """An RGB picture: a gradient whose colours follow ``seed``."""
    red, green, blue = seed & 255, seed >> 8 & 255, seed >> 16 & 255
    rows = b"".join(
        b"\0" + b"".join(bytes((red ^ (x & 255), green ^ (y & 255), blue)) for x in range(width))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 1))
        + _chunk(b"IEND", b"")
    )


def jpeg() -> bytes:
    """A grey block of 8 by 8: baseline, one component, the shortest Huffman tables there can be (ITU T.81)."""
    quantisation = b"\xff\xdb" + struct.pack(">HB", 67, 0) + b"\x01" * 64
    frame = b"\xff\xc0" + struct.pack(">HBHHBBBB", 11, 8, 8, 8, 1, 1, 0x11, 0)
    one_code = bytes([1] + [0] * 15 + [0])
    tables = b"".join(b"\xff\xc4" + struct.pack(">HB", 20, kind) + one_code for kind in (0x00, 0x10))
    scan = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0x00, 0, 63, 0) + b"\x3f"
    return b"\xff\xd8" + quantisation + frame + tables + scan + b"\xff\xd9"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

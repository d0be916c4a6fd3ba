"""What the bytes of a recording say of it, and WAV around bare samples: without a sound library.

Rules
- Kind and length stand in a recording's own headers (RIFF; FLAC, RFC 9639 8.2; Ogg, RFC 3533 6 and RFC 7845 4; ISO 14496-12
  8.2.2; ISO 11172-3 2.4.2.3 with Xing's count; Matroska, RFC 9559 5.1.2): nothing is decoded.
- A length that is not said is not known: 0.0.
"""

import struct

from msgspec import Struct

UNKNOWN_BYTES = 0xFFFFFFFF
"""What a WAV header says of a length that nobody knows yet, as OpenAI's streams do."""
PCM_RATE = 24_000
"""Samples a second of OpenAI's and Gemini's bare PCM: 16 bits, little-endian, one channel."""
_TAIL_BYTES = 65_536 + 282
"""The longest Ogg page and its header: the last one is in there."""
_HEAD_BYTES = 64 * 1024
_MP3_KBPS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class Sound(Struct, frozen=True):
    """A recording: ``format`` as files of it are called, and how long it is (0.0: it does not say)."""

    format: str
    seconds: float = 0.0


def listen(data: bytes) -> Sound | None:
    """The kind and length of a recording; None where it is none that we know."""
    for starts, name, length in (
        (data[:4] == b"RIFF" and data[8:12] == b"WAVE", "wav", _wav),
        (data[:4] == b"fLaC", "flac", _flac),
        (data[:4] == b"OggS", "ogg", _ogg),
        (data[4:8] == b"ftyp", "m4a", _mp4),
        (data[:4] == b"\x1a\x45\xdf\xa3", "webm", _webm),
        (data[:3] == b"ID3" or _mp3_frame(data, 0) is not None, "mp3", _mp3),
        (data[:2] in (b"\xff\xf1", b"\xff\xf9"), "aac", _none),
    ):
        if starts:
            try:
                seconds = length(data)
            except (struct.error, IndexError, ZeroDivisionError):
                seconds = 0.0
            return Sound(name, seconds)
    return None


def _none(_data: bytes) -> float:
    return 0.0


def _wav(data: bytes) -> float:
    at, rate = 12, 0
    while at + 8 <= len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        if data[at : at + 4] == b"fmt ":
            rate = struct.unpack_from("<I", data, at + 16)[0]
        elif data[at : at + 4] == b"data":
            return min(size, len(data) - at - 8) / rate
        at += 8 + size + (size & 1)
    return 0.0


def _flac(data: bytes) -> float:
    packed = int.from_bytes(data[18:26], "big")  # 20 bits rate, 3 channels, 5 depth, 36 samples
    return (packed & (1 << 36) - 1) / (packed >> 44)


def _ogg(data: bytes) -> float:
    head = data[:_HEAD_BYTES]
    vorbis = head.find(b"\x01vorbis")
    opus = head.find(b"OpusHead")
    rate, skipped = 48_000, 0
    if vorbis >= 0:
        rate = struct.unpack_from("<I", data, vorbis + 12)[0]
    elif opus >= 0:
        skipped = struct.unpack_from("<H", data, opus + 10)[0]
    else:
        return 0.0
    last = data.rfind(b"OggS", max(0, len(data) - _TAIL_BYTES))
    granules = struct.unpack_from("<q", data, last + 6)[0]
    return max(0, granules - skipped) / rate


def _mp4(data: bytes) -> float:
    at = data.find(b"mvhd")
    if at < 0:
        return 0.0
    if data[at + 4] == 1:
        scale, length = struct.unpack_from(">IQ", data, at + 24)
    else:
        scale, length = struct.unpack_from(">II", data, at + 16)
    return length / scale


def _webm(data: bytes) -> float:
    head = data[:_HEAD_BYTES]
    at = head.find(b"\x44\x89")
    if at < 0:
        return 0.0
    scale_at = head.find(b"\x2a\xd7\xb1")
    scale = 1_000_000
    if scale_at >= 0:
        size = head[scale_at + 3] & 0x7F
        scale = int.from_bytes(head[scale_at + 4 : scale_at + 4 + size], "big")
    kind = {0x84: ">f", 0x88: ">d"}.get(head[at + 2])
    return 0.0 if kind is None else max(0.0, struct.unpack_from(kind, head, at + 3)[0] * scale / 1e9)


def _mp3_frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Kilobits a second, samples a second and samples a frame of the layer III frame at ``at``."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None
    version = data[at + 1] >> 3 & 3
    rates = _MP3_RATES.get(version)
    kbps = _MP3_KBPS[3 if version == 3 else 2][data[at + 2] >> 4]
    index = data[at + 2] >> 2 & 3
    if rates is None or not kbps or index == 3:
        return None
    return kbps, rates[index], 1152 if version == 3 else 576


def _mp3(data: bytes) -> float:
    at = 0
    if data[:3] == b"ID3":
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        at = 10 + size
    frame = _mp3_frame(data, at)
    if frame is None:
        return 0.0
    kbps, rate, samples = frame
    for name in (b"Xing", b"Info"):
        found = data.find(name, at, at + 64)
        if found >= 0 and data[found + 7] & 1:
            return struct.unpack_from(">I", data, found + 8)[0] * samples / rate
    return (len(data) - at) / (kbps * 125)


def wav_head(size: int = UNKNOWN_BYTES, rate: int = PCM_RATE) -> bytes:
    """What stands before ``size`` bytes of 16-bit samples of one channel. Without a size: before a stream."""
    whole = UNKNOWN_BYTES if size == UNKNOWN_BYTES else size + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        whole,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        rate * 2,
        2,
        16,
        b"data",
        size,
    )

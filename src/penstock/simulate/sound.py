"""Small lawful sounds without a sound library: a tone as PCM and WAV, silence as MP3, and what begins the other formats."""

import struct
from math import pi, sin

from penstock.wire.sounds import PCM_RATE, wav_head

_MP3_FRAME = b"\xff\xfb\x90\xc4" + bytes(413)
"""MPEG-1 layer III, 128 kbit/s, 44.1 kHz, one channel, all its side information 0: 26 ms of silence (ISO 11172-3)."""
_TONE_HZ = 440
_PERIODS = 11
_TURN = b"".join(
    struct.pack("<h", round(6000 * sin(2 * pi * _TONE_HZ * at / PCM_RATE)))
    for at in range(_PERIODS * PCM_RATE // _TONE_HZ)
)


def pcm(seconds: float) -> bytes:
    """A tone: 16 bits, 24 kHz, one channel."""
    size = 2 * round(seconds * PCM_RATE)
    return (_TURN * (size // len(_TURN) + 1))[:size]


def wav(seconds: float) -> bytes:
    """The same as a file."""
    samples = pcm(seconds)
    return wav_head(len(samples)) + samples


def sound(form: str, seconds: float) -> bytes:
    """One of OpenAI's six formats."""
    if form == "pcm":
        return pcm(seconds)
    if form == "wav":
        return wav(seconds)
    if form == "mp3":
        return _MP3_FRAME * max(1, round(seconds * 44_100 / 1152))
    if form == "flac":
        packed = PCM_RATE << 44 | 15 << 36 | round(seconds * PCM_RATE)
        return b"fLaC\x80\x00\x00\x22" + bytes(10) + packed.to_bytes(8, "big") + bytes(16)
    if form == "opus":
        head = b"OpusHead\x01\x01" + struct.pack("<HIhB", 312, PCM_RATE, 0, 0)
        return _page(head, 0, 2) + _page(bytes(400), 312 + round(seconds * 48_000), 4)
    return (b"\xff\xf1\x58\x40\x32\x1f\xfc" + bytes(394)) * max(1, round(seconds * PCM_RATE / 1024))


def _page(data: bytes, granules: int, kind: int) -> bytes:
    """An Ogg page (RFC 3533 6); its checksum is left out."""
    lacing = b"\xff" * (len(data) // 255) + bytes([len(data) % 255])
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, kind, granules, 1, 0, 0, len(lacing))
    return head + lacing + data

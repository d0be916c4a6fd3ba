"""Kineto JSON (what torch's profiler exports, on CUDA, ROCm or a CPU), read into plain events. Needs no torch.

Only what the timeline needs is decoded; shapes stay raw text until somebody asks for them, so that 62 MB of JSON are read in
well under a second. A file that breaks JSON's rules as Kineto has done (``NaN``, bytes that are no UTF-8) or that holds odd
fields is read a second time, slowly and event by event; what cannot be understood is counted in ``Trace.skipped``.
"""

import codecs
import gc
import json
import math
import re
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.errors import BadRequest

MOST_BYTES = 4 << 30
"""Largest JSON that is read, after decompression."""
NO_TRACE = "It is no Kineto trace"
HINT = "Write one with torch.profiler.profile(...).export_chrome_trace('trace.json.gz')."
NOTHING = Raw(b"")
GZIP = b"\x1f\x8b"
_NO_NUMBER = re.compile(rb"([:\[,]\s*)(?:-?Infinity|NaN)(?=\s*[,}\]])")
"""Values that Kineto has written and JSON has not. Nothing that is used is such a value, so each may be null; in the standard
library's reader, which knows them, a large trace takes several times the memory."""
MEMORY = "[memory]"
"""Name of an allocation record."""


class Args(Struct, frozen=True, gc=False):
    """What is used of an event's ``args``. Raw fields are JSON text, empty where absent."""

    correlation: int | str | None = None
    device: int | str | None = None
    stream: int | str | None = None
    size: int | float | str | None = field(default=None, name="bytes")
    dims: Raw = field(default=NOTHING, name="Input Dims")
    types: Raw = field(default=NOTHING, name="Input type")
    inputs: Raw = field(default=NOTHING, name="Concrete Inputs")
    strides: Raw = field(default=NOTHING, name="Input Strides")
    allocated: int | str | None = field(default=None, name="Total Allocated")
    device_type: int | str | None = field(default=None, name="Device Type")
    """Of an allocation record: 0 is the host, anything else a device."""


class Event(Struct, frozen=True, gc=False):
    """One event as written. ``ts`` and ``dur`` are microseconds."""

    ph: str = ""
    cat: str | None = None
    name: str = ""
    pid: int | float | str | None = None
    tid: int | float | str | None = None
    ts: float = 0.0
    dur: float | None = None
    args: Args | None = None


class Trace(Struct, frozen=True, kw_only=True):
    """A file's complete events (``ph`` X), and what it says about its devices."""

    events: tuple[Event, ...]
    devices: dict[int, str] = field(default_factory=dict)
    """Device index -> the name its driver gave it."""
    capabilities: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Device index -> its compute capability, major and minor, where the trace tells: (9, 0)."""
    with_stack: bool = False
    with_shapes: bool = False
    peak_host_bytes: int | None = None
    """Most that was allocated at once, where allocations were recorded (``profile_memory=True``)."""
    peak_device_bytes: int | None = None
    skipped: int = 0
    """Events that could not be understood."""
    name: str = "trace"


class _File(Struct, gc=False):
    events: list[Event] = field(default_factory=list[Event], name="traceEvents")
    properties: Raw = field(default=NOTHING, name="deviceProperties")
    metadata: Raw = NOTHING


class _Looser(Struct):
    events: list[Raw] = field(default_factory=list[Raw], name="traceEvents")
    properties: Raw = field(default=NOTHING, name="deviceProperties")
    metadata: Raw = NOTHING


class _Property(Struct):
    id: int = -1
    name: str = ""
    major: int = field(default=0, name="computeMajor")
    minor: int = field(default=0, name="computeMinor")


_STRICT = msgspec.json.Decoder(_File)
_BARE = msgspec.json.Decoder(list[Event])
_LOOSE = msgspec.json.Decoder(_Looser)
_ONE = msgspec.json.Decoder(Event)


def load(source: Path | bytes) -> Trace:
    """The trace in a ``.json`` or ``.json.gz`` file, or in its bytes; gzip is known by its first bytes, not by the name.

    Raises BadRequest where it cannot be read: no such file, cut short, no JSON, no Kineto trace, more than ``MOST_BYTES``.
    """
    name = source.name if isinstance(source, Path) else "trace"
    text = _read(source)
    if text[:2] == GZIP:
        text = _inflate(text, name)
    text = text.removeprefix(codecs.BOM_UTF8)  # editors on Windows write one
    with _collector_off():
        file = _parse(text, name)
        peaks = _memory(file.events)
        complete = [event for event in file.events if event.ph == "X"]
        good = tuple(event for event in complete if _sound(event))
    if not good:
        raise BadRequest(
            f"{name} holds no events{f' that can be understood ({len(complete):,} cannot)' if complete else ''}.",
            param="trace",
            hint=f"{NO_TRACE}, or an empty one. {HINT}",
        )
    return Trace(
        events=good,
        devices=_devices(file.properties, file.metadata),
        capabilities={one.id: (one.major, one.minor) for one in _properties(file.properties) if one.major},
        with_stack=any(event.cat == "python_function" for event in good),
        with_shapes=any(event.args is not None and bytes(event.args.dims) for event in good),
        peak_host_bytes=peaks.get(True),
        peak_device_bytes=peaks.get(False),
        skipped=len(complete) - len(good),
        name=name,
    )


def _read(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        if source.stat().st_size > MOST_BYTES:
            raise _too_large(source.name)
        return source.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadRequest(f"{source} cannot be read: {reason}.", param="trace") from error


def _inflate(data: bytes, name: str) -> bytes:
    """Gzip undone, several members included, with a bound on what comes out."""
    parts: list[bytes] = []
    left = MOST_BYTES
    try:
        while data:
            member = zlib.decompressobj(wbits=31)
            part = member.decompress(data, left)
            left -= len(part)
            if member.unconsumed_tail or left <= 0:
                raise _too_large(name)
            if not member.eof:
                raise BadRequest(
                    f"{name} is cut short: its gzip stream has no end.", param="trace", hint="Copy it again."
                )
            parts.append(part)
            data = member.unused_data.lstrip(b"\0")
            if data[:2] != GZIP:
                break
    except zlib.error as error:
        raise BadRequest(
            f"{name} is damaged: gzip says {error}.", param="trace", hint="Copy it again."
        ) from error
    return b"".join(parts)


def _too_large(name: str) -> BadRequest:
    return BadRequest(
        f"{name} is larger than {MOST_BYTES >> 30} GiB.",
        param="trace",
        hint="Record fewer steps: schedule(wait=1, warmup=2, active=3), without with_stack.",
    )


@contextmanager
def _collector_off() -> Generator[None]:
    """Without it the collector walks a growing heap of events that hold no cycles."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _parse(text: bytes, name: str) -> _File:
    try:
        if text.lstrip()[:1] == b"[":
            return _File(events=_BARE.decode(text))
        return _STRICT.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        plain, replaced = _NO_NUMBER.subn(rb"\1null", text)
        return _parse(plain, name) if replaced else _parse_loosely(text, name)


def _parse_loosely(text: bytes, name: str) -> _File:
    """Event by event: one odd event does not cost the file. An event that is none counts as skipped."""
    try:
        if text.lstrip()[:1] == b"[":
            loose = _Looser(events=msgspec.json.decode(text, type=list[Raw]))
        else:
            loose = _LOOSE.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_bent(text, name)
    return _File(
        events=[_event(raw) for raw in loose.events], properties=loose.properties, metadata=loose.metadata
    )


def _event(raw: Raw) -> Event:
    """One event; broken bytes in its text are replaced."""
    try:
        return _ONE.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        return _ONE.decode(bytes(raw).decode(errors="replace"))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _ODD


_ODD = Event(ph="X", ts=math.nan)
"""Stands for an event that was not understood; ``load`` counts it as skipped."""


def _parse_bent(text: bytes, name: str) -> _File:
    """The standard library's reader takes NaN, and text whose broken bytes were replaced."""
    try:
        found: object = json.loads(text.decode("utf-8", errors="replace"))
    except RecursionError as error:
        raise BadRequest(
            f"{name} is nested too deeply.", param="trace", hint=f"{NO_TRACE}. {HINT}"
        ) from error
    except ValueError as error:
        raise BadRequest(f"{name} is not JSON: {error}.", param="trace", hint=HINT) from error
    if isinstance(found, list):
        found = {"traceEvents": cast("object", found)}
    if not isinstance(found, dict):
        raise BadRequest(f"{name} is JSON, but no trace.", param="trace", hint=HINT)
    body = cast("dict[str, Any]", found)
    listed = body.get("traceEvents")
    if not isinstance(listed, list):
        raise BadRequest(f"{name} has no list traceEvents.", param="trace", hint=f"{NO_TRACE}. {HINT}")
    events = [_converted(item) for item in cast("list[Any]", listed)]
    return _File(
        events=events,
        properties=_raw(body.get("deviceProperties")),
        metadata=_raw(body.get("metadata")),
    )


def _converted(item: Any) -> Event:
    try:
        return _ONE.decode(_raw(item))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _ODD


def _raw(value: Any) -> Raw:
    """JSON text of anything the standard reader gave; NaN becomes null, and what cannot be written nothing."""
    try:
        return Raw(msgspec.json.encode(value))
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError):
        return Raw(b"null")


def _memory(events: list[Event]) -> dict[bool, int]:
    """On the host (True), on devices (False) -> the most that was allocated at once."""
    peaks: dict[bool, int] = {}
    for event in events:
        args = event.args
        if (
            event.name == MEMORY
            and args
            and isinstance(args.allocated, int)
            and 0 <= args.allocated < 1 << 60
        ):
            host = args.device_type == 0
            peaks[host] = max(peaks.get(host, 0), args.allocated)
    return peaks


def _sound(event: Event) -> bool:
    """Has a name and a place in time: finite, and not ending before it starts."""
    dur = event.dur or 0.0
    return bool(event.name) and math.isfinite(event.ts) and abs(event.ts) < 1e18 and 0.0 <= dur < 1e15


def _properties(properties: Raw) -> list[_Property]:
    """Kineto's ``deviceProperties``; none where they are not what they should be."""
    try:
        return msgspec.json.decode(properties, type=list[_Property]) if bytes(properties) else []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def _devices(properties: Raw, metadata: Raw) -> dict[int, str]:
    """From Kineto's ``deviceProperties``, else from what a recorder put into ``metadata.system.gpu``."""
    named = {found.id: found.name for found in _properties(properties) if found.name}
    if named or not bytes(metadata):
        return named
    try:
        said: object = msgspec.json.decode(metadata)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return named
    for key in ("system", "gpu"):
        said = cast("dict[str, object]", said).get(key) if isinstance(said, dict) else None
    if isinstance(said, dict):
        values = cast("dict[str, object]", said).values()
        named = {index: value for index, value in enumerate(values) if isinstance(value, str)}
    return named

"""Open streams and measure each event's lateness: its arrival minus the nanosecond that the upstream wrote into it."""

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

SOURCE = Path(__file__).with_name("streamload.c")
SEEN = struct.Struct("=qqii")


@dataclass(slots=True)
class Seen:
    """One event: when it was read, how late that was, and its place in its stream."""

    at_ns: int
    late_us: float
    stream: int
    event: int


def build(folder: Path) -> Path:
    """The load program (streamload.c), compiled into ``folder``."""
    program = folder / "streamload"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", str(program), str(SOURCE)], check=True)
    return program


def request(host: str, model: str, events: int, rate: float, key: str) -> bytes:
    body = (
        b'{"model":"%b","stream":true,"events":%d,"rate":%d,"messages":[{"role":"user","content":"%b"}]}'
        % (model.encode(), events, rate, b"x" * 400)
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (host.encode(), key.encode(), len(body), body)
    )


def call(
    folder: Path, port: int, *, model: str, streams: int, events: int, rate: float, key: str, every_us: int
) -> tuple[list[Seen], int]:
    """``streams``, one begun every ``every_us``, each of ``events`` events at ``rate`` per second: all events, and how many
    streams came whole."""
    found = folder / "seen"
    words = [str(build(folder)), "caller", str(port), str(streams), str(every_us), str(found)]
    wire = request(f"127.0.0.1:{port}", model, events, rate, key)
    out = subprocess.run(words, input=wire, capture_output=True, check=True).stdout
    seen = [
        Seen(at, late / 1000, stream, event)
        for at, late, stream, event in SEEN.iter_unpack(found.read_bytes())
    ]
    return seen, int(out)


def run(folder: Path, port: int, **what: Any) -> dict[str, Any]:
    """Lateness in microseconds: of all events; of the first ones; and of those that came while all streams were open."""
    seen, whole = call(folder, port, **what)
    return {
        "streams": what["streams"], "whole": whole, "events": len(seen),
        "late_us": spread([one.late_us for one in seen]),
        "sustained_late_us": spread(sustained(seen, what["events"])),
        "first_event_late_us": spread(firsts(seen)),
    }  # fmt: skip


def firsts(seen: list[Seen]) -> list[float]:
    """How late the first events were."""
    return [one.late_us for one in seen if not one.event]


def sustained(seen: list[Seen], events: int) -> list[float]:
    """How late those were that came after the last stream's first event and before the first stream's last."""
    begun = max((one.at_ns for one in seen if not one.event), default=0)
    ended = min((one.at_ns for one in seen if one.event == events - 1), default=0)
    return [one.late_us for one in seen if begun <= one.at_ns <= ended]


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    at = lambda q: round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1)  # noqa: E731
    return {"p50": round(median(ordered), 1), "p90": at(0.9), "p99": at(0.99), "max": round(ordered[-1], 1)}

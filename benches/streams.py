"""Open streams and measure each event's lateness: now minus the nanosecond that the upstream wrote into it."""

import asyncio
import re
import time
from statistics import median
from typing import Any

STAMP = re.compile(rb'"t=(\d+) ')


class Stream(asyncio.Protocol):
    def __init__(
        self, request: bytes, late_us: list[float], first_us: list[float], done: asyncio.Future
    ) -> None:
        self.request = request
        self.late_us = late_us
        self.first_us = first_us
        self.done = done
        self.seen = 0
        self.tail = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        for stamp in STAMP.findall(data):
            late = (now - int(stamp)) / 1000
            if not self.seen:
                self.first_us.append(late)
            self.seen += 1
            self.late_us.append(late)
        self.tail = (self.tail + data)[-64:]
        if self.tail.endswith(b"0\r\n\r\n") and not self.done.done():
            self.done.set_result(self.seen)
            self.transport.close()

    def connection_lost(self, exc) -> None:
        if not self.done.done():
            self.done.set_result(-self.seen)


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


async def run(port: int, **what: Any) -> dict[str, Any]:
    """Many streams at once. Lateness in microseconds, every event's and the first ones'."""
    late, first, whole = await lateness(port, **what)
    return {
        "streams": what["streams"], "whole": whole, "events": len(late),
        "late_us": spread(late), "first_event_late_us": spread(first),
    }  # fmt: skip


async def lateness(
    port: int, *, model: str, streams: int, events: int, rate: float, key: str
) -> tuple[list[float], list[float], int]:
    """``streams`` at once, each of ``events`` events at ``rate`` per second: how late each was, and how many came whole."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    first: list[float] = []
    wire = request(f"127.0.0.1:{port}", model, events, rate, key)
    waiting = []
    for number in range(streams):
        done = loop.create_future()
        await loop.create_connection(lambda d=done: Stream(wire, late, first, d), "127.0.0.1", port)
        waiting.append(done)
        if number % 16 == 15:
            await asyncio.sleep(0.005)
    counts = await asyncio.gather(*waiting)
    return late, first, sum(count == events for count in counts)


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    at = lambda q: round(ordered[min(len(ordered) - 1, int(len(ordered) * q))], 1)  # noqa: E731
    return {"p50": round(median(ordered), 1), "p90": at(0.9), "p99": at(0.99), "max": round(ordered[-1], 1)}

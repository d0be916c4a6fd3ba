"""A streaming upstream for load: every event carries the monotonic nanosecond at which it was sent.

``python -m benches.upstream PORT``. A request ``{"stream": true, "events": N, "rate": R}`` (rate per second; 0 is at once)
gets N content events, then the end; anything else a whole 1 KB completion at once. One timer writes for all streams, so
that the upstream's own work is a few microseconds an event.
"""

import asyncio
import json
import sys
import time
from typing import ClassVar

import httptools
import uvloop

SLOTS = 20
TICK_S = 0.001
WHOLE = json.dumps(
    {
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 700}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
    }
).encode()  # fmt: skip
WHOLE_REPLY = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"delta":{%b},"finish_reason":%b}],"usage":null}\n\n'
)
USAGE = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],'
    b'"usage":{"prompt_tokens":200,"completion_tokens":150,"total_tokens":350}}\n\n'
)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


FIRST = framed(CHUNK % (b'"role":"assistant","content":""', b"null"))
LAST = framed(CHUNK % (b"", b'"stop"')) + framed(USAGE) + framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


EVENT = framed(CHUNK % (b'"content":"t=%020d "' % 0, b"null")).replace(b"%020d" % 0, b"%020d")
"""Always as long, so that one formatting makes it: the upstream shares the machine with what is measured."""


def event() -> bytes:
    return EVENT % time.monotonic_ns()


class Upstream(asyncio.Protocol):
    slots: ClassVar[list[set["Upstream"]]] = [set() for _ in range(SLOTS)]
    serial = 0

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.left = 0
        self.every = 1
        self.slot = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, exc) -> None:
        Upstream.slots[self.slot].discard(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if b'"stream":true' not in self.body and b'"stream": true' not in self.body:
            self.transport.write(WHOLE_REPLY)
            return
        asked = json.loads(self.body)
        self.left, rate = asked.get("events", 1), asked.get("rate", 0)
        if rate == 0:
            self.transport.write(HEAD + FIRST + b"".join(event() for _ in range(self.left)) + LAST)
            return
        # 20 slots of 1 ms: a stream's turn comes every 20 ms at 50 events/s; other rates skip or repeat turns.
        self.every = max(1, round(1000 / SLOTS / rate))
        Upstream.serial += 1
        self.slot = Upstream.serial % SLOTS
        self.turn = 0
        self.transport.write(HEAD + FIRST)
        Upstream.slots[self.slot].add(self)

    def write_turn(self) -> None:
        self.turn += 1
        if self.turn % self.every:
            return
        self.left -= 1
        if self.left > 0:
            self.transport.write(event())
        else:
            self.transport.write(event() + LAST)
            Upstream.slots[self.slot].discard(self)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    start_s, tick = loop.time(), 0
    while True:
        tick += 1
        delay_s = start_s + tick * TICK_S - loop.time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        elif tick % 50 == 0:
            await asyncio.sleep(0)
        for stream in list(Upstream.slots[tick % SLOTS]):
            stream.write_turn()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

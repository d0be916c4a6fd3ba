"""A storm of writes on a gateway process that ends with a kill: what was acknowledged until then.

Entries are posted in batches and calls are made, on a schedule, over connections that stay open. A post is acknowledged by
its 2xx, a call by the moment at which its reply ended. What of it must be in the ledger: tests/server/reckoning.py.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PER_POST = 100
STAGES = ("load", "denoise", "encode")
NUSD_PER_FRAME = 123_000
CALL_NUSD = 120_000
"""200 prompt and 150 completion tokens of gpt-4o-mini."""
CONFIG = """
providers:
  openai:
    keys: [{value: env.STORM_KEY}]
    network: {base_url: "http://127.0.0.1:UPSTREAM/v1"}
organisations: [{name: weather, budgets: [{limit_usd: 1000000, period: month}]}]
teams: [{name: coast, organisation: weather}]
virtual_keys:
  - {name: storm, key: env.STORM_CALLER, team: coast, budgets: [{limit_usd: 1000000, period: month}]}
"""
CALLER = "vk-storm-000000000001"
ENV = {"STORM_KEY": "sk-storm", "STORM_CALLER": CALLER}
_USAGE = '"usage":{"prompt_tokens":200,"completion_tokens":150,"total_tokens":350}'
_WHOLE = (
    '{"id":"chatcmpl-storm","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"thunder"},"finish_reason":"stop"}],' + _USAGE + "}"
)
_CHUNK = '{"id":"chatcmpl-storm","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[%s]%s}'
_EVENTS = "".join(
    f"data: {one}\n\n"
    for one in (
        _CHUNK % ('{"index":0,"delta":{"role":"assistant","content":"thun"},"finish_reason":null}', ""),
        _CHUNK % ('{"index":0,"delta":{"content":"der"},"finish_reason":"stop"}', ""),
        _CHUNK % ("", "," + _USAGE),
        "[DONE]",
    )
)
REPLY = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(_WHOLE)}\r\n\r\n{_WHOLE}".encode()
STREAM = (
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    f"{len(_EVENTS):x}\r\n{_EVENTS}\r\n0\r\n\r\n"
).encode()


class Upstream(asyncio.Protocol):
    """A provider that answers at once."""

    def __init__(self, every: "list[Upstream]") -> None:
        self._data = b""
        self._transport: Any = None
        every.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if blank and len(body) >= int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            self._data = b""
            self._transport.write(STREAM if b'"stream":true' in body else REPLY)

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()


@dataclass
class Post:
    """One batch: its ids with what each must cost, and whether it was answered 2xx."""

    name: str
    costs: dict[str, int]
    body: bytes
    acknowledged: bool = False


def a_post(name: str) -> Post:
    """``PER_POST`` entries, two to a trace, over three stages."""
    costs: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    for number in range(PER_POST):
        event, frames = f"{name}-{number}", 1 + number % 97
        costs[f"own:storm:{event}"] = frames * NUSD_PER_FRAME
        entries.append(
            {
                "id": event,
                "trace": f"{name}-{number // 2}",
                "stage": STAGES[number % 3],
                "duration_ms": number,
                "unit": "frames",
                "quantity": frames,
                "usd_per_unit": "0.000123",
            }
        )
    return Post(name, costs, json.dumps({"entries": entries}).encode())


@dataclass
class Storm:
    """One gateway's life under load. ``kill`` is called once, ``after_s`` into it; then all that comes still counts."""

    name: str
    posts_per_s: float
    calls_per_s: float
    posts: list[Post] = field(default_factory=list)
    answers: list[tuple[str, float]] = field(default_factory=list)
    """Request id and the moment its reply had ended, at the latest."""
    trouble: list[str] = field(default_factory=list)
    killed_s: float = 0.0
    began_s: float = 0.0

    async def rage(self, port: int, upstream_port: int, after_s: float, kill: Callable[[], None]) -> None:
        """Load until the blow, and to the last byte behind it."""
        loop = asyncio.get_running_loop()
        provider: list[Upstream] = []
        upstream = await loop.create_server(lambda: Upstream(provider), "127.0.0.1", upstream_port)
        self.began_s = time.monotonic()

        def strike() -> None:
            self.killed_s = time.monotonic()
            kill()

        loop.call_later(after_s, strike)
        posters, callers = 4, 8
        work = [self._connection(port, self._post, posters / self.posts_per_s) for _ in range(posters)]
        work += [self._connection(port, self._call, callers / self.calls_per_s) for _ in range(callers)]
        await asyncio.gather(*work)
        upstream.close()
        for one in provider:  # a gateway that was not killed keeps them
            one.close()

    async def _connection(self, port: int, once: Any, every_s: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        next_s = time.monotonic() + random.random() * every_s
        try:
            while not self.killed_s:
                await asyncio.sleep(max(0.0, next_s - time.monotonic()))
                next_s = max(next_s + every_s, time.monotonic() - every_s)
                await once(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if not self.killed_s:
                self.trouble.append(f"cut before the blow: {error}")
        finally:
            writer.close()

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        post = a_post(f"{self.name}-{len(self.posts)}")
        self.posts.append(post)
        status, _, body = await asked(reader, writer, "/v1/ledger/entries", post.body)
        if status == 200:
            post.acknowledged = True
            if json.loads(body) != {"accepted": PER_POST, "duplicates": 0}:
                self.trouble.append(f"{post.name}: {body!r}")
        else:
            self.trouble.append(f"a post was answered {status}: {body!r}")

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = b',"stream":true,"stream_options":{"include_usage":true}' if random.random() < 0.25 else b""
        body = b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"hello"}]%b}' % stream
        status, head, body = await asked(
            reader, writer, "/v1/chat/completions", body, b"x-penstock-stage: plan\r\n"
        )
        if status == 200 and (not stream or b"[DONE]" in body):
            request_id = head.partition(b"\r\nx-request-id:")[2].split(b"\r\n")[0].strip().decode()
            self.answers.append((request_id, time.monotonic()))
        else:
            self.trouble.append(f"a call was answered {status}: {body!r}")

    @property
    def writes_per_s(self) -> int:
        """Entries posted and answered calls, by the second."""
        done = sum(post.acknowledged for post in self.posts) * PER_POST + len(self.answers)
        return round(done / (self.killed_s - self.began_s))


async def asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes, headers: bytes = b""
) -> tuple[int, bytes, bytes]:
    """One exchange on an open connection: status, head, body."""
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: storm\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n%b\r\n%b"
        % (path.encode(), CALLER.encode(), len(body), headers, body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
    body = await (reader.readexactly(int(length)) if length else reader.readuntil(b"0\r\n\r\n"))
    return int(head.split(b" ", 2)[1]), head, body

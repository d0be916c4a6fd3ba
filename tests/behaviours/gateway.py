"""The real gateway and the real simulator on real sockets, and a caller with nothing between it and the wire.

``running_gateway(config)`` serves a configuration in a thread of its own with uvloop; ``{sim}`` in the text becomes the
simulator's URL. What a test needs: ``post``, ``stream``, ``ledger``, ``sim``, ``fresh``.
"""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
import uvloop

from penstock.gateway.house import House
from penstock.ledger.entry import Entry, Record
from penstock.ledger.rows import record_of
from penstock.observe.log import OperatorLog
from penstock.simulate import Scenario, Simulator, running_simulator
from penstock.wiring.serve import Running, ServeOptions

T = TypeVar("T")
CHAT = "/v1/chat/completions"
WAIT_S = 10.0
SECRETS = {
    "OPENAI_KEY": "sk-openai-test-000000000001",
    "SECOND_KEY": "sk-openai-test-000000000002",
    "ANTHROPIC_KEY": "sk-ant-test-000000000003",
    "GEMINI_KEY": "AIzaTest000000000000000000000000000004",
    "BACKUP_KEY": "sk-backup-test-000000000005",
    "CALLER_KEY": "vk-caller-000000000006",
    "OTHER_CALLER_KEY": "vk-other-000000000007",
    "ADMIN_KEY": "admin-000000000008",
}
MODELS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}
"""One model of each upstream dialect, by the provider's name."""

THREE_DIALECTS = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/backup/v1", retry: {max_retries: 0}}
"""
"""One provider of each dialect without retries, and a backup (OpenAI's dialect) for fallbacks."""


class Piece(NamedTuple):
    """One HTTP chunk (or the whole body), and when it was read (monotonic)."""

    at_s: float
    data: bytes


@dataclass
class Answer:
    """``ended``: complete, eof (before the body's end), reset, or timeout. Times are monotonic."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    ended: str = ""
    sent_s: float = 0.0
    head_s: float = 0.0

    @property
    def body(self) -> bytes:
        return b"".join(piece.data for piece in self.pieces)

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object of a refusal."""
        return self.json()["error"]

    def frames(self) -> list[Any]:
        """The JSON of each event of a stream; ``[DONE]`` as that text. Comments are left out."""
        return frames_of(self.body)

    @property
    def done(self) -> bool:
        """The stream ended with the marker of success."""
        return self.body.endswith(b"data: [DONE]\n\n")

    def choices(self) -> list[dict[str, Any]]:
        """Every choice of a stream's chunks, in order."""
        return [
            choice
            for frame in self.frames()
            if isinstance(frame, dict)
            for choice in frame.get("choices", [])
        ]

    def text(self) -> str:
        """What the model said, streamed or whole."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return "".join(choice["delta"].get("content") or "" for choice in self.choices())
        return self.json()["choices"][0]["message"]["content"]

    def finish(self) -> str | None:
        """The first finish reason."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            found = [choice["finish_reason"] for choice in self.choices() if choice.get("finish_reason")]
            return found[0] if found else None
        return self.json()["choices"][0]["finish_reason"]

    def usage(self) -> dict[str, Any] | None:
        """The usage that the caller saw, or None."""
        seen = [frame["usage"] for frame in self.frames() if isinstance(frame, dict) and frame.get("usage")]
        return seen[-1] if seen else None

    def stream_error(self) -> dict[str, Any] | None:
        """The error that ends a stream, or None."""
        frames = self.frames()
        return (
            frames[-1]["error"] if frames and isinstance(frames[-1], dict) and "error" in frames[-1] else None
        )


def frames_of(body: bytes) -> list[Any]:
    """The JSON of each event in ``body``."""
    found: list[Any] = []
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if data:
            joined = b"\n".join(data)
            found.append("[DONE]" if joined == b"[DONE]" else json.loads(joined))
    return found


class Stream:
    """One request on its own connection, read as it comes: iterate for pieces, or take the ``rest``."""

    def __init__(self, sock: socket.socket, sent_s: float) -> None:
        self._sock = sock
        self._buffer = b""
        self.answer = Answer(sent_s=sent_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def status(self) -> int:
        """Waits for the head."""
        self._head()
        return self.answer.status

    @property
    def headers(self) -> dict[str, str]:
        """Waits for the head."""
        self._head()
        return self.answer.headers

    def __iter__(self) -> Iterator[Piece]:
        """Pieces as they come; stops at the body's end, however it came: see ``answer.ended``."""
        try:
            self._head()
            if "content-length" in self.answer.headers:
                yield from self._sized(int(self.answer.headers["content-length"]))
            else:
                yield from self._chunks()
            self.answer.ended = "complete"
        except EOFError:
            self.answer.ended = "eof"
        except ConnectionResetError:
            self.answer.ended = "reset"
        except TimeoutError:
            self.answer.ended = "timeout"

    def until(self, wanted: bytes) -> bytes:
        """Read until ``wanted`` has come; what was read."""
        seen = b""
        for piece in self:
            seen += piece.data
            if wanted in seen:
                return seen
        raise AssertionError(f"{wanted!r} did not come; {self.answer.ended}: {seen!r}")

    def rest(self) -> Answer:
        """Read to the end, and close."""
        for _ in self:
            pass
        self.close()
        return self.answer

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def reset(self) -> None:
        """Hang up with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self._sock.close()

    def _head(self) -> None:
        if self.answer.status:
            return
        head = self._until(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head = self._until(b"\r\n\r\n")
        self.answer.head_s = time.monotonic()
        status, *lines = head.decode("latin-1").split("\r\n")
        self.answer.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        self.answer.status = int(status.split(" ")[1])

    def _sized(self, length: int) -> Iterator[Piece]:
        while len(self._buffer) < length:
            self._more()
        piece, self._buffer = self._buffer[:length], self._buffer[length:]
        yield self._kept(piece)

    def _chunks(self) -> Iterator[Piece]:
        while size := int(self._until(b"\r\n"), 16):
            while len(self._buffer) < size + 2:
                self._more()
            piece, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
            yield self._kept(piece)
        self._until(b"\r\n")

    def _kept(self, data: bytes) -> Piece:
        piece = Piece(time.monotonic(), data)
        self.answer.pieces.append(piece)
        return piece

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _more(self) -> None:
        data = self._sock.recv(262144)
        if not data:
            raise EOFError
        self._buffer += data


class Gateway:
    """A gateway that runs, with the simulator behind it. Any method may be called from any thread."""

    def __init__(
        self,
        running: Running,
        sim: Simulator,
        loop: asyncio.AbstractEventLoop,
        config: Path,
        urls: Mapping[str, str],
    ) -> None:
        self.running = running
        self.sim = sim
        self.loop = loop
        self.config = config
        self.urls = urls
        self.url = running.url
        self.scripted: Scripted | None = None

    # Calls.

    def open(
        self,
        body: Any,
        path: str = CHAT,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        timeout_s: float = WAIT_S,
    ) -> Stream:
        """Send, and return at once. ``body`` bytes go as they are, anything else as JSON; None sends none."""
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"content-length: {len(payload)}"]
        if payload:
            lines.append("content-type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        parts = urlsplit(self.url)
        sock = socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)
        sent_s = time.monotonic()
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + payload)
        return Stream(sock, sent_s)

    def post(
        self,
        body: Any,
        path: str = CHAT,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = WAIT_S,
    ) -> Answer:
        """One POST, read to its end, streamed or not."""
        return self.open(body, path, headers, timeout_s=timeout_s).rest()

    def stream(self, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> Stream:
        """One streamed chat call, to be read as it comes."""
        return self.open({**body, "stream": True}, headers=headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """One GET."""
        return self.open(None, path, headers, method="GET").rest()

    # What the gateway knows.

    def inside(self, ask: Callable[[], T]) -> T:
        """Call ``ask`` in the gateway's own thread."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(ask())
            except BaseException as error:
                done.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return done.result(WAIT_S)

    @property
    def house(self) -> House:
        """The configuration in force, built."""
        assert self.running.app is not None
        return self.running.app.house

    def ledger(self, any_id: str) -> Record:
        """The record of a request id or of a body id; waits for a call that is still being settled."""
        until_s = time.monotonic() + WAIT_S
        while True:
            self.inside(self.house.books.flush)
            record = self.inside(lambda: self.house.journal.find(any_id))
            if record is not None:
                return record
            assert time.monotonic() < until_s, f"no record of {any_id}"
            time.sleep(0.002)

    def stored(self, request_id: str) -> Record:
        """The same record, read back from the database after a flush."""
        self.inside(self.house.books.flush)
        assert self.house.journal.flush(WAIT_S)
        return self.ledger(request_id)

    def entry(self, any_id: str) -> Entry:
        """The only attempt of a call."""
        record = self.ledger(any_id)
        assert len(record.entries) == 1, record
        return record.entries[0]

    def story(self, request_id: str) -> dict[str, Any]:
        """What was decided on the way of a call: the same plain data from the queue and from the database."""
        return msgspec.to_builtins(self.ledger(request_id).call.explain)

    def refused(self, request_id: str) -> list[tuple[str, str]]:
        """Targets that the plan refused, and the code of why."""
        return [(target, code) for target, code, _ in self.story(request_id).get("refused", ())]

    def last_record(self) -> Record:
        """The newest call that reached the ledger: for callers that never saw a head."""
        self.inside(self.house.books.flush)
        journal = self.house.journal
        rows = self.inside(
            lambda: [
                row for lot in (*(lot for _, lot in journal._put_by), journal.pending) for row in lot.values()
            ]
        )
        if rows:
            return record_of(rows[-1]) if isinstance(rows[-1], tuple) else rows[-1]
        with self.house.journal._store._reading:
            row = self.house.journal._store._reader.execute(
                "SELECT request_id FROM calls ORDER BY at_ms DESC, request_id DESC LIMIT 1"
            ).fetchone()
        return self.ledger(row[0])

    # What the providers see.

    def sent(self) -> Any:
        """The JSON body of the last request that a provider received."""
        return json.loads(self.sim.requests[-1].body)

    def faults(self, *faults: Mapping[str, Any]) -> None:
        """The providers fail so from now on."""
        self.sim.set_faults(faults)

    def kept(self) -> None:
        """Wait until the answers that have left can be found in the cache: their vectors are made after."""
        caching: Any = self.house.caching
        until_s = time.monotonic() + WAIT_S
        while caching is not None and self.inside(lambda: bool(caching.flights.behind)):
            assert time.monotonic() < until_s, "an answer is still being kept"
            time.sleep(0.002)

    def fresh(self) -> None:
        """Healthy providers, no cooling keys, no faults, an empty log of requests."""
        self.sim.clear()

        def forget() -> None:
            self.house.health._records.clear()
            for provider in self.house.providers.values():
                provider.keys._cooling.clear()

        self.inside(forget)

    def reload(self, config: str) -> list[str]:
        """Another configuration, as SIGHUP would bring it; the faults that refused it."""
        self.config.write_text(filled(config, self.urls), encoding="utf-8")
        return asyncio.run_coroutine_threadsafe(self.running.reload(), self.loop).result(WAIT_S)


def filled(config: str, urls: Mapping[str, str]) -> str:
    """``config`` with each ``{name}`` of ``urls`` filled in."""
    for name, url in urls.items():
        config = config.replace("{" + name + "}", url)
    return config


def chat(model: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    """A chat request of one user's message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def at(provider: str, kind: str, /, **more: Any) -> dict[str, Any]:
    """A fault of one provider only."""
    return {"kind": kind, "when": {"providers": [provider]}, **more}


@contextmanager
def running_gateway(
    folder: Path,
    config: str = THREE_DIALECTS,
    *,
    scenario: Scenario | Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] = SECRETS,
    prepare: Callable[[Simulator], Mapping[str, str]] | None = None,
    **urls: str,
) -> Generator[Gateway]:
    """``config`` served until the block ends; ``{sim}`` and each ``{name}`` of ``urls`` in it are filled in.

    ``prepare`` may give more such names, made with the simulator before the configuration is read.
    """
    if scenario is not None and not isinstance(scenario, Scenario):
        scenario = msgspec.convert(scenario, Scenario)
    with running_simulator(scenario) as sim:
        urls = {"sim": sim.url, **urls, **(prepare(sim) if prepare is not None else {})}
        path = folder / "penstock.yaml"
        path.write_text(filled(config, urls), encoding="utf-8")
        with _thread() as loop:
            options = ServeOptions(config=path, port=0, db=str(folder / "ledger.db"))
            running = _on(loop, lambda: Running(options, secrets, OperatorLog()))
            faults = asyncio.run_coroutine_threadsafe(running.start(), loop).result(WAIT_S)
            assert faults == []
            try:
                yield Gateway(running, sim, loop, path, urls)
            finally:
                asyncio.run_coroutine_threadsafe(running.stop(), loop).result(WAIT_S)


@contextmanager
def _thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = uvloop.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    thread = threading.Thread(target=run, name="gateway", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _on(loop: asyncio.AbstractEventLoop, make: Callable[[], T]) -> T:
    async def run() -> T:
        return make()

    return asyncio.run_coroutine_threadsafe(run(), loop).result(WAIT_S)


class Scripted:
    """An upstream of which a test owns every byte: what the simulator cannot say, this can.

    ``says`` is the list of what to send for each request: bytes, or seconds to wait, or ``None`` to close the
    connection (else it stays open until the caller closes it). ``bodies`` are the requests' bodies.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.says: list[bytes | float | None] = []
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._accepting = threading.Thread(target=self._accept, name="scripted", daemon=True)
        self._accepting.start()

    def sse(
        self,
        *frames: bytes | float | dict[str, Any],
        end: bool = True,
        content_type: str = "text/event-stream",
    ) -> None:
        """Say a stream: dicts become ``data:`` events, bytes go as they are; ``end`` False keeps it open."""
        said = [
            b"data: " + json.dumps(one).encode() + b"\n\n" if isinstance(one, dict) else one for one in frames
        ]
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n".encode()
        self.says = [head, *said, *([None] if end else [])]

    def whole(self, body: Any, status: int = 200, content_type: str = "application/json") -> None:
        """Say a whole reply."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(payload)}\r\n\r\n"
        )
        self.says = [head.encode() + payload]

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, EOFError):
            sock.settimeout(WAIT_S)
            while True:
                self._request(sock)
                for one in list(self.says):
                    if one is None:
                        return
                    if isinstance(one, bytes):
                        sock.sendall(one)
                    else:
                        time.sleep(one)

    def _request(self, sock: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += _received(sock)
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += _received(sock)
        self.heads.append(head)
        self.bodies.append(body)


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(262144)
    if not data:
        raise EOFError
    return data

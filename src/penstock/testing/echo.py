"""A tiny real HTTP server that answers chat completions with what it was sent: OpenAI's shape, standard library only."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
from msgspec import Struct

STREAM_PIECES = 4


class Heard(Struct, frozen=True):
    """One request as it came. ``headers`` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class EchoUpstream:
    """``with EchoUpstream() as echo:`` - listening on loopback inside the block.

    Every POST is answered by a chat completion whose content is the request's body as text (streamed, in four pieces
    and with usage at the end, where it says ``"stream": true``): what a gateway sends is what the caller reads.
    ``heard`` keeps the requests. ``base_url`` is what an OpenAI client or a provider's ``network.base_url`` takes.
    """

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._sockets: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.base_url = f"{self.url}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="echo", daemon=True
        )

    def __enter__(self) -> Self:
        """Listens."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Gone, with every connection."""
        self._server.shutdown()
        self._thread.join()
        for one in list(self._sockets):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its caller was faster
        self._server.server_close()

    def took(self, one: socket.socket) -> None:
        """A connection has come."""
        self._sockets.add(one)

    def lost(self, one: socket.socket) -> None:
        """A connection is over."""
        self._sockets.discard(one)


class _Server(ThreadingHTTPServer):
    """Its threads are waited for at the end, so that no socket outlives the block."""

    daemon_threads = False
    request_queue_size = 128


def _handler(echo: EchoUpstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            echo.took(self.connection)

        def finish(self) -> None:
            echo.lost(self.connection)
            super().finish()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            self._hear(body)
            asked, text = _read(body), body.decode("utf-8", "replace")
            if asked.stream is True:
                self._answer(_stream(text, str(asked.model)), "text/event-stream")
            else:
                self._answer(_whole(text, str(asked.model)), "application/json")

        def do_GET(self) -> None:
            self._hear(b"")
            self._answer(b'{"object":"list","data":[]}', "application/json")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            """Silent."""

        def _hear(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            echo.heard.append(Heard(self.command, self.path, headers, body))

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


class _Asked(Struct, frozen=True):
    model: Any = "echo"
    stream: Any = False


def _read(body: bytes) -> _Asked:
    """What matters of the request; the defaults where it is no JSON object."""
    try:
        return msgspec.json.decode(body, type=_Asked)
    except ValueError:  # msgspec's errors are ValueErrors
        return _Asked()


def _usage(text: str) -> dict[str, int]:
    words = max(1, len(text.split()))
    return {"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words}


def _whole(text: str, model: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    reply = {
        "id": "chatcmpl-echo",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
    }
    return json.dumps({**reply, "usage": _usage(text)}).encode()


def _stream(text: str, model: str) -> bytes:
    frame = {"id": "chatcmpl-echo", "object": "chat.completion.chunk", "created": 0, "model": model}
    size = -(-len(text) // STREAM_PIECES) or 1
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": text[at : at + size]}, None) for at in range(0, len(text), size)]
    deltas.append(({}, "stop"))
    frames: list[dict[str, Any]] = [
        {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]} for delta, why in deltas
    ]
    frames.append({**frame, "choices": [], "usage": _usage(text)})
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in frames) + b"data: [DONE]\n\n"

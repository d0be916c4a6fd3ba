"""A caller with nothing between it and the socket: what came, in which chunks, and how it ended."""

import json
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

MESSAGES = [{"role": "user", "content": "hello"}]
OPENAI_BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": MESSAGES}
OPENAI_STREAM: dict[str, Any] = {**OPENAI_BODY, "stream": True, "stream_options": {"include_usage": True}}


@dataclass
class RawReply:
    """``ended``: complete, eof (before the end), reset, or timeout."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    ended: str = ""
    wire: bytes = b""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def json(self) -> Any:
        return json.loads(self.body)

    def frames(self) -> list[Any]:
        """The JSON of each data line; "[DONE]" as it is."""
        lines = self.body.replace(b"\r\n", b"\n").split(b"\n")
        data = [line[6:] for line in lines if line.startswith(b"data: ")]
        return [one.decode() if one == b"[DONE]" else json.loads(one) for one in data]


def connect(url: str, timeout_s: float = 5.0) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout_s)


def request_bytes(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: sim", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def ask(
    url: str,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeout_s: float = 5.0,
) -> RawReply:
    """One request on a connection of its own. ``body`` bytes go as they are, else as JSON."""
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    with connect(url, timeout_s) as sock:
        sock.sendall(request_bytes(method, path, payload, {"authorization": "Bearer k", **(headers or {})}))
        return read_reply(sock)


def read_reply(sock: socket.socket) -> RawReply:
    reply = RawReply()
    data = b""
    while True:
        done = _parse(data, reply)
        if done:
            reply.ended = "complete"
            break
        try:
            more = sock.recv(65536)
        except TimeoutError:
            reply.ended = "timeout"
            break
        except ConnectionResetError:
            reply.ended = "reset"
            break
        if not more:
            reply.ended = "eof"
            break
        data += more
    reply.wire = data
    return reply


def _parse(data: bytes, reply: RawReply) -> bool:
    """Fill ``reply`` from all that came so far; True when it is complete."""
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return False
    status, *lines = head.decode("latin-1").split("\r\n")
    reply.status = int(status.split(" ")[1])
    reply.headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    reply.chunks = []
    if "content-length" in reply.headers:
        length = int(reply.headers["content-length"])
        reply.chunks = [rest[:length]]
        return len(rest) >= length
    if reply.headers.get("transfer-encoding") != "chunked":
        reply.chunks = [rest]
        return False
    while True:
        size_text, line_end, after = rest.partition(b"\r\n")
        if not line_end:
            return False
        size = int(size_text, 16)
        if size == 0:
            return after.startswith(b"\r\n")
        if len(after) < size + 2:
            return False
        reply.chunks.append(after[:size])
        rest = after[size + 2 :]

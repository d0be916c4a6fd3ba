"""Somebody else's receiver of webhooks, on a real socket, that verifies what it is sent as the how-to page says."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)

    def is_signed_by(self, key: bytes) -> bool:
        said = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        mac = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(f"v1,{mac}", self.headers["webhook-signature"])


class Receiver:
    """``statuses``: what the next requests are answered, then 204. ``hold``: answer nobody until it is set."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.statuses: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.hold.wait(10)
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posted.append(
                    Posted(self.path, headers, body, status)
                )  # before the next one may come
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it has been told so."""
        until_s = time.monotonic() + 15
        while not holds():
            assert time.monotonic() < until_s, self.posted
            time.sleep(0.005)

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()

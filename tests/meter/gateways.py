"""Gateways that misbehave: a socket server that answers each post as it is told."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = tuple[int, bytes]


def taken(events: list[dict[str, Any]]) -> Answer:
    """As a gateway that stores them."""
    return 200, json.dumps({"accepted": len(events), "duplicates": 0}).encode()


class ToldGateway:
    """``answers(events, nth post)`` gives status and body; ``posts`` are the events of each post, ``keys`` its credential."""

    def __init__(self, answers: Callable[[list[dict[str, Any]], int], Answer], port: int = 0) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.keys: list[str | None] = []
        self.delay_s = 0.0
        self.hangs_up = False
        """After each answer, without having said so."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                events = json.loads(self.rfile.read(int(self.headers["content-length"])))["entries"]
                outer.posts.append(events)
                outer.keys.append(self.headers["authorization"])
                time.sleep(outer.delay_s)
                status, body = answers(events, len(outer.posts))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = outer.hangs_up

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for post in self.posts for event in post]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

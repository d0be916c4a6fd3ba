"""One batch to the gateway over one kept connection, and what its answer means for the batch."""

import http.client
import json
import re
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 15.0
"""Longer than the gateway itself waits for its disk."""
MAX_RETRY_AFTER_S = 30.0
_REFUSED = (400, 413, 422)
"""The batch's own fault: sent again as it is, it would be refused again."""
_PLACE = re.compile(r"\$\.entries\[(\d+)\]")


class Target(NamedTuple):
    """Where to post."""

    secure: bool
    host: str
    port: int
    path: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        """Without the headers: they hold the key."""
        return f"Target({self.host}:{self.port}{self.path})"


class Said(NamedTuple):
    """What became of a batch. Nothing taken and nothing faulty: try it again, after a while, or (``halve``) in halves."""

    taken: int = 0
    faulty: int = 0
    left: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    why: str = ""
    retry_after_s: float = 0.0
    halve: bool = False


def target_of(url: str, key: str | None) -> Target:
    """From a base URL, with or without /v1. ValueError, with a sentence, for what is none."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("The gateway's URL is none: write http://host:port.")
    secure = parts.scheme == "https"
    path = parts.path.rstrip("/").removesuffix("/v1") + "/v1/ledger/entries"
    headers = {"content-type": "application/json", "user-agent": "penstock-meter"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    return Target(secure, parts.hostname, parts.port or (443 if secure else 80), path, headers)


class Sender:
    """Keeps one connection. Belongs to one thread."""

    def __init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None
        self._to: Target | None = None

    def post(self, target: Target, events: list[dict[str, Any]]) -> Said:
        """Send events; never raises for what the network or the gateway does."""
        body, kept, broken = _encoded(events)
        if broken:
            return Said(faulty=broken, left=kept, why="a field cannot be written as JSON")
        for fresh in (False, True):  # a kept connection may have been closed meanwhile
            kept_open = self._connection is not None and self._to == target and not fresh
            try:
                status, wait, answer = self._exchange(target, body, fresh=not kept_open)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._close()
                if kept_open and not isinstance(error, TimeoutError):
                    continue
                return Said(why=f"{type(error).__name__}: {error}")
            return _meaning(status, wait, answer, events)
        return Said(why="the connection was closed")

    def _exchange(self, target: Target, body: bytes, *, fresh: bool) -> tuple[int, float, bytes]:
        if fresh or self._connection is None:
            self._close()
            self._to = target
            self._connection = (
                http.client.HTTPSConnection(
                    target.host, target.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
                )
                if target.secure
                else http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_S)
            )
        self._connection.request("POST", target.path, body, target.headers)
        reply = self._connection.getresponse()
        answer = reply.read()
        wait = reply.getheader("retry-after") or ""
        return reply.status, min(float(wait), MAX_RETRY_AFTER_S) if wait.isdecimal() else 0.0, answer

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _encoded(events: list[dict[str, Any]]) -> tuple[bytes, list[dict[str, Any]], int]:
    """The body; where some events cannot be written, those that can, and how many cannot."""
    pieces: list[str] = []
    kept: list[dict[str, Any]] = []
    for event in events:
        try:
            pieces.append(json.dumps(event, default=str, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            continue
        kept.append(event)
    return f'{{"entries":[{",".join(pieces)}]}}'.encode(), kept, len(events) - len(kept)


def _meaning(status: int, wait_s: float, answer: bytes, events: list[dict[str, Any]]) -> Said:
    if status == http.client.OK and b'"accepted"' in answer:
        return Said(taken=len(events))
    why = f"HTTP {status} {_sentence(answer)}"
    if status not in _REFUSED:
        return Said(why=why, retry_after_s=wait_s)
    wrong = {int(at) for at in _PLACE.findall(answer.decode("utf-8", "replace")) if int(at) < len(events)}
    if not wrong and len(events) > 1:
        return Said(why=why, halve=True)
    wrong = wrong or {0}
    left = [event for at, event in enumerate(events) if at not in wrong]
    return Said(faulty=len(wrong), left=left, why=why)


def _sentence(answer: bytes) -> str:
    """The gateway's own words, as far as they can be read."""
    try:
        document: Any = json.loads(answer)
        return str(document["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return answer[:100].decode("utf-8", "replace")

"""Alerts on their way out: signed, retried, bounded, and in nobody's way.

Signed as standardwebhooks.com says, for which there are libraries: ``webhook-signature: v1,BASE64`` is the HMAC-SHA256 of
``ID.TIMESTAMP.BODY``. The id stays the same through all tries, so that a receiver can tell a repetition.

Rules
- Each address has its own queue and its own task: one that does not answer holds up nobody else.
- Anything but 2xx is tried again, after longer and longer waits; then it is given up, and that is said. One that waits for its
  next try lets the others pass: a receiver that chokes on one message gets the later ones. Else the order is kept.
- A full queue drops its oldest: the newest says most. What waits is lost with the process.
- Address and secret are never shown (an address is often a secret, too): the log and the metrics name its host.
"""

import asyncio
import base64
import contextlib
import hmac
import random
import secrets
from collections import deque
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.clock import Clock
from penstock.base.endpoint import parse_hook_url
from penstock.base.errors import UpstreamError
from penstock.config.hooks import signing_key
from penstock.net.transport import Deadlines, Transport, TransportSettings
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.observe.names import WEBHOOKS
from penstock.wire.http import Headers, WireRequest
from penstock.wire.retry_hint import retry_after_s

BACK_OFF_S = (0.5, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Between two tries; a quarter less or more, so that a hundred gateways do not come back in one moment."""
MAX_WAITING = 256
GRACE_S = 2.0
_DEADLINES = Deadlines(connect_s=5.0, first_byte_s=10.0, idle_s=10.0, total_s=15.0)
_OK, _REDIRECT = 200, 300


class Address(Struct, frozen=True):
    """Where alerts go, and what signs them. ValueError (with a sentence that repeats neither) if they cannot be used."""

    url: str
    secret: str

    def __repr__(self) -> str:
        """Without address and secret."""
        return f"Address({parse_hook_url(self.url)[0].where})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """For rich, which would not ask ``__repr__``."""
        return [("where", parse_hook_url(self.url)[0].where)]


class _Message(Struct, frozen=True):
    id: str
    body: bytes


class _Waiting(Struct, eq=False):
    """A message in one address's queue: how often it was tried, and when (monotonic) it may be again."""

    message: _Message
    tries: int = 0
    due_s: float = 0.0


class Webhooks:
    """All addresses of one process. Belongs to one event loop."""

    def __init__(self, log: OperatorLog, metrics: Metrics, clock: Clock, rng: random.Random) -> None:
        self._told = _Told(log, metrics)
        self._clock = clock
        self._rng = rng
        self._posts: dict[Address, _Post] = {}
        self._gone: list[_Post] = []

    def change(self, addresses: list[Address]) -> None:
        """Another configuration. One that stays keeps its queue; one that is gone empties it, and gets no more."""
        before, self._posts = self._posts, {}
        for one in addresses:
            self._posts[one] = before.pop(one, None) or _Post(one, self._told, self._clock, self._rng)
        self._gone = [post for post in (*self._gone, *before.values()) if post.task is not None]

    def post(self, told: dict[str, Any]) -> None:
        """Send ``told`` to every address, now or later."""
        message = _Message(f"msg_{secrets.token_hex(12)}", msgspec.json.encode(told))
        for one in self._posts.values():
            one.add(message)

    async def aclose(self, grace_s: float = GRACE_S) -> None:
        """A moment for what waits; the rest is lost, and said to be."""
        posts = [*self._posts.values(), *self._gone]
        tasks = [one.task for one in posts if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for one in posts:
            await one.aclose()


class _Told:
    """What became of messages."""

    def __init__(self, log: OperatorLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def count(self, where: str, outcome: str) -> None:
        self._metrics.add(WEBHOOKS, 1, where, outcome)

    def lost(self, where: str, count: int, outcome: str, why: str) -> None:
        self._metrics.add(WEBHOOKS, count, where, outcome)
        self._log.fault("webhook.failed", host=where, alerts=count, why=why)

    def retry(self, where: str, wait_s: float, why: str) -> None:
        self.count(where, "retried")
        self._log.once(
            f"webhook {where}", f"The webhook at {where} took no alert ({why}); again in {wait_s:.1f} s."
        )


class _Post:
    """One address, its queue, and the task that empties it while there is something in it."""

    def __init__(self, address: Address, told: _Told, clock: Clock, rng: random.Random) -> None:
        endpoint, self._path = parse_hook_url(address.url)
        self._where = endpoint.where
        self._key = signing_key(address.secret)
        self._transport = Transport(TransportSettings(endpoint=endpoint, max_connections=2))
        self._told = told
        self._clock = clock
        self._rng = rng
        self._waiting: deque[_Waiting] = deque()
        self._more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def add(self, message: _Message) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._told.lost(self._where, 1, "dropped", f"{MAX_WAITING} alerts wait already")
        self._waiting.append(_Waiting(message))
        self._more.set()
        if self.task is None:
            self.task = asyncio.ensure_future(self._run())

    async def aclose(self) -> None:
        """Let go of it."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
        if self._waiting:
            self._told.lost(self._where, len(self._waiting), "dropped", "the gateway stopped")
            self._waiting.clear()
        await self._transport.aclose()

    async def _run(self) -> None:
        try:
            while self._waiting:
                now_s = self._clock.monotonic_s()
                due = next((one for one in self._waiting if one.due_s <= now_s), None)
                if due is None:
                    await self._rest(min(one.due_s for one in self._waiting) - now_s)
                elif await self._deliver(due) and due in self._waiting:  # else it was dropped meanwhile
                    self._waiting.remove(due)
        finally:
            self.task = None

    async def _rest(self, wait_s: float) -> None:
        """Until the next is due, or another comes."""
        self._more.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._more.wait(), wait_s)

    async def _deliver(self, waiting: _Waiting) -> bool:
        """Try it once. True: it is taken, or given up."""
        why, hint_s = await self._try(waiting.message)
        if not why:
            self._told.count(self._where, "delivered")
            return True
        if waiting.tries >= len(BACK_OFF_S):
            self._told.lost(self._where, 1, "failed", f"given up after {len(BACK_OFF_S) + 1} tries: {why}")
            return True
        back_off_s = BACK_OFF_S[waiting.tries]
        wait_s = max(back_off_s * (0.75 + self._rng.random() / 2), min(hint_s, BACK_OFF_S[-1]))
        waiting.tries += 1
        waiting.due_s = self._clock.monotonic_s() + wait_s
        self._told.retry(self._where, wait_s, why)
        return False

    async def _try(self, message: _Message) -> tuple[str, float]:
        """Why it was not taken ("": it was), and how long to wait, as the receiver says."""
        now_s = self._clock.unix_s()
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"user-agent", b"penstock"),
            *signed(self._key, message.id, int(now_s), message.body),
        ]
        try:
            exchange = await self._transport.send(
                WireRequest(b"POST", self._path, headers, message.body), _DEADLINES
            )
        except UpstreamError as error:
            return error.message, 0.0
        status, hint_s = exchange.status, retry_after_s(exchange.headers, now_s)
        exchange.abort()  # nobody reads what it says
        return "" if _OK <= status < _REDIRECT else f"status {status}", hint_s or 0.0


def signed(key: bytes, message_id: str, at_s: int, body: bytes) -> Headers:
    """The three headers of a signed message."""
    mac = hmac.digest(key, b"%b.%d.%b" % (message_id.encode(), at_s, body), "sha256")
    return [
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", b"%d" % at_s),
        (b"webhook-signature", b"v1," + base64.b64encode(mac)),
    ]

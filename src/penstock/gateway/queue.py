"""Calls that wait for a provider that serves only so many at a time: who runs, who waits, whose turn is next.

Theory
------
A place is taken at once where one is free and nobody waits, which the short lane can do, too. Else a call waits, and
``routing.fair`` says whose turn it is when a place comes back: it goes from hand to hand, and is never free while
somebody waits. Fair is by tokens: the prompt's, and as many of a reply as this key's replies had lately.

Rules
- A call that is refused, gives up or has run leaves nothing behind: neither a place nor a place in the line.
- A reload keeps the queues: who waits goes on waiting, under the new numbers.
"""

import asyncio
import time

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.usage import Usage
from penstock.config.schema import QueueConfig
from penstock.observe.metrics import Metrics
from penstock.observe.names import QUEUE_CALLS, QUEUE_RUNNING, QUEUE_WAIT, QUEUE_WAITING
from penstock.routing.fair import FairQueue, Priority, Waiting

REPLY_TOKENS = 256
"""Of a key that has had no reply yet."""
_NEW = 1 / 8
"""What one reply weighs in the mean of its key."""
_MAX_KEYS = 4096


class _Waiter(Struct, eq=False):
    """A call in the queue. ``passed``: its turn came when its caller had gone."""

    turn: "asyncio.Future[None]"
    granted: bool = False
    passed: bool = False


class ProviderQueue:
    """The places of one provider, and the calls that wait for one. Belongs to one event loop."""

    __slots__ = (
        "_fair",
        "_most",
        "_reply_tokens",
        "at_once",
        "gave_up",
        "name",
        "refused",
        "running",
        "waited",
        "waited_s",
    )

    def __init__(self, name: str, settings: QueueConfig) -> None:
        self.name = name
        self.running = 0
        self.at_once = self.waited = self.gave_up = self.refused = 0
        self.waited_s = 0.0
        self._reply_tokens: dict[str, float] = {}
        self._fair: FairQueue[_Waiter] = FairQueue(1, quantum=REPLY_TOKENS)
        self.change(settings)

    def change(self, settings: QueueConfig) -> None:
        """New numbers, as a reload brings them. Who waits already is not refused by them."""
        self._most = settings.max_concurrent
        self._fair.resize(
            settings.max_waiting,
            most_a_key=settings.max_waiting_per_key,
            interactive_share=settings.interactive_share,
        )
        self._grant()

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return len(self._fair)

    def enter_now(self) -> bool:
        """Take a place that is free, if nobody waits for one."""
        if self.running >= self._most or len(self._fair):
            return False
        self.running += 1
        self.at_once += 1
        return True

    async def enter(self, key: str, tokens: int, priority: Priority, left_s: float) -> Rejected | None:
        """A place, after at most ``left_s`` in line. Refused at once where the queue is full."""
        if self.enter_now():
            return None
        began_s = time.monotonic()
        one = self._fair.offer(_Waiter(asyncio.get_running_loop().create_future()), key, tokens, priority)
        if isinstance(one, Rejected):
            self.refused += 1
            return Rejected(one.code, f"{self.name} is busy: {one.reason}", retry_after_s=one.retry_after_s)
        try:
            async with asyncio.timeout(left_s):
                await one.item.turn
        except TimeoutError:
            self._give_up(one)
            return Rejected("queue-timeout", f"No place at {self.name} came free within {left_s:.1f} s.")
        except BaseException:
            self._give_up(one)
            raise
        self.waited += 1
        self.waited_s += time.monotonic() - began_s
        return None

    def leave(self, key: str, usage: Usage | None) -> None:
        """The attempt of a call is over: its place goes to who is next."""
        if usage is not None:
            means, tokens = self._reply_tokens, usage.completion_tokens
            if len(means) >= _MAX_KEYS and key not in means:
                means.clear()
            mean = means.get(key)
            means[key] = tokens if mean is None else mean + (tokens - mean) * _NEW
        self.running -= 1
        self._grant()

    def tell(self, metrics: Metrics) -> None:
        """How it stands, and what has become of all calls."""
        metrics.set(QUEUE_RUNNING, self.running, self.name)
        metrics.set(QUEUE_WAITING, self.waiting, self.name)
        metrics.set(QUEUE_CALLS, self.at_once, self.name, "at-once")
        metrics.set(QUEUE_CALLS, self.waited, self.name, "waited")
        metrics.set(QUEUE_CALLS, self.refused, self.name, "refused")
        metrics.set(QUEUE_CALLS, self.gave_up, self.name, "gave-up")
        metrics.set(QUEUE_WAIT, self.waited_s, self.name)

    def reply_tokens(self, key: str, most: int | None) -> int:
        """How long this key's next reply will be, as it seems."""
        tokens = int(self._reply_tokens.get(key, REPLY_TOKENS))
        return tokens if most is None else min(tokens, most)

    def _grant(self) -> None:
        while self.running < self._most:
            one = self._fair.next()
            if one is None:
                return
            if one.item.turn.done():  # cancelled, and its task has not come to leave yet
                one.item.passed = True
                continue
            self.running += 1
            one.item.granted = True
            one.item.turn.set_result(None)

    def _give_up(self, one: Waiting[_Waiter]) -> None:
        self.gave_up += 1
        if one.item.granted:  # in this very moment
            self.running -= 1
            self._grant()
        elif not one.item.passed:
            self._fair.leave(one)

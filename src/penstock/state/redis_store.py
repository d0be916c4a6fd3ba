"""Many nodes: slices, credit and news in one Redis (or Valkey), which all of them reach.

A call costs no round trip as long as what its node has leased lasts (``ledger.leases``, ``routing.credit``); the scripts
decide in the store's own time (``redis_scripts``).

Rules
- The store is gone: nothing is granted, so hard budgets refuse once their slices are used; ``fault`` says why. It is asked
  again twice a second at most; nobody waits for it longer than a second.
- It is back, and knows all: totals are told again, so nothing is counted twice. It is back and has forgotten (another
  ``epoch``): everybody says again what it was granted, and what all had taken when it last heard; meanwhile nothing is
  granted.
- News (a key cools down, a target fails, somebody is short) is told once, to whoever listens; nothing depends on it.
- The URL may hold a password: it is never shown.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from penstock.base.errors import ConfigFault
from penstock.ledger.leases import LEASE_S, Claim, Grant, Pot
from penstock.routing import credit
from penstock.routing.credit import CreditClaim, CreditGrant
from penstock.state.embedded import KEPT_S
from penstock.state.redis_scripts import CREDIT, SLICES, STANDING

ANSWER_S = 1.0
RETRY_S = 0.5
RECALL_S = 0.03
"""How long those who hold idle credit have to give it back."""
_FORGET_HOLDER_S = 3600.0
_PATH = "$.state.url"

Answerer = Callable[[bytes], Awaitable[bytes]]
_Slices = tuple[str, list[tuple[int, int, int, int, float, bool, int]]]
_encode = msgspec.msgpack.Encoder().encode
_slices = msgspec.msgpack.Decoder(_Slices).decode
_standings = msgspec.msgpack.Decoder(list[tuple[int, int]]).decode
_credits = msgspec.msgpack.Decoder(list[tuple[int, int, int, float, float, bool]]).decode
_credit_claims = msgspec.msgpack.Decoder(list[CreditClaim]).decode


class _News(msgspec.Struct, array_like=True, frozen=True):
    """A message to all nodes."""

    sender: str
    kind: str
    payload: bytes


_news = msgspec.msgpack.Decoder(_News).decode


class RedisStore:
    """``SliceStore``, ``CreditStore`` and the way to the other nodes. Belongs to one event loop. ``run`` names this process."""

    def __init__(self, url: str, prefix: str, run: str) -> None:
        self.fault: str | None = None
        self.shown = _shown(url)
        self._prefix = f"{{{prefix}}}"
        self._run = run
        try:
            connect: Any = Redis.from_url  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            self._redis: Any = connect(
                url,
                socket_timeout=ANSWER_S,
                socket_connect_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),
                client_name="penstock",
            )
        except ValueError:
            raise ConfigFault(
                "The shared state's URL cannot be read (it is not repeated here).",
                path=_PATH,
                hint="Write redis://user:password@host:6379/0; percent-encode special characters.",
            ) from None
        self._slices_script = self._redis.register_script(SLICES)
        self._standing_script = self._redis.register_script(STANDING)
        self._credit_script = self._redis.register_script(CREDIT)
        self._epoch = ""
        self._heard: dict[tuple[str, Pot], tuple[Claim, Grant]] = {}
        """The last word on each pot: what is told to a store that has forgotten."""
        self._retry_at_s = 0.0
        self._answerers: dict[str, Answerer] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def open(self) -> None:
        """See that it is there, and listen. Raises ConfigFault where it is not."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            await self.aclose()
            raise ConfigFault(
                f"The shared state {self.shown} cannot be reached: {_words(error)}.",
                path=_PATH,
                hint="Check that the server runs, and that this user may run scripts.",
            ) from error
        self._keep(self._listen())

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        """Slices, decided there. [] where the store does not answer."""
        if not claims:
            return []
        before = self._epoch
        grants = await self._exchange(claims)
        if before and self._epoch != before:
            await self._remind({(claim.holder, claim.pot) for claim in claims})
        return grants

    async def exchange_credit(self, claims: list[CreditClaim]) -> list[CreditGrant] | None:
        """Credit, decided there; what lies idle elsewhere is called back first. None: the store does not answer."""
        grants = await self._credit(claims, again=False)
        if grants is None:
            return None
        short = [at for at, grant in enumerate(grants) if grant.idle]
        if short:
            await self._publish("recall", _encode([grants[at].pot for at in short]))
            await asyncio.sleep(RECALL_S)
            decided = await self._credit([claims[at] for at in short], again=True)
            for at, grant in zip(short, decided or (), strict=False):
                grants[at] = grant
        return grants

    async def standing(self, pots: list[Pot]) -> list[tuple[int, int]]:
        """Of each pot what was spent as far as is known, and what is leased beyond that; () where nobody answers."""
        if not pots:
            return []
        words = await self._call(self._standing_script, [self._pot(pot) for pot in pots], b"")
        return [] if words is None else _standings(words)

    def on(self, kind: str, answerer: Answerer) -> None:
        """Who hears news of this kind."""
        self._answerers[kind] = answerer

    def tell(self, kind: str, payload: bytes) -> None:
        """Say something to all other nodes, if they can be reached."""
        self._keep(self._publish(kind, payload))

    async def gather(self, kind: str, payload: bytes = b"") -> list[bytes]:
        """The same, and some time in which they have heard it: nobody answers to news."""
        await self._publish(kind, payload)
        await asyncio.sleep(RECALL_S)
        return []

    async def aclose(self) -> None:
        """Hang up."""
        self._closing = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            # Again and again: redis-py swallows a cancellation that comes while it connects.
            await asyncio.wait(self._tasks, timeout=0.1)
        await self._redis.aclose()

    async def _greet(self) -> None:
        """It is there (again): if it has forgotten, it is told at once, before a call has to wait for that."""
        before, self._retry_at_s = self._epoch, 0.0
        await self._exchange([])
        if before and self._epoch != before:
            await self._remind(set())

    async def _exchange(self, claims: list[Claim]) -> list[Grant]:
        """The script for these claims; what it says is kept, as the last word."""
        kept_ms = int(KEPT_S * 1000)
        words = [
            (
                *(one.holder, one.seq, one.spent, one.returned, one.want, one.need),
                *(one.running, one.final, one.granted, one.floor, one.limit, one.ceiling),
            )
            for one in claims
        ]
        ask = (self._epoch, os.urandom(8).hex(), LEASE_S, _FORGET_HOLDER_S, kept_ms, words)
        keys = [f"{self._prefix}:{name}" for name in ("epoch", "quiet", "met")]
        answer = await self._call(
            self._slices_script, keys + [self._pot(one.pot) for one in claims], _encode(ask)
        )
        if answer is None:
            return []
        self._epoch, said = _slices(answer)
        grants = [
            Grant(claim.pot, seq, granted, left, loose, until_s, pressed, taken)
            for claim, (seq, granted, left, loose, until_s, pressed, taken) in zip(claims, said, strict=True)
        ]
        for claim, grant in zip(claims, grants, strict=True):
            self._heard[claim.holder, claim.pot] = (claim, grant)
        if len(self._heard) > 10_000:
            oldest_s = time.time() - KEPT_S
            self._heard = {key: word for key, word in self._heard.items() if key[1][2] >= oldest_s}
        return grants

    async def _remind(self, but: set[tuple[str, Pot]]) -> None:
        """The store has forgotten: say again what this process was granted, in pots of which it does not speak just now."""
        words = [
            msgspec.structs.replace(
                claim, granted=grant.granted, floor=grant.taken, want=False, need=0, running=False
            )
            for key, (claim, grant) in self._heard.items()
            if key not in but
        ]
        if words:
            await self._exchange(words)

    async def _credit(self, claims: list[CreditClaim], *, again: bool) -> list[CreditGrant] | None:
        words = [
            (
                *(one.holder, one.seq, one.per_minute, one.burst),
                *(one.used, one.returned, one.granted, one.need),
            )
            for one in claims
        ]
        ask = _encode((credit.LEASE_S, credit.FORGET_S, again, words))
        keys = [f"{self._prefix}:credit:{one.pot}" for one in claims]
        answer = await self._call(self._credit_script, keys, ask)
        if answer is None:
            return None
        return [CreditGrant(claim.pot, *said) for claim, said in zip(claims, _credits(answer), strict=True)]

    async def _call(self, script: Any, keys: list[str], ask: bytes) -> bytes | None:
        """A script's answer; None while there is none."""
        if time.monotonic() < self._retry_at_s:
            return None
        try:
            answer: bytes = await script(keys=keys, args=[ask])
        except (RedisError, OSError) as error:
            self._retry_at_s = time.monotonic() + RETRY_S
            self.fault = f"The shared state {self.shown} does not answer: {_words(error)}."
            return None
        self.fault = None
        return answer

    async def _publish(self, kind: str, payload: bytes) -> None:
        if self.fault is not None:
            return
        try:
            await self._redis.publish(f"{self._prefix}:news", _encode(_News(self._run, kind, payload)))
        except (RedisError, OSError) as error:
            self.fault = f"The shared state {self.shown} does not answer: {_words(error)}."

    async def _listen(self) -> None:
        """As long as the process lives; where the line breaks, again."""
        while not self._closing:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as news:
                    await news.subscribe(f"{self._prefix}:news")
                    await self._greet()
                    while not self._closing:
                        message = await news.get_message(timeout=60.0)
                        if message is not None:
                            self._hear(message["data"])
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_S)

    def _hear(self, words: bytes) -> None:
        news = _news(words)
        answerer = self._answerers.get(news.kind)
        if news.sender == self._run or answerer is None:
            return
        self._keep(self._answer(news.kind, answerer, news.payload))

    async def _answer(self, kind: str, answerer: Answerer, payload: bytes) -> None:
        answer = await answerer(payload)
        if kind == "recall":
            # What is given back is told to the store; that this node has heard so it learns with its next claim.
            claims = _credit_claims(answer)
            if claims:
                await self._credit(claims, again=False)

    def _pot(self, pot: Pot) -> str:
        node, budget, start_s = pot
        return f"{self._prefix}:pot:{start_s:.0f}:{node}:{budget}"

    def _keep(self, work: Any) -> None:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _shown(url: str) -> str:
    """Of a URL what is no secret."""
    try:
        parts = urlsplit(url)
        return f"redis://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "redis://"


def _words(error: BaseException) -> str:
    """An error's first line. redis-py's own never repeat the URL's user or password."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".")

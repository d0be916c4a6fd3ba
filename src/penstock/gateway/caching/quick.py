"""A hit without a task: a body that was served from the exact tier before is served again where its last byte came in.

Theory
------
To find an answer's key the request must be read, expanded and put into canonical form. For a body that is the same byte for
byte, from the same caller, all of that has one result: it is kept beside the reply's own bytes, in which only the id and the
time are new. Whether the answer may still be served is asked each time: it must be in the store, and within its life.

Rule: nothing is taken and nothing is written down until it is certain that the call is served here.
"""

import hashlib
import time
from typing import Protocol

from msgspec import Struct

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.media_size import MEDIA
from penstock.base.models import Target
from penstock.blobs.blob import Place
from penstock.cache.answer import Answer
from penstock.gateway.caching.entering import ASKED_OFF, asks
from penstock.gateway.caching.hits import cache_lines, deliver, identity_of_hit, outcome_of
from penstock.gateway.caching.means import Means
from penstock.gateway.heads import reply_head, told_by_caller
from penstock.gateway.house import House
from penstock.gateway.ports import MISSPELT, Inbound, Reply
from penstock.gateway.record import Explain
from penstock.gateway.settle import CallFacts, begin_facts
from penstock.wire.ports import CallerDialect

CACHED = frozenset(("chat", "embeddings"))
"""Operations whose answers are kept."""
MAX_MEMOS = 4_096
MAX_MEMOS_BYTES = 64 * 1024 * 1024
"""Of them all: they are beside what ``cache.max_bytes`` bounds."""
MAX_MEMO_BYTES = 64 * 1024
"""A larger body or answer goes the long way."""
_TELLING = (
    b"x-penstock-cache",
    b"x-penstock-cache-ttl",
    b"x-penstock-cache-min-score",
    b"x-penstock-cache-namespace",
    b"x-penstock-cache-tags",
    b"x-penstock-cache-no-store",
    b"cache-control",
)
_ID_A, _ID_B = "gen-a7c0ffee00112233445566778899aabb", "gen-b7deadbeef112233445566778899ccdd"
_AT_A, _AT_B = 1_000_000_007, 1_999_999_993
_SUFFIX = 4
"""Dialects may give the id another prefix: what comes after "gen-" is the call's own."""


class Host(Protocol):
    """Who names requests (server.app)."""

    def request_id(self) -> str:
        """A fresh one."""
        ...


class Done:
    """The call is over already (gateway.lane.Cancels)."""

    def cancel(self) -> None:
        """Nothing is left to stop."""


DONE = Done()


class Memo(Struct):
    """What a body's answer is, and how its reply looks around id and time."""

    place: Place
    key: bytes
    value: bytes
    """The blob's own bytes: another answer in its place has others."""
    answer: Answer
    ask: Ask
    target: Target
    explain: Explain
    template: tuple[bytes, ...]
    """Reply bytes between the marks, and ``marks``: for each gap whether the id (True) or the time goes there."""
    marks: tuple[bool, ...]

    @property
    def held_bytes(self) -> int:
        """About what it takes: body, answer, and the reply's bytes."""
        return 2048 + len(self.ask.body) + 2 * len(self.value) + sum(map(len, self.template))


def quick(cache: Means, host: Host, house: House, inbound: Inbound, reply: Reply) -> Done | Rejected | None:
    """Serve it here and now. None: the cache's long way; Rejected: the cache has no part in it, whatever lane takes it."""
    told = inbound.told
    if MISSPELT in told:
        return None  # it is refused, with what was meant
    if told.get(b"x-penstock-cache") == b"off":
        return ASKED_OFF
    caller = inbound.caller
    if caller.operation not in CACHED:
        if asks(told):
            return None
        return Rejected("not-cached", f"Answers of {caller.operation} are not kept.")
    url = getattr(reply, "url", None)
    if url is None or caller.name == "responses" or len(inbound.body) > MAX_MEMO_BYTES:
        return None
    if not cache.settings.exact.enabled or any(name in told for name in _TELLING):
        return _without_exact(cache, inbound)
    unix_s = house.clock.unix_s()
    principal = house.doors.admit(told, inbound.known, unix_s)
    if principal.users is not None or house.books.full:
        return None
    digest = hashlib.blake2b(inbound.body, digest_size=16).digest()
    inbound.cache_key = key = (
        url, principal.name, told.get(b"anthropic-version"), told.get(b"anthropic-beta"), digest,
    )  # fmt: skip
    memo = house.hits.get(key)
    if not isinstance(memo, Memo):
        return None
    now_ms = int(unix_s * 1000)
    blob = cache.blobs.near(memo.place, memo.key, now_ms)
    if blob is None or blob.value is not memo.value or memo.answer.exact_until_ms <= now_ms:
        del house.hits[key]
        house.hits.held_bytes -= memo.held_bytes
        return None
    facts = begin_facts(host.request_id(), inbound.received_s, unix_s)
    facts.principal, facts.ask, facts.explain = principal, memo.ask, memo.explain
    told_by_caller(facts, told, memo.ask)  # it may refuse a header: before anything is taken
    allowance = principal.allowance
    if allowance is not None:
        if allowance.enter(facts.request_id, 0, time.monotonic()) is not None:
            return None
        facts.entered = True
    _serve(cache, house, reply, facts, memo, now_ms)
    return DONE


def _without_exact(cache: Means, inbound: Inbound) -> Rejected | None:
    """Where meaning alone counts, what cannot be looked for so goes past the cache at once."""
    settings = cache.semantic_settings
    if cache.settings.exact.enabled or cache.settings.coalesce or settings is None:
        return None
    ask = inbound.ask = inbound.caller.read_request(inbound.body)
    if asks(inbound.told) or "penstock" in ask.gateway_fields:
        return None
    if ask.needs & MEDIA:
        return Rejected("not-text", "The semantic tier compares words alone.")
    if "tools" in ask.needs and not settings.tools:
        return Rejected("tools", "The call offers tools (semantic_cache.tools is off).")
    if ask.n > 1:
        return Rejected("several-answers", "Several answers were asked for.")
    return None


def _serve(cache: Means, house: House, reply: Reply, facts: CallFacts, memo: Memo, now_ms: int) -> None:
    answer = memo.answer
    facts.cache = cache_lines("hit-exact", now_ms=now_ms, answer=answer)
    facts.note("cache", reason=f"hit-exact: {answer.id}, the same request", code="hit-exact")
    outcome = outcome_of(facts, memo.target, answer.provider, answer.model, answer.cost_nusd)
    cache.count("hit-exact", answer.cost_nusd)
    body = filled(memo, facts)
    deliver(house, facts, outcome, f"kept answer {answer.id}")
    if not memo.ask.stream:
        reply.send(200, reply_head(facts, outcome, stream=False), body)
        return
    reply.start(200, reply_head(facts, outcome, stream=True), body)
    reply.end()


def filled(memo: Memo, facts: CallFacts) -> bytes:
    """The reply's bytes with this call's id and time."""
    own, at = facts.request_id[_SUFFIX:].encode(), b"%d" % (facts.at_ms // 1000)
    pieces: list[bytes] = [memo.template[0]]
    for is_id, piece in zip(memo.marks, memo.template[1:], strict=True):
        pieces.append(own if is_id else at)
        pieces.append(piece)
    return b"".join(pieces)


def remember(
    house: House,
    inbound: Inbound,
    answer: Answer,
    value: bytes,
    at: tuple[Place, bytes],
    target: Target,
    explain: Explain,
    model: str,
) -> None:
    """The next call with this very body may be served at once. ``at``: where the answer lies;
    ``model``: as its reply names it."""
    ask = inbound.ask
    if ask is None:
        return
    if inbound.cache_key is None or ask.gateway_fields.count("penstock") or len(value) > MAX_MEMO_BYTES:
        return
    moulded = _mould(inbound.caller, ask, answer, model)
    if moulded is None:
        return
    hits, memo = house.hits, Memo(*at, value, answer, ask, target, explain, *moulded)
    if len(hits) >= MAX_MEMOS or hits.held_bytes + memo.held_bytes > MAX_MEMOS_BYTES:
        hits.clear()
        hits.held_bytes = 0
    before = hits.get(inbound.cache_key)
    if isinstance(before, Memo):
        hits.held_bytes -= before.held_bytes
    hits[inbound.cache_key] = memo
    hits.held_bytes += memo.held_bytes


def _mould(
    caller: CallerDialect, ask: Ask, answer: Answer, model: str
) -> tuple[tuple[bytes, ...], tuple[bool, ...]] | None:
    """The reply around its id and its time; None where more than they changes from call to call."""
    one, two = (_written(caller, ask, answer, model, *who) for who in ((_ID_A, _AT_A), (_ID_B, _AT_B)))
    first = _cut(one, _ID_A[_SUFFIX:].encode(), str(_AT_A).encode())
    second = _cut(two, _ID_B[_SUFFIX:].encode(), str(_AT_B).encode())
    return first if first == second else None


def _written(
    caller: CallerDialect, ask: Ask, answer: Answer, model: str, request_id: str, at_s: int
) -> bytes:
    facts = begin_facts(request_id, 0.0, float(at_s))
    facts.ask = ask
    writer = caller.writer(ask, identity_of_hit(facts, answer.provider, model))
    events = list(answer.events)
    return writer.write(events) if ask.stream else writer.whole(events)


def _cut(body: bytes, own: bytes, at: bytes) -> tuple[tuple[bytes, ...], tuple[bool, ...]]:
    pieces: list[bytes] = []
    marks: list[bool] = []
    for number, part in enumerate(body.split(own)):
        if number:
            marks.append(True)
        for inner, piece in enumerate(part.split(at)):
            if inner:
                marks.append(False)
            pieces.append(piece)
    return tuple(pieces), tuple(marks)

"""What an attempt cost and what a call was, as ledger records.

Rules
- The provider's own usage wins; where it never came (hang-up, truncation), what was seen is counted by bytes per
  token and marked ``estimated``; an attempt that the provider refused (non-2xx) is known to cost nothing.
- ``delivered`` is what reached the caller whole; ``billed_not_delivered`` is what was consumed and did not.
- A call is written once, before its last byte leaves.
"""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from penstock.base.chat import Ask
from penstock.base.errors import (
    CallerGone,
    PenstockError,
    UpstreamError,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from penstock.base.media_size import MEDIA
from penstock.base.models import PriceRow, Target
from penstock.base.usage import Usage
from penstock.gateway.house import House, Provider
from penstock.gateway.principal import ANYONE, Principal
from penstock.gateway.purse import Hold
from penstock.gateway.record import UNPLANNED, Explain, Happening
from penstock.ledger.entry import Call, Entry, EntryClass, Line, Record, token_counts
from penstock.ledger.prices import price_lines, row_at
from penstock.routing.estimate import TokenEstimator
from penstock.routing.fair import Priority
from penstock.routing.names import MAX_NAME_CHARS
from penstock.wire.ports import Relay


class Outcome(Struct):
    """One attempt, as it went. Times are monotonic seconds; 0 = has not happened.

    ``admitted``: health let it in (a last resort goes all the same, and must not free another call's probe).
    """

    target: Target
    key: str
    attempt: int
    admitted: bool
    passed_through: bool
    start_s: float
    sent: bool = False
    cut_short: bool = False
    """The call had less time left than the provider is given: running out of it is not the provider's fault."""
    status: int = 0
    content_s: float = 0.0
    end_s: float = 0.0
    relay: Relay | None = None
    error: PenstockError | None = None
    delivered: bool = False
    usage: Usage | None = None
    lines: tuple[Line, ...] = ()
    cost_nusd: int | None = 0
    price: PriceRow | None = None
    """The row in force when it began, of the model that answered; set when it ends."""
    streamed: bool = False
    """Its reply is a stream: its first content tells how long a caller waits."""
    drift: str = ""
    """The model that answered, where it is another one than was asked for."""
    hold: Hold | None = None
    """What its caller's budgets hold for it."""
    adjusted: tuple[str, ...] = ()
    """What the budget changed in its request."""
    cut: bool = False
    """We ended its stream, at what was held for it."""
    hit: bool = False
    """No attempt at all: the answer was kept, or was another caller's."""
    saved_nusd: int = 0
    """What that answer had cost."""

    @property
    def refused(self) -> bool:
        """Nothing was consumed: never asked, never reached, or answered with an error before any content."""
        error = self.error
        if not self.sent or isinstance(error, UpstreamUnreachable):
            return True
        if isinstance(error, UpstreamTimeout):
            return error.phase == "connect" or error.unsent
        if isinstance(error, UpstreamTruncated):
            return False
        if isinstance(error, UpstreamError):
            return self.relay is None or not (self.relay.content_bytes or self.relay.content_seen)
        # Ours or the caller's: found before the wire, unless the provider had answered already.
        return error is not None and not isinstance(error, CallerGone) and self.relay is None

    @property
    def klass(self) -> EntryClass:
        """delivered, billed_not_delivered, failed; or cache_hit."""
        if self.hit:
            return "cache_hit"
        if self.delivered:
            return "delivered"
        return "failed" if self.refused or self.usage is None else "billed_not_delivered"


def begin_facts(request_id: str, received_s: float, unix_s: float) -> "CallFacts":
    """What is known of a call before anything is read."""
    return CallFacts(request_id, int(unix_s * 1000), received_s, unix_s - time.monotonic(), request_id)


Listen = Callable[[Relay, Provider, Target], Relay]
"""Stands between an attempt's relay and its provider."""
Note = tuple[float, str, Outcome | None, str, str, str]
"""When, what, which attempt, target, reason, code."""


class CallFacts(Struct):
    """What is known of one call, as it goes on.

    ``waited_s`` is what was waited for providers, keys and back-offs. ``own_s`` is our own share once a stream's head has
    left; below 0 until then.
    """

    request_id: str
    at_ms: int
    received_s: float
    wall_offset_s: float
    trace_id: str
    ask: Ask | None = None
    principal: Principal = ANYONE
    stage: str = ""
    priority: Priority = "interactive"
    client_request_id: str = ""
    meta: dict[str, str] | None = None
    explain: Explain = UNPLANNED
    notes: list[Note] = []
    outcomes: list[Outcome] = []
    adjusted: tuple[str, ...] = ()
    unheeded: tuple[str, ...] = ()
    """Wishes about routing that mean nothing here, in the words of ``adjusted``."""
    inlined: tuple[str, ...] = ()
    """What was done to the body before it was read (gateway.own_files), in the words of ``adjusted``."""
    user: str = ""
    estimated_tokens: int = 0
    entered: bool = False
    """It has taken its principal's rates and places."""
    funded: int = 0
    """How often money was asked for: no two of a call's reservations have one name."""
    own_s: float = -1.0
    waited_s: float = 0.0
    ended_s: float = 0.0
    settled: bool = False
    purpose: EntryClass | None = None
    """What the call is for, where it is not its caller's: audit, shadow, embedding."""
    cache: bytes = b""
    """What the reply says of the cache: header lines."""
    record: Listen | None = None
    """Listens to the answer of each attempt (gateway.caching)."""
    orphan: bool = False
    """Its caller has gone, and others wait for its answer: it goes on."""

    @property
    def attempts(self) -> int:
        """How often a provider was tried so far; a kept answer is no attempt."""
        outcomes = self.outcomes
        return len(outcomes) - 1 if outcomes and outcomes[-1].hit else len(outcomes)

    @property
    def cost_nusd(self) -> int | None:
        """All attempts so far; None if any is unknown."""
        total = 0
        for outcome in self.outcomes:
            if outcome.cost_nusd is None:
                return None
            total += outcome.cost_nusd
        return total

    def note(
        self, what: str, outcome: Outcome | None = None, *, target: str = "", reason: str = "", code: str = ""
    ) -> None:
        """Write down what was decided, when it was. Made readable when the call is written (``_happenings``)."""
        self.notes.append((time.monotonic(), what, outcome, target, reason, code))


def end_attempt(house: House, provider: Provider, outcome: Outcome, ask: Ask | None) -> None:
    """The attempt is over: price it, and let health and keys learn from it. Once per outcome."""
    outcome.end_s = time.monotonic()
    if outcome.hit:
        return
    outcome.streamed = ask is not None and ask.stream
    facts = outcome.target.facts
    relay = outcome.relay
    if relay is not None and relay.model and relay.model != facts.model and house.drift is not None:
        other = house.drift.of(outcome.target.provider, facts, relay.model)
        if other is not None:
            facts, outcome.drift = other, relay.model
    row = facts.price
    if row is not None and row.passing:
        started_s = house.clock.unix_s() - (outcome.end_s - outcome.start_s)
        row = row_at(row, int(started_s * 1000))
    outcome.price = row
    _price(outcome, ask, house.estimator)
    if outcome.hold is not None:
        _pay(outcome, outcome.hold)
    _learn(house, provider, outcome)


def _pay(outcome: Outcome, hold: Hold) -> None:
    """Settle with the budgets; a whole reply teaches how long the next one may be."""
    hold.settle(outcome.cost_nusd)
    relay = outcome.relay
    if relay is not None and outcome.error is None and not outcome.cut:
        hold.learn(relay.content_bytes)


def _price(outcome: Outcome, ask: Ask | None, estimator: TokenEstimator) -> None:
    relay, model = outcome.relay, outcome.target.model
    input_bytes = 0 if ask is None else ask.input_bytes
    usage = relay.usage if relay is not None else None
    # Media are tokens of another kind: what they count for here is a guess, and would spoil what words have taught.
    wordy = ask is not None and not ask.needs & MEDIA
    if usage is not None and input_bytes and usage.prompt_tokens and wordy:
        estimator.learn(model, input_bytes, usage.prompt_tokens)
    if outcome.refused:
        usage = None
    elif usage is None or (relay is not None and relay.stopped is None and not outcome.delivered):
        seen_bytes = relay.content_bytes if relay is not None else 0
        usage = _estimated(usage, estimator, model, input_bytes, seen_bytes)
        if ask is not None and ask.units and relay is not None and relay.usage is None:
            usage = _by_unit(usage, ask, outcome.price)
    outcome.usage = usage
    if usage is not None:
        outcome.lines, outcome.cost_nusd = price_lines(usage, outcome.price)


def _estimated(
    usage: Usage | None, estimator: TokenEstimator, model: str, input_bytes: int, seen_bytes: int
) -> Usage:
    """What a cut attempt consumed: the provider's last figures where it gave any, and at least what was seen."""
    seen = estimator.tokens(model, seen_bytes) if seen_bytes else 0
    if usage is None:
        return Usage(input=estimator.tokens(model, input_bytes), output=seen, source="estimated")
    # Anthropic opens with the whole input and one token of output: the rest of the output was never counted.
    missing = max(0, seen - usage.completion_tokens)
    return msgspec.structs.replace(usage, output=usage.output + missing, source="estimated")


def _by_unit(usage: Usage, ask: Ask, row: PriceRow | None) -> Usage:
    """What was asked for by the piece, and has no price by its words: all of it may have been made."""
    units = {} if row is None else row.units
    counted = tuple((unit, quantity) for unit, quantity in ask.units if unit in units)[:1]
    return usage if "input" in units or not counted else Usage(fees=counted, source="estimated")


def _learn(house: House, provider: Provider, outcome: Outcome) -> None:
    name, error, health = outcome.target.name, outcome.error, house.health
    if error is None:
        health.ok(name)
        provider.keys.succeeded(outcome.key)
    elif isinstance(error, UpstreamNotFound):
        health.drop(name, outcome.end_s)
    elif isinstance(error, UpstreamError) and error.is_fault and not _ran_out(outcome, error):
        if health.fault(name, outcome.end_s):
            house.log_once(f"open {name}", f"{name} is open after repeated faults: {error.message}")
    elif outcome.admitted:
        health.neutral(name)
    if isinstance(error, UpstreamError):
        provider.keys.failed(outcome.key, error, outcome.end_s)
    elif error is not None:
        provider.keys.release(outcome.key, outcome.end_s)


def _ran_out(outcome: Outcome, error: UpstreamError) -> bool:
    return outcome.cut_short and isinstance(error, UpstreamTimeout) and error.phase == "total"


def settle(house: House, facts: CallFacts, error: PenstockError | None) -> None:
    """The call is over: hand it to the books, once. A call that was never understood leaves no half record."""
    ask = facts.ask
    if facts.settled or ask is None:
        return
    facts.settled = True
    facts.ended_s = time.monotonic()
    if error is not None and not facts.outcomes and (facts.explain.steps or not facts.explain.refused):
        # Nothing that was refused in the plan says why no attempt was made.
        facts.note("refused", reason=error.public(), code=error.code)
    try:
        for outcome in facts.outcomes:
            if not outcome.end_s:
                outcome.error = error or CallerGone("The caller hung up.")
                provider = house.providers.get(outcome.target.provider)
                if provider is None:  # a kept answer of one that is no longer configured
                    outcome.end_s = facts.ended_s
                    continue
                end_attempt(house, provider, outcome, ask)
                facts.note("cut", outcome, reason=outcome.error.message, code=outcome.error.code)
            if outcome.drift:
                asked = outcome.target.model
                facts.note(
                    "drift",
                    outcome,
                    reason=f"asked for {asked}, answered by {outcome.drift}: priced as that",
                    code="model-drift",
                )
            if outcome.usage is not None and outcome.usage.note:
                facts.note("usage", outcome, reason=f"the provider's figures are odd: {outcome.usage.note}")
        if facts.entered:
            allowance = facts.principal.allowance
            used = sum(outcome.usage.total_tokens for outcome in facts.outcomes if outcome.usage is not None)
            assert allowance is not None, "entered where nothing limits"
            allowance.leave(facts.request_id, facts.estimated_tokens, used, facts.ended_s)
    finally:
        house.books.take(facts, ask, error, house.version)


def write_up(facts: CallFacts, ask: Ask, error: PenstockError | None, version: str) -> Record:
    """The call as the ledger keeps it."""
    outcomes = facts.outcomes
    last = outcomes[-1] if outcomes else None
    latency_s = facts.ended_s - facts.received_s
    body_id = ""
    if last is not None and last.relay is not None:
        body_id = last.relay.upstream_id if last.passed_through else facts.request_id
    call = Call(
        facts.request_id,
        facts.at_ms,
        facts.principal.name,
        ask.model[:MAX_NAME_CHARS],
        200 if error is None else error.status,
        None if error is None else error.code,
        ask.stream,
        facts.attempts,
        latency_s * 1000,
        max(0, int((facts.own_s if facts.own_s >= 0 else latency_s - facts.waited_s) * 1e6)),
        facts.client_request_id,
        body_id,
        facts.adjusted,
        Explain(
            facts.explain.route,
            facts.explain.route_reason,
            facts.explain.steps,
            facts.explain.refused,
            [_happening(note, facts.received_s) for note in facts.notes],
        ),
        version,
        facts.principal.organisation,
        facts.principal.team,
        facts.user,
    )
    return Record(call, tuple([_entry(outcome, facts, ask) for outcome in outcomes]))


def _happening(note: Note, received_s: float) -> Happening:
    at_s, what, outcome, target, reason, code = note
    at_ms = (at_s - received_s) * 1000
    if outcome is None:
        return Happening(at_ms, what, target, "", reason, code)
    return Happening(at_ms, what, outcome.target.name, outcome.key, reason, code, outcome.attempt)


def _entry(outcome: Outcome, facts: CallFacts, ask: Ask) -> Entry:
    relay, error, target, usage = outcome.relay, outcome.error, outcome.target, outcome.usage
    writing_s = outcome.end_s - outcome.content_s if outcome.content_s else 0.0
    made = usage.completion_tokens if usage is not None else 0
    return Entry(
        f"{facts.request_id}/{outcome.attempt}",
        facts.request_id,
        facts.trace_id,
        facts.stage,
        outcome.attempt,
        int((outcome.start_s + facts.wall_offset_s) * 1000),
        facts.purpose if facts.purpose and outcome.delivered else outcome.klass,
        target.provider,
        target.model,
        relay.model if relay is not None else "",
        outcome.key,
        facts.principal.name,
        ask.model,
        target.dialect,
        ask.stream,
        outcome.status,
        None if error is None else error.code,
        None if error is None else error.message,
        relay.stopped if relay is not None else None,
        relay.native_stop if relay is not None else None,
        relay.upstream_id if relay is not None else "",
        *token_counts(usage),
        None if usage is None else usage.source,
        outcome.lines,
        outcome.cost_nusd,
        None if outcome.price is None else outcome.price.version,
        (outcome.end_s - outcome.start_s) * 1000,
        (outcome.content_s - outcome.start_s) * 1000 if outcome.content_s else None,
        made / writing_s if ask.stream and made and writing_s > 0 else None,
        None,
        facts.meta,
        None if usage is None else usage.service_tier,
        None,
        facts.principal.organisation,
        facts.principal.team,
        facts.user,
        outcome.saved_nusd,
    )

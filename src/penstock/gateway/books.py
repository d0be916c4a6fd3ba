"""Calls that have ended, on their way into the ledger and the metrics, once their replies are out.

Theory: writing a call up takes longer than all that must happen before its last byte leaves. So an ended call is only
kept here, and the loop's next turn writes up whatever has gathered, while the caller already reads. A timer instead would
gather more, and make one call in many wait for the whole batch (decision 006 has the measurement). Who asks for a call meanwhile (``find``) makes it be written up at once: it can be read from the last byte
of its reply on.
Refusals by a key's own limits and budgets that cost nothing are kept in the ledger ``MAX_REFUSALS`` times a second, and counted in the
metrics always: a caller that hammers at a closed door must not fill the disk.
A call that cannot be written up (a bug) costs its own record, never the others of its batch, and is told in the log.
"""

import asyncio

from penstock.base.chat import Ask
from penstock.base.errors import (
    BudgetRefused,
    OurFault,
    PenstockError,
    RateLimited,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.gateway.settle import CallFacts, Outcome, write_up
from penstock.ledger.entry import Record
from penstock.ledger.journal import Journal
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.observe.names import MODEL_DRIFT
from penstock.routing.observed import Observed

MAX_REFUSALS = 20


def ledger_full() -> OurFault:
    """503 for a call that could not be recorded."""
    return OurFault(
        "The ledger cannot keep up; calls are refused rather than lost.",
        code="ledger_full",
        status=503,
        retry_after_s=1,
    )


_SAYS_NOTHING = frozenset({400, 403, 413, 422, 429, 451, 499})
"""Statuses that speak of the request, the caller or a limit, not of the target (OpenRouter's own list)."""


def blamed(error: PenstockError | None) -> bool | None:
    """False: the target failed. None: what went wrong says nothing about it."""
    if not isinstance(error, UpstreamError) or isinstance(
        error, UpstreamBadRequest | UpstreamRateLimited | UpstreamTooLarge
    ):
        return None
    return None if error.upstream_status in _SAYS_NOTHING else False


class Books:
    """Where ``settle`` leaves a call. Belongs to one event loop."""

    __slots__ = ("_calls", "_due", "_journal", "_log", "_metrics", "_observed", "_refusals", "_second")

    def __init__(
        self, journal: Journal, metrics: Metrics, log: OperatorLog, observed: Observed | None = None
    ) -> None:
        """``observed`` learns from every attempt."""
        self._observed = Observed() if observed is None else observed
        self._journal = journal
        self._metrics = metrics
        self._log = log
        self._calls: list[tuple[CallFacts, Ask, PenstockError | None, str]] = []
        self._due: asyncio.Handle | None = None
        self._second = 0
        self._refusals = 0

    def take(self, facts: CallFacts, ask: Ask, error: PenstockError | None, version: str) -> None:
        """Keep an ended call until the loop's next turn."""
        self._calls.append((facts, ask, error, version))
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write up what is here: to the journal's queue and the metrics."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        calls, self._calls = self._calls, []
        add, observe = self._journal.add, self._metrics.observe
        for facts, ask, error, version in calls:
            try:
                record = write_up(facts, ask, error, version)
                if not isinstance(error, RateLimited | BudgetRefused) or self._has_room(int(facts.ended_s)):
                    add(record)
                observe(record)
                for outcome in facts.outcomes:
                    if not outcome.hit:
                        self._learn(outcome)
            except Exception as bug:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
                self._log.failure(
                    "ledger.record_failed", bug, request_id=facts.request_id, cost_nusd=facts.cost_nusd
                )

    def _learn(self, outcome: Outcome) -> None:
        """What this attempt says of its target, beside money."""
        target, error = outcome.target, outcome.error
        if outcome.drift:
            self._metrics.add(MODEL_DRIFT, 1, target.provider, target.model, outcome.drift)
        first_s = whole_s = tokens_per_s = None
        if outcome.delivered and outcome.content_s and not outcome.cut:
            whole_s = outcome.end_s - outcome.start_s
            first_s = outcome.content_s - outcome.start_s if outcome.streamed else None
            made = 0 if outcome.usage is None else outcome.usage.completion_tokens
            tokens_per_s = made / whole_s if made and whole_s > 0 else None
        self._observed.see(
            target.name,
            outcome.end_s,
            good=True if outcome.delivered else blamed(error),
            first_s=first_s,
            whole_s=whole_s,
            tokens_per_s=tokens_per_s,
        )

    def _has_room(self, second: int) -> bool:
        """One more refusal by a limit may be kept in this second."""
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        return self._refusals <= MAX_REFUSALS

    def find(self, any_id: str, *, virtual_key: str) -> Record | None:
        """A call of this key by its request id or its body's id, wherever it is by now."""
        self.flush()
        return self._journal.find(any_id, virtual_key=virtual_key)

    async def look_up(self, any_id: str, *, virtual_key: str) -> Record | None:
        """The same. A database may be far away: another thread waits for it."""
        self.flush()
        record = self._journal.recent(any_id, virtual_key=virtual_key)
        if record is not None or not any_id:
            return record
        return await asyncio.to_thread(self._journal.read, any_id, virtual_key=virtual_key)

    @property
    def waiting(self) -> int:
        """Calls not yet stored."""
        return len(self._calls) + self._journal.queued

    @property
    def full(self) -> bool:
        """New calls must be refused: they could not be recorded."""
        return self._journal.full

"""Lines of a batch that goes to a provider's own batch service: planned, written, held money for, read and settled.

Theory
------
A line is a call of its key like any other: read in the caller's dialect, planned, written in the target's dialect, its
answer read by the same relay. Only the way between is another one: all requests leave together, and their answers come
back together, hours later and perhaps to another process. So nothing of a line is kept but its bytes and its target;
the relay is made anew when the answer is there.

Rules
- A line's call has a name that is always the same (``line_id``): written down twice, it is in the ledger once.
- Its usage is of the tier "batch", whatever the provider calls it, and is priced by that tier's row or not at all.
- Nothing of it teaches health, keys or waiting times: they are of calls that somebody waits for.
- Rates and places are for calls that go out now; a native batch takes none of them. Money is held for each line.
"""

import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError, UpstreamError, UpstreamMalformed
from penstock.base.models import ModelFacts, Target
from penstock.gateway.attempt import capped
from penstock.gateway.heads import told_by_caller, told_user
from penstock.gateway.house import House, Provider
from penstock.gateway.planning import plan_call
from penstock.gateway.principal import Principal, user_of
from penstock.gateway.purse import Hold
from penstock.gateway.remote import Remote, Translator, hide_secrets
from penstock.gateway.settle import CallFacts, Outcome, begin_facts, settle
from penstock.ledger.budgets import Refused
from penstock.ledger.prices import price_lines, row_at
from penstock.routing.plan import Step
from penstock.wire.http import WireRequest
from penstock.wire.ports import CallerDialect, Identity, Relay
from penstock.wire.splice import edit, spans

TIER = "batch"


class Known(Struct, frozen=True):
    """Where a model's lines go: what is kept of the plan."""

    provider: str
    model: str
    pass_through: bool


class Planned(Struct):
    """A line that is ready to go."""

    facts: CallFacts
    step: Step


class Read(Struct, frozen=True):
    """A line's answer as its caller reads it."""

    status: int
    request_id: str
    body: bytes


def line_id(batch: str, n: int) -> str:
    """The name of a line's call, there and in the ledger."""
    return f"{batch}-{n}"


class Lines:
    """All lines of one batch."""

    def __init__(
        self, house: House, principal: Principal, caller: CallerDialect, told: Mapping[bytes, bytes]
    ) -> None:
        self._house = house
        self._principal = principal
        self._caller = caller
        self._told = told

    def facts_of(self, name: str, body: bytes, at_ms: int | None = None) -> CallFacts:
        """What is known of the line's call. Raises BadRequest. ``at_ms``: when it was left with the provider."""
        now_s, unix_s = time.monotonic(), self._house.clock.unix_s()
        facts = begin_facts(name, now_s if at_ms is None else now_s - max(0.0, unix_s - at_ms / 1000), unix_s)
        facts.at_ms = facts.at_ms if at_ms is None else at_ms
        facts.principal = self._principal
        facts.ask = ask = self._caller.read_request(body)
        if facts.principal.users is not None:
            facts.principal = user_of(facts.principal, told_user(self._told, ask))
        told_by_caller(facts, self._told, ask)
        return facts

    def plan(self, name: str, body: bytes) -> Planned:
        """Where the line would go now. Raises what a call would be refused with."""
        facts = self.facts_of(name, body)
        assert facts.ask is not None
        planned, _tokens = plan_call(self._house, facts.ask, facts, self._caller.family, time.monotonic())
        return Planned(facts, planned.steps[0])

    def write(self, provider: Provider, planned: Planned) -> WireRequest | Rejected:
        """The request, without a credential."""
        return self._write(provider, planned.facts, planned.step)[0]

    async def hold(self, planned: Planned) -> Hold | Rejected | None:
        """The most that the line may cost; None: nothing limits its key. A lowered maximum stands in the step."""
        facts = planned.facts
        allowance = facts.principal.allowance
        purse = None if allowance is None else allowance.purse
        if purse is None or facts.ask is None:
            return None
        quote = purse.quote(facts.ask, planned.step.target, self._house.clock.unix_s())
        if isinstance(quote, Rejected):
            return quote
        held = await purse.obtain(f"{facts.request_id}/1", quote)
        if isinstance(held, Refused):
            return Rejected(held.code, held.reason, retry_after_s=held.retry_after_s)
        if held.quote.unsent:
            planned.step = capped(planned.step, facts, held)
        return held

    def read(
        self,
        name: str,
        line: bytes,
        known: Known,
        at_ms: int,
        answer: tuple[int, bytes],
        hold: Hold | None,
        key: str,
    ) -> Read:
        """The answer in the caller's dialect; the call is settled."""
        facts = self.facts_of(name, line, at_ms)
        provider = self._house.providers[known.provider]
        target = self._target(provider, known)
        step = Step(target, "a provider's own batch", known.pass_through, "")
        outcome = Outcome(
            target, key, 1, True, known.pass_through, facts.received_s, sent=True, status=answer[0]
        )
        outcome.hold = hold
        facts.outcomes.append(outcome)
        facts.note("native", outcome, reason=f"answered in a batch of {provider.name}")
        error: PenstockError | None = None
        out = b""
        try:
            out = self._answer(provider, facts, step, outcome, answer)
        except PenstockError as failed:
            if isinstance(failed, UpstreamError):
                hide_secrets(failed, provider, "")
                failed.provider = provider.name
            outcome.error = error = failed
        self._settle(facts, outcome, error)
        if error is not None:
            return Read(error.status, name, self._caller.write_error(error, name))
        return Read(200, name, out)

    def _answer(
        self, provider: Provider, facts: CallFacts, step: Step, outcome: Outcome, answer: tuple[int, bytes]
    ) -> bytes:
        assert facts.ask is not None
        status, body = answer
        if not 200 <= status < 300:
            error = provider.spoken[facts.ask.operation].read_error(status, [], body)
            error.upstream_status = status
            raise error
        written = self._write(provider, facts, step)
        if isinstance(written[0], Rejected) or written[1] is None:
            raise UpstreamMalformed("The line cannot be read any more: its target has changed.")
        relay = outcome.relay = written[1]
        facts.adjusted = facts.unheeded + written[0].adjusted
        relay.feed(body)
        out = relay.close()
        outcome.delivered = True
        return self._renamed(out, facts.ask.model)

    def _renamed(self, body: bytes, model: str) -> bytes:
        """With the model's name as the caller wrote it."""
        try:
            found = spans(body)
            if "model" in found:
                return edit(body, found, replace={"model": msgspec.json.encode(model)})
        except (PenstockError, msgspec.DecodeError):
            return body
        return body

    def _write(
        self, provider: Provider, facts: CallFacts, step: Step
    ) -> tuple[WireRequest | Rejected, Relay | None]:
        ask = facts.ask
        assert ask is not None
        translator = Translator(self._caller, ask)
        if not step.pass_through:
            dialect = provider.spoken[ask.operation]
            if hasattr(dialect, "converse"):
                return Rejected("batch-unsupported", f"{provider.name} takes several exchanges for it."), None
            refused = translator.refuse(provider, step.target)
            if refused is not None:
                return refused, None
        identity = Identity(facts.request_id, facts.at_ms // 1000, ask.model)
        remote = Remote(self._caller, ask, identity, translator, lambda _finish: None)
        return remote.write(provider, step, "")

    def _target(self, provider: Provider, known: Known) -> Target:
        chain = self._house.names.chain(f"{known.provider}/{known.model}")
        if not isinstance(chain, Rejected):
            for target in chain.targets:
                if (target.provider, target.model) == (known.provider, known.model):
                    return target
        return Target(
            provider.name, known.model, provider.dialect.name, ModelFacts(provider.name, known.model)
        )

    def _settle(self, facts: CallFacts, outcome: Outcome, error: PenstockError | None) -> None:
        outcome.end_s = time.monotonic()
        relay = outcome.relay
        asked, answered = outcome.target.facts, "" if relay is None else relay.model
        if answered and answered != asked.model and self._house.drift is not None:
            other = self._house.drift.of(outcome.target.provider, asked, answered)
            if other is not None:
                asked, outcome.drift = other, answered
        outcome.price = row_at(asked.price, facts.at_ms)
        if relay is not None and relay.usage is not None:
            relay.usage = outcome.usage = msgspec.structs.replace(relay.usage, service_tier=TIER)
            outcome.lines, outcome.cost_nusd = price_lines(outcome.usage, outcome.price)
        elif not outcome.refused:
            outcome.cost_nusd = None
        if outcome.hold is not None:
            outcome.hold.settle(outcome.cost_nusd)
        settle(self._house, facts, error)

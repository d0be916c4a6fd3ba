"""From a chain to the steps that will be tried, with a reason for each that will and each that will not.

Rules
- A refusal is a value with its reason; facts that are not known never refuse.
- The last target that can serve the request is never skipped for its health: a bad chance beats none.
- Pass-through is decided here: same dialect on both sides, and nothing that forbids it.
- What the caller's ``provider{}`` excludes is in routing.wishes, in which order the rest stands in routing.ordering.
"""

from collections.abc import Callable
from random import Random

from msgspec import Struct

from penstock.base.chat import ProviderPreferences
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, Forbidden, NoTargetLeft, PenstockError
from penstock.base.models import Target
from penstock.routing.allow import ALL, Patterns, may_use
from penstock.routing.health import Health
from penstock.routing.names import Chain
from penstock.routing.observed import Observed
from penstock.routing.ordering import FIXED, Candidate, arrange
from penstock.routing.wishes import against

_ESTIMATE_SLACK = 0.8
"""Token estimates may be a fifth too high; a context is only too small beyond that."""
_MODALITIES = {"image": "messages", "audio": "messages", "video": "messages", "document": "messages"}
_CAPABILITIES = {"tools": "tools", "json_schema": "response_format"}

Refuse = Callable[[Target], Rejected | None]


class Step(Struct, frozen=True):
    """A target that will be tried, why it stands here, and whether the bytes go through as they are."""

    target: Target
    reason: str
    pass_through: bool
    pass_through_reason: str


class Refusal(Struct, frozen=True):
    """A target, as ``provider/model``, that will not be tried, and why."""

    target: str
    rejected: Rejected


class Plan(Struct, frozen=True):
    """What will be tried in order, and what was refused."""

    route: str
    steps: tuple[Step, ...]
    refused: tuple[Refusal, ...]


def plan(
    chain: Chain,
    *,
    needs: frozenset[str],
    input_tokens: int,
    max_tokens: int | None,
    caller_family: str,
    patterns: Patterns,
    preferences: ProviderPreferences | None,
    refuse: Refuse | None,
    health: Health,
    now_s: float,
    may_pass_through: Callable[[Target], str | None],
    observed: Observed | None = None,
    rng: Random | None = None,
) -> Plan:
    """The plan for one request.

    ``patterns`` are the virtual key's allow-list. ``refuse`` is the dialect's own refusal. ``may_pass_through`` is
    asked only where the dialects are the same: None means yes, a sentence says what stands against it. ``observed`` and
    ``rng`` are for models that have several endpoints.
    """
    targets = chain.targets
    names = chain.names or tuple(target.name for target in targets)
    refused: list[Refusal] = []
    serving: list[Candidate] = []
    everything = patterns == ALL and preferences is None and not needs
    for place, target in enumerate(targets):
        no: Rejected | None = None
        if not everything:
            route = chain.routes[place] if chain.routes else chain.route
            no = _against(target, names[place], route, needs, patterns, preferences, input_tokens)
        if no is None:
            context = target.facts.context_tokens
            if context is not None and input_tokens * _ESTIMATE_SLACK > context:
                no = _too_small(target, names[place], input_tokens, max_tokens)
            elif refuse is not None:
                no = refuse(target)
        if no is None:
            group = chain.groups[place] if chain.groups else FIXED
            serving.append(Candidate(names[place], target, group))
        else:
            refused.append(Refusal(names[place], no))
    reasons: list[str] = []
    pinned = preferences is not None and bool(preferences.order) and not preferences.allow_fallbacks
    if pinned or (len(serving) > 1 and (preferences is not None or chain.groups)):
        serving, reasons = _preferred(
            serving, preferences, refused, observed or Observed(), health, now_s, rng or Random(0)
        )
    steps = _steps(serving, reasons, refused, health, now_s, caller_family, may_pass_through)
    return Plan(chain.route, tuple(steps), tuple(refused))


def _steps(
    serving: list[Candidate],
    reasons: list[str],
    refused: list[Refusal],
    health: Health,
    now_s: float,
    caller_family: str,
    may_pass_through: Callable[[Target], str | None],
) -> list[Step]:
    """What is healthy, in its order; the last of all in any case."""
    steps: list[Step] = []
    last = len(serving) - 1
    for place, one in enumerate(serving):
        name, target = one.name, one.target
        reason = "first in the chain" if place == 0 else "fallback"
        no = health.check(name, now_s)
        if no is not None:
            if place < last:
                refused.append(Refusal(name, no))
                continue
            reason = f"the last of the chain, tried all the same: {no.reason}"
        elif not steps and place:
            reason = "first that is healthy"
        if reasons and reasons[place]:
            reason = f"{reason}; {reasons[place]}"
        if target.dialect != caller_family and caller_family != target.options.get("also"):
            steps.append(Step(target, reason, False, _translated(caller_family, target.dialect)))
        else:
            barred = may_pass_through(target)
            steps.append(Step(target, reason, barred is None, barred or "same dialect"))
    return steps


def no_steps(made: Plan) -> PenstockError:
    """The error for a plan without steps: whose fault it is decides the status (400, 403 or 503)."""
    lines = tuple(f"{refusal.target}: {refusal.rejected.reason}" for refusal in made.refused)
    if not made.refused:
        return NoTargetLeft("The chain has no targets.")
    if all(refusal.rejected.code == "not-allowed" for refusal in made.refused):
        return Forbidden(_joined("This key may not use the model.", lines), code="model_not_allowed")
    theirs = [refusal.rejected for refusal in made.refused if refusal.rejected.caller_fault]
    if theirs and all(
        refusal.rejected.caller_fault or refusal.rejected.code == "not-allowed" for refusal in made.refused
    ):
        # What the key may use cannot take the request; what could, the key may not use.
        first = theirs[0]
        if len(made.refused) == 1:
            return BadRequest(first.reason, param=first.param)
        return BadRequest(_joined("No target of the chain can take this request.", lines), param=first.param)
    hints = [refusal.rejected.retry_after_s for refusal in made.refused]
    return NoTargetLeft(
        _joined("No target of the chain can be used now.", lines),
        reasons=lines,
        retry_after_s=min((hint for hint in hints if hint is not None), default=None),
    )


def _against(
    target: Target,
    name: str,
    route: str,
    needs: frozenset[str],
    patterns: Patterns,
    preferences: ProviderPreferences | None,
    input_tokens: int,
) -> Rejected | None:
    """What the request's own conditions say against this target."""
    if patterns != ALL and not may_use(name, route, patterns):
        return Rejected("not-allowed", f"this key's models do not include {name}.", param="model")
    if preferences is not None:
        if preferences.only and not _listed(target, name, preferences.only):
            return Rejected(
                "not-in-only", f"provider.only leaves {target.provider} out.", "provider", caller_fault=True
            )
        if _listed(target, name, preferences.ignore):
            return Rejected(
                "ignored", f"provider.ignore names {target.provider}.", "provider", caller_fault=True
            )
        no = against(target, preferences, input_tokens)
        if no is not None:
            return no
    if needs and target.facts.known:
        return _lacks(target, name, needs)
    return None


def _lacks(target: Target, name: str, needs: frozenset[str]) -> Rejected | None:
    facts = target.facts
    for need in sorted(needs):
        param = _MODALITIES.get(need)
        if param is not None:
            missing = need not in facts.modalities_in
        else:
            param = _CAPABILITIES.get(need)
            missing = facts.capabilities is not None and need not in facts.capabilities
        if missing:
            return Rejected(
                f"lacks-{need}",
                f"{name} takes no {need} (catalogue of {facts.date or 'unknown date'}).",
                param=param,
                caller_fault=True,
            )
    return None


def _too_small(target: Target, name: str, input_tokens: int, max_tokens: int | None) -> Rejected:
    reply = f", beside the {max_tokens} asked for the reply" if max_tokens else ""
    return Rejected(
        "context-too-small",
        f"{name} reads at most {target.facts.context_tokens} tokens, this request has about {input_tokens}{reply}.",
        param="messages",
        caller_fault=True,
    )


def _preferred(
    serving: list[Candidate],
    preferences: ProviderPreferences | None,
    refused: list[Refusal],
    observed: Observed,
    health: Health,
    now_s: float,
    rng: Random,
) -> tuple[list[Candidate], list[str]]:
    """In the order of trying, with reasons; without ``allow_fallbacks`` only what ``order`` names, or without it the first.

    An ``order`` that names no target leaves none: who pins a prompt to a vendor does not mean another one.
    """
    knowing = [
        Candidate(
            one.name,
            one.target,
            one.group,
            frozenset(_words(one.target, one.name)),
            health.check(one.name, now_s) is not None,
        )
        for one in serving
    ]
    placed = arrange(knowing, preferences, seen=observed, now_s=now_s, rng=rng)
    if preferences is not None and not preferences.allow_fallbacks:
        listed = [
            one for one in placed if _listed(one.candidate.target, one.candidate.name, preferences.order)
        ]
        kept = listed if preferences.order else placed[:1]
        lacks = "is not named by provider.order" if preferences.order else "is not its first choice"
        for one in placed:
            if one not in kept:
                why = f"provider.allow_fallbacks is false, and {one.candidate.target.provider} {lacks}."
                no = Rejected("fallbacks-not-allowed", why, "provider", caller_fault=True)
                refused.append(Refusal(one.candidate.name, no))
        placed = kept
    return [one.candidate for one in placed], [one.reason for one in placed]


def _listed(target: Target, name: str, words: tuple[str, ...]) -> bool:
    return bool(words) and not _words(target, name).isdisjoint(word.lower() for word in words)


def _words(target: Target, name: str) -> set[str]:
    """What a caller may call this target in ``provider{}``: our provider's name, the catalogue's, or the full name."""
    return {target.provider.lower(), target.facts.provider.lower(), name.lower(), *target.offer.slugs}


def _translated(caller_family: str, dialect: str) -> str:
    return f"translated from {caller_family} to {dialect}"


def _joined(head: str, lines: tuple[str, ...]) -> str:
    return " ".join((head, *lines))

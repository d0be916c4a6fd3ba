"""From an ask to what will be tried: names, plan, and the words that explain it; remembered while nothing is amiss.

Theory: for a plain ask (no needs, no preferences, no chain of its own) the plan depends on the operation, the model's name, the
key's patterns and the caller's family alone, as long as its targets are healthy and the prompt is far below every context.
Such plans are kept, so that the common call costs one look-up; anything else is planned anew.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from msgspec import Struct, structs

from penstock.base.chat import Ask, ProviderPreferences
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, PenstockError
from penstock.base.media_size import MEDIA
from penstock.base.models import Target
from penstock.gateway.house import House
from penstock.gateway.kinds import part_of
from penstock.gateway.record import Explain, tell
from penstock.gateway.settle import CallFacts
from penstock.routing.allow import Patterns
from penstock.routing.names import Chain, no_chain
from penstock.routing.plan import Plan, Step, no_steps, plan
from penstock.routing.suffixes import with_suffixes
from penstock.routing.wishes import strangers

MAX_KEPT = 1024


class WaryDialect(Protocol):
    """A dialect whose provider does not take all that its callers write."""

    def against_pass_through(self, ask: Ask, target: Target) -> str | None:
        """Why the caller's own bytes cannot go to ``target``, or None."""
        ...


class Planned(Struct, frozen=True):
    """What will be tried, at most how often, and why. ``small_tokens``: plain prompts below this fit every target."""

    steps: tuple[Step, ...]
    max_attempts: int | None
    model: str
    small_tokens: float
    explain: Explain
    targets: tuple[str, ...]
    """Every target of the chain, refused or not: the plan stands while none of them is in trouble."""


def remembered(house: House, ask: Ask, patterns: Patterns, family: str) -> tuple[Planned, int] | None:
    """The kept plan of a plain ask whose targets are all in order, and its estimated input tokens."""
    if not _plain(ask):
        return None
    kept = cast("Planned | None", house.plans.get((ask.model, patterns, _spoken(ask, family), ask.operation)))
    if kept is None or not house.health.untroubled(kept.targets):
        return None
    tokens = house.estimator.tokens(kept.model, ask.input_bytes)
    return (kept, tokens) if tokens < kept.small_tokens else None


def plan_call(
    house: House,
    ask: Ask,
    facts: CallFacts,
    family: str,
    now_s: float,
    *,
    losses: Callable[[Target], Rejected | None] | None = None,
) -> tuple[Planned, int]:
    """The plan and the estimated input tokens; the plan is told in ``facts.explain``, refusals too. Raises NotFound, Forbidden, BadRequest or NoTargetLeft with reasons.

    ``losses`` refuses a target that would not get all that the caller sent, where he asked for that.
    """
    _check_items(house, ask)
    patterns = facts.principal.patterns
    kept = remembered(house, ask, patterns, family)
    if kept is not None:
        facts.explain = kept[0].explain
        return kept
    chain, preferences = _named(house, ask, facts)

    def refuse(target: Target) -> Rejected | None:
        no = house.cannot(ask.operation, target)
        return losses(target) if no is None and losses is not None else no

    tokens = house.estimator.tokens(chain.targets[0].model, ask.input_bytes)
    planned = plan(
        chain,
        needs=ask.needs,
        # Of the other operations a body is no prompt: a context bounds each text of a list, and no bytes of a picture.
        input_tokens=tokens if ask.operation == "chat" else 0,
        max_tokens=ask.max_tokens,
        caller_family=family,
        caller_name=ask.dialect,
        patterns=patterns,
        preferences=preferences,
        refuse=refuse,
        health=house.health,
        now_s=now_s,
        may_pass_through=partial(_barred, house, ask),
        observed=house.observed,
        rng=house.rng,
    )
    facts.explain = tell(chain, planned)
    if not planned.steps:
        raise _placed(no_steps(planned), planned, ask)
    targets = tuple(target.name for target in chain.targets)
    made = Planned(
        planned.steps, chain.max_attempts, chain.targets[0].model, _small(chain), facts.explain, targets
    )
    if _plain(ask) and house.health.untroubled(targets) and tokens < made.small_tokens:
        if len(house.plans) >= MAX_KEPT:
            house.plans.clear()
        house.plans[ask.model, patterns, _spoken(ask, family), ask.operation] = made
    return made, tokens


def _check_items(house: House, ask: Ask) -> None:
    """Raises BadRequest for more documents than are ranked in a call."""
    most = house.config.rerank.max_documents
    if ask.items > most:
        raise BadRequest(
            f"The field documents has {ask.items} documents; at most {most} are ranked in a call (rerank.max_documents).",
            code="too_many_documents",
            param="documents",
            hint="Rank them in several calls, or leave out those that an index finds unlikely.",
        )


def _named(house: House, ask: Ask, facts: CallFacts) -> tuple[Chain, ProviderPreferences | None]:
    """The chain that the ask names, and its wishes, with those of its suffixes. Raises NotFound or BadRequest."""
    if ask.provider is not None and house.provider_names:
        unheeded = strangers(ask.provider, house.provider_names)
        if isinstance(unheeded, Rejected):
            raise no_chain(unheeded)
        facts.unheeded = unheeded
    spread = ask.operation == "chat" and (ask.dialect == "openrouter" or ask.provider is not None)
    preferences = ask.provider
    if spread:
        named = [name for name in (ask.model, *ask.models) if name and not house.names.owns(name)]
        wished = with_suffixes(named, preferences)
        if isinstance(wished, Rejected):
            raise no_chain(wished)
        preferences = wished.preferences
    chain: Chain | Rejected = house.names.chain(
        ask.model, models=ask.models, fallbacks=ask.fallbacks, spread=spread
    )
    if not spread and "/" in ask.model and not ask.models and not ask.fallbacks:
        chain = _by_slug(house, ask, chain)
    if isinstance(chain, Rejected):
        raise no_chain(chain)
    return chain, preferences


def _by_slug(house: House, ask: Ask, chain: Chain | Rejected) -> Chain | Rejected:
    """``author/model`` as OpenRouter writes it, where nothing of that name can serve: as a bare name, the first who sells it.

    The rest of its sellers is only mentioned: outside ``/api/v1`` nobody asked for a draw.
    """
    if isinstance(chain, Chain) and any(
        house.cannot(ask.operation, target) is None for target in chain.targets
    ):
        return chain
    if ask.model.partition("/")[0] in house.providers or house.names.owns(ask.model):
        return chain
    sold = house.names.chain(ask.model, spread=True)
    if isinstance(sold, Rejected):
        return chain
    able = [target for target in sold.targets if house.cannot(ask.operation, target) is None]
    found = house.names.chain(able[0].name) if able else chain
    if not able or isinstance(found, Rejected):
        return chain
    also = f"; also sold by {', '.join(target.name for target in able[1:])}" if able[1:] else ""
    return structs.replace(found, reason=f"{able[0].provider} sells {ask.model}{also}")


def _placed(error: PenstockError, planned: Plan, ask: Ask) -> PenstockError:
    """The error, with the part of the conversation that the one target cannot take."""
    if len(planned.refused) == 1 and isinstance(error, BadRequest):
        code = planned.refused[0].rejected.code
        place = part_of(ask, code.removeprefix("lacks-")) if code.startswith("lacks-") else None
        error.param = place or error.param
    return error


def _spoken(ask: Ask, family: str) -> str:
    """The caller's dialect; of one that is only translated its name, apart from a family of the same name."""
    return family or f"{ask.dialect}, translated"


def _barred(house: House, ask: Ask, target: Target) -> str | None:
    """What stands against passing this ask's bytes through."""
    no = house.against_pass_through(target, ask.operation)
    dialect = house.providers[target.provider].spoken[ask.operation]
    if no is not None or not ask.needs & MEDIA or not hasattr(dialect, "against_pass_through"):
        return no
    wary: WaryDialect = dialect  # type: ignore[assignment] - it has it
    return wary.against_pass_through(ask, target)


def _plain(ask: Ask) -> bool:
    """Nothing but the model's name decides. OpenRouter's callers mean any endpoint of a model: each call is drawn anew."""
    return not (
        ask.needs or ask.models or ask.fallbacks or ask.provider is not None or ask.dialect == "openrouter"
    )


def _small(chain: Chain) -> float:
    """Half of the smallest known context: below it, no target is refused for its size."""
    known = [t.facts.context_tokens for t in chain.targets if t.facts.context_tokens is not None]
    return min(known) / 2 if known else float("inf")

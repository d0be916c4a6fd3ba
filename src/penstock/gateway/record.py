"""What was decided on the way of one call, written down when it was decided: the source of ``explain``."""

from msgspec import Struct

from penstock.routing.names import Chain
from penstock.routing.plan import Plan


class Happening(Struct, frozen=True, gc=False, omit_defaults=True):
    """One moment of a call: a try, a wait, a refusal, an outcome. Times are ms since the call's first byte."""

    at_ms: float
    what: str
    target: str = ""
    key: str = ""
    reason: str = ""
    code: str = ""
    attempt: int = 0


class StepTold(Struct, frozen=True, gc=False, array_like=True):
    """A step of the plan, in words."""

    target: str
    reason: str
    pass_through: bool
    pass_through_reason: str


class RefusalTold(Struct, frozen=True, gc=False, array_like=True):
    """A target that the plan refused, and why."""

    target: str
    code: str
    reason: str


class Explain(Struct, frozen=True, omit_defaults=True):
    """The whole story of one call, in the order in which it happened."""

    route: str = ""
    route_reason: str = ""
    steps: tuple[StepTold, ...] = ()
    refused: tuple[RefusalTold, ...] = ()
    happenings: list[Happening] = []


UNPLANNED = Explain()
"""A call that was refused before there was a plan."""


def tell(chain: Chain, plan: Plan) -> Explain:
    """The plan, in words."""
    return Explain(
        route=chain.route,
        route_reason=chain.reason,
        steps=tuple(
            StepTold(step.target.name, step.reason, step.pass_through, step.pass_through_reason)
            for step in plan.steps
        ),
        refused=tuple(
            RefusalTold(refusal.target, refusal.rejected.code, refusal.rejected.reason)
            for refusal in plan.refused
        ),
    )

"""What was decided on one call, in the shape that ``Call.explain`` is written in and ``penstock explain`` prints.

Rules
- It is written when the decision is taken and never recomputed: prices, health and configuration move on.
- Targets and keys by name only: no credentials, no words of a prompt.
- Times are milliseconds since the call began.

Does not bind: ``Call.explain`` takes any JSON; what is not in this shape is printed as it stands.
"""

from typing import Literal

from msgspec import Struct


class Candidate(Struct, frozen=True, omit_defaults=True, gc=False):
    """A target that the plan would try, why it stands there, and whether bytes go through unchanged."""

    target: str
    reason: str = ""
    pass_through: bool | None = None
    pass_through_reason: str = ""


class Refused(Struct, frozen=True, omit_defaults=True, gc=False):
    """A target that was not tried. ``code`` is base.decisions.Rejected's."""

    target: str
    code: str
    reason: str


class Step(Struct, frozen=True, omit_defaults=True, gc=False):
    """One beat of the schedule: a try (``attempt`` joins it to its Entry), a wait, or the stop."""

    kind: Literal["try", "wait", "stop"]
    reason: str = ""
    at_ms: float = 0.0
    target: str = ""
    key: str = ""
    key_reason: str = ""
    probability: float | None = None
    attempt: int = 0
    wait_ms: float = 0.0
    outcome: str = ""


class Explanation(Struct, frozen=True, omit_defaults=True, gc=False):
    """The whole decision: the chain as planned, who was refused and why, and what then happened."""

    route: str = ""
    chain: tuple[Candidate, ...] = ()
    refused: tuple[Refused, ...] = ()
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

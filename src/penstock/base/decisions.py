"""A "no" carries its reason: ``Accepted(value)`` or ``Rejected(reason)``, as values.

Used by routing, limits, budgets, cache and tactics alike, so that ``penstock explain`` and the dashboard can
answer "why this one, why not that one?" with no code of their own.
"""

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Accepted(Struct, Generic[T], frozen=True):
    """Yes; ``reason`` says why where the choice was not the only one."""

    value: T
    reason: str = ""


class Rejected(Struct, frozen=True):
    """No, and why. ``code`` is kebab-case and stable; ``reason`` is a sentence; ``param`` names a caller's field.

    ``caller_fault``: the request itself can never be served by this target as it stands (answer 400 if every
    target says so); else the refusal is about the target's state (health, cool-down, policy).
    """

    code: str
    reason: str
    param: str | None = None
    caller_fault: bool = False
    retry_after_s: float | None = None

"""What a virtual key, its user, its team or its organisation has spent since a moment: for budgets that begin with the ledger.

Rules
- Read in the order of time: its price is that of the entries since that moment, by whomever, so that one question for all
  holders (``spent_by_all``) costs no more than one for one of them. In a file it reads the index ``entries_spent`` alone;
  PostgreSQL reads the pages of that time (``entries_at``), for an index that held all of it cost each entry a fifth more.
- An entry counts by ``at_ms``, when its attempt began. Posted own costs stand beside: they were spent, but not through us.
- What is not known is counted beside the sum, never added as 0.
"""

from typing import Literal

from msgspec import Struct

from penstock.ledger.sql import Reading

Kind = Literal["organisation", "team", "virtual_key", "user"]

_COLUMN: dict[Kind, str] = {
    "organisation": "organisation",
    "team": "team",
    "virtual_key": "virtual_key",
    "user": "virtual_key",
}
_SUMS = (
    "coalesce(sum(CASE WHEN class <> 'own_cost' THEN cost_nusd END), 0), "
    "coalesce(sum(CASE WHEN class = 'own_cost' THEN cost_nusd END), 0), count(*) - count(cost_nusd)"
)


class Spent(Struct, frozen=True):
    """Of entries since a moment: what calls cost, what was posted, and how many have no known price."""

    calls_nusd: int
    own_nusd: int
    unpriced: int


class Holder(Struct, frozen=True):
    """One place in the tree; "" is nobody."""

    organisation: str
    team: str
    virtual_key: str
    user: str


NOTHING = Spent(0, 0, 0)


def spent_since(connection: Reading, kind: Kind, name: str, since_ms: int, *, user: str = "") -> Spent:
    """What one of them has spent. A ``user`` is one of the virtual key ``name``."""
    held, bound = f"at_ms >= ? AND {_COLUMN[kind]} = ?", [since_ms, name]
    if kind == "user":
        held, bound = f"{held} AND end_user = ?", [*bound, user]
    row = connection.execute(f"SELECT {_SUMS} FROM entries WHERE {held}", bound).fetchone()  # noqa: S608 - our own names
    return Spent(*map(int, row))


def spent_by_all(connection: Reading, since_ms: int, until_ms: int | None = None) -> dict[Holder, Spent]:
    """What everybody has spent, in one pass. Sum up what a team, or an organisation, holds. ``until_ms`` is not in it."""
    before, bound = ("", (since_ms,)) if until_ms is None else (" AND at_ms < ?", (since_ms, until_ms))
    rows = connection.execute(
        "SELECT coalesce(organisation, ''), coalesce(team, ''), coalesce(virtual_key, ''), coalesce(end_user, ''), "  # noqa: S608 - our own names
        f"{_SUMS} FROM entries WHERE at_ms >= ?{before} GROUP BY 1, 2, 3, 4",
        bound,
    )
    return {Holder(*row[:4]): Spent(*map(int, row[4:])) for row in rows}

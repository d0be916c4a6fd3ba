"""Which models were answered by others lately, as the ledger has it: for ``penstock doctor``.

A reply whose provider says another model's name is a drift only where the catalogue knows both (config.slugs.Drift): a
date, an alias or a deployment's own name is none.
"""

from collections.abc import Callable
from contextlib import closing

from msgspec import Struct

from penstock.base.models import ModelFacts
from penstock.config.slugs import Drift
from penstock.ledger.opening import open_ledger

DAYS = 7
_QUERY = (
    "SELECT provider, model, model_served, count(*) FROM entries "
    "WHERE at_ms >= ? AND model_served <> '' AND model_served <> model GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"
)


class Drifted(Struct, frozen=True):
    """So many replies of ``served`` to calls for ``target`` (``provider/model``)."""

    target: str
    served: str
    calls: int

    def __str__(self) -> str:
        """As a line."""
        calls = "call" if self.calls == 1 else "calls"
        return f"{self.target} was answered by {self.served} ({self.calls} {calls}, priced as that)"


def drifts(place: str, facts: Callable[[str, str], ModelFacts], since_ms: int) -> list[Drifted]:
    """The most frequent first. Raises PenstockError where the ledger cannot be read."""
    drift = Drift(facts)
    with closing(open_ledger(place)) as connection:
        rows = connection.execute(_QUERY, (since_ms,)).fetchall()
    return [
        Drifted(f"{provider}/{model}", served, int(calls))
        for provider, model, served, calls in rows
        if drift.of(provider, facts(provider, model), served) is not None
    ]

"""One trace as it went: every entry of it, in order of time."""

from collections.abc import Mapping

from msgspec import Struct

from penstock.ledger.rollup import MODEL, PROVIDER, STAGE, Window, conditions
from penstock.ledger.sql import Reading, sql_of


class Step(Struct, frozen=True):
    """One entry. ``start_ms`` counts from the start of the first; ``cost_nusd`` None is not known."""

    id: str
    at_ms: int
    start_ms: int
    wall_ms: float
    stage: str
    klass: str
    provider: str
    model: str
    error_code: str | None
    cost_nusd: int | None


def waterfall(connection: Reading, trace: str, window: Window, where: Mapping[str, str]) -> list[Step]:
    """The steps of a trace, or of a call that is its own; empty where there is none."""
    held, bound = conditions(window, {**where, "trace": trace}, sql_of(connection))
    rows = connection.execute(
        f"SELECT id, at_ms, coalesce(latency_ms, 0.0), {STAGE}, class, {PROVIDER}, {MODEL}, error_code, cost_nusd "  # noqa: S608 - our own names
        f"FROM entries WHERE {held} ORDER BY at_ms, request_id, attempt, id",
        bound,
    ).fetchall()
    return [
        Step(entry_id, at_ms, at_ms - rows[0][1], wall_ms, *rest) for entry_id, at_ms, wall_ms, *rest in rows
    ]

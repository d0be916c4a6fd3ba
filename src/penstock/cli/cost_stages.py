"""``penstock cost --by stage``: the table of a render pipeline. What its columns mean: ledger.stages."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from penstock.base.money import usd_text
from penstock.cli.columns import UNKNOWN, cost_text, money, print_columns, print_rate
from penstock.cli.cost_out import Shown, rate_fields
from penstock.cli.screen import folded, screen
from penstock.ledger.currency import Rate
from penstock.ledger.fold import fold
from penstock.ledger.opening import open_ledger
from penstock.ledger.rollup import Window, facts_of, first_ms
from penstock.ledger.stages import Pool, StageRow, StageTable, pool_use, stage_table

NO_STAGE = "(no stage)"
IDLE = "(idle)"
_TITLES = ["stage", "wall", "of cost", "calls", "traces", "cost", "per trace", "marginal", "fully loaded"]
_GIVEN_UP = ("calls", "traces", "wall", "of cost", "per trace", "cost")


def stages_shown(
    db: str,
    window: Window,
    where: Mapping[str, str],
    pools: tuple[Pool, ...] | None,
    rate: Rate,
    *,
    now_ms: int,
) -> Shown:
    """The table of a ledger. A window without an end ends now; one without a beginning begins with the first entry."""
    with closing(open_ledger(db)) as connection:
        fold(db)  # after the reader is open: it says what is wrong with a file
        facts = facts_of(connection, window, where)
        used = pool_use(facts_of(connection, window, {}).cells) if where and pools else None
        begins_ms = window[0] if window[0] is not None else first_ms(connection)
    ends_ms = window[1] if window[1] is not None else now_ms
    window_ms = 0 if begins_ms is None else max(0, ends_ms - begins_ms)
    table = stage_table(facts, pools or (), window_ms, used)
    rows = [_fields(row, table, rate) for row in table.rows]
    document = {
        "rows": rows,
        "total": _fields(table.total, table, rate),
        "delivered_renders": table.delivered,
        "window_ms": window_ms,
        "pools": None if pools is None else list(table.pools),
    }
    fields = list(_fields(table.total, table, rate))
    return Shown(rows, document, fields, lambda: _print(table, rate, known=pools is not None))


def _fields(row: StageRow, table: StageTable, rate: Rate) -> dict[str, Any]:
    """A row as programs read it. Money in integers and exact text; null is not known."""
    priced = row.unpriced == 0 or row.unpriced < row.entries
    per_render = {
        "per_render": table.per_render(row.cost_nusd) if priced else None,
        "marginal_per_render": table.per_render(row.marginal_nusd) if priced else None,
        "loaded_per_render": table.per_render(row.loaded_nusd) if priced else None,
    }
    return {
        "stage": IDLE if row.stage is None else row.stage,
        "calls": row.calls,
        "entries": row.entries,
        "renders": row.traces,
        "wall_us": row.wall_us,
        "wall_share": _share(row.wall_us, table.total.wall_us),
        "cost_nusd": row.cost_nusd,
        "cost_usd": usd_text(row.cost_nusd),
        "cost_share": _share(row.cost_nusd, table.total.cost_nusd),
        "marginal_nusd": row.marginal_nusd,
        "idle_nusd": row.idle_nusd,
        "loaded_nusd": row.loaded_nusd,
        **{f"{name}_nusd": nusd for name, nusd in per_render.items()},
        "entries_with_unknown_price": row.unpriced,
        **rate_fields(rate, {"cost": row.cost_nusd, **per_render}),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _print(table: StageTable, rate: Rate, *, known: bool) -> None:
    console = screen()
    if not table.rows:
        console.print("The ledger has no entries for this.")
        return
    lines = [_cells(row, table, rate) for row in (*table.rows, table.total)]
    print_columns(console, _TITLES, lines, _GIVEN_UP, total=True)
    said = [
        (
            f"{table.delivered:,} delivered traces: renders, and calls that name no trace, each of which counts as one. Marginal: "
            "what one more consumes. Fully loaded: and failures, and idle time."
        )
    ]
    said += [
        (
            f"{pool.name}: {pool.owned} owned for {pool.window_ms / 3_600_000:,.1f} h cost {money(pool.paid_nusd, rate)}; "
            f"{money(pool.idle_nusd, rate)} of it idle."
        )
        for pool in table.pools
    ]
    if not known:
        said.append("No owned compute is known here, so no idle time is in it: --config names the file.")
    for line in said:
        folded(console, line, "dim")
    print_rate(console, rate)


def _cells(row: StageRow, table: StageTable, rate: Rate) -> list[str]:
    def per_render(nusd: int) -> str:
        share = table.per_render(nusd)
        if share is None:
            return "-"
        if row.unpriced and row.unpriced == row.entries:
            return UNKNOWN
        return money(share, rate) + (" + ?" if row.unpriced else "")

    return [
        IDLE if row.stage is None else row.stage or NO_STAGE,
        _percent(row.wall_us, table.total.wall_us),
        _percent(row.cost_nusd, table.total.cost_nusd),
        f"{row.calls:,}",
        f"{row.traces:,}",
        cost_text(row.cost_nusd, row.unpriced, row.entries, rate),
        per_render(row.cost_nusd),
        per_render(row.marginal_nusd),
        per_render(row.loaded_nusd),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"

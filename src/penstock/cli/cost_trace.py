"""``penstock cost --trace ID``: one render as it went, entry by entry: when, how long, what it cost."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from penstock.base.errors import NotFound
from penstock.base.money import usd_text
from penstock.cli.columns import cost_text, print_columns, print_rate
from penstock.cli.cost_out import Shown, rate_fields
from penstock.cli.screen import folded, screen
from penstock.ledger.currency import Rate
from penstock.ledger.opening import open_ledger
from penstock.ledger.rollup import Window
from penstock.ledger.waterfall import Step, waterfall

_TITLES = ["stage", "start", "wall", "when", "class", "target", "cost"]
_GIVEN_UP = ("when", "class", "target", "start", "wall")
_BAR_CELLS = 24


def trace_shown(db: str, trace: str, window: Window, where: Mapping[str, str], rate: Rate) -> Shown:
    """The steps of one trace. Raises NotFound where there is none."""
    with closing(open_ledger(db)) as connection:
        steps = waterfall(connection, trace, window, where)
    if not steps:
        raise NotFound(
            f"The ledger has no trace {trace!r}.",
            param="--trace",
            hint="`penstock cost --by trace` lists them; --since, --until, --class and --where leave entries out.",
        )
    rows = [_fields(step, rate) for step in steps]
    known = [step.cost_nusd for step in steps if step.cost_nusd is not None]
    document = {
        "trace": trace,
        "rows": rows,
        "elapsed_ms": round(_elapsed_ms(steps), 3),
        "cost_nusd": sum(known),
        "cost_usd": usd_text(sum(known)),
        **rate_fields(rate, {"cost": sum(known)}),
        "entries_with_unknown_price": len(steps) - len(known),
    }
    return Shown(rows, document, list(rows[0]), lambda: _print(steps, rate))


def _fields(step: Step, rate: Rate) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "entry": step.id,
        "at_ms": step.at_ms,
        "start_ms": step.start_ms,
        "wall_ms": step.wall_ms,
        "class": step.klass,
        "provider": step.provider,
        "model": step.model,
        "error_code": step.error_code,
        "cost_nusd": step.cost_nusd,
        "cost_usd": None if step.cost_nusd is None else usd_text(step.cost_nusd),
        **rate_fields(rate, {"cost": step.cost_nusd}),
    }


def _elapsed_ms(steps: list[Step]) -> float:
    return max(step.start_ms + step.wall_ms for step in steps)


def _print(steps: list[Step], rate: Rate) -> None:
    console = screen()
    elapsed_ms = _elapsed_ms(steps)
    lines = [
        [
            step.stage or "(no stage)",
            f"+{step.start_ms / 1000:,.3f} s",
            f"{step.wall_ms / 1000:,.3f} s",
            bar(step, elapsed_ms),
            step.klass,
            f"{step.provider}/{step.model}",
            cost_text(step.cost_nusd or 0, int(step.cost_nusd is None), 1, rate),
        ]
        for step in steps
    ]
    known = [step.cost_nusd for step in steps if step.cost_nusd is not None]
    total = cost_text(sum(known), len(steps) - len(known), len(steps), rate)
    lines.append(["total", "", f"{elapsed_ms / 1000:,.3f} s", "", "", "", total])
    print_columns(console, _TITLES, lines, _GIVEN_UP, total=True)
    folded(
        console,
        "The total's wall time is from the first start to the last end. An attempt of the gateway starts with its call.",
        "dim",
    )
    print_rate(console, rate)


def bar(step: Step, elapsed_ms: float) -> str:
    """Where the step lies in the whole: at least one mark long."""
    if elapsed_ms <= 0:
        return "=" * _BAR_CELLS
    start = min(_BAR_CELLS - 1, int(step.start_ms / elapsed_ms * _BAR_CELLS))
    length = max(1, round(step.wall_ms / elapsed_ms * _BAR_CELLS))
    return ("." * start + "=" * min(length, _BAR_CELLS - start)).ljust(_BAR_CELLS, ".")

"""``penstock cost``: what was spent, by provider, model, key, route, day or the callers' own metadata."""

import argparse
import re
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from penstock.base.errors import BadRequest, PenstockError
from penstock.base.usage import TOKEN_UNITS
from penstock.cli.columns import cost_text, print_columns, print_rate
from penstock.cli.cost_config import told_by
from penstock.cli.cost_out import Shown, print_csv, print_json, rate_fields, write_parquet
from penstock.cli.cost_stages import stages_shown
from penstock.cli.cost_trace import trace_shown
from penstock.cli.place import LEDGER_HELP
from penstock.cli.screen import screen
from penstock.ledger.currency import Rate
from penstock.ledger.entry import EntryClass
from penstock.ledger.opening import open_ledger
from penstock.ledger.queries import DIMENSIONS, CostRow, cost

_FIGURES = ("calls", "attempts", "prompt", "cached", "completion", "reasoning")
_GIVEN_UP = ("reasoning", "cached", "attempts", "completion", "prompt", "calls")
"""Columns that a narrow terminal loses, first to last."""
_SPAN = re.compile(r"(\d+)\s*([smhdw])")
_SPAN_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--db", metavar="LEDGER", help=f"{LEDGER_HELP} (the configuration's, else penstock.db)"
    )
    parser.add_argument(
        "--by",
        default="provider",
        metavar="DIMENSION",
        help=f"{', '.join(DIMENSIONS)}, meta:KEY or tag:NAME (default: provider)",
    )
    parser.add_argument("--since", metavar="WHEN", help="7d, 24h, 30m, or a date such as 2026-11-01 (UTC)")
    parser.add_argument("--until", metavar="WHEN", help="the same; entries before it")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only these entries: a dimension, meta:KEY or tag:NAME; may be repeated",
    )
    parser.add_argument(
        "--class",
        dest="klass",
        metavar="CLASS",
        choices=get_args(EntryClass),
        help="only entries of this class, such as billed_not_delivered: --where class=CLASS",
    )
    parser.add_argument(
        "--trace", metavar="ID", help="one render, entry by entry, as it went, instead of a sum"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration: its ledger, owned compute and currencies (penstock.yaml, where there is one)",
    )
    parser.add_argument(
        "--currency", metavar="CODE", help="show this currency, by the configuration's dated rate"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="JSON for programs")
    output.add_argument("--csv", action="store_true", help="CSV for spreadsheets")
    output.add_argument(
        "--parquet", metavar="PATH", help="write a Parquet file (needs the extra penstock[parquet])"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; 0, or 1 with a sentence on stderr."""
    try:
        table = _asked(args)
        if args.parquet is not None:
            print(write_parquet(args.parquet, table.rows, table.fields), file=sys.stderr)
        elif args.json:
            print_json(table.document)
        elif args.csv:
            print_csv(table.rows, table.fields)
        else:
            table.show()
    except PenstockError as error:
        print(error.public(), file=sys.stderr)
        return 1
    return 0


def _asked(args: argparse.Namespace) -> Shown:
    since_ms = None if args.since is None else moment_ms(args.since, "--since")
    until_ms = None if args.until is None else moment_ms(args.until, "--until")
    window = (since_ms, until_ms)
    where = dict(_pair(text) for text in args.where)
    if args.klass is not None:
        where["class"] = args.klass
    told = told_by(args.config, args.db)
    rate = told.rate(args.currency)
    place = told.ledger
    if args.trace is not None:
        return trace_shown(place, args.trace, window, where, rate)
    if args.by == "stage":
        return stages_shown(place, window, where, told.pools, rate, now_ms=round(time.time() * 1000))
    with closing(open_ledger(place)) as connection:
        found = cost(connection, by=args.by, since_ms=since_ms, until_ms=until_ms, where=where)
    rows = [row_fields(row, args.by, rate) for row in found]
    none = CostRow("", 0, 0, dict.fromkeys(TOKEN_UNITS, 0), 0, 0)
    return Shown(
        rows, rows, list(row_fields(none, args.by, rate)), lambda: _print_table(found, args.by, rate)
    )


def moment_ms(text: str, option: str, *, now_s: Callable[[], float] = time.time) -> int:
    """ "7d" (ago), a date or a date-time -> unix milliseconds. Raises BadRequest."""
    match = _SPAN.fullmatch(text.strip())
    if match:
        span = timedelta(**{_SPAN_UNIT[match[2]]: int(match[1])})
        return round((now_s() - span.total_seconds()) * 1000)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadRequest(
            f"{option} does not understand {text!r}.",
            param=option,
            hint="Write 7d, 24h, 30m, or a date such as 2026-11-01.",
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def row_fields(row: CostRow, by: str, rate: Rate) -> dict[str, Any]:
    """A row as programs read it: every figure an integer, dollars as exact text."""
    return {
        by: row.key,
        "calls": row.calls,
        "entries": row.entries,
        **row.tokens,
        "cost_nusd": row.cost_nusd,
        "cost_usd": row.cost_usd,
        **rate_fields(rate, {"cost": row.cost_nusd}),
        "entries_with_unknown_price": row.unknown_price,
        "saved_nusd": row.saved_nusd,
    }


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequest(
            f"--where takes KEY=VALUE, not {text!r}.",
            param="--where",
            hint="For example --where meta:sku=12.",
        )
    return name, value


def _print_table(rows: list[CostRow], by: str, rate: Rate) -> None:
    console = screen()
    if not rows:
        console.print("The ledger has no entries for this.")
        return
    lines = [["-" if row.key is None else row.key or "(none)", *_cells(row, rate)] for row in rows]
    every = _sum(rows)
    if len(rows) > 1:
        # No total of calls: one call may stand in several groups.
        lines.append(["total", "", *_cells(every, rate)[1:]])
    heads = [by, *_FIGURES, "cost"]
    if every.saved_nusd:
        heads.append("saved")
        for line, row in zip(lines, [*rows, every], strict=False):
            line.append(cost_text(row.saved_nusd, 0, row.entries, rate))
    gives_up = ("saved", *_GIVEN_UP) if every.saved_nusd else _GIVEN_UP
    print_columns(console, heads, lines, gives_up, total=len(rows) > 1)
    print_rate(console, rate)


def _sum(rows: list[CostRow]) -> CostRow:
    return CostRow(
        key="total",
        calls=0,
        entries=sum(row.entries for row in rows),
        tokens={unit: sum(row.tokens[unit] for row in rows) for unit in TOKEN_UNITS},
        cost_nusd=sum(row.cost_nusd for row in rows),
        unknown_price=sum(row.unknown_price for row in rows),
        saved_nusd=sum(row.saved_nusd for row in rows),
    )


def _cells(row: CostRow, rate: Rate) -> list[str]:
    tokens = row.tokens
    cached = tokens["cache_read"]
    written = tokens["cache_write_5m"] + tokens["cache_write_1h"]
    prompt = tokens["input"] + cached + written + tokens["input_audio"] + tokens["input_image"]
    completion = tokens["output"] + tokens["reasoning"] + tokens["output_audio"] + tokens["output_image"]
    return [
        f"{row.calls:,}",
        f"{row.entries:,}",
        f"{prompt:,}",
        f"{cached:,}",
        f"{completion:,}",
        f"{tokens['reasoning']:,}",
        cost_text(row.cost_nusd, row.unknown_price, row.entries, rate),
    ]

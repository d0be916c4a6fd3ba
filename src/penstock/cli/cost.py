"""``penstock cost``: what was spent, by provider, model, key, route, day or the callers' own metadata."""

import argparse
import csv
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock.base.errors import BadRequest, PenstockError
from penstock.base.money import usd_text
from penstock.base.usage import TOKEN_UNITS
from penstock.cli.place import LEDGER_HELP, ledger_at
from penstock.cli.screen import screen
from penstock.ledger.opening import open_ledger
from penstock.ledger.queries import DIMENSIONS, CostRow, cost

UNKNOWN = "unknown price"
_FIGURES = ("calls", "attempts", "prompt", "cached", "completion", "reasoning")
_GIVEN_UP = ("reasoning", "cached", "attempts", "completion", "prompt", "calls")
"""Columns that a narrow terminal loses, first to last."""
_NAME_MIN = 24
"""A longer name in the first column is folded before a figure is given up."""
_SPAN = re.compile(r"(\d+)\s*([smhdw])")
_SPAN_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--db", default="penstock.db", metavar="LEDGER", help=f"{LEDGER_HELP} (default: penstock.db)"
    )
    parser.add_argument(
        "--by",
        default="provider",
        metavar="DIMENSION",
        help=f"{', '.join(DIMENSIONS)}, or meta:KEY (default: provider)",
    )
    parser.add_argument("--since", metavar="WHEN", help="7d, 24h, 30m, or a date such as 2026-11-01 (UTC)")
    parser.add_argument("--until", metavar="WHEN", help="the same; entries before it")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only these entries: a dimension or meta:KEY; may be repeated",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="JSON for programs")
    output.add_argument("--csv", action="store_true", help="CSV for spreadsheets")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0, or 1 with a sentence on stderr."""
    try:
        since_ms = None if args.since is None else moment_ms(args.since, "--since")
        until_ms = None if args.until is None else moment_ms(args.until, "--until")
        where = dict(_pair(text) for text in args.where)
        connection = open_ledger(ledger_at(args.db))
        try:
            rows = cost(connection, by=args.by, since_ms=since_ms, until_ms=until_ms, where=where)
        finally:
            connection.close()
    except PenstockError as error:
        print(error.public(), file=sys.stderr)
        return 1
    if args.json:
        print(msgspec.json.format(msgspec.json.encode([row_fields(row, args.by) for row in rows])).decode())
    elif args.csv:
        _print_csv(rows, args.by)
    else:
        _print_table(rows, args.by)
    return 0


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


def row_fields(row: CostRow, by: str) -> dict[str, Any]:
    """A row as programs read it: every figure an integer, dollars as exact text."""
    return {
        by: row.key,
        "calls": row.calls,
        "entries": row.entries,
        **row.tokens,
        "cost_nusd": row.cost_nusd,
        "cost_usd": row.cost_usd,
        "entries_with_unknown_price": row.unknown_price,
    }


def cost_text(cost_nusd: int, unknown: int, entries: int) -> str:
    """Dollars as known, and always what is not: an unknown price is never shown as 0."""
    if unknown and unknown == entries:
        return UNKNOWN
    dollars = f"${usd_text(cost_nusd)}"
    return f"{dollars} + {unknown} with {UNKNOWN}" if unknown else dollars


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadRequest(
            f"--where takes KEY=VALUE, not {text!r}.",
            param="--where",
            hint="For example --where meta:sku=12.",
        )
    return name, value


def _print_csv(rows: list[CostRow], by: str) -> None:
    fields = [by, "calls", "entries", *TOKEN_UNITS, "cost_nusd", "cost_usd", "entries_with_unknown_price"]
    writer = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row_fields(row, by) for row in rows)


def _print_table(rows: list[CostRow], by: str) -> None:
    console = screen()
    if not rows:
        console.print("The ledger has no entries for this.")
        return
    lines = [["-" if row.key is None else row.key or "(none)", *_cells(row)] for row in rows]
    if len(rows) > 1:
        # No total of calls: one call may stand in several groups.
        lines.append(["total", "", *_cells(_sum(rows))[1:]])
    titles = [by, *_FIGURES, "cost"]
    kept, needed = fitting(titles, lines, console.width)
    table = Table(title=None, header_style="bold")
    for index in kept:
        first = index == 0
        table.add_column(
            titles[index],
            justify="left" if first else "right",
            overflow="fold",
            no_wrap=not first,
            min_width=None if first else _width(lines, titles, index),
        )
    for line in lines:
        total = len(rows) > 1 and line is lines[-1]
        if total:
            table.add_section()
        table.add_row(*(escape(line[index]) for index in kept), style="bold" if total else None)
    # A line that is wider than the terminal is wrapped by it: better than money with an end cut off.
    Console(width=max(console.width, needed)).print(table)
    left_out = [title for index, title in enumerate(titles) if index not in kept]
    if left_out:
        console.print(f"hint: no room for {', '.join(left_out)}; widen the terminal, or use --json or --csv.")


def fitting(titles: list[str], lines: list[list[str]], width: int) -> tuple[list[int], int]:
    """Which columns fit into ``width``, and how wide they are: the name may fold, counts may go, money stays whole."""
    kept = list(range(len(titles)))

    def needed() -> int:
        name = min(_width(lines, titles, 0), _NAME_MIN)
        return name + sum(_width(lines, titles, index) for index in kept[1:]) + 3 * len(kept) + 1

    for title in _GIVEN_UP:
        if needed() <= width:
            break
        kept.remove(titles.index(title))
    return kept, needed()


def _width(lines: list[list[str]], titles: list[str], index: int) -> int:
    return max(cell_len(text) for text in (titles[index], *(line[index] for line in lines)))


def _sum(rows: list[CostRow]) -> CostRow:
    return CostRow(
        key="total",
        calls=0,
        entries=sum(row.entries for row in rows),
        tokens={unit: sum(row.tokens[unit] for row in rows) for unit in TOKEN_UNITS},
        cost_nusd=sum(row.cost_nusd for row in rows),
        unknown_price=sum(row.unknown_price for row in rows),
    )


def _cells(row: CostRow) -> list[str]:
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
        cost_text(row.cost_nusd, row.unknown_price, row.entries),
    ]

"""``penstock reconcile EXPORT ...``: our ledger beside a provider's own export, by day and model.

Exit 0: nothing differs beyond the tolerance. 1: something does, and is listed. 2: a file cannot be read.
"""

import argparse
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec
from rich.table import Table

from penstock.base.errors import BadRequest, PenstockError
from penstock.base.money import NANO_PER_USD, usd_text
from penstock.cli.place import LEDGER_HELP, ledger_at
from penstock.cli.screen import folded, screen
from penstock.ledger.exports import Export, read_export
from penstock.ledger.opening import open_ledger
from penstock.ledger.reconcile import (
    Figures,
    Reconciled,
    Tolerance,
    as_json,
    ledger_figures,
    reconcile,
    span_ms,
)

_UNREADABLE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "export",
        nargs="+",
        type=Path,
        metavar="EXPORT",
        help="CSV or JSON of one provider; several are joined",
    )
    parser.add_argument(
        "--db", default="penstock.db", metavar="LEDGER", help=f"{LEDGER_HELP} (default: penstock.db)"
    )
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="NAME",
        help="the provider's name in the configuration; may be repeated (default: the export's own)",
    )
    parser.add_argument(
        "--tolerance-percent", type=_not_negative, default=Decimal(1), metavar="N", help="default: 1"
    )
    parser.add_argument(
        "--tolerance-usd", type=_not_negative, default=Decimal("0.01"), metavar="N", help="default: 0.01"
    )
    parser.add_argument("--json", action="store_true", help="JSON for programs")


def run(args: argparse.Namespace) -> int:
    """0 without a difference, 1 with, 2 where something cannot be read."""
    tolerance = Tolerance(
        int(args.tolerance_percent * 1_000_000), int((args.tolerance_usd * NANO_PER_USD).to_integral_value())
    )
    try:
        exports = [_read(path) for path in args.export]
        if len({export.timezone for export in exports}) > 1:
            raise BadRequest("These exports have days of different time zones.", hint="Compare them apart.")
        providers = tuple(args.provider) or tuple(sorted({name for one in exports for name in one.providers}))
        span = span_ms(exports)
        connection = open_ledger(ledger_at(args.db))
        try:
            zone = exports[0].timezone
            ledger = [] if span is None else ledger_figures(connection, providers, zone, span)
        finally:
            connection.close()
    except PenstockError as error:
        print(error.public(), file=sys.stderr)
        return _UNREADABLE
    found = reconcile(exports, ledger, tolerance)
    if args.json:
        body = {
            "exports": [
                {"file": str(path), "shape": one.shape}
                for path, one in zip(args.export, exports, strict=True)
            ],
            "providers": list(providers) or None,
            **as_json(found),
        }
        print(msgspec.json.format(msgspec.json.encode(body)).decode())
    else:
        _print(found, exports)
    return 1 if found.differences else 0


def _read(path: Path) -> Export:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read: {error}.", hint="Name an export as CSV or JSON.") from error
    return read_export(text, str(path))


def _print(found: Reconciled, exports: list[Export]) -> None:
    console = screen()
    shapes = ", ".join(export.shape for export in exports)
    days = (
        "no day" if not found.first_day else f"{found.first_day} to {found.last_day} ({found.timezone} days)"
    )
    if found.differences:
        table = Table(header_style="bold")
        titles = ("day", "model", "reason", "tokens in", "ours", "tokens out", "ours", "$", "ours")
        for place, title in enumerate(titles):
            table.add_column(title, justify="left" if place < len(titles) - 6 else "right", overflow="fold")
        for one in found.differences:
            theirs, ours = _cells(one.export), _cells(one.ledger)
            pairs = [cell for pair in zip(theirs, ours, strict=True) for cell in pair]
            name = f"{one.model} ({one.key})" if one.key else one.model
            table.add_row(one.day, name, one.reason, *pairs)
        console.print(table)
        for one in found.differences:
            folded(console, f"{one.day} {one.model}: {one.reason}: {one.detail}", hang="  ")
    known = "unknown" if found.export_nusd is None else f"${usd_text(found.export_nusd)}"
    lacks = f" + {found.ledger_unknown_price} with unknown price" if found.ledger_unknown_price else ""
    folded(
        console,
        f"{shapes}: {days}, {found.compared} compared, {len(found.differences)} differ. "
        f"Export {known}, ledger ${usd_text(found.ledger_nusd)}{lacks}.",
    )


def _cells(side: Figures | None) -> tuple[str, str, str]:
    """Tokens in, tokens out, dollars; "-" is nothing there, "?" not known."""
    if side is None:
        return ("-", "-", "-")
    cost = "?" if side.cost_nusd is None else usd_text(side.cost_nusd)
    return (
        _count(side.input_tokens),
        _count(side.output_tokens),
        f"{cost} + ?" if side.unknown_price else cost,
    )


def _count(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _not_negative(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not number.is_finite() or number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no tolerance: write 0 or more")
    return number

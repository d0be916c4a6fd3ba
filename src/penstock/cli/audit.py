"""``penstock audit``: who changed which key, team or budget, when, and how; the newest first."""

import argparse
from typing import Any

from rich.markup import escape
from rich.table import Table

from penstock.base.errors import PenstockError
from penstock.cli.office import office_of, put_json, say
from penstock.cli.office_arguments import add_office_arguments
from penstock.cli.screen import screen
from penstock.registry.desk import DEFAULT_AUDIT, MAX_AUDIT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--limit", type=_count, default=DEFAULT_AUDIT, help=f"how many, at most {MAX_AUDIT}")
    parser.add_argument(
        "--before", type=int, metavar="ID", help="only what is older than this one: the next page"
    )
    parser.add_argument("--kind", choices=["key", "team", "organisation", "config"], help="only of this kind")
    parser.add_argument("--name", help="only of this name")
    add_office_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        rows = office_of(args).audit(limit=args.limit, before=args.before, kind=args.kind, name=args.name)
    except PenstockError as error:
        return say(error)
    if args.json:
        put_json(rows)
        return 0
    if not rows:
        print("Nothing was changed yet.")
        return 0
    table = Table(header_style="bold")
    for title in ("id", "at", "who", "what", "name", "fields"):
        table.add_column(title, overflow="fold")
    for row in rows:
        cells = [row["id"], row["at"], row["who"], row["action"], row["name"] or "-", _fields(row)]
        table.add_row(*(escape(str(cell)) for cell in cells))
    screen().print(table)
    return 0


def _fields(row: dict[str, Any]) -> str:
    """Names of the fields that differ; ``--json`` has them whole."""
    before: dict[str, Any] = row["before"] or {}
    after: dict[str, Any] = row["after"] or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(names) or "-"


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_AUDIT:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_AUDIT}")
    return int(text)

"""``penstock budgets``: every budget in force, and those of objects made at run time to set."""

import argparse
import sys
from typing import Any

from rich.markup import escape
from rich.table import Table

from penstock.base.errors import BadRequest, PenstockError
from penstock.cli.governed import changed
from penstock.cli.office import office_of, put_json, say
from penstock.cli.office_arguments import add_office_arguments
from penstock.cli.screen import screen
from penstock.registry.changes import Ask
from penstock.registry.objects import SORTS, Kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=["list", "set", "remove"],
        help="set adds a budget, or replaces the one of the same name",
    )
    parser.add_argument("--key", metavar="NAME", help="whose: a virtual key's")
    parser.add_argument("--team", metavar="NAME", help="whose: a team's")
    parser.add_argument("--organisation", metavar="NAME", help="whose: an organisation's")
    parser.add_argument(
        "--limit-usd", metavar="DOLLARS", help="set: what may be spent in one window, in decimals"
    )
    parser.add_argument("--period", help="set: day, week or month (month)")
    parser.add_argument("--timezone", help="set: whose midnight, an IANA name such as Europe/Berlin (UTC)")
    parser.add_argument("--mode", help="set: hard, never above, or soft (hard)")
    parser.add_argument(
        "--overdraft-percent",
        type=int,
        metavar="N",
        help="set: of the limit, for running calls of a soft budget",
    )
    parser.add_argument("--budget", metavar="NAME", help="which one: its name; default: the period")
    add_office_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        if args.action == "list":
            return _list(args, office_of(args).budgets())
        ask = _ask(args)
        office = office_of(args)
        return changed(args, office, office.ask(ask))
    except PenstockError as error:
        return say(error)


def _ask(args: argparse.Namespace) -> Ask:
    whose: list[tuple[Kind, str]] = [
        (kind, str(name)) for kind in SORTS if (name := getattr(args, kind)) is not None
    ]
    if len(whose) != 1:
        raise BadRequest(
            "Whose budget? It is not said, or said twice.",
            hint="Name one of --key, --team and --organisation.",
        )
    kind, name = whose[0]
    if args.action == "remove":
        wanted = args.budget or args.period
        if wanted is None:
            raise BadRequest("Which budget?", hint="Name it with --budget or --period.")
        return Ask(verb="remove_budget", kind=kind, name=name, budget=str(wanted))
    told = {
        "limit_usd": args.limit_usd,
        "period": args.period,
        "timezone": args.timezone,
        "mode": args.mode,
        "overdraft_percent": args.overdraft_percent,
        "name": args.budget,
    }
    fields = {field: value for field, value in told.items() if value is not None}
    return Ask(verb="set_budget", kind=kind, name=name, fields=fields)


def _list(args: argparse.Namespace, views: list[dict[str, Any]]) -> int:
    chosen = [view for view in views if _wanted(view, args)]
    if args.json:
        put_json(chosen)
        return 0
    if not chosen:
        print("There is no budget.")
        return 0
    table = Table(header_style="bold")
    for title in ("whose", "budget", "limit", "spent", "withheld", "left", "window", "mode", "from"):
        money = title in ("limit", "spent", "withheld", "left")
        table.add_column(title, justify="right" if money else "left", overflow="fold")
    for view in chosen:
        user = f", user {view['user']}" if view["user"] else ""
        mode = str(view["mode"])
        if view["overdraft_percent"]:
            mode += f", {view['overdraft_percent']} % overdraft"
        cells = [
            f"{SORTS[_kind(view)].word} {view['of']}{user}",
            view["name"],
            f"${view['limit_usd']}",
            "-" if view["spent_usd"] is None else f"${view['spent_usd']}",
            f"${view['withheld_usd']}" if _withheld(view) else "-",
            "-" if view["left_usd"] is None else f"${view['left_usd']}",
            f"{view['period']}, {view['timezone']}" + _until(view),
            mode,
            "configuration" if view["source"] == "config" else "run time",
        ]
        table.add_row(*(escape(str(cell)) for cell in cells))
    screen().print(table)
    if any(_withheld(view) for view in chosen):
        print(
            "Withheld: part of what is spent that no call in the ledger accounts for. Runs that were killed had leased it, or "
            "calls of unknown cost have held it. It is free again in the next window.",
            file=sys.stderr,
        )
    if args.url is None:
        print("What was spent a running gateway knows: ask it with --url.", file=sys.stderr)
    return 0


def _withheld(view: dict[str, Any]) -> bool:
    """Something is; not where it is not known, or not told (an older gateway)."""
    return view.get("withheld_usd") not in (None, "0")


def _until(view: dict[str, Any]) -> str:
    """When the window ends, on a line of its own."""
    until = view["window_until"]
    return "" if until is None else f"\nuntil {str(until)[:16]}Z"


def _kind(view: dict[str, Any]) -> Kind:
    return view["kind"]


def _wanted(view: dict[str, Any], args: argparse.Namespace) -> bool:
    asked = {kind: getattr(args, kind) for kind in SORTS}
    if all(name is None for name in asked.values()):
        return True
    return asked[_kind(view)] == view["of"]

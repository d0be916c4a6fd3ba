"""What ``penstock keys``, ``teams`` and ``organisations`` have in common: list, show, make, change, take away."""

import argparse
from collections.abc import Callable
from typing import Any

from rich.markup import escape
from rich.table import Table

from penstock.base.errors import BadRequest, PenstockError
from penstock.cli.office import Office, fields_of, office_of, put_json, say, took_effect
from penstock.cli.screen import put, screen
from penstock.registry.changes import Ask
from penstock.registry.objects import SORTS, Kind

Grace = Callable[[argparse.Namespace], int]


def run_governed(
    args: argparse.Namespace, kind: Kind, extra: dict[str, Any], grace: Grace | None = None
) -> int:
    """Run ``args.action``. ``extra``: fields that options of their own say; ``grace``: how a key's ``rotate`` says it."""
    action, name = str(args.action), str(args.name or "")
    try:
        if action != "list" and not name:
            raise BadRequest(
                f"Whose? {action} needs a name.", hint=f"penstock {SORTS[kind].command} {action} NAME"
            )
        grace_s = grace(args) if grace is not None and action == "rotate" else 0
        office = office_of(args)
        if action == "list":
            return _list(args, kind, office.objects(kind))
        if action == "show":
            put_json(office.object(kind, name))
            return 0
        if action in ("new", "set"):
            given = {field: value for field, value in extra.items() if value is not None}
            fields = {**fields_of(args), **given}
            verb = "create" if action == "new" else "change"
            return changed(args, office, office.ask(Ask(verb=verb, kind=kind, name=name, fields=fields)))
        if action == "rotate":
            ask = Ask(verb="rotate", kind=kind, name=name, grace_s=grace_s)
        else:
            ask = Ask(verb="remove", kind=kind, name=name)
        return changed(args, office, office.ask(ask))
    except PenstockError as error:
        return say(error)


def changed(args: argparse.Namespace, office: Office, answer: dict[str, Any]) -> int:
    """Say what became of it: a fresh key alone on stdout, all else for people."""
    if args.json:
        put_json(answer)
        return 0
    key = answer.get("key")
    if key is not None:
        print(key)
    people = screen(stderr=True)
    if answer.get("in_force") is False:
        put(people, f"warning: {answer['name']} has no effect: {answer.get('why_not', '')}", "yellow")
    if key is not None:
        put(people, "This key is shown this once: nothing keeps it but who you give it to.")
    put(
        people,
        f"{answer['name']}: {'gone' if answer.get('removed') else 'done'}. {took_effect(args, office)}",
    )
    return 0


def _list(args: argparse.Namespace, kind: Kind, views: list[dict[str, Any]]) -> int:
    if args.json:
        put_json(views)
        return 0
    if not views:
        print(f"There is no {SORTS[kind].word} yet.")
        return 0
    above = {"key": "team", "team": "organisation", "organisation": None}[kind]
    titles = ["name", *([above] if above else []), "from", "budgets", "models", "state"]
    table = Table(header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for view in views:
        budgets = ", ".join(
            f"${one['limit_usd']}/{one.get('period', 'month')}" for one in view.get("budgets") or ()
        )
        cells = [
            view["name"],
            *([view.get(above) or "-"] if above else []),
            "configuration" if view["source"] == "config" else "run time",
            budgets or "-",
            ", ".join(view.get("models") or ("*",)),
            _state(view),
        ]
        table.add_row(*(escape(str(cell)) for cell in cells))
    screen().print(table)
    return 0


def _state(view: dict[str, Any]) -> str:
    if view.get("in_force") is False and str(view.get("why_not")).startswith("It has expired"):
        return f"expired {view['expires']}"
    if view.get("in_force") is False:
        return f"no effect: {view.get('why_not', '')}"
    until = [f"old key until {one}" for one in view.get("previous_until") or ()]
    expires = [f"expires {view['expires']}"] if view.get("expires") else []
    return ", ".join(["in force", *expires, *until])

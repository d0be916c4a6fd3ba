"""``penstock cache stats``: what the cache holds, serves and saves, and which thresholds hold for which class."""

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.base.errors import PenstockError
from penstock.cli.cache_office import add_gateway_arguments, dollars, gateway_of, percent
from penstock.cli.office import put_json, say
from penstock.cli.screen import folded, printable, put, screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        stats = gateway_of(args).cache("GET", "stats")
    except PenstockError as error:
        return say(error)
    if args.json:
        put_json(stats)
        return 0
    console = screen()
    _stores(console, stats)
    _answers(console, stats)
    _semantic(console, stats.get("semantic"))
    _classes(console, stats)
    audits = stats.get("audits")
    if audits is not None:
        put(
            console,
            f"Audits: {audits['open']} open, {dollars(audits['spent_today_usd'])} spent today of "
            f"{dollars(audits['budget_usd']) if audits['budget_usd'] is not None else 'any sum'}, {audits['dropped']} dropped.",
        )
    return 0


def _stores(console: Console, stats: dict[str, Any]) -> None:
    table = Table(header_style="bold", title="stores", title_justify="left")
    for title in ("tier", "entries", "bytes", "evicted"):
        table.add_column(title, justify="left" if title == "tier" else "right", overflow="fold")
    for row in stats["tiers"]:
        cells = (str(row["tier"]), f"{row['entries']:,}", f"{row['bytes']:,}", f"{row['evicted']:,}")
        table.add_row(*(_words(cell) for cell in cells))
    console.print(table)


def _answers(console: Console, stats: dict[str, Any]) -> None:
    """How look-ups ended, by the word of ``x-penstock-cache``."""
    answers: dict[str, int] = stats["answers"]
    total = sum(answers.values())
    for word, count in sorted(answers.items(), key=lambda pair: -pair[1]):
        put(console, f"{word}: {count:,} ({percent(count / total if total else None)})")
    put(console, f"saved: {dollars(stats['saved_usd'])}; faults, each of them a miss: {stats['faults']}")


def _semantic(console: Console, tier: dict[str, Any] | None) -> None:
    """How the tier is, or why it is not there."""
    if tier is None:
        return
    if tier["state"] == "off":
        folded(console, f"semantic tier: off. {printable(str(tier['why']))}")
        return
    more = "; what was kept before the start is being taken up" if tier["state"] == "taking up" else ""
    folded(
        console,
        f"semantic tier: {tier['entries']:,} entries in {tier['partitions']:,} partitions, {tier['graphs']:,} of them with a graph{more}",
    )


def _classes(console: Console, stats: dict[str, Any]) -> None:
    """A class's name may be as long as its namespace: it has a line of its own, whole, below which its figures fold."""
    rows: list[dict[str, Any]] = stats.get("classes") or []
    if not rows:
        return
    put(console, "semantic classes, today", "italic")
    for row in rows:
        put(console, f"  {row['class']}", "bold")
        value = row["threshold"]
        kind = "certified" if row["certified"] else "configured"
        threshold = "serves nothing" if value is None else f"serves from {value:.4f}, {kind}"
        bound = "" if row["error_bound"] is None else f", error bound {percent(row['error_bound'])}"
        figures = (
            f"{row['looks']:,} look-ups, {row['hits']:,} hits ({percent(row['hit_rate'])}); {threshold}; "
            f"{row['labels']:,} labels{bound}"
        )
        folded(console, figures, indent="      ")
        folded(console, printable(str(row["reason"])), indent="      ")


def _words(text: str) -> Text:
    return Text(printable(text), overflow="fold")

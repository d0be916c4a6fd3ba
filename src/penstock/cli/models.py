"""``penstock models [FILTER] [--json]``: what the catalogue knows of the models whose name has every word of FILTER.

Prices are dollars per million tokens unless they say otherwise. A price that is not known is said to be unknown.
"""

import argparse
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock.base.models import ModelFacts, PriceRow
from penstock.base.money import PICO_PER_USD, Price
from penstock.config.catalogue import UNITS, Catalogue, lifecycle_note

_SHOWN = 40
_OLD_DAYS = 60
_WIDE = 130
"""Columns from which the whole table is readable."""
_SHORT = {
    "input": "in",
    "output": "out",
    "cache_read": "cache read",
    "cache_write_5m": "cache write 5m",
    "cache_write_1h": "cache write 1h",
    "input_audio": "audio in",
    "output_audio": "audio out",
    "input_image": "image in",
    "output_image": "image out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("filter", nargs="*", help="words that provider/model must contain")
    parser.add_argument("--json", action="store_true", help="print every hit as JSON")
    parser.add_argument("--all", action="store_true", help=f"show more than {_SHOWN} rows")


def run(args: argparse.Namespace) -> int:
    """Prints the hits; 1 if there are none."""
    catalogue = Catalogue.load()
    words = " ".join(args.filter)
    today = datetime.now(tz=UTC).date()
    hits = catalogue.find(words)
    if args.json:
        rows = [as_json(facts, today) for facts in hits]
        sys.stdout.write(msgspec.json.encode({"version": catalogue.version, "models": rows}).decode() + "\n")
        return 0 if hits else 1
    console = Console()
    if not hits:
        near = catalogue.nearest(words)
        console.print(f"no model matches {escape(words)!r}" + (f"; near: {', '.join(near)}" if near else ""))
        return 1
    shown = hits if args.all else hits[:_SHOWN]
    narrow = console.width < _WIDE
    console.print(short_table(shown, today) if narrow else table(shown, today))
    if narrow:
        console.print(f"modalities, all prices and sources: --json, or {_WIDE} columns and more")
    if len(hits) > _SHOWN and not args.all:
        console.print(f"{len(hits) - _SHOWN} more: add words to the filter, or --all")
    newest = max(facts.date for facts in hits)
    console.print(f"catalogue {catalogue.version}, figures of {newest}; $ per million tokens")
    age_days = (today - date.fromisoformat(newest)).days
    if age_days > _OLD_DAYS:
        console.print(
            f"[yellow]these figures are {age_days} days old: see docs/how-to/update-the-catalogue.md[/]"
        )
    return 0


def table(hits: list[ModelFacts], today: date) -> Table:
    """The hits as a table."""
    grid = Table(show_lines=len(hits) <= 10)
    for title in ("Model", "Context", "Output", "In > out", "Price", "Lifecycle", "Source"):
        grid.add_column(title, overflow="fold", justify="right" if title in {"Context", "Output"} else "left")
    for facts in hits:
        note = lifecycle_note(facts, today)
        grid.add_row(
            escape(f"{facts.provider}/{facts.model}"),
            count(facts.context_tokens),
            count(facts.max_output_tokens),
            f"{' '.join(sorted(facts.modalities_in))} > {' '.join(sorted(facts.modalities_out))}",
            escape(price_lines(facts.price)),
            f"[red]{note}[/]" if note.startswith("retired") else f"[yellow]{note}[/]",
            escape(f"{facts.source.replace('https://', '')}; {facts.date}"),
        )
    return grid


def short_table(hits: list[ModelFacts], today: date) -> Table:
    """What fits into 80 columns: sizes, the two main prices, and the end of life on a line of its own."""
    grid = Table()
    grid.add_column("Model", overflow="fold")
    for title in ("Context", "Output", "In", "Out"):
        grid.add_column(title, justify="right", no_wrap=True)
    for facts in hits:
        units = facts.price.units if facts.price is not None else {}
        main = [usd(units[unit], 1_000_000) if unit in units else "unknown" for unit in ("input", "output")]
        note = lifecycle_note(facts, today)
        colour = "red" if note.startswith("retired") else "yellow"
        name = escape(f"{facts.provider}/{facts.model}") + (f"\n[{colour}]{note}[/]" if note else "")
        grid.add_row(name, count(facts.context_tokens), count(facts.max_output_tokens), *main)
    return grid


def count(tokens: int | None) -> str:
    """A token count, or a question mark."""
    return "?" if tokens is None else f"{tokens:,}"


def price_lines(price: PriceRow | None) -> str:
    """Standard prices, then one line a tier and a service class."""
    if price is None:
        return "unknown"
    lines = [units_text(price.units)]
    lines += [f"above {tier.above_tokens:,}: {units_text(tier.prices)}" for tier in price.tiers]
    lines += [f"{name.replace('>', ' above ')}: {units_text(units)}" for name, units in price.service.items()]
    return "\n".join(lines)


def units_text(units: dict[str, Price]) -> str:
    """``in 0.3, out 2.5, image 0.039 each``; kinds that all cost the same are named once (``web_search``)."""
    kinds: dict[str, set[Price]] = {}
    for unit, price in units.items():
        kinds.setdefault(unit.partition(":")[0], set()).add(price)
    units = {
        unit.partition(":")[0] if len(kinds[unit.partition(":")[0]]) == 1 else unit: price
        for unit, price in units.items()
    }
    order = sorted(units, key=lambda unit: (UNITS.index(unit) if unit in UNITS else len(UNITS), unit))
    return ", ".join(
        f"{_SHORT.get(unit, unit)} {usd(units[unit], 1_000_000)}"
        if unit in UNITS
        else f"{unit} {usd(units[unit], 1)} each"
        for unit in order
    )


def usd(price: Price, units: int) -> str:
    """The price of so many units as plain decimal dollars, exact."""
    text = f"{Decimal(price.pico_usd) * units / (price.per * PICO_PER_USD):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_json(facts: ModelFacts, today: date) -> dict[str, object]:
    """One hit as a program reads it: dollars as decimal text, token prices per million, unknown null."""
    price = facts.price
    return {
        "provider": facts.provider,
        "model": facts.model,
        "mode": facts.mode,
        "context_tokens": facts.context_tokens,
        "max_output_tokens": facts.max_output_tokens,
        "modalities_in": sorted(facts.modalities_in),
        "modalities_out": sorted(facts.modalities_out),
        "capabilities": None if facts.capabilities is None else sorted(facts.capabilities),
        "reasoning": facts.reasoning,
        "budget": None if facts.budget is None else msgspec.structs.asdict(facts.budget),
        "deprecated": facts.deprecated or None,
        "retires": facts.retires or None,
        "lifecycle": lifecycle_note(facts, today) or None,
        "price": None
        if price is None
        else {
            "version": price.version,
            "usd": units_json(price.units),
            "tiers": [
                {"above_tokens": tier.above_tokens, "usd": units_json(tier.prices)} for tier in price.tiers
            ],
            "service": {name: units_json(units) for name, units in price.service.items()},
        },
        "source": facts.source,
        "date": facts.date,
    }


def units_json(units: dict[str, Price]) -> dict[str, str]:
    """Unit -> dollars: per million for tokens (``input_per_million``), per piece otherwise (``image``)."""
    return {
        f"{unit}_per_million" if unit in UNITS else unit: usd(price, 1_000_000 if unit in UNITS else 1)
        for unit, price in units.items()
    }

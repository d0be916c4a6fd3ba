"""``penstock models [WORD ...]``: what the catalogue knows of the models whose name has every word.

Few hits, or ``--details``: a block each with every price class. More: a table. No word: who sells how many.
Prices are dollars per million tokens unless they say otherwise. A price that is not known is said to be unknown.
"""

import argparse
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from penstock.base.models import ModelFacts, PriceRow
from penstock.base.money import Price
from penstock.cli.models_text import (
    LEGEND,
    PER_MILLION,
    hours_text,
    print_block,
    print_history,
    print_overview,
    print_rows,
    usd,
)
from penstock.cli.screen import folded, put, screen
from penstock.config.borrowing import catalogue_for
from penstock.config.catalogue import UNITS, Catalogue, lifecycle_note

_SHOWN = 40
_FEW = 3
_OLD_DAYS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("filter", nargs="*", help="words that provider/model must contain")
    parser.add_argument("--details", action="store_true", help="all that is known of each, every price class")
    parser.add_argument("--json", action="store_true", help="print every hit as JSON")
    parser.add_argument("--all", action="store_true", help=f"show more than {_SHOWN} models")
    parser.add_argument(
        "--price-history", metavar="MODEL", help="every price of provider/model, with its dates"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="with --price-history: its own prices too"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the hits; 1 if there are none."""
    catalogue = Catalogue.load()
    if args.price_history:
        return _print_history(catalogue, args)
    words = " ".join(args.filter)
    today = datetime.now(tz=UTC).date()
    hits = catalogue.find(words)
    if args.json:
        rows = [as_json(facts, today) for facts in hits]
        sys.stdout.write(msgspec.json.encode({"version": catalogue.version, "models": rows}).decode() + "\n")
        return 0 if hits else 1
    console = screen()
    if not hits:
        near = catalogue.nearest(words)
        folded(console, f"no model matches {words!r}" + (f"; near: {', '.join(near)}" if near else ""))
        return 1
    if not words and not args.all and not args.details:
        print_overview(console, hits, catalogue.providers())
    else:
        hits.sort(key=lambda facts: _place(facts, words.lower(), today))
        _print_hits(console, hits, words.lower(), today, args)
    _print_age(console, max(facts.date for facts in hits), catalogue.version, today)
    return 0


def _print_history(catalogue: Catalogue, args: argparse.Namespace) -> int:
    """The rows of one model, of the catalogue and the configuration; 1 where there is none."""
    now = datetime.now(tz=UTC)
    if args.config is not None:
        from penstock.config.load import load  # noqa: PLC0415 - YAML only where there is a file to read

        loaded = load(args.config, os.environ, catalogue, now.date().isoformat())
        if loaded.config is None:
            print(f"{args.config} has faults: see penstock check {args.config}", file=sys.stderr)
            return 1
        catalogue = catalogue_for(loaded.config, catalogue)
    provider, _, model = args.price_history.partition("/")
    price = catalogue.facts(provider, model).price
    if price is None:
        near = catalogue.nearest(args.price_history)
        said = f"; near: {', '.join(near)}" if near else ""
        print(f"no price is known of {args.price_history!r}{said}", file=sys.stderr)
        return 1
    if args.json:
        rows = [_row_json(row) for row in (price, *price.later)]
        sys.stdout.write(msgspec.json.encode({"model": args.price_history, "prices": rows}).decode() + "\n")
        return 0
    print_history(screen(), args.price_history, price, int(now.timestamp() * 1000))
    return 0


def _place(facts: ModelFacts, words: str, today: date) -> tuple[bool, bool]:
    """What was asked for by its name comes first, what is retired last; else as the catalogue has it."""
    exact = words in (facts.model.lower(), f"{facts.provider}/{facts.model}".lower())
    return not exact, not exact and lifecycle_note(facts, today).startswith("retired")


def _print_hits(
    console: Console, hits: list[ModelFacts], words: str, today: date, args: argparse.Namespace
) -> None:
    shown = hits if args.all else hits[:_SHOWN]
    named = [facts for facts in hits if f"{facts.provider}/{facts.model}".lower() == words]
    blocks = shown if args.details or len(hits) <= _FEW else named
    rows = [] if blocks is shown else shown
    if rows:
        print_rows(console, rows, today)
        folded(console, LEGEND, "dim")
    for place, facts in enumerate(blocks):
        if place or rows:
            put(console, "")
        print_block(console, facts, today)
    if len(hits) > len(shown):
        folded(console, f"{len(hits) - len(shown):,} more: add words to the filter, or --all")
    elif rows and not named:
        folded(console, "--details, or a full provider/model, shows every price class")


def _print_age(console: Console, newest: str, version: str, today: date) -> None:
    folded(console, f"catalogue {version}, figures up to {newest}", "dim")
    age_days = (today - date.fromisoformat(newest)).days
    if age_days > _OLD_DAYS:
        said = f"these figures are {age_days} days old: see docs/how-to/update-the-catalogue.md"
        folded(console, said, "yellow")


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
        else {**_row_json(price), "later": [_row_json(r) for r in price.later]},
        "source": facts.source,
        "date": facts.date,
    }


def _row_json(row: PriceRow) -> dict[str, object]:
    return {
        "version": row.version,
        "from": datetime.fromtimestamp(row.from_ms // 1000, UTC).isoformat() if row.from_ms else None,
        "usd": units_json(row.units),
        "tiers": [{"above_tokens": tier.above_tokens, "usd": units_json(tier.prices)} for tier in row.tiers],
        "service": {name: units_json(units) for name, units in row.service.items()},
        "off_peak_hours": hours_text(row.hours) if row.hours else None,
    }


def units_json(units: dict[str, Price]) -> dict[str, str]:
    """Unit -> dollars: per million for tokens (``input_per_million``), per piece otherwise (``image``)."""
    return {
        f"{unit}_per_million" if unit in UNITS else unit: usd(price, PER_MILLION if unit in UNITS else 1)
        for unit, price in units.items()
    }

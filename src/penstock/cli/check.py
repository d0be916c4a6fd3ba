"""``penstock check CONFIG``: all faults at once, each with its path and what to write instead.

What ``serve`` would refuse is a fault here: a library that the configuration needs and that is not installed, too. So is what
it would go without: a cache that cannot be kept where it is to be, an embedder that is not there.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from penstock.cli.screen import folded, put, screen
from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.load import Loaded, load
from penstock.config.schema import Config
from penstock.wiring.extras import missing_extras
from penstock.wiring.keeping import cache_faults_here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def run(args: argparse.Namespace) -> int:
    """0 without faults, 1 with."""
    catalogue = Catalogue.load()
    loaded = load(args.config, os.environ, catalogue, datetime.now(UTC).date().isoformat())
    loaded.faults += [*missing_extras(loaded, catalogue), *cache_faults_here(loaded)]
    if args.json:
        found = {"ok": not loaded.faults, "faults": loaded.faults, "warnings": loaded.warnings}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
    else:
        _tell(loaded, str(args.config))
    return 1 if loaded.faults else 0


def _tell(loaded: Loaded, name: str) -> None:
    console = screen()
    if loaded.faults:
        _list(console, f"{name}: {_count(len(loaded.faults), 'fault')}", loaded.faults, "red")
    if loaded.warnings:
        _list(console, f"{name}: {_count(len(loaded.warnings), 'warning')}", loaded.warnings, "yellow")
    if not loaded.faults and loaded.config is not None:
        config = loaded.config
        found = (
            (len(config.providers), "provider"),
            (sum(len(provider.keys) for provider in config.providers.values()), "key"),
            (len(config.fallbacks), "chain"),
            (len(config.routes) + len(config.mcp), "route"),
            (len(config.virtual_keys), "virtual key"),
            (len(config.organisations), "organisation"),
            (len(config.teams), "team"),
            (_budgets(config), "budget"),
        )
        folded(console, f"{name}: no faults. {', '.join(_count(*one) for one in found)}.", "green")


def _budgets(config: Config) -> int:
    """Of organisations, teams, keys and keys' users."""
    users = [user for key in config.virtual_keys for user in key.users]
    holders = (*config.organisations, *config.teams, *config.virtual_keys, *users)
    return sum(len(one.budgets) for one in holders)


def _list(console: Console, title: str, faults: list[Fault], colour: str) -> None:
    """Each place on a line of its own, uncut, so that it can be searched for; below it what is wrong and what to write."""
    put(console, title, f"bold {colour}")
    for fault in faults:
        put(console, f"  {fault.path}", "bold")
        folded(console, fault.message, indent="      ")
        if fault.remedy:
            folded(console, fault.remedy, indent="      -> ", hang="         ")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

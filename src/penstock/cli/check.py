"""``penstock check CONFIG``: all faults at once, each with its path and what to write instead."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.load import Loaded, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def run(args: argparse.Namespace) -> int:
    """0 without faults, 1 with."""
    loaded = load(args.config, os.environ, Catalogue.load(), datetime.now(UTC).date().isoformat())
    if args.json:
        found = {"ok": not loaded.faults, "faults": loaded.faults, "warnings": loaded.warnings}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
    else:
        _tell(loaded, str(args.config))
    return 1 if loaded.faults else 0


def _tell(loaded: Loaded, name: str) -> None:
    console = Console(soft_wrap=True)
    if loaded.faults:
        console.print(_table(f"{name}: {len(loaded.faults)} fault(s)", loaded.faults, "red"))
    if loaded.warnings:
        console.print(_table(f"{len(loaded.warnings)} warning(s)", loaded.warnings, "yellow"))
    if not loaded.faults and loaded.config is not None:
        config = loaded.config
        keys = sum(len(provider.keys) for provider in config.providers.values())
        console.print(
            f"{name}: no faults. {len(config.providers)} provider(s), {keys} key(s), "
            f"{len(config.fallbacks)} chain(s), {len(config.routes) + len(config.mcp)} route(s), "
            f"{len(config.virtual_keys)} virtual key(s)."
        )


def _table(title: str, faults: list[Fault], colour: str) -> Table:
    table = Table(title=title, title_justify="left", title_style=colour, expand=False)
    for column in ("where", "what is wrong", "write instead"):
        table.add_column(column, overflow="fold")
    for fault in faults:
        table.add_row(
            fault.path.replace("[", "\\["),
            fault.message.replace("[", "\\["),
            fault.remedy.replace("[", "\\["),
        )
    return table

"""``penstock check CONFIG``: all faults at once, each with its path and what to write instead."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill

import msgspec
from rich.console import Console
from rich.text import Text

from penstock.cli.screen import folded, put, screen
from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.load import Loaded, load

_IN = " " * 6


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
    console = screen()
    if loaded.faults:
        _list(console, f"{name}: {_count(loaded.faults, 'fault')}", loaded.faults, "red")
    if loaded.faults and loaded.warnings:
        put(console, "")
    if loaded.warnings:
        _list(console, f"{name}: {_count(loaded.warnings, 'warning')}", loaded.warnings, "yellow")
    if not loaded.faults and loaded.config is not None:
        config = loaded.config
        keys = sum(len(provider.keys) for provider in config.providers.values())
        folded(
            console,
            f"{name}: no faults. {len(config.providers)} provider(s), {keys} key(s), "
            f"{len(config.fallbacks)} chain(s), {len(config.routes) + len(config.mcp)} route(s), "
            f"{len(config.virtual_keys)} virtual key(s).",
        )


def _list(console: Console, title: str, faults: list[Fault], colour: str) -> None:
    """Where, on a line of its own (paths are long), then what is wrong and what to write instead."""
    put(console, title, f"bold {colour}")
    for fault in faults:
        put(console, "")
        folded(console, fault.path, "bold", indent="  ")
        folded(console, fault.message, colour, indent="    ")
        if fault.remedy:
            folded(console, fault.remedy, indent="    -> ", hang="       ")


def _count(found: list[Fault], word: str) -> str:
    return f"{len(found)} {word}{'' if len(found) == 1 else 's'}"

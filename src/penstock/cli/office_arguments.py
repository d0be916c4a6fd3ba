"""Options that the commands of keys, teams and budgets share. Apart, so that ``--help`` loads nothing else."""

import argparse
from pathlib import Path

from penstock.cli.place import DEFAULT_URL, LEDGER_HELP

DEFAULT_ADMIN_KEY = "env.PENSTOCK_ADMIN_KEY"


def add_office_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, for each of the commands."""
    parser.add_argument(
        "--url",
        help=f"a running gateway, {DEFAULT_URL} (PENSTOCK_URL); without one the store is changed itself",
    )
    parser.add_argument(
        "--admin-key",
        metavar="REFERENCE",
        default=DEFAULT_ADMIN_KEY,
        help="env.NAME or file:PATH that holds the gateway's admin key",
    )
    parser.add_argument(
        "--ca-file", help="PEM bundle to trust instead of the system's, for --url https://..."
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="without --url: the gateway's YAML file (penstock.yaml, where there is one)",
    )
    parser.add_argument("--db", help=f"without --url: {LEDGER_HELP} (the configuration's)")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def add_field_arguments(parser: argparse.ArgumentParser) -> None:
    """Fields of an object, for the commands that make and change one."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the configuration, its value as YAML: --set rate_limit.requests_per_minute=600; may be repeated",
    )
    parser.add_argument(
        "--unset", action="append", default=[], metavar="FIELD", help="set: a field back to its default"
    )

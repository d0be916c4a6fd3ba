"""``penstock organisations``: organisations made at run time, beside the configuration's."""

import argparse

from penstock.cli.governed import run_governed
from penstock.cli.office_arguments import add_field_arguments, add_office_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=["list", "show", "new", "set", "remove"],
        help="set changes the fields that are given",
    )
    parser.add_argument("name", nargs="?", help="whose")
    add_field_arguments(parser)
    add_office_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    return run_governed(args, "organisation", {})

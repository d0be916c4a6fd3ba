"""What the commands of ``penstock cache`` share: the gateway that they ask, and how figures are written."""

import argparse
import getpass
import os
from pathlib import Path

from penstock.base.decisions import Rejected
from penstock.base.errors import ConfigFault
from penstock.cli.admin_client import AdminClient
from penstock.cli.office_arguments import DEFAULT_ADMIN_KEY
from penstock.cli.place import DEFAULT_URL, URL_HELP, gateway_named
from penstock.config.secrets import resolve


def add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """Which gateway, for each of the commands."""
    parser.add_argument("--url", help=URL_HELP)
    parser.add_argument(
        "--admin-key",
        metavar="REFERENCE",
        default=DEFAULT_ADMIN_KEY,
        help="env.NAME or file:PATH that holds the gateway's admin key",
    )
    parser.add_argument(
        "--ca-file", help="PEM bundle to trust instead of the system's, for --url https://..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")


def gateway_of(args: argparse.Namespace) -> AdminClient:
    """The gateway that is asked. Raises ConfigFault or BadRequest with what to do."""
    key = resolve(str(args.admin_key), os.environ, Path())
    if isinstance(key, Rejected):
        hint = "Set it to the gateway's admin key (server.admin_key), or name another with --admin-key."
        if key.code == "secret-in-plain":
            hint = "Write env.NAME or file:PATH: a key on the command line is there for all to read."
        raise ConfigFault(key.reason, path="--admin-key", hint=hint)
    url, said = gateway_named(args.url)
    return AdminClient(
        url or DEFAULT_URL, key, getpass.getuser(), args.ca_file, store=False, said=said if url else "--url"
    )


def percent(share: float | None) -> str:
    """A share for people; what is not known is said."""
    return "-" if share is None else f"{share * 100:.2f} %"


def dollars(text: str | None) -> str:
    """Decimal dollars as the gateway writes them."""
    return "-" if text is None else f"${text}"

"""``penstock keys new``: a fresh virtual key, and the lines that configure it."""

import argparse
import secrets
import sys

import msgspec

PREFIX = "psk-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=["new"], help="new: make a key")
    parser.add_argument("--name", default="team", help="who the key stands for")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def run(args: argparse.Namespace) -> int:
    """Print a key once; nothing keeps it."""
    key = PREFIX + secrets.token_urlsafe(32)
    variable = "".join(c if c.isalnum() else "_" for c in args.name).upper() + "_KEY"
    if args.json:
        sys.stdout.write(
            msgspec.json.encode({"name": args.name, "key": key, "variable": variable}).decode() + "\n"
        )
        return 0
    sys.stdout.write(
        f"{key}\n\n"
        "It is shown this once. Keep it in the gateway's environment and configure it:\n\n"
        f"  export {variable}={key}\n\n"
        f"  virtual_keys:\n    - name: {args.name}\n      key: env.{variable}\n"
    )
    return 0

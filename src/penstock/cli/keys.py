"""``penstock keys``: virtual keys made at run time, beside the configuration's; each is shown once and kept as a hash."""

import argparse
import re
import sys

import msgspec

from penstock.base.errors import BadRequest
from penstock.cli.office_arguments import add_field_arguments, add_office_arguments
from penstock.registry.secret import fresh_key, hash_of

_PLAIN = re.compile(r"[A-Za-z][\w -]*[A-Za-z0-9]", re.ASCII)
_SOMEBODY = "caller"
"""Whose a key is that was asked for without a word."""
_NO_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
_SPAN = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=["list", "show", "new", "set", "rotate", "revoke"],
        help="set changes the fields that are given; revoke refuses the key from now on",
    )
    parser.add_argument("name", nargs="?", help="who the key stands for")
    parser.add_argument("--name", dest="named", help="the same")
    parser.add_argument("--team", help="new, set: the team that it belongs to")
    parser.add_argument(
        "--expires", metavar="DATE", help="new, set: ISO date or date-time from which it is refused"
    )
    parser.add_argument(
        "--grace",
        metavar="SPAN",
        default="24h",
        help="rotate: how long the old key is taken, 30m, 24h, 7d; 0s: no more",
    )
    parser.add_argument(
        "--print",
        action="store_true",
        help="new: store nothing; print a key, and the lines that configure it by its hash; `penstock keys new` alone does so, too",
    )
    add_field_arguments(parser)
    add_office_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    if args.named is not None:
        args.name = args.named
    if args.action == "new" and (args.print or _alone(args)):
        return _print(args)
    from penstock.cli.governed import run_governed  # noqa: PLC0415 - see tests/house/test_floors.py

    return run_governed(args, "key", {"team": args.team, "expires": args.expires}, grace_s)


def _alone(args: argparse.Namespace) -> bool:
    """Nothing is said but that there shall be one: neither whose it is nor where it shall be stored."""
    where = (args.url, args.db, args.config)
    what = (args.name, args.team, args.expires, *args.set, *args.unset)
    return all(one is None for one in (*where, *what))


def grace_s(args: argparse.Namespace) -> int:
    """What ``--grace`` says. Raises BadRequest."""
    match = _SPAN.fullmatch(str(args.grace))
    if match is None:
        raise BadRequest(
            f"--grace does not understand {args.grace!r}.", param="--grace", hint="Write 30m, 24h or 7d."
        )
    return int(match[1]) * _UNIT_S[match[2]]


def _print(args: argparse.Namespace) -> int:
    """A key for a configuration; nothing keeps it."""
    name = _SOMEBODY if args.name is None else str(args.name)
    if not name.strip():
        print("Whose? new needs a name: penstock keys new NAME --print", file=sys.stderr)
        return 1
    key = fresh_key(name).reveal()
    if args.json:
        made = {"name": name, "key": key, "hash": hash_of(key)}
        sys.stdout.write(msgspec.json.encode(made).decode() + "\n")
        return 0
    sys.stdout.write(
        f"{key}\n\n"
        "It is shown this once. Give it to who shall call with it, and configure its hash:\n\n"
        f"  virtual_keys:\n    - name: {_yaml(name)}\n      key: {hash_of(key)}\n"
    )
    return 0


def _yaml(name: str) -> str:
    """As it is where that is plainly text, else quoted: a JSON string is one in YAML."""
    if _PLAIN.fullmatch(name) and name.lower() not in _NO_WORDS:
        return name
    return msgspec.json.encode(name).decode()

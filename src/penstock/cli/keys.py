"""``penstock keys new``: a fresh virtual key, and the lines that configure it."""

import argparse
import re
import secrets
import sys

import msgspec

PREFIX = "psk-"
_PLAIN = re.compile(r"[A-Za-z][\w -]*[A-Za-z0-9]", re.ASCII)
_NO_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=["new"], help="new: make a key")
    parser.add_argument("--name", type=_name, default="team", help="who the key stands for")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def run(args: argparse.Namespace) -> int:
    """Print a key once; nothing keeps it."""
    key = PREFIX + secrets.token_urlsafe(32)
    variable = _variable(args.name)
    if args.json:
        sys.stdout.write(
            msgspec.json.encode({"name": args.name, "key": key, "variable": variable}).decode() + "\n"
        )
        return 0
    sys.stdout.write(
        f"{key}\n\n"
        "It is shown this once. Keep it in the gateway's environment and configure it:\n\n"
        f"  export {variable}={key}\n\n"
        f"  virtual_keys:\n    - name: {_yaml(args.name)}\n      key: env.{variable}\n"
    )
    return 0


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("write who the key stands for")
    return text


def _variable(name: str) -> str:
    """A variable's name that every shell takes."""
    word = "".join(mark if mark.isascii() and mark.isalnum() else "_" for mark in name).upper() + "_KEY"
    return f"_{word}" if word[0].isdigit() else word


def _yaml(name: str) -> str:
    """As it is where that is plainly text, else quoted: a JSON string is one in YAML."""
    if _PLAIN.fullmatch(name) and name.lower() not in _NO_WORDS:
        return name
    return msgspec.json.encode(name).decode()

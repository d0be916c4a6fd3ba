"""``penstock cache warm``: fill the cache from a file of requests, with their answers or without.

A line is JSON: ``{"request": {...}, "answer": "..."}``. ``request`` is the body of a call, as ``path`` takes it
(``/v1/chat/completions`` unless said). Without an answer the request is made, and paid for, and its answer kept.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from penstock.base.errors import BadRequest, PenstockError
from penstock.cli.cache_office import add_gateway_arguments, gateway_of
from penstock.cli.office import put_json, say
from penstock.cli.screen import printable

AT_ONCE = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", metavar="FILE.jsonl", help="a request a line; - is standard input")
    parser.add_argument(
        "--key",
        metavar="NAME",
        default="",
        help="the virtual key whose cache is filled, by its name; it pays for requests that are made",
    )
    parser.add_argument("--namespace", metavar="NAME", help="the namespace that is filled")
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0; 1 where a line could not be kept, or with what is wrong."""
    kept: list[dict[str, Any]] = []
    try:
        gateway = gateway_of(args)
        lines = list(_lines(str(args.file)))
        for start in range(0, len(lines), AT_ONCE):
            some = lines[start : start + AT_ONCE]
            fields: dict[str, Any] = {"key": args.key, "calls": [line for _, line in some]}
            if args.namespace is not None:
                fields["namespace"] = args.namespace
            answers: list[dict[str, Any]] = gateway.cache("POST", "warm", fields)["data"]
            kept += [{"line": number, **one} for (number, _), one in zip(some, answers, strict=True)]
    except PenstockError as error:
        return say(error)
    failed = [one for one in kept if one.get("error")]
    if args.json:
        put_json(kept)
    else:
        for one in failed:
            print(f"line {one['line']}: {printable(str(one['error']))}", file=sys.stderr)
        print(f"{len(kept) - len(failed)} of {len(kept)} are kept.")
    return 1 if failed else 0


def _lines(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The file's lines with their numbers. Raises BadRequest naming the line."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{name} cannot be read: {error}.", param="FILE.jsonl") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document: Any = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"{name}, line {number} is not JSON: {error}.", param="FILE.jsonl") from error
        if not isinstance(document, dict) or not isinstance(
            cast("dict[str, Any]", document).get("request"), dict
        ):
            raise BadRequest(
                f"{name}, line {number} has no request.",
                param="FILE.jsonl",
                hint='Write {"request": {"model": "...", "messages": [...]}, "answer": "..."}.',
            )
        yield number, cast("dict[str, Any]", document)

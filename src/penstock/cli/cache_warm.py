"""``penstock cache warm``: fill the cache from a file of requests, with their answers or without.

A line is JSON: ``{"request": {...}, "answer": "..."}``. ``request`` is the body of a call, as ``path`` takes it
(``/v1/chat/completions`` unless said); ``usage`` what the answer took. Without an answer the request is made, and paid for, and
its answer kept.

Rules
- All bad lines are told, each with its number and why, before anything is sent: then nothing is, unless ``--skip-bad``.
- A line that the gateway does not keep is told, too, and stops no other. Where the gateway goes away in the middle, it is said
  how many were kept.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import BadRequest, PenstockError
from penstock.cache.answer import GivenUsage
from penstock.cli.cache_office import add_gateway_arguments, gateway_of
from penstock.cli.office import put_json, say
from penstock.cli.screen import printable

AT_ONCE = 20
MOST_BYTES = 4 * 1024 * 1024
"""Of lines that are sent together."""


class Line(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line, as the gateway takes it (server.cache_pages.Call)."""

    request: Raw
    answer: str | None = None
    path: str | None = None
    usage: GivenUsage | None = None


Told = dict[str, Any]
"""What became of a line: line, status, entry, error."""
_line = msgspec.json.Decoder(Line).decode


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
    parser.add_argument(
        "--skip-bad", action="store_true", help="keep the good lines of a file that has bad ones"
    )
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0; 1 where a line could not be kept, or with what is wrong."""
    told: list[Told] = []
    fault: PenstockError | None = None
    try:
        gateway = gateway_of(args)
        lines, bad = read(_text(str(args.file)))
        if bad and not args.skip_bad:
            return _refused(bad, as_json=bool(args.json))
        for some in _together(lines):
            fields: Told = {"key": args.key, "calls": [line for _, line in some]}
            if args.namespace is not None:
                fields["namespace"] = args.namespace
            answers: list[Told] = gateway.cache("POST", "warm", fields)["data"]
            told += [{"line": number, **one} for (number, _), one in zip(some, answers, strict=True)]
    except PenstockError as error:
        if not told:
            return say(error)
        fault, bad, lines = error, [], []
    told = sorted([*told, *bad], key=lambda one: int(one["line"]))
    failed = [one for one in told if one.get("error")]
    if args.json:
        put_json(told)
    else:
        _show(failed)
        print(f"{len(told) - len(failed)} of {len(told)} are kept{'' if fault is None else ', and then:'}.")
    if fault is not None:
        return say(fault)
    return 1 if failed else 0


def read(text: str) -> tuple[list[tuple[int, Line]], list[Told]]:
    """Good lines with their numbers, and what is wrong with the others."""
    good: list[tuple[int, Line]] = []
    bad: list[Told] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        why = ""
        try:
            found = _line(line)
        except (msgspec.DecodeError, RecursionError) as error:
            found, why = None, str(error) if isinstance(error, msgspec.DecodeError) else "nested too deep"
        if found is not None:
            why = _wrong_with(found)
            if not why:
                good.append((number, found))
        if why:
            bad.append({"line": number, "status": 400, "entry": None, "error": why})
    return good, bad


def _wrong_with(line: Line) -> str:
    if not bytes(line.request).lstrip().startswith(b"{"):
        return 'request is no object: write {"request": {"model": "...", "messages": [...]}, "answer": "..."}'
    if line.usage is not None and line.answer is None:
        return "usage is said of an answer, and there is none"
    return ""


def _together(lines: list[tuple[int, Line]]) -> Iterator[list[tuple[int, Line]]]:
    some: list[tuple[int, Line]] = []
    size = 0
    for number, line in lines:
        more = len(line.request) + len(line.answer or "")
        if some and (len(some) >= AT_ONCE or size + more > MOST_BYTES):
            yield some
            some, size = [], 0
        some.append((number, line))
        size += more
    if some:
        yield some


def _refused(bad: list[Told], *, as_json: bool) -> int:
    if as_json:
        put_json(bad)
        return 1
    _show(bad)
    count = len(bad)
    print(
        f"Nothing was sent: {count} bad line{'' if count == 1 else 's'}. Mend them, or keep the others with --skip-bad.",
        file=sys.stderr,
    )
    return 1


def _show(failed: list[Told]) -> None:
    for one in failed:
        print(f"line {one['line']}: {printable(str(one['error']))}", file=sys.stderr)


def _text(name: str) -> str:
    """The file. Raises BadRequest."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{name} cannot be read: {error}.", param="FILE.jsonl") from error

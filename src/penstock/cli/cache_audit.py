"""``penstock cache audit``: kept answers beside fresh ones, and a person's verdicts; or the report of a week.

Rules
- What callers and models wrote is data: never rich markup, no control characters.
- "wrong" drops the entry in every process, keeps it from coming back, and keeps its two prompts apart from now on.
- Where nobody can be asked (input has ended) the rest is only shown.
"""

import argparse
import sys
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.base.errors import BadRequest, PenstockError
from penstock.cli.admin_client import AdminClient
from penstock.cli.cache_office import add_gateway_arguments, dollars, gateway_of, percent
from penstock.cli.office import put_json, say
from penstock.cli.screen import printable, put, screen

Word = Literal["right", "wrong", "skip", "quit"]
_WORDS: dict[str, Word] = {
    "r": "right", "right": "right", "w": "wrong", "wrong": "wrong", "s": "skip", "skip": "skip", "": "skip",
    "q": "quit", "quit": "quit",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--state",
        choices=["open", "right", "wrong", "all"],
        default="open",
        help="which audits; open ones wait for a verdict",
    )
    parser.add_argument("--class", dest="klass", metavar="CLASS", help="only of this partition class")
    parser.add_argument("--limit", type=int, default=50, help="how many, at most 500")
    parser.add_argument(
        "--verdict",
        action="append",
        default=[],
        metavar="ID=VERDICT",
        help="say right or wrong of one audit, without questions; may be repeated",
    )
    parser.add_argument(
        "--report", action="store_true", help="hit rate, and wrong answers among hits with their bounds"
    )
    parser.add_argument("--days", type=int, default=7, help="of the report")
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        gateway = gateway_of(args)
        if args.verdict:
            return _verdicts(args, gateway)
        if args.report:
            return _report(args, gateway)
        return _review(args, gateway)
    except PenstockError as error:
        return say(error)


def _verdicts(args: argparse.Namespace, gateway: AdminClient) -> int:
    told: list[tuple[str, str]] = []
    for text in cast("list[str]", args.verdict):
        name, _, word = text.partition("=")
        verdict = _WORDS.get(word)
        if verdict not in ("right", "wrong") or not name:
            raise BadRequest(
                f"--verdict takes ID=right or ID=wrong, not {printable(text)!r}.", param="--verdict"
            )
        told.append((name, verdict))
    judged = [_judge(gateway, name, verdict) for name, verdict in told]
    if args.json:
        put_json(judged)
        return 0
    for one in judged:
        print(f"{one['id']}: {one['state']}{_follows(one)}")
    return 0


def _judge(gateway: AdminClient, name: str, verdict: str) -> dict[str, Any]:
    return gateway.cache("POST", f"audits/{quote(name, safe='')}", {"verdict": verdict})


def _follows(audit: dict[str, Any]) -> str:
    """What a verdict has done."""
    if audit["state"] != "wrong":
        return ""
    entry = f"{audit['entry']} is dropped, and " if audit["served"] else ""
    return f": {entry}the two prompts are kept apart from now on"


def _review(args: argparse.Namespace, gateway: AdminClient) -> int:
    asked = {"state": args.state, "class": args.klass, "limit": args.limit}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    audits: list[dict[str, Any]] = gateway.cache("GET", f"audits?{query}")["data"]
    if args.json:
        put_json(audits)
        return 0
    if not audits:
        print("No audit waits for a verdict." if args.state == "open" else "There are no such audits.")
        return 0
    console, asking = screen(), args.state == "open"
    said = {"right": 0, "wrong": 0, "skip": 0}
    for at, audit in enumerate(audits, 1):
        show(console, audit, f"{at} of {len(audits)}")
        word = _ask() if asking else None
        if word == "quit":
            break
        if word is None:
            asking = False
            continue
        said[word] += 1
        if word != "skip":
            judged = _judge(gateway, audit["id"], word)
            print(f"{judged['state']}{_follows(judged)}", file=sys.stderr)
    if sum(said.values()):
        print(f"{said['right']} right, {said['wrong']} wrong, {said['skip']} skipped.")
    return 0


def _ask() -> Word | None:
    """None: there is nobody to ask."""
    while True:
        print("The kept answer is: [r]ight, [w]rong, [s]kip, [q]uit? ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(file=sys.stderr)
            return None
        word = _WORDS.get(line.strip().lower())
        if word is not None:
            return word


def show(console: Console, audit: dict[str, Any], where: str) -> None:
    """One audit, side by side."""
    served = "served" if audit["served"] else "not served, only compared"
    put(console, f"{audit['id']} ({where}), {audit['at']}: {served}", "bold")
    flags = ", ".join(audit["flags"]) or "none"
    put(
        console,
        f"class {audit['class']}, score {audit['score']:.4f}, threshold {audit['threshold_version'] or '-'}, flags {flags}",
    )
    put(console, f"{audit['state']}{_by(audit)}", "yellow" if audit["state"] == "open" else "")
    table = Table(show_lines=True, expand=console.is_terminal, header_style="bold")
    table.add_column("")
    table.add_column(f"kept: {printable(str(audit['entry']))}", ratio=1, overflow="fold")
    table.add_column(f"fresh: {printable(str(audit['request_id']))}", ratio=1, overflow="fold")
    table.add_row("asked", _words(audit["cached"]), _words(audit["asked"]))
    table.add_row("answer", _words(audit["cached_answer"]), _words(audit["fresh_answer"]))
    console.print(table)


def _by(audit: dict[str, Any]) -> str:
    by = f", says {audit['by']}" if audit["by"] else ""
    return f"{by}: {audit['reason']}" if audit["reason"] else by


def _words(text: str) -> Text:
    return Text(printable(text) or "-", overflow="fold")


def _report(args: argparse.Namespace, gateway: AdminClient) -> int:
    report = gateway.cache("GET", f"report?days={args.days}")
    if args.json:
        put_json(report)
        return 0
    rows: list[dict[str, Any]] = report["classes"]
    console = screen()
    put(console, f"Semantic hits of the last {report['days']} days", "bold")
    if not rows:
        print("Nothing was looked up.")
        return 0
    table = Table(header_style="bold")
    for title in ("class", "look-ups", "hits", "hit rate", "saved", "audited", "wrong", "open", "wrong / hits", "bounds"):  # fmt: skip
        table.add_column(title, justify="left" if title == "class" else "right", overflow="fold")
    for row in rows:
        bounds = "-" if row["high"] is None else f"{percent(row['low'])} to {percent(row['high'])}"
        cells = [
            str(row["class"]), f"{row['looks']:,}", f"{row['hits']:,}", percent(row["hit_rate"]), dollars(row["saved_usd"]),
            f"{row['audited']:,}", f"{row['wrong']:,}", f"{row['open']:,}", percent(row["wrong_rate"]), bounds,
        ]  # fmt: skip
        table.add_row(*(_words(cell) for cell in cells))
    console.print(table)
    put(
        console,
        f"Bounds hold at {percent(report['confidence'])} (Clopper-Pearson); an open audit counts as right in the lower and as "
        f"wrong in the upper one. Audits cost {dollars(report['spent_usd'])}.",
    )
    return 0

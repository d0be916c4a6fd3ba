"""``penstock explain``: one call as it was decided and as it went, every attempt and every price.

Rules
- It prints what was recorded when the decision was taken; nothing is looked up again.
- What was recorded in a shape unknown to this file is printed as it stands, not left out.
- Nothing is cut: a terminal folds long lines under their own branch, a pipe gets them whole.
- How a try ended stands at the try; waits of one cause that follow each other are one wait.
- Callers' words (model names, metadata, errors) are data: never rich markup.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from rich.text import Text
from rich.tree import Tree

from penstock.base.errors import NotFound, PenstockError
from penstock.base.money import usd_text
from penstock.cli.cost_config import told_by
from penstock.cli.place import LEDGER_HELP
from penstock.cli.screen import screen
from penstock.config.catalogue import UNITS
from penstock.ledger.entry import Call, Entry, Line
from penstock.ledger.opening import open_ledger, shown
from penstock.ledger.queries import Explained, explain

UNKNOWN = "unknown price"
_CLASS_STYLE = {"delivered": "green", "cache_hit": "green", "billed_not_delivered": "yellow", "failed": "red"}
_WHAT_STYLE = {"failed": "red", "cut": "red", "refused": "yellow", "delivered": "green"}
_ENDINGS = ("delivered", "failed", "cut")
_WAIT = re.compile(r"(?P<why>.*): (?P<wait_ms>\d+(\.\d+)?) ms")
_HAPPENING = ("at_ms", "what", "target", "key", "reason", "code", "attempt", "wait_ms")
_BATCH = ("batch_", "msgbatch_")
"""How the ids of batches begin."""
_KNOWN_PARTS = ("route", "route_reason", "steps", "refused", "happenings")
"""gateway.record.Explain, as it lies in the ledger."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("request_id", metavar="REQUEST_ID", help="the reply's x-request-id, or its body's id")
    parser.add_argument(
        "--db", metavar="LEDGER", help=f"{LEDGER_HELP} (the configuration's, else penstock.db)"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration, for its ledger (penstock.yaml, where there is one)",
    )
    parser.add_argument("--json", action="store_true", help="the whole record as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the call; 0, or 1 with a sentence on stderr."""
    try:
        place = told_by(args.config, args.db).ledger
        connection = open_ledger(place)
        try:
            explained = explain(connection, args.request_id)
        finally:
            connection.close()
        if explained is None:
            raise NotFound(
                f"The ledger {shown(place)!r} has no call {args.request_id!r}.",
                hint=_elsewhere(args.request_id),
            )
    except PenstockError as error:
        print(error.public(), file=sys.stderr)
        return 1
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(as_fields(explained))).decode())
    else:
        screen().print(tree(explained))
    return 0


def _elsewhere(name: str) -> str:
    """Where to look for what is no call."""
    if name.startswith(_BATCH):
        return f"A batch has many: `penstock cost --trace {name}` lists them, `penstock batches {name}` shows how it stands."
    if name.startswith("job_"):
        return f"A job's call has an id of its own: request_id in GET /v1/jobs/{name}."
    return "Use the reply's x-request-id or its body's id; another ledger is named with --db or --config."


def as_fields(explained: Explained) -> dict[str, Any]:
    """The whole record with its fields' names, for programs."""
    return {
        "call": _fields(explained.call),
        "entries": [
            {**_fields(entry), "lines": [_fields(line) for line in entry.lines]}
            for entry in explained.entries
        ],
        "cost_nusd": explained.cost_nusd,
        "cost_usd": None if explained.cost_nusd is None else usd_text(explained.cost_nusd),
        "known_cost_nusd": explained.known_nusd,
        "entries_with_unknown_price": explained.unknown_price,
    }


def tree(explained: Explained) -> Tree:
    """The call as a tree for people."""
    call = explained.call
    root = Tree(_text(f"{call.request_id}", "bold"))
    _add_call(root, call)
    recorded = _dict(call.explain)
    _add_plan(root, recorded)
    tries = _add_happenings(root, recorded, explained)
    missing = [entry for entry in explained.entries if entry.attempt not in tries]
    if missing:
        branch = root.add(_text("attempts", "bold"))
        for entry in missing:
            kept = entry.klass == "cache_hit"
            target = (
                f"{'kept answer of' if kept else f'attempt {entry.attempt}'} {entry.provider}/{entry.model}"
            )
            target += f" with key {entry.provider_key}" if entry.provider_key else ""  # none: a kept answer
            _add_entry(branch.add(_text(target)), entry)
    rest = {key: value for key, value in recorded.items() if key not in _KNOWN_PARTS}
    if call.explain and not recorded:
        rest = {"recorded": call.explain}
    if rest:
        _add_anything(root.add(_text("also recorded", "bold")), rest)
    root.add(_text(f"total: {_total(explained)}", "bold"))
    return root


def _add_call(root: Tree, call: Call) -> None:
    at = datetime.fromtimestamp(call.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    outcome = str(call.status) + (f" {call.error_code}" if call.error_code else "")
    who = call.virtual_key or "anyone (no virtual keys)"
    who += f" for {call.user}" if call.user else ""
    above = " of ".join(filter(None, (call.team, call.organisation)))
    who += f" ({above})" if above else ""
    asked = root.add(_text(f"{who} asked for {call.asked_model}{' (stream)' if call.stream else ''}"))
    asked.add(_text(f"at {at.replace('+00:00', ' UTC')}, configuration {call.config_version or '-'}"))
    asked.add(
        _text(
            f"answered {outcome} after {_ms(call.latency_ms)}, {call.gateway_us} µs of it our own; "
            f"{call.attempts} attempt{'' if call.attempts == 1 else 's'}"
        )
    )
    if call.body_id:
        asked.add(_text(f"reply's id {call.body_id}"))
    if call.client_request_id:
        asked.add(_text(f"caller's own id {call.client_request_id}"))
    if call.adjusted:
        asked.add(_text(f"adjusted: {', '.join(call.adjusted)}", "yellow"))


def _add_plan(root: Tree, recorded: dict[str, Any]) -> None:
    steps = _rows(recorded.get("steps"))
    route = recorded.get("route")
    if steps or route:
        head = f"plan{f' of {route}' if route else ''}"
        branch = root.add(_text(_joined(head, recorded.get("route_reason")), "bold"))
        for target, reason, pass_through, why in (_padded(step, 4) for step in steps):
            node = branch.add(_text(_joined(target, reason)))
            if pass_through is not None:
                node.add(_text(_joined("bytes go through" if pass_through else "translated", why)))
    refused = _rows(recorded.get("refused"))
    if refused:
        branch = root.add(_text("refused", "bold"))
        for target, code, reason in (_padded(refusal, 3) for refusal in refused):
            branch.add(_text(_joined(target, reason) + (f" [{code}]" if code else ""), "yellow"))


def _add_happenings(root: Tree, recorded: dict[str, Any], explained: Explained) -> set[int]:
    """What happened, in order, each try with its end and its entry; gives the attempts that were shown."""
    happenings = list(_one_wait(_dict(told) for told in _rows(recorded.get("happenings"))))
    entries = {entry.attempt: entry for entry in explained.entries}
    tries = {_attempt(told) for told in happenings if told.get("what") == "try"}
    endings = {_attempt(told): told for told in happenings if str(told.get("what")) in _ENDINGS}
    shown: set[int] = set()
    branch = root.add(_text("what happened", "bold")) if happenings else root
    for told in happenings:
        attempt = _attempt(told)
        if attempt in tries and told is endings.get(attempt):
            continue
        node = branch.add(_text(_happening(told), _WHAT_STYLE.get(str(told.get("what")), "")))
        _leftovers(node, told)
        if told.get("what") == "try":
            _add_end(node, endings.get(attempt), entries.get(attempt))
            shown.add(attempt)
    return shown


def _one_wait(happenings: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Waits for the same cause, with nothing between them, as one; ``wait_ms`` is how long it was to be in all."""
    last: dict[str, Any] | None = None
    for told in happenings:
        match = _WAIT.fullmatch(str(told.get("reason", ""))) if told.get("what") == "wait" else None
        if match is None:
            last = None
            yield told
            continue
        wait_ms = float(match["wait_ms"])
        if last is not None and last["reason"] == match["why"]:
            last["wait_ms"] += wait_ms
            continue
        last = {**told, "reason": match["why"], "wait_ms": wait_ms}
        yield last


def _attempt(told: dict[str, Any]) -> int:
    attempt = told.get("attempt")
    return attempt if isinstance(attempt, int) else 0


def _happening(told: dict[str, Any]) -> str:
    """One happening in a line."""
    what, attempt, reason = str(told.get("what", "?")), _attempt(told), told.get("reason")
    words = [f"+{_ms(told.get('at_ms', 0.0))}", what]
    if "wait_ms" in told:
        return " ".join([*words, f"{told['wait_ms']:.0f} ms", f"({reason})"])
    words += [f"(attempt {attempt})"] if attempt else []
    words += [str(told["target"])] if told.get("target") else []
    words += [f"with key {told['key']}"] if what == "try" and told.get("key") else []
    code = f" [{told['code']}]" if told.get("code") else ""
    return _joined(" ".join(words), reason) + code


def _add_end(node: Tree, ending: dict[str, Any] | None, entry: Entry | None) -> None:
    """How a try ended, once: the ledger's entry says it, and the happening when; either may be missing."""
    when = "" if ending is None else f" at +{_ms(ending.get('at_ms', 0.0))}"
    what = "" if ending is None else str(ending["what"])
    if entry is not None:
        _add_entry(node, entry, when, what)
    elif ending is not None:
        node.add(_text(f"{what}{when}", _WHAT_STYLE.get(what, "")))
    if ending is None:
        return
    reason, code = ending.get("reason") or "", ending.get("code") or ""
    if (reason or code) and (entry is None or (code, reason) != (entry.error_code or "", entry.error or "")):
        node.add(_text(_joined(code, reason) if code else str(reason), "red"))
    _leftovers(node, ending)


def _add_entry(node: Tree, entry: Entry, when: str = "", what: str = "") -> None:
    """What the ledger holds of an attempt."""
    status = f", upstream {entry.status}" if entry.status else ""
    took = f"took {_ms(entry.latency_ms)}"
    if entry.ttft_ms is not None:
        took += f", first token after {_ms(entry.ttft_ms)}"
    if entry.tokens_per_s is not None:
        took += f", {entry.tokens_per_s:.1f} tokens/s"
    # An attempt that failed, or was cut, may have consumed something: that is its class.
    ended = f"{entry.klass}{when}" if what in ("", entry.klass) else f"{what}{when}, {entry.klass}"
    node.add(_text(f"{ended}{status}, {took}", _CLASS_STYLE.get(entry.klass, "")))
    if entry.error_code:
        node.add(_text(_joined(entry.error_code, entry.error), "red"))
    if entry.model_served and entry.model_served != entry.model:
        node.add(_text(f"the provider says it used {entry.model_served}"))
    if entry.finish_reason:
        native = entry.native_finish_reason
        word = f" (the provider's word: {native})" if native and native != entry.finish_reason else ""
        node.add(_text(f"finished: {entry.finish_reason}{word}"))
    for name, value in (entry.meta or {}).items():
        node.add(_text(f"metadata {name} = {value}"))
    _add_cost(node, entry)


def _add_cost(node: Tree, entry: Entry) -> None:
    if entry.usage_source is None and not entry.lines:
        usage = "usage unknown" if entry.cost_nusd is None else "nothing consumed"
    else:
        usage = f"{entry.prompt_tokens:,} prompt + {entry.completion_tokens:,} completion tokens"
        usage += f" ({entry.usage_source})"
    cost = UNKNOWN if entry.cost_nusd is None else f"${usd_text(entry.cost_nusd)}"
    if entry.klass == "cache_hit":
        usage = "answered before, and not asked again"
        cost += f", saved ${usd_text(entry.saved_nusd)}"
    branch = node.add(_text(f"{usage}: {cost}"))
    for line in entry.lines:
        branch.add(_text(_line(line)))


def _line(line: Line) -> str:
    if line.price_pico_usd is None or line.cost_nusd is None:
        return f"{line.quantity:,} {line.unit}: {UNKNOWN} (price version {line.price_version}, {line.source})"
    # ``per`` is 1, 1,000 or 1,000,000, so the price of a million is whole pico-dollars.
    if line.unit in UNITS:
        price = f"${_usd(line.price_pico_usd * 1_000_000 // line.per)}/M"
    else:
        price = f"${_usd(line.price_pico_usd)}" + (f"/{line.per:,}" if line.per > 1 else "")
    return (
        f"{line.quantity:,} {line.unit} x {price} = ${usd_text(line.cost_nusd)} "
        f"(price version {line.price_version}, {line.source})"
    )


def _usd(pico_usd: int) -> str:
    """Pico-dollars as plain decimal dollars, exact."""
    whole, rest = divmod(pico_usd, 10**12)
    digits = f"{rest:012d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _total(explained: Explained) -> str:
    if explained.cost_nusd is not None:
        return f"${usd_text(explained.cost_nusd)}"
    known = f"${usd_text(explained.known_nusd)} known, " if explained.known_nusd else ""
    count = explained.unknown_price
    return f"{UNKNOWN} ({known}{count} attempt{'' if count == 1 else 's'} with {UNKNOWN})"


def _add_anything(node: Tree, value: Any) -> None:
    """Any JSON as it stands."""
    if isinstance(value, dict | list) and value:
        items = _dict(value).items() if isinstance(value, dict) else enumerate(cast("list[Any]", value))
        for key, item in items:
            if isinstance(item, dict | list) and item:
                _add_anything(node.add(_text(f"{key}:")), item)
            else:
                node.add(_text(f"{key}: {_scalar(item)}"))
    else:
        node.add(_text(_scalar(value)))


def _leftovers(node: Tree, told: dict[str, Any]) -> None:
    """What a happening has beyond the fields that we know."""
    rest = {key: value for key, value in told.items() if key not in _HAPPENING}
    if rest:
        _add_anything(node, rest)


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _rows(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _padded(row: Any, width: int) -> list[Any]:
    """A told row with exactly ``width`` cells: an older or newer Penstock may have written fewer or more."""
    cells = cast("list[Any]", row) if isinstance(row, list) else [_scalar(row)]
    return (cells + [None] * width)[:width]


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _joined(head: Any, reason: Any) -> str:
    return f"{head}: {reason}" if reason else str(head)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 10_000 else f"{milliseconds:.1f} ms"


def _text(text: str, style: str = "") -> Text:
    return Text(text, style=style, overflow="fold")


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}

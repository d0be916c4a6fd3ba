"""Runs every feature through every inlet to every chat dialect, and says of each cell what the provider received.

    PYTHONPATH=src python -m tests.pairs.matrix      write tests/golden/pairs.json anew; then scripts/build_reference.py

A cell is lossless (nothing said, and what was asked for was received), approximated (the words of
``x-penstock-adjusted``), refused (its code and sentence), served (by the gateway itself: its record has it), or LOST: neither received nor said. The last is a fault of ours.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tests.behaviours.gateway import Answer, Gateway
from tests.pairs.features import FEATURES, Feature
from tests.pairs.received import holds
from tests.pairs.world import INLETS, PLAIN, THINKERS, ask, world

GOLDEN = Path(__file__).parent.parent / "golden" / "pairs.json"
LOST = "LOST"
_OK = 200
_DATE = re.compile(r" of \d{4}-\d\d-\d\d")
"""Of the catalogue: a newer one with the same facts changes nothing here."""
Cell = dict[str, Any]


class Matrix:
    """The cells of one gateway. What a provider received is kept, for other features are compared with it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._kept: dict[tuple[str, str, str, bool], tuple[Answer, Any]] = {}

    def all(self) -> dict[str, dict[str, dict[str, Cell]]]:
        """Inlet -> feature -> upstream dialect -> cell."""
        return {inlet: self.rows(inlet) for inlet in INLETS}

    def rows(self, inlet: str) -> dict[str, dict[str, Cell]]:
        """One inlet's."""
        return {
            name: {door: self.cell(feature, inlet, door) for door in PLAIN}
            for name, feature in FEATURES.items()
            if inlet in feature.said
        }

    def cell(self, feature: Feature, inlet: str, door: str) -> Cell:
        """What became of it."""
        answer, sent = self._run(feature, inlet, door, feature.thinks)
        if answer.status != _OK:
            return self._refused(answer, sent, door)
        words = _words(answer)
        beside, compared = [], None
        if feature.beside and inlet in FEATURES[feature.beside].said:
            other, compared = self._run(FEATURES[feature.beside], inlet, door, feature.thinks)
            beside = _words(other)
        held = all(any(holds(sent, one) for one in mark) for mark in feature.marks) and sent != compared
        if any(holds(sent, one) for one in feature.never):
            held = False
        if not held and not set(words) - set(beside):
            if feature.marks and self._in_ledger(answer, feature):
                return {"verdict": "served", "words": words}
            return {"verdict": LOST, "words": words}
        return {"verdict": "approximated", "words": words} if words else {"verdict": "lossless"}

    def _run(self, feature: Feature, inlet: str, door: str, thinks: bool) -> tuple[Answer, Any]:
        place = (feature.name, inlet, door, thinks)
        if place not in self._kept:
            self._gateway.fresh()
            model = (THINKERS if thinks else PLAIN)[door]
            answer = ask(self._gateway, inlet, model, feature.said[inlet], stream=feature.stream)
            seen = [one for one in self._gateway.sim.requests if one.provider == door and one.body]
            self._kept[place] = answer, json.loads(seen[-1].body) if seen else None
        return self._kept[place]

    def _in_ledger(self, answer: Answer, feature: Feature) -> bool:
        """It was meant for a gateway: its record of the call has it."""
        record = msgspec.to_builtins(self._gateway.ledger(answer.request_id))
        return all(any(holds(record, one) for one in mark) for mark in feature.marks)

    def _refused(self, answer: Answer, sent: Any, door: str) -> Cell:
        by = "provider" if sent is not None else "gateway"
        refused = self._gateway.refused(answer.request_id)
        codes = [code for target, code in refused if target in (PLAIN[door], THINKERS[door])]
        error = answer.json()["error"]
        reason = _DATE.sub("", str(error["message"]))
        reason = reason.replace(PLAIN[door], "MODEL").replace(THINKERS[door], "MODEL")
        code = codes[0] if codes else str(self._gateway.ledger(answer.request_id).call.error_code)
        return {"verdict": "refused", "by": by, "code": code, "reason": reason}


def _words(answer: Answer) -> list[str]:
    return [word for word in answer.headers.get("x-penstock-adjusted", "").split(",") if word]


def written(cells: dict[str, Any]) -> str:
    """As the file holds them: one row a line."""
    lines = ["{"]
    for inlet, rows in cells.items():
        lines.append(f'"{inlet}": {{')
        lines += [
            f"{json.dumps(name)}: {{"
            + ",".join(f"\n  {json.dumps(door)}: {json.dumps(cell)}" for door, cell in row.items())
            + "\n}"
            + ("," if name != list(rows)[-1] else "")
            for name, row in rows.items()
        ]
        lines.append("}" + ("," if inlet != list(cells)[-1] else ""))
    return "\n".join([*lines, "}", ""])


def main() -> int:
    """Write; 1 and the cells if anything is lost."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as gateway:
        cells = Matrix(gateway).all()
    GOLDEN.write_text(written(cells), encoding="utf-8")
    lost = [
        (inlet, name, door)
        for inlet, rows in cells.items()
        for name, row in rows.items()
        for door, cell in row.items()
        if cell["verdict"] == LOST
    ]
    for one in lost:
        print("lost without a word:", *one, sep="  ")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())

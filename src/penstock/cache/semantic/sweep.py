"""What would thresholds do to pairs that somebody has judged? Pure: text and scores in, rows out.

A file of pairs is CSV with a head: ``prompt`` and ``other``, and either ``same`` (is the one's answer right for the other?) or
``answer_a`` and ``answer_b``, which a metric compares; ``score`` where the similarities are known already. Every fault is
told with its line and column; a file with a fault is not used in part.
"""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import NamedTuple

from msgspec import Struct

from penstock.cache.ports import Label
from penstock.cache.semantic.binomial import lower, upper
from penstock.cache.semantic.certify import fixed_sequence, grid
from penstock.cache.semantic.decider import Certified

THRESHOLDS = (0.90, 0.92, 0.94, 0.96)
_TRUE = frozenset({"1", "true", "yes", "y", "same", "right"})
_FALSE = frozenset({"0", "false", "no", "n", "different", "wrong"})
_KNOWN = ("prompt", "other", "same", "answer_a", "answer_b", "score")


class CsvFault(Struct, frozen=True):
    """What is wrong, and where. ``line`` is the file's, from 1; ``column`` is the head's word."""

    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        """As a line."""
        return f"line {self.line}, {self.column}: {self.reason}"


class Pair(Struct, frozen=True):
    """One row as it was read. ``same`` None: a metric is to say; ``score`` None: an embedder is."""

    line: int
    prompt: str
    other: str
    same: bool | None = None
    answers: tuple[str, str] | None = None
    score: float | None = None


class Judged(Struct, frozen=True):
    """A pair that is measured. ``vetoes``: the guards' words; it is served at no threshold. ``metric``: of its answers."""

    pair: Pair
    score: float
    wrong: bool
    vetoes: tuple[str, ...] = ()
    metric: float | None = None


class Row(Struct, frozen=True):
    """One threshold. The bounds are Clopper and Pearson's, two-sided at the confidence; None without a hit."""

    threshold: float
    hits: int
    hit_rate: float
    wrong: int
    wrong_rate: float | None
    least: float | None
    most: float | None


class Calibrated(Struct, frozen=True):
    """``value``: certified by one look at these pairs; ``served``: what a gateway that goes on learning makes of them."""

    max_error_rate: float
    confidence: float
    value: float | None
    served: float | None
    reason: str


class Read(NamedTuple):
    """Either is empty."""

    pairs: list[Pair]
    faults: list[CsvFault]


def read_pairs(text: str, *, metric: bool) -> Read:
    """The file's rows; ``metric``: its answers are compared, so it must have them."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        head = next(reader, None)
        if head is None:
            return Read([], [CsvFault(1, "head", "the file is empty")])
        names = [name.strip().lstrip("\N{ZERO WIDTH NO-BREAK SPACE}").lower() for name in head]
        faults = _head_faults(names, metric=metric)
        if faults:
            return Read([], faults)
        pairs: list[Pair] = []
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                _take(line, names, cells, pairs, faults, metric=metric)
            line = reader.line_num + 1
    except csv.Error as error:
        return Read([], [CsvFault(reader.line_num, "row", f"this is no CSV: {error}")])
    if not pairs and not faults:
        faults = [CsvFault(2, "row", "there is no pair below the head")]
    return Read([], faults) if faults else Read(pairs, [])


def _head_faults(names: Sequence[str], *, metric: bool) -> list[CsvFault]:
    wanted = ["prompt", "other", *(("answer_a", "answer_b") if metric else ("same",))]
    found = [
        CsvFault(1, name, "the column is missing" + _instead(name, names))
        for name in wanted
        if name not in names
    ]
    return found + [
        CsvFault(1, name, "the column is there twice") for name in _KNOWN if names.count(name) > 1
    ]


def _instead(name: str, names: Sequence[str]) -> str:
    if name == "same" and "answer_a" in names:
        return "; compare the answers with --metric FILE.py:FUNCTION"
    return ""


def _take(
    line: int,
    names: Sequence[str],
    cells: Sequence[str],
    pairs: list[Pair],
    faults: list[CsvFault],
    *,
    metric: bool,
) -> None:
    """One row: a pair, or all its faults."""
    if len(cells) != len(names):
        faults.append(CsvFault(line, "row", f"it has {len(cells)} cells, and the head has {len(names)}"))
        return
    row = dict(zip(names, cells, strict=True))
    before = len(faults)
    faults += [CsvFault(line, name, "it is empty") for name in ("prompt", "other") if not row[name].strip()]
    same: bool | None = None
    if not metric:
        word = row["same"].strip().lower()
        same = word in _TRUE
        if word not in _TRUE | _FALSE:
            faults.append(CsvFault(line, "same", f"{row['same']!r} is neither true nor false"))
    score = _score(row["score"]) if "score" in row else None
    if score is None and row.get("score", "").strip():
        faults.append(CsvFault(line, "score", f"{row['score']!r} is no number from -1 to 1"))
    if len(faults) == before:
        answers = (row["answer_a"], row["answer_b"]) if metric else None
        pairs.append(Pair(line, row["prompt"], row["other"], same, answers, score))


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if -1 <= score <= 1 else None


def rows(judged: Sequence[Judged], thresholds: Iterable[float], confidence: float) -> list[Row]:
    """What each threshold would have served."""
    tail = (1 - confidence) / 2
    found: list[Row] = []
    for threshold in thresholds:
        hits, wrong = counts(judged, threshold)
        found.append(
            Row(
                threshold=threshold,
                hits=hits,
                hit_rate=hits / len(judged) if judged else 0.0,
                wrong=wrong,
                wrong_rate=wrong / hits if hits else None,
                least=lower(wrong, hits, tail) if hits else None,
                most=upper(wrong, hits, tail) if hits else None,
            )
        )
    return found


def counts(judged: Iterable[Judged], threshold: float) -> tuple[int, int]:
    """Served, and of these wrong."""
    served = [one for one in judged if one.score >= threshold and not one.vetoes]
    return len(served), sum(one.wrong for one in served)


def worst(judged: Iterable[Judged], count: int) -> list[Judged]:
    """Wrong pairs that would be served first: the highest scores, of those the farthest answers."""
    wrong = [one for one in judged if one.wrong and not one.vetoes]
    return sorted(wrong, key=lambda one: (-one.score, one.metric or 0.0, one.pair.line))[:count]


def labels(judged: Iterable[Judged], klass: str, at_ms: int) -> list[Label]:
    """As the gateway learns them: what a guard refuses is served at no score, and is no label."""
    return [
        Label(klass=klass, score=one.score, wrong=one.wrong, source="upload", at_ms=at_ms)
        for one in judged
        if not one.vetoes
    ]


def calibrated(
    judged: Sequence[Judged], max_error_rate: float, confidence: float, loosest: float
) -> Calibrated:
    """The loosest threshold at which at most ``max_error_rate`` of what is served is wrong, with that confidence."""
    steps = [(threshold, *counts(judged, threshold)) for threshold in grid(loosest)]
    decider = Certified(max_error_rate, confidence, loosest)
    decider.restore(labels(judged, "", 0))
    told = decider.threshold("")
    return Calibrated(
        max_error_rate=max_error_rate,
        confidence=confidence,
        value=fixed_sequence(steps, max_error_rate, 1 - confidence),
        served=told.value,
        reason=told.reason,
    )

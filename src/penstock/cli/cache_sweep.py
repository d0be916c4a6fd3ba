"""``penstock cache sweep``: what thresholds would do to judged pairs, and which of them can be certified.

Pairs are judged by a person (column ``same``), or by what became of the answers: ``--metric FILE.py:FUNCTION`` is called with
``answer_a`` and ``answer_b`` of each row and returns a number, of which less than ``--least`` is wrong (the similarity of two
pictures made from two captions, say), or true and false.
"""

import argparse
import importlib.util
import math
import operator
import os
import sqlite3
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import starmap
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, ConfigFault, PenstockError
from penstock.cache.audit_file import AuditFile
from penstock.cache.embed.opening import open_embedder
from penstock.cache.ports import Embedder
from penstock.cache.semantic.certify import LOOSEST
from penstock.cache.semantic.guards import vetoes
from penstock.cache.semantic.sweep import (
    THRESHOLDS,
    Calibrated,
    Judged,
    Pair,
    Row,
    calibrated,
    labels,
    read_pairs,
    rows,
    worst,
)
from penstock.cli.office import put_json, say
from penstock.cli.screen import folded, printable, put, screen
from penstock.config.schema_cache import SemanticCacheConfig

Metric = Callable[[str, str], object]
MOST_FAULTS = 20
"""More are counted, not printed."""
_MOST_CHARS = 160
"""Of a text in the list of the worst."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "pairs",
        metavar="PAIRS.csv",
        help="columns: prompt, other, and same (or answer_a, answer_b); maybe score",
    )
    parser.add_argument(
        "--thresholds",
        type=_thresholds,
        default=",".join(f"{one:.2f}" for one in THRESHOLDS),
        metavar="LIST",
        help="similarities from which would be served",
    )
    parser.add_argument(
        "--metric", metavar="FILE.py:FUNCTION", help="judge by answer_a and answer_b instead of same"
    )
    parser.add_argument(
        "--least", type=float, default=0.5, metavar="NUMBER", help="a metric below it is wrong"
    )
    parser.add_argument("--no-guards", action="store_true", help="serve also what the guards would refuse")
    parser.add_argument(
        "--embedder", default="builtin", metavar="NAME", help="builtin, or a folder with a model of that form"
    )
    parser.add_argument("--worst", type=int, default=10, metavar="N", help="wrong pairs to show")
    parser.add_argument(
        "--confidence",
        type=_share,
        default=0.95,
        metavar="SHARE",
        help="of bounds and certificate",
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="find the loosest threshold that keeps --max-error-rate"
    )
    parser.add_argument(
        "--max-error-rate",
        type=_share,
        metavar="SHARE",
        help="of what is served: 0.02 is two wrong in a hundred",
    )
    parser.add_argument(
        "--loosest",
        type=_share,
        default=LOOSEST,
        metavar="SCORE",
        help="loosest threshold to try",
    )
    _add_keeping(parser)
    parser.add_argument("--json", action="store_true", help="print JSON only")


def _add_keeping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--into",
        metavar="FILE",
        help="keep the pairs as labels in this file of a cache's audits (cache.path and .audits)",
    )
    parser.add_argument(
        "--class",
        dest="klass",
        metavar="NAME",
        help="whose labels they are; penstock cache stats names the classes",
    )
    parser.add_argument(
        "--new-class", action="store_true", help="keep them also for a class that this file has never seen"
    )


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        if args.calibrate and args.max_error_rate is None:
            raise BadRequest(
                "--calibrate needs a promise to keep.",
                param="--max-error-rate",
                hint="Add --max-error-rate 0.02.",
            )
        if args.into and not args.klass:
            raise BadRequest(
                "--into needs the class whose labels these are.",
                param="--class",
                hint="penstock cache stats names the classes.",
            )
        if args.into:
            _check_class(str(args.into), str(args.klass), new=bool(args.new_class))
        metric = _metric(str(args.metric)) if args.metric else None
        pairs = _pairs(str(args.pairs), metric=metric is not None)
        judged = _judged(pairs, metric, args)
        kept, new = _keep(judged, args) if args.into else (0, 0)
    except PenstockError as error:
        return say(error)
    found = rows(judged, args.thresholds, args.confidence)
    bad = worst(judged, args.worst)
    told = calibrated(judged, args.max_error_rate, args.confidence, args.loosest) if args.calibrate else None
    if args.json:
        put_json(
            {
                "pairs": len(judged),
                "vetoed": sum(bool(one.vetoes) for one in judged),
                "confidence": args.confidence,
                "thresholds": msgspec.to_builtins(found),
                "worst": [_as_fields(one) for one in bad],
                "calibrated": msgspec.to_builtins(told),
                "kept": kept,
            }
        )
        return 0
    _show(screen(), judged, found, bad, told, args)
    if kept:
        known = "" if new == kept else f" {kept - new} of them were there already, and count once."
        put(screen(), f"{kept} labels of class {args.klass} are kept in {args.into}.{known}")
    return 0


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(-1 <= one <= 1 for one in found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of similarities: write 0.90,0.94")
    return found


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write a number between 0 and 1")
    return share


def _pairs(name: str, *, metric: bool) -> list[Pair]:
    """The file's rows. Raises BadRequest with all its faults."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{name} cannot be read: {error}.", param="PAIRS.csv") from error
    read = read_pairs(text, metric=metric)
    if read.faults:
        lines = [f"{name}, {printable(str(fault))}" for fault in read.faults[:MOST_FAULTS]]
        if len(read.faults) > MOST_FAULTS:
            lines.append(f"and {len(read.faults) - MOST_FAULTS} more")
        raise BadRequest("\n".join(lines), param="PAIRS.csv")
    return read.pairs


def _metric(named: str) -> Metric:
    """The caller's own function. Raises BadRequest."""
    path, _, function = named.rpartition(":")
    spec = importlib.util.spec_from_file_location("penstock_metric", path) if path.endswith(".py") else None
    if spec is None or spec.loader is None or not function:
        raise BadRequest(f"{named!r} names no function.", param="--metric", hint="Write FILE.py:FUNCTION.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: Any = getattr(module, function)
    except Exception as error:
        raise BadRequest(f"{named} cannot be loaded: {error!r}.", param="--metric") from error
    if not callable(found):
        raise BadRequest(f"{function} in {path} is no function.", param="--metric")
    return found


def _judged(pairs: Sequence[Pair], metric: Metric | None, args: argparse.Namespace) -> list[Judged]:
    """Each pair with its score, its verdict and what the guards say. Raises PenstockError."""
    scorer = _Scorer(str(args.embedder)) if any(pair.score is None for pair in pairs) else None
    judged: list[Judged] = []
    for pair in pairs:
        score = pair.score
        if score is None:
            score = scorer.score(pair.prompt, pair.other) if scorer is not None else 0.0
        value = _measured(metric, pair) if metric is not None and pair.answers is not None else None
        wrong = value < args.least if value is not None else not pair.same
        words = () if args.no_guards else vetoes(pair.other, pair.prompt)
        judged.append(Judged(pair, score, wrong, words, value))
    return judged


class _Scorer:
    """Similarities by the embedder; each text is embedded once, and alone."""

    def __init__(self, embedder: str) -> None:
        opened = open_embedder(SemanticCacheConfig(embedder=embedder), environ=os.environ)
        if isinstance(opened, Rejected):
            raise ConfigFault(
                opened.reason, path="--embedder", hint="Or give the pairs a column score, made elsewhere."
            )
        self._embedder: Embedder = opened
        self._vectors: dict[str, array[float]] = {}

    def score(self, one: str, other: str) -> float:
        """The cosine: vectors are of unit length."""
        product = sum(starmap(operator.mul, zip(self._vector(one), self._vector(other), strict=True)))
        return min(round(product, 6), 1.0)

    def _vector(self, text: str) -> "array[float]":
        if text not in self._vectors:
            self._vectors[text] = array("f", self._embedder.embed(text))
        return self._vectors[text]


def _measured(metric: Metric, pair: Pair) -> float:
    """What the caller's function says of the two answers."""
    first, second = pair.answers or ("", "")
    try:
        value = float(metric(first, second))  # type: ignore[arg-type]
    except Exception as error:
        raise BadRequest(f"The metric failed at line {pair.line}: {error!r}.", param="--metric") from error
    if math.isnan(value):
        raise BadRequest(f"The metric said no number at line {pair.line}.", param="--metric")
    return value


def _check_class(into: str, klass: str, *, new: bool) -> None:
    """Labels of a class that nobody looks up certify nothing: before any work is done. Raises PenstockError."""
    if not Path(into).exists():
        raise BadRequest(
            f"There is no file {into}.",
            param="--into",
            hint="It lies beside the cache's own: cache.path and .audits.",
        )
    book = AuditFile(into, "sweep")
    try:
        book.open()
        known = book.classes()
    except sqlite3.Error as error:
        raise BadRequest(f"{into} takes no labels: {error}.", param="--into") from error
    finally:
        book.close()
    if new or klass in known:
        return
    close = get_close_matches(klass, known, n=1, cutoff=0.0)
    near = f"Did you mean {printable(close[0])!r}? " if close else ""
    raise BadRequest(
        f"{into} knows no class {printable(klass)!r}.",
        param="--class",
        hint=f"{near}penstock cache stats names the classes, once something was looked up in them; --new-class makes one.",
    )


def _keep(judged: Sequence[Judged], args: argparse.Namespace) -> tuple[int, int]:
    """The pairs as labels, for gateways on this file: they take them up while they run. How many, and how many of them
    are new. Raises PenstockError."""
    served = [one for one in judged if not one.vetoes]
    told = labels(served, str(args.klass), int(time.time() * 1000))
    book = AuditFile(str(args.into), "sweep")
    try:
        book.open()
        new = book.upload(
            (label, one.pair.prompt, one.pair.other) for label, one in zip(told, served, strict=True)
        )
    except sqlite3.Error as error:
        raise BadRequest(f"{args.into} takes no labels: {error}.", param="--into") from error
    finally:
        book.close()
    return len(told), new


def _show(
    console: Console,
    judged: Sequence[Judged],
    found: Sequence[Row],
    bad: Sequence[Judged],
    told: Calibrated | None,
    args: argparse.Namespace,
) -> None:
    vetoed = sum(bool(one.vetoes) for one in judged)
    guards = "without guards" if args.no_guards else f"the guards refuse {vetoed}"
    put(console, f"{len(judged)} pairs, of which {sum(one.wrong for one in judged)} differ; {guards}.")
    table = Table(header_style="bold")
    for title in ("threshold", "hits", "hit rate", "wrong", "wrong rate", f"bounds ({args.confidence:.4g})"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in found:
        table.add_row(
            f"{row.threshold:g}",
            f"{row.hits:,}",
            _percent(row.hit_rate),
            f"{row.wrong:,}",
            _percent(row.wrong_rate),
            "-" if row.hits == 0 else f"{_percent(row.least)} to {_percent(row.most)}",
        )
    console.print(table)
    if bad:
        put(console, "Wrong, and served first:")
        for one in bad:
            value = "" if one.metric is None else f", metric {one.metric:g}"
            folded(console, f"{one.score:.4f}, line {one.pair.line}{value}", indent="  ")
            for text in (one.pair.prompt, one.pair.other):
                folded(console, printable(_cut(text)), indent="    ", hang="      ")
    if told is not None:
        folded(console, escape(_verdict(told)))


def _verdict(told: Calibrated) -> str:
    promise = f"At most {_percent(told.max_error_rate)} wrong with confidence {told.confidence:g}"
    once = "no threshold is certified by these pairs" if told.value is None else f"from {told.value:g} on"
    if told.value is None and told.served is None:
        return f"{promise}: {once} ({told.reason})."
    if told.served == told.value:
        return f"{promise}: {once}."
    served = f"serves nothing ({told.reason})" if told.served is None else f"serves from {told.served:g} on"
    return f"{promise}: {once}, by one look at them. A gateway looks again after every label, which needs more: it {served}."


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _MOST_CHARS else flat[: _MOST_CHARS - 1] + "…"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _as_fields(one: Judged) -> dict[str, object]:
    return {
        "line": one.pair.line,
        "prompt": one.pair.prompt,
        "other": one.pair.other,
        "score": one.score,
        "metric": one.metric,
    }

"""Courses of requests under each rule, and the table that compares them: for the test, and for ``benches.cache_stream``.

Equal error: of vCache's rule, deltas are tried, and the one with the most hits is taken among those whose wrong rate among served
hits, over all its courses, is not above ours. vCache's bound is on all calls, so the deltas say nothing by themselves.
"""

import os
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.cache.embed.opening import open_embedder
from penstock.cache.ports import Decider
from penstock.cache.semantic.decider import Certified, FixedThreshold
from penstock.cache.semantic.guards import vetoes
from penstock.config.schema_cache import SemanticCacheConfig
from tests.cache.proof import vcache
from tests.cache.proof.phrases import CALIBRATION, SCORING
from tests.cache.proof.sentences import sentences
from tests.cache.proof.stream import KLASS, Pool, Run, Scored, order, uploaded

CALIBRATING, SCORED = 3200, 2000
"""Sentences; a course takes four fifths of each, in an order of its own."""
CALIBRATION_SEED, SCORING_SEED = 11, 47
PROMISES = (0.01, 0.02, 0.05)
FIXED = (0.90, 0.92, 0.94, 0.96)
VCACHE_DELTAS = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05)


class Kept(Struct):
    """All courses under one promise. ``thresholds``: at the end of each; None is not certified."""

    rule: str
    promise: float
    courses: int
    kept: int
    served: int
    """Courses in which anything was served."""
    total: Scored
    thresholds: list[float | None]


class Compared(Struct):
    """One rule's sum over its courses."""

    rule: str
    courses: int
    total: Scored


def pool(folder: Path | None = None) -> Pool | Rejected:
    """MiniLM's vectors of all sentences: 2 ms each, so they are kept in ``folder`` between sessions."""
    embedder = open_embedder(SemanticCacheConfig(), environ=os.environ)
    if isinstance(embedder, Rejected):
        return embedder
    calibrating = sentences(CALIBRATION_SEED, CALIBRATION, CALIBRATING)
    scored = sentences(SCORING_SEED, SCORING, SCORED)
    texts = [one.text for one in (*calibrating, *scored)]
    name = blake2b("\n".join((embedder.build_id, *texts)).encode(), digest_size=12).hexdigest()
    kept = (folder or Path(tempfile.gettempdir())) / f"penstock-sentences-{name}.npy"
    if kept.exists():
        vectors: Any = np.load(kept)
    else:
        vectors = np.array([np.frombuffer(embedder.embed(text), np.float32) for text in texts])
        beside = kept.with_name(f"{kept.stem}-{os.getpid()}.npy")
        np.save(beside, vectors)
        beside.replace(kept)
    return Pool(calibrating, scored, vectors, vetoes)


def promised(pool: Pool, promise: float, courses: int) -> Kept:
    """Shadow labels, certificate, serving, audits, alarms; scored is what is served of the second part."""
    total, thresholds, kept, served = Scored(), list[float | None](), 0, 0
    for seed in range(courses):
        decider = Certified(promise)
        scored = course(pool, decider, seed)
        total.add(scored)
        kept += scored.wrong_rate <= promise
        served += scored.hits > 0
        thresholds.append(decider.threshold(KLASS).value)
    return Kept(f"promise {promise:.0%}", promise, courses, kept, served, total, thresholds)


def course(pool: Pool, decider: Decider, seed: int) -> Scored:
    """Both parts, one after the other, through one cache."""
    calibrating, scoring = order(pool, seed)
    run = Run(pool, decider, seed)
    run.ask(calibrating)
    return run.ask(scoring)


def from_uploads(pool: Pool, promise: float, courses: int) -> Kept:
    """The labels are pairs that somebody has judged and uploaded; the cache is empty when the scored part begins."""
    total, thresholds, kept, served = Scored(), list[float | None](), 0, 0
    for seed in range(courses):
        calibrating, scoring = order(pool, seed)
        decider = Certified(promise)
        decider.restore(uploaded(pool, calibrating))
        scored = Run(pool, decider, seed).ask(scoring)
        total.add(scored)
        kept += scored.wrong_rate <= promise
        served += scored.hits > 0
        thresholds.append(decider.threshold(KLASS).value)
    return Kept(f"{promise:.0%}, uploads", promise, courses, kept, served, total, thresholds)


def fixed(pool: Pool, threshold: float, courses: int) -> Compared:
    """A configured threshold, with guards and audits."""
    total = Scored()
    for seed in range(courses):
        total.add(course(pool, FixedThreshold(threshold), seed))
    return Compared(f"fixed {threshold:.2f}", courses, total)


def of_vcache(pool: Pool, delta: float, courses: int) -> Compared:
    """vCache's rule, with guards."""
    total = Scored()
    for seed in range(courses):
        total.add(vcache.ask(pool, order(pool, seed), delta, seed))
    return Compared(f"vCache {delta:g}", courses, total)


def at_equal_error(rules: Sequence[Compared], wrong_rate: float) -> Compared | None:
    """The one with the most hits of those that are wrong no more often."""
    fair = [one for one in rules if one.total.wrong_rate <= wrong_rate]
    return max(fair, key=lambda one: one.total.hit_rate, default=None)


def table(kept: Sequence[Kept], rules: Sequence[Compared]) -> str:
    """For people."""
    lines = [
        f"{'rule':<16}{'courses':>8}{'kept':>6}{'hit rate':>10}{'wrong/hits':>12}  thresholds at the end"
    ]
    for one in kept:
        ends = sorted(value for value in one.thresholds if value is not None)
        span = f"{ends[0]:g} to {ends[-1]:g}, median {ends[len(ends) // 2]:g}" if ends else "none"
        lines.append(_line(one.rule, one.courses, str(one.kept), one.total) + f"  {span}")
    lines += [_line(one.rule, one.courses, "", one.total) for one in rules]
    return "\n".join(lines)


def _line(rule: str, courses: int, kept: str, total: Scored) -> str:
    return f"{rule:<16}{courses:>8}{kept:>6}{total.hit_rate:>10.2%}{total.wrong_rate:>12.3%}"

"""A stream of requests through the whole decision: cache filling, shadow labels, certification, serving, audits, alarms.

Rules
- The cache, the look-up (first neighbour, guards on it) and the labels are the tier's, reduced to indices into a pool of
  sentences whose similarities were computed once; the decider is the real one.
- First comes the calibration's part, then the scored one, from the other list of phrases; learning goes on in it, as in life.
- A request that is not served is answered by the model, enters the cache, and gives a label if a neighbour could have been
  served at some threshold. Served hits are audited as configured by default: the first 50, then 2 %, near the threshold 10 %.
- Exact repeats do not occur: they are the exact tier's.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from penstock.cache.ports import Decider, Label
from tests.cache.proof.sentences import Sentence

xp: Any = np
FLOOR = 0.80
"""The loosest threshold that is tried: lower similarities decide nothing."""
AUDITED_FIRST, AUDIT_RATE, NEAR, NEAR_TIMES = 50, 0.02, 0.02, 5
KLASS = "all"
_AGREES, _OBJECTS = 1, 2


class Pool:
    """Sentences with the similarity of each to each, and what the guards say of those that were looked at."""

    def __init__(
        self,
        calibration: Sequence[Sentence],
        scoring: Sequence[Sentence],
        vectors: Any,
        vetoes: Callable[[str, str], tuple[str, ...]],
    ) -> None:
        self.sentences = [*calibration, *scoring]
        self.calibration = range(len(calibration))
        self.scoring = range(len(calibration), len(self.sentences))
        self.similar: Any = vectors @ vectors.T
        names = {name: number for number, name in enumerate({one.meaning for one in self.sentences})}
        self.meaning = [names[one.meaning] for one in self.sentences]
        self.near = [_near(row, index) for index, row in enumerate(self.similar)]
        self._vetoes = vetoes
        self._vetoed = bytearray(len(self.sentences) ** 2)

    def vetoed(self, cached: int, asked: int) -> bool:
        """Whether a guard objects."""
        at = cached * len(self.sentences) + asked
        if not self._vetoed[at]:
            objects = self._vetoes(self.sentences[cached].text, self.sentences[asked].text)
            self._vetoed[at] = _OBJECTS if objects else _AGREES
        return self._vetoed[at] == _OBJECTS


def _near(row: Any, index: int) -> list[tuple[float, int]]:
    """Neighbours that could ever be served, the nearest first."""
    near: Any = xp.flatnonzero(row >= FLOOR)
    near = near[xp.argsort(-row[near], kind="stable")]
    scores: Any = xp.minimum(xp.round(row[near].astype(float), 6), 1.0)
    return [pair for pair in zip(scores.tolist(), near.tolist(), strict=True) if pair[1] != index]


class Scored(Struct):
    """What was served in the scored part."""

    requests: int = 0
    hits: int = 0
    wrong: int = 0

    @property
    def wrong_rate(self) -> float:
        """Of what was served."""
        return self.wrong / self.hits if self.hits else 0.0

    @property
    def hit_rate(self) -> float:
        """Of all requests."""
        return self.hits / self.requests if self.requests else 0.0

    def add(self, other: "Scored") -> None:
        """Of another run."""
        self.requests += other.requests
        self.hits += other.hits
        self.wrong += other.wrong


def order(pool: Pool, seed: int) -> tuple[list[int], list[int]]:
    """Four fifths of each part, in an order of this run's own."""
    draw = random.Random(seed)
    return (
        draw.sample(pool.calibration, 4 * len(pool.calibration) // 5),
        draw.sample(pool.scoring, 4 * len(pool.scoring) // 5),
    )


class Run:
    """One course of requests."""

    def __init__(self, pool: Pool, decider: Decider, seed: int) -> None:
        self._pool = pool
        self._decider = decider
        self._draw = random.Random(f"audits {seed}")
        self._cached = bytearray(len(pool.sentences))
        self._served = 0
        self._clock_ms = 0

    def ask(self, requests: Sequence[int]) -> Scored:
        """Serve them, or not."""
        scored = Scored(requests=len(requests))
        meaning = self._pool.meaning
        for asked in requests:
            self._clock_ms += 1
            found = self._look(asked)
            if found is None:
                self._cached[asked] = 1
                continue
            score, entry = found
            wrong = meaning[asked] != meaning[entry]
            threshold = self._decider.threshold(KLASS).value
            if threshold is None or score < threshold:
                self._cached[asked] = 1
                self._learn(score, wrong)
                continue
            scored.hits += 1
            scored.wrong += wrong
            self._served += 1
            rate = AUDIT_RATE * (NEAR_TIMES if score - threshold < NEAR else 1)
            rate = 1.0 if self._served <= AUDITED_FIRST else rate
            if self._draw.random() < rate:
                self._learn(score, wrong, audited=rate)
                if wrong:
                    self._cached[entry] = 0
                    self._cached[asked] = 1
        return scored

    def _look(self, asked: int) -> tuple[float, int] | None:
        """The nearest entry, unless a guard objects to it."""
        for score, entry in self._pool.near[asked]:
            if self._cached[entry]:
                return None if self._pool.vetoed(entry, asked) else (score, entry)
        return None

    def _learn(self, score: float, wrong: bool, *, audited: float = 0.0) -> None:
        """``audited``: at which rate a served hit was; 0 is a miss, whose fresh answer is there anyway."""
        self._decider.learn(
            Label(
                klass=KLASS,
                score=score,
                wrong=wrong,
                source="audit" if audited else "shadow",
                at_ms=self._clock_ms,
                weight=1 / audited if audited else 1.0,
                served=bool(audited),
            )
        )


def uploaded(pool: Pool, requests: Sequence[int]) -> list[Label]:
    """Pairs that somebody has judged: each request beside its nearest predecessor, unless a guard objects."""
    seen = bytearray(len(pool.sentences))
    labels: list[Label] = []
    for asked in requests:
        nearest = next(((score, entry) for score, entry in pool.near[asked] if seen[entry]), None)
        if nearest is not None and not pool.vetoed(nearest[1], asked):
            wrong = pool.meaning[asked] != pool.meaning[nearest[1]]
            labels.append(Label(KLASS, nearest[0], wrong, "upload", at_ms=0))
        seen[asked] = 1
    return labels

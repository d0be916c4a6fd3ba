"""vCache's rule (Schroeder et al., arXiv 2502.03771), written from the paper for comparison: a threshold of its own per entry.

An entry's observations are the similarities of later prompts and whether its answer was right for them, with (0, wrong) and
(1, right) from the beginning. Fewer than six: explore, that is, ask the model. Else a logistic curve is fitted to them; the
uncertainty of its midpoint gives, for each of many epsilons, a lower bound of the probability of being right, and with it
the share tau of calls that must be explored so that at most ``delta`` of *all* calls are wrong. With probability 1 - tau
the entry is served. An explored prompt enters the cache only if the cached answer was wrong for it.
"""

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from tests.cache.proof.stream import Pool, Scored

xp: Any = np
_SEEDED = ((0.0, False), (1.0, True))
_FEWEST = 6
_EPSILONS: Any = xp.linspace(1e-6, 1 - 1e-6, 50)
_QUANTILES: Any = xp.array([NormalDist().inv_cdf(1 - float(each)) for each in _EPSILONS])
_SEPARABLE = ((6, 0.0354), (10, 0.0194), (15, 0.0093))
"""Variance of the midpoint where the observations are perfectly separable, from so many on."""
_STEEPEST = 300.0


class Entry:
    """One cached answer with what was seen of it."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, bool]] = list(_SEEDED)
        self._fitted: tuple[float, float, float] | None = None

    def observe(self, score: float, right: bool) -> None:
        """The model's fresh answer was compared with this one."""
        self.seen.append((score, right))
        self._fitted = None

    def explore(self, score: float, delta: float) -> float:
        """tau: with this probability the model is asked."""
        if len(self.seen) < _FEWEST:
            return 1.0
        if self._fitted is None:
            self._fitted = fit(self.seen)
        middle, slope, variance = self._fitted
        cautious = xp.clip(middle + _QUANTILES * math.sqrt(variance), 0.0, 1.0)
        right = 1 / (1 + xp.exp(xp.clip(-slope * (score - cautious), -500, 500)))
        alpha = (1 - _EPSILONS) * right
        return float(xp.clip(xp.min(1 - delta / (1 - alpha)), 0.0, 1.0))


def fit(seen: Sequence[tuple[float, bool]]) -> tuple[float, float, float]:
    """Midpoint, slope, and variance of the midpoint by the delta method."""
    wrong = [score for score, right in seen if not right]
    right = [score for score, right in seen if right]
    if max(wrong) < min(right):
        variance = next(
            (value for least, value in reversed(_SEPARABLE) if len(seen) >= least), _SEPARABLE[0][1]
        )
        return (max(wrong) + min(right)) / 2, _STEEPEST, variance
    x: Any = xp.array([[1.0, score] for score, _ in seen])
    y: Any = xp.array([float(right) for _, right in seen])
    weights: Any = xp.array([-2.0, 4.0])
    hessian: Any = xp.eye(2)
    for _ in range(60):
        p = 1 / (1 + xp.exp(xp.clip(-(x @ weights), -30, 30)))
        hessian = x.T @ (x * (p * (1 - p))[:, None]) + 1e-9 * xp.eye(2)
        step = xp.linalg.solve(hessian, x.T @ (y - p))
        weights = weights + xp.clip(step, -20, 20)
        if float(xp.abs(step).max()) < 1e-8:
            break
    intercept, slope = float(weights[0]), float(weights[1])
    if slope <= 0:
        return 1.0, 1.0, 1.0
    gradient = xp.array([-1 / slope, intercept / slope**2])
    variance = float(gradient @ xp.linalg.inv(hessian) @ gradient)
    return min(max(-intercept / slope, 0.0), 1.0), slope, variance


def ask(pool: Pool, parts: Sequence[Sequence[int]], delta: float, seed: int) -> Scored:
    """The same course of requests, the same guards; what is told is what was served in the last part."""
    draw = random.Random(f"explore {seed}")
    entries: dict[int, Entry] = {}
    absent: Any = xp.full(len(pool.sentences), -2.0, dtype=np.float32)
    scored = Scored()
    for requests in parts:
        scored = Scored(requests=len(requests))
        for asked in requests:
            nearest = int(xp.argmax(pool.similar[asked] + absent))
            if nearest not in entries or pool.vetoed(nearest, asked):
                entries[asked] = Entry()
                absent[asked] = 0.0
                continue
            score = round(float(pool.similar[asked, nearest]), 3)
            right = pool.meaning[asked] == pool.meaning[nearest]
            if draw.random() > entries[nearest].explore(score, delta):
                scored.hits += 1
                scored.wrong += not right
                continue
            entries[nearest].observe(score, right)
            if not right:
                entries[asked] = Entry()
                absent[asked] = 0.0
    return scored

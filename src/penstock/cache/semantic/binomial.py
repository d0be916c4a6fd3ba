"""Exact binomial arithmetic: tails, Clopper-Pearson bounds, and tests that may be looked at after every observation.

Theory
    One look. Of ``n`` draws ``wrong`` were wrong. P(Bin(n, p) <= k) = I_{1-p}(n - k, k + 1), the regularised incomplete beta
    function; the Clopper-Pearson bounds are the p at which a tail is as rare as the level (Clopper and Pearson, Biometrika
    26, 1934). They are exact for a sample whose size was fixed beforehand.

    Many looks. A test that is repeated after every label rejects too often: at 5 % and 1,000 looks about one time in three.
    ``Looks`` spends the level over looks that are declared beforehand: the k-th takes place at n_k draws and rejects
    "p >= delta" if at most k of them were wrong. n_k is the smallest at which the probability, under p = delta, of
    rejecting at look k *for the first time* is at most ``share(k)`` of the level. That probability is exact: a path that is
    still alive after look k - 1 has k errors or more, so it is rejected at look k only if it had k exactly and no further
    one, whence P = alive_{k-1}(k) (1 - delta)^(n_k - n_{k-1}). The shares add up to 1, hence P(ever rejected) <= level
    (alpha spending: Lan and DeMets, Biometrika 70, 1983; here on the scale of errors, without any approximation).
    It holds for every p > delta, too, and for draws that are not independent, as long as each is wrong with probability
    >= delta whatever came before: such a row of draws can be coupled with one of Bin(delta) that is never wrong more often.
    The price against one look, at 1 % and level 5 %: 368 clean labels instead of 299, 607 with one wrong instead of 473.
"""

import math
from functools import lru_cache

_MANTISSA_STEPS = 60
_FRACTION_STEPS = 300
_TINY = 1e-300
_EPSILON = 3e-16
_LOOKS = (48, 160)
"""Looks are computed up to so many errors: the first suffices nearly always and costs 4 ms, the second 70."""


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised I_x(a, b), by Lentz's continued fraction (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, _FRACTION_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away(1.0 + term * d)
            c = _away(1.0 + term / c)
            total *= d * c
        if abs(d * c - 1.0) < _EPSILON:
            break
    return total


def _away(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def at_most(wrong: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= wrong)."""
    if wrong < 0:
        return 0.0
    return 1.0 if wrong >= n else incomplete_beta(1.0 - p, n - wrong, wrong + 1)


def upper(wrong: int, n: int, level: float) -> float:
    """Clopper-Pearson: the rate is at most this, but for ``level``; 1 without a draw."""
    if wrong >= n:
        return 1.0
    if wrong == 0:
        return -math.expm1(math.log(level) / n)
    low, high = wrong / n, 1.0
    for _ in range(_MANTISSA_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(wrong, n, middle) > level else (low, middle)
    return high


def lower(wrong: int, n: int, level: float) -> float:
    """Clopper-Pearson: the rate is at least this, but for ``level``."""
    return 1.0 - upper(n - wrong, n, level) if wrong else 0.0


def share(k: int) -> float:
    """Of the level, that the look at ``k`` errors may spend; they add up to 1."""
    return 1 / ((k + 1) * (k + 2))


@lru_cache(maxsize=4096)
def needed(wrong: int, delta: float, level: float) -> int | None:
    """How many draws reject "p >= delta" when so many were wrong, at any time; None: so many errors are not waited for."""
    for most in _LOOKS:
        if wrong <= most:
            return looks(delta, level, most)[wrong]
    return None


@lru_cache(maxsize=256)
def looks(delta: float, level: float, most: int) -> tuple[int, ...]:
    """n_0 ... n_most. ``alive[j]`` is the probability, under p = delta, of j errors and no rejection as yet."""
    if not (0 < delta < 1 and 0 < level < 1):
        raise ValueError("delta and level lie between 0 and 1")
    right = math.log1p(-delta)
    alive = [1.0] + [0.0] * most
    n, found = 0, list[int]()
    for k in range(most + 1):
        spend = level * share(k)
        draws = max(0, math.ceil(math.log(alive[k] / spend) / -right)) if alive[k] > spend else 0
        if n + draws <= k:
            draws = k + 1 - n
        mass = _masses(draws, delta, most - k)
        alive = [0.0] * k + [
            sum(alive[j - i] * mass[i] for i in range(j - k + 1)) for j in range(k, most + 1)
        ]
        alive[k] = 0.0
        n += draws
        found.append(n)
    return tuple(found)


def _masses(draws: int, p: float, most: int) -> list[float]:
    """P(Bin(draws, p) = i) for i up to ``most``."""
    mass = [math.exp(draws * math.log1p(-p))]
    for i in range(most):
        mass.append(mass[-1] * max(draws - i, 0) / (i + 1) * p / (1 - p))
    return mass

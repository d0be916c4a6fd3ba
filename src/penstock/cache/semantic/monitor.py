"""Does a promise still hold? A running test on audits of served hits; it says no at most once in 1 / level classes wrongly.

Theory
    H: every audited hit is wrong with probability <= delta, whatever came before. One bets against H:
    W = prod(1 + lambda (wrong - delta)) with 0 <= lambda <= 1 / delta is, under H, a supermartingale that begins at 1, so
    P(W ever >= 1 / level) <= level (Ville; Waudby-Smith and Ramdas, JRSS B 86, 2023). A bet lambda is the likelihood ratio of
    a rate p = delta + lambda delta (1 - delta) against delta: the bets are so written, at ``TIMES`` delta, and their mean is
    again a supermartingale, which finds a rate that nobody knew beforehand.

    A class that was right for a thousand audits has lost its stake, and a change after them would be found late. So half of
    each bet's stake is put down at once, the other half piece by piece, 1 / (n (n + 1)) of it before the n-th audit: what has
    not been put down cannot be lost. The whole is a mean of supermartingales still (cf. Shin, Ramdas and Rinaldo, E-detectors,
    arXiv 2203.03532, who give up the bound for ever for one per time; nothing is given up here but the logarithm of n).

    Pooled per class, as the promise is: an entry that is wrong is dropped at its first wrong audit and needs no test.

    Uneven audits. Hits near the threshold are audited more often (1 / weight is the rate), and are wrong more often than all hits:
    counted alike, audits would break promises that are kept. With u = weight / the largest weight in use, the factor
    1 + lambda u (wrong - delta) has, over what may be drawn, the mean 1 + (lambda / largest) (R - delta) <= 1 under H, whatever
    the rates are. The largest weight in use is that of the last ``RECENT`` audits; rates may change with time.
"""

from collections import deque

TIMES = (1.5, 2.0, 4.0, 8.0, 16.0)
"""Rates that are betted on, as multiples of the promised one."""
_MOST = 0.95
"""No bet on more than this."""
_AT_ONCE = 0.5
RECENT = 50
"""Audits among which the largest weight is looked for: the first hits of a class are all audited, later ones are not."""


class Monitor:
    """One class. Deterministic, without a clock."""

    __slots__ = ("_bets", "_delta", "_level", "_stakes", "_weights", "audits", "broken", "wrong")

    def __init__(self, max_error_rate: float, level: float) -> None:
        self._level = level
        self._delta = max_error_rate
        rates = [rate for times in TIMES if (rate := times * max_error_rate) < _MOST] or [
            (1 + max_error_rate) / 2
        ]
        self._bets = [(rate - max_error_rate) / (max_error_rate * (1 - max_error_rate)) for rate in rates]
        self._stakes = [_AT_ONCE] * len(rates)
        self._weights: deque[float] = deque(maxlen=RECENT)
        self.audits = 0
        self.wrong = 0
        self.broken = False
        """W has reached 1 / level: it stays so."""

    def add(self, wrong: bool, weight: float = 1.0) -> bool:
        """One audited hit, sampled at the rate 1 / ``weight``; True: the promise is broken."""
        self.audits += 1
        self.wrong += wrong
        self._weights.append(weight)
        gain = (wrong - self._delta) * weight / max(self._weights)
        fresh = (1 - _AT_ONCE) / (self.audits * (self.audits + 1))
        self._stakes = [
            (stake + fresh) * (1 + bet * gain) for stake, bet in zip(self._stakes, self._bets, strict=True)
        ]
        if self.wealth() >= 1 / self._level:
            self.broken = True
        return self.broken

    def wealth(self) -> float:
        """W."""
        kept = (1 - _AT_ONCE) / (self.audits + 1)
        return kept + sum(self._stakes) / len(self._stakes)

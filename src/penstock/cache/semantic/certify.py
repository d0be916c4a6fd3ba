"""From which similarity on a class may be served: fixed-sequence testing with exact binomial bounds, valid at any time.

Theory
    The promise is on R(t) = P(wrong | score >= t and no guard refused): wrong answers among *served* hits, not among all
    calls (vCache's bound, arXiv 2502.03771, is marginal: with 20 % hits and 1 % it allows 5 % wrong hits).
    Learn then Test (Angelopoulos et al., arXiv 2110.01052): thresholds are tried from strict to loose, at each the
    hypothesis H(t): R(t) > delta is tested, and a looser one is tried with the level of a stricter one that was rejected.
    What is served is the loosest t whose H(t) was rejected.

    Several starts (section 5 of that paper; Wiens' fallback procedure): a chain that begins at 0.98 alone waits for ever
    in a class whose paraphrases lie at 0.95. The level is divided over ``STARTS``; a rejected threshold hands its share on to
    the next looser one that is not rejected. This is one of the graphs of Bretz et al. (Statistics in Medicine 28, 2009),
    for which P(any true H(t) is rejected) <= level, whatever the joint law of the labels.

    Labels come one by one, and are looked at after each one: the test at a threshold is ``binomial.needed``, which may be.

    Which labels. While a class is not served, every miss with a neighbour gives one (audit.shadow_rate, the same for every
    score): a uniform sample of what would be served at any t. Once it is served from s on, misses give labels below s only.
    As long as no true H has been rejected, R(s) <= delta; so if H(t) is true for a looser t, R(t) > delta is a mean of R(s)
    and of the rate in [t, s), which is therefore > delta, and greater than R(t). A sample that has too little of what is
    served, or nothing, is thus wrong with a probability > delta still, and the test of a true H(t) holds. What would break it
    is too much of what is served. So audits of hits are counted only as long as all hits are audited like misses are (the
    first ones of a class, audit.first: the more, the looser the threshold becomes, and the dearer); from the first audit of
    another weight on, none is. No label is weighted: a rate of sampling may change with time, not with the score.
    Uploaded pairs are taken at every score; that they are like the traffic is the word of who uploads them.

    One certificate is wrong with probability <= level. After an alarm (``monitor``) a class starts anew, with fresh labels and
    half the level, so that all certificates of a class together are wrong with probability <= 2 level.
"""

from collections.abc import Sequence

from msgspec import Struct

from penstock.cache.semantic.binomial import at_most, needed

STARTS: tuple[tuple[float, float], ...] = ((0.995, 0.1), (0.98, 0.4), (0.95, 0.3), (0.90, 0.2))
"""Thresholds at which a chain begins, and the share of the level it begins with; those looser than the loosest are left out."""
LOOSEST = 0.80
_STRICT = tuple(round(0.995 - 0.005 * step, 3) for step in range(12))
_LOOSE = tuple(round(0.93 - 0.01 * step, 2) for step in range(93))


def grid(loosest: float) -> tuple[float, ...]:
    """The thresholds that are tried, from strict to loose: known before any label."""
    looser = tuple(step for step in _STRICT + _LOOSE if step > loosest)
    return (*looser, loosest)


def starts(thresholds: Sequence[float]) -> list[float]:
    """The share of the level at each threshold before any label: of all starts that are among them."""
    shares = dict(STARTS)
    found = [shares.get(each, 0.0) for each in thresholds]
    total = sum(found)
    return [each / total for each in found] if total else [1.0, *([0.0] * (len(thresholds) - 1))]


class Step(Struct, frozen=True):
    """How far the test of one threshold is: ``needs`` labels if no further one is wrong; None: hopeless, or no level as yet."""

    threshold: float
    labels: int
    wrong: int
    certified: bool
    needs: int | None


class Certificate:
    """The test of one class: labels in, the loosest certified threshold out. Deterministic, without a clock."""

    def __init__(self, max_error_rate: float, level: float, thresholds: Sequence[float]) -> None:
        self._delta = max_error_rate
        self._level = level
        self._thresholds = tuple(thresholds)
        self._shares = starts(thresholds)
        self._labels = [0] * len(self._thresholds)
        self._wrong = [0] * len(self._thresholds)
        self._certified = [False] * len(self._thresholds)
        self.value: float | None = None
        self.labels = 0
        """Counted at ``value`` when it was certified."""

    def add(self, score: float, wrong: bool, *, anywhere: bool) -> bool:
        """One label. ``anywhere``: also one of a score that is served counts. True: ``value`` is new."""
        if not anywhere and self.value is not None and score >= self.value:
            return False
        for index in range(len(self._thresholds) - 1, -1, -1):
            if self._thresholds[index] > score:
                break
            self._labels[index] += 1
            self._wrong[index] += wrong
        return not wrong and self._decide()

    def steps(self) -> tuple[Step, ...]:
        """Every threshold, strict to loose: for people."""
        return tuple(self._step(index) for index in range(len(self._thresholds)))

    def nearest(self) -> Step | None:
        """The threshold that lacks the fewest labels, the looser of two; None: all that have a level are hopeless."""
        found: tuple[int, int] | None = None
        for index, share in enumerate(self._shares):
            needs = self._needs(index) if share else None
            if needs is not None and (found is None or needs - self._labels[index] <= found[0]):
                found = needs - self._labels[index], index
        return self._step(found[1]) if found is not None else None

    def _step(self, index: int) -> Step:
        return Step(
            self._thresholds[index],
            self._labels[index],
            self._wrong[index],
            self._certified[index],
            self._needs(index),
        )

    def _needs(self, index: int) -> int | None:
        share = self._shares[index]
        return needed(self._wrong[index], self._delta, self._level * share) if share else None

    def _decide(self) -> bool:
        """One pass suffices: what is handed on goes to a looser threshold, which is looked at later in it."""
        loosened = False
        for index, each in enumerate(self._thresholds):
            if self._certified[index] or not self._shares[index]:
                continue
            needs = self._needs(index)
            if needs is None or self._labels[index] < needs:
                continue
            self._certified[index] = True
            hand_on(self._shares, self._certified, index)
            if self.value is None or each < self.value:
                self.value, self.labels, loosened = each, self._labels[index], True
        return loosened


def hand_on(shares: list[float], certified: Sequence[bool], index: int) -> None:
    """The share of a certified threshold goes to the next looser one that is not; beyond the loosest it lapses."""
    share, shares[index] = shares[index], 0.0
    for looser in range(index + 1, len(shares)):
        if not certified[looser]:
            shares[looser] += share
            return


def fixed_sequence(
    rows: Sequence[tuple[float, int, int]], max_error_rate: float, level: float
) -> float | None:
    """One look at a finished sample: (threshold, hits, wrong), strict to loose; the loosest that is certified.

    The same starts, and the plain binomial test at each, which needs fewer labels than the one that may be repeated.
    """
    shares = starts([threshold for threshold, _, _ in rows])
    certified = [False] * len(rows)
    found: float | None = None
    for index, (threshold, hits, wrong) in enumerate(rows):
        if hits and shares[index] and at_most(wrong, hits, max_error_rate) <= level * shares[index]:
            certified[index], found = True, threshold
            hand_on(shares, certified, index)
    return found

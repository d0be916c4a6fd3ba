"""Which threshold holds for a class: as configured, or certified from labels.

Rules
- A class is what the tier calls so; each has a certificate and a monitor of its own, and nothing is shared between them.
- ``Certified`` serves nothing before a threshold is certified (``certify``), and nothing after its monitor has said that the
  promise is broken, until fresh labels certify a threshold anew.
- What a label is for is told by its source: "shadow" and "upload" are for the certificate, "audit" for the monitor, and for the
  certificate as long as every hit is audited. "person" settles what a comparison left open, of a hit that was served or of a miss.
- A label is told once. Comparisons must not be told selectively: one that stays open because it looks wrong, and is never
  told, is missing from both. Candidates that a guard refused are no labels: they would not have been served.
- All is a function of the labels in their order: ``restore`` with the kept ones brings back the same decision, and version.
  Where a label was replaced (a person's verdict), all of them are restored anew.
- Callers name namespaces, so they make classes: of too many of one tenant (``cache.classes``) the one that has learned nothing
  for longest is forgotten, and must be certified anew; no other tenant's is.
"""

from collections.abc import Iterable

from msgspec import Struct

from penstock.cache.classes import ByClass
from penstock.cache.ports import Decider, Label, Threshold
from penstock.cache.semantic.binomial import upper
from penstock.cache.semantic.certify import LOOSEST, Certificate, Step, grid
from penstock.cache.semantic.monitor import Monitor


class FixedThreshold(Decider):
    """The configured one for every class. It promises nothing; what its audits found is told beside it."""

    def __init__(self, value: float, *, confidence: float = 0.95) -> None:
        self._value = value
        self._level = 1 - confidence
        self._counts: ByClass[tuple[int, int]] = ByClass()
        self._told: ByClass[Threshold] = ByClass()
        self._unaudited = Threshold(value=value, version=f"fixed-{value:g}", reason="as configured")

    def threshold(self, klass: str) -> Threshold:
        """Always the same value."""
        counts = self._counts.get(klass)
        if counts is None:
            return self._unaudited
        told = self._told.get(klass)
        if told is None:
            told = self._tell(*counts)
            self._told.put(klass, told)
        return told

    def learn(self, label: Label) -> None:
        """Audits of hits are counted; the value stays."""
        if label.score < self._value or label.source == "upload":
            return
        labels, wrong = self._counts.get(label.klass) or (0, 0)
        self._counts.put(label.klass, (labels + 1, wrong + label.wrong))
        self._told.pop(label.klass)

    def forget(self, klass: str) -> None:
        """Its labels, until they are restored."""
        self._counts.pop(klass)
        self._told.pop(klass)

    def _tell(self, labels: int, wrong: int) -> Threshold:
        """With the bound, which takes a while: asked for once after each label, not for each of them."""
        return Threshold(
            value=self._value,
            version=self._unaudited.version,
            reason=f"as configured; {wrong} of {labels} answers that were compared are wrong or open",
            labels=labels,
            error_bound=upper(wrong, labels, self._level),
        )

    def restore(self, labels: Iterable[Label]) -> None:
        """Kept labels in the place of all that was learned."""
        anew = FixedThreshold(self._value, confidence=1 - self._level)
        for label in sorted(labels, key=_at):
            anew.learn(label)
        vars(self).update(vars(anew))


class Standing(Struct, frozen=True):
    """How one class stands, for people: ``penstock cache stats`` and the admin pages."""

    klass: str
    threshold: Threshold
    steps: tuple[Step, ...]
    audits: int
    wrong_audits: int
    alarms: int
    """How often its monitor has switched it off."""


class _Class:
    """One class as it stands; ``told`` None: something was learned since it was last told."""

    __slots__ = ("alarms", "certificate", "evenly", "monitor", "of_misses", "told")

    def __init__(self, certificate: Certificate, monitor: Monitor) -> None:
        self.certificate = certificate
        self.monitor = monitor
        self.alarms = 0
        self.told: Threshold | None = None
        self.of_misses = 1.0
        """The weight of the last comparison of a miss."""
        self.evenly = True
        """All served hits are audited at that rate, too, as far as is known."""

    def count(self, label: Label) -> None:
        """A label that is not of a served hit: for the certificate."""
        if label.source == "shadow":
            self.of_misses = label.weight
        self.certificate.add(label.score, label.wrong, anywhere=label.source == "upload")

    def audit(self, label: Label) -> bool:
        """A served hit: for the monitor, and for the certificate as long as hits are compared like misses. True: broken."""
        self.evenly = self.evenly and label.weight == self.of_misses
        if self.monitor.add(label.wrong, label.weight):
            return True
        if self.evenly:
            self.certificate.add(label.score, label.wrong, anywhere=True)
        return False


class Certified(Decider):
    """Of the hits of a class at most ``max_error_rate`` are wrong, with ``confidence``; ``loosest`` is the loosest tried."""

    def __init__(self, max_error_rate: float, confidence: float = 0.95, loosest: float = LOOSEST) -> None:
        self._max_error_rate = max_error_rate
        self._level = 1 - confidence
        self._thresholds = grid(loosest)
        self._classes: ByClass[_Class] = ByClass()
        self._unknown = self._tell(self._fresh(0))

    def threshold(self, klass: str) -> Threshold:
        """As it stands; a class without labels is not served."""
        known = self._classes.get(klass)
        if known is None:
            return self._unknown
        if known.told is None:
            known.told = self._tell(known)
        return known.told

    def learn(self, label: Label) -> None:
        """One more label: the certificate's or the monitor's."""
        known = self._classes.get(label.klass)
        if known is None:
            known = self._fresh(0)
        self._classes.put(label.klass, known)
        known.told = None
        if label.source != "audit" and not (label.source == "person" and label.served):
            known.count(label)
        elif known.certificate.value is not None and known.audit(label):
            self._classes.put(label.klass, self._fresh(known.alarms + 1))

    def forget(self, klass: str) -> None:
        """Its labels, until they are restored: it is not certified."""
        self._classes.pop(klass)

    def restore(self, labels: Iterable[Label]) -> None:
        """Kept labels, in the order of their time, in the place of all that was learned. Until the last of them what was learned
        before holds: it may take a while, in another thread."""
        anew = Certified(self._max_error_rate, 1 - self._level, self._thresholds[-1])
        for label in sorted(labels, key=_at):
            anew.learn(label)
        vars(self).update(vars(anew))

    def standings(self) -> tuple[Standing, ...]:
        """Every class of which there is a label."""
        return tuple(
            Standing(
                klass=klass,
                threshold=self.threshold(klass),
                steps=known.certificate.steps(),
                audits=known.monitor.audits,
                wrong_audits=known.monitor.wrong,
                alarms=known.alarms,
            )
            for klass, known in self._classes.items()
        )

    def _fresh(self, alarms: int) -> _Class:
        """After each alarm with half the level: see ``certify``."""
        level = self._level / 2**alarms
        made = _Class(
            Certificate(self._max_error_rate, level, self._thresholds),
            Monitor(self._max_error_rate, self._level),
        )
        made.alarms = alarms
        return made

    def _tell(self, known: _Class) -> Threshold:
        certificate, alarms = known.certificate, known.alarms
        if certificate.value is not None:
            return Threshold(
                value=certificate.value,
                version=f"c{alarms}-{certificate.value:g}-{certificate.labels}",
                reason=f"certified by {certificate.labels} labels: at most {self._rate} wrong, confidence {1 - self._level:g}",
                certified=True,
                labels=certificate.labels,
                error_bound=self._max_error_rate,
            )
        nearest = certificate.nearest()
        again = "switched off by its audits, and not certified again yet" if alarms else "not certified yet"
        return Threshold(
            value=None,
            version=f"c{alarms}-none",
            reason=f"{again}: {_progress(nearest, self._rate)}",
            labels=nearest.labels if nearest else 0,
        )

    @property
    def _rate(self) -> str:
        return f"{100 * self._max_error_rate:g} %"


def _progress(step: Step | None, rate: str) -> str:
    if step is None:
        return f"too many labels are wrong for {rate}"
    if step.wrong:
        return f"{step.labels} labels, {step.wrong} wrong, of the {step.needs} that {rate} needs at {step.threshold:g}"
    return f"{step.labels} clean labels of the {step.needs} that {rate} needs at {step.threshold:g}"


def _at(label: Label) -> int:
    return label.at_ms

"""All that a timeline shows, ranked."""

from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.timeline import Timeline


def of_timeline(timeline: Timeline, peaks: Peaks | None = None) -> tuple[Finding, ...]:
    """All findings that a timeline shows, those that would save most first, then those without a bound."""
    found: list[Finding] = []
    return tuple(sorted(found, key=lambda finding: -(finding.saves_ms or 0.0)))

"""All that a timeline shows, ranked."""

from penstock.engine.measure.findings import graphs, kernels, limits, regions, waits
from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.timeline import Timeline


def of_timeline(timeline: Timeline, peaks: Peaks | None = None) -> tuple[Finding, ...]:
    """All findings that a timeline shows: those without a bound that make others unreliable first, then by what they would save,
    then those without a bound.

    ``peaks``: of the device; without them nothing is said of its limits. The bounds overlap: they do not add up.
    """
    found = [
        *waits.find(timeline),
        *kernels.find(timeline),
        *limits.find(timeline, peaks),
        *regions.find(timeline),
    ]
    bounded = sorted(found, key=lambda finding: (finding.saves_ms is None, -(finding.saves_ms or 0.0)))
    return (*graphs.find(timeline), *bounded)

"""All that a timeline shows, ranked."""

from msgspec.structs import replace

from penstock.engine.measure import stage_rows
from penstock.engine.measure.findings import graphs, kernels, limits, regions, waits
from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.timeline import Timeline


def of_timeline(timeline: Timeline, peaks: Peaks | None = None) -> tuple[Finding, ...]:
    """All findings that a timeline shows: those without a bound that make others unreliable first, then by what they would save,
    then those without a bound.

    ``peaks``: of the device; without them nothing is said of its limits. The bounds overlap: they do not add up, and none is more
    than the run's wall time.
    """
    found = [
        *waits.find(timeline),
        *kernels.find(timeline),
        *limits.find(timeline, peaks),
        *regions.find(timeline),
    ]
    wall_ms = stage_rows.wall_us(timeline) / 1e3
    found = [
        replace(one, saves_ms=min(one.saves_ms, wall_ms)) if one.saves_ms is not None else one
        for one in found
    ]
    return (*graphs.find(timeline), *sorted(found, key=rank))


def rank(finding: Finding) -> tuple[bool, bool, float]:
    """What saves most of every run first; then what is paid once; then those without a bound."""
    return finding.saves_ms is None, finding.once, -(finding.saves_ms or 0.0)

"""All rules over what the probes saw, in the order of what they would save."""

from penstock.engine.measure.findings import (
    compile,  # noqa: A004 - the family's name
    environment,
    guidance,
    layout,
    precision,
    quantised,
    roof,
    scaling,
    steps,
    syncs,
)
from penstock.engine.measure.findings.traced import rank
from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.seen import Seen

GRAVITY = (
    "over-peak",
    "broken-torchvision",
    "fp16-unsafe-vae",
    "peak-memory",
    "memory-growth",
    "compiled-nothing",
    "quantised-without-compile",
    "fp16-on-cpu",
    "recompiles",
    "graph-breaks",
)
"""Findings without a bound stand after those with one, in this order: first what makes the result or the figures wrong."""


def of_seen(seen: Seen, peaks: Peaks | None = None) -> tuple[Finding, ...]:
    """Every finding about a live workload. ``peaks``: of the device, for bounds, memory and the check against its roof."""
    found = [
        *compile.find(seen),
        *quantised.find(seen),
        *precision.find(seen, peaks),
        *layout.find(seen, peaks),
        *guidance.find(seen),
        *scaling.find(seen),
        *steps.find(seen, peaks),
        *roof.find(seen, peaks),
        *environment.find(seen),
        *syncs.find(seen),
    ]
    return ranked(found)


def ranked(found: list[Finding]) -> tuple[Finding, ...]:
    """By what they would save, most first; then what is paid once; then those without a bound, gravest first."""
    return tuple(
        sorted(
            found,
            key=lambda one: (
                *rank(one),
                GRAVITY.index(one.id) if one.id in GRAVITY else len(GRAVITY),
            ),
        )
    )

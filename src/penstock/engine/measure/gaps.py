"""A device's idle time: each gap between its events, and whose fault it was.

*Host wait*: the next event was launched after the previous one had ended, so the host was late. *Kernel wait*: launched in
time, and under 5 µs. *Other*: launched in time, yet longer (a dependency on another stream, a copy, a clock change). Events of
all streams of the device are taken together: busy + gaps = span.
"""

from collections.abc import Sequence

from msgspec import Struct

from penstock.engine.measure.intervals import length
from penstock.engine.measure.records import DeviceSummary
from penstock.engine.measure.timeline import DeviceEvent, Timeline, launch_delay_us, once

SHORT_US = 5.0
"""Below it a kernel hardly pays for its launch (about as long), and a gap is a hand-over."""
UNRELIABLE = 0.2
"""Share of kernel time launched by graph replays from which attribution and launch delay say nothing of the run."""
CORRELATED = 0.5
"""Share of device events with a launch below which nobody can say what the device waited for. Our choice."""


class Gap(Struct, eq=False, frozen=True):
    """Nothing ran on the device from ``start_us`` to ``end_us``, when ``next`` began."""

    start_us: float
    end_us: float
    kind: str
    """``host``, ``kernel`` or ``other``; empty where launches are missing in the trace."""
    next: DeviceEvent

    @property
    def dur_us(self) -> float:
        """How long nothing ran."""
        return self.end_us - self.start_us


@once
def gaps(timeline: Timeline) -> tuple[Gap, ...]:
    """The idle stretches between the first and the last event, in order. None on a CPU: it is its own host."""
    found: list[Gap] = []
    if timeline.on_cpu:
        return ()
    told = launches_known(timeline)
    end: float | None = None
    for event in timeline.events:
        if end is not None and event.start_us > end:
            call = event.call
            if not told:
                kind = ""
            elif call is not None and call.span.start_us > end:
                kind = "host"
            else:
                kind = "kernel" if event.start_us - end < SHORT_US else "other"
            found.append(Gap(end, event.start_us, kind, event))
        end = event.end_us if end is None else max(end, event.end_us)
    return tuple(found)


def waited_ms(found: Sequence[Gap], kind: str) -> float:
    """The gaps of one kind together."""
    return sum(gap.dur_us for gap in found if gap.kind == kind) / 1e3


def launches_known(timeline: Timeline) -> bool:
    """Whether enough launches are in the trace to say what the device waited for. On a CPU they are the ops themselves."""
    events = timeline.events
    return sum(1 for event in events if event.call) >= CORRELATED * len(events)


@once
def summary(timeline: Timeline) -> DeviceSummary:
    """What the (busiest) device did. ``reliable`` is False where graph replays launched much of it, or launches are missing:
    then no gap has a class.
    """
    events = timeline.events
    if not events:
        return DeviceSummary(name=timeline.device)
    busy = timeline.busy()
    span_us = max(event.end_us for event in events) - events[0].start_us
    found = gaps(timeline)
    known = launches_known(timeline)
    waited = {kind: waited_ms(found, kind) if known else None for kind in ("host", "kernel", "other")}
    kernels = [event for event in events if event.kind == "kernel"]
    replayed = replayed_share(kernels)
    correlated = sum(1 for event in events if event.call)
    because = _because(kernels, replayed) if replayed >= UNRELIABLE else ""
    if not known:
        because += ("; " if because else "") + (
            f"{correlated} of {len(events)} device events have their launch in the trace: which op and module the others belong to, "
            "and what the device waited for, is unknown"
        )
    return DeviceSummary(
        name=timeline.device,
        kernels=len(kernels),
        device_events=len(events),
        correlated=correlated,
        span_ms=span_us / 1e3,
        busy_share=length(busy) / span_us if span_us else 1.0,
        host_wait_ms=waited["host"],
        kernel_wait_ms=waited["kernel"],
        other_wait_ms=waited["other"],
        launch_delay_us=launch_delay_us(events) if not because and not timeline.on_cpu else None,
        short_kernels_share=short_share(kernels),
        graph_replayed_share=replayed,
        reliable=not because,
        unreliable_because=because,
    )


def short_share(kernels: list[DeviceEvent]) -> float | None:
    """Kernels under ``SHORT_US``, of all; None without any."""
    return sum(1 for kernel in kernels if kernel.dur_us < SHORT_US) / len(kernels) if kernels else None


def replayed_share(kernels: list[DeviceEvent]) -> float:
    """Of kernel time: launched by graph replays."""
    total = sum(kernel.dur_us for kernel in kernels)
    return sum(kernel.dur_us for kernel in kernels if kernel.replayed) / total if total else 0.0


def _because(kernels: list[DeviceEvent], share: float) -> str:
    replayed = [kernel for kernel in kernels if kernel.replayed]
    calls = {id(kernel.call) for kernel in replayed}
    name = replayed[0].call.span.name if replayed[0].call else ""
    return (
        f"{len(replayed)} of {len(kernels)} kernels ({share:.0%} of kernel time) were launched by {len(calls)} {name}: "
        "one call stands for many kernels, so op, module and launch delay of each are unknown"
    )

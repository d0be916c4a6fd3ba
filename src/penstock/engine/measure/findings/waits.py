"""What the device waits for: launches that come late, Python between them, copies and reads that stop the host."""

import bisect
import collections
from collections.abc import Iterable, Sequence

from penstock.engine.measure import gaps, ops
from penstock.engine.measure.findings import sync_fixes
from penstock.engine.measure.gaps import Gap
from penstock.engine.measure.intervals import innermost, length, overlap, union
from penstock.engine.measure.places import frame_in_library
from penstock.engine.measure.records import DeviceSummary, Finding
from penstock.engine.measure.timeline import Call, Span, Thread, Timeline

BOUND = 0.5
"""Share of the span in which the device waits for the host from which the host decides how long the run takes. Our choice."""
IDLE = 0.1
"""Share of idle time from which it is worth a finding. Our choice."""
DISPATCH_US = 100.0
"""Gaps up to here are an op's dispatch and launch; above, something else ran on the host (diffusers' profiling guide: gaps above
100 µs, when frequent, are unhealthy)."""
LEAST_READS = 3
"""Our choice."""
QUERIES = 2.0
"""Runtime calls that launch nothing, for each one that launches. Our choice."""
QUERY_SHARE = 0.005
STACKED = " The trace was recorded with_stack, which makes the host slower than it is: record again without."


def find(timeline: Timeline) -> list[Finding]:
    """``launch-bound``, ``host-bound`` or ``idle-gaps`` (at most one), ``host-device-sync``, ``runtime-queries``."""
    if timeline.on_cpu:
        return _lint(timeline)
    told = gaps.summary(timeline)
    if not told.kernels or not gaps.launches_known(timeline):
        return []
    found = gaps.gaps(timeline)
    return [*_host(timeline, told, found), *_syncs(timeline, found), *_queries(timeline, found)]


def _host(timeline: Timeline, told: DeviceSummary, found: Sequence[Gap]) -> list[Finding]:
    """Whose fault the idle time is. Graph replays have no launch of each kernel: nothing is said of them."""
    idle_ms = sum(gap.dur_us for gap in found) / 1e3
    host_ms = gaps.waited_ms(found, "host")
    if not told.reliable or told.span_ms == 0:
        return []
    if host_ms < BOUND * told.span_ms:
        return [_idle(timeline, told, found)] if idle_ms >= IDLE * told.span_ms else []
    waits = [gap for gap in found if gap.kind == "host"]
    long_ms = sum(gap.dur_us for gap in waits if gap.dur_us > DISPATCH_US) / 1e3
    facts = {
        "kernels": float(told.kernels),
        "span_ms": told.span_ms,
        "busy_share": told.busy_share,
        "host_wait_ms": host_ms,
        "launch_delay_us": told.launch_delay_us or 0.0,
        "short_kernels_share": told.short_kernels_share or 0.0,
        "long_gaps": float(sum(1 for gap in waits if gap.dur_us > DISPATCH_US)),
        "long_gaps_ms": long_ms,
    }
    start = (
        f"{told.kernels} kernels kept {told.name} busy for {told.busy_share:.1%} of {told.span_ms:.2f} ms; for "
        f"{host_ms:.2f} ms it waited for the next launch (median {told.launch_delay_us or 0.0:.1f} µs from launch to "
        f"start: nothing queues up)."
    )
    note = STACKED if timeline.with_stack else ""
    if long_ms > host_ms / 2:
        return [_host_bound(waits, f"{start}{{}}{note}", facts)]
    return [
        Finding(
            id="launch-bound",
            title="Launching takes longer than computing",
            evidence=(
                f"{start} {told.short_kernels_share or 0.0:.0%} of the kernels took under 5 µs, about what a launch costs; "
                f"{(host_ms - long_ms) / host_ms:.0%} of the wait is in gaps of less than {DISPATCH_US:.0f} µs, "
                f"an op's dispatch.{note}"
            ),
            saves_ms=host_ms,
            bound="The time in which the device waited for the next launch.",
            fix=(
                "Launch the whole call at once (a CUDA graph), or give each launch more work (a larger batch, fused kernels).\n"
                'model = torch.compile(model, mode="reduce-overhead", fullgraph=True, dynamic=False)'
            ),
            proof="cudaGraphLaunch in the trace in place of the single launches, and host wait near 0.",
            facts=facts,
        )
    ]


def _host_bound(waits: list[Gap], start: str, facts: dict[str, float]) -> Finding:
    count = int(facts["long_gaps"])
    longest = max(waits, key=lambda gap: gap.dur_us)
    middle = (
        f" {facts['long_gaps_ms']:.2f} ms of it are {count} gaps of more than {DISPATCH_US:.0f} µs, the longest "
        f"{longest.dur_us / 1e3:.2f} ms before {_short(longest.next.name)}{_at(longest.next.call)}: more than an op's dispatch "
        "takes, so Python or a library's code runs between the launches."
    )
    return Finding(
        id="host-bound",
        title="The device waits for the host's code between launches",
        evidence=start.format(middle),
        saves_ms=facts["host_wait_ms"],
        bound="The time in which the device waited for the next launch.",
        fix=(
            "Take the Python between the launches away: capture the step as a CUDA graph, or compile it whole; prepare the next "
            "step's inputs while this one runs.\n"
            'step = torch.compile(step, mode="reduce-overhead", fullgraph=True)'
        ),
        proof=f"No gaps above {DISPATCH_US:.0f} µs, and a busy share near 100 %.",
        facts=facts,
        where=_where(longest.next.call),
        caller=_caller(longest.next.call),
    )


def _idle(timeline: Timeline, told: DeviceSummary, found: Sequence[Gap]) -> Finding:
    host_ms, kernel_ms, other_ms = (gaps.waited_ms(found, kind) for kind in ("host", "kernel", "other"))
    idle_ms = host_ms + kernel_ms + other_ms
    longest = max(found, key=lambda gap: gap.dur_us)
    places: dict[str, float] = collections.defaultdict(float)
    for gap in found:
        if gap.kind == "host":
            places[_place(gap.next.call)] += gap.dur_us / 1e3
    most = ", ".join(f"{ms:.0f} ms before launches in {place}" for place, ms in most_of(places, 3) if place)
    note = STACKED if timeline.with_stack else ""
    return Finding(
        id="idle-gaps",
        title=f"The device is idle for {idle_ms / told.span_ms:.0%} of the run",
        evidence=(
            f"{told.name} did nothing for {idle_ms:.1f} of {told.span_ms:.1f} ms: {host_ms:.1f} ms waiting for the host to "
            f"launch, {kernel_ms:.1f} ms between kernels launched in time, {other_ms:.1f} ms for other reasons. "
            f"The longest gap, {longest.dur_us / 1e3:.2f} ms, came before {_short(longest.next.name)}{_at(longest.next.call)}."
            + (f" By place: {most}." if most else "")
            + note
        ),
        saves_ms=idle_ms,
        bound="All of the device's idle time.",
        fix=(
            "Look at what the host does in the longest gaps first; compile or capture the part they are in, and move work that needs "
            "no device out of it.\n"
            'pipe.transformer.compile(mode="reduce-overhead", fullgraph=True)'
        ),
        proof="A higher busy share and less host wait for the same kernels.",
        facts={
            "idle_ms": idle_ms,
            "host_wait_ms": host_ms,
            "kernel_wait_ms": kernel_ms,
            "other_wait_ms": other_ms,
            "span_ms": told.span_ms,
            "longest_us": longest.dur_us,
        },
        where=_where(longest.next.call),
        caller=_caller(longest.next.call),
    )


def syncs(timeline: Timeline) -> list[Call]:
    """Waits that belong to the run: blocking copies, and synchronisations with launches both before and after them.

    (The first and the last are those of the profiler, or of whoever reads the result.)
    """
    launches = [event.call.span.start_us for event in timeline.events if event.call]
    first, last = min(launches, default=0.0), max(launches, default=0.0)
    return [call for call in timeline.waits if "emcpy" in call.span.name or first < call.span.start_us < last]


def ended_in(found: Sequence[Gap], waits: Iterable[Call]) -> list[Gap]:
    """The host's gaps in which a wait ended: the device idled until the host, free again, had launched something."""
    late = [gap for gap in found if gap.kind == "host"]
    starts = [gap.start_us for gap in late]
    hit: set[int] = set()
    for call in waits:
        at = bisect.bisect_right(starts, call.span.end_us) - 1
        if at >= 0 and call.span.end_us <= late[at].end_us:
            hit.add(at)
    return [late[at] for at in sorted(hit)]


def _syncs(timeline: Timeline, found: Sequence[Gap]) -> list[Finding]:
    waits = syncs(timeline)
    if not waits:
        return []
    exposed_us = sum(gap.dur_us for gap in ended_in(found, waits))
    blocked_us = sum(call.span.dur_us for call in waits)
    names = collections.Counter(call.span.name for call in waits)
    by_name = dict.fromkeys(names, 0.0)
    for call in waits:
        by_name[call.span.name] += call.span.dur_us / 1e3
    calls = " and ".join(f"{count} x {name} = {by_name[name]:.3g} ms" for name, count in names.most_common())
    places: dict[str, float] = collections.defaultdict(float)
    for call in waits:
        places[_place(call)] += call.span.dur_us / 1e3
    told = "; ".join(f"{place} {ms:.3g} ms" for place, ms in most_of(places, 4) if place)
    worst = max(waits, key=lambda call: call.span.dur_us)
    lines = collections.Counter(_caller(call) for call in waits if _caller(call))
    own = "; ".join(f"{line} ({count} times)" for line, count in lines.most_common(3))
    return [
        Finding(
            id="host-device-sync",
            title=f"The host stops {len(waits)} times to wait for the device",
            evidence=(
                f"{calls}: while the host is blocked nothing new is launched, and afterwards the device was idle for "
                f"{exposed_us / 1e3:.3g} ms until the next launch."
                + (f" Where: {told}." if told else "")
                + (f" Called from {own}." if own else "")
                + " Part of a wait is the device's own work; only the idle time is lost."
            ),
            saves_ms=exposed_us / 1e3,
            bound="The device's idle time after the waits; the waits themselves are partly its own work.",
            fix=(
                "Read results back once, at the end; keep conditions on the device, and send inputs from pinned memory.\n"
                'x = x.pin_memory().to("cuda", non_blocking=True)\n'
                "scheduler.set_begin_index(0)  # diffusers: no nonzero() and item() to find the step"
            ),
            proof='torch.cuda.set_sync_debug_mode("warn") says nothing in the loop; these calls are gone from the trace.',
            facts={
                "waits": float(len(waits)),
                "blocked_ms": blocked_us / 1e3,
                "exposed_ms": exposed_us / 1e3,
                **{f"{name}_ms": ms for name, ms in by_name.items()},
            },
            where=_where(worst),
            caller=_caller(worst),
        )
    ]


def _lint(timeline: Timeline) -> list[Finding]:
    """``host-device-sync`` without a device: a CPU run's reads of values that would stop a GPU.

    A result may be read once or twice; a tensor that stays on the CPU by design is read for nothing. Hence the least count.
    """
    reads = [read for thread in timeline.threads for read in _reads(thread)]
    if len(reads) < LEAST_READS:
        return []
    names = collections.Counter(op.name for op, *_ in reads)
    places = collections.Counter(place for _, place, _ in reads if place)
    worst = places.most_common(1)[0][0] if places else ""
    lines = collections.Counter(own for _, place, own in reads if place == worst and own)
    caller = lines.most_common(1)[0][0] if lines else ""
    sentence, code = _kept([name for name, _ in names.most_common()])
    return [
        Finding(
            id="host-device-sync",
            title=f"The host reads values that a GPU would have to finish first ({names.most_common(1)[0][0]})",
            evidence=(
                f"{len(reads)} reads ({', '.join(f'{count} x {name}' for name, count in names.most_common())}): free on a CPU, each "
                "would stop a GPU until all it was given is done."
                + (f" Most in {worst} ({places[worst]})" if worst else " Record with_stack to see where")
                + (f", called from {caller}." if caller else ".")
            ),
            bound="On a CPU the values are there already: nothing of this run is lost. A GPU would idle after each read.",
            fix=f"{sentence}\n{code}".strip(),
            proof=f"No {' or '.join(name for name, _ in names.most_common())} in the trace.",
            facts={"reads": float(len(reads)), **{name: float(count) for name, count in names.items()}},
            where=worst,
            caller=caller,
        )
    ]


def _reads(thread: Thread) -> list[tuple[Span, str, str]]:
    """Ops that read a value to the host, each with its function, and the user's own where that is a library's."""
    found = [op for op in thread.ops if ops.short(op.name) in ops.SYNCING]
    points = [op.start_us for op in found]
    own = innermost([frame for frame in thread.frames if not frame_in_library(frame.name)], points)
    return [
        (op, frame.name if frame else "", line.name if line and line is not frame else "")
        for op, frame, line in zip(found, innermost(thread.frames, points), own, strict=True)
    ]


def _kept(names: Sequence[str]) -> tuple[str, str]:
    """What to do about each of these ops, by name: sentences, and code where there is one way to write it."""
    words: list[str] = []
    code: list[str] = []
    for name in names:
        said, written = sync_fixes.REMEDIES[sync_fixes.OF_OPS[ops.short(name)]]
        words.append(f"{name}: {said}")
        code += [f"{written}  # in place of {name}"] if written else []
    return " ".join(words), "\n".join(code)


def _queries(timeline: Timeline, found: Sequence[Gap]) -> list[Finding]:
    """Calls into the runtime that only ask something, and ask it again and again."""
    launching = {id(event.call.span) for event in timeline.events if event.call}
    waiting = {id(call.span) for call in timeline.waits}
    asking = [
        span
        for thread in timeline.threads
        for span in thread.calls
        if id(span) not in launching and id(span) not in waiting
    ]
    spent = union((span.start_us, span.end_us) for span in asking)
    told = gaps.summary(timeline)
    if len(asking) < QUERIES * len(launching) or length(spent) < QUERY_SHARE * told.span_ms * 1e3:
        return []
    exposed_ms = (
        overlap(spent, union((gap.start_us, gap.end_us) for gap in found if gap.kind == "host")) / 1e3
    )
    names = collections.Counter(span.name for span in asking)
    most = ", ".join(f"{count} x {name}" for name, count in names.most_common(3))
    return [
        Finding(
            id="runtime-queries",
            title="The runtime is asked more often than it is told",
            evidence=(
                f"{len(asking)} runtime calls that launch nothing beside {len(launching)} that do ({most}): "
                f"{length(spent) / 1e3:.2f} ms of host time, {exposed_ms:.2f} ms of it while the device was idle."
            ),
            saves_ms=exposed_ms,
            bound="The time of those calls in which the device was idle.",
            fix=(
                "Ask once and keep the answer: device properties and pointer attributes do not change between launches. Triton's "
                "launcher asks at each call; a graph replay does not.\n"
                "properties = functools.cache(torch.cuda.get_device_properties)"
            ),
            proof="About one runtime call for each kernel in the trace.",
            facts={
                "queries": float(len(asking)),
                "launches": float(len(launching)),
                "host_ms": length(spent) / 1e3,
                "exposed_ms": exposed_ms,
            },
        )
    ]


def most_of(sums: dict[str, float], count: int) -> list[tuple[str, float]]:
    """The largest of some sums, with their names."""
    return sorted(sums.items(), key=lambda item: -item[1])[:count]


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "..."


def _where(call: Call | None) -> str:
    return call.frame.name if call and call.frame else ""


def _caller(call: Call | None) -> str:
    """The user's own line, where the call is in a library's."""
    return call.caller.name if call and call.caller and call.caller is not call.frame else ""


def _at(call: Call | None) -> str:
    place = _where(call)
    return f" at {place}" if place else ""


def _place(call: Call | None) -> str:
    """The user's function (its first line, as the profiler tells it), else the op."""
    return _where(call) or (call.op.name if call and call.op else "")

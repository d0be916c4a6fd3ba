"""Operators that make the host wait for the device, found without a device: a lint over what one run dispatched."""

from collections import Counter

from penstock.engine.measure.findings import sync_fixes
from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import Seen, SyncPoint

NOWHERE = {
    "cpu": "On a CPU the values are there already: nothing of this run is lost. A GPU would idle after each wait.",
    "meta": "Counted on meta tensors: nothing was timed.",
}
"""Devices that nobody waits for, and why there is no figure."""
LINES = 3
"""Of the user's own that are told of one of a library's."""


def find(seen: Seen) -> list[Finding]:
    """``host-device-sync`` for each line that waits at least once a step and twice a run, whatever it waits for; reading the
    result is no fault.
    """
    lines: dict[str, list[SyncPoint]] = {}
    for point in seen.syncs:
        lines.setdefault(point.where, []).append(point)
    return [_waits(where, points, seen) for where, points in lines.items() if _often(points, seen.steps)]


def _often(points: list[SyncPoint], steps: int) -> bool:
    """The last step's wait may be the run's last act: the waits that held something up are one fewer."""
    count, final = sum(point.count for point in points), sum(point.final for point in points)
    return count >= max(2, steps) and count - final >= max(1, steps - 1)


def _waits(where: str, points: list[SyncPoint], seen: Seen) -> Finding:
    on = "waits" if seen.device not in NOWHERE else "would wait on a GPU"
    count = sum(point.count for point in points)
    by_op = Counter[str]()
    for point in points:
        by_op[point.op] += point.count
    callers = Counter[str]()
    for point in points:
        callers[point.caller] += point.count
    del callers[""]
    own = ", ".join(f"{line} ({times})" for line, times in callers.most_common(LINES))
    remedies = dict.fromkeys(sync_fixes.remedy(point.op, where, point.line) for point in points)
    return Finding(
        id="host-device-sync",
        title=f"The host {on} for the device at {where}",
        evidence=(
            ", ".join(f"{op}: {times}" for op, times in by_op.items())
            + f" in a run at {where}"
            + (f", {count / seen.steps:.1f} a step" if seen.steps > 1 else "")
            + (f", called from {own}" if own else "")
            + ": until it is answered, nothing new is launched."
        ),
        bound=NOWHERE.get(
            seen.device, "Counted, not timed: how long the device idles after each wait is in the capture."
        ),
        fix="\n".join(f"{words}\n{code}".strip() for words, code in remedies),
        proof='torch.cuda.set_sync_debug_mode("warn") says nothing; the lint counts 0 at this line.',
        facts={"count": float(count), "steps": float(seen.steps)},
        where=where,
        caller=callers.most_common(1)[0][0] if callers else "",
    )

"""Operators that make the host wait for the device, found without a device: a lint over what one run dispatched."""

from penstock.engine.measure.findings import sync_fixes
from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import Seen, SyncPoint


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
    on = "waits" if seen.device != "cpu" else "would wait on a GPU"
    count = sum(point.count for point in points)
    remedies = dict.fromkeys(sync_fixes.remedy(point.op, where, point.line) for point in points)
    return Finding(
        id="host-device-sync",
        title=f"The host {on} for the device at {where}",
        evidence=(
            ", ".join(f"{point.op}: {point.count}" for point in points)
            + f" in a run at {where}"
            + (f", {count / seen.steps:.1f} a step" if seen.steps > 1 else "")
            + ": until it is answered, nothing new is launched."
        ),
        fix="\n".join(f"{words}\n{code}".strip() for words, code in remedies),
        proof='torch.cuda.set_sync_debug_mode("warn") says nothing; the lint counts 0 at this line.',
        facts={"count": float(count), "steps": float(seen.steps)},
        where=where,
    )

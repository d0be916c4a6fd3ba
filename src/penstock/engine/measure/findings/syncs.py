"""Operators that make the host wait for the device, found without a device: a lint over what one run dispatched."""

from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import Seen, SyncPoint

SHAPED = "A result whose size the values decide must be counted by the host. Keep the size fixed."
REMEDIES = {
    "item": (
        "Keep the value on the device: branch with torch.where, index with a tensor.",
        "y = torch.where(condition, when_true, when_false)",
    ),
    "nonzero": (SHAPED, "y = torch.where(mask, x, 0)"),
    "mask": (SHAPED, "y = torch.where(mask, x, 0)"),
    "masked_select": (SHAPED, "y = torch.where(mask, x, 0)"),
    "equal": ("Compare on the device, and read the answer once, after the loop.", "same = (a == b).all()"),
    "copy to host": (
        "Copy once, after the loop; or do not wait for it.",
        'host = x.to("cpu", non_blocking=True)',
    ),
    "copy from pageable memory": (
        "Make it on the device; or pin it, and do not wait.",
        "x = host.pin_memory().to(device, non_blocking=True)",
    ),
}
"""By what ``measure.syncs`` calls them."""


def find(seen: Seen) -> list[Finding]:
    """``host-device-sync`` for each line that waits at least once a step and twice a run; reading the result is no fault."""
    return [_waits(point, seen) for point in seen.syncs if _often(point, seen.steps)]


def _often(point: SyncPoint, steps: int) -> bool:
    """The last step's wait may be the run's last act: the waits that held something up are one fewer."""
    return point.count >= max(2, steps) and point.count - point.final >= max(1, steps - 1)


def _waits(point: SyncPoint, seen: Seen) -> Finding:
    words, code = REMEDIES.get(point.op, ("Do it once, outside the loop.", ""))
    on = "waits" if seen.device != "cpu" else "would wait on a GPU"
    return Finding(
        id="host-device-sync",
        title=f"The host {on} for the device at {point.where}",
        evidence=(
            f"{point.op}: {point.count} in a run at {point.where}"
            + (f", {point.count / seen.steps:.1f} a step" if seen.steps > 1 else "")
            + ": until it is answered, nothing new is launched."
        ),
        fix=f"{words}\n{code}".strip(),
        proof='torch.cuda.set_sync_debug_mode("warn") says nothing; the lint counts 0 at this line.',
        facts={"count": float(point.count), "steps": float(seen.steps)},
        where=point.where,
    )

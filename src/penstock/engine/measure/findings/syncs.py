"""Operators that make the host wait for the device, found without a device: a lint over what one run dispatched."""

from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import Seen, SyncPoint

REMEDIES = {
    "_local_scalar_dense": (
        "Keep the value on the device: branch with torch.where, index with a tensor.",
        "y = torch.where(condition, when_true, when_false)",
    ),
    "nonzero": (
        "A result whose size the values decide must be counted by the host. Keep the size fixed.",
        "y = torch.where(mask, x, 0)",
    ),
    "masked_select": (
        "A result whose size the values decide must be counted by the host. Keep the size fixed.",
        "y = torch.where(mask, x, 0)",
    ),
    "_unique2": (
        "A result whose size the values decide must be counted by the host. Do it once, outside the loop.",
        "",
    ),
    "equal": ("Compare on the device, and read the answer once, after the loop.", "same = (a == b).all()"),
}


def find(seen: Seen) -> list[Finding]:
    """``host-device-sync`` for each line that waits at least once a step."""
    return [_waits(point, seen) for point in seen.syncs if point.count >= max(1, seen.steps)]


def _waits(point: SyncPoint, seen: Seen) -> Finding:
    op = point.op.removeprefix("aten::").removeprefix("aten.").split(".", maxsplit=1)[0]
    words, code = REMEDIES.get(op, ("Do it once, outside the loop.", ""))
    on = "waits" if seen.device != "cpu" else "would wait on a GPU"
    return Finding(
        id="host-device-sync",
        title=f"The host {on} for the device at {point.where}",
        evidence=(
            f"aten::{op} {point.count} times a run at {point.where}"
            + (f", {point.count / seen.steps:.1f} a step" if seen.steps > 1 else "")
            + ": until it is answered, nothing new is launched."
        ),
        fix=f"{words}\n{code}".strip(),
        proof='torch.cuda.set_sync_debug_mode("warn") says nothing; the lint counts 0 at this line.',
        facts={"count": float(point.count), "steps": float(seen.steps)},
        where=point.where,
    )

"""Memory that grows with every step or call, and memory that is nearly full."""

from itertools import pairwise
from statistics import median

from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.seen import Memory, Part, Seen

LEAST_RISES = 3
"""Rises in a row, without a fall, before growth is told: fewer may be buffers that are made once."""
FULL = 0.9
"""Of the card's memory; allocators fragment above it. Our choice."""


def find(seen: Seen, peaks: Peaks | None = None) -> list[Finding]:
    """All of this family."""
    memory = seen.memory
    if memory is None:
        return []
    return [*_grows(seen, memory), *_full(seen, memory, peaks)]


def _grows(seen: Seen, memory: Memory) -> list[Finding]:
    by_call = rise(memory.calls_bytes)
    by_step = (
        None if seen.kind == "generator" else rise(memory.steps_bytes)
    )  # its key-value cache grows by design
    if by_step is None and by_call is None:
        return []
    each, unit, ways = (
        (by_step // memory.steps_apart, "step", memory.steps_bytes)
        if by_step is not None
        else (by_call or 0, "call", memory.calls_bytes)
    )
    held = "; ".join(
        f"{holder.path} holds {holder.added} more tensors than before the run ({size(holder.added_bytes)})"
        for holder in memory.holders
    )
    code = [f"{holder.path}.clear()" for holder in memory.holders]
    return [
        Finding(
            id="memory-growth",
            title=f"Memory grows by {size(each)} a {unit}",
            evidence=(
                f"Live tensors rose from {size(ways[0])} to {size(ways[-1])} over {len(ways) - 1} measurements, "
                f"without a fall: {each} bytes a {unit}" + (f"; {held}." if held else ".")
            ),
            bound="It costs memory, not time.",
            fix=(
                "Do not keep what a step made; empty it after each call.\n" + "\n".join(code)
                if code
                else "Keep no tensor across steps, and no graph of autograd.\nwith torch.inference_mode():\n    output = call()"
            ),
            proof=f"The bytes of live tensors are the same after every {unit}.",
            facts={
                f"bytes_a_{unit}": float(each),
                "first_bytes": float(ways[0]),
                "last_bytes": float(ways[-1]),
            },
            where=memory.holders[0].path if memory.holders else "",
        )
    ]


def size(count: int) -> str:
    """Bytes in the unit that suits them: ``256 B``, ``16.0 KiB``, ``1.5 GiB``."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def rise(bytes_in_order: tuple[int, ...]) -> int | None:
    """Median rise from one measurement to the next, where every one is a rise; else None. The first is not looked at: it fills
    what is made once."""
    rises = [after - before for before, after in pairwise(bytes_in_order[1:])]
    if len(rises) < LEAST_RISES or min(rises) <= 0:
        return None
    return int(median(rises))


def _full(seen: Seen, memory: Memory, peaks: Peaks | None) -> list[Finding]:
    total = (peaks.memory_bytes if peaks is not None else None) or memory.total_bytes
    if not total or memory.peak_bytes is None or memory.peak_bytes < FULL * total:
        return []
    weights = sum(part.weight_bytes for part in seen.parts)
    share = memory.peak_bytes / total
    return [
        Finding(
            id="peak-memory",
            title=f"The peak is {share:.0%} of the card's memory",
            evidence=(
                f"{size(memory.peak_bytes)} at the peak, of {size(total)}; weights are {size(weights)}. "
                + ("It does not fit." if share > 1 else "A larger image or batch will not fit.")
            ),
            bound="It decides what fits, not how long it takes.",
            fix=_smaller(seen, weights, memory.peak_bytes),
            proof="torch.cuda.max_memory_allocated() after one run.",
            facts={
                "peak_bytes": float(memory.peak_bytes),
                "memory_bytes": float(total),
                "weight_bytes": float(weights),
                "share": share,
            },
        )
    ]


def _smaller(seen: Seen, weights: int, peak: int) -> str:
    full = [part for part in seen.parts if part.dtype == "float32"]
    if full:
        largest = max(full, key=_weight)
        more = " and give it bfloat16 inputs" if seen.kind == "module" else ""
        whole = "pipe" if seen.kind == "pipeline" else largest.path
        return f"Half the bytes of weights and activations: take bfloat16{more}.\n{whole}.to(torch.bfloat16)"
    autoencoders = [part for part in seen.parts if part.autoencoder]
    if autoencoders and 2 * weights < peak:
        return f"Decode in tiles: slower, but the peak falls.\n{autoencoders[0].path}.enable_tiling()"
    if seen.kind == "pipeline":
        return "Keep on the card only the part that runs.\npipe.enable_model_cpu_offload()"
    return "A smaller batch, or weights of fewer bits.\nfrom torchao.quantization import Int8WeightOnlyConfig, quantize_\nquantize_(model, Int8WeightOnlyConfig())"


def _weight(part: Part) -> int:
    return part.weight_bytes

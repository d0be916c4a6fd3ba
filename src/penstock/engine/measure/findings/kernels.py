"""What the kernels themselves show: too short, not fused, attention in pieces, copies and layout conversions."""

import collections
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct

from penstock.engine.measure import gaps, kernel_names, ops, shapes
from penstock.engine.measure.attribution import module_of
from penstock.engine.measure.intervals import length, overlap, union
from penstock.engine.measure.records import Finding
from penstock.engine.measure.timeline import DeviceEvent, Span, Timeline

SHORT_SHARE = 0.25
LEAST_KERNELS = 50
CHAIN_SHARE = 0.005
LAYOUT_SHARE = 0.01
COPY_SHARE = 0.05
COLLECTIVE_SHARE = 0.1
"""Shares of kernels, or of the busy time, from which something is worth a finding. Our choices."""
COMPILE = "module.compile(fullgraph=True)"
"""Of a module that only its trace is known of; ``lab.exact`` writes it for one that is there."""
REACH = 40
"""Kernels at most between a softmax and its matmuls: scaling, masks, a position bias that the first layer computes."""


def find(timeline: Timeline) -> list[Finding]:
    """``short-kernels``, ``unfused-pointwise``, ``math-attention``, ``layout-conversions``, ``device-copies``, ``collectives``."""
    busy_us = length(timeline.busy())
    if not busy_us:
        return []
    return [
        *_short(timeline),
        *_chains(timeline, busy_us),
        *_attention(timeline),
        *_layouts(timeline, busy_us),
        *_copies(timeline, busy_us),
        *_collectives(timeline, busy_us),
    ]


def spent_us(events: Iterable[DeviceEvent]) -> float:
    """The time in which any of them ran: what runs at once, on several streams or threads, can be saved once."""
    return length(union((event.start_us, event.end_us) for event in events))


def _short(timeline: Timeline) -> list[Finding]:
    kernels = [event for event in timeline.events if event.kind == "kernel"]
    short = [kernel for kernel in kernels if kernel.dur_us < gaps.SHORT_US]
    if timeline.on_cpu or len(kernels) < LEAST_KERNELS or len(short) < SHORT_SHARE * len(kernels):
        return []
    ids = {id(kernel) for kernel in short}
    before_us = sum(gap.dur_us for gap in gaps.gaps(timeline) if id(gap.next) in ids)
    ran_us = sum(kernel.dur_us for kernel in short)
    saves_us = spent_us(short) + before_us
    names = collections.Counter(
        kernel_names.decode(kernel.name).means or kernel.name[:40] for kernel in short
    )
    most = ", ".join(f"{count} x {name}" for name, count in names.most_common(3))
    return [
        Finding(
            id="short-kernels",
            title="Kernels too short to pay for their launch",
            evidence=(
                f"{len(short)} of {len(kernels)} kernels ({len(short) / len(kernels):.0%}) ran for less than "
                f"{gaps.SHORT_US:.0f} µs ({most}): {ran_us / 1e3:.3g} ms of work, with {before_us / 1e3:.3g} ms of gaps before them."
            ),
            saves_ms=saves_us / 1e3,
            bound="The time of those kernels and of the gaps before them.",
            fix=(
                "Fuse them into their neighbours, or give them more to do with a larger batch.\n"
                "model = torch.compile(model, fullgraph=True)"
            ),
            proof="Fewer kernels for the same call; triton_poi_fused_* or triton_per_fused_* in their place.",
            facts={
                "kernels": float(len(kernels)),
                "short": float(len(short)),
                "short_ms": ran_us / 1e3,
                "gaps_ms": before_us / 1e3,
            },
        )
    ]


class Chain(Struct, eq=False, frozen=True):
    """Pointwise kernels one after the other, over tensors of one size."""

    events: tuple[DeviceEvent, ...]
    travelled_bytes: int
    """Written by one and read again by the next: what a fused kernel keeps in registers."""

    @property
    def name(self) -> str:
        """``gelu, mul``."""
        return ", ".join(ops.short(_op(event).name).rstrip("_") for event in self.events)

    @property
    def saves_us(self) -> float:
        """A fused kernel takes at least as long as the longest of them."""
        times = [event.dur_us for event in self.events]
        return sum(times) - max(times)


def chains(timeline: Timeline) -> list[Chain]:
    """Maximal runs of two or more pointwise kernels of PyTorch's that follow each other on a stream, with equal sizes.

    One matmul may stand between two of them where it makes the other operand, and does not read the chain's (GeGLU: gelu, the
    linear ``up``, multiply). Which tensor went where is not in a trace: order and sizes are what is known.
    """
    found: list[Chain] = []
    runs: dict[str, _Run] = {}
    for event in timeline.events:
        runs.setdefault(event.stream, _Run(found)).take(event)
    for run in runs.values():
        run.close()
    return found


class _Run:
    """An open chain on one stream."""

    def __init__(self, found: list[Chain]) -> None:
        self.found = found
        self.parts: list[tuple[DeviceEvent, shapes.Tensor]] = []
        self.between = False
        """A matmul that makes the other operand came after the last part."""

    def take(self, event: DeviceEvent) -> None:
        """The stream's next event."""
        if self.parts and not self.between and self.makes_operand(event):
            self.between = True
            return
        size = _pointwise(event)
        if self.parts and (size is None or not self.goes_on(event, size)):
            self.close()
        if size is not None:
            self.parts.append((event, size))
        self.between = False

    def makes_operand(self, event: DeviceEvent) -> bool:
        """A matmul whose result is as large as the chain's tensors, and whose inputs are not."""
        if event.kind != "kernel" or event.op is None or ops.short(event.op.name) not in ops.MATMULS:
            return False
        sizes = shapes.matmul(event.op)
        numel = self.parts[-1][1].numel
        return sizes is not None and sizes.result == numel and numel not in (sizes.left, sizes.right)

    def goes_on(self, event: DeviceEvent, size: shapes.Tensor) -> bool:
        """Of the same size; after a matmul's result also with two operands of it."""
        alike = sum(1 for tensor in shapes.tensors(_op(event)) if tensor and tensor.numel == size.numel)
        return size.numel == self.parts[-1][1].numel and (not self.between or alike > 1)

    def close(self) -> None:
        """The chain ends here; one kernel alone is none.

        Copies alone are one where each reads what the one before wrote: Inductor makes a single kernel of ``x.to(a).to(b)`` (measured
        with 2.13), and what lay between no longer travels. Order and sizes do not show it, for copies of several tensors follow each
        other as well (two weights cast, two caches filled). Types do: what is converted is of another type than what was before.
        """
        computes = any(ops.short(_op(event).name) not in ops.COPYING for event, _ in self.parts)
        read = [_copied(event) for event, _ in self.parts]
        onward = "" not in read and all(one != other for one, other in pairwise(read))
        if len(self.parts) > 1 and (computes or onward):
            travelled = sum(2 * size.nbytes for _, size in self.parts[1:])
            self.found.append(Chain(tuple(event for event, _ in self.parts), travelled))
        self.parts.clear()


def _copied(event: DeviceEvent) -> str:
    """The type of what a copy reads; empty where it is not recorded."""
    given = shapes.tensors(_op(event))
    source = given[1:2] if ops.short(_op(event).name) == "copy_" else given[:1]
    return source[0].dtype if source and source[0] is not None else ""


def _op(event: DeviceEvent) -> Span:
    assert event.op is not None
    return event.op


def _pointwise(event: DeviceEvent) -> shapes.Tensor | None:
    """The largest tensor of a pointwise kernel; None for any other event, and for single numbers."""
    op = event.op
    if op is None or event.kind != "kernel" or event.replayed or not ops.pointwise(op.name):
        return None
    given = [tensor for tensor in shapes.tensors(op) if tensor is not None]
    largest = max(given, key=lambda tensor: tensor.numel, default=None)
    return largest if largest is not None and largest.numel > 1 else None


def _chains(timeline: Timeline, busy_us: float) -> list[Finding]:
    found = chains(timeline)
    total_us = sum(event.dur_us for chain in found for event in chain.events)
    if not found or total_us < CHAIN_SHARE * busy_us:
        return []
    by_name: dict[str, list[Chain]] = collections.defaultdict(list)
    for chain in found:
        by_name[chain.name].append(chain)
    ranked = sorted(by_name.items(), key=lambda item: -sum(chain.saves_us for chain in item[1]))
    most = "; ".join(f"{len(rows)} x ({name})" for name, rows in ranked[:3])
    moved = sum(chain.travelled_bytes for chain in found)
    during_us = spent_us([event for chain in found for event in chain.events])
    return [
        Finding(
            id="unfused-pointwise",
            title="Pointwise ops run one by one",
            evidence=(
                f"{len(found)} chains of pointwise kernels, {sum(len(chain.events) for chain in found)} kernels in "
                f"{total_us / 1e3:.3g} ms: {most}. Between them {moved / 1e6:.3g} MB are written and read again, which a fused "
                "kernel keeps in registers."
            ),
            saves_ms=min(sum(chain.saves_us for chain in found), during_us) / 1e3,
            bound="The chains' time without the longest kernel of each, which a fused one takes at least.",
            fix=f"Compile the part, so that Inductor fuses them.\n{COMPILE}",
            proof="One triton_poi_fused_* (CPU: one fused C++ kernel) where these ops were.",
            facts={
                "chains": float(len(found)),
                "kernels": float(sum(len(chain.events) for chain in found)),
                "time_ms": total_us / 1e3,
                "travelled_bytes": float(moved),
            },
            where=module_of(ranked[0][1][0].events[0].call),
        )
    ]


class Pieces(Struct, eq=False, frozen=True):
    """One attention computed by single ops."""

    events: tuple[DeviceEvent, ...]
    named: bool
    """True where PyTorch chose its math backend, False where the user's code multiplies and normalises itself."""


def attentions(timeline: Timeline) -> list[Pieces]:
    """Attention in pieces: kernels inside ``_scaled_dot_product_attention_math``, and matmul - softmax - matmul by hand."""
    found: dict[int, list[DeviceEvent]] = {}
    rest: dict[str, list[DeviceEvent]] = {}
    for event in timeline.events:
        if event.op is None or event.kind != "kernel" or event.replayed:
            continue
        math = _inside(event.op, ops.MATH_ATTENTION)
        if math is not None:
            found.setdefault(id(math), []).append(event)
        else:
            rest.setdefault(event.stream, []).append(event)
    named = [Pieces(tuple(events), named=True) for events in found.values()]
    by_hand = [Pieces(tuple(run), named=False) for events in rest.values() for run in _by_hand(events)]
    return [*named, *by_hand]


def _inside(op: Span, base: str) -> Span | None:
    above: Span | None = op
    while above is not None and ops.short(above.name) != base:
        above = above.parent
    return above


def _by_hand(events: Sequence[DeviceEvent]) -> list[list[DeviceEvent]]:
    """Runs from a batched matmul over a softmax (with scaling and masks between) to the matmul that takes its result."""
    found: list[list[DeviceEvent]] = []
    for at, event in enumerate(events):
        weights = _softmax(event)
        if weights is None:
            continue
        before = range(at - 1, max(at - REACH, -1), -1)
        after = range(at + 1, min(at + REACH, len(events)))
        start = next((i for i in before if _gives(events[i], weights)), None)
        end = next((i for i in after if _takes(events[i], weights)), None)
        if start is not None and end is not None:
            found.append(list(events[start : end + 1]))
    return found


def _softmax(event: DeviceEvent) -> shapes.Tensor | None:
    """The weights that a softmax normalises: of three dimensions or more."""
    op = event.op
    if op is None or ops.short(op.name) not in ops.SOFTMAXES:
        return None
    given = shapes.tensors(op)
    first = given[0] if given else None
    return first if first is not None and len(first.dims) >= 3 else None


def _sides(event: DeviceEvent) -> tuple[shapes.Tensor, shapes.Tensor] | None:
    """Left and right side of a batched matmul."""
    op = event.op
    if op is None or ops.short(op.name) not in ("bmm", "baddbmm", "matmul"):
        return None
    first = 1 if op.name == "aten::baddbmm" else 0
    pair = shapes.tensors(op)[first : first + 2]
    if len(pair) < 2 or pair[0] is None or pair[1] is None or not (pair[0].dims and pair[1].dims):
        return None
    return pair[0], pair[1]


def _gives(event: DeviceEvent, weights: shapes.Tensor) -> bool:
    """A batched matmul whose result has as many elements as the weights, with their last dimension."""
    sides = _sides(event)
    if sides is None:
        return False
    left, right = sides
    columns = right.dims[-1]
    return columns == weights.dims[-1] and left.numel * columns == weights.numel * left.dims[-1]


def _takes(event: DeviceEvent, weights: shapes.Tensor) -> bool:
    """A batched matmul whose left side is as large as the weights, with their last dimension."""
    sides = _sides(event)
    return sides is not None and sides[0].numel == weights.numel and sides[0].dims[-1] == weights.dims[-1]


def _attention(timeline: Timeline) -> list[Finding]:
    found = attentions(timeline)
    if not found:
        return []
    every = [event for pieces in found for event in pieces.events]
    total_us = sum(event.dur_us for event in every)
    matmuls = {id(event) for event in every if event.op and ops.short(event.op.name) in ops.MATMULS}
    matmul_us = sum(event.dur_us for event in every if id(event) in matmuls)
    chosen = sum(1 for pieces in found if pieces.named)
    how = f"{chosen} by PyTorch's math backend" if chosen else "all by the user's own matmul, softmax, matmul"
    if 0 < chosen < len(found):
        how += f", {len(found) - chosen} by own matmul and softmax"
    return [
        Finding(
            id="math-attention",
            title="Attention runs as single ops instead of one fused kernel",
            evidence=(
                f"{len(found)} attention calls ({how}) ran {len(every)} kernels in {total_us / 1e3:.3g} ms, "
                f"{matmul_us / 1e3:.3g} ms of them in the matmuls that a fused kernel does too; the weights (length x length) are "
                "written to memory and read again."
            ),
            saves_ms=spent_us([event for event in every if id(event) not in matmuls]) / 1e3,
            bound="The attentions' time without their matmuls.",
            fix=(
                "Use scaled_dot_product_attention and let it choose; a mask, dropout, a head size that no fused kernel takes or a "
                "dtype of 32 bit make it fall back, and sdpa_kernel says why.\n"
                "from torch.nn import functional as F\nfrom torch.nn.attention import SDPBackend, sdpa_kernel\n"
                "with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):\n"
                "    y = F.scaled_dot_product_attention(q, k, v)"
            ),
            proof="One kernel for each attention: flash, efficient or cuDNN in its name; no _softmax beside it.",
            facts={
                "attentions": float(len(found)),
                "math_backend": float(chosen),
                "kernels": float(len(every)),
                "time_ms": total_us / 1e3,
                "matmul_ms": matmul_us / 1e3,
            },
            where=module_of(found[0].events[0].call),
        )
    ]


def _layouts(timeline: Timeline, busy_us: float) -> list[Finding]:
    found = [event for event in timeline.events if kernel_names.decode(event.name).kind == "layout"]
    total_us = sum(event.dur_us for event in found)
    if not found or total_us < LAYOUT_SHARE * busy_us:
        return []
    where = collections.Counter(module_of(event.call) for event in found if event.call).most_common(1)
    op = collections.Counter(event.op.name for event in found if event.op and not event.replayed).most_common(
        1
    )
    return [
        Finding(
            id="layout-conversions",
            title="Tensors are transposed on their way into convolutions",
            evidence=(
                f"{len(found)} layout conversions took {total_us / 1e3:.3g} ms, {total_us / busy_us:.1%} of the busy time"
                + (f", most of them launched by {op[0][0]}" if op else "")
                + ": the convolution's kernel computes channels last, the tensors are channels first."
            ),
            saves_ms=spent_us(found) / 1e3,
            bound="The time of the conversions.",
            fix="Keep weights and activations channels last.\nmodel = model.to(memory_format=torch.channels_last)",
            proof="No nchwToNhwc, nhwcToNchw or batched_transpose kernel in the trace.",
            facts={"conversions": float(len(found)), "time_ms": total_us / 1e3, "busy_ms": busy_us / 1e3},
            where=where[0][0] if where else "",
        )
    ]


def _copies(timeline: Timeline, busy_us: float) -> list[Finding]:
    """Copies within the device: time without arithmetic."""
    if timeline.on_cpu:
        return []
    found = [event for event in timeline.events if _copies_only(event)]
    total_us = sum(event.dur_us for event in found)
    if not found or total_us < COPY_SHARE * busy_us:
        return []
    by_op: dict[str, float] = collections.defaultdict(float)
    for event in found:
        by_op[f"{event.op.name if event.op else event.name[:40]} in {module_of(event.call) or '?'}"] += (
            event.dur_us / 1e3
        )
    ranked = sorted(by_op.items(), key=lambda item: -item[1])
    most = ", ".join(f"{name} {ms:.3g} ms" for name, ms in ranked[:3])
    return [
        Finding(
            id="device-copies",
            title="The device copies more than it has to",
            evidence=(
                f"{len(found)} copies within the device took {total_us / 1e3:.3g} ms, {total_us / busy_us:.1%} of the busy time: {most}."
            ),
            saves_ms=spent_us(found) / 1e3,
            bound="The time of the copies.",
            fix=(
                "Look for contiguous(), clone(), cat and out-of-place ops there; write into the target with out= instead, or "
                "compile the part.\n"
                "torch.mm(x, w, out=buffer)"
            ),
            proof="Fewer Memcpy DtoD and direct_copy kernels for the same call.",
            facts={"copies": float(len(found)), "time_ms": total_us / 1e3, "busy_ms": busy_us / 1e3},
            where=ranked[0][0].partition(" in ")[2],
        )
    ]


def _collectives(timeline: Timeline, busy_us: float) -> list[Finding]:
    """Communication with nothing else running beside it."""
    found = [event for event in timeline.events if kernel_names.decode(event.name).kind == "collective"]
    ids = {id(event) for event in found}
    others = union((event.start_us, event.end_us) for event in timeline.events if id(event) not in ids)
    during = union((event.start_us, event.end_us) for event in found)
    total_us = length(during)
    alone_us = total_us - overlap(during, others)
    if not found or alone_us < COLLECTIVE_SHARE * busy_us:
        return []
    names = collections.Counter(kernel_names.decode(event.name).means for event in found)
    most = ", ".join(f"{count} x {name}" for name, count in names.most_common(3))
    return [
        Finding(
            id="collectives",
            title="Devices talk to each other while nothing is computed",
            evidence=(
                f"{len(found)} collectives ({most}) took {total_us / 1e3:.3g} ms, {total_us / busy_us:.1%} of the busy time; for "
                f"{alone_us / 1e3:.3g} ms of it this device computed nothing. A collective that waits for a late peer is long too."
            ),
            saves_ms=alone_us / 1e3,
            bound="The time of the collectives in which the device computed nothing.",
            fix=(
                "Use fewer devices for one request where the model fits, or overlap: start the collective, compute what does not "
                "need it, wait then.\n"
                "work = dist.all_reduce(x, async_op=True)\n"
                "y = other(z)\n"
                "work.wait()"
            ),
            proof="Kernels on another stream under the collectives, or none of them.",
            facts={
                "collectives": float(len(found)),
                "time_ms": total_us / 1e3,
                "alone_ms": alone_us / 1e3,
                "busy_ms": busy_us / 1e3,
            },
        )
    ]


def _copies_only(event: DeviceEvent) -> bool:
    if event.kind == "copy":
        return "DtoD" in event.name
    return event.kind == "kernel" and kernel_names.decode(event.name).means in ("copy", "concatenation")

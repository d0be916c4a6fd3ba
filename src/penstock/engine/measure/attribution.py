"""Device time by kernel, with the op and the module that launched it."""

from penstock.engine.measure import kernel_names, marks, ops, shapes
from penstock.engine.measure.records import KernelRow
from penstock.engine.measure.timeline import NN_MODULE, Call, DeviceEvent, Timeline, once

COMPILED = "## Call CompiledFxGraph "
"""How Inductor names the range of a compiled graph; the graph's hash follows."""


def kernels(timeline: Timeline) -> tuple[KernelRow, ...]:
    """One row per (name, op, module), longest first; the rows' ``total_ms`` sum to the device events' time.

    ``flops`` and ``bytes`` where the trace holds shapes and the op is known: counted once for each op, at its longest kernel.
    On a CPU the name is the op that did the work, and ``op`` the one that called it (``aten::addmm`` by ``aten::linear``).
    """
    costs = op_costs(timeline)
    grouped: dict[tuple[str, str, str, bool], list[DeviceEvent]] = {}
    for event in timeline.events:
        key = (event.name, op_of(event, on_cpu=timeline.on_cpu), module_of(event.call), not event.replayed)
        grouped.setdefault(key, []).append(event)
    rows: list[KernelRow] = []
    for (name, op, module, attributed), events in grouped.items():
        known = [costs[id(event)] for event in events if id(event) in costs]
        flops = [cost.flops for cost in known if cost.flops is not None]
        moved = [cost.bytes for cost in known if cost.bytes is not None]
        rows.append(
            KernelRow(
                name=name,
                count=len(events),
                total_ms=sum(event.dur_us for event in events) / 1e3,
                op=op,
                module=module,
                means=kernel_names.decode(name).means,
                flops=sum(flops) if flops else None,
                bytes=sum(moved) if moved else None,
                attributed=attributed,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.total_ms, row.name, row.op, row.module)))


def op_of(event: DeviceEvent, *, on_cpu: bool = False) -> str:
    """The op's name; empty where none is known (a graph replay's kernels have none)."""
    if event.op is None or event.replayed:
        return ""
    if on_cpu:
        return event.op.parent.name if event.op.parent else ""
    return event.op.name


def module_of(call: Call | None) -> str:
    """The innermost module around a launch, else the innermost annotation; of both, the one that started later.

    Our own ranges give the dotted name (``unet.down_blocks.0``); a frame of the profiler's gives the class (``Linear``).
    """
    if call is None or call.replays:
        return ""
    module, annotation = call.module, call.annotation
    if module is not None and (annotation is None or module.start_us >= annotation.start_us):
        return class_of(module.name)
    if annotation is None:
        return ""
    return marks.module_of(annotation.name) or marks.stage_of(annotation.name) or plain(annotation.name)


COMPILING = "compile_id="
"""In the name of every phase that Dynamo and Inductor tell the profiler of."""


def plain(annotation: str) -> str:
    """``## Call CompiledFxGraph fp5r5pk7bndv… ##`` -> ``compiled graph fp5r5pk7``; other names as they are.

    The compiler's own phases, of which there are some fifty (``inductor_compile_data: …, compile_id=0/1``), -> ``compilation``.
    """
    if COMPILING in annotation:
        return "compilation"
    if not annotation.startswith(COMPILED):
        return annotation
    return f"compiled graph {annotation.removeprefix(COMPILED).strip()[:8]}"


def class_of(frame: str) -> str:
    """``nn.Module: Linear_3`` -> ``Linear``."""
    name = frame.removeprefix(NN_MODULE)
    stem, _, number = name.rpartition("_")
    return stem if stem and number.isdecimal() else name


LIBRARY = ("gemm", "conv", "attention", "moe")
"""Kinds of kernels that a compiler leaves to the libraries, or replaces by one of the same work."""


def of_library(name: str, op: str) -> bool:
    """Whether a kernel of that name, launched by that op, is a matmul, a convolution or attention."""
    return kernel_names.decode(name).kind in LIBRARY or (bool(op) and kernel_names.decode(op).kind == "conv")


def convolves(name: str, op: str) -> bool:
    """Whether it is a convolution's, the conversions of its layout included."""
    return kernel_names.decode(name).kind in ("conv", "layout") or (
        bool(op) and kernel_names.decode(op).kind == "conv"
    )


@once
def op_costs(timeline: Timeline) -> dict[int, shapes.Cost]:
    """id(device event) -> FLOPs and bytes of the op that launched it, at the longest event of each call of the op.

    Of a fused attention its caller's: one cost for both. What stands beside it (a scale, a mask), and all that the math backend
    runs, is counted as the single ops that it is.
    """
    longest: dict[int, DeviceEvent] = {}
    owners: dict[int, shapes.Cost] = {}
    for event in timeline.events:
        if event.replayed or event.kind != "kernel":
            continue
        op = event.op
        if (
            op is not None
            and op.parent is not None
            and ops.short(op.name) in ops.FUSED_ATTENTION
            and ops.short(op.parent.name) in shapes.ATTENTIONS
        ):
            op = op.parent  # its inputs are told in the order that the formula takes
        cost = shapes.cost(op) if op else None
        if op is None or cost is None:
            continue
        best = longest.get(id(op))
        if best is None or event.dur_us > best.dur_us:
            longest[id(op)], owners[id(op)] = event, cost
    return {id(event): owners[key] for key, event in longest.items()}

"""A run foreseen: a plan on meta tensors, held against a card's data sheet, told as a ``Profile`` of source ``preflight``.

No GPU and no weight is needed. Every time in it is a bound at the card's peak, never a forecast of what will be measured.
"""

from collections.abc import Iterator, Sequence

from penstock.engine.lab.probes.sequence import sync_points
from penstock.engine.measure import preflight
from penstock.engine.measure.counting import OpCount
from penstock.engine.measure.findings import syncs
from penstock.engine.measure.preflight import LAUNCH_US, Part
from penstock.engine.measure.records import (
    DeviceSummary,
    Finding,
    KernelRow,
    Peaks,
    Profile,
    RooflinePoint,
    StageRow,
)
from penstock.engine.measure.seen import Seen
from penstock.engine.workloads.on_meta import Plan

GIB = 2**30
LEAST_LAUNCHES = 20
"""Of a call: with fewer (0.1 ms) launching is no fault. Our choice."""
LEAST_GAIN = 1.2
"""Separate ops against the roof: below, there is hardly anything to fuse. Our choice."""
KINDS = (
    ("attention", "fused attention"),
    ("convolution", "convolution (implicit GEMM)"),
    ("bmm", "batched GEMM"),
    ("addmm", "GEMM, the bias in its epilogue"),
    ("mm", "GEMM"),
    ("linear", "GEMM"),
    ("norm", "reduction: norm"),
    ("softmax", "reduction: softmax"),
    ("mean", "reduction"),
    ("sum", "reduction"),
    ("embedding", "gather"),
    ("index", "gather"),
    ("cat", "copy"),
    ("copy", "copy"),
    ("clone", "copy"),
    ("upsample", "pointwise: upsample"),
)
"""Part of an op's name -> the kernel to expect; anything else is pointwise, which a compiler would fuse with its neighbours."""


def profile(plan: Plan, peaks: Peaks, *, price_nusd_per_s: int | None = None) -> Profile:
    """The plan on that card. ``wall_ms`` is the roofline of one call: no program is faster on it."""
    parts = plan.parts
    weights = preflight.weight_bytes(plan.modules)
    peak = weights + max((part.peak_bytes for part in parts), default=0)
    wall = sum(preflight.roofline_ms(part, peaks) * part.calls for part in parts)
    rows = _children(plan, peaks, wall, price_nusd_per_s) or _stages(parts, peaks, price_nusd_per_s)
    launches = sum(part.ops * part.calls for part in parts)
    eager = sum(preflight.eager_ms(part, peaks) * part.calls for part in parts)
    parameters = sum({id(p): p.numel() for m in plan.modules.values() for p in m.parameters()}.values())
    facts = {
        "parameters": float(parameters),
        "weight_bytes": float(weights),
        "flops": float(sum(part.flops * part.calls for part in parts)),
        "bytes": float(sum(part.bytes * part.calls for part in parts)),
        "least_bytes": float(sum(part.least_bytes * part.calls for part in parts)),
        "roofline_ms": wall,
        "eager_roofline_ms": eager,
        "launches": float(launches),
        "launch_ms": launches * LAUNCH_US / 1e3,
        "peak_memory_bytes": float(peak),
        **{f"{name}_bytes": float(size) for name, size in plan.embedding_bytes.items()},
    }
    if peaks.memory_bytes is not None:
        facts["card_memory_bytes"] = float(peaks.memory_bytes)
    return Profile(
        target=plan.name,
        source="preflight",
        device=DeviceSummary(name=peaks.device, kernels=launches, device_events=launches),
        wall_ms=wall,
        stages=tuple(rows),
        kernels=_kernels(parts, peaks),
        findings=_findings(plan, peaks, peak, weights),
        roofline=tuple(
            RooflinePoint(
                name=part.name,
                flops=float(part.flops * part.calls),
                bytes=float(part.least_bytes * part.calls),
                time_ms=preflight.roofline_ms(part, peaks) * part.calls,
                bound=preflight.bound(part, peaks),
            )
            for part in parts
        ),
        peaks=peaks,
        notes=plan.told,
        warnings=(*plan.notes, *_gaps(parts, peaks)),
        machine={
            "dtype": plan.dtype,
            "steps": str(plan.steps),
            "batch": str(plan.batch),
            "peaks": peaks.source,
        },
        facts=facts,
        cost_nusd=None if price_nusd_per_s is None else round(wall / 1e3 * price_nusd_per_s),
    )


def _stages(parts: Sequence[Part], peaks: Peaks, price_nusd_per_s: int | None) -> list[StageRow]:
    walls = [preflight.roofline_ms(part, peaks) * part.calls for part in parts]
    whole = sum(walls) or 1.0
    rows: list[StageRow] = []
    for part, wall in zip(parts, walls, strict=True):
        rows.append(
            StageRow(
                name=part.name,
                calls=part.calls,
                start_ms=sum(row.wall_ms for row in rows),
                wall_ms=wall,
                share=wall / whole,
                launches=part.ops * part.calls,
                flops=part.flops * part.calls,
                bytes=part.bytes * part.calls,
                cost_nusd=None if price_nusd_per_s is None else round(wall / 1e3 * price_nusd_per_s),
            )
        )
    return rows


def _children(plan: Plan, peaks: Peaks, wall: float, price_nusd_per_s: int | None) -> list[StageRow]:
    """A module's children in place of the module, each with its share of the whole's bound; none for other kinds.

    A child whose ``forward`` is not called is told by its own children; what runs in none of them is the row ``model``.
    """
    if plan.kind != "module" or len(plan.parts) != 1:
        return []
    part = plan.parts[0]
    told = {name: (sums, part.module_calls.get(name, 1)) for name, sums in _named(plan, part)}
    if not told:
        return []
    rest = OpCount(part.ops, part.flops, part.bytes)
    for sums, _calls in told.values():
        rest.count, rest.flops, rest.bytes = (
            rest.count - sums.count,
            rest.flops - sums.flops,
            rest.bytes - sums.bytes,
        )
    if rest.count > 0:
        told[part.name] = rest, 1
    times = {name: preflight.separate_ms(part, sums, peaks) for name, (sums, _calls) in told.items()}
    whole = sum(times.values()) or 1.0
    rows: list[StageRow] = []
    for name, (sums, calls) in told.items():
        took = wall * times[name] / whole
        rows.append(
            StageRow(
                name=name,
                calls=calls,
                start_ms=sum(row.wall_ms for row in rows),
                wall_ms=took,
                share=times[name] / whole,
                launches=sums.count,
                flops=sums.flops,
                bytes=sums.bytes,
                cost_nusd=None if price_nusd_per_s is None else round(took / 1e3 * price_nusd_per_s),
            )
        )
    return rows


def _named(plan: Plan, part: Part) -> Iterator[tuple[str, OpCount]]:
    """The model's children that ran, through lists, by the names that a live run gives them; each once."""
    seen: set[int] = set()
    # a stack, that what is not called itself is told by what is in it
    waiting = [(part.name, module) for module in reversed(plan.modules.values())]
    while waiting:
        label, module = waiting.pop()
        sums = part.by_module.get(label)
        if label != part.name and sums is not None and sums.count:
            if id(module) not in seen:
                seen.add(id(module))
                yield label, sums
            continue
        inner = getattr(module, "_orig_mod", module)
        waiting += [(f"{label}.{name}", child) for name, child in reversed(list(inner.named_children()))]


def _kernels(parts: Sequence[Part], peaks: Peaks) -> tuple[KernelRow, ...]:
    """What to expect, by op and stage; the longest first. A card may need several kernels for an op (a split reduction)."""
    rows = [
        KernelRow(
            name=name,
            count=sums.count * part.calls,
            total_ms=preflight.op_ms(part, name, peaks) * part.calls,
            op=name,
            module=part.name,
            means=expected_kernel(name),
            flops=sums.flops * part.calls,
            bytes=sums.bytes * part.calls,
        )
        for part in parts
        for name, sums in part.by_op.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.total_ms, row.module, row.name)))


def expected_kernel(op: str) -> str:
    """``aten::addmm`` -> what kind of kernel a GPU runs for it."""
    short = op.partition("::")[2]
    return next((means for part, means in KINDS if part in short), "pointwise")


def _findings(plan: Plan, peaks: Peaks, peak: int, weights: int) -> tuple[Finding, ...]:
    parts = plan.parts
    found: list[Finding] = []
    if plan.kind == "module":  # a pipeline's own code reads what its tokenizer and scheduler keep on the host
        points = [point for part in parts for point in sync_points(part.syncs, times=part.calls)]
        found += syncs.find(Seen(device="meta", syncs=tuple(points)))
    card = peaks.memory_bytes
    if card is not None and peak > card:
        found.append(
            Finding(
                id="peak-memory",
                title="It does not fit the card's memory",
                evidence=(
                    f"{peak / GIB:.1f} GiB at the peak ({weights / GIB:.1f} GiB of weights) on a card of {card / GIB:.1f} GiB."
                ),
                bound="It decides what fits, not how long it takes.",
                fix=_smaller(plan),
                proof="The pre-flight's peak is below the card's memory.",
                facts={"peak_memory_bytes": float(peak), "card_memory_bytes": float(card)},
            )
        )
    for part in parts:
        kind = preflight.bound(part, peaks)
        roof, eager = (f(part, peaks) * part.calls for f in (preflight.roofline_ms, preflight.eager_ms))
        launch = part.ops * part.calls * LAUNCH_US / 1e3
        if kind == "overhead":
            if part.ops >= LEAST_LAUNCHES:
                found.append(_launch_bound(plan, part, launch, eager))
        elif eager > LEAST_GAIN * roof:
            found.append(_at_the_roof(plan, part, kind, roof, eager, peaks))
    return tuple(sorted(found, key=lambda one: -(one.saves_ms or 0.0)))


def _smaller(plan: Plan) -> str:
    if plan.kind == "pipeline":
        return "A smaller batch or a narrower dtype; or keep idle parts on the host.\npipe.enable_model_cpu_offload()"
    if plan.dtype == "fp32":
        return "A smaller batch; or half the bytes, with inputs of the same dtype.\nmodel.to(torch.bfloat16)"
    return "A smaller batch, or weights of fewer bits."


def _compiled(plan: Plan, part: Part, *options: str) -> str:
    """The code that compiles what a stage runs: the autoencoder's ``decode``, which is what a pipeline calls."""
    given = ", ".join(options)
    if plan.kind != "pipeline":
        return f"model.compile({given})"
    held = [name for name in plan.modules if name == part.name]
    if part.name == "encode_prompt":
        held = [name for name in plan.modules if name.startswith("text_encoder")]
    lines: list[str] = []
    for name in held or [part.name]:
        if hasattr(plan.modules.get(name), "decode"):
            method = f"pipe.{name}.decode"
            lines.append(f"{method} = torch.compile({', '.join((method, *options))})")
        else:
            lines.append(f"pipe.{name}.compile({given})")
    return "\n".join(lines)


def _launch_bound(plan: Plan, part: Part, launch: float, eager: float) -> Finding:
    return Finding(
        id="launch-bound",
        title=f"{part.name}: launching will take longer than the work",
        evidence=(
            f"{part.ops * part.calls} ops, at {LAUNCH_US:g} us a launch {launch:.2f} ms; their work at the card's peak is {eager:.2f} ms."
        ),
        saves_ms=launch - eager,
        bound=f"{LAUNCH_US:g} us a launch, less the work at the card's peak that would hide it.",
        fix="Launch less: a larger batch, or graphs.\n"
        + _compiled(plan, part, 'mode="reduce-overhead"', "dynamic=False"),
        proof="Fewer launches in the stage; one graph launch instead of many.",
        facts={"launches": float(part.ops * part.calls), "launch_ms": launch, "eager_roofline_ms": eager},
        where=part.name,
    )


def _at_the_roof(plan: Plan, part: Part, kind: str, roof: float, eager: float, peaks: Peaks) -> Finding:
    intensity = part.flops / part.least_bytes if part.least_bytes else 0.0
    return Finding(
        id=f"{kind}-bound",
        title=f"{part.name}: {'the arithmetic' if kind == 'compute' else 'the memory'} will set the time",
        evidence=(
            f"{part.flops * part.calls / 1e12:.3f} TFLOP and {part.least_bytes * part.calls / 1e9:.2f} GB at least, "
            f"{intensity:.0f} FLOP per byte: {roof:.2f} ms at best on {peaks.device}; as separate ops {eager:.2f} ms."
        ),
        saves_ms=eager - roof,
        bound="Each op's own roof summed up, less the roof of the whole with every byte moved once.",
        fix=f"Fuse what is pointwise.\n{_compiled(plan, part)}",
        proof="Fewer kernels, and fewer bytes moved.",
        facts={"roofline_ms": roof, "eager_roofline_ms": eager, "flops_per_byte": intensity},
        where=part.name,
    )


def _gaps(parts: Sequence[Part], peaks: Peaks) -> tuple[str, ...]:
    """What the figures do not hold."""
    missing = sorted({name for part in parts for name in part.uncounted})
    said = [f"no FLOP formula for {', '.join(missing)}: the FLOPs are too low"] if missing else []
    absent = sorted({d for part in parts for d in part.flops_by_dtype if d not in peaks.flops_per_s})
    if absent:
        said.append(f"{peaks.device} has no units for {', '.join(absent)}: counted as a wider type")
    return tuple(said)

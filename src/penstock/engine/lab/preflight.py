"""A run foreseen: a plan on meta tensors, held against a card's data sheet, told as a ``Profile`` of source ``preflight``.

No GPU and no weight is needed. Every time in it is a bound at the card's peak, never a forecast of what will be measured.
"""

from collections.abc import Sequence

from penstock.engine.measure import preflight
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
from penstock.engine.workloads.on_meta import Plan

GIB = 2**30
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
    rows = _stages(parts, peaks, price_nusd_per_s)
    wall = sum(row.wall_ms for row in rows)
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
        findings=_findings(parts, peaks, peak, weights),
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


def _findings(parts: Sequence[Part], peaks: Peaks, peak: int, weights: int) -> tuple[Finding, ...]:
    found: list[Finding] = []
    card = peaks.memory_bytes
    if card is not None and peak > card:
        found.append(
            Finding(
                id="peak-memory",
                title="It does not fit the card's memory",
                evidence=(
                    f"{peak / GIB:.1f} GiB at the peak ({weights / GIB:.1f} GiB of weights) on a card of {card / GIB:.1f} GiB."
                ),
                fix="Take a smaller batch or a narrower dtype, or keep idle parts on the host: pipe.enable_model_cpu_offload()",
                proof="The pre-flight's peak is below the card's memory.",
                facts={"peak_memory_bytes": float(peak), "card_memory_bytes": float(card)},
            )
        )
    for part in parts:
        kind = preflight.bound(part, peaks)
        roof, eager = (f(part, peaks) * part.calls for f in (preflight.roofline_ms, preflight.eager_ms))
        launch = part.ops * part.calls * LAUNCH_US / 1e3
        if kind == "overhead":
            found.append(_launch_bound(part, launch, eager))
        else:
            found.append(_at_the_roof(part, kind, roof, eager, peaks))
    return tuple(sorted(found, key=lambda one: -(one.saves_ms or 0.0)))


def _launch_bound(part: Part, launch: float, eager: float) -> Finding:
    return Finding(
        id="launch-bound",
        title=f"{part.name}: launching will take longer than the work",
        evidence=(
            f"{part.ops * part.calls} ops, at {LAUNCH_US:g} us a launch {launch:.2f} ms; their work at the card's peak is {eager:.2f} ms."
        ),
        saves_ms=launch - eager,
        fix="Launch less: a larger batch, or graphs.\nmodule.compile(mode='reduce-overhead', dynamic=False)",
        proof="Fewer launches in the stage; one graph launch instead of many.",
        facts={"launches": float(part.ops * part.calls), "launch_ms": launch, "eager_roofline_ms": eager},
        where=part.name,
    )


def _at_the_roof(part: Part, kind: str, roof: float, eager: float, peaks: Peaks) -> Finding:
    intensity = part.flops / part.least_bytes if part.least_bytes else 0.0
    return Finding(
        id=f"{kind}-bound",
        title=f"{part.name}: {'the arithmetic' if kind == 'compute' else 'the memory'} will set the time",
        evidence=(
            f"{part.flops * part.calls / 1e12:.3f} TFLOP and {part.least_bytes * part.calls / 1e9:.2f} GB at least, "
            f"{intensity:.0f} FLOP per byte: {roof:.2f} ms at best on {peaks.device}; as separate ops {eager:.2f} ms."
        ),
        saves_ms=eager - roof,
        fix="Fuse what is pointwise: module.compile()"
        if eager > 1.2 * roof
        else "Nothing to fuse: a narrower dtype, or less work.",
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

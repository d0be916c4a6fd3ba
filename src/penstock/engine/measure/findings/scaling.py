"""What a call costs beside its arithmetic: overhead that a larger batch shares, and a first call that is slower than the rest."""

from penstock.engine.measure.records import Finding, Timing
from penstock.engine.measure.seen import Scaling, Seen

SUBLINEAR = 2.0
"""Batch 8 in less than this many times batch 1's time: overhead decides (torch.md, 1.2)."""
AT_BATCH = 8
COLD_TIMES = 2.0
COLD_SHARE = 0.1
"""Of a warm run: a first call that loses less is not told. Our choice."""


def find(seen: Seen) -> list[Finding]:
    """All of this family."""
    return [*(batched(seen.scaling) if seen.scaling is not None else []), *_cold(seen)]


def batched(scaling: Scaling) -> list[Finding]:
    """``batch-scaling``: the largest batch of up to 8 against batch 1. Empty where time grows as work does."""
    sizes = sorted(size for size in scaling.timings if 1 < size <= AT_BATCH)
    if 1 not in scaling.timings or not sizes:
        return []
    most = sizes[-1]
    one, many = scaling.timings[1].median_ms, scaling.timings[most].median_ms
    limit = 1 + (SUBLINEAR - 1) * (most - 1) / (AT_BATCH - 1)  # the same slope, for a smaller largest batch
    if one <= 0 or many >= limit * one:
        return []
    fixed = min(one, max(0.0, (most * one - many) / (most - 1)))
    return [
        Finding(
            id="batch-scaling",
            title=f"Batch {most} takes {many / one:.2f} times batch 1's time: overhead decides",
            evidence=(
                f"Batch 1 {one:.3f} ms, batch {most} {many:.3f} ms: {fixed:.3f} ms of a call do not depend on the batch "
                f"({fixed / one:.0%} of batch 1), {(many - fixed) / most:.3f} ms an item do; an item of batch {most} costs "
                f"{many / most / one:.0%} of one alone."
            ),
            saves_ms=fixed,
            fix="Take requests together; on a GPU, a graph replay takes the overhead off a single one "
            f'(torch.compile(..., mode="reduce-overhead")).\n{scaling.call}',
            proof=f"One call of batch {most} in place of {most}; time an item.",
            facts={
                "batch": float(most),
                "batch_1_ms": one,
                f"batch_{most}_ms": many,
                "ratio": many / one,
                "fixed_ms": fixed,
            },
        )
    ]


def _cold(seen: Seen) -> list[Finding]:
    found: list[Finding] = []
    for stage, timing in seen.stages.items():
        lost = cold_ms(timing)
        if lost is None or (seen.wall_ms is not None and lost < COLD_SHARE * seen.wall_ms):
            continue
        first = timing.first_ms or 0.0
        found.append(
            Finding(
                id="cold-first-call",
                title=f"The first call of {stage} takes {first / timing.median_ms:.1f} times the next ones'",
                evidence=(
                    f"{stage}: first call {first:.3f} ms, then {timing.median_ms:.3f} ms; {lost:.3f} ms once a process, paid by "
                    "the first request."
                ),
                fix=f"Call it before the process says that it is ready.\n{seen.warm_ups.get(stage) or _warm(seen)}",
                proof=f"The first request's {stage} takes what the second's does.",
                facts={"first_ms": first, "median_ms": timing.median_ms, "saves_first_ms": lost},
                where=stage,
            )
        )
    return found


def cold_ms(timing: Timing) -> float | None:
    """What the first call took more than the median, where it is at least twice it; else None."""
    if timing.first_ms is None or timing.median_ms <= 0 or timing.first_ms < COLD_TIMES * timing.median_ms:
        return None
    return timing.first_ms - timing.median_ms


def _warm(seen: Seen) -> str:
    codes = {
        "pipeline": 'pipe("warm up", num_inference_steps=1)',
        "generator": 'model.generate(**tokenizer("warm up", return_tensors="pt"), max_new_tokens=2)',
    }
    return codes.get(seen.kind, "model(*inputs)")

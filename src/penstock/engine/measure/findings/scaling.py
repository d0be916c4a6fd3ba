"""What a call costs beside its arithmetic: overhead that a larger batch shares, and a first call that is slower than the rest."""

from penstock.engine.measure.records import Finding, Timing
from penstock.engine.measure.seen import Scaling, Seen

SUBLINEAR = 2.0
"""Eight times the batch in less than this many times the time: what the batch shares decides (torch.md, 1.2)."""
AT_TIMES = 8
COLD_TIMES = 2.0
COLD_SHARE = 0.1
"""Of a warm run: a first call that loses less is not told. Our choice."""


def find(seen: Seen) -> list[Finding]:
    """All of this family."""
    return [*(batched(seen.scaling) if seen.scaling is not None else []), *_cold(seen)]


def batched(scaling: Scaling) -> list[Finding]:
    """``batch-scaling``: the run's own batch against up to 8 times as much. Empty where time grows as work does, or the spread of
    the two timings leaves it open.
    """
    own = scaling.batch
    sizes = sorted(size for size in scaling.timings if own < size <= AT_TIMES * own)
    if own not in scaling.timings or not sizes:
        return []
    most, times = sizes[-1], sizes[-1] / own
    base, larger = scaling.timings[own], scaling.timings[most]
    one, many = base.median_ms, larger.median_ms
    limit = 1 + (SUBLINEAR - 1) * (times - 1) / (AT_TIMES - 1)  # the same slope, for a smaller largest batch
    if one <= 0 or larger.high_ms >= limit * base.low_ms:
        return []
    fixed = min(one, max(0.0, (times * one - many) / (times - 1)))
    saved = one - many / times
    return [
        Finding(
            id="batch-scaling",
            title=f"Batch {most} takes {many / one:.2f} times as long as batch {own}",
            evidence=(
                f"Batch {own} {one:.3f} ms, batch {most} {many:.3f} ms: {fixed:.3f} ms of a call do not depend on the batch "
                f"({fixed / one:.0%} of a call with batch {own}: launches, Python, or work that the inputs have no part in). A sample "
                f"costs {one / own:.4g} ms with batch {own}, {many / most:.4g} ms with batch {most}: the {own} of this run, as a part "
                f"of {most}, {saved:.3f} ms less."
            ),
            saves_ms=saved,
            bound="Both sizes timed in turn: what this batch costs alone, less what it costs as a part of the larger one.",
            fix="Take requests together; where it is launches, a graph replay takes them off a single one on a GPU "
            f'(torch.compile(..., mode="reduce-overhead")).\n{scaling.call}',
            proof=f"Calls of batch {most} in place of {own}; time a sample.",
            facts={
                "batch": float(own),
                "larger_batch": float(most),
                "batch_ms": one,
                "larger_batch_ms": many,
                "ratio": many / one,
                "fixed_ms": fixed,
                "sample_ms": one / own,
                "larger_sample_ms": many / most,
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
                saves_ms=lost,
                once=True,
                bound="The first call less the next ones' time, in the process's first run alone.",
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

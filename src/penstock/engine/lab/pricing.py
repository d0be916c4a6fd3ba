"""What a run costs on a device of a price per hour: the whole, and each stage's part of it.

Theory: a run pays for the time that it holds the device, busy or idle. The figure that counts is the time taken without a
profiler (``Profile.timing``); the capture, which is slower, says only how it is spread. So a stage's cost is its share of
the run's.

Rules
- Money is integers. Stages that are not nested and the residual sum to the run's cost to the nano-dollar: each gets the step
  of the rounded running sum.
"""

from msgspec.structs import replace

from penstock.base.money import Price, div_half_even, line_cost_nusd
from penstock.engine.measure.records import Profile, StageRow

_US_PER_HOUR = 3_600_000_000
_SHARE_PARTS = 10**9


def run_cost_nusd(wall_ms: float, per_hour: Price) -> int:
    """Nano-dollars for ``wall_ms`` on one device; ``per_hour`` is dollars for one hour."""
    return line_cost_nusd(
        round(wall_ms * 1000), Price(pico_usd=per_hour.pico_usd, per=per_hour.per * _US_PER_HOUR)
    )


def priced(profile: Profile, per_hour: Price) -> Profile:
    """The profile with the cost of the run and of each stage; as it was where its wall time is not known."""
    basis_ms = profile.timing.median_ms if profile.timing is not None else profile.wall_ms
    if basis_ms is None:
        return profile
    whole = run_cost_nusd(basis_ms, per_hour)
    parts = sum(round(row.share * _SHARE_PARTS) for row in profile.stages if not row.parent)
    # Rounded shares of the whole run are the whole, whatever they sum to; rows that cover a part of it stay a part.
    every = parts if abs(parts - _SHARE_PARTS) < _SHARE_PARTS // 1000 else _SHARE_PARTS
    running = given = 0
    rows: list[StageRow] = []
    for row in profile.stages:
        part = round(row.share * _SHARE_PARTS)
        if row.parent:
            cost = div_half_even(whole * part, _SHARE_PARTS)
        else:
            running += part
            upto = div_half_even(whole * running, every)
            cost, given = upto - given, upto
        rows.append(replace(row, cost_nusd=cost))
    return replace(profile, stages=tuple(rows), cost_nusd=whole)

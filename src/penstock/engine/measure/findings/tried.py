"""What a cure saves, where it was timed against the fault; and where it was not, that no figure can be given, and why."""

from penstock.engine.measure.seen import Tried

NOT_TIMED = "What it would save is not known before it is timed both ways: --deep does."


def saving(tried: Tried | None, cured: str, wall_ms: float | None) -> tuple[float | None, str]:
    """Milliseconds of one run, None where there is no figure; and the sentence that says where it comes from.

    Args:
        tried: None where nobody asked for it.
        cured: in words that follow a time: ``channels-last``, ``with decode compiled``.
        wall_ms: of one run: no more can be saved.
    """
    if tried is None:
        return None, NOT_TIMED
    saves_ms = tried.saves_ms
    times = f", {tried.times} times a run" if tried.times > 1 else ""
    told = f"Timed in turn: {tried.before.median_ms:.3g} ms as it is, {tried.after.median_ms:.3g} ms {cured}{times}"
    if saves_ms is None:
        return None, f"{told}: no gain beyond the noise, so that no figure is given."
    return saves_ms if wall_ms is None else min(saves_ms, wall_ms), f"{told}."

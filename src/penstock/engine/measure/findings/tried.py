"""What a cure saves: as it was timed against the fault, else what the capture leaves room for; and where neither is known, why."""

from msgspec import Struct

from penstock.engine.measure.seen import Seen, Spent, Tried

NOT_TIMED = "What it would save is not known before it is timed both ways: --deep does."
NO_GAIN = "Timed in turn, fault against cure: no difference beyond the noise."
IN_TURN = "Timed in turn, fault against cure."
FUSED = (
    "The part's time outside of matmuls, convolutions and attention: a compiler fuses and launches the rest, and leaves those to "
    "the libraries."
)


class Saving(Struct, frozen=True):
    """What a finding says of it: the fields of its name, and a sentence for the evidence."""

    saves_ms: float | None
    bound: str
    told: str


def saving(tried: Tried | None, cured: str, wall_ms: float | None, *, most: Saving | None = None) -> Saving:
    """Milliseconds of one run, None where there is no figure; and where it comes from.

    Args:
        tried: None where nobody asked for it.
        cured: in words that follow a time: ``channels-last``, ``with decode compiled``.
        wall_ms: of one run: no more can be saved.
        most: what is said without ``tried``; None where nothing is known.
    """
    if tried is None:
        return most or Saving(None, NOT_TIMED, NOT_TIMED)
    saves_ms = tried.saves_ms
    times = f", {tried.times} times a run" if tried.times > 1 else ""
    told = f"Timed in turn: {tried.before.median_ms:.3g} ms as it is, {tried.after.median_ms:.3g} ms {cured}{times}"
    if saves_ms is None:
        return Saving(None, NO_GAIN, f"{told}: no gain beyond the noise, so that no figure is given.")
    return Saving(saves_ms if wall_ms is None else min(saves_ms, wall_ms), IN_TURN, f"{told}.")


def fused(seen: Seen, path: str) -> Saving | None:
    """What compiling it can save at most, by the capture; None where it was not captured."""
    spent = spent_in(seen, path)
    if spent is None:
        return None
    return Saving(
        spent.between_ms,
        FUSED,
        f"{spent.library_ms:.3g} of its {spent.wall_ms:.3g} ms are matmuls, convolutions and attention; compiling can save the rest "
        "at most (--deep times it).",
    )


def spent_in(seen: Seen, path: str) -> Spent | None:
    """Of the part at that path, else of the nearest one around it: what a part spends bounds what is in it."""
    while path:
        if path in seen.spent:
            return seen.spent[path]
        path = path.removesuffix("]").rpartition("[" if path.endswith("]") else ".")[0]
    return seen.spent.get("")

"""Where the time of a run's parts goes, by the capture: what bounds a cure that was not tried.

Theory: a capture's kernels are attributed to modules by dotted name (``unet.down_blocks.0``); what a part spends in libraries is
the sum over its own and its descendants'. The capture is slower than the run that counts, mostly between the kernels. So the
libraries' time, which is taken away from a part's, is scaled down to the timed run; what bounds a saving itself (convolutions,
pointwise ops) is not.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from penstock.engine.measure.attribution import convolves, of_library
from penstock.engine.measure.records import KernelRow, Profile
from penstock.engine.measure.seen import Part, Seen, Spent

ROOT = "model"
"""Path of a part that is the whole workload."""


def with_spent(seen: Seen, captured: Profile) -> Seen:
    """The evidence with ``spent``: of the whole run, of each part and of what is compiled in it."""
    run_ms = captured.timing.median_ms if captured.timing is not None else captured.wall_ms
    if not run_ms or not captured.wall_ms or not captured.kernels:
        return seen
    scale = min(1.0, run_ms / captured.wall_ms)
    told = {"": _spent(captured.kernels, run_ms, scale)}
    for part in seen.parts:
        for path in dict.fromkeys((part.path, *(place.path for place in part.compiled))):
            wall_ms = _wall_ms(captured, part, path, run_ms)
            if wall_ms is not None:
                rows = [row for row in captured.kernels if _inside(row.module, dotted(path))]
                told[path] = told[""] if path == ROOT else _spent(rows, min(wall_ms, run_ms), scale)
    return replace(seen, spent=told)


def dotted(path: str) -> str:
    """``pipe.unet.blocks[0]`` -> ``unet.blocks.0``, as ranges have it."""
    return path.removeprefix("pipe.").replace("[", ".").replace("]", "")


def _inside(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def _wall_ms(captured: Profile, part: Part, path: str, run_ms: float) -> float | None:
    """How long it takes in a run: as the probe saw it, without a profiler, else its share of the captured run."""
    if path == ROOT:
        return run_ms
    if path == part.path and part.wall_ms:
        return part.wall_ms
    shares = [row.share for row in captured.stages if row.name == dotted(path)]
    return sum(shares) * run_ms if shares else None


def _spent(rows: Sequence[KernelRow], wall_ms: float, scale: float) -> Spent:
    library = sum(row.total_ms for row in rows if of_library(row.name, row.op))
    convs = sum(row.total_ms for row in rows if convolves(row.name, row.op))
    return Spent(
        wall_ms=wall_ms,
        library_ms=min(wall_ms, library * scale),
        others_ms=sum(row.total_ms for row in rows) - library,
        convs_ms=min(wall_ms, convs),
    )

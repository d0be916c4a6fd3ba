"""What Dynamo did: graphs, breaks with the user's line, recompilations with the guard. Read from what it keeps; nothing is run."""

import linecache
import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct
from torch import _dynamo
from torch._dynamo import utils as dynamo

from penstock.engine.lab.probes.parts import Place, inside_of
from penstock.engine.measure.seen import Compilation, GraphBreak, Recompile


class CannotTry(RuntimeError):
    """A trial trace would throw away what the user has compiled."""


_RESUME = re.compile(r"torch_dynamo_resume_in_(?P<name>\w+)_at_(?P<line>\d+)")
_AGAIN = re.compile(r"/[1-9]\d*$")


class Mark(Struct, frozen=True):
    """A moment in what Dynamo has kept."""

    breaks: int
    time_us: int


def mark() -> Mark:
    """Now."""
    return Mark(breaks=len(_kept()), time_us=time.time_ns() // 1000)


def history(
    places: Mapping[str, list[Place]], since: Mark, run: tuple[Mark, Mark] | None = None
) -> Compilation:
    """What Dynamo did for this workload: since the process began where something in it is compiled (it may have been warmed long
    ago; PyTorch keeps the last 64 compilations), else since ``since``, for functions compiled elsewhere that it calls. ``run``: from
    when to when it ran as it does every time, not for the first time."""
    known = [place for found in places.values() for place in found]
    only = known[0] if len(known) == 1 else None
    first = 0 if known or len(_kept()) < since.breaks else since.breaks  # fewer: Dynamo was reset in between
    return Compilation(
        graphs=int(dynamo.counters["stats"]["unique_graphs"]),
        breaks=_breaks(_kept()[first:], only.path if only else ""),
        recompiles=_recompiles(known, 0 if known else since.time_us, run),
    )


def _kept() -> list[Any]:
    """Every fallback so far, with the user's stack."""
    theirs: Any = dynamo
    return list(theirs.graph_break_reasons)


def _breaks(reasons: list[Any], path: str) -> tuple[GraphBreak, ...]:
    counted: dict[tuple[str, str], int] = {}
    first: dict[tuple[str, str], Any] = {}
    for reason in reasons:
        if not reason.graph_break or not reason.user_stack:
            continue
        frame = reason.user_stack[-1]
        key = (f"{frame.filename}:{frame.lineno}", reason.reason.split("\n")[0])
        counted[key] = counted.get(key, 0) + 1
        first[key] = frame
    found: list[GraphBreak] = []
    for (_, said), count in counted.items():
        frame = first[_, said]
        line = linecache.getline(frame.filename, frame.lineno).strip()
        found.append(
            GraphBreak(
                reason=_plain(said),
                where=f"{near(frame.filename)}:{frame.lineno}",
                line=line,
                count=count,
                kind=_kind(said),
                path=path,
            )
        )
    return tuple(found)


def _kind(reason: str) -> str:
    if "generic_jump" in reason or "Data-dependent branching" in reason:
        return "branch"
    return "item" if "Tensor.item()" in reason or "_local_scalar_dense" in reason else ""


def _plain(reason: str) -> str:
    if "generic_jump" in reason:
        return "Data-dependent branching: the condition is a tensor's value"
    return reason


def _recompiles(known: list[Place], since_us: int, run: tuple[Mark, Mark] | None) -> tuple[Recompile, ...]:
    found: dict[str, Recompile] = {}
    by_code = {place.record().function: place for place in known}
    for event in dynamo.get_compilation_metrics():
        if (event.start_time_us or 0) < since_us:
            continue
        if not event.recompile_reason or not _AGAIN.search(event.compile_id or ""):
            continue
        where = f"{event.co_filename}:{event.co_firstlineno}"
        place = by_code.get(where) or (known[0] if len(known) == 1 else None)
        before = found.get(where)
        spent = event.entire_frame_compile_time_s or 0.0
        in_run = run is not None and run[0].time_us <= (event.start_time_us or 0) <= run[1].time_us
        found[where] = Recompile(
            function=_function(str(event.co_name)),
            where=f"{near(str(event.co_filename))}:{event.co_firstlineno}",
            guard=_guard(str(event.recompile_reason)),
            count=(before.count if before else 0) + 1,
            compile_s=(before.compile_s if before else 0.0) + spent,
            run_s=(before.run_s if before else 0.0) + (spent if in_run else 0.0),
            path=place.path if place else "",
            kind=place.kind if place else "",
        )
    return tuple(found.values())


def _function(name: str) -> str:
    resumed = _RESUME.fullmatch(name)
    return f"{resumed['name']} (from line {resumed['line']} on)" if resumed else name


def _guard(reason: str) -> str:
    """The first guard's sentence, without the ids of the graphs and the source that PyTorch quotes behind it."""
    line = reason.strip().split("\n")[0]
    line = re.sub(r"^\d+/\d+: ", "", line)
    return re.sub(r"\s+#.*$", "", line).strip()


def near(filename: str) -> str:
    """Relative to where we are, where it is below it; else the last two parts."""
    path = Path(filename)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else "/".join(path.parts[-2:])


def tried(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], path: str) -> Compilation:
    """What would break if ``module`` were compiled: traced by Dynamo, not built. CannotTry where the process has compiled
    anything, because the trace begins by forgetting it."""
    if dynamo.get_compilation_metrics() or dynamo.counters["stats"]["unique_graphs"]:
        raise CannotTry("something is compiled in this process already, and a trial trace would discard it")
    inner = inside_of(module)

    def call(*given: Any, **named: Any) -> Any:  # handed a module, the trace would leave a mark on it
        return inner(*given, **named)

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the trace's own, about what it cannot follow: that is the finding
        told = _dynamo.explain(call)(*args, **kwargs)
        _dynamo.reset()
        dynamo.clear_compilation_metrics()
        dynamo.counters.clear()
    return Compilation(graphs=told.graph_count, breaks=_breaks(list(told.break_reasons), path), tried=True)

"""One short profile of a call, written as Kineto JSON for our own parser.

PyTorch's profiler is one per process; a second session at a time is refused. ``key_averages`` is never asked for: it takes seconds
where writing the file takes a tenth of one.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from penstock.base.errors import BadRequest
from penstock.engine.measure import inside, marks, ranges
from penstock.engine.measure.ports import watch

SUFFIXES = (".json", ".json.gz")
UNDER_WAY = "profile-under-way"
"""The code of the error when a second session is asked for."""
_one_at_a_time = threading.Lock()
_profiler: Any = torch.profiler


def capture(
    call: Callable[[], Any],
    *,
    path: Path,
    points: Sequence[ranges.Point] = (),
    modules: Mapping[str, torch.nn.Module] | None = None,
    device: str = "cpu",
    label: str = "call",
    warmup: int = 1,
    shapes: bool = False,
    memory: bool = False,
    stacks: bool = False,
    all_threads: bool = True,
) -> Path:
    """Profile one call; the file it is in.

    Args:
        call: what to profile, once.
        path: where to write, ``.json`` or ``.json.gz``. An existing file is replaced.
        points: methods that are stages, see ``ranges.staged``.
        modules: parts by name, see ``ranges.staged``.
        device: where its work runs.
        label: name of the run's own range.
        warmup: calls made under the profiler before the one that is kept: the first starts its machinery (milliseconds).
        shapes: record the shapes of operands (costs three times the overhead).
        memory: record allocations.
        stacks: record Python's stack (costs five times the overhead): source lines of syncs.
        all_threads: record the ops of every thread, see ``session``. By default: a process that runs one call has no others.

    Raises:
        BadRequest: a session is under way in this process, or the path's suffix is none of these.
    """
    with session(
        path,
        points=points,
        modules=modules,
        device=device,
        shapes=shapes,
        memory=memory,
        stacks=stacks,
        all_threads=all_threads,
    ) as taken:
        for _ in range(warmup):
            call()
        taken.begin(label)
        call()
        taken.end()
    return path


class Session:
    """A profile under way. What lies between ``begin`` and ``end`` is kept; by default all of it."""

    def __init__(self, profiler: Any, device: str) -> None:
        self._profiler = profiler
        self._watch = watch(device)
        self._range: Any = None
        self.begun = False
        self.written = False
        """Whether the file is there: only after the block."""

    def begin(self, label: str) -> None:
        """The run begins: what was recorded until now is not the run's."""
        self.begun = True
        self._watch.wait()
        self._profiler.step()  # from warm-up to recording
        self._range = torch.profiler.record_function(marks.RUN + label)
        self._range.__enter__()

    def end(self) -> None:
        """The run is over, its device work done; a second call does nothing."""
        if self._range is None:
            return
        try:
            self._watch.wait()  # raises where the device has failed
        finally:
            self._range.__exit__(None, None, None)
            self._range = None


@contextlib.contextmanager
def session(
    path: Path,
    *,
    points: Sequence[ranges.Point] = (),
    modules: Mapping[str, torch.nn.Module] | None = None,
    device: str = "cpu",
    shapes: bool = False,
    memory: bool = False,
    stacks: bool = False,
    all_threads: bool = False,
) -> Generator[Session]:
    """As ``capture``, around code that is not one callable: between ``begin`` and ``end`` of what it yields.

    ``all_threads`` records what every thread runs, not only this one. No other may run PyTorch when the session ends:
    PyTorch 2.13 takes its recorder away from under such a thread, and the process dies (a segmentation fault, seen on CPU with
    eight threads). A server has such threads, so it is off unless asked for.

    The file is written when the block is left, also by an exception (a call that failed is worth looking at), but not where
    nothing was begun.
    """
    if not path.name.endswith(SUFFIXES):
        raise BadRequest(
            f"{path} is no name for a trace.", param="capture", hint="End it in .json or .json.gz."
        )
    if not _one_at_a_time.acquire(blocking=False):
        raise BadRequest(
            "another profile is under way in this process: PyTorch's profiler takes one at a time.",
            code=UNDER_WAY,
            param="profile",
            hint="Wait for it to end, or do not nest profiled blocks.",
        )
    try:
        _refuse_foreign()
        with ranges.staged(points, modules=modules):
            profiler = _profiler.profile(
                activities=activities(device),
                schedule=_profiler.schedule(wait=0, warmup=1, active=1, repeat=1),
                record_shapes=shapes,
                profile_memory=memory,
                with_stack=stacks,
                acc_events=True,
                # allocations are told only of the thread that profiles (2.13)
                experimental_config=inside.all_threads() if all_threads and not memory else None,
            )
            profiler.start()
            taken = Session(profiler, device)
            try:
                yield taken
            finally:
                try:
                    taken.end()
                finally:
                    profiler.stop()  # whatever happened: it would run on, and refuse every other
                if taken.begun:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    profiler.export_chrome_trace(str(path))
                    taken.written = True
    finally:
        _one_at_a_time.release()


def activities(device: str) -> list[ProfilerActivity]:
    """What to record: the host, and the accelerator where the work runs on one (ROCm calls itself CUDA here)."""
    kinds = {"cuda": ProfilerActivity.CUDA, "xpu": ProfilerActivity.XPU}
    own = kinds.get(torch.device(device).type)
    return [ProfilerActivity.CPU, own] if own else [ProfilerActivity.CPU]


def under_way() -> bool:
    """Whether a session of ours is recording in this process."""
    return _one_at_a_time.locked()


def _refuse_foreign() -> None:
    """Somebody else's profiler (the user's own) would be torn down by ours."""
    if inside.profiler_runs():
        raise BadRequest(
            "a PyTorch profiler is already running in this process: it takes one at a time.",
            code=UNDER_WAY,
            param="profile",
            hint="Stop it first, or read the trace that it writes: penstock profile trace.json.",
        )

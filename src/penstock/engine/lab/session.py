"""``penstock.engine.profile``: the user's own block or function, profiled where it stands.

    with penstock.engine.profile("render", stages={"text": (pipe, "encode_prompt"), "unet": (pipe.unet, "forward")}) as p:
        pipe("a red lamp")
    print(p.stages, p.findings)

What it times is slowed by the profiler; shares, kernels and findings are what it is for. ``penstock profile`` times without one.
"""

import contextlib
import functools
import inspect
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import torch
from msgspec.structs import replace

from penstock.base.errors import BadRequest, PenstockError
from penstock.base.money import price_from_usd_text
from penstock.engine.lab import from_trace, pricing
from penstock.engine.measure import (
    capture,
    datasheets,
    hardware,
    marks,
    memory,
    timeline,
    trace,
)
from penstock.engine.measure.records import DeviceSummary, Finding, KernelRow, Peaks, Profile, StageRow
from penstock.engine.measure.timeline import Timeline
from penstock.engine.workloads.failures import said
from penstock.engine.workloads.workload import StagePoint

_log = logging.getLogger("penstock.engine")
Function = TypeVar("Function", bound=Callable[..., Any])
Stages = Mapping[str, Any] | Sequence[Any]
Modules = Mapping[str, Any] | torch.nn.Module


NOTHING = BadRequest(
    "nothing has been profiled yet.", param="profile", hint="Read it after the block, or after a call."
)


class profile:  # noqa: N801 - used as ``with profile(...)`` and ``@profile(...)``
    """Profile a block, or each call of a function.

    Args:
        label: what to call the run.
        stages: its parts: ``{"unet": (pipe.unet, "forward")}``, or a list of ``(owner, method, stage)``. One stage may have
            several methods: ``{"vae": [(pipe.vae, "encode"), (pipe.vae, "decode")]}``. The methods are wrapped on the live
            objects and put back; no source changes. Without stages, ``modules`` and the block's own ``record_function`` ranges
            are the parts; what no stage covers is the row ``unattributed``.
        modules: ``nn.Module`` parts by name, or one module: kernels are attributed to their descendants by dotted name.
            Other things in the dict are left out: ``pipe.components`` will do.
        device: where the work runs; by default where the modules' weights are.
        shapes: record operands' shapes (FLOPs and bytes per kernel; three times the overhead).
        stacks: record Python's stack (source lines of syncs; five times the overhead).
        memory: record allocations: ``profile.facts["peak_memory_bytes"]``. The ops of other threads are then not recorded.
        all_threads: record the ops of every thread, not only this one's. Only where no other thread runs PyTorch when the block
            ends: the process would die (see ``capture.session``).
        path: keep the trace there (``.json`` or ``.json.gz``).
        trace_id: of the gateway's request that this serves (``x-penstock-trace``), to join the two.
        usd_per_hour: the device's price in decimal dollars for one hour (``"2.49"``); run and stages get their cost.
        peaks: what the device can do, for the findings' bounds; by default its data sheet's, where there is one.
        every: as a decorator: profile the first of every so many calls; the others run bare.

    After the block: ``stages``, ``kernels``, ``findings``, ``timeline``, ``device``, and all of it as ``profile``.

    Raises:
        BadRequest: ``path`` cannot be written; and where a block is entered: another profile is under way in this process, or
            a stage names what cannot be wrapped. A decorated function then runs bare instead.

    Once the block has begun, or the function been called, profiling fails nobody: what went wrong with it is the only thing that
    ``profile`` then holds, in its ``warnings``, and is logged.
    """

    def __init__(
        self,
        label: str = "run",
        *,
        stages: Stages = (),
        modules: Modules | None = None,
        device: str | None = None,
        shapes: bool = False,
        stacks: bool = False,
        memory: bool = False,
        all_threads: bool = False,
        path: str | Path | None = None,
        trace_id: str = "",
        usd_per_hour: str | None = None,
        peaks: Peaks | None = None,
        every: int = 1,
    ) -> None:
        if not isinstance(label, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's mistake: @profile without ()
            raise BadRequest(
                'profile() takes a label first: write @penstock.engine.profile("name"), with its brackets.',
                param="label",
            )
        if every < 1:
            raise BadRequest(f"every={every}: a call is profiled once in 1, 2, 3 … calls.", param="every")
        self.label = label
        self._points = points_of(stages)
        self._modules = modules_of(modules)
        self._device = device
        self._records = {"shapes": shapes, "stacks": stacks, "memory": memory, "all_threads": all_threads}
        self._path = None if path is None else writable(Path(path))
        self._trace_id = trace_id
        self._per_hour = None if usd_per_hour is None else price_from_usd_text(usd_per_hour)
        self._peaks = peaks
        self._every = every
        self._calls = 0
        self._counting = threading.Lock()
        self._open: contextlib.ExitStack | None = None
        self._timeline: Timeline | None = None
        self._profile: Profile | None = None

    def __enter__(self) -> Self:
        """Begin to record."""
        if self._open is not None:
            raise BadRequest(
                "this profile is already under way.",
                code=capture.UNDER_WAY,
                param="profile",
                hint="Make one for each block.",
            )
        device = self._device or device_of(self._modules, self._points)
        with contextlib.ExitStack() as begun:
            folder = begun.enter_context(tempfile.TemporaryDirectory(prefix="penstock-profile-"))
            path = self._path or Path(folder) / "trace.json"
            session = capture.session(
                path, points=self._points, modules=self._modules, device=device, **self._records
            )
            reading = begun.enter_context(_Reading(self, path, device))
            reading.taken = begun.enter_context(session)
            reading.taken.begin(self.label)
            if self._trace_id:
                with torch.profiler.record_function(marks.TRACE + self._trace_id):
                    pass  # a note, not a range: around the block it would be taken for a part of it
            self._timeline = self._profile = None
            self._open = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        """End it and read what was recorded, also where the block raised; its exception goes on, and none of ours replaces it."""
        begun, self._open = self._open, None
        if begun is None:
            return
        try:
            begun.__exit__(kind, error, trail)
        except Exception as failed:  # noqa: BLE001 - of PyTorch's profiler, the disk, the reading: of any type
            self._failed(failed)

    def __call__(self, function: Function) -> Function:
        """As a decorator. The last profile is on the function: ``render.profile.stages``. Coroutine functions too.

        A call that comes while another profile is recording runs bare, and so does one whose profile cannot begin: a function in
        service is not to fail by being profiled.
        """
        handle: Any = function
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadRequest(
                f"{getattr(function, '__name__', 'the function')} yields: its work is done when it is iterated, not when it is called.",
                param="profile",
                hint="Put the loop that iterates it into a with block.",
            )

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._sampled():
                    return await handle(*args, **kwargs)

            wrapper: Any = awaited
        else:

            @functools.wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                with self._sampled():
                    return handle(*args, **kwargs)

            wrapper = called
        wrapper.profile = self
        return wrapper

    @contextlib.contextmanager
    def _sampled(self) -> Generator[None]:
        """This profile where it is its turn and nobody else records, else nothing."""
        with self._counting:
            turn = self._calls % self._every == 0
            self._calls += 1
        if turn:
            try:
                self.__enter__()
            except Exception as refused:  # noqa: BLE001 - told where it is not the usual one; the function runs
                if getattr(refused, "code", "") != capture.UNDER_WAY:
                    self._failed(refused)
                turn = False
        with contextlib.ExitStack() as ends:
            if turn:
                ends.push(self.__exit__)
            yield

    def _failed(self, error: Exception) -> None:
        """What is left where nothing could be recorded or read: the reason."""
        told = error.message if isinstance(error, PenstockError) else said(error)
        hint = f" {error.hint}" if isinstance(error, PenstockError) and error.hint else ""
        _log.warning("%s was not profiled: %s%s", self.label, told, hint)
        self._timeline = None
        self._profile = Profile(
            target=self.label,
            source="live",
            device=DeviceSummary(name=self._device or "unknown"),
            warnings=(f"not profiled: {told}{hint}",),
        )

    def read(self, path: Path, device: str) -> None:
        """Take over the trace that was written: a profile of it."""
        line = timeline.build(trace.load(path))
        peaks = self._peaks or datasheets.of_device(hardware.device_name(device))
        found = from_trace.of_timeline(line, target=self.label, peaks=peaks)
        found = replace(
            found,
            source="live",
            machine=hardware.machine(device),
            trace_ids=(self._trace_id,) if self._trace_id else found.trace_ids,
            facts={**found.facts, **(self._memory(path, device) if self._records["memory"] else {})},
            warnings=(*found.warnings, "timed under the profiler: shares hold, milliseconds are too long"),
        )
        self._timeline = line
        self._profile = pricing.priced(found, self._per_hour) if self._per_hour else found

    def _memory(self, path: Path, device: str) -> dict[str, float]:
        kind = memory.CUDA if torch.device(device).type == "cuda" else memory.CPU
        seen = memory.of_trace(path, device_type=kind)
        return {"peak_memory_bytes": float(seen.peak_bytes), "kept_memory_bytes": float(seen.end_bytes)}

    @property
    def profile(self) -> Profile:
        """All that was found, as ``penstock profile --json`` prints it."""
        if self._profile is None:
            raise NOTHING
        return self._profile

    @property
    def timeline(self) -> Timeline:
        """What happened when: host threads, device events, launches."""
        if self._timeline is None:
            raise NOTHING
        return self._timeline

    @property
    def stages(self) -> tuple[StageRow, ...]:
        """The parts; the last row is what no stage covers, ``unattributed``."""
        return self.profile.stages

    @property
    def kernels(self) -> tuple[KernelRow, ...]:
        """Device events by name, op and module; on a CPU the ops."""
        return self.profile.kernels

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to mend, that first which saves most."""
        return self.profile.findings

    @property
    def device(self) -> DeviceSummary:
        """What the device did."""
        return self.profile.device


class _Reading:
    """Reads the trace once its session has ended. A block that raised is read too."""

    def __init__(self, owner: profile, path: Path, device: str) -> None:
        self._owner = owner
        self._path = path
        self._device = device
        self.taken: capture.Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        if self.taken is None or not self.taken.written:
            return
        self._owner.read(self._path, self._device)


def writable(path: Path) -> Path:
    """The path, its folder made; said before anything runs, not after.

    Raises:
        BadRequest: no trace can be written there.
    """
    if not path.name.endswith(capture.SUFFIXES):
        raise BadRequest(f"{path} is no name for a trace.", param="path", hint="End it in .json or .json.gz.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(
            f"{path} cannot be written: {error}.",
            param="path",
            hint="Name a file in a folder that can be written to.",
        ) from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadRequest(
            f"{path} cannot be written.", param="path", hint="Name a file in a folder that can be written to."
        )
    return path


def points_of(stages: Stages) -> tuple[StagePoint, ...]:
    """Stages as a user writes them: a dict of name -> (owner, method), or of name -> a list of those; or (owner, method, stage)s.

    Raises:
        BadRequest: something else.
    """
    rows: list[Any] = []
    if isinstance(stages, Mapping):
        for name, said in stages.items():
            pairs = cast("list[Any]", said) if isinstance(said, list) else [said]
            rows += [(*pair, name) if isinstance(pair, tuple) else (pair, name) for pair in pairs]
    else:
        rows = list(stages)
    points: list[StagePoint] = []
    for row in rows:
        if isinstance(row, StagePoint):
            points.append(row)
        elif _is_triple(row):
            points.append(StagePoint(*row))
        else:
            raise BadRequest(
                f"{row!r} is no stage.",
                param="stages",
                hint='Write {"unet": (pipe.unet, "forward")}, or [(pipe.unet, "forward", "unet")].',
            )
    return tuple(points)


def modules_of(modules: Mapping[str, Any] | torch.nn.Module | None) -> dict[str, torch.nn.Module]:
    """Modules by name; a lone one is ``model``."""
    if modules is None:
        return {}
    if isinstance(modules, torch.nn.Module):
        return {"model": modules}
    return {name: part for name, part in modules.items() if isinstance(part, torch.nn.Module)}


def _is_triple(row: Any) -> bool:
    parts = cast("tuple[Any, ...]", row) if isinstance(row, tuple) else ()
    return len(parts) == 3 and all(isinstance(part, str) for part in parts[1:])


def device_of(modules: Mapping[str, torch.nn.Module], points: Sequence[StagePoint]) -> str:
    """Where the work runs: on the first device that is not the CPU among the weights known; on CUDA where it is already in use."""
    owners = [*modules.values(), *(point.owner for point in points)]
    for owner in owners:
        found = weights_device(owner)
        if found is not None and found.type not in ("cpu", "meta"):
            return str(found)
    if not owners and torch.cuda.is_available() and torch.cuda.is_initialized():
        return "cuda"
    return "cpu"


def weights_device(owner: Any) -> torch.device | None:
    """Of a module's first parameter or buffer, or what a pipeline calls its ``device``; None where neither is told."""
    if isinstance(owner, torch.nn.Module):
        weight = next(owner.parameters(), None)
        weight = weight if weight is not None else next(owner.buffers(), None)
        return None if weight is None else weight.device
    told = getattr(owner, "device", None)
    return told if isinstance(told, torch.device) else None

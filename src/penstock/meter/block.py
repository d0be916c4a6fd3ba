"""A metered block: its time, its trace, what the blocks inside it used.

Rules
- Every second counts once. A block reports its own time: its wall time without that of the blocks inside it, and its
  compute without what they used of the same compute.
- The trace is what the outermost block was given or made; the blocks inside it inherit it, over ``await`` too. A thread
  inherits it where its context was copied (``asyncio.to_thread`` does).
- A block without ``compute`` reports nothing: it holds others together.
- A block that ends by an exception has used its compute all the same; ``meta.error`` names the exception's class.
"""

import inspect
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from penstock.meter.energy import energy
from penstock.meter.reporter import reporter

P = ParamSpec("P")
R = TypeVar("R")
_open: ContextVar["Running | None"] = ContextVar("penstock_meter", default=None)


class Running:
    """A block that runs. ``trace`` can be sent on (``x-penstock-trace``); ``meta`` can be filled until it ends."""

    __slots__ = ("_at_s", "_device", "_joules", "_started_s", "above", "inside", "meta", "meter", "trace")

    def __init__(self, meter: "Meter", above: "Running | None") -> None:
        self.meter = meter
        self.above = above
        self.inside: list[tuple[float, dict[str, float], dict[int, float]]] = []
        self.trace: str = meter.trace or (above.trace if above is not None else os.urandom(16).hex())
        self.meta: dict[str, str] = {}
        self._device: int | None = None
        self._joules: float | None = None
        self._at_s = time.time()
        self._started_s = time.perf_counter()

    @staticmethod
    def close(meter: "Meter") -> "Running | None":
        """Take the newest block of ``meter`` out of those that run here. Generators may end them in any order."""
        inner: Running | None = None
        running = _open.get()
        while running is not None and running.meter is not meter:
            inner, running = running, running.above
        if running is not None:
            if inner is None:
                _open.set(running.above)
            else:
                inner.above = running.above
        return running

    def begin(self) -> None:
        """Take the first readings, the time last."""
        meter = self.meter
        if meter.meta:
            self.meta.update(meter.meta)
        if meter.compute is not None:
            self._device = energy.device(meter.gpu)
            if self._device is not None:
                self._joules = energy.joules(self._device)
        self._at_s = time.time()
        self._started_s = time.perf_counter()

    def end(self, error: type[BaseException] | None) -> None:
        """Report what this block used itself, and tell the block around it what was used in all."""
        wall_s = time.perf_counter() - self._started_s
        meter, inside_s = self.meter, 0.0
        used: dict[str, float] = {}
        burnt: dict[int, float] = {}
        for their_s, their_used, their_burnt in self.inside:
            inside_s += their_s
            for name, seconds in their_used.items():
                used[name] = used.get(name, 0.0) + seconds
            for device, joules in their_burnt.items():
                burnt[device] = burnt.get(device, 0.0) + joules
        if meter.compute is not None:
            whole_s = wall_s * meter.gpus
            event: dict[str, Any] = {
                "stage": meter.stage,
                "trace": self.trace,
                "at": self._at_s,
                "duration_ms": max(0.0, wall_s - inside_s) * 1000,
                "compute": meter.compute,
                "gpu_seconds": max(0.0, whole_s - used.get(meter.compute, 0.0)),
            }
            used[meter.compute] = max(whole_s, used.get(meter.compute, 0.0))
            self._burn(event, burnt)
            if error is not None:
                self.meta["error"] = error.__name__
            if self.meta:
                event["meta"] = self.meta
            reporter.add(event)
        if self.above is not None:
            # An append is one step: blocks that run beside each other may end in several threads.
            self.above.inside.append((wall_s, used, burnt))

    def _burn(self, event: dict[str, Any], burnt: dict[int, float]) -> None:
        if self._device is None or self._joules is None:
            return
        now = energy.joules(self._device)
        if now is not None:
            whole = max(0.0, now - self._joules)
            event["joules"] = max(0.0, whole - burnt.get(self._device, 0.0))
            burnt[self._device] = max(whole, burnt.get(self._device, 0.0))


class Meter:
    """``with Meter(...)``, or ``@Meter(...)`` over a function. One object may be used any number of times, side by side.

    ``gpus`` is how many of ``compute`` the block holds; ``gpu`` is the card that joules are read of, by NVML's index.
    """

    def __init__(
        self,
        stage: str,
        *,
        compute: str | None = None,
        gpus: float = 1,
        gpu: int | None = None,
        trace: str | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        self.stage = stage
        self.compute = compute
        self.gpus = gpus
        self.gpu = gpu
        self.trace = trace
        self.meta = meta

    def __enter__(self) -> Running:
        """Begin."""
        running = Running(self, _open.get())
        _open.set(running)
        try:
            running.begin()
        except Exception as failure:  # noqa: BLE001 - a shield: named in tests/house/test_swallow.py
            reporter.trouble("block", f"a block of {self.stage!r} began badly: {failure!r}")
        return running

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; an exception goes on."""
        running = Running.close(self)
        if running is None:
            reporter.trouble(
                "context", f"a block of {self.stage!r} ended in another context than it began in"
            )
            return
        try:
            running.end(kind)
        except Exception as failure:  # noqa: BLE001 - a shield: named in tests/house/test_swallow.py
            reporter.trouble("block", f"a block of {self.stage!r} could not be reported: {failure!r}")

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, metered at each call: plain, ``async def``, or a generator function."""
        if inspect.isasyncgenfunction(function):
            raise TypeError("An async generator cannot be metered as a whole: write `with` inside it.")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def waits(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await cast("Any", function(*args, **kwargs))

            return cast("Callable[P, R]", waits)
        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def yields(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, Any]:
                with self:
                    made: Generator[Any, Any, Any] = cast("Any", function(*args, **kwargs))
                    return (yield from made)

            return cast("Callable[P, R]", yields)

        @wraps(function)
        def calls(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return calls


def record(stage: str, /, **fields: Any) -> None:
    """Report a cost that is not the time of a block, by the fields of ``POST /v1/ledger/entries``: storage="s3", gb_months=…

    Its time is now, and its trace that of the block around it, unless given. Never raises for a field's value: the gateway
    refuses what it does not know, and the log says it.
    """
    event: dict[str, Any] = {"stage": stage, "at": time.time(), **fields}
    if "trace" not in event and (trace := current_trace()) is not None:
        event["trace"] = trace
    reporter.add(event)


def current_trace() -> str | None:
    """The trace of the block that runs here, to be sent on as ``x-penstock-trace``; None outside of all."""
    running = _open.get()
    return None if running is None else running.trace

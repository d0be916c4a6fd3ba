"""Where the clock and the device come in: the few calls that only a machine can answer, behind protocols that tests can play.

``CpuWatch`` and ``CudaWatch`` are all there is of them; every decision about their readings is in ``timing`` and ``memory``.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Watch(Protocol):
    """A stopwatch for calls. Marks are opaque; two of them make a duration once the device has passed both."""

    clock: str
    """As ``Timing.clock``: ``wall``, ``thread`` or ``cuda-events``."""

    def mark(self) -> Any:
        """A point in time, on the device where there is one (an event in its current stream)."""
        ...

    def wait(self) -> None:
        """Until all work given to the device is done."""
        ...

    def between_ms(self, first: Any, last: Any) -> float:
        """Milliseconds from one mark to the other. Only after ``wait``."""
        ...

    def wall_s(self) -> float:
        """Seconds that never go back."""
        ...

    def cpu_s(self) -> float | None:
        """CPU seconds of this process, all threads; None where they say nothing about a disturbed machine."""
        ...


class CpuWatch:
    """The host's clock: a call is over when it returns. ``thread=True``: CPU time of the calling thread, for one-thread work."""

    def __init__(self, *, thread: bool = False) -> None:
        self.clock = "thread" if thread else "wall"
        self._read_ns = time.thread_time_ns if thread else time.perf_counter_ns

    def mark(self) -> Any:
        """Nanoseconds."""
        return self._read_ns()

    def wait(self) -> None:
        """Nothing to wait for."""

    def between_ms(self, first: Any, last: Any) -> float:
        """Of two readings."""
        return (last - first) / 1e6

    def wall_s(self) -> float:
        """Monotonic."""
        return time.perf_counter()

    def cpu_s(self) -> float | None:
        """Of the process, all threads."""
        return time.process_time()


IDLE_MS = 0.05
"""An idle device answers a synchronisation within this: what is longer was another stream's work. Our choice."""


class CudaWatch:
    """CUDA (or ROCm) events in the device's current stream, and what other streams still do once it is done.

    The host's CPU time says nothing here: it waits by design.
    """

    clock = "cuda-events"

    def __init__(self, device: str, now_s: Callable[[], float] = time.perf_counter) -> None:
        self._device = torch.device(device)
        self._now_s = now_s
        self._last: Any = None
        self._tail_ms: float | None = None
        """Of the last mark; None until it has been waited for."""

    def mark(self) -> Any:
        """A timing event, recorded in the current stream of the device."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        self._last, self._tail_ms = event, None
        return event

    def wait(self) -> None:
        """All streams of the device: first the one of the last mark, then, on the host's clock, the others."""
        if self._last is None or self._tail_ms is not None:
            torch.cuda.synchronize(self._device)
            return
        self._last.synchronize()
        passed_s = self._now_s()
        torch.cuda.synchronize(self._device)
        tail_ms = (self._now_s() - passed_s) * 1e3
        self._tail_ms = tail_ms if tail_ms > IDLE_MS else 0.0

    def between_ms(self, first: Any, last: Any) -> float:
        """By the device's own clock, about half a microsecond exact; with the time for which other streams went on after ``last``,
        where that was the last mark before ``wait``. Raises if either event has not been passed.
        """
        tail_ms = self._tail_ms if last is self._last else None
        return first.elapsed_time(last) + (tail_ms or 0.0)

    def wall_s(self) -> float:
        """Monotonic, of the host."""
        return time.perf_counter()

    def cpu_s(self) -> float | None:
        """Unknown on purpose."""
        return None


def watch(device: str, *, thread: bool = False) -> Watch:
    """The stopwatch for a device: ``cpu``, ``cuda``, ``cuda:1``. ``thread`` counts only on a CPU."""
    return CudaWatch(device) if torch.device(device).type == "cuda" else CpuWatch(thread=thread)


class Allocator(Protocol):
    """A device's memory statistics."""

    def now_bytes(self) -> int:
        """Allocated at this moment."""
        ...

    def peak_bytes(self) -> int:
        """The most that was allocated since ``reset``."""
        ...

    def reset(self) -> None:
        """Forget the peak: it starts anew at what is allocated now."""
        ...


class CudaAllocator:
    """PyTorch's caching allocator: bytes of live tensors, not what the driver has handed out."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def now_bytes(self) -> int:
        """Live now."""
        return torch.cuda.memory_allocated(self._device)

    def peak_bytes(self) -> int:
        """Most since ``reset``."""
        return torch.cuda.max_memory_allocated(self._device)

    def reset(self) -> None:
        """Start the peak anew."""
        torch.cuda.reset_peak_memory_stats(self._device)

"""One thread beside the loop, one thing after another: asked for from the loop, answered in it with one wake-up each way.

concurrent.futures does the same for any number of threads and waiters; of a look-up's time its two futures, their chain and
its wait were 0.1 to 0.2 ms.

Rule: what has not begun in time can be taken back, and is then never begun.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from penstock.base.errors import OurFault

_CLOSED = "The cache's thread is closed."
T = TypeVar("T")


class Job(Generic[T]):
    """Something that was asked for; ``future`` is of the loop that asked."""

    __slots__ = ("_loop", "_unbegun", "_what", "future")

    def __init__(self, what: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._what = what
        self._loop = loop
        self._unbegun = [True]
        """Who takes this out has it: the thread, to begin, or the loop, to take it back (list.pop is one step)."""
        self.future: asyncio.Future[T] = loop.create_future()

    def take_back(self) -> bool:
        """Whether it had not begun: it never will."""
        try:
            return self._unbegun.pop()
        except IndexError:
            return False

    def __call__(self) -> None:
        """In the thread."""
        if not self.take_back():
            return
        try:
            result, error = self._what(), None
        except Exception as raised:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            result, error = None, raised
        self._tell(result, error)

    def give_up(self) -> None:
        """In the thread: it is closed."""
        self._tell(None, OurFault(_CLOSED))

    def _tell(self, result: Any, error: Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _settle(self, result: Any, error: Exception | None) -> None:
        future = self.future
        if future.done():
            return  # who asked has gone
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Aside:
    """The thread. ``close`` it."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._sent = self._done = 0
        self.lost = 0
        """Of what was given without a question, how much has failed."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """All that was given to it is done. For who gives it work, in one thread."""
        return self._sent == self._done

    def do(self, what: Callable[[], object]) -> None:
        """Some time, after what was given before. What it raises is counted."""
        if not self._closed:
            self._sent += 1
            self._jobs.put(what)

    def ask(self, what: Callable[[], T]) -> Job[T]:
        """The same, and its result. Raises OurFault once it is closed."""
        if self._closed:
            raise OurFault(_CLOSED)
        job = Job(what, asyncio.get_running_loop())
        self.do(job)
        return job

    def close(self) -> None:
        """What has not begun is not done. Blocks until what has begun is."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (what := self._jobs.get()) is not None:
            if self._closed:
                if isinstance(what, Job):
                    what.give_up()
                continue
            try:
                what()
            except Exception:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
                self.lost += 1
            self._done += 1

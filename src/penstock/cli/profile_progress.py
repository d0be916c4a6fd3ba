"""Progress of a profile run on stderr: a line that moves on a terminal, a line a step in a pipe."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.cli.screen import put, screen

Tell = Callable[..., None]
"""``tell("timing without a profiler", 0.4)``: the step, and how much of it is done where that is known."""


@contextmanager
def progress() -> Generator[Tell, Any, None]:
    """What to tell of each step. It is gone from a terminal at the end."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield _Lines(console).tell
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        task = shown.add_task("starting", total=None)

        def tell(step: str, done: float | None = None) -> None:
            shown.update(task, description=step, total=None if done is None else 1.0, completed=done or 0.0)

        yield tell


class _Lines:
    """A step is said once, with the seconds since the start."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._began_s = time.monotonic()
        self._last = ""

    def tell(self, step: str, done: float | None = None) -> None:
        """``done`` moves nothing here."""
        if step != self._last:
            self._last = step
            put(self._console, f"{time.monotonic() - self._began_s:6.1f} s  {step}")

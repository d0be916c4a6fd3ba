"""What other people's libraries say on stderr while something is profiled: kept back, and told where the run fails.

Theory: a warning of diffusers' import, a bar of tqdm's, a log line of torchao's are not what the user asked for. Whose a line is,
the caller's file says: an installed package's is kept, the user's own code and ours go through.

Rules
- Nothing is lost: a run that fails, however, has all of it on stderr before its own error, and ``--verbose`` keeps nothing back.
- What is written below Python (a native library's abort) is never held: it may be the last thing that is said.
"""

import inspect
import sys
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from penstock.engine.measure.places import FOLDERS, in_library
from penstock.engine.workloads import noise

MOST_PIECES = 20_000
"""Of what is kept, the last: a bar is drawn many times a second."""
_OURS = str(Path(__file__).parents[1])
_SHOWS = "/rich/"
"""Who draws our own progress: its caller decides."""


@contextmanager
def kept_back(*, verbose: bool) -> Generator[None]:
    """Inside, libraries' own words are kept; they are told where it ends with an error. ``verbose``: they go through."""
    told = noise.KEPT.set(True)  # nothing is silenced where it comes from: it is kept here, or shown
    if verbose:
        try:
            yield
        finally:
            noise.KEPT.reset(told)
        return
    before = sys.stderr
    sieve = Sieve(before)
    sys.stderr = sieve
    try:
        yield
    except BaseException:
        sieve.tell()
        raise
    finally:
        sieve.open = True
        if sys.stderr is sieve:
            sys.stderr = before
        noise.KEPT.reset(told)
    if lines := sieve.lines():
        before.write(f"{len(lines)} lines of libraries' own words are not shown; --verbose shows them\n")


class Sieve:
    """Stands for stderr. A handler that has got hold of it keeps it: once ``open``, everything goes through."""

    def __init__(self, through: Any) -> None:
        self._through = through
        self._kept: deque[str] = deque(maxlen=MOST_PIECES)
        self.open = False

    def write(self, text: str) -> int:
        """Through, or kept."""
        here = inspect.currentframe()
        if self.open or not from_library(here.f_back if here is not None else None):
            self._through.write(text)
        else:
            self._kept.append(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """All as one."""
        self.write("".join(lines))

    def lines(self) -> list[str]:
        """What was kept; of a bar that was drawn over itself its last look."""
        return [
            last
            for line in "".join(self._kept).split("\n")
            if (last := line.rstrip("\r").rpartition("\r")[2].rstrip()).strip()
        ]

    def tell(self) -> None:
        """All of it, to where it was meant for."""
        for line in self.lines():
            self._through.write(f"{line}\n")
        self._kept.clear()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._through, name)


def from_library(frame: FrameType | None) -> bool:
    """Whether the innermost frame that is not Python's own is an installed package's. Without one, as on a thread of rich's, not."""
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if path.startswith(_OURS):
            return False
        if any(f"/{folder}/" in path for folder in FOLDERS):
            if _SHOWS not in path:
                return True
        elif not in_library(path):
            return False
        frame = frame.f_back
    return False

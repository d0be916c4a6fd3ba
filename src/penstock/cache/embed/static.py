"""Static vectors before MiniLM: a look at a table for each word piece, 0.04 ms. They spare embeddings and never decide a hit.

Theory
As a judge of meaning they are poor (of pairs at a cosine of 0.90 four in ten are wrong, MiniLM two). But where even they see
nothing near, MiniLM hardly would: ``least`` is the best static score below which 1 % of MiniLM's hits lie. It depends on what
counts as a hit, so on the configured threshold.

Measured for this build (development only: 12,000 pairs of questions of Quora's, in two halves; the second of a pair is looked
up among the first of all of its half): at 0.90 a look-up is spared in 30 % (38 % of the misses), and of the hits 1.0 % and 1.1 %
are lost; at 0.94 in 41 % (47 %), with 1.0 % and 0.6 %. Of the hits at 0.90 among paraphrases that a model wrote 0.7 % are lost
(5 of 709), of our own 2.4 % (3 of 127); at 0.94 0.5 % (2 of 439) and none (of 76).

Rules
- Of the built-in model only: ``least`` is measured for it. English only, as it is.
- Off until the table is there: ``ready``. It is made once a machine and user by another process (``distil``), of which there is
  one at a time, whoever asks; without a folder to keep it in there is none.
- The table is mapped: the processes of a machine share its 15.6 MB.
"""

import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.base.errors import OurFault
from penstock.cache.embed import kept
from penstock.cache.embed.distil import DIMENSIONS, SUFFIX, build_of
from penstock.cache.embed.weights import Source

_HITS = (0.0, 0.50, 0.60, 0.70, 0.80, 0.85, 0.90, 0.94, 0.96)
_LEAST = (0.0, 0.53, 0.575, 0.62, 0.665, 0.70, 0.73, 0.775, 0.83)
"""The static score below which 1 % of the hits lie, for each threshold; between thresholds a straight line."""
PROGRAM = (sys.executable, "-m", "penstock.cache.embed.distil")
"""Makes the table in the folder that follows."""
_UNKNOWN = 100
_LOCK_S = 1.0
_HEREDITARY = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "HOME")
"""What the process that makes the table is told of the environment: no secrets."""


class Static:
    """A ``Prefilter`` (cache.ports). ``start`` it, ask whether it is ``ready``, ``close`` it."""

    dimensions = DIMENSIONS

    def __init__(
        self, source: Source, pieces: Callable[[str], list[int]], folder: Path, threshold: float
    ) -> None:
        """``pieces``: the embedder's tokenizer. ``threshold``: from which MiniLM score a neighbour counts."""
        self.build_id = build_of(source)
        self.least = float(np.interp(threshold, _HITS, _LEAST))
        self.failed = ""
        """Why there is no table, and will be none."""
        self._rows = source.form.pieces
        self._pieces = pieces
        self._folder = folder
        self._table: NDArray[np.float16] | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """The table is there."""
        return self._table is not None

    def embed(self, text: str) -> bytes:
        """float32 little-endian, unit length. Raises OurFault while not ``ready``."""
        table = self._table
        if table is None:
            raise OurFault("The static vectors are not ready.")
        found = table[self._pieces(text)[1:-1] or [_UNKNOWN]].sum(axis=0, dtype=np.float32)
        length = float(np.sqrt(found @ found))
        return (found / (length or 1.0)).astype("<f4", copy=False).tobytes()

    def start(self, environ: Mapping[str, str]) -> None:
        """Take the table that is kept, or have it made: a thread waits for it. ``environ``: this process's own."""
        if self._take():
            return
        told = {name: environ[name] for name in _HEREDITARY if name in environ}
        told |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._thread = threading.Thread(
            target=self._have_made, args=(told,), name="static-vectors", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """What is being made is given up."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _take(self) -> bool:
        path = kept.find(self._folder, self.build_id, SUFFIX)
        if path is None:
            return False
        try:
            self._table = np.memmap(path, "<f2", "r", shape=(self._rows, DIMENSIONS))
        except (OSError, ValueError):  # gone meanwhile, or of another size
            return False
        return True

    def _have_made(self, environ: dict[str, str]) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._folder / ".static.lock").open("w") as lock:
                while not self._locked(lock.fileno()):
                    if self._closing.wait(_LOCK_S):
                        return
                if not self._take():
                    self._run(environ)
        except OSError as error:
            self.failed = f"{self._folder} cannot be used: {error.strerror}."

    @staticmethod
    def _locked(lock: int) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _run(self, environ: dict[str, str]) -> None:
        words = [*PROGRAM, str(self._folder)]
        with subprocess.Popen(  # noqa: S603 - our own module, in this interpreter
            words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as made:
            while made.poll() is None:
                if self._closing.wait(0.2):
                    made.terminate()
                    return
            said = made.stderr.read().decode("utf-8", "replace") if made.stderr is not None else ""
        if not self._take():
            self.failed = said.strip().rpartition("\n")[2] or f"making them ended with {made.returncode}."

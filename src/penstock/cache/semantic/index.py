"""Nearest neighbours of one partition. A partition is an index object of its own: what is not in it cannot be found in it.

Theory
------
Up to ``exact_below`` vectors a product of a matrix and a vector is exact, deletes in O(1) (the last row takes the gap) and is
as fast as anything (0.3 ms at 10,000 of 384 dimensions; reference 2.4). Above it an HNSW graph in f16 proposes 20, and their
f32 rows, which are kept for that, decide order and score: the score of a candidate never depends on the way it was found.

Rules
- A graph is built beside the look-ups, in a thread, from short looks at the rows; then it is swapped in. Until then the
  product over the newest ``MOST_ROWS`` answers: a large partition that was taken up again at a start costs a look-up no more than
  that (3 ms; over 50,000 rows it was 12 ms, and others waited). What is older is missed meanwhile; what is found is never wrong.
- Vectors are of unit length, or they are not taken: a zero or NaN vector in place of a failed embedding would be a
  neighbour of nothing or of all (Bifrost before 1.7.0 stored such).
- Every public method may be called from any thread.
- onnxruntime is loaded before usearch, wherever this module is: the other way round the process dies of a segmentation fault
  (onnxruntime 1.31.1 after usearch 2.26.6, Linux x86-64, 2026-11-22).
"""

import threading
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # noqa: F401  # pyright: ignore[reportUnusedImport]
from usearch.index import Index

Vectors = npt.NDArray[np.float32]

EXACT_BELOW = 10_000
MOST_ROWS = 2 * EXACT_BELOW
"""Of one product, while there is no graph yet."""
CANDIDATES = 20
"""Proposed by the graph, and put in order again by their f32 rows."""
FIRST_ROWS = 16
BLOCK_ROWS = 4096
"""Rows lie in blocks: only the first one grows by copying (6 MB at most), so that no insert into a large partition waits for it."""
BATCH = 64
"""Rows that the building thread copies under the lock at a time: 0.1 ms."""
TAIL = 4
"""So few vectors come in late under the lock when a new graph is swapped in: 2 ms."""
UNIT_WITHIN = 1e-3
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 128, 64


def unit(vector: bytes) -> Vectors | None:
    """The float32 vector in ``vector``; None if it is not of unit length, or no vector at all."""
    if not vector or len(vector) % 4:
        return None
    read = np.frombuffer(vector, dtype="<f4").astype(np.float32, copy=False)
    length = float(np.dot(read, read))  # ``@`` is slower by 10 us
    return read if abs(length - 1.0) <= UNIT_WITHIN else None


class PartitionIndex:
    """Vectors by key. Keys are counted up here; they are never used twice."""

    def __init__(
        self, dimensions: int, *, exact_below: int = EXACT_BELOW, most_rows: int = MOST_ROWS
    ) -> None:
        self.dimensions = dimensions
        self._exact_below = exact_below
        self._most_rows = max(most_rows, exact_below)
        self._blocks: list[Vectors] = [np.empty((FIRST_ROWS, dimensions), dtype=np.float32)]
        self._keys: list[int] = []
        """By row."""
        self._row_of: dict[int, int] = {}
        """By key, in the order the keys were given."""
        self._next_key = 0
        self._graph: Index | None = None
        self._graph_removed = 0
        self._builder: threading.Thread | None = None
        self._gone: list[int] = []
        """Keys removed while a graph is being built."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def approximate(self) -> bool:
        """Whether a graph answers."""
        return self._graph is not None

    @property
    def partial(self) -> bool:
        """Whether look-ups see the newest rows alone, because the graph is still being built."""
        return self._graph is None and len(self._keys) > self._most_rows

    @property
    def held_bytes(self) -> int:
        """About: the f32 rows, and the graph's f16 vectors and links."""
        with self._lock:
            graph = len(self._keys) * (2 * self.dimensions + 8 * CONNECTIVITY) if self._graph else 0
            return sum(int(block.nbytes) for block in self._blocks) + graph

    def add(self, vector: Vectors) -> int:
        """Its key."""
        with self._lock:
            row, key = len(self._keys), self._next_key
            self._make_room(row)
            self._row(row)[:] = vector
            self._keys.append(key)
            self._row_of[key] = row
            self._next_key += 1
            if self._graph is not None:
                self._graph.add(key, vector, threads=1)
            self._maintain()
            return key

    def remove(self, key: int) -> bool:
        """Whether it was there."""
        with self._lock:
            row = self._row_of.pop(key, None)
            if row is None:
                return False
            last = self._keys.pop()
            if last != key:
                self._row(row)[:] = self._row(len(self._keys))
                self._keys[row] = last
                self._row_of[last] = row
            self._give_up_room()
            if self._builder is not None:
                self._gone.append(key)
            if self._graph is not None:
                self._graph.remove(key)
                self._graph_removed += 1
            self._maintain()
            return True

    def nearest(self, vector: Vectors, k: int) -> list[tuple[int, float]]:
        """Up to ``k`` of (key, cosine), nearest first; of equals the older first."""
        with self._lock:
            count = len(self._keys)
            if not count or len(vector) != self.dimensions:
                return []
            if self._graph is None:
                first = max(count - self._most_rows, 0)
                scores = self._scores(first, count, vector)
                least = max(len(scores) - k, 0)
                picked = scores.argpartition(least)[least:] if least else np.arange(len(scores))
                rows = zip(picked.tolist(), scores[picked].tolist(), strict=True)
                found = [(self._keys[first + at], score) for at, score in rows]
            else:
                proposed: list[int] = self._graph.search(vector, max(CANDIDATES, k), threads=1).keys.tolist()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
                keys = [key for key in proposed if key in self._row_of]
                rescored = self._gathered(keys) @ vector
                found = list(zip(keys, rescored.tolist(), strict=True))
        found.sort(key=lambda one: (-one[1], one[0]))
        return found[:k]

    def settle(self) -> None:
        """Wait until no graph is being built: for tests and benches."""
        builder = self._builder
        if builder is not None:
            builder.join()

    def _row(self, row: int) -> Vectors:
        block, place = divmod(row, BLOCK_ROWS)
        return self._blocks[block][place]

    def _gathered(self, keys: list[int]) -> Vectors:
        if not keys:
            return np.empty((0, self.dimensions), dtype=np.float32)
        return np.stack([self._row(self._row_of[key]) for key in keys])

    def _scores(self, first: int, count: int, vector: Vectors) -> Vectors:
        """Of the rows from ``first`` on."""
        scores = np.empty(count - first, dtype=np.float32)
        row = first
        while row < count:
            block, place = divmod(row, BLOCK_ROWS)
            rows = self._blocks[block][place : place + count - row]
            np.dot(rows, vector, out=scores[row - first : row - first + len(rows)])
            row += len(rows)
        return scores

    def _make_room(self, row: int) -> None:
        """For one more row."""
        block, place = divmod(row, BLOCK_ROWS)
        if block == len(self._blocks):
            self._blocks.append(np.empty((BLOCK_ROWS, self.dimensions), dtype=np.float32))
        elif place == len(self._blocks[block]):
            self._resize_first(min(2 * place, BLOCK_ROWS))

    def _give_up_room(self) -> None:
        """A block behind the last but one that is used goes; one block alone shrinks."""
        count = len(self._keys)
        while len(self._blocks) > count // BLOCK_ROWS + 2:
            self._blocks.pop()
        if len(self._blocks) == 2 and count < BLOCK_ROWS // 2:
            self._blocks.pop()
        if len(self._blocks) == 1 and len(self._blocks[0]) > 4 * max(count, FIRST_ROWS):
            self._resize_first(2 * max(count, FIRST_ROWS))

    def _resize_first(self, rows: int) -> None:
        resized = np.empty((rows, self.dimensions), dtype=np.float32)
        kept = min(len(self._keys), rows)
        resized[:kept] = self._blocks[0][:kept]
        self._blocks[0] = resized

    def _maintain(self) -> None:
        """Start building where a graph is due; let it go where it is not. The gap between the two keeps it from flapping."""
        count = len(self._keys)
        if self._graph is not None and count <= self._exact_below // 2:
            self._graph = None
        due = count > self._exact_below and (self._graph is None or self._graph_removed > count)
        if due and self._builder is None:
            self._gone.clear()
            self._builder = threading.Thread(target=self._build, name="penstock-cache-graph")
            self._builder.start()

    def _build(self) -> None:
        """In its own thread. Should it fail (memory), the product over all rows goes on answering.

        Not a daemon: usearch aborts the process if its thread is cut off. It ends by itself, a batch after the main thread does.
        """
        graph: Any = Index(
            ndim=self.dimensions,
            metric="cos",
            dtype="f16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )
        taken = -1
        while True:
            with self._lock:
                late = self._above(taken)
                if len(late) <= TAIL:
                    self._swap(graph, late)
                    return
            for start in range(0, len(late), BATCH):
                if not threading.main_thread().is_alive():
                    return
                self._take(graph, late[start : start + BATCH])
            taken = late[-1]

    def _above(self, taken: int) -> list[int]:
        """Keys that came after ``taken``, in order. Keys only grow, and the dict keeps their order."""
        late = list(takewhile(lambda key: key > taken, reversed(self._row_of)))
        late.reverse()
        return late

    def _take(self, graph: Any, keys: list[int]) -> None:
        with self._lock:
            here = [key for key in keys if key in self._row_of]
            vectors = self._gathered(here)
        if here:
            graph.add(np.array(here, dtype=np.uint64), vectors, threads=1)

    def _swap(self, graph: Any, late: list[int]) -> None:
        for key in late:
            graph.add(key, self._row(self._row_of[key]), threads=1)
        for key in self._gone:
            graph.remove(key)
        self._gone.clear()
        wanted = len(self._keys) > self._exact_below // 2
        self._graph, self._graph_removed, self._builder = graph if wanted else None, 0, None

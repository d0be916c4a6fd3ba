"""SQLite's checkpoints, out of the writer's way: what a commit has written goes into the ledger's file in a thread of its own.

Theory
------
By SQLite's default the commit that fills the WAL's thousandth page also carries the WAL over and syncs both files: at
5,000 entries/s ten milliseconds in every tenth batch, forty on a busy disk, in which nothing is committed. A PASSIVE
checkpoint of another connection does the same while the writer goes on (sqlite.org/wal.html, 3.2). Pages that come
meanwhile are few, and carried over at once: so the writer nearly always finds the WAL done with, and begins it anew.

Rules
- The writer's own checkpoint stays as a net (``NET_PAGES``): should this thread fail, the WAL does not grow for ever.
"""

import sqlite3
import threading

NET_PAGES = 16_000
"""64 MB: as large as ``journal_size_limit`` lets the WAL's file stay."""
_EVERY_RECORDS = 2_000
"""About a thousand pages."""
_IDLE_S = 1.0
"""A quiet ledger is carried over as well; what was kept back is tried again after as long."""
_PASSES = 4


class Checkpointer:
    """One ledger's checkpoints. ``wrote`` belongs to the writer thread."""

    def __init__(self, path: str) -> None:
        """Raises sqlite3.Error where the ledger cannot be opened."""
        self.fault: str | None = None
        """Why the last checkpoint failed, until one succeeds."""
        self.done = 0
        self._connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._written = self._carried = 0
        """Records: the first is counted by the writer alone, the second by the other thread."""
        self._due = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="penstock-checkpoint", daemon=True)
        self._thread.start()

    def wrote(self, records: int) -> None:
        """So many more were committed."""
        self._written += records
        if self._written - self._carried >= _EVERY_RECORDS:
            self._due.set()

    def close(self) -> None:
        """Stop, and let go of the file."""
        self._closing = True
        self._due.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._closing:
            self._due.wait(_IDLE_S)
            self._due.clear()
            written = self._written
            if self._closing or written == self._carried:
                continue
            whole = False
            try:
                whole = self._carry_over()
                self.fault = None
            except sqlite3.Error as error:
                self.fault = f"The ledger's WAL cannot be carried over, and grows: {error}."
            self._carried = written if whole else written - 1  # what is left is looked at again

    def _carry_over(self) -> bool:
        """False: something is left behind, for others keep it back: a reader in an old state, a writer who is quicker."""
        for _ in range(_PASSES):
            row = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            busy, pages, carried = (int(one) for one in row)
            self.done += 1
            if busy:
                return False
            if pages <= carried:
                return True
        return False

"""Long work over SQL: who has it and for how long, and what came out of it."""

from penstock.objects.store import PIECE_BYTES, Item, Stored
from penstock.objects.tables import COLUMNS, NAMED, ObjectRows, attached, joined, stored_of


class WorkRows(ObjectRows):
    """Claims, leases and results."""

    def claim(self, kind: str, *, worker: str, lease_ms: int, now_ms: int) -> Stored | None:
        """Work that is due and leased by nobody."""
        question = (
            "SELECT seq FROM objects WHERE kind = ? AND due_ms <= ? AND (lease_ms IS NULL OR lease_ms <= ?) "
            "AND (expires_ms IS NULL OR expires_ms > ?) ORDER BY due_ms, seq LIMIT 1"
        )
        asked = (kind, now_ms, now_ms, now_ms)
        with self.database.reading() as connection:  # mostly there is none: nobody is to wait for that
            if connection.execute(question, asked).fetchone() is None:
                return None
        with self.database.writing() as connection:
            row = connection.execute(question + self.database.skip, asked).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE objects SET lease_ms = ?, worker = ?, version = version + 1 WHERE seq = ?",
                (now_ms + lease_ms, worker, row[0]),
            )
            return stored_of(
                connection.execute(f"SELECT {COLUMNS} FROM objects WHERE seq = ?", (row[0],)).fetchone()  # noqa: S608 - our own names
            )

    def renew(
        self, kind: str, name: str, owner: str, *, worker: str, lease_ms: int, now_ms: int
    ) -> Stored | None:
        """Hold it for longer."""
        with self.database.writing() as connection:
            held = connection.execute(
                f"UPDATE objects SET lease_ms = ? WHERE {NAMED} AND worker = ? "  # noqa: S608 - our own names
                "AND (expires_ms IS NULL OR expires_ms > ?)",
                (now_ms + lease_ms, kind, owner, name, worker, now_ms),
            )
            if not held.rowcount:
                return None
            row = connection.execute(f"SELECT {COLUMNS} FROM objects WHERE {NAMED}", (kind, owner, name))  # noqa: S608 - our own names
            return stored_of(row.fetchone())

    def release(self, kind: str, name: str, owner: str, *, worker: str, due_ms: int) -> bool:
        """Give it back."""
        with self.database.writing() as connection:
            given = connection.execute(
                f"UPDATE objects SET lease_ms = NULL, worker = NULL, due_ms = ? WHERE {NAMED} AND worker = ?",  # noqa: S608 - our own names
                (due_ms, kind, owner, name, worker),
            )
            return given.rowcount > 0

    def tell(self, kind: str, name: str, owner: str, items: list[Item]) -> int:
        """Keep results."""
        new, waiting, held_bytes = 0, list[Item](), 0
        for item in items:
            if len(item.body) > PIECE_BYTES:
                new += self._tell(kind, name, owner, [item], self.sent_ahead(item.body))
                continue
            if waiting and held_bytes + len(item.body) > PIECE_BYTES:
                new += self._tell(kind, name, owner, waiting, None)
                waiting, held_bytes = [], 0
            waiting.append(item)
            held_bytes += len(item.body)
        return new + (self._tell(kind, name, owner, waiting, None) if waiting else 0)

    def _tell(self, kind: str, name: str, owner: str, items: list[Item], draft: str | None) -> int:
        new = 0
        with self.database.writing() as connection:
            held = self.held(connection, kind, name, owner)
            if held is None or not self.lives(held):
                return 0
            for item in items:
                values = (held[0], item.n, item.state, item.body if draft is None else None, draft)
                new += connection.execute(
                    "INSERT INTO object_items (seq, n, state, data, blob) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    values,
                ).rowcount
            if draft is not None and new:
                attached(connection, draft, b"")
        return new

    def told(self, kind: str, name: str, owner: str, *, start: int = 0, limit: int = 100) -> list[Item]:
        """Results in order."""
        with self.database.reading() as connection:
            row = self.live(connection, kind, name, owner, "seq")
            if row is None:
                return []
            rows = connection.execute(
                "SELECT n, state, data, blob FROM object_items WHERE seq = ? AND n >= ? ORDER BY n LIMIT ?",
                (row[0], start, limit),
            ).fetchall()
            return [
                Item(n, state, joined(connection, blob) if data is None else bytes(data))
                for n, state, data, blob in rows
            ]

    def counts(self, kind: str, name: str, owner: str) -> dict[str, int]:
        """How many results of each state."""
        with self.database.reading() as connection:
            row = self.live(connection, kind, name, owner, "seq")
            if row is None:
                return {}
            rows = connection.execute(
                "SELECT state, count(*) FROM object_items WHERE seq = ? GROUP BY state", (row[0],)
            ).fetchall()
        return {str(state): int(count) for state, count in rows}

    def numbers(self, kind: str, name: str, owner: str) -> list[int]:
        """Of which numbers there is a result."""
        with self.database.reading() as connection:
            row = self.live(connection, kind, name, owner, "seq")
            if row is None:
                return []
            rows = connection.execute("SELECT n FROM object_items WHERE seq = ? ORDER BY n", (row[0],))
            return [int(one[0]) for one in rows.fetchall()]

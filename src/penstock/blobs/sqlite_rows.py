"""The statements of a file of blobs: each in the transaction of whoever calls."""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from penstock.blobs.blob import Blob, Place
from penstock.blobs.far import Change, Drop, Op, Purge, Put, Remember, Used, Which
from penstock.blobs.gdsf import Limits, gain_of

GONE_KEPT_MS = 3_600_000
"""A process that has not polled for so long is told that it has missed something."""
_AT_ONCE = 500
_PLACED = "kind = ? AND tenant = ? AND namespace = ? AND key = ?"
_PUT = (
    "INSERT INTO blobs (kind, tenant, namespace, key, created_ms, expires_ms, worth_nusd, tags, size, uses, gain, priority, "
    "own_priority, writer, about, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, "
    "? + (SELECT clock FROM state), ? + coalesce((SELECT clock FROM tenants WHERE tenant = ?), 0.0), ?, ?, ?)"
)
_USE = (
    "UPDATE blobs SET uses = uses + ?1, priority = (SELECT clock FROM state) + (uses + ?1) * gain, "
    "own_priority = (SELECT clock FROM tenants WHERE tenant = blobs.tenant) + (uses + ?1) * gain WHERE "
)
_NEWS = (
    "SELECT seq, kind, tenant, namespace, key, created_ms, expires_ms, worth_nusd, tags, about FROM blobs "
    "WHERE seq > ? AND writer <> ? ORDER BY seq"
)
_tags = msgspec.json.Decoder(tuple[str, ...]).decode
_encode = msgspec.json.encode
Meant = Callable[[Blob], bool]


def newest(connection: sqlite3.Connection) -> int:
    """The last ``seq`` that was given."""
    return _counted(connection, "blobs")


def mark_of(connection: sqlite3.Connection) -> int:
    """The last number of what is gone."""
    return _counted(connection, "gone")


def apply(connection: sqlite3.Connection, op: Op, writer: str, now_ms: int) -> int:
    """Do it; how many blobs it concerned."""
    if isinstance(op, Put):
        _put(connection, op.blob, writer)
        return 1
    if isinstance(op, Used):
        place = op.place
        bound = (op.times, place.kind, place.tenant, place.namespace, op.key)
        statement = f"{_USE} kind = ?2 AND tenant = ?3 AND namespace = ?4 AND key = ?5"
        return connection.execute(statement, bound).rowcount
    if isinstance(op, Drop):
        where = (op.place.kind, op.place.tenant, op.place.namespace, op.key)
        dropped = connection.execute(f"DELETE FROM blobs WHERE {_PLACED}", where).rowcount  # noqa: S608 - our own words
        if dropped or not op.if_there:
            _note(connection, (now_ms, writer, "drop", *where, None))
        return dropped
    if isinstance(op, Remember):
        connection.execute("INSERT OR REPLACE INTO heard VALUES (1, ?)", (op.position,))
        return 0
    return _purge(connection, op, writer, now_ms)


def use(connection: sqlite3.Connection, seq: int, times: int) -> None:
    """It was of use."""
    connection.execute(f"{_USE} seq = ?2", (times, seq))


def purged_words(connection: sqlite3.Connection, which: Which) -> list[tuple[Place, bytes]]:
    """What a purge will take, of that which has an ``about``: others know of it without having it in memory."""
    where, bound = _where(which)
    rows = connection.execute(
        f"SELECT kind, tenant, namespace, key FROM blobs WHERE length(about) > 0 AND {where}",  # noqa: S608 - our own words
        bound,
    )
    return [(Place(kind, tenant, namespace), key) for kind, tenant, namespace, key in rows]


def purged_since(connection: sqlite3.Connection, mark: int, writer: str) -> list[tuple[int, Meant]]:
    """What others have dropped since: number, and whether a blob is meant."""
    if mark_of(connection) <= mark:
        return []
    rows = connection.execute(
        "SELECT number, kind, tenant, namespace, key, tag FROM gone "
        "WHERE number > ? AND writer <> ? AND what IN ('drop', 'purge')",
        (mark, writer),
    )
    return [(row[0], _meant(*row[1:])) for row in rows]


def make_room(
    connection: sqlite3.Connection,
    limits: Limits,
    tenants: Iterable[str],
    newest_seq: int,
    writer: str,
    now_ms: int,
) -> list[tuple[Place, bytes]]:
    """Until every limit is kept, of all and of these tenants. What is over goes first, what is newer than ``newest_seq`` last."""
    gone: list[tuple[Place, bytes]] = []
    for tenant in [*filter(None, sorted(tenants)), None]:
        if tenant is None:
            most = (limits.max_entries, limits.max_bytes)
        else:
            most = (limits.tenant_max_entries, limits.tenant_max_bytes)
        if not _over(connection, tenant, most):
            continue
        sweep(connection, now_ms)
        for upto in (newest_seq, 2**63 - 1):
            while _over(connection, tenant, most):
                some = _evict(connection, tenant, most, upto)
                if not some:
                    break
                gone += some
    for place, key in gone:
        _note(connection, (now_ms, writer, "evict", place.kind, place.tenant, place.namespace, key, None))
    if gone:
        connection.execute("UPDATE state SET evicted = evicted + ?", (len(gone),))
    return gone


def sweep(connection: sqlite3.Connection, now_ms: int) -> None:
    """Drop what is over, and notes that nobody needs any more."""
    while (
        connection.execute(
            "DELETE FROM blobs WHERE seq IN (SELECT seq FROM blobs WHERE expires_ms <= ? LIMIT ?)",
            (now_ms, _AT_ONCE),
        ).rowcount
        == _AT_ONCE
    ):
        pass
    old = "SELECT max(number) FROM gone WHERE at_ms <= ?"
    (floor,) = connection.execute(old, (now_ms - GONE_KEPT_MS,)).fetchone()
    if floor is not None:
        connection.execute("DELETE FROM gone WHERE number <= ?", (floor,))
        connection.execute("UPDATE state SET gone_floor = ?", (floor,))


def changes_since(
    connection: sqlite3.Connection, mark: int, seq: int, writer: str
) -> tuple[list[Change], int, int]:
    """What others did, and how far that goes. What is gone comes first: what was written after it still lies there."""
    changes: list[Change] = []
    if connection.execute("SELECT gone_floor FROM state").fetchone()[0] > mark:
        changes.append(Change("lost"))
    rows = connection.execute(
        "SELECT what, kind, tenant, namespace, key, tag FROM gone WHERE number > ? AND writer <> ? ORDER BY number",
        (mark, writer),
    )
    for what, kind, tenant, namespace, key, tag in rows:
        if what == "purge":
            changes.append(Change("purge", which=Which(kind, tenant, namespace, tag)))
        else:
            kept = "evict" if what == "evict" else "drop"
            changes.append(Change(kept, Place(kind, tenant, namespace), key))
    for number, kind, tenant, namespace, key, created, expires, worth, tags, about in connection.execute(
        _NEWS, (seq, writer)
    ):
        place = Place(kind, tenant, namespace)
        blob = Blob(place, key, b"", created, expires, worth, _tags(tags), about, number)
        changes.append(Change("put", place, key, blob))
    return changes, mark_of(connection), newest(connection)


def _put(connection: sqlite3.Connection, blob: Blob, writer: str) -> None:
    place, size = blob.place, len(blob.value) + len(blob.about)
    where = (place.kind, place.tenant, place.namespace, blob.key)
    gain = gain_of(blob.worth_nusd, size)
    connection.execute(f"DELETE FROM blobs WHERE {_PLACED}", where)  # noqa: S608 - our own words
    made = connection.execute(
        _PUT,
        (
            *(*where, blob.created_ms, blob.expires_ms, blob.worth_nusd, _encode(blob.tags).decode(), size),
            *(gain, gain, gain, place.tenant, writer, blob.about, blob.value),
        ),
    )
    if blob.tags:
        connection.executemany(
            "INSERT OR IGNORE INTO blob_tags VALUES (?, ?)", [(tag, made.lastrowid) for tag in blob.tags]
        )


def _purge(connection: sqlite3.Connection, op: Purge, writer: str, now_ms: int) -> int:
    which = op.which
    where, bound = _where(which)
    words = (which.kind, which.tenant, which.namespace, None, which.tag)
    _note(connection, (now_ms, writer, "purge", *words))
    meant = f"FROM blobs WHERE length(about) > 0 AND {where}"
    connection.execute(
        "INSERT INTO gone (at_ms, writer, what, kind, tenant, namespace, key) "
        f"SELECT ?, ?, 'key', kind, tenant, namespace, key {meant}",
        (now_ms, writer, *bound),
    )
    return connection.execute(f"DELETE FROM blobs WHERE {where}", bound).rowcount  # noqa: S608 - our own words


def _where(which: Which) -> tuple[str, list[Any]]:
    words = {"kind = ?": which.kind, "tenant = ?": which.tenant, "namespace = ?": which.namespace}
    words["seq IN (SELECT seq FROM blob_tags WHERE tag = ?)"] = which.tag
    told = {word: value for word, value in words.items() if value is not None}
    return " AND ".join(told) or "1", list(told.values())


def _note(connection: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    connection.execute(
        "INSERT INTO gone (at_ms, writer, what, kind, tenant, namespace, key, tag) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )


def _meant(
    kind: str | None, tenant: str | None, namespace: str | None, key: bytes | None, tag: str | None
) -> Meant:
    which = Which(kind, tenant, namespace, tag)
    return lambda blob: which.blob(blob) and key in (None, blob.key)


def _over(connection: sqlite3.Connection, tenant: str | None, most: tuple[int, int]) -> bool:
    entries, size = _totals(connection, tenant)
    return entries > most[0] or size > most[1]


def _totals(connection: sqlite3.Connection, tenant: str | None) -> tuple[int, int]:
    if tenant is None:
        row = connection.execute("SELECT entries, size FROM state").fetchone()
    else:
        row = connection.execute("SELECT entries, size FROM tenants WHERE tenant = ?", (tenant,)).fetchone()
    return (0, 0) if row is None else (row[0], row[1])


def _evict(
    connection: sqlite3.Connection, tenant: str | None, most: tuple[int, int], upto: int
) -> list[tuple[Place, bytes]]:
    """The next ones in line, as many as must go; and the clock goes on."""
    entries, size = _totals(connection, tenant)
    order, where = ("priority", "1") if tenant is None else ("own_priority", "tenant = ?")
    rows = connection.execute(
        f"SELECT seq, size, {order}, kind, tenant, namespace, key FROM blobs WHERE {where} AND seq <= ? "  # noqa: S608 - our own words
        f"ORDER BY {order}, seq LIMIT ?",
        (*([] if tenant is None else [tenant]), upto, _AT_ONCE),
    ).fetchall()
    gone: list[tuple[Place, bytes]] = []
    clock = 0.0
    for seq, its_size, priority, kind, its_tenant, namespace, key in rows:
        if entries <= most[0] and size <= most[1]:
            break
        connection.execute("DELETE FROM blobs WHERE seq = ?", (seq,))
        entries, size, clock = entries - 1, size - its_size, max(clock, priority)
        gone.append((Place(kind, its_tenant, namespace), key))
    if gone and tenant is None:
        connection.execute("UPDATE state SET clock = max(clock, ?)", (clock,))
    elif gone:
        connection.execute("UPDATE tenants SET clock = max(clock, ?) WHERE tenant = ?", (clock, tenant))
    return gone


def _counted(connection: sqlite3.Connection, table: str) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 0 if row is None else int(row[0])

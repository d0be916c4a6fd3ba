"""The ledger's tables, as frozen migrations, and the statements that fill them.

Rules
- A migration that was released is never edited: a change is a new one. ``user_version`` counts them.
- A file is ours if its ``application_id`` says so; a file of anyone else is never touched.
- One statement writes many rows in one step (decision 001). ``OR IGNORE`` by id makes a repeated batch harmless.
- An index holds only what no other index finds: a body or a trace often carries its call's own id.

Does not: rows of Entry.lines as a table of its own; the view ``lines`` unfolds them.
"""

import sqlite3

from penstock.base.errors import ConfigFault
from penstock.ledger.checkpoint import NET_PAGES
from penstock.ledger.entry import Call, Entry

APPLICATION_ID = 0x50454E53
""" "PENS" in the file's header."""

LEDGER_PATH = "$.ledger.path"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE calls (
            request_id TEXT PRIMARY KEY NOT NULL,
            at_ms INTEGER NOT NULL,
            virtual_key TEXT,
            asked_model TEXT,
            status INTEGER,
            error_code TEXT,
            stream INTEGER,
            attempts INTEGER,
            latency_ms REAL,
            gateway_us INTEGER,
            client_request_id TEXT,
            body_id TEXT,
            adjusted TEXT,
            explain TEXT,
            config_version TEXT
        )
        """,
        """
        CREATE TABLE entries (
            id TEXT PRIMARY KEY NOT NULL,
            request_id TEXT NOT NULL,
            trace_id TEXT,
            stage TEXT,
            attempt INTEGER,
            at_ms INTEGER NOT NULL,
            class TEXT NOT NULL,
            provider TEXT,
            model TEXT,
            model_served TEXT,
            provider_key TEXT,
            virtual_key TEXT,
            route TEXT,
            dialect TEXT,
            stream INTEGER,
            status INTEGER,
            error_code TEXT,
            error TEXT,
            finish_reason TEXT,
            native_finish_reason TEXT,
            upstream_id TEXT,
            input INTEGER,
            cache_read INTEGER,
            cache_write_5m INTEGER,
            cache_write_1h INTEGER,
            input_audio INTEGER,
            input_image INTEGER,
            output INTEGER,
            reasoning INTEGER,
            output_audio INTEGER,
            output_image INTEGER,
            usage_source TEXT,
            lines TEXT,
            cost_nusd INTEGER,
            price_version TEXT,
            latency_ms REAL,
            ttft_ms REAL,
            tokens_per_s REAL,
            connect_ms REAL,
            meta TEXT
        )
        """,
        "CREATE INDEX calls_at ON calls (at_ms)",
        "CREATE INDEX calls_body ON calls (body_id)",
        "CREATE INDEX entries_at ON entries (at_ms)",
        "CREATE INDEX entries_request ON entries (request_id)",
        "CREATE INDEX entries_trace ON entries (trace_id)",
        """
        CREATE VIEW lines AS
        SELECT
            e.id AS entry_id,
            e.request_id AS request_id,
            e.at_ms AS at_ms,
            json_extract(l.value, '$[0]') AS unit,
            json_extract(l.value, '$[1]') AS quantity,
            json_extract(l.value, '$[2]') AS price_pico_usd,
            json_extract(l.value, '$[3]') AS per,
            json_extract(l.value, '$[4]') AS price_version,
            json_extract(l.value, '$[5]') AS usage_source,
            json_extract(l.value, '$[6]') AS cost_nusd
        FROM entries e, json_each(e.lines) l
        """,
    ),
    (
        "ALTER TABLE entries ADD COLUMN service_tier TEXT",
        # Every index is one more page per batch, and one more per row where its keys come in no order.
        "DROP INDEX entries_request",
        "DROP INDEX calls_body",
        "DROP INDEX entries_trace",
        "CREATE INDEX calls_body ON calls (body_id) WHERE body_id <> '' AND body_id <> request_id",
        "CREATE INDEX entries_trace ON entries (trace_id) WHERE trace_id <> request_id",
    ),
    ("ALTER TABLE entries ADD COLUMN joules REAL",),
    (
        # Filled by whoever reads (ledger.rollup), never by the writer of entries.
        """
        CREATE TABLE rollup_state (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            upto INTEGER NOT NULL,
            last_id TEXT NOT NULL,
            changes INTEGER NOT NULL
        )
        """,
        "INSERT INTO rollup_state VALUES (1, 0, '', 0)",
        """
        CREATE TABLE rollup_cells (
            cell INTEGER PRIMARY KEY,
            hour INTEGER NOT NULL,
            stage TEXT NOT NULL,
            class TEXT NOT NULL,
            provider TEXT NOT NULL,
            model TEXT NOT NULL,
            entries INTEGER NOT NULL,
            calls INTEGER NOT NULL,
            unpriced INTEGER NOT NULL,
            cost_nusd INTEGER NOT NULL,
            wall_us INTEGER NOT NULL
        )
        """,
        "CREATE TABLE rollup_sets (id INTEGER PRIMARY KEY, cells TEXT NOT NULL, traces INTEGER NOT NULL)",
        "CREATE TABLE rollup_traces (trace TEXT PRIMARY KEY NOT NULL, cells INTEGER NOT NULL) WITHOUT ROWID",
        # Entries are never changed by us; where somebody's tool does, the rollups start anew.
        """
        CREATE TRIGGER rollup_deleted AFTER DELETE ON entries
        BEGIN UPDATE rollup_state SET upto = -1, changes = changes + 1; END
        """,
        """
        CREATE TRIGGER rollup_updated AFTER UPDATE ON entries
        BEGIN UPDATE rollup_state SET upto = -1, changes = changes + 1; END
        """,
    ),
    (
        *(
            # Not NOT NULL: a row that breaks such a rule would be passed over like one that is there.
            f"ALTER TABLE {table} ADD COLUMN {column} TEXT DEFAULT ''"
            for table in ("calls", "entries")
            for column in ("organisation", "team", "end_user")
        ),
        # In place of an index of the times alone: what anyone has spent since a moment is read from it, and nothing else
        # (ledger.spent). Its keys come in the order of time, so that a batch still touches its last page only.
        "DROP INDEX entries_at",
        """
        CREATE INDEX entries_spent ON entries (
            at_ms, virtual_key, end_user, team, organisation, class, cost_nusd
        )
        """,
    ),
    ("ALTER TABLE entries ADD COLUMN saved_nusd INTEGER DEFAULT 0",),
)

_COLUMNS = {"klass": "class", "user": "end_user"}
"""Fields whose column has another name: PostgreSQL reads ``user`` as who is connected."""

FILLED = {"organisation": "''", "team": "''", "end_user": "''", "saved_nusd": "0"}
"""What a migration writes into new columns of old rows; NULL into all others."""


def _columns(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_COLUMNS.get(name, name) for name in fields)


CALL_COLUMNS: tuple[str, ...] = _columns(Call.__struct_fields__)
ENTRY_COLUMNS: tuple[str, ...] = _columns(Entry.__struct_fields__)

STATEMENT_ROWS: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""How many rows one statement can take. Steps of a third: what a batch leaves empty costs little, and SQLite keeps every
one prepared (3 MiB). More rows in one step save nothing, and binding them holds the GIL as long as it takes."""


def insert_of(table: str, columns: tuple[str, ...], rows: int) -> str:
    """A statement that writes ``rows`` rows in one step. A row whose id is NULL is passed over, like one that is there."""
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - our own names


INSERT_CALLS: dict[int, str] = {rows: insert_of("calls", CALL_COLUMNS, rows) for rows in STATEMENT_ROWS}
INSERT_ENTRIES: dict[int, str] = {rows: insert_of("entries", ENTRY_COLUMNS, rows) for rows in STATEMENT_ROWS}

PRAGMAS = (
    # NORMAL: a killed process loses nothing; a power cut may take the last commits, never the file's
    # integrity. Why that is enough here: decision 001.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 67108864",
    f"PRAGMA wal_autocheckpoint = {NET_PAGES}",
)
"""Of every connection that writes the ledger."""


def open_writer(path: str) -> sqlite3.Connection:
    """Open or create the ledger and migrate it. Raises ConfigFault with a sentence."""
    try:
        connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise cannot_open(path, error) from error
    try:
        refuse_strangers(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        for pragma in PRAGMAS:
            connection.execute(pragma)
        _migrate(connection, path)
        # From here on sqlite3 begins a transaction itself, with the first row of a batch.
        connection.isolation_level = "IMMEDIATE"
    except sqlite3.Error as error:
        connection.close()
        raise cannot_open(path, error) from error
    except ConfigFault:
        connection.close()
        raise
    return connection


def refuse_strangers(connection: sqlite3.Connection, path: str, *, may_be_new: bool = True) -> None:
    """Raises ConfigFault for what is not ours, or is of a newer version."""
    # In this order: tables and id are made in one transaction, so whoever sees the tables then sees the id.
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID and not (empty and application == 0 and may_be_new):
        raise ConfigFault(
            f"{path!r} is not a Penstock ledger: it is another program's database, or an empty file.",
            path=LEDGER_PATH,
            hint="Name another file; this one was left as it is.",
        )
    if version > len(MIGRATIONS):
        raise ConfigFault(
            f"The ledger {path!r} was written by a newer Penstock (schema {version}; this one knows {len(MIGRATIONS)}).",
            path=LEDGER_PATH,
            hint="Run the newer version, or name another file.",
        )


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    # Two processes may open a new file at once: the version is read inside the write transaction.
    connection.execute("BEGIN IMMEDIATE")
    try:
        refuse_strangers(connection, path)
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def cannot_open(path: str, error: sqlite3.Error) -> ConfigFault:
    """Why a file cannot be opened."""
    return ConfigFault(
        f"The ledger {path!r} cannot be opened: {error}.",
        path=LEDGER_PATH,
        hint="Name a file in a directory that exists and may be written, with ledger.path or --db.",
    )

"""Our schema ``penstock`` in the database: its migrations, and a partition for each month.

Rules
- Migrations run at start, in one transaction under an advisory lock: of several gateways one does it, the others wait.
- A database that a newer Penstock has migrated is refused, and left as it is.
- The writer makes the partitions of this month and the next two. What falls in none of them (events of long ago) goes to
  ``*_other``; a month that is made takes its rows from there. So a partition that cannot be made yet loses nothing.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from penstock.base.errors import ConfigFault
from penstock.ledger.postgres.address import PATH, Address

HEAD: Final = "0008"
KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Every migration of this version; the last one is what it writes to."""
MONTHS_AHEAD = 2
TABLES = ("calls", "entries")
SESSION = "-c search_path=penstock -c statement_timeout=60000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
_MIGRATION_LOCK = 0x50454E53
_PARTITION_LOCK = 0x50454E54
_MIGRATIONS = Path(__file__).parent / "migrations"


def version_of(connection: "psycopg.Connection[Any]") -> str | None:
    """The newest migration of this database; None where there is no ledger."""
    if connection.execute("SELECT to_regclass('penstock.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM penstock.alembic_version").fetchone()
    return None if row is None else str(row[0])


def refuse_newer(address: Address, version: str | None) -> None:
    """Raises ConfigFault for a database of a newer version."""
    if version is not None and version not in KNOWN:
        raise ConfigFault(
            f"The ledger {address.shown} was written by a newer Penstock (schema {version}; this one knows {HEAD}).",
            path=PATH,
            hint="Run the newer version, or name another database.",
        )


def prepare(address: Address) -> None:
    """Migrate where needed. Raises ConfigFault with a sentence."""
    try:
        with address.connect(settings=SESSION, autocommit=True) as connection:
            encoding = connection.execute("SHOW server_encoding").fetchone()
            version = version_of(connection)
    except psycopg.Error as error:
        raise address.fault(error, "opened") from error
    if encoding != ("UTF8",):
        raise ConfigFault(
            f"The database of {address.shown} is not in UTF-8.",
            path=PATH,
            hint="Create one with ENCODING 'UTF8' TEMPLATE template0.",
        )
    refuse_newer(address, version)
    if version != HEAD:
        migrate(address)


def state_of(url: str) -> str:
    """How the database stands, in words; nothing is changed."""
    address = Address(url)
    try:
        with address.connect(autocommit=True) as connection:
            server, version = connection.info.server_version // 10_000, version_of(connection)
    except psycopg.Error as error:
        raise address.fault(error, "opened") from error
    refuse_newer(address, version)
    if version == HEAD:
        ledger = f"schema {version}"
    else:
        ledger = f"schema {version or 'none yet'}; the next start brings it to {HEAD}"
    return f"{address.shown}: PostgreSQL {server}, {ledger}"


def migrate(address: Address, to: str = HEAD) -> None:
    """Run the migrations up to ``to``, under the lock."""
    from alembic import command  # noqa: PLC0415 - see tests/house/test_floors.py
    from alembic.config import Config  # noqa: PLC0415 - see tests/house/test_floors.py
    from sqlalchemy import create_engine, text  # noqa: PLC0415 - see tests/house/test_floors.py
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see tests/house/test_floors.py
    from sqlalchemy.pool import NullPool  # noqa: PLC0415 - see tests/house/test_floors.py

    def connect() -> "psycopg.Connection[Any]":
        # Whoever waits for another's migration waits for as long as that takes.
        return address.connect(settings="-c lock_timeout=0 -c statement_timeout=0")

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            known = connection.execute(text("SELECT to_regnamespace('penstock')")).scalar()
            if known is None:
                connection.execute(text("CREATE SCHEMA penstock"))
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    except DBAPIError as error:
        raise address.fault(error.orig or error, "migrated") from error.orig
    finally:
        engine.dispose()


def month_of(at_ms: int) -> tuple[int, int]:
    """Year and month, UTC."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.year, moment.month


def months_from(at_ms: int, ahead: int = MONTHS_AHEAD) -> list[tuple[int, int]]:
    """The month of ``at_ms`` and those after it."""
    year, month = month_of(at_ms)
    return [(year + (month - 1 + n) // 12, (month - 1 + n) % 12 + 1) for n in range(ahead + 1)]


def bounds_ms(year: int, month: int) -> tuple[int, int]:
    """The first millisecond of a month, and the first beyond."""
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    first, beyond = datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)
    return round(first.timestamp() * 1000), round(beyond.timestamp() * 1000)


def make_months(connection: "psycopg.Connection[Any]", now_ms: int) -> None:
    """Make what is missing of the coming months' partitions; each is a transaction of its own, and short.

    ATTACH, not PARTITION OF: that would lock out every reader and writer of the whole table.
    """
    for year, month in months_from(now_ms):
        for table in TABLES:
            name = f"{table}_{year:04d}_{month:02d}"
            if connection.execute("SELECT to_regclass(%s)", (f"penstock.{name}",)).fetchone() != (None,):
                continue
            connection.execute("SET LOCAL lock_timeout = 1000")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_PARTITION_LOCK,))
            if connection.execute("SELECT to_regclass(%s)", (f"penstock.{name}",)).fetchone() == (None,):
                _make(connection, table, name, bounds_ms(year, month))
            connection.commit()
    connection.commit()


def _make(connection: "psycopg.Connection[Any]", table: str, name: str, bounds: tuple[int, int]) -> None:
    first, beyond = bounds
    for statement in (
        f"CREATE TABLE penstock.{name} (LIKE penstock.{table} INCLUDING ALL)",
        f"LOCK TABLE penstock.{table}_other IN ACCESS EXCLUSIVE MODE",
        (
            f"WITH moved AS (DELETE FROM penstock.{table}_other WHERE at_ms >= {first} AND at_ms < {beyond} RETURNING *) "  # noqa: S608 - our own names and numbers
            f"INSERT INTO penstock.{name} SELECT * FROM moved"
        ),
        f"ALTER TABLE penstock.{table} ATTACH PARTITION penstock.{name} FOR VALUES FROM ({first}) TO ({beyond})",
    ):
        connection.execute(statement.encode())

"""Which ledger is meant, by its place: a file's path is SQLite's, ``postgresql://`` is PostgreSQL's.

What PostgreSQL needs (``penstock[postgres]``) is imported only where such a place is named.
"""

from penstock.base.errors import ConfigFault
from penstock.ledger.journal import Journal
from penstock.ledger.reading import open_reader
from penstock.ledger.sql import Reading

SCHEMES = ("postgresql://", "postgres://")


def is_postgres(place: str) -> bool:
    """True for a URL of PostgreSQL."""
    return place.startswith(SCHEMES)


def open_journal(place: str, *, flush_ms: int, max_queue: int) -> Journal:
    """The journal at ``place``, made or migrated where needed. Raises ConfigFault with a sentence."""
    if not is_postgres(place):
        return Journal(place, flush_ms=flush_ms, max_queue=max_queue)
    try:
        from penstock.ledger.postgres.store import PostgresStore  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise _not_installed(error) from error
    return Journal(flush_ms=flush_ms, max_queue=max_queue, store=PostgresStore(place))


def open_ledger(place: str) -> Reading:
    """The ledger at ``place``, to be read only. Raises ConfigFault where there is none."""
    if not is_postgres(place):
        return open_reader(place)
    try:
        from penstock.ledger.postgres.reader import PostgresReader  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise _not_installed(error) from error
    return PostgresReader(place)


def fold_postgres(place: str, *, from_rows: int) -> int:
    """Fold what is new into the rollups there: how many entries; 0 where that cannot be."""
    try:
        from penstock.ledger.postgres.fold import fold  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError:
        return 0
    return fold(place, from_rows=from_rows)


def state(place: str) -> str:
    """How it stands with a ledger in PostgreSQL, changing nothing. Raises ConfigFault where it cannot be reached."""
    try:
        from penstock.ledger.postgres.schema import state_of  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise _not_installed(error) from error
    return state_of(place)


def shown(place: str) -> str:
    """The place for people: of a URL only what is no secret."""
    if not is_postgres(place):
        return place
    who, at, where = place.partition("://")[2].rpartition("@")
    if "?" in who or "@" in who or (not at and "?" in where and "password" in where):
        return "postgresql://(not shown: its password may stand in an odd place)"
    return f"postgresql://{where.partition('?')[0]}"


def _not_installed(error: ImportError) -> ConfigFault:
    return ConfigFault(
        f"A ledger in PostgreSQL needs packages that are not installed ({error.name} is missing).",
        path="$.ledger.url",
        hint="Run pip install 'penstock[postgres]'.",
    )

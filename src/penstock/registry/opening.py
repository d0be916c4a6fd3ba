"""Which store is meant, by the ledger's place: beside a file a file, in PostgreSQL its own tables."""

from penstock.base.errors import ConfigFault
from penstock.ledger.opening import is_postgres
from penstock.registry.store import SUFFIX, FileStore, Store


def open_store(place: str) -> Store:
    """The store that belongs to the ledger at ``place``. Raises ConfigFault with a sentence."""
    if not is_postgres(place):
        return FileStore(place + SUFFIX)
    try:
        from penstock.registry.postgres import PostgresStore  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise ConfigFault(
            f"A ledger in PostgreSQL needs packages that are not installed ({error.name} is missing).",
            path="$.ledger.url",
            hint="Run pip install 'penstock[postgres]'.",
        ) from error
    return PostgresStore(place)

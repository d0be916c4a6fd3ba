"""Where what callers leave with us is kept: in the ledger's own database, once the ledger is open."""

from functools import partial

from penstock.base.errors import ConfigFault
from penstock.ledger.opening import is_postgres
from penstock.objects.keeper import THREADS, Keeper
from penstock.objects.sql import SqlObjects
from penstock.objects.sqlite import SqliteTables
from penstock.objects.store import ObjectStore
from penstock.objects.times import unix_ms


def keeper_at(place: str) -> Keeper:
    """The keeper of the ledger at ``place``, which has been opened (and so migrated) before the first question."""
    return Keeper(partial(_open, place))


async def opened_at(place: str) -> Keeper:
    """The same, open. Raises ConfigFault."""
    keeper = keeper_at(place)
    await keeper.open()
    return keeper


def _open(place: str) -> ObjectStore:
    if not is_postgres(place):
        return SqlObjects(SqliteTables(place, most=THREADS), unix_ms)
    try:
        from penstock.ledger.postgres.address import Address  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.ledger.postgres.schema import SESSION  # noqa: PLC0415 - see tests/house/test_floors.py
        from penstock.objects.postgres import PostgresTables  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise ConfigFault(
            f"A ledger in PostgreSQL needs packages that are not installed ({error.name} is missing).",
            path="$.ledger.url",
            hint="Run pip install 'penstock[postgres]'.",
        ) from error
    address = Address(place)
    tables = PostgresTables(
        lambda: address.connect(settings=SESSION, autocommit=True), address.words, most=THREADS
    )
    return SqlObjects(tables, unix_ms)

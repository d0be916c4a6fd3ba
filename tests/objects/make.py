"""Stores for tests: of a SQLite file and of a PostgreSQL database, on a clock that is set by hand."""

from collections.abc import Callable
from typing import Any

from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.schema import SESSION, prepare
from penstock.objects.postgres import PostgresTables
from penstock.objects.sql import SqlObjects
from penstock.objects.sqlite import SqliteTables

START_MS = 1_800_000_000_000


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


def in_file(path: Any, clock: Callable[[], int]) -> SqlObjects:
    return SqlObjects(SqliteTables(str(path)), clock)


def in_postgres(url: str, clock: Callable[[], int]) -> SqlObjects:
    address = Address(url)
    prepare(address)
    tables = PostgresTables(lambda: address.connect(settings=SESSION, autocommit=True), address.words)
    return SqlObjects(tables, clock)

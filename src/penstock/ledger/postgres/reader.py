"""The ledger in PostgreSQL, to be read: the same ``execute`` that SQLite's connection has."""

from collections.abc import Sequence
from typing import Any

import psycopg

from penstock.base.errors import ConfigFault
from penstock.ledger.postgres.address import PATH, Address
from penstock.ledger.postgres.schema import HEAD, refuse_newer, version_of
from penstock.ledger.sql import POSTGRES, Rows, Sql

READ_ONLY = "-c search_path=penstock -c default_transaction_read_only=on"


class PostgresReader:
    """A connection that cannot write. Raises ConfigFault where there is no ledger, or it cannot be reached."""

    def __init__(self, url: str | Address, *, timeout_ms: int | None = None) -> None:
        self._address = address = url if isinstance(url, Address) else Address(url)
        limit = "" if timeout_ms is None else f" -c statement_timeout={timeout_ms}"
        try:
            self._connection = address.connect(settings=f"{READ_ONLY}{limit}", autocommit=True)
        except psycopg.Error as error:
            raise address.fault(error, "opened") from error
        try:
            version = version_of(self._connection)
            self.server = str(self._connection.info.server_version // 10_000)
            refuse_newer(address, version)
            if version != HEAD:
                raise ConfigFault(
                    f"The database {address.shown} has no ledger"
                    + (f" of this version (schema {version})." if version else "."),
                    path=PATH,
                    hint="Start `penstock serve` once with this ledger.url.",
                )
        except psycopg.Error as error:
            self._connection.close()
            raise address.fault(error, "read") from error
        except ConfigFault:
            self._connection.close()
            raise

    @property
    def sql(self) -> Sql:
        """PostgreSQL's words."""
        return POSTGRES

    def execute(self, statement: str, bound: Sequence[Any] = (), /) -> Rows:
        """Run a question with ``?`` for each bound value. Raises ConfigFault where the server does not answer."""
        try:
            return self._connection.execute(statement.replace("%", "%%").replace("?", "%s").encode(), bound)
        except psycopg.Error as error:
            raise self._address.fault(error, "read") from error

    def close(self) -> None:
        """Let it go."""
        self._connection.close()

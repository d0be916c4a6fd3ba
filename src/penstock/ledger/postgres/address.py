"""Where the database is. The URL holds a password: it is kept here, and never shown.

Rule: libpq's own words may repeat a URL that it cannot read, so of such an error nothing is passed on; and in all others
the password is blotted out before anyone sees them.
"""

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from penstock.base.errors import ConfigFault

PATH = "$.ledger.url"
_DEFAULTS: dict[str, Any] = {
    "application_name": "penstock",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A server that has vanished from the network is noticed, though nobody says good-bye.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_BLOT_FROM = 4
"""A shorter password is not looked for: it would blot out half of every sentence."""


class Address:
    """A database by its URL. ``str`` and ``repr`` show no password."""

    __slots__ = ("_fields", "_password", "shown")

    def __init__(self, url: str) -> None:
        """Raises ConfigFault where the URL cannot be read."""
        try:
            fields = conninfo_to_dict(url)
        except psycopg.Error:
            raise ConfigFault(
                "The ledger's URL cannot be read (it is not repeated here).",
                path=PATH,
                hint="Write postgresql://user:password@host:5432/database; percent-encode special characters.",
            ) from None
        self._password = str(fields.get("password") or "")
        self._fields: dict[str, Any] = {**_DEFAULTS, **fields}
        user = fields.get("user")
        host = str(fields.get("host") or fields.get("hostaddr") or "")
        port = fields.get("port")
        who = f"{user}@" if user else ""
        self.shown = f"postgresql://{who}{host}{f':{port}' if port else ''}/{fields.get('dbname') or ''}"

    def connect(self, *, settings: str = "", **overrides: Any) -> "psycopg.Connection[Any]":
        """A new connection. ``settings`` are the server's, as ``-c name=value``."""
        fields = {**self._fields, **overrides}
        options = " ".join(filter(None, (str(fields.pop("options", "") or ""), settings)))
        if options:
            fields["options"] = options
        return psycopg.connect(**fields, prepare_threshold=None)

    def words(self, error: BaseException) -> str:
        """An error's first line, without the password."""
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if len(self._password) >= _BLOT_FROM:
            text = text.replace(self._password, "***")
        return text.rstrip(".")

    def fault(self, error: BaseException, doing: str) -> ConfigFault:
        """Why the ledger cannot be ``doing`` (opened, read, ...)."""
        return ConfigFault(
            f"The ledger {self.shown} cannot be {doing}: {self.words(error)}.",
            path=PATH,
            hint="Check that the server runs, and that this user may create a schema in this database.",
        )

    def __repr__(self) -> str:
        """Without the password."""
        return f"Address({self.shown})"

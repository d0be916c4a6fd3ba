"""Which gateway and which ledger a command means.

A running gateway: ``--url``, else the one that ``PENSTOCK_URL`` names, as for the meter. A ledger: ``--db``, a file, a
``postgresql://`` URL, or the name of what holds such a URL and its password.
"""

import os
from pathlib import Path

from penstock.base.decisions import Rejected
from penstock.base.errors import ConfigFault
from penstock.config.secrets import is_reference, resolve

DEFAULT_CONFIG = Path("penstock.yaml")
"""Where no configuration is named, and this one is there, it is meant."""
DEFAULT_URL = "http://127.0.0.1:8080"
URL_HELP = f"the running gateway (PENSTOCK_URL, or {DEFAULT_URL})"
LEDGER_HELP = "the ledger: a file, postgresql://..., or env.NAME or file:PATH that holds such a URL"


def gateway_named(url: str | None) -> tuple[str | None, str]:
    """The gateway that ``--url`` names, or PENSTOCK_URL, and which of the two said so; None: neither does."""
    if url is not None:
        return url, "--url"
    return os.environ.get("PENSTOCK_URL") or None, "$PENSTOCK_URL"


def ledger_at(text: str) -> str:
    """The place behind ``--db``; raises ConfigFault where it names nothing."""
    if not is_reference(text) or Path(text).exists():
        return text
    found = resolve(text, os.environ, Path())
    if isinstance(found, Rejected):
        raise ConfigFault(found.reason, path="--db", hint="Name a variable or a file that holds the URL.")
    return found.reveal()

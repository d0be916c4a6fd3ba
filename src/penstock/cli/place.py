"""Which ledger ``--db`` means: a file, a ``postgresql://`` URL, or the name of what holds such a URL and its password."""

import os
from pathlib import Path

from penstock.base.decisions import Rejected
from penstock.base.errors import ConfigFault
from penstock.config.secrets import is_reference, resolve

DEFAULT_CONFIG = Path("penstock.yaml")
"""Where no configuration is named, and this one is there, it is meant."""
LEDGER_HELP = "the ledger: a file, postgresql://..., or env.NAME or file:PATH that holds such a URL"


def ledger_at(text: str) -> str:
    """The place behind ``--db``; raises ConfigFault where it names nothing."""
    if not is_reference(text) or Path(text).exists():
        return text
    found = resolve(text, os.environ, Path())
    if isinstance(found, Rejected):
        raise ConfigFault(found.reason, path="--db", hint="Name a variable or a file that holds the URL.")
    return found.reveal()

"""Faults of Redis's URLs: ``state.url``, ``cache.redis``. What stands in it is not repeated: it may be a password."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from penstock.config.fault import Fault

_PATH = "$.state.url"
_URL = "redis://host:6379/0, or env.NAME where it stands with its password"
_SCHEMES = ("redis", "rediss", "unix")


def state_faults(url: str, *, plain: bool, path: str = _PATH) -> Iterator[Fault]:
    """Of the URL itself. ``plain``: it stands in the configuration."""
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or "password=" in parts.query
    except ValueError:
        yield Fault(path, "This is no URL (it is not repeated here).", f"Write {_URL}.")
        return
    if parts.scheme not in _SCHEMES:
        yield Fault(path, "The URL is not Redis's.", f"Write {_URL}.")
    elif plain and secret:
        yield Fault(
            path,
            "A password must not stand in the configuration (it is not repeated here).",
            "Write env.NAME or file:PATH, and keep the whole URL there.",
        )

"""The store that nodes share, by its URL. What it needs (``penstock[redis]``) is imported only where there is one."""

from typing import TYPE_CHECKING

from penstock.base.errors import ConfigFault

if TYPE_CHECKING:
    from penstock.state.redis_store import RedisStore


async def open_shared(url: str, prefix: str, run: str) -> "RedisStore":
    """Connected, and listening. Raises ConfigFault with a sentence."""
    try:
        from penstock.state.redis_store import RedisStore  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise ConfigFault(
            f"A shared state in Redis needs packages that are not installed ({error.name} is missing).",
            path="$.state.url",
            hint="Run pip install 'penstock[redis]'.",
        ) from error
    store = RedisStore(url, prefix, run)
    await store.open()
    return store

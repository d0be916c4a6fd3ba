"""Which stores there are, by their settings. What Redis needs (``penstock[redis]``) is imported only where one is named."""

import time
from collections.abc import Callable

from msgspec import Struct

from penstock.base.errors import ConfigFault
from penstock.blobs.gdsf import Limits
from penstock.blobs.guard import Say
from penstock.blobs.sqlite import SqliteBlobs
from penstock.blobs.tiers import Blobs, OpenFar

DISK_MAX_ENTRIES = 10_000_000


class BlobSettings(Struct, frozen=True, kw_only=True):
    """Where blobs are kept, and how many. ``redis_url`` may hold a password: it is never shown."""

    path: str | None = None
    redis_url: str | None = None
    max_bytes: int = 256 * 1024 * 1024
    max_entries: int = 100_000
    tenant_max_bytes: int | None = None
    disk_max_bytes: int = 4 * 1024**3

    def __repr__(self) -> str:
        shared = None if self.redis_url is None else "redis://(not shown)"
        return f"BlobSettings(path={self.path!r}, redis_url={shared!r}, max_bytes={self.max_bytes})"


def open_blobs(
    settings: BlobSettings, *, now_ms: Callable[[], int] | None = None, say: Say | None = None
) -> Blobs:
    """All tiers, to be opened. ``say`` takes a key and a sentence (OperatorLog.once). Raises ConfigFault."""
    clock = now_ms or _unix_ms
    limits = Limits.of(settings.max_bytes, settings.max_entries, settings.tenant_max_bytes)
    far: list[tuple[str, OpenFar]] = []
    if settings.path is not None:
        path = settings.path
        far.append(
            ("sqlite", lambda heard: SqliteBlobs(path, disk_limits(settings), now_ms=clock, heard=heard))
        )
    if settings.redis_url is not None:
        far.append(("redis", _redis(settings.redis_url)))
    return Blobs(limits, far, now_ms=clock, say=say)


def disk_limits(settings: BlobSettings) -> Limits:
    """On disk a tenant has the same share as in memory."""
    memory = Limits.of(settings.max_bytes, settings.max_entries, settings.tenant_max_bytes)
    share = settings.disk_max_bytes * memory.tenant_max_bytes // memory.max_bytes
    return Limits.of(settings.disk_max_bytes, DISK_MAX_ENTRIES, max(1, share))


def _redis(url: str) -> OpenFar:
    raise ConfigFault("The cache cannot be kept in Redis yet.", path="$.cache.redis")


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000

"""Which stores there are, by their settings. What Redis needs (``penstock[redis]``) is imported only where one is named."""

import os
import time
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

from penstock.base.errors import ConfigFault
from penstock.blobs.blob import StoreFault
from penstock.blobs.far import Heard
from penstock.blobs.gdsf import Limits
from penstock.blobs.guard import SLOW_S, Say
from penstock.blobs.sqlite import SqliteBlobs
from penstock.blobs.stacked import StackedBlobs
from penstock.blobs.tiers import Blobs, OpenFar

DISK_MAX_ENTRIES = 10_000_000
REDIS = "redis"


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
    return Blobs(_limits(settings), _far(settings, clock), now_ms=clock, say=say, slow_s={REDIS: SLOW_S})


def open_store(
    settings: BlobSettings, *, now_ms: Callable[[], int] | None = None, say: Say | None = None
) -> StackedBlobs:
    """The same for programs without an event loop. Raises ConfigFault."""
    return StackedBlobs(_limits(settings), _far(settings, now_ms or _unix_ms), say=say)


def _limits(settings: BlobSettings) -> Limits:
    return Limits.of(settings.max_bytes, settings.max_entries, settings.tenant_max_bytes)


def _far(settings: BlobSettings, clock: Callable[[], int]) -> list[tuple[str, OpenFar]]:
    far: list[tuple[str, OpenFar]] = []
    files: list[SqliteBlobs] = []
    if settings.path is not None:
        far.append(("sqlite", partial(_file, settings.path, disk_limits(settings), clock, files)))
    if settings.redis_url is not None:
        node = "" if settings.path is None else _node(settings.path)
        far.append((REDIS, _redis(settings.redis_url, clock, node, partial(_position, files))))
    return far


def disk_limits(settings: BlobSettings) -> Limits:
    """On disk a tenant has the same share as in memory."""
    memory = _limits(settings)
    share = settings.disk_max_bytes * memory.tenant_max_bytes // memory.max_bytes
    return Limits.of(settings.disk_max_bytes, DISK_MAX_ENTRIES, max(1, share))


def _file(
    path: str, limits: Limits, now_ms: Callable[[], int], files: list[SqliteBlobs], heard: Heard
) -> SqliteBlobs:
    files[:] = [SqliteBlobs(path, limits, now_ms=now_ms, heard=heard)]
    return files[0]


def _position(files: list[SqliteBlobs]) -> bytes:
    """How far the file of this node has heard of the others."""
    try:
        return files[0].position() if files else b""
    except StoreFault:
        return b""  # its guard hears that from whoever asks next


def _node(path: str) -> str:
    """The same for all processes that share the file."""
    words = f"{os.uname().nodename}\0{Path(path).absolute()}".encode("utf-8", "surrogateescape")
    return blake2b(words, digest_size=8).hexdigest()


def _redis(url: str, now_ms: Callable[[], int], node: str, position: Callable[[], bytes]) -> OpenFar:
    try:
        from penstock.blobs.redis import RedisBlobs, checked  # noqa: PLC0415 - see tests/house/test_floors.py
    except ImportError as error:
        raise ConfigFault(
            f"A cache in Redis needs packages that are not installed ({error.name} is missing).",
            path="$.cache.redis",
            hint="Run pip install 'penstock[redis]'.",
        ) from error
    checked(url)
    return lambda heard: RedisBlobs(url, now_ms=now_ms, heard=heard, node=node, position=position)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000

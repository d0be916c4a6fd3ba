"""Blobs, clocks and stores for the tests."""

import os
import time
from itertools import count

from penstock.blobs.blob import Blob, Place
from penstock.blobs.gdsf import Limits
from penstock.blobs.memory import MemoryBlobs
from penstock.blobs.redis import RedisBlobs
from penstock.blobs.sqlite import SqliteBlobs
from penstock.blobs.tiers import Blobs

_PREFIXES = (f"{os.getpid()}-{number}" for number in count())
AMPLE = Limits.of(1 << 30, 1_000_000)
ACME, OTHER = Place("answer", "acme", "n"), Place("answer", "other", "n")


class Clock:
    """Stands still unless told."""

    def __init__(self, now=1_000_000):
        self.now = now

    def __call__(self):
        return self.now


def blob(place=ACME, key=b"k", value=b"v", *, now=1_000_000, life=60_000, **more):
    return Blob(place, key, value, now, now + life, **more)


def sqlite(path, clock=None, limits=AMPLE, **more):
    return SqliteBlobs(str(path), limits, now_ms=clock or Clock(), **more)


def redis(url, clock=None, **more):
    """Under a prefix of its own; patient, because the tests' machine may be busy."""
    more = {"prefix": f"test-{next(_PREFIXES)}", "answer_s": 20.0} | more
    return RedisBlobs(url, now_ms=clock or Clock(), **more)


def tiers(path=None, *, clock=None, limits=AMPLE, disk=AMPLE, far=None, **more):
    """Memory, and a file where there is a path."""
    clock = clock or Clock()
    if far is None:
        far = (
            []
            if path is None
            else [("sqlite", lambda heard: SqliteBlobs(str(path), disk, now_ms=clock, heard=heard))]
        )
    return Blobs(limits, far, now_ms=clock, **more)


def memory(limits=AMPLE, **more):
    return MemoryBlobs(limits, **more)


def until(true, *, within_s=20.0, each=lambda: None):
    """Wait for something that another thread or process does."""
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not happen"
        each()
        time.sleep(0.01)

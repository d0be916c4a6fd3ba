"""Blobs in Redis or Valkey, which several nodes share.

Theory
------
A blob is a hash (meta, value, number) that expires by itself. Whatever is written or dropped is one entry in a stream, the
log, numbered without gaps (``redis_scripts``). A thread of each process reads it as it comes, so that a purge is heard at once;
who was away reads what he missed, and who finds a gap has missed too much and forgets all. A put carries the number that
its process had heard of when it was asked for: where something was dropped since, the log says whether this blob was meant.

Rules
- Names of keys hold hashes of kind, tenant, namespace and tag; what a blob says of its place is compared all the same.
- Nobody waits longer than ``ANSWER_S``; whoever fails is left alone by the guard in front.
- How much may lie there is the server's own business (``maxmemory``, with a policy of "volatile" or "allkeys").
- The URL may hold a password: it is never shown.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from penstock.blobs.blob import Blob, Place, Stats, StoreFault
from penstock.blobs.far import (
    NOW,
    Change,
    Drop,
    Heard,
    Op,
    Purge,
    Put,
    Which,
    Writing,
    lawful,
    meaningful,
    storable,
)
from penstock.blobs.redis_log import RedisLog, client
from penstock.blobs.redis_names import Names, meta_of, of_meta
from penstock.blobs.redis_scripts import DROP, PUT, TAKE

ANSWER_S = 0.05
LOG_ENTRIES = 10_000
PURGE_S = 30.0
"""A purge that takes longer is begun anew: what it has dropped it need not drop again."""
_SCAN_AT_ONCE = 500
_COUNT_AT_ONCE = 100
_MOST_BYTES = 64 * 1024 * 1024
_encode = msgspec.msgpack.Encoder().encode


class RedisBlobs(RedisLog, Writing):
    """One tier: a server. Any thread may ask."""

    name = "redis"

    def __init__(
        self,
        url: str,
        *,
        now_ms: Callable[[], int],
        heard: Heard | None = None,
        node: str = "",
        position: Callable[[], bytes] | None = None,
        prefix: str = "penstock",
        answer_s: float = ANSWER_S,
    ) -> None:
        """``node`` is the same for processes that share a file; ``position`` is how far such a file has heard."""
        super().__init__(
            url, heard=heard, node=node, position=position, names=Names(prefix), answer_s=answer_s
        )
        self._now_ms = now_ms
        self._put = self._redis.register_script(PUT)
        self._drop = self._redis.register_script(DROP)
        self._take = self._redis.register_script(TAKE)
        self._agreed = b""
        """The root secret of all who share this server."""
        self._counting = (0, 0, 0)
        self._counted = (0, 0)
        self.listen()

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        if not lawful(place):
            return None
        with self.asked():
            meta, value, seq = self._redis.hmget(self._names.blob(place, key), ("m", "v", "s"))
            if meta is None or value is None:
                return None
            blob = of_meta(meta, value, int(seq or 0))
        if (blob.place, blob.key) != (place, key) or blob.expires_ms <= now_ms:
            return None
        return blob

    def write(self, ops: Sequence[Op]) -> list[int]:
        """All of it in order: puts together, what drops by itself."""
        done: list[int] = []
        puts: list[Put] = []
        with self.asked():
            for op in ops:
                if isinstance(op, Put):
                    puts.append(op)
                    continue
                done += self._put_all(puts)
                puts.clear()
                done.append(self._one(op))
            done += self._put_all(puts)
        return done

    def scan(self, kind: str, after_seq: int, limit: int, now_ms: int) -> list[Blob]:
        """Living blobs that have an ``about``, in order of ``seq``, without their values."""
        found: list[Blob] = []
        index = self._names.abouts(kind)
        with self.asked():
            while len(found) < limit:
                some = self._redis.zrangebyscore(
                    index, f"({after_seq}", "+inf", start=0, num=limit, withscores=True
                )
                if not some:
                    break
                metas = self._metas([name for name, _ in some])
                dead = [name for (name, _), meta in zip(some, metas, strict=True) if meta is None]
                if dead:
                    self._redis.zrem(index, *dead)
                blobs = [
                    of_meta(meta, b"", int(score))
                    for (_, score), meta in zip(some, metas, strict=True)
                    if meta is not None
                ]
                found += [blob for blob in blobs if blob.expires_ms > now_ms]
                after_seq = int(some[-1][1])
        return found[:limit]

    def stats(self) -> Stats:
        """As counted a little at a time; the server's own evictions are not known."""
        return Stats(self.name, *self._counted)

    def poll(self) -> None:
        """See that the log is still the one that was heard, and count a little further."""
        with self.asked():
            epoch = self._redis.hget(self._names.state, "epoch")
            if epoch != self._epoch:
                self._epoch = b""
                self.greet()
            if (
                self._agreed
            ):  # a server that was flushed has forgotten it: who opens next must not make another
                self._redis.set(self._names.secret, self._agreed, nx=True)
            cursor, entries, size = self._counting
            cursor, names = self._redis.scan(cursor, match=self._names.every, count=_COUNT_AT_ONCE)
            with self._redis.pipeline(transaction=False) as line:
                for name in names:
                    line.hstrlen(name, "v")
                size += sum(line.execute())
            entries += len(names)
            if not cursor:
                self._counted, entries, size = (entries, size), 0, 0
            self._counting = (cursor, entries, size)

    def secret(self, offer: bytes, *, instead: bool = False) -> bytes:
        """The one that is kept there, which is ``offer`` where there was none."""
        with self.asked():
            self._redis.set(self._names.secret, offer, nx=not instead)
            self._agreed = bytes(self._redis.get(self._names.secret) or offer)
            return self._agreed

    def close(self) -> None:
        """Hang up."""
        self.hang_up()

    def _put_all(self, puts: Sequence[Put]) -> list[int]:
        """In one go; those that are refused because something was dropped meanwhile once more, if they were not meant."""
        if not puts:
            return []
        kept = [
            put
            for put in puts
            if len(put.blob.value) <= _MOST_BYTES and storable(put.blob) and self._life_ms(put.blob) > 0
        ]
        numbers = dict(zip(map(id, kept), self._send(kept), strict=True))
        refused = [put for put in kept if numbers[id(put)] < 0]
        if refused:
            meant = self.dropped_since(min(put.mark for put in refused))
            again = [Put(put.blob, NOW) for put in refused if not meant(put)]
            for put, number in zip(
                [put for put in refused if not meant(put)], self._send(again), strict=True
            ):
                numbers[id(put)] = number
        return [int(numbers.get(id(put), -1) > 0) for put in puts]

    def _send(self, puts: Sequence[Put]) -> list[int]:
        if not puts:
            return []
        names = self._names
        with self._redis.pipeline(transaction=False) as line:
            for put in puts:
                blob = put.blob
                keys = [
                    names.state,
                    names.log,
                    names.blob(blob.place, blob.key),
                    names.abouts(blob.place.kind),
                ]
                words = (secrets.token_hex(8), put.mark, self._writer, LOG_ENTRIES, meta_of(blob), blob.value)
                self._put(
                    keys=[*keys, *map(names.tag, blob.tags)],
                    args=[*words, self._life_ms(blob), int(bool(blob.about))],
                    client=line,
                )
            return [int(number) for number in line.execute()]

    def _life_ms(self, blob: Blob) -> int:
        return min(blob.expires_ms - self._now_ms(), 2**48)

    def _one(self, op: Op) -> int:
        names = self._names
        if not isinstance(op, Drop | Purge) or not meaningful(op):
            return 0
        if isinstance(op, Drop):
            place = op.place
            words = _encode((place.kind, place.tenant, place.namespace, op.key))
            keys = [names.state, names.log, names.blob(place, op.key), names.abouts(place.kind)]
            return int(self._drop(keys=keys, args=self._words("d", words)))
        self._drop(keys=[names.state, names.log], args=self._words("g", _encode(op.which)))
        return self._drop_all(op.which)

    def _words(self, what: str, words: bytes) -> list[Any]:
        return [secrets.token_hex(8), what, self._writer, LOG_ENTRIES, words]

    def _drop_all(self, which: Which) -> int:
        """What it means, some hundreds at a time."""
        count, until_s = 0, time.monotonic() + PURGE_S
        for some in self._named(which):
            if time.monotonic() > until_s:
                raise StoreFault("The cache's Redis takes too long to purge; it is done again.")
            if which.tag is not None:
                metas = self._metas(some)
                some = [
                    name
                    for name, meta in zip(some, metas, strict=True)
                    if meta is not None and which.blob(of_meta(meta, b"", 0))
                ]
            if some:
                pairs = [word for name in some for word in (name, self._names.abouts_of(name.decode()))]
                dropped, metas = self._take(keys=pairs)
                count += int(dropped)
                blobs = [of_meta(meta, b"", 0) for meta in metas]
                self.tell([Change("evict", blob.place, blob.key) for blob in blobs])
        return count

    def _named(self, which: Which) -> Iterator[list[Any]]:
        names, cursor = self._names, 0
        while True:
            if which.tag is None:
                cursor, some = self._redis.scan(cursor, match=names.of(which), count=_SCAN_AT_ONCE)
            else:
                cursor, some = self._redis.sscan(names.tag(which.tag), cursor, count=_SCAN_AT_ONCE)
            if some:
                yield list(some)
            if not cursor:
                return

    def _metas(self, blobs: list[Any]) -> list[bytes | None]:
        with self._redis.pipeline(transaction=False) as line:
            for name in blobs:
                line.hget(name, "m")
            return line.execute()


def checked(url: str) -> None:
    """Raises ConfigFault where the URL is none; connects to nobody."""
    client(url, ANSWER_S).close()

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
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from penstock.base.errors import ConfigFault
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
    lawful,
    meaningful,
    storable,
)
from penstock.blobs.redis_names import Names, meta_of, of_meta
from penstock.blobs.redis_scripts import DROP, GREET, PUT

ANSWER_S = 0.05
CONNECT_S = 0.25
RETRY_S = 0.5
LISTEN_MS = 250
LOG_ENTRIES = 10_000
POSITION_EVERY_S = 1.0
"""A file may hear some things twice: what is dropped twice is a miss."""
PURGE_S = 10.0
"""A purge that takes longer is begun anew: what it has dropped it need not drop again."""
_SCAN_AT_ONCE = 1_000
_COUNT_AT_ONCE = 100
_MOST_BYTES = 64 * 1024 * 1024
_encode = msgspec.msgpack.Encoder().encode
_key = msgspec.msgpack.Decoder(tuple[str, str, str, bytes]).decode
_words = msgspec.msgpack.Decoder(Which).decode


class RedisBlobs:
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
        self.mark = 0
        self._names = Names(prefix)
        self._now_ms = now_ms
        self._heard = heard
        self._writer = f"{secrets.token_hex(8)} {node}"
        self._node = node
        self._position = position
        self._epoch = b""
        self._last_epoch = b""
        """Of the log that was heard last."""
        self._greeting = threading.Lock()
        self._closing = threading.Event()
        self._redis = _client(url, answer_s)
        self._put = self._redis.register_script(PUT)
        self._drop = self._redis.register_script(DROP)
        self._position_at_s = 0.0
        self._counting = (0, 0, 0)
        self._counted = (0, 0)
        self._listening: Any = _client(url, max(answer_s, 8 * LISTEN_MS / 1000))
        self._thread = threading.Thread(target=self._listen, name="penstock-blobs-redis", daemon=True)
        self._thread.start()

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        if not lawful(place):
            return None
        with self._asked():
            meta, value, seq = self._redis.hmget(self._names.blob(place, key), ("m", "v", "s"))
            if meta is None or value is None:
                return None
            blob = of_meta(meta, value, int(seq or 0))
        if (blob.place, blob.key) != (place, key) or blob.expires_ms <= now_ms:
            return None
        return blob

    def put(self, blob: Blob) -> None:
        """Keep it, in place of what had its key."""
        self.write([Put(blob, NOW)])

    def drop(self, place: Place, key: bytes) -> bool:
        """Whether it was there."""
        return self.write([Drop(place, key)])[0] > 0

    def purge(
        self,
        *,
        kind: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        tag: str | None = None,
    ) -> int:
        """Drop all that matches every given word exactly; how many."""
        return self.write([Purge(Which(kind, tenant, namespace, tag))])[0]

    def write(self, ops: Sequence[Op]) -> list[int]:
        """All of it in order: puts together, what drops by itself."""
        done: list[int] = []
        puts: list[Put] = []
        with self._asked():
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
        with self._asked():
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
                found += [
                    of_meta(meta, b"", int(score))
                    for (_, score), meta in zip(some, metas, strict=True)
                    if meta is not None
                ]
                after_seq = int(some[-1][1])
        return [blob for blob in found if blob.expires_ms > now_ms and blob.place.kind == kind][:limit]

    def stats(self) -> Stats:
        """As counted a little at a time; the server's own evictions are not known."""
        return Stats(self.name, *self._counted)

    def poll(self) -> None:
        """See that the log is still the one that was heard, and count a little further."""
        with self._asked():
            epoch = self._redis.hget(self._names.state, "epoch")
            if epoch != self._epoch:
                self._epoch = b""
                self._greet()
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
        with self._asked():
            self._redis.set(self._names.secret, offer, nx=not instead)
            return bytes(self._redis.get(self._names.secret) or offer)

    def close(self) -> None:
        """Hang up."""
        self._closing.set()
        self._thread.join(10 * LISTEN_MS / 1000)
        self._listening.close()
        self._redis.close()

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
            meant = self._dropped_since(min(put.mark for put in refused))
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
        """What it means, a thousand at a time."""
        count, until_s = 0, time.monotonic() + PURGE_S
        for some in self._named(which):
            if time.monotonic() > until_s:
                raise StoreFault("The cache's Redis takes too long to purge; it is done again.")
            metas = self._metas(some)
            gone: list[tuple[Any, Blob]] = []
            for name, meta in zip(some, metas, strict=True):
                blob = None if meta is None else of_meta(meta, b"", 0)
                if blob is not None and which.blob(blob):
                    gone.append((name, blob))
            if not gone:
                continue
            for kind in {blob.place.kind for _, blob in gone}:
                self._redis.zrem(
                    self._names.abouts(kind), *[name for name, blob in gone if blob.place.kind == kind]
                )
            count += int(self._redis.unlink(*[name for name, _ in gone]))
            if self._heard is not None:
                self._heard([Change("evict", blob.place, blob.key) for _, blob in gone if blob.about])
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

    def _dropped_since(self, mark: int) -> Callable[[Put], bool]:
        """Whether others have dropped what is put. Where the log no longer says: yes."""
        entries = self._redis.xrange(self._names.log, min=f"({mark}-0")
        floor = _number(entries[0][0]) - 1 if entries else NOW
        changes = [
            (_number(number), change)
            for number, fields in entries
            if fields[b"w"].decode() != self._writer
            and (change := self._change(number, fields)).what != "put"
        ]

        def meant(put: Put) -> bool:
            blob = put.blob
            return put.mark < floor or any(
                number > put.mark
                and (
                    change.which.blob(blob)
                    if change.which is not None
                    else (change.place, change.key) == (blob.place, blob.key)
                )
                for number, change in changes
            )

        return meant

    @contextmanager
    def _asked(self) -> Generator[None]:
        try:
            if not self._epoch:
                self._greet()
            yield
        except (RedisError, OSError, msgspec.DecodeError) as error:
            raise StoreFault(f"The cache's Redis does not serve: {_said(error)}.") from error

    def _greet(self) -> None:
        """Which log this is. Another than the one that was heard: nothing held here may be relied on."""
        with self._greeting:
            if self._epoch:
                return
            keys = (self._names.state, self._names.log)
            epoch, number = self._redis.eval(GREET, 2, *keys, secrets.token_hex(8))
            known_epoch, known = self._known()
            self._epoch = epoch
            if known_epoch == epoch:
                self.mark = known
            else:
                self.mark = int(number)
                if known_epoch:
                    self._tell([Change("lost")])
            self._last_epoch = epoch

    def _known(self) -> tuple[bytes, int]:
        """The log that was heard, and how far: by this process, or else by the file of this node."""
        if self._last_epoch:
            return self._last_epoch, self.mark
        epoch, _, number = (self._position() if self._position is not None else b"").partition(b" ")
        return epoch, int(number or 0)

    def _listen(self) -> None:
        """As long as the store is open; where the line breaks, again."""
        while not self._closing.is_set():
            try:
                with self._asked():
                    log, last = self._names.log, f"{self.mark}-0"
                    found = self._listening.xread({log: last}, block=LISTEN_MS, count=500)
                    if found:
                        self._hear(found[0][1])
            except StoreFault:
                self._closing.wait(RETRY_S)

    def _hear(self, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        changes: list[Change] = []
        if _number(entries[0][0]) != self.mark + 1:
            changes.append(Change("lost"))
        changes += [
            self._change(number, fields)
            for number, fields in entries
            if fields[b"w"].decode() != self._writer
        ]
        last = _number(entries[-1][0])
        if time.monotonic() >= self._position_at_s:
            changes.append(Change("heard", key=b"%s %d" % (self._epoch, last)))
            self._position_at_s = time.monotonic() + POSITION_EVERY_S
        self._tell(changes)
        self.mark = last

    def _change(self, number: bytes, fields: dict[bytes, bytes]) -> Change:
        if b"d" in fields:
            kind, tenant, namespace, key = _key(fields[b"d"])
            return Change("drop", Place(kind, tenant, namespace), key)
        if b"g" in fields:
            return Change("purge", which=_words(fields[b"g"]))
        blob = of_meta(fields[b"p"], b"", _number(number))
        same = bool(self._node) and fields[b"w"].decode().partition(" ")[2] == self._node
        return Change("put", blob.place, blob.key, blob, same_node=same)

    def _tell(self, changes: Sequence[Change]) -> None:
        if self._heard is not None:
            self._heard(changes)


def checked(url: str) -> None:
    """Raises ConfigFault where the URL is none; connects to nobody."""
    _client(url, ANSWER_S).close()


def _client(url: str, answer_s: float) -> Any:
    try:
        connect: Any = Redis.from_url  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return connect(
            url,
            socket_timeout=answer_s,
            socket_connect_timeout=max(CONNECT_S, answer_s),
            retry=Retry(NoBackoff(), 0),
            client_name="penstock-blobs",
        )
    except ValueError:
        raise ConfigFault(
            "The cache's Redis URL cannot be read (it is not repeated here).",
            path="$.cache.redis",
            hint="Write redis://user:password@host:6379/0; percent-encode special characters.",
        ) from None


def _number(entry: bytes) -> int:
    return int(entry.partition(b"-")[0])


def _said(error: BaseException) -> str:
    """An error's first line. redis-py's own never repeat the URL's user or password."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".")

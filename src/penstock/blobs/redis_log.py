"""The log that all nodes write and read, and the connections to the server.

A thread reads it as it comes (``redis`` says what it is for). Whoever asks the server first learns which log this is.
"""

import secrets
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from penstock.base.errors import ConfigFault
from penstock.blobs.blob import Place, StoreFault
from penstock.blobs.far import NOW, Change, Heard, Put, Which
from penstock.blobs.redis_names import Names, of_meta
from penstock.blobs.redis_scripts import GREET

CONNECT_S = 0.25
RETRY_S = 0.5
LISTEN_MS = 250
POSITION_EVERY_S = 1.0
"""A file may hear some things twice: what is dropped twice is a miss."""
_key = msgspec.msgpack.Decoder(tuple[str, str, str, bytes]).decode
_words = msgspec.msgpack.Decoder(Which).decode


class RedisLog:
    """What others do, as it is heard."""

    def __init__(
        self,
        url: str,
        *,
        heard: Heard | None,
        node: str,
        position: Callable[[], bytes] | None,
        names: Names,
        answer_s: float,
    ) -> None:
        self.mark = 0
        self._names = names
        self._heard = heard
        self._writer = f"{secrets.token_hex(8)} {node}"
        self._node = node
        self._position = position
        self._epoch = b""
        self._last_epoch = b""
        """Of the log that was heard last."""
        self._greeting = threading.Lock()
        self._closing = threading.Event()
        self._redis = client(url, answer_s)
        self._position_at_s = 0.0
        self._listening: Any = client(url, max(answer_s, 8 * LISTEN_MS / 1000))
        self._thread = threading.Thread(target=self._listen, name="penstock-blobs-redis", daemon=True)

    def listen(self) -> None:
        """From here on, in a thread."""
        self._thread.start()

    def hang_up(self) -> None:
        """When the thread has ended."""
        self._closing.set()
        self._thread.join(10 * LISTEN_MS / 1000)
        self._listening.close()
        self._redis.close()

    def dropped_since(self, mark: int) -> Callable[[Put], bool]:
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
    def asked(self) -> Generator[None]:
        try:
            if not self._epoch:
                self.greet()
            yield
        except (RedisError, OSError, msgspec.DecodeError) as error:
            raise StoreFault(f"The cache's Redis does not serve: {_said(error)}.") from error

    def greet(self) -> None:
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
                    self.tell([Change("lost")])
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
                with self.asked():
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
        self.tell(changes)
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

    def tell(self, changes: Sequence[Change]) -> None:
        if changes and self._heard is not None:
            self._heard(changes)


def client(url: str, answer_s: float) -> Any:
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

"""Requests from bytes: a head like the one before is taken without the parser, and nobody can tell."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.base.errors import PenstockError
from penstock.server.http1 import TURN_BYTES, HttpConnection
from penstock.server.reading import RequestReader
from penstock.wire import large
from penstock.wire.large import GATHERED_BYTES

LIMIT = 4096


class Limits:
    max_body_bytes = LIMIT


class Kept:
    """A connection that keeps what its reader gives."""

    def __init__(self, *, remembers: bool) -> None:
        self.fed = 0
        self.remembers = remembers
        self.seen: list[Any] = []
        self.by_hand = 0
        self.reader = RequestReader(self, Limits())

    def accept(self, request: Any) -> None:
        known = {name: value for name, value in request.told.items() if name != b"content-length"}
        self.seen.append(
            (request.method, request.url, request.body, known, request.keep_alive, request.chunked_ok, [
                pair for pair in request.headers if pair[0] != b"content-length"
            ])
        )  # fmt: skip

    def refuse(self, error: PenstockError) -> None:
        self.seen.append((type(error).__name__, error.status))

    def ask_for_body(self) -> None:
        self.seen.append("100")

    def feed(self, data: bytes) -> None:
        """As HttpConnection.data_received does."""
        self.fed = len(data)
        if self.remembers and self.reader.again(data):
            self.by_hand += 1
            return
        try:
            self.reader.feed(data)
        except Exception as error:
            self.seen.append(type(error).__name__)
        if self.remembers:
            self.reader.remember(data)


HEADS = st.sampled_from(
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer k\r\ncontent-length: %d\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length:%d\r\nConnection: keep-alive\r\nX-Request-Id: 7\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nX: content-length: 1\r\nContent-Length: %d\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nexpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
        b"\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0%d\r\n\r\n",
    ]
)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"\r\n\r\n", b"content-length: 5\r\n\r\n", b"x" * (LIMIT + 1), b"x" * LIMIT]),
)
REQUESTS = st.lists(st.tuples(HEADS, BODIES), min_size=1, max_size=8)


def _last(seen: Any) -> bool:
    """Refused, unreadable, or its sender's last: the connection would read no more."""
    return isinstance(seen, str) or len(seen) < 4 or not seen[4]


@given(requests=REQUESTS, cuts=st.lists(st.integers(0, 600), max_size=4), same=st.integers(1, 4))
@example(requests=[(b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n", b"abc")], cuts=[], same=4)
def test_a_head_like_the_one_before_changes_nothing(
    requests: list[tuple[bytes, bytes]], cuts: list[int], same: int
) -> None:
    """Whatever is sent, whole, cut or run together: with and without the memory the same requests are seen."""
    messages = [head % len(body) + body for head, body in requests for _ in range(same)]
    whole = b"".join(messages)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    cut_up = [whole[a:b] for a, b in itertools.pairwise(places)] if cuts else messages
    plain, remembering = Kept(remembers=False), Kept(remembers=True)
    for piece in cut_up:
        plain.feed(piece)
        remembering.feed(piece)
        if plain.seen and _last(plain.seen[-1]):
            break
    assert remembering.seen == plain.seen


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"POST /x HTTP/1.1\r\nauthorization: Bearer other\r\nx: ", HEAD % 3 + b"abc"),
        (b"POST /x HTTP/1.1\r\ncontent-length: 150\r\n\r\n" + b"j" * 41, HEAD % 150 + b"y" * 41),
        (b"POST /x HTTP/1.1\r\ncontent-length: 23\r\n\r\n", b"POST /y HTTP/1.1\r\nf: 1 " + HEAD % 3 + b"abc"),
    ],
    ids=["the end of a head", "the end of a body", "a body and the next request"],
)
def test_what_only_looks_like_a_head_is_not_remembered(pieces: tuple[bytes, bytes]):
    """A piece may end a request and look like a whole one: the credential of that request is not the next one's."""
    plain, remembering = Kept(remembers=False), Kept(remembers=True)
    shown = pieces[1][: pieces[1].index(b"\r\n\r\n") + 4].replace(b"150", b"3")
    for piece in (*pieces, shown + b"abc", HEAD % 4 + b"abcd"):
        plain.feed(piece)
        remembering.feed(piece)
    assert len(plain.seen) >= 3
    assert remembering.seen == plain.seen


def test_a_long_head_is_not_kept_for_an_idle_connection():
    """Whoever opens connections could have all of them hold their longest head."""
    connection = Kept(remembers=True)
    for _ in range(3):
        connection.feed(b"POST /x HTTP/1.1\r\nx: %b\r\ncontent-length: 1\r\n\r\na" % (b"y" * 20_000))
    assert connection.by_hand == 0
    assert len(connection.seen) == 3


def test_the_memory_is_used():
    """The second request of a connection, and every one after it, goes past the parser."""
    connection = Kept(remembers=True)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
    for size in (1, 10, 100, 4096):
        connection.feed(head % size + b"x" * size)
    assert connection.by_hand == 3
    assert [len(seen[2]) for seen in connection.seen] == [1, 10, 100, 4096]


def test_a_caller_whose_heads_always_differ_is_not_remembered_for_ever():
    """Remembering costs something: a connection whose heads differ each time stops doing it."""
    connection = Kept(remembers=True)
    for number in range(20):
        connection.feed(b"POST /x HTTP/1.1\r\nx-request-id: %d\r\ncontent-length: 1\r\n\r\na" % number)
    connection.feed(b"POST /x HTTP/1.1\r\nx-request-id: 19\r\ncontent-length: 1\r\n\r\nb")
    assert connection.by_hand == 0
    assert len(connection.seen) == 21


class Roomy:
    max_body_bytes = 4 * GATHERED_BYTES


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("size", [GATHERED_BYTES, GATHERED_BYTES + 1, 3 * GATHERED_BYTES])
def test_a_large_body_is_gathered(monkeypatch: pytest.MonkeyPatch, size: int, native: bool) -> None:
    """In whatever pieces it comes, and the request behind it is another one."""
    if not native:
        monkeypatch.setattr(large, "native", None)
    body = bytes(range(251)) * (size // 251 + 1)
    wire = HEAD % size + body[:size] + HEAD % 3 + b"abc"
    for step in (len(wire), 65_536, 1_000, size // 2 + 1):
        connection = Kept(remembers=True)
        connection.reader = RequestReader(connection, Roomy())
        for at in range(0, len(wire), step):
            connection.feed(wire[at : at + step])
        assert [seen[2] for seen in connection.seen] == [body[:size], b"abc"]
        assert type(connection.seen[0][2]) is bytes


def test_an_announcement_alone_takes_no_memory() -> None:
    """Many could announce what they never send: of such a body only what has come is written to."""
    connection = Kept(remembers=True)
    connection.reader = RequestReader(connection, Roomy())
    connection.feed(HEAD % Roomy.max_body_bytes + b"x")
    connection.feed(HEAD % 3)  # part of the body
    assert connection.seen == []
    refused = Kept(remembers=True)
    refused.reader = RequestReader(refused, Roomy())
    refused.feed(HEAD % (Roomy.max_body_bytes + 1))
    assert refused.seen == [("BodyTooLarge", 413)]
    assert refused.reader.reading is not None
    assert refused.reader.reading.gathered is None


class Flooded:
    """A transport that says whether it is read."""

    def __init__(self) -> None:
        self.read = True
        self.turns: list[bool] = []

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True


class Nobody:
    """A handler that serves nothing before it is told to."""

    draining = False
    max_body_bytes = 8 * TURN_BYTES

    def __init__(self) -> None:
        self.taken: list[int] = []

    def quick(self, request: Any, reply: Any) -> Any:
        del reply
        self.taken.append(len(request.body))
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("waiting", [False, True])
def test_a_flood_leaves_turns_to_others(waiting: bool) -> None:
    """After each megabyte the socket is not read for a turn of the loop; and not at all while large requests wait in line."""

    async def main() -> None:
        handler, transport = Nobody(), Flooded()
        connection = HttpConnection(handler, set())  # type: ignore[arg-type]
        connection.connection_made(transport)  # type: ignore[arg-type]
        wire = (HEAD % (3 * TURN_BYTES) + b"x" * (3 * TURN_BYTES)) * (2 if waiting else 1)
        for at in range(0, len(wire), TURN_BYTES // 4):
            connection.data_received(wire[at : at + TURN_BYTES // 4])
            if not transport.read:
                transport.turns.append(False)
                await asyncio.sleep(0)
                if not connection._queue:
                    assert transport.read
        assert handler.taken == [3 * TURN_BYTES]
        assert len(transport.turns) >= (5 if waiting else 2)
        assert transport.read is not waiting
        connection.connection_lost(None)

    asyncio.run(main())

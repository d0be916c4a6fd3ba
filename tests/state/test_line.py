"""A line carries whatever is asked over it, however its bytes are cut; and a dead one says so to all who wait."""

import asyncio
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import encode

from penstock.ledger.leases import Claim
from penstock.state.embedded import EmbeddedStore
from penstock.state.line import Line, LineGone
from penstock.state.workers import Hub, Seat
from tests.state.make import running

POT = ("key", "day", 1_795_219_200.0)


async def echo(kind: str, payload: bytes) -> bytes:
    return kind.encode() + b":" + payload


async def pair(handle, gone=lambda: None):
    left, right = socket.socketpair()
    return await Line.over(left, handle, gone), await Line.over(right, echo, lambda: None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=70_000)), min_size=1, max_size=20))
def test_every_question_gets_its_own_answer(questions):
    """Both ways at once."""

    async def talk():
        left, right = await pair(echo)
        asked = [line.ask(kind, payload) for kind, payload in questions for line in (left, right)]
        answers = await asyncio.gather(*asked)
        assert answers == [kind.encode() + b":" + payload for kind, payload in questions for _ in range(2)]
        left.close()

    asyncio.run(talk())


@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_may_come_in_any_pieces(cuts):
    """Byte by byte, if need be."""
    told = []

    async def talk():
        async def handle(kind, payload):
            told.append((kind, payload))
            return b""

        line = Line(handle, lambda: None)
        words = b""
        for number in range(5):
            frame = b"\x93\x00\xa1k\xc4" + bytes([number]) + b"x" * number
            words += len(frame).to_bytes(4, "big") + frame
        at = 0
        for cut in [*cuts, len(words)]:
            line.data_received(words[at : at + cut])
            at += cut
        await asyncio.sleep(0)

    told.clear()
    asyncio.run(talk())
    assert told == [("k", b"x" * number) for number in range(5)]


@running
async def test_who_waits_for_a_dead_end_is_told():
    """And the other end's bug is not an answer."""
    never = asyncio.Event()
    ended = asyncio.Event()

    async def hang(kind, payload):
        if kind == "bug":
            raise ValueError(payload)
        await never.wait()
        return b""

    left, right = await pair(hang, ended.set)
    with pytest.raises(LineGone, match=r"in 0\.01 s"):
        await right.ask("x", timeout_s=0.01)
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, said: faults.append(said["exception"]))
    with pytest.raises(LineGone, match="failed"):
        await right.ask("bug", b"1")
    waiting = asyncio.ensure_future(right.ask("x"))
    await asyncio.sleep(0.01)
    right.close()
    with pytest.raises(LineGone, match="gone"):
        await waiting
    await ended.wait()
    with pytest.raises(LineGone):
        await left.ask("x")
    left.tell("x")


class House:
    """A hub and its seats in one process, over real sockets."""

    def __init__(self, store, count):
        self.hub = Hub(store, count)
        self.seats = [Seat(index, lambda: None) for index in range(count)]

    async def open(self):
        for seat in self.seats:
            await self.seat(seat)

    async def seat(self, seat):
        ours, theirs = socket.socketpair()
        await self.hub.join(seat.index, ours)
        await seat.connect(theirs)


@running
async def test_workers_share_one_pool(tmp_path):
    """What one is granted the others are not; and none hears of a grant that is not on the disk."""
    house = House(EmbeddedStore(str(tmp_path / "state")), 3)
    await house.open()
    words = {"limit": 1000, "ceiling": 1000, "want": True}
    granted = [
        grant.granted
        for seat in house.seats
        for grant in await seat.exchange([Claim(f"run{seat.index}", POT, 1, 0, 0, need=400, **words)])
    ]
    assert granted == [400, 400, 0]
    assert await house.seats[2].standing([POT]) == [(0, 800)]
    await house.hub.aclose()
    await asyncio.sleep(0.01)
    assert await house.seats[0].exchange([Claim("run0", POT, 2, 0, 0, **words)]) == []
    assert house.seats[0].fault == "The supervisor does not answer: There is no line to the supervisor." or (
        "gone" in house.seats[0].fault
    )


@running
async def test_news_reach_all_others_and_gathering_asks_all_others():
    """But not who is just starting: it has nothing to say."""
    house = House(None, 3)
    await house.open()
    heard = []
    for seat in house.seats:

        async def hear(payload, index=seat.index):
            heard.append((index, payload))
            return b"from %d" % index

        seat.on("news", hear)
    assert not house.seats[0].complete
    for seat in house.seats[:2]:
        await seat.ready()
    house.seats[0].tell("news", b"hot")
    assert await house.seats[0].gather("news", b"asked") == [b"from 1"]
    await house.seats[2].ready()
    assert sorted(heard) == [(1, b"asked"), (1, b"hot"), (2, b"hot")]
    assert sorted(await house.seats[0].gather("news", b"asked")) == [b"from 1", b"from 2"]
    assert [seat.complete for seat in house.seats] == [True] * 3
    await house.hub.aclose()


@running
async def test_a_reload_says_each_fault_once():
    """And one that is asked for by a worker is everybody's."""
    house = House(None, 2)
    await house.open()
    for seat in house.seats:

        async def reload(_payload):
            return encode(["the same fault"])

        seat.on("reload", reload)
        await seat.ready()
    assert await house.seats[1].reload("somebody") == ["the same fault"]
    await house.hub.aclose()

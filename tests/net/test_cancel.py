"""Behaviour 24: who is cancelled closes the upstream's socket at once, in every phase, and nothing leaks."""

import asyncio
import time

import pytest

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamTruncated
from penstock.net.transport import Transport, TransportSettings
from tests.net.raw_server import LONG, LOOPS, OK, RawServer, ask, fetch, nothing_left, post, settle

PROMPT_S = 0.5  # the target is 50 ms; the machine of a test is slow
PARTIAL = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"


class Watch:
    """When the server saw the connection end."""

    def __init__(self, answer=b""):
        self.answer = answer
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()
        self.ended_at = 0.0

    async def __call__(self, link):
        if self.answer is not None:
            await link.request()
            await link.send(self.answer)
        self.asked.set()
        await link.gone()
        self.ended_at = time.monotonic()
        self.ended.set()


async def cancelled(task, watch):
    """Cancel, and how long until the server saw it."""
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(watch.ended.wait(), 5)
    assert watch.ended_at - began < PROMPT_S


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_24_while_waiting_for_the_first_byte(loop):
    async def main():
        watch = Watch()
        async with RawServer(watch) as server:
            transport = server.transport()
            task = asyncio.ensure_future(ask(transport))
            await watch.asked.wait()
            assert transport.in_use == 1
            await cancelled(task, watch)
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["read", "pump"])
def test_behaviour_24_inside_the_body(loop, way):
    async def main():
        watch = Watch(PARTIAL)
        async with RawServer(watch) as server:
            transport = server.transport()
            exchange = await ask(transport)
            pieces = []
            task = asyncio.ensure_future(
                exchange.read(1000) if way == "read" else exchange.pump(pieces.append)
            )
            await asyncio.sleep(0.02)
            await cancelled(task, watch)
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_24_while_paused(loop):
    async def main():
        watch = Watch(PARTIAL)
        async with RawServer(watch) as server:
            transport = server.transport()
            exchange = await ask(transport)
            task = asyncio.ensure_future(exchange.pump(lambda _piece: exchange.pause()))
            await asyncio.sleep(0.02)
            await cancelled(task, watch)
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_24_inside_the_tls_handshake(loop):
    async def main():
        watch = Watch(None)
        async with RawServer(watch) as server:
            transport = Transport(TransportSettings(parse_base_url(server.url.replace("http:", "https:"))))
            task = asyncio.ensure_future(ask(transport))
            await watch.asked.wait()
            await asyncio.sleep(0.02)
            await cancelled(task, watch)
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 Connection established\r\n\r\n"])
def test_behaviour_24_inside_the_proxys_handshake_and_in_tls_through_it(loop, answer):
    async def main():
        watch = Watch(answer)
        async with RawServer(watch) as server:
            endpoint = parse_base_url("https://api.example")
            transport = Transport(TransportSettings(endpoint, proxy=server.url))
            task = asyncio.ensure_future(ask(transport))
            await watch.asked.wait()
            await asyncio.sleep(0.02)
            await cancelled(task, watch)
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_24_while_a_large_request_is_being_written(loop):
    async def main():
        ended = asyncio.Event()

        async def script(link):
            await link.reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.1)
            await link.gone()
            ended.set()

        async with RawServer(script) as server:
            transport = server.transport()
            task = asyncio.ensure_future(transport.send(post(b"/x", bytes(50_000_000)), LONG))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(ended.wait(), 5)
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_24_while_waiting_in_line(loop):
    """A cancelled waiter leaves the line, and the others keep their order."""

    async def main():
        bodies = []

        async def script(link):
            while True:
                _, body = await link.request()
                bodies.append(body)
                if body == b"first":
                    await asyncio.sleep(0.05)
                await link.send(OK)

        async with RawServer(script) as server:
            transport = server.transport(max_connections=1)
            tasks = [
                asyncio.ensure_future(transport.send(post(b"/x", body), LONG))
                for body in (b"first", b"second", b"third", b"fourth")
            ]
            await asyncio.sleep(0.02)
            assert transport.waiting == 3
            tasks[1].cancel()
            tasks[2].cancel()
            await settle()
            assert [task.cancelled() for task in tasks] == [False, True, True, False]
            for task in (tasks[0], tasks[3]):
                assert await (await task).read(10) == b"hello"
            assert bodies == [b"first", b"fourth"]
            assert (transport.open, transport.idle, transport.waiting, transport._slots) == (1, 1, 0, 1)
            await transport.aclose()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_slot_of_a_cancelled_exchange_goes_to_who_waits(loop):
    async def main():
        async def script(link):
            _, body = await link.request()
            if body == b"hang":
                await link.gone()
            else:
                await link.send(OK)
                await link.gone()

        async with RawServer(script) as server:
            transport = server.transport(max_connections=1)
            hanging = asyncio.ensure_future(transport.send(post(b"/x", b"hang"), LONG))
            await asyncio.sleep(0.02)
            waiting = asyncio.ensure_future(fetch(transport))
            await asyncio.sleep(0.02)
            assert transport.waiting == 1
            hanging.cancel()
            assert await waiting == b"hello"
            await transport.aclose()
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_cancelling_at_any_turn_of_the_loop_leaks_nothing(loop):
    """Whenever it comes: before the dial began, after it ended, with the reply just there."""

    async def main():
        async def script(link):
            while True:
                await link.request()
                await link.send(OK)

        async with RawServer(script) as server:
            transport = server.transport(max_connections=2)
            for turns in range(30):
                tasks = [asyncio.ensure_future(fetch(transport)) for _ in range(4)]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.sleep(0.005)
                assert transport.waiting == transport.in_use == len(transport._dials) == 0
                assert transport._slots == transport.idle <= 2
                assert not transport._active
            assert await fetch(transport) == b"hello"
            await transport.aclose()
            assert nothing_left(transport)

    loop(main())


def test_abort_may_be_called_at_any_time_and_twice():
    async def main():
        watch = Watch(PARTIAL)
        async with RawServer(watch) as server:
            transport = server.transport()
            exchange = await ask(transport)
            task = asyncio.ensure_future(exchange.pump(lambda _piece: None))
            await asyncio.sleep(0.01)
            exchange.abort()
            exchange.abort()
            with pytest.raises(UpstreamTruncated, match="given up"):
                await task
            await asyncio.wait_for(watch.ended.wait(), 5)
            with pytest.raises(UpstreamTruncated):
                await exchange.read(10)
            assert nothing_left(transport)

    asyncio.run(main())


def test_abort_after_a_whole_body_keeps_the_connection():
    async def main():
        async with RawServer(Watch(OK)) as server:
            transport = server.transport()
            exchange = await ask(transport)
            await settle()
            exchange.abort()
            assert await exchange.read(10) == b"hello"
            exchange.abort()
            assert transport.idle == 1
            await transport.aclose()

    asyncio.run(main())

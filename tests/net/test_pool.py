"""The pool: warm first, bounded, first come first served, honest about itself."""

import asyncio

import pytest

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamUnreachable
from penstock.net import connection as connection_module
from penstock.net.transport import Transport, TransportSettings
from tests.net.raw_server import (
    LONG,
    LOOPS,
    OK,
    RawServer,
    always,
    ask,
    fetch,
    nothing_left,
    once_and_close,
    post,
    replies,
    settle,
)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_is_used_again(loop):
    async def main():
        async with RawServer(always(OK)) as server:
            transport = server.transport()
            first = await ask(transport)
            assert await first.read(10) == b"hello"
            second = await ask(transport)
            assert await second.read(10) == b"hello"
            assert (first.reused, second.reused) == (False, True)
            assert first.connect_ms > 0
            assert (server.accepted, transport.opened_total, transport.reused_total) == (1, 1, 1)
            assert repr(transport) == f"<Transport 127.0.0.1:{server.port}, 1 idle, 0 in use>"
            await transport.aclose()
            assert nothing_left(transport)

    loop(main())


def test_a_connection_that_was_borrowed_in_vain_ages():
    """A caller who is refused again and again does not make a connection look younger than its server sees it."""

    async def main():
        async with RawServer(always(OK)) as server:
            transport = server.transport()
            await fetch(transport)
            expires_s = transport._idle[0].expires_s
            connection = transport.borrow(expires_s - 1)
            assert connection is not None
            transport.released(connection, used=False)
            assert (transport.idle, transport._idle[0].expires_s) == (1, expires_s)
            assert transport.borrow(expires_s) is None
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())


def test_the_connection_used_last_is_used_first():
    numbers = []

    async def script(link):
        while True:
            await link.request()
            numbers.append(link.number)
            await asyncio.sleep(0.01 * link.number)
            await link.send(OK)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await asyncio.gather(*(fetch(transport) for _ in range(3)))
            assert transport.idle == 3
            numbers.clear()
            for _ in range(4):
                await fetch(transport)
            assert numbers == [3, 3, 3, 3]
            await transport.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_no_more_connections_than_allowed_and_who_waits_is_served_in_order(loop):
    order = []

    async def script(link):
        while True:
            _, body = await link.request()
            order.append(body)
            await asyncio.sleep(0.005)
            await link.send(OK)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport(max_connections=2)

            async def one(number):
                exchange = await transport.send(post(b"/x", b"%02d" % number), LONG)
                return await exchange.read(10)

            tasks = [asyncio.ensure_future(one(number)) for number in range(20)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert transport.waiting == 18
            assert await asyncio.gather(*tasks) == [b"hello"] * 20
            assert server.accepted == 2
            assert order == sorted(order) or sorted(order[:2]) + order[2:] == sorted(order)
            assert (transport.open, transport.idle, transport.waiting) == (2, 2, 0)
            await transport.aclose()
            assert nothing_left(transport)

    loop(main())


def test_who_waits_gets_a_new_connection_when_one_closes():
    async def main():
        async with RawServer(once_and_close(OK)) as server:
            transport = server.transport(max_connections=1)
            assert await asyncio.gather(*(fetch(transport) for _ in range(5))) == [b"hello"] * 5
            assert server.accepted >= 5
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())


def test_who_waits_is_told_when_dialling_fails():
    async def main():
        async with RawServer(always(OK)) as server:
            url = server.url
        transport = Transport(TransportSettings(parse_base_url(url), max_connections=1))
        results = await asyncio.gather(*(fetch(transport) for _ in range(3)), return_exceptions=True)
        assert [type(r) for r in results] == [UpstreamUnreachable] * 3
        assert "was refused" in str(results[0])
        assert nothing_left(transport)

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stale_connection_is_replaced_and_the_request_replayed_once(loop):
    """The keep-alive race: the server closes as we write."""
    bodies = []

    async def script(link):
        await link.request()
        await link.send(OK)
        if link.number == 1:
            _, body = await link.request()
            bodies.append(body)  # taken, never answered
            return
        await link.gone()

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await fetch(transport)
            exchange = await transport.send(post(b"/x", b"again"), LONG)
            assert await exchange.read(10) == b"hello"
            assert bodies == [b"again"]
            assert (exchange.reused, server.accepted, transport.open) == (False, 2, 1)
            await transport.aclose()
            assert nothing_left(transport)

    loop(main())


def test_a_replay_happens_once_and_a_fresh_connection_gets_none():
    async def script(link):
        if link.number == 1:
            await link.request()
            await link.send(OK)
        await link.request()

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await fetch(transport)
            with pytest.raises(UpstreamUnreachable, match="while waiting for its reply"):
                await fetch(transport)
            assert server.accepted == 2
            with pytest.raises(UpstreamUnreachable):
                await fetch(transport)
            assert server.accepted == 3
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())


@pytest.mark.parametrize("first_words", [b"HTTP/1.1 200", b"H"])
def test_no_replay_after_a_byte_of_the_reply(first_words):
    async def script(link):
        await link.request()
        await link.send(OK)
        await link.request()
        await link.send(first_words)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await fetch(transport)
            with pytest.raises(UpstreamUnreachable):
                await fetch(transport)
            assert server.accepted == 1

    asyncio.run(main())


def test_no_replay_when_the_server_had_time_to_work(monkeypatch):
    """Then it may have billed: whether to try again is policy."""
    monkeypatch.setattr(connection_module, "RACE_S", 0.02)

    async def script(link):
        await link.request()
        await link.send(OK)
        await link.request()
        await asyncio.sleep(0.05)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await fetch(transport)
            with pytest.raises(UpstreamUnreachable):
                await fetch(transport)
            assert server.accepted == 1

    asyncio.run(main())


def test_a_replay_at_the_limit_of_connections_keeps_to_the_limit():
    async def script(link):
        await link.request()
        await link.send(OK)
        if link.number == 1:
            await link.request()
            return
        while True:
            await link.request()
            await link.send(OK)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport(max_connections=1)
            await fetch(transport)
            assert await asyncio.gather(*(fetch(transport) for _ in range(4))) == [b"hello"] * 4
            assert (transport._slots, transport.open, server.accepted) == (1, 1, 2)
            await transport.aclose()
            assert nothing_left(transport)

    asyncio.run(main())


def test_a_connection_that_the_server_closed_while_idle_leaves_the_pool():
    async def main():
        async with RawServer(once_and_close(OK)) as server:
            transport = server.transport()
            await fetch(transport)
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())


@pytest.mark.parametrize(
    "told",
    [b"connection: close", b"keep-alive: timeout=1, max=100", b"Keep-Alive: max=5, timeout=0", b"x-other: 1"],
)
def test_the_server_says_how_long_a_connection_may_idle(told):
    reply = b"HTTP/1.1 200 OK\r\n" + told + b"\r\ncontent-length: 0\r\n\r\n"

    async def main():
        async with RawServer(always(reply)) as server:
            transport = server.transport()
            await fetch(transport)
            await asyncio.sleep(0.01)
            await fetch(transport)
            assert server.accepted == (1 if told.startswith(b"x") else 2)
            await transport.aclose()
            assert nothing_left(transport)

    asyncio.run(main())


def test_idle_connections_that_are_too_old_are_closed_and_not_used(monkeypatch):
    monkeypatch.setattr(connection_module, "KEEP_IDLE_S", 0.05)

    async def main():
        async with RawServer(
            always(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=9\r\ncontent-length: 0\r\n\r\n")
        ) as server:
            transport = server.transport()
            await asyncio.gather(*(fetch(transport) for _ in range(3)))
            assert transport.idle == 3
            await asyncio.sleep(0.06)
            await fetch(transport)
            assert server.accepted == 4
            assert transport.idle == 1
            await transport.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_warm_opens_connections_before_the_first_call(loop):
    async def main():
        async with RawServer(always(OK)) as server:
            transport = server.transport(max_connections=3)
            assert await transport.warm(2) is None
            assert (transport.idle, transport.opened_total) == (2, 2)
            assert await transport.warm(2) is None
            assert transport.idle == 2
            assert await transport.warm(10) is None
            assert transport.idle == 3
            exchange = await ask(transport)
            assert exchange.reused
            await exchange.read(10)
            await settle()
            assert server.accepted == 3
            await transport.aclose()
            assert nothing_left(transport)
        said = await transport.warm(2)
        assert said is not None
        assert said.startswith(f"127.0.0.1:{server.port} cannot be reached: the connection was refused")
        assert nothing_left(transport)

    loop(main())


def test_close_ends_idle_connections_now_and_busy_ones_with_their_exchange():
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"

    async def script(link):
        await replies(half if link.number == 2 else OK)(link)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await transport.warm(1)
            await transport.warm(2)
            exchange = await ask(transport)
            assert (transport.open, transport.idle, transport.in_use) == (2, 1, 1)
            await transport.aclose()
            assert (transport.open, transport.idle, transport.in_use) == (1, 0, 1)
            exchange.abort()
            await settle()
            assert nothing_left(transport)
            late = await ask(transport)
            assert await late.read(10) == b"hello"
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())

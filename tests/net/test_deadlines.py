"""Behaviour 25: four separate deadlines, each with its name, and none leaves anything behind."""

import asyncio
import time

import pytest

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamTimeout
from penstock.net import transport as transport_module
from penstock.net.transport import Deadlines, Transport, TransportSettings
from tests.net.raw_server import LONG, LOOPS, OK, RawServer, always, ask, fetch, nothing_left, post, settle

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SHORT = 0.15


def deadlines(**short):
    limits = {"connect_s": 10.0, "first_byte_s": 10.0, "idle_s": 10.0, "total_s": 20.0}
    return Deadlines(**{**limits, **short})


async def times_out(phase, awaitable):
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout) as caught:
        await awaitable
    assert time.monotonic() - began < 5  # the right one, not a longer one
    assert (caught.value.phase, caught.value.code) == (phase, f"upstream_timeout_{phase}")
    assert "127.0.0.1:" in str(caught.value) or "api.example:" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_25_connect_covers_the_tls_handshake(loop):
    gone = []

    async def script(link):
        gone.append(await link.gone())

    async def main():
        async with RawServer(script) as server:
            transport = Transport(TransportSettings(parse_base_url(server.url.replace("http:", "https:"))))
            await times_out("connect", ask(transport, deadlines(connect_s=SHORT)))
            await settle()
            assert nothing_left(transport)
            assert gone == [True]

    loop(main())


def test_behaviour_25_connect_covers_the_resolver(monkeypatch):
    async def main():
        async def never(*_args, **_kwargs):
            await asyncio.sleep(60)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
        transport = Transport(TransportSettings(parse_base_url("http://api.example:81")))
        said = await times_out("connect", ask(transport, deadlines(connect_s=SHORT)))
        assert said == "No connection to api.example:81 within 0.15 s."
        await settle()
        assert nothing_left(transport)

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_behaviour_25_connect_covers_the_proxy(loop, scheme):
    """CONNECT for https belongs to connecting; for http the proxy's answer is the reply itself."""
    gone = []

    async def script(link):
        await link.request()
        gone.append(await link.gone())

    async def main():
        async with RawServer(script) as server:
            endpoint = parse_base_url(f"{scheme}://api.example:81")
            transport = Transport(
                TransportSettings(endpoint, proxy=f"http://u:sekrit@127.0.0.1:{server.port}")
            )
            if scheme == "https":
                said = await times_out("connect", ask(transport, deadlines(connect_s=SHORT)))
            else:
                said = await times_out("first_byte", ask(transport, deadlines(first_byte_s=SHORT)))
            assert "sekrit" not in said
            await settle()
            assert nothing_left(transport)
            assert gone == [True]

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_behaviour_25_connect_covers_the_wait_for_a_free_connection(loop):
    async def script(link):
        await link.request()
        await link.gone()

    async def main():
        async with RawServer(script) as server:
            transport = server.transport(max_connections=1)
            busy = asyncio.ensure_future(ask(transport))
            await asyncio.sleep(0.05)
            said = await times_out("connect", ask(transport, deadlines(connect_s=SHORT)))
            assert said.endswith("came free within 0.15 s: all 1 are in use (max_connections).")
            assert transport.waiting == 0
            busy.cancel()
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nx-a: b\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_behaviour_25_first_byte_runs_until_the_head_is_complete(loop, first):
    gone = []

    async def script(link):
        await link.request()
        await link.send(first)
        gone.append(await link.gone())

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            said = await times_out("first_byte", ask(transport, deadlines(first_byte_s=SHORT)))
            assert said == f"127.0.0.1:{server.port} sent no reply within 0.15 s."
            await settle()
            assert nothing_left(transport)
            assert gone == [True]

    loop(main())


def test_a_trickle_of_1xx_or_of_headers_does_not_move_the_first_byte():
    async def script(link):
        await link.request()
        for _ in range(1000):
            await link.send(b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n")
            await asyncio.sleep(0.02)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            await times_out("first_byte", ask(transport, deadlines(first_byte_s=SHORT)))

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["read", "pump", "neither"])
def test_behaviour_25_idle_runs_between_two_reads_of_the_body(loop, way):
    gone = []

    async def script(link):
        await link.request()
        await link.send(HEAD)
        for _ in range(5):
            await asyncio.sleep(0.06)
            await link.send(b"7\r\n: ping\n\r\n")
        gone.append(await link.gone())

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            exchange = await ask(transport, deadlines(idle_s=SHORT))
            pieces = []
            if way == "neither":
                await asyncio.sleep(1)
                assert exchange.done
            said = await times_out(
                "idle", exchange.read(1000) if way == "read" else exchange.pump(pieces.append)
            )
            assert said == f"127.0.0.1:{server.port} fell silent for 0.15 s inside its reply."
            if way != "read":
                assert b"".join(pieces) == b": ping\n" * 5
            await settle()
            assert nothing_left(transport)
            assert gone == [True]

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_idle_stands_still_while_paused_and_runs_again_after(loop):
    async def script(link):
        await link.request()
        await link.send(HEAD + b"5\r\nhello\r\n")
        await link.gone()

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            exchange = await ask(transport, deadlines(idle_s=SHORT))
            task = asyncio.ensure_future(exchange.pump(lambda _piece: None))
            await asyncio.sleep(0)
            exchange.pause()
            await asyncio.sleep(0.5)
            assert not task.done()
            exchange.resume()
            await times_out("idle", task)
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("paused", [False, True])
def test_behaviour_25_total_runs_whatever_happens(loop, paused):
    """Heartbeats do not hold an exchange open for ever."""
    gone = []

    async def script(link):
        await link.request()
        await link.send(HEAD)
        try:
            for _ in range(1000):
                await link.send(b"7\r\n: ping\n\r\n")
                await asyncio.sleep(0.01)
        except OSError:
            gone.append(True)

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            exchange = await ask(transport, deadlines(total_s=0.3, idle_s=SHORT))
            if paused:
                exchange.pause()
            said = await times_out("total", exchange.pump(lambda _piece: None))
            assert said == f"The exchange with 127.0.0.1:{server.port} was not complete within 0.3 s."
            await asyncio.sleep(0.1)
            assert nothing_left(transport)
            assert gone == [True]

    loop(main())


@pytest.mark.parametrize("where", ["first_byte", "connect"])
def test_total_may_end_an_exchange_in_any_phase(where):
    async def script(link):
        await link.request()
        await link.gone()

    async def main():
        async with RawServer(script) as server:
            url = server.url if where == "first_byte" else server.url.replace("http:", "https:")
            transport = Transport(TransportSettings(parse_base_url(url)))
            await times_out("total", ask(transport, deadlines(total_s=SHORT)))
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reply_that_came_while_the_loop_stood_still_is_no_timeout(loop):
    """Our own delay is not the provider's: the sockets get a turn before the sweeper judges."""

    async def script(link):
        await link.request()
        await link.send(HEAD)
        await asyncio.sleep(0.1)
        await link.send(b"5\r\nhello\r\n0\r\n\r\n")
        await link.gone()

    async def main():
        async with RawServer(script) as server:
            transport = server.transport()
            exchange = await ask(transport, deadlines(idle_s=0.3))
            loop_ = asyncio.get_running_loop()
            loop_.call_later(0.12, time.sleep, 0.6)
            assert await exchange.read(10) == b"hello"
            await transport.aclose()

    loop(main())


def test_the_sweeper_rests_when_nothing_is_active():
    async def main():
        async with RawServer(always(OK)) as server:
            transport = server.transport()
            await fetch(transport)
            assert transport._sweeping
            await asyncio.sleep(5 * transport_module.TICK_S)
            assert not transport._sweeping
            exchange = await transport.send(post(), LONG)
            assert transport._sweeping
            await exchange.read(10)
            await transport.aclose()
            await asyncio.sleep(5 * transport_module.TICK_S)

    asyncio.run(main())

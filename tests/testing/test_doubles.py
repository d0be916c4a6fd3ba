"""The public doubles stand where the real things do, and keep their promises."""

import asyncio
import doctest
import inspect
import json
import re
import socket
import urllib.request

import openai
import pytest
import uvloop

from penstock import testing
from penstock.base.clock import Clock, SystemClock
from penstock.base.errors import UpstreamFault, UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable
from penstock.net.transport import Deadlines, Exchange, Transport
from penstock.testing import (
    FOREVER,
    EchoUpstream,
    FakeClock,
    NetworkForbidden,
    ScriptedReply,
    ScriptedTransport,
    ScriptIsOver,
    no_network,
)
from penstock.wire.http import WireRequest
from tests.house.source import SRC

DEADLINES = Deadlines(1, 1, 1, 1)
REQUEST = WireRequest(b"POST", b"/x", [], b"{}")


def test_the_public_names_are_there_and_explained():
    """__all__ is the surface; each name says what it is for."""
    assert sorted(testing.__all__, key=str.lower) == sorted(set(testing.__all__), key=str.lower)
    for name in testing.__all__:
        assert name == "FOREVER" or inspect.getdoc(getattr(testing, name))


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(inspect.getmodule(FakeClock))
    assert (found.failed, found.attempted > 0) == (0, True)


# The clock.


def test_the_clock_moves_only_when_told():
    clock: Clock = FakeClock(monotonic_s=5, unix_s=100)
    assert (clock.monotonic_s(), clock.unix_s()) == (5, 100)
    clock.advance(1.5)
    assert (clock.monotonic_s(), clock.unix_s()) == (6.5, 101.5)
    clock.set_unix_s(50)
    assert (clock.monotonic_s(), clock.unix_s()) == (6.5, 50)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    assert {name for name in dir(SystemClock) if not name.startswith("_")} <= set(dir(clock))


# The scripted transport.


def test_the_scripted_transport_offers_what_the_real_one_offers():
    """Every method of the seam is there with the same parameters."""
    for double, real, names in (
        (ScriptedTransport, Transport, ("send", "warm", "aclose", "borrow", "begin", "released")),
        (testing.ScriptedExchange, Exchange, ("read", "whole", "pump", "pause", "resume", "abort")),
    ):
        for name in names:
            wanted = list(inspect.signature(getattr(real, name)).parameters)
            assert list(inspect.signature(getattr(double, name)).parameters) == wanted, name
    exchange = testing.ScriptedExchange(ScriptedReply())
    read = re.compile(r"\bexchange\.([a-z]\w*)")
    used = {name for path in (SRC / "gateway").glob("*.py") for name in read.findall(path.read_text())}
    assert {"status", "headers", "pump", "abort"} <= used
    assert {name for name in used if not hasattr(exchange, name)} == set()


def test_replies_and_errors_come_in_order_and_requests_are_kept():
    """And one call too many is a failure, not a hang."""

    async def run() -> None:
        transport = ScriptedTransport(
            [ScriptedReply((b"a", b"b"), 201, ((b"x", b"1"),)), UpstreamUnreachable("down")]
        )
        exchange = await transport.send(REQUEST, DEADLINES)
        assert (exchange.status, exchange.headers, transport.in_use) == (201, [(b"x", b"1")], 1)
        assert await exchange.read(10) == b"ab"
        assert (transport.in_use, exchange.aborted) == (0, False)
        with pytest.raises(UpstreamUnreachable):
            await transport.send(REQUEST, DEADLINES)
        with pytest.raises(ScriptIsOver, match="Request 3"):
            await transport.send(REQUEST, DEADLINES)
        transport.then(ScriptedReply())
        assert await (await transport.send(REQUEST, DEADLINES)).read(0) == b""
        assert transport.sent == [(REQUEST, DEADLINES)] * 4
        assert await transport.warm() is None
        await transport.aclose()
        assert transport.closed

    asyncio.run(run())


def test_what_is_begun_is_gathered_for_its_listener():
    """Without anybody who awaits: the status is known once the head is here, the body or the error when it is over."""

    async def run() -> None:
        late = ScriptedReply((b"a", b"b"), 201, head_after_s=0.001)
        cut = ScriptedReply((b"a", UpstreamTruncated("cut")), 500)
        transport = ScriptedTransport([late, cut, UpstreamUnreachable("down")])
        told: asyncio.Queue[None] = asyncio.Queue()
        for _ in range(3):
            connection = transport.borrow(0.0)
            assert connection is not None
            exchange = transport.begin(connection, REQUEST, DEADLINES, lambda: told.put_nowait(None), 10)
            assert (exchange.status, told.qsize()) == (0, 0)
            async with asyncio.timeout(5):
                await told.get()
            assert exchange.done
        first, second, third = transport.exchanges
        assert (first.status, first.whole(10), await first.read(10)) == (201, b"ab", b"ab")
        assert second.status == 500
        with pytest.raises(UpstreamTruncated):
            await second.read(10)
        assert third.status == 0
        with pytest.raises(UpstreamUnreachable):
            third.whole(10)
        assert (transport.in_use, transport.borrow(0.0)) == (0, None)

    asyncio.run(run())


def test_a_body_over_the_limit_is_malformed_and_an_error_breaks_off():
    async def run() -> None:
        transport = ScriptedTransport(
            [ScriptedReply((b"abc",)), ScriptedReply((b"abc", UpstreamFault("died")))]
        )
        with pytest.raises(UpstreamMalformed):
            await (await transport.send(REQUEST, DEADLINES)).read(2)
        exchange, got = await transport.send(REQUEST, DEADLINES), []
        with pytest.raises(UpstreamFault):
            await exchange.pump(got.append)
        assert (got, exchange.aborted) == ([b"abc"], True)

    asyncio.run(run())


def test_abort_pause_cancel_and_a_raising_sink_end_a_pump_as_on_a_socket():
    """What the real exchange promises about ends, the double keeps."""

    async def run() -> None:
        hang = ScriptedReply((b"a", FOREVER, b"b"))
        transport = ScriptedTransport([hang, hang, ScriptedReply((b"a", b"b")), ScriptedReply((b"a", b"b"))])
        got: list[bytes] = []
        exchange = await transport.send(REQUEST, DEADLINES)
        asyncio.get_running_loop().call_later(0.01, exchange.abort)
        with pytest.raises(UpstreamTruncated):
            await exchange.pump(got.append)
        assert got == [b"a"]

        exchange = await transport.send(REQUEST, DEADLINES)
        task = asyncio.ensure_future(exchange.pump(got.append))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert exchange.aborted

        exchange = await transport.send(REQUEST, DEADLINES)
        got.clear()
        exchange.pause()
        task = asyncio.ensure_future(exchange.pump(got.append))
        await asyncio.sleep(0.01)
        assert got == []
        exchange.resume()
        await task
        exchange.abort()
        assert (got, exchange.aborted) == ([b"a", b"b"], False)

        def refuse(piece: bytes) -> None:
            raise UpstreamMalformed("no")

        exchange = await transport.send(REQUEST, DEADLINES)
        with pytest.raises(UpstreamMalformed):
            await exchange.pump(refuse)
        assert exchange.aborted

    asyncio.run(run())


def test_a_head_may_take_its_time():
    """And a caller who does not wait for it closes the exchange."""

    async def run() -> None:
        transport = ScriptedTransport([ScriptedReply(head_after_s=0.01), ScriptedReply(head_after_s=FOREVER)])
        assert (await transport.send(REQUEST, DEADLINES)).status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await transport.send(REQUEST, DEADLINES)
        assert transport.exchanges[1].aborted

    asyncio.run(run())


# The echo.


def test_the_echo_answers_the_official_client_with_what_it_sent():
    """Streamed or not; the requests are kept, credential and all."""
    with EchoUpstream() as echo:
        with openai.OpenAI(base_url=echo.base_url, api_key="sk-echo", max_retries=0) as client:
            asked = {"model": "m", "messages": [{"role": "user", "content": "naïve 🙂"}]}
            whole = client.chat.completions.create(**asked)
            assert json.loads(whole.choices[0].message.content) == asked
            chunks = list(client.chat.completions.create(**asked, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert json.loads(text) == {**asked, "stream": True}
        assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) == 4
        assert chunks[-1].usage.total_tokens > 0
        assert [heard.path for heard in echo.heard] == ["/v1/chat/completions"] * 2
        assert echo.heard[0].headers["authorization"] == "Bearer sk-echo"


def test_the_echo_answers_anything():
    """No JSON, another path, GET: always an answer; gone after its block."""
    with EchoUpstream() as echo:
        for data in (b"", b"hello", b"[1]", b"\xff", b'{"stream": 1, "model": null}'):
            with urllib.request.urlopen(f"{echo.url}/any", data) as reply:
                assert json.load(reply)["choices"][0]["message"]["content"] == data.decode("utf-8", "replace")
        with urllib.request.urlopen(f"{echo.base_url}/models") as reply:
            assert json.load(reply) == {"object": "list", "data": []}
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(echo.url)


# The guard.

ELSEWHERE = "192.0.2.1"


def connect(address: object) -> None:
    with socket.socket() as one:
        one.connect(address)


def test_no_python_socket_leaves_the_machine():
    """The whole session runs inside the guard: addresses, names, datagrams, look-ups."""
    for host in (ELSEWHERE, "example.com", "10.0.0.1", "127.0.0.1.example.com"):
        with pytest.raises(NetworkForbidden, match=host):
            connect((host, 80))
    with socket.socket() as one, pytest.raises(NetworkForbidden):
        one.connect_ex((ELSEWHERE, 80))
    with socket.socket(type=socket.SOCK_DGRAM) as one, pytest.raises(NetworkForbidden):
        one.sendto(b"x", (ELSEWHERE, 53))
    with pytest.raises(NetworkForbidden):
        socket.getaddrinfo("example.com", 80)
    assert not issubclass(NetworkForbidden, OSError)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("host", [ELSEWHERE, "example.com", "2001:db8::1"])
def test_no_loop_leaves_the_machine(runner, host):
    """asyncio's own and uvloop, by address and by name."""

    async def run() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, 80)

    with pytest.raises(NetworkForbidden):
        runner(run())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_an_invalid_name_does_not_exist_and_nobody_is_asked(runner):
    """So that code under test can meet a name without an address."""

    async def run() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, "no-such-host.invalid", 80)

    with pytest.raises(socket.gaierror):
        runner(run())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.8.8"])
def test_loopback_stays_open(runner, host):
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1" if host == "localhost" else host, 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, host, port, family=socket.AF_INET)
        transport.close()
        server.close()
        await asyncio.sleep(0)

    runner(run())


def test_the_guard_takes_itself_away():
    """Nested or not: what was there before is there afterwards."""
    before = (socket.socket.connect, socket.getaddrinfo, uvloop.Loop.create_connection)
    with no_network():
        assert socket.socket.connect is not before[0]
    with pytest.raises(KeyError), no_network():
        raise KeyError
    assert (socket.socket.connect, socket.getaddrinfo, uvloop.Loop.create_connection) == before

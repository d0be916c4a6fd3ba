"""What replies point at is fetched from the open internet only, and from the address that was looked at."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from ipaddress import ip_address
from typing import Any

import pytest

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.net import fetch
from penstock.net.fetch import Fetched, Fetcher, is_public
from penstock.net.transport import Deadlines


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run it in a loop of its own."""

    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


SOON = Deadlines(5, 5, 5, 10)


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """A server that gives one answer a connection, and the requests that it got."""
    asked: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        await server.wait_closed()


def reply(body: bytes, status: str = "200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n%b\r\n%b" % (status.encode(), len(body), more, body)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ],
)
@in_a_loop
async def test_no_address_of_a_network_of_our_own(address: str):
    """In IPv4, and in all the ways in which IPv6 spells it."""
    assert not is_public(ip_address(address))
    shown = f"[{address}]" if ":" in address else address
    found = await Fetcher().fetch(f"https://{shown}/a.png", SOON)
    assert isinstance(found, Rejected)
    assert found.code == "url-private"


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_open_internet_is_open(address: str):
    """And nothing else is refused."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://pictures.example/a.png", "url-scheme"),
        ("ftp://pictures.example/a.png", "url-scheme"),
        ("file:///etc/passwd", "url-scheme"),
        ("https://user:word@pictures.example/a.png", "url-credentials"),
        ("https:///a.png", "url-unreadable"),
        ("https://pictures.example:99999/", "url-unreadable"),
    ],
)
@in_a_loop
async def test_odd_addresses_are_refused(url: str, code: str):
    """Before anything is sent."""
    found = await Fetcher().fetch(url, SOON)
    assert isinstance(found, Rejected)
    assert found.code == code


def looks_up(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names stand for these addresses, one list a question; the names that were asked for."""
    names: list[str] = []
    left = list(answers)

    async def getaddrinfo(_self: Any, host: str, port: int, **_more: Any) -> list[Any]:
        names.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return names


@in_a_loop
async def test_one_private_address_among_many_is_enough(monkeypatch: pytest.MonkeyPatch):
    """Nobody knows which one a connection would have gone to."""
    looks_up(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    found = await Fetcher().fetch("https://pictures.example/a.png", SOON)
    assert isinstance(found, Rejected)
    assert found.code == "url-private"


@in_a_loop
async def test_the_connection_goes_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch):
    """A name that stands for another one a moment later (DNS rebinding) changes nothing: it is asked once."""
    async with serving(reply(b"picture")) as (port, asked):
        names = looks_up(monkeypatch, ["127.0.0.1"], ["203.0.113.7"])
        found = await Fetcher(trusts_neighbours=True).fetch(f"http://pictures.example:{port}/a.png", SOON)
        assert isinstance(found, Fetched)
        assert (found.status, found.body) == (200, b"picture")
        assert names == ["pictures.example"]
        assert b"host: pictures.example:%d" % port in asked[0]
        assert b"authorization" not in asked[0]


@in_a_loop
async def test_a_redirect_into_our_own_network_is_not_followed(monkeypatch: pytest.MonkeyPatch):
    """Each step is looked at like the first."""
    async with serving(reply(b"", "302 Found", b"location: http://10.0.0.1/secret\r\n")) as (port, asked):
        monkeypatch.setattr(fetch, "is_public", lambda address: str(address) == "127.0.0.1")
        fetcher = Fetcher()
        monkeypatch.setattr(fetcher, "_place", Fetcher(trusts_neighbours=True)._place)
        found = await fetcher.fetch(f"http://127.0.0.1:{port}/a.png", SOON)
        assert isinstance(found, Rejected)
        assert found.code == "url-private"
        assert len(asked) == 1


@in_a_loop
async def test_redirects_are_followed_and_counted():
    """Relative ones too; but not for ever."""
    onward = reply(b"", "307 Temporary Redirect", b"location: /b.png\r\n")
    async with serving(onward, reply(b"there")) as (port, _):
        found = await Fetcher(trusts_neighbours=True).fetch(f"http://127.0.0.1:{port}/a.png", SOON)
        assert isinstance(found, Fetched)
        assert (found.body, found.url) == (b"there", f"http://127.0.0.1:{port}/b.png")
    async with serving(*[onward] * 9) as (port, asked):
        found = await Fetcher(trusts_neighbours=True).fetch(f"http://127.0.0.1:{port}/a.png", SOON)
        assert isinstance(found, Rejected)
        assert (found.code, len(asked)) == ("url-redirects", fetch.MOST_REDIRECTS + 1)


@in_a_loop
async def test_what_is_too_long_is_not_read():
    """Said or not."""
    said = reply(b"x" * 2000)
    unsaid = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"
    )
    async with serving(said, unsaid) as (port, _):
        fetcher = Fetcher(trusts_neighbours=True, most_bytes=500)
        found = await fetcher.fetch(f"http://127.0.0.1:{port}/a.png", SOON)
        assert isinstance(found, Rejected)
        assert found.code == "url-too-large"
        with pytest.raises(UpstreamError, match="more than 500 bytes"):
            await fetcher.fetch(f"http://127.0.0.1:{port}/a.png", SOON)

"""TLS with certificates that are checked, HTTP proxies with credentials that stay hidden, IPv6."""

import asyncio
import base64
import ssl

import pytest
import trustme

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable
from penstock.net.dial import trust
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
    pumped,
    settle,
)

CA = trustme.CA()


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


def server_tls(*names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    CA.issue_cert(*names).configure_cert(context)
    return context


@pytest.mark.parametrize("loop", LOOPS)
def test_tls_is_verified_reused_and_closed(loop, ca_file):
    alpn = []

    async def script(link):
        alpn.append(link.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await always(OK)(link)

    async def main():
        async with RawServer(script, tls=server_tls("127.0.0.1")) as server:
            transport = server.transport(ca_file=ca_file)
            assert await transport.warm(1) is None
            for _ in range(3):
                assert await fetch(transport) == b"hello"
            assert await pumped(transport) == b"hello"
            assert server.accepted == 1
            assert alpn == ["http/1.1"]
            await transport.aclose()
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_chunks_go_past_the_parser_on_a_real_socket(loop, tls, ca_file):
    """Each loop's reads are bytes, with and without TLS, and begin where a chunk begins."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (number, b"d" * number) for number in range(1, 30)]

    async def script(link):
        await link.request()
        await link.send(head, *chunks, b"0\r\n\r\n", gap_s=0.005)
        await link.gone()

    async def main():
        context = server_tls("127.0.0.1") if tls else None
        async with RawServer(script, tls=context) as server:
            transport = server.transport(ca_file=ca_file)
            exchange = await ask(transport)
            taken, parsed = [], []

            def take(data):
                assert type(data) is bytes
                if data not in chunks:
                    return False
                taken.append(data)
                return True

            def sink(piece):
                parsed.append(piece)
                exchange.shortcut = take

            await exchange.pump(sink)
            assert transport.idle == 1
            await transport.aclose()
            return taken, parsed

    taken, parsed = loop(main())
    assert len(taken) > 5  # several may come in one read on a busy machine
    assert sum(map(len, parsed)) + sum(len(chunk.split(b"\r\n")[1]) for chunk in taken) == sum(range(30))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_body_both_ways_over_tls(loop, ca_file):
    size = 12_000_000
    big = bytes(size)

    async def script(link):
        while True:
            _, body = await link.request()
            await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body)

    async def main():
        async with RawServer(script, tls=server_tls("127.0.0.1")) as server:
            transport = server.transport(ca_file=ca_file)
            exchange = await transport.send(post(b"/x", big), LONG)
            total = 0

            def sink(piece):
                nonlocal total
                total += len(piece)

            await exchange.pump(sink)
            assert total == size
            assert await fetch(transport) == b"{}"
            await transport.aclose()
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("name", "with_ca", "said"),
    [
        ("127.0.0.1", False, "its certificate was refused, unable to get local issuer certificate"),
        ("other.example", True, "its certificate was refused, IP address mismatch"),
    ],
)
def test_a_certificate_that_does_not_fit_is_unreachable(loop, name, with_ca, said, ca_file):
    async def main():
        async with RawServer(always(OK), tls=server_tls(name)) as server:
            transport = server.transport(ca_file=ca_file if with_ca else None)
            with pytest.raises(UpstreamUnreachable) as caught:
                await fetch(transport)
            assert str(caught.value).startswith(f"127.0.0.1:{server.port} cannot be reached: {said}")
            assert said in str(await transport.warm(1))
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_speaks_no_tls_or_closes_in_the_handshake_is_unreachable(loop):
    async def plain(link):
        await link.reader.read(10)
        await link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def closing(link):
        await link.reader.read(10)

    async def main():
        for script in (plain, closing):
            async with RawServer(script) as server:
                url = server.url.replace("http:", "https:")
                transport = Transport(TransportSettings(parse_base_url(url)))
                with pytest.raises(UpstreamUnreachable, match=f"127.0.0.1:{server.port} cannot be reached"):
                    await fetch(transport)
                await settle()
                assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_body_cut_over_tls_is_truncated(loop, ca_file):
    script = once_and_close(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")

    async def main():
        async with RawServer(script, tls=server_tls("127.0.0.1")) as server:
            transport = server.transport(ca_file=ca_file)
            with pytest.raises(UpstreamTruncated):
                await fetch(transport)
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("content", ["", "not a certificate", None])
def test_a_ca_file_that_cannot_be_used_is_a_sentence(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"^ca_file cannot be read"):
        Transport(TransportSettings(parse_base_url("https://h"), ca_file=str(path)))


def test_contexts_are_shared_until_the_file_changes(ca_file, tmp_path):
    assert trust(None) is trust(None)
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    first = trust(str(path))
    assert trust(str(path)) is first
    trustme.CA().cert_pem.write_to_path(str(path))
    assert trust(str(path)) is not first


# A proxy, written here byte by byte.


class TestProxy:
    """An HTTP proxy that knows one user, and dials ``upstream`` whatever it is asked for."""

    def __init__(self, upstream, credentials=b"joe:p@ss"):
        self.upstream = upstream
        self.authorization = b"Basic " + base64.b64encode(credentials)
        self.heads = []

    async def __call__(self, link):
        while True:
            head, body = await link.request()
            self.heads.append(head)
            if b"proxy-authorization: " + self.authorization + b"\r\n" not in head:
                await link.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                continue
            reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream.port)
            try:
                if head.startswith(b"CONNECT"):
                    await link.send(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n")
                    await asyncio.gather(
                        self._copy(link.reader, writer),
                        self._copy(reader, link.writer),
                        return_exceptions=True,
                    )
                    return
                writer.write(head + body)
                await link.send(await reader.read(65536))
            finally:
                writer.close()

    @staticmethod
    async def _copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


TestProxy.__test__ = False


@pytest.mark.parametrize("loop", LOOPS)
def test_https_goes_through_the_proxy_by_connect(loop, ca_file):
    async def main():
        async with RawServer(always(OK), tls=server_tls("api.example")) as server:
            proxy = TestProxy(server)
            async with RawServer(proxy) as front:
                transport = Transport(
                    TransportSettings(
                        parse_base_url("https://api.example/v1"),
                        proxy=f"http://joe:p%40ss@127.0.0.1:{front.port}",
                        ca_file=ca_file,
                    )
                )
                assert await fetch(transport) == b"hello"
                assert await fetch(transport) == b"hello"
                assert front.accepted == server.accepted == 1
                assert len(proxy.heads) == 1
                assert proxy.heads[0].startswith(
                    b"CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\n"
                )
                await transport.aclose()
                await settle()
                assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_http_goes_through_the_proxy_in_absolute_form(loop):
    async def main():
        async with RawServer(always(OK)) as server:
            proxy = TestProxy(server)
            async with RawServer(proxy) as front:
                settings = TransportSettings(
                    parse_base_url("http://api.example:81/v1"),
                    proxy=f"http://joe:p%40ss@127.0.0.1:{front.port}",
                )
                assert "joe" not in repr(settings)
                assert "p%40ss" not in repr(list(settings.__rich_repr__()))
                transport = Transport(settings)
                assert await fetch(transport) == b"hello"
                assert await fetch(transport) == b"hello"
                assert front.accepted == 1
                assert proxy.heads[0].startswith(
                    b"POST http://api.example:81/v1/x HTTP/1.1\r\nhost: api.example:81\r\n"
                )
                await transport.aclose()
                await settle()
                assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_our_credentials_is_unreachable_and_they_stay_hidden(loop, scheme):
    async def main():
        async with RawServer(always(OK)) as server, RawServer(TestProxy(server)) as front:
            transport = Transport(
                TransportSettings(
                    parse_base_url(f"{scheme}://api.example"),
                    proxy=f"http://joe:sekrit@127.0.0.1:{front.port}",
                )
            )
            with pytest.raises(UpstreamUnreachable) as caught:
                await fetch(transport)
            assert str(caught.value) == f"The proxy 127.0.0.1:{front.port} refused our credentials (407)."
            assert "sekrit" not in repr(transport)
            await transport.aclose()
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused a connection to api.example:443 (502)."),
        (b"HTTP/1.1 200 OK\r\n\r\nsmuggled", "did not answer in HTTP."),
        (b"SSH-2.0-OpenSSH\r\n", "did not answer in HTTP."),
        (b"HTTP/1.1 abc\r\n\r\n", "did not answer in HTTP."),
        (b"HTTP/1.1\r\n\r\n", "did not answer in HTTP."),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000, "did not answer in HTTP."),
        (b"HTTP/1.1 200", "closed the connection before it answered."),
        (b"", "closed the connection before it answered."),
    ],
)
@pytest.mark.parametrize("split", [False, True])
def test_whatever_a_proxy_answers_to_connect_is_a_sentence(answer, said, split):
    async def script(link):
        await link.request()
        if split and len(answer) < 1000:
            await link.send(*(bytes([b]) for b in answer), gap_s=0.0005)
        else:
            await link.send(answer)

    async def main():
        async with RawServer(script) as front:
            transport = Transport(
                TransportSettings(
                    parse_base_url("https://api.example"), proxy=f"http://127.0.0.1:{front.port}"
                )
            )
            with pytest.raises(UpstreamUnreachable) as caught:
                await fetch(transport)
            if not (split and b"smuggled" in answer):  # alone, those bytes are a broken TLS record instead
                assert str(caught.value) == f"The proxy 127.0.0.1:{front.port} {said}"
            await settle()
            assert nothing_left(transport)

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named(scheme):
    async def main():
        async with RawServer(always(OK)) as server:
            port = server.port
        transport = Transport(
            TransportSettings(
                parse_base_url(f"{scheme}://api.example"), proxy=f"http://joe:sekrit@127.0.0.1:{port}"
            )
        )
        with pytest.raises(UpstreamUnreachable) as caught:
            await fetch(transport)
        assert str(caught.value).startswith(
            f"The proxy 127.0.0.1:{port} cannot be reached: the connection was refused"
        )

    asyncio.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_bad_certificate_behind_a_proxy_names_the_upstream(loop):
    async def main():
        async with (
            RawServer(always(OK), tls=server_tls("api.example")) as server,
            RawServer(TestProxy(server)) as front,
        ):
            transport = Transport(
                TransportSettings(
                    parse_base_url("https://api.example"), proxy=f"http://joe:p%40ss@127.0.0.1:{front.port}"
                )
            )
            with pytest.raises(
                UpstreamUnreachable, match=r"^api.example:443 cannot be reached: its certificate"
            ):
                await fetch(transport)
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("secure", [False, True])
def test_an_ipv6_literal_is_dialled_named_and_verified(loop, secure, ca_file):
    hosts = []

    async def script(link):
        while True:
            head, _ = await link.request()
            hosts.append(head.split(b"\r\n")[1])
            await link.send(OK)

    async def main():
        tls = server_tls("::1") if secure else None
        async with RawServer(script, tls=tls, host="::1") as server:
            transport = server.transport(ca_file=ca_file)
            assert await fetch(transport) == b"hello"
            assert hosts == [b"host: [::1]:%d" % server.port]
            assert repr(transport) == f"<Transport [::1]:{server.port}, 1 idle, 0 in use>"
            await transport.aclose()
            await settle()
            assert nothing_left(transport)

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_name_without_an_address_is_unreachable(loop):
    async def main():
        transport = Transport(TransportSettings(parse_base_url("http://no-such-host.invalid")))
        with pytest.raises(
            UpstreamUnreachable, match=r"^no-such-host.invalid:80 cannot be reached: its name has no address"
        ):
            await fetch(transport)
        assert nothing_left(transport)

    loop(main())


def test_addresses_are_tried_one_after_another(monkeypatch):
    """The first address refuses, the second answers."""

    async def main():
        async with RawServer(always(OK)) as server:
            loop = asyncio.get_running_loop()
            known = loop.getaddrinfo

            async def two(_host, port, **kwargs):
                return await known("127.0.0.2", port, **kwargs) + await known("127.0.0.1", port, **kwargs)

            monkeypatch.setattr(loop, "getaddrinfo", two)
            transport = Transport(TransportSettings(parse_base_url(f"http://api.example:{server.port}")))
            assert await fetch(transport) == b"hello"
            await transport.aclose()

    asyncio.run(main())


def test_a_reply_that_is_no_http_over_tls_is_malformed(ca_file):
    async def main():
        async with RawServer(once_and_close(b"nonsense"), tls=server_tls("127.0.0.1")) as server:
            transport = server.transport(ca_file=ca_file)
            with pytest.raises(UpstreamMalformed):
                await ask(transport)

    asyncio.run(main())

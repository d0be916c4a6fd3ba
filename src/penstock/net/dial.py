"""Opening a connection: DNS, TCP, a proxy's CONNECT, TLS.

Rules: whoever cancels ``open`` leaves no socket behind; every fault is UpstreamUnreachable with a sentence that names
host and port and never the proxy's credentials. Addresses are tried one after another in the resolver's order
(uvloop has no happy eyeballs); the connect deadline is the caller's and covers all of it.
"""

import asyncio
import ssl
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from penstock.base.endpoint import Endpoint, Proxy
from penstock.base.errors import UpstreamUnreachable
from penstock.net.connection import Connection, Pool
from penstock.net.faults import SOCKET_FAULTS, unreachable

_MAX_PROXY_HEAD: Final = 64 * 1024
_NO_BUNDLE: Final = "ca_file cannot be read as a PEM bundle of certificates."
_LOST: Final = 0
_NOT_HTTP: Final = -1
_READING: Final = Lock()


def trust(ca_file: str | None) -> ssl.SSLContext:
    """The TLS settings for a CA file, or the system's trust. Raises ValueError with a sentence.

    Loading the system's store takes some 20 ms, so contexts are shared; a file with another content is read again.
    """
    try:
        with _READING:  # who comes while another reads waits for that, and does not read it as well
            return _context(ca_file, ca_version(ca_file))
    except OSError:  # ssl.SSLError is one
        raise ValueError(_NO_BUNDLE) from None


def read_trust_beside() -> None:
    """Reads the system's trust in a thread: OpenSSL does that without the GIL, while a start loads all the rest."""

    def read() -> None:
        with suppress(ValueError):  # who needs it reads it again, and says it
            trust(None)

    Thread(target=read, name="trust", daemon=True).start()


def ca_version(ca_file: str | None) -> str:
    """A hash of the file's content, "" for the system's trust. Raises ValueError with a sentence."""
    if ca_file is None:
        return ""
    try:
        return blake2b(Path(ca_file).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        raise ValueError(_NO_BUNDLE) from None


@lru_cache(maxsize=64)
def _context(ca_file: str | None, _version: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """Opens connections to one endpoint, straight or through a proxy."""

    def __init__(
        self, endpoint: Endpoint, proxy: Proxy | None, ca_file: str | None, address: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._address = address
        """Where to connect instead of asking what the host's name stands for: it was looked up, and looked at, before."""
        self._proxy = proxy
        self._tls = trust(ca_file) if endpoint.scheme == "https" else None

    async def open(self, pool: Pool) -> Connection:
        """An idle connection, ready for a request."""
        proxy = self._proxy
        where = self._endpoint.where
        near = f"The proxy {proxy.where}" if proxy is not None else where
        loop = asyncio.get_running_loop()
        try:
            if proxy is not None and self._tls is not None:
                return await self._tunnel(loop, pool, proxy, self._tls)
            _, connection = await loop.create_connection(
                lambda: Connection(pool, loop),
                proxy.host if proxy is not None else self._address or self._endpoint.host,
                proxy.port if proxy is not None else self._endpoint.port,
                ssl=self._tls,
                server_hostname=self._endpoint.host if self._tls is not None else None,
            )
        except SOCKET_FAULTS as error:
            raise unreachable(error, near, "connecting") from error
        if not connection.alive:  # lost between the handshake and here
            raise unreachable(None, near, "connecting")
        return connection

    async def _tunnel(
        self, loop: asyncio.AbstractEventLoop, pool: Pool, proxy: Proxy, tls: ssl.SSLContext
    ) -> Connection:
        endpoint = self._endpoint
        raw, tunnel = await loop.create_connection(lambda: _Tunnel(loop), proxy.host, proxy.port)
        try:
            raw.write(_connect_request(endpoint, proxy))
            status = await tunnel.answered
            if status != 200:
                raise UpstreamUnreachable(_refusal(status, proxy, endpoint))
            connection = Connection(pool, loop)
            try:
                upgraded = await loop.start_tls(raw, connection, tls, server_hostname=endpoint.host)
            except SOCKET_FAULTS as error:
                raise unreachable(error, endpoint.where, "connecting through the proxy") from error
            if upgraded is None:
                raise unreachable(None, endpoint.where, "connecting through the proxy")
            connection.connection_made(upgraded)
            return connection
        except BaseException:
            raw.abort()
            raise


def _connect_request(endpoint: Endpoint, proxy: Proxy) -> bytes:
    target = endpoint.where.encode("ascii")
    head = b"CONNECT " + target + b" HTTP/1.1\r\nhost: " + target + b"\r\n"
    if proxy.authorization is not None:
        head += b"proxy-authorization: " + proxy.authorization + b"\r\n"
    return head + b"\r\n"


def _refusal(status: int, proxy: Proxy, endpoint: Endpoint) -> str:
    if status == _LOST:
        return f"The proxy {proxy.where} closed the connection before it answered."
    if status == _NOT_HTTP:
        return f"The proxy {proxy.where} did not answer in HTTP."
    if status == 407:
        return f"The proxy {proxy.where} refused our credentials (407)."
    return f"The proxy {proxy.where} refused a connection to {endpoint.where} ({status})."


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT: its status, or why there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[int] = loop.create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of the answer."""
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end and len(head) <= _MAX_PROXY_HEAD and head[:5] == b"HTTP/"[: len(head)]:
            return
        words = head.split(b"\r\n", 1)[0].split(b" ")
        fair = end and not rest and head.startswith(b"HTTP/1.") and len(words) > 1 and words[1].isdigit()
        # Bytes behind a 200 would be the upstream's first words before ours: not TLS.
        status = int(words[1][:3]) if fair or (end and words[1:] and words[1].isdigit()) else _NOT_HTTP
        self._answer(_NOT_HTTP if status == 200 and not fair else status)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: closed."""
        self._answer(_LOST)

    def _answer(self, status: int) -> None:
        if not self.answered.done():
            self.answered.set_result(status)

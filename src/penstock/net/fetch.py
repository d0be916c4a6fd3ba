"""Fetching what somebody else's words point at: a picture's address in a provider's answer, or in a caller's request.

Theory
------
An address that others choose may lead into our own network (server-side request forgery). So the host's name is looked
up here, every address it stands for is looked at, and the connection goes to one that was looked at: a name that
changes between the look and the connection changes nothing. A redirect is another address, looked at like the first.

Rules
- https only (http too where the fetcher is ``plain``), and no address that is private, loopback, link-local, shared, multicast or reserved, in IPv4 or in any of the
  ways in which IPv6 spells IPv4; unless the fetcher is told to trust its neighbours (a provider that is one itself), or
  this host (``trusted``). A cloud's own services are no part of the open internet, whatever their addresses look like.
- No credential, no cookie, nothing of the caller's goes along.
- A body longer than ``most_bytes`` is not read to its end.
- Behind a proxy it is the proxy that looks names up: then only an address written as digits can be judged here.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.endpoint import Endpoint, parse_hook_url
from penstock.base.errors import UpstreamUnreachable
from penstock.net.transport import Deadlines, Transport, TransportSettings
from penstock.wire.http import Headers, WireRequest, header

MOST_BYTES = 64 * 1024 * 1024
MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = "64:ff9b::"
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
"""RFC 8215: not in Python's own list before 3.12.4."""
_CLOUDS_OWN = frozenset({IPv4Address("168.63.129.16")})
"""Azure's wire server, the one metadata address that is not link-local, shared or private by its number."""
Resolve = Callable[[str, int], Awaitable[list[str]]]
Hosts = Callable[[str], bool]
_HEADERS: Headers = [(b"accept", b"*/*"), (b"accept-encoding", b"identity"), (b"user-agent", b"penstock")]


class Fetched(Struct, frozen=True):
    """What stood there, with whatever status. ``url`` is where it was found, after redirects."""

    url: str
    status: int
    headers: Headers
    body: bytes


class Fetcher:
    """Fetches from hosts that others name. ``trusts_neighbours``: plain http and private addresses are allowed.

    ``trusted`` says so of single hosts; ``denied`` of those that are never asked. ``resolve`` looks names up.
    """

    def __init__(
        self,
        *,
        trusts_neighbours: bool = False,
        proxy: str | None = None,
        ca_file: str | None = None,
        most_bytes: int = MOST_BYTES,
        plain: bool = False,
        trusted: Hosts | None = None,
        denied: Hosts | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._trusts = trusts_neighbours
        self._plain = plain or trusts_neighbours
        self._trusted = trusted
        self._denied = denied
        self._resolve = _looked_up if resolve is None else resolve
        self._proxy = proxy
        self._ca_file = ca_file
        self._most_bytes = most_bytes

    async def fetch(self, url: str, deadlines: Deadlines, method: bytes = b"GET") -> Fetched | Rejected:
        """What stands there; Rejected for what is not fetched. Raises UpstreamError for a network that fails."""
        try:
            async with asyncio.timeout(deadlines.total_s):
                return await self._follow(url, deadlines, method)
        except TimeoutError:
            return Rejected("url-slow", f"it did not come within {deadlines.total_s:g} s")

    async def _follow(self, url: str, deadlines: Deadlines, method: bytes) -> Fetched | Rejected:
        for _ in range(MOST_REDIRECTS + 1):
            place = self._place(url)
            if isinstance(place, Rejected):
                return place
            endpoint, path = place
            address = await self._address(endpoint)
            if isinstance(address, Rejected):
                return address
            got = await self._get(url, endpoint, path, address, deadlines, method)
            if not isinstance(got, Fetched) or got.status not in _REDIRECTS:
                return got
            onward = header(got.headers, b"location")
            if onward is None:
                return got
            url = urljoin(url, onward.decode("latin-1"))
        return Rejected("url-redirects", f"it redirects more than {MOST_REDIRECTS} times")

    def _place(self, url: str) -> tuple[Endpoint, bytes] | Rejected:
        try:
            parts = urlsplit(url)
            if parts.username is not None or parts.password is not None:
                return Rejected("url-credentials", "it holds a user or a password")
            if parts.scheme != "https" and not (self._plain and parts.scheme == "http"):
                return Rejected("url-scheme", f"it is not {'http or ' if self._plain else ''}https")
            place = parse_hook_url(parts._replace(fragment="").geturl())
        except ValueError:
            return Rejected("url-unreadable", "it cannot be read")
        if self._denied is not None and self._denied(place[0].host):
            return Rejected("url-denied", f"{place[0].host} is not asked by this gateway")
        return place

    async def _address(self, endpoint: Endpoint) -> str | Rejected:
        """The address to connect to; "" where a proxy looks names up."""
        literal = _literal(endpoint.host)
        if literal is not None:
            return (
                str(literal)
                if self._trusts_host(endpoint.host) or is_public(literal)
                else _private(endpoint.host)
            )
        if self._proxy is not None:
            return ""
        try:
            found = await self._resolve(endpoint.host, endpoint.port)
        except (OSError, UnicodeError):
            raise UpstreamUnreachable(f"The name {endpoint.host} is not known.") from None
        addresses = [ip_address(entry.partition("%")[0]) for entry in found]
        if not addresses:
            raise UpstreamUnreachable(f"The name {endpoint.host} is not known.")
        if not self._trusts_host(endpoint.host) and not all(is_public(address) for address in addresses):
            return _private(endpoint.host)
        return str(addresses[0])

    def _trusts_host(self, host: str) -> bool:
        return self._trusts or (self._trusted is not None and self._trusted(host))

    async def _get(
        self,
        url: str,
        endpoint: Endpoint,
        path: bytes,
        address: str,
        deadlines: Deadlines,
        method: bytes,
    ) -> Fetched | Rejected:
        transport = Transport(TransportSettings(endpoint, self._proxy, self._ca_file, "", 1, address or None))
        try:
            exchange = await transport.send(WireRequest(method, path, _HEADERS, b""), deadlines)
            try:
                length = header(exchange.headers, b"content-length") or b""
                if length.isdigit() and int(length) > self._most_bytes:
                    return _too_long(self._most_bytes)
                body = await exchange.read(self._most_bytes)
            finally:
                exchange.abort()
            return Fetched(url, exchange.status, exchange.headers, body)
        finally:
            await transport.aclose()


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is by itself, also in the short, decimal, octal and hexadecimal ways that resolvers read."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


async def _looked_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _private(host: str) -> Rejected:
    return Rejected("url-private", f"{host} is in a private network")


def _too_long(most_bytes: int) -> Rejected:
    return Rejected("url-too-large", f"it is longer than {most_bytes} bytes")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """An address of the open internet, also where it is written into one of IPv6 (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and str(address).startswith(_NAT64):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address in _LOCAL_NAT64 or address.is_site_local:
            return False
    elif address in _CLOUDS_OWN:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved

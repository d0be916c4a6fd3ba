"""Where a provider lives: a base URL, taken apart once.

Rules: the host is ASCII (IDNA) and lower case, without brackets; ``authority`` is the Host header's value, with
brackets round an IPv6 literal and without the scheme's own port; ``base_path`` has no slash at its end.
"""

import re
from base64 import b64encode
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from msgspec import Struct

# Underscores are no DNS, but names of containers have them.
_HOST: Final = re.compile(r"[a-z0-9_.-]+")
_SAFE: Final = "/%:@!$&'()*+,;=~-._"
_PORTS: Final = {"http": 80, "https": 443}


class Endpoint(Struct, frozen=True):
    """Scheme, host, port and the path that every request of this provider begins with."""

    scheme: str
    host: str
    port: int
    base_path: bytes
    authority: bytes

    @property
    def where(self) -> str:
        """``host:port`` as error messages name it."""
        return _host_port(self.host, self.port)


class Proxy(Struct, frozen=True):
    """An HTTP proxy. ``authorization`` is a secret: repr hides it."""

    host: str
    port: int
    authorization: bytes | None = None

    @property
    def where(self) -> str:
        """``host:port`` as error messages name it."""
        return _host_port(self.host, self.port)

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"Proxy({self.where})"


def parse_base_url(text: str) -> Endpoint:
    """An Endpoint, or ValueError with a sentence. The sentence never repeats the URL: it may hold a secret."""
    parts = _split(text, "base URL")
    if parts.scheme not in _PORTS:
        raise ValueError("A base URL begins with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("A base URL holds no user or password: the key belongs in `keys`.")
    if parts.query or parts.fragment:
        raise ValueError("A base URL has neither a query (?) nor a fragment (#).")
    host, port = _address(parts, _PORTS[parts.scheme], "base URL")
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    path = quote(parts.path.rstrip("/"), safe=_SAFE)
    return Endpoint(parts.scheme, host, port, path.encode("ascii"), authority.encode("ascii"))


def parse_hook_url(text: str) -> tuple[Endpoint, bytes]:
    """Where something is posted, and the path with its query; or ValueError with a sentence that does not repeat it."""
    parts = _split(text, "webhook's URL")
    if parts.fragment:
        raise ValueError("A webhook's URL has no fragment (#).")
    endpoint = parse_base_url(f"{parts.scheme}://{parts.netloc}")
    path = quote(parts.path or "/", safe=_SAFE) + (
        f"?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else ""
    )
    return endpoint, path.encode("ascii")


def parse_proxy(text: str) -> Proxy:
    """A Proxy from ``http://[user:password@]host:port``, or ValueError with a sentence without credentials."""
    parts = _split(text, "proxy URL")
    if parts.scheme != "http":
        raise ValueError("A proxy URL begins with http:// (TLS to the upstream goes through it by CONNECT).")
    host, port = _address(parts, 80, "proxy URL")
    if parts.username is None:
        return Proxy(host, port)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(host, port, b"Basic " + b64encode(pair.encode()))


def _split(text: str, what: str) -> SplitResult:
    if any(mark <= " " or mark == "\x7f" for mark in text):
        raise ValueError(f"A {what} has no spaces or control characters.")
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError(f"The {what} cannot be read: are its brackets right?") from None


def _address(parts: SplitResult, default_port: int, what: str) -> tuple[str, int]:
    host = parts.hostname
    if not host:
        raise ValueError(f"The {what} names no host.")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"The port of the {what} is not a number from 1 to 65535.") from None
    if port == 0:
        raise ValueError(f"The port of the {what} is not a number from 1 to 65535.")
    try:
        if ":" in host:
            return str(IPv6Address(host)), port or default_port
        ascii_host = host.encode("idna").decode("ascii").lower()
    except (UnicodeError, ValueError):
        raise ValueError(f"The host of the {what} is not a valid name.") from None
    if not _HOST.fullmatch(ascii_host):
        raise ValueError(f"The host of the {what} is not a valid name.")
    return ascii_host, port or default_port


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

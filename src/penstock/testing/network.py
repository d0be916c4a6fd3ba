"""A guard for tests: whoever connects to another machine fails, loudly.

Rules
- Loopback addresses, ``localhost`` and sockets of the file system stay open.
- Names are not resolved either: a look-up is traffic too. Names under ``.invalid`` do not exist (RFC 6761, 6.4): they are
  answered so without asking anyone.
- NetworkForbidden is no OSError, so that no code under test takes it for a network that is merely down.
- Guarded are Python's sockets (and so asyncio's own loops) and uvloop's connections, in this process only: what a test
  starts as a process of its own is not held.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import uvloop

_LOCAL_NAMES = frozenset({"", "localhost", "localhost.", "ip6-localhost"})


class NetworkForbidden(RuntimeError):
    """A test tried to reach another machine."""


@contextmanager
def no_network() -> Generator[None]:
    """``with no_network():`` - any connection to, or look-up of, another machine raises NetworkForbidden."""
    kept: list[tuple[Any, str, Any]] = []

    def guard(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        kept.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, make(getattr(owner, name)))

    guard(socket.socket, "connect", _by_address)
    guard(socket.socket, "connect_ex", _by_address)
    guard(socket.socket, "sendto", _by_last)
    guard(socket, "getaddrinfo", _by_host)
    guard(uvloop.Loop, "create_connection", _by_host_later)
    guard(uvloop.Loop, "getaddrinfo", _by_host_later)
    try:
        yield
    finally:
        for owner, name, was in reversed(kept):
            if was is None:
                delattr(owner, name)
            else:
                setattr(owner, name, was)


def _refuse(host: object) -> None:
    if host is None:
        return
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name.lower() in _LOCAL_NAMES:
        return
    if name.lower().endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass  # a name
    raise NetworkForbidden(f"This test would have reached {name}: tests stay on this machine.")


def _refuse_address(address: Any) -> None:
    """``(host, port, ...)`` of the internet's families; anything else stays on the machine."""
    if isinstance(address, tuple):
        _refuse(cast("tuple[object, ...]", address)[0])


def _by_address(real: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        _refuse_address(address)
        return real(self, address)

    return guarded


def _by_last(real: Any) -> Any:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        _refuse_address(arguments[-1])
        return real(self, *arguments)

    return guarded


def _by_host(real: Any) -> Any:
    def guarded(host: Any, *arguments: Any, **named: Any) -> Any:
        _refuse(host)
        return real(host, *arguments, **named)

    return guarded


def _by_host_later(real: Any) -> Any:
    """For a loop's coroutine methods whose first (or second) argument is the host."""

    async def guarded(self: asyncio.AbstractEventLoop, *arguments: Any, **named: Any) -> Any:
        hosts = [one for one in arguments[:2] if isinstance(one, str | bytes)]
        _refuse(named.get("host", hosts[0] if hosts else None))
        return await real(self, *arguments, **named)

    return guarded

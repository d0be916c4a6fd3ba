"""Who asks, and what may they use: virtual keys from the headers, and the users below them.

Rules
- A key is taken from ``Authorization: Bearer``, ``x-api-key`` or ``x-goog-api-key``; with several, the first that is
  known. Only a keyed digest of each key's SHA-256 is kept, so that a memory dump or a ``repr`` shows none.
- A rotated secret opens for the same principal until its grace period ends.
- A user is who the key's holder says it is (``x-penstock-user``, or the body's ``user``): a key that has users of its own
  holds each of them to his limits as well. A call that names nobody is the key's.
- With no virtual keys configured any credential is accepted, ignored, and never forwarded.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

from msgspec import Struct

from penstock.base.errors import Forbidden, Unauthenticated
from penstock.gateway.allowance import Allowance
from penstock.gateway.ports import CREDENTIALS, Known
from penstock.routing.allow import ALL, Patterns
from penstock.routing.fair import Priority
from penstock.routing.limits import Limits

_PEPPER = os.urandom(16)


MAX_USERS = 50_000
"""Of one key that gives each user his own limits: what they spent must be known until their window ends."""


class Principal(Struct, frozen=True):
    """One virtual key's holder, or one of its users.

    ``provider_keys`` maps a provider to the key names this holder spends on (None: all); None: all of every provider.
    ``allowance`` None: nothing limits it. ``limits`` are the rates in it. ``until_unix_s``: when this secret's grace
    period ends, where it was rotated.
    """

    name: str
    patterns: Patterns = ALL
    provider_keys: dict[str, frozenset[str] | None] | None = None
    limits: Limits | None = None
    expires_unix_s: float | None = None
    allowance: Allowance | None = None
    organisation: str = ""
    team: str = ""
    user: str = ""
    tags: dict[str, str] | None = None
    priority: Priority = "interactive"
    users: "Users | None" = None
    until_unix_s: float | None = None
    identities: tuple[str, str, str] = ("", "", "")
    """Of the key, its team and its organisation: another one made under the same name has another; "" is the name alone."""

    def keys_of(self, provider: str) -> frozenset[str] | None:
        """Key names of ``provider`` this holder may spend on; None: any."""
        if self.provider_keys is None:
            return None
        return self.provider_keys.get(provider, frozenset())


ANYONE = Principal(name="")


class Users:
    """The users of one key: those that the configuration names, and everybody else where it has a ``*``."""

    __slots__ = ("_made", "_make", "_named")

    def __init__(self, named: dict[str, Principal], make: Callable[[str], Principal] | None) -> None:
        self._named = named
        self._make = make
        self._made: dict[str, Principal] = {}

    def who(self, name: str) -> Principal | None:
        """The user of this name; None: the key has no limits for him."""
        found = self._named.get(name) or self._made.get(name)
        if found is None and self._make is not None:
            if len(self._made) >= MAX_USERS:
                raise Forbidden(
                    f"This key has had {MAX_USERS} different users, and takes no more.", code="too_many_users"
                )
            found = self._made[name] = self._make(name)
        return found


def user_of(principal: Principal, name: str) -> Principal:
    """Whose limits hold for a call that names this user."""
    users = principal.users
    found = users.who(name) if users is not None and name else None
    return principal if found is None else found


def digest(secret: str | bytes) -> bytes:
    """What is kept of a presented or configured key."""
    return digest_of_hash(hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest())


def digest_of_hash(sha256: bytes) -> bytes:
    """A keyed digest of a key's SHA-256; the pepper lives and dies with the process."""
    return hashlib.blake2b(sha256, digest_size=16, key=_PEPPER).digest()


class Doors:
    """Virtual keys by digest. ``closed``: without any, nobody is let in, for there were some."""

    __slots__ = ("_principals", "closed")

    def __init__(self, principals: dict[bytes, Principal], *, closed: bool = False) -> None:
        self._principals = principals
        self.closed = closed

    @property
    def open(self) -> bool:
        """True when no virtual keys are configured."""
        return not self._principals and not self.closed

    def admit(self, told: Mapping[bytes, bytes], known: Known, now_unix_s: float) -> Principal:
        """The holder of the presented key. Raises Unauthenticated, or Forbidden when it has expired."""
        if not self._principals and not self.closed:
            if b"origin" in told:
                _check_origin(told[b"origin"])
            return ANYONE
        credential = told.get(b"authorization")
        alone = b"x-api-key" not in told and b"x-goog-api-key" not in told
        if alone and credential is not None and credential == known.credential and known.doors is self:
            principal = cast("Principal", known.principal)
        else:
            principal = self._look_up(told)
            if alone and credential is not None:
                known.doors, known.principal, known.credential = self, principal, credential
        if principal.expires_unix_s is not None and now_unix_s >= principal.expires_unix_s:
            raise Forbidden(
                f"The virtual key {principal.name!r} has expired.",
                code="key_expired",
                hint="Ask the gateway's operator for a new one.",
            )
        if principal.until_unix_s is not None and now_unix_s >= principal.until_unix_s:
            raise Forbidden(
                f"This secret of the virtual key {principal.name!r} was replaced.",
                code="key_rotated",
                hint="Use the new one.",
            )
        return principal

    def named(self, name: str) -> Principal | None:
        """The holder of the key of this name, for what it has left with us; None: there is no such key any more."""
        if self.open:
            return ANYONE if not name else None
        found = [one for one in self._principals.values() if one.name == name]
        return next((one for one in found if one.until_unix_s is None), None)

    def _look_up(self, told: Mapping[bytes, bytes]) -> Principal:
        presented = False
        for name, value in told.items():
            if name in CREDENTIALS:
                presented = True
                bearer = name == b"authorization" and value[:7].lower() == b"bearer "
                principal = self._principals.get(digest((value[7:] if bearer else value).strip()))
                if principal is not None:
                    return principal
        if presented:
            raise Unauthenticated(
                "This virtual key is not known.", hint="Check the key, or ask the gateway's operator for one."
            )
        raise Unauthenticated(
            "No virtual key was presented.",
            hint="Send it as 'Authorization: Bearer <key>', 'x-api-key' or 'x-goog-api-key'.",
            code="missing_api_key",
        )


def _check_origin(origin: bytes) -> None:
    """Without virtual keys a web page could spend through a visitor's loopback gateway: pages of this machine only."""
    try:
        host = urlsplit(origin.decode("latin-1")).hostname or ""
    except ValueError:  # no URL
        host = ""
    if host not in ("localhost", "127.0.0.1", "::1"):
        raise Forbidden(
            "A web page from elsewhere may not use a gateway without virtual keys.",
            code="foreign_origin",
            hint="Configure virtual_keys.",
        )

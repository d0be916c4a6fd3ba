"""Access tokens for Vertex AI: a service account's signature, exchanged for a bearer token, kept fresh.

Theory. RFC 7523: we sign a short-lived assertion with the account's private key and POST it to its ``token_uri``; the
answer is a token for about an hour. Five minutes before its end it is renewed in the background, and callers keep
getting the old one meanwhile; only a caller who finds none at all waits. However many ask, one POST is under way.

Rules
- Neither the private key, nor an assertion, nor a token appears in a repr, a log or an error.
- google-auth is imported when the first account is loaded: it is heavy, and most gateways have no Vertex target.
- Google's refusals are UpstreamAuthFailed; the network's faults keep their own class.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from penstock.base.clock import Clock, SystemClock
from penstock.base.errors import UpstreamAuthFailed, UpstreamUnreachable
from penstock.net.exchange import Deadlines
from penstock.net.transport import Transport
from penstock.wire.http import WireRequest

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_S: Final = 3600  # Google refuses longer ones
_LEAD_S: Final = 300.0
_MARGIN_S: Final = 10.0  # a token this near to its end may end on the way
_PAUSE_S: Final = 30.0  # after a failed renewal, while the old token still works
_DEADLINES: Final = Deadlines(connect_s=5.0, first_byte_s=10.0, idle_s=10.0, total_s=20.0)
_MAX_REPLY: Final = 256 * 1024


class _Account(Struct):
    client_email: str
    private_key: str
    private_key_id: str | None = None
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class _Granted(Struct):
    access_token: str
    expires_in: float = 3600.0


class _Refused(Struct):
    error: str = ""
    error_description: str = ""


_ACCOUNT: Final = msgspec.json.Decoder(_Account)
_GRANTED: Final = msgspec.json.Decoder(_Granted)
_REFUSED: Final = msgspec.json.Decoder(_Refused)


class GoogleTokens:
    """One service account's tokens. ``open_transport`` makes a Transport for the account's ``token_uri``."""

    def __init__(
        self,
        service_account_json: bytes,
        open_transport: Callable[[str], Transport],
        clock: Clock | None = None,
    ) -> None:
        """ValueError with a sentence when the file is not a service account's key; the file is never quoted."""
        from google.auth import crypt, jwt  # noqa: PLC0415 - see the module's rules

        try:
            account = _ACCOUNT.decode(service_account_json)
            signer: Any = crypt.RSASigner.from_string(account.private_key, account.private_key_id)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        except ValueError:  # msgspec's errors and cryptography's are ValueErrors
            raise ValueError(
                "This is not a Google service account's key file: it needs client_email and private_key."
            ) from None
        self._email = account.client_email
        self._audience = account.token_uri
        self._key_id = account.private_key_id
        self._sign: Callable[[dict[str, object]], bytes] = lambda claims: jwt.encode(signer, claims)  # pyright: ignore[reportUnknownMemberType, reportUnknownLambdaType]
        self._transport = open_transport(account.token_uri)
        self._clock: Clock = clock or SystemClock()
        self._token: str | None = None
        self._renew_at_s = 0.0
        self._ends_at_s = 0.0
        self._renewing: asyncio.Task[str] | None = None

    def __repr__(self) -> str:
        """Whose, never what."""
        return f"<GoogleTokens of {self._email}>"

    async def token(self) -> str:
        """A token that is good for a while. UpstreamAuthFailed when Google refuses the account."""
        now = self._clock.monotonic_s()
        token = self._token
        if token is not None and now < self._ends_at_s:
            if now >= self._renew_at_s and self._renewing is None:
                self._renew()
            return token
        # Shielded: a caller who hangs up must not take the token away from the others who wait for it.
        renewing = self._renewing or self._renew()
        try:
            return await asyncio.shield(renewing)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if (
                renewing.cancelled() and me is not None and not me.cancelling()
            ):  # aclose, and nobody cancelled us
                raise UpstreamUnreachable(
                    f"No access token for {self._email}: it was asked for while it was being closed."
                ) from None
            raise

    def forget(self, token: str) -> None:
        """The provider refused this token (revoked, or the account's rights have changed): the next call asks anew."""
        if token == self._token:
            self._token = None

    async def aclose(self) -> None:
        """Stop renewing and close the connection."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await self._transport.aclose()

    def _renew(self) -> "asyncio.Task[str]":
        task = self._renewing = asyncio.get_running_loop().create_task(self._fetch())
        task.add_done_callback(self._renewed)
        return task

    def _renewed(self, task: "asyncio.Task[str]") -> None:
        self._renewing = None
        if not task.cancelled() and task.exception() is not None:
            # Whoever waits gets the exception; who still has a token is not told, and we try again a little later.
            self._renew_at_s = self._clock.monotonic_s() + _PAUSE_S

    async def _fetch(self) -> str:
        exchange = await self._transport.send(self._request(), _DEADLINES)
        body = await exchange.read(_MAX_REPLY)
        if exchange.status != 200:
            raise self._refusal(exchange.status, body)
        try:
            granted = _GRANTED.decode(body)
        except msgspec.DecodeError:
            raise UpstreamAuthFailed(
                f"Google's answer for {self._email} held no access token.", upstream_status=200
            ) from None
        now = self._clock.monotonic_s()
        self._ends_at_s = now + granted.expires_in - _MARGIN_S
        self._renew_at_s = now + max(granted.expires_in - _LEAD_S, granted.expires_in / 2)
        self._token = granted.access_token
        return granted.access_token

    def _request(self) -> WireRequest:
        issued = int(self._clock.unix_s())
        claims: dict[str, object] = {
            "iss": self._email,
            "scope": SCOPE,
            "aud": self._audience,
            "iat": issued,
            "exp": issued + _ASSERTION_S,
        }
        form = urlencode({"grant_type": _GRANT, "assertion": self._sign(claims).decode("ascii")})
        headers = [
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        return WireRequest(b"POST", b"", headers, form.encode("ascii"))

    def _refusal(self, status: int, body: bytes) -> UpstreamAuthFailed:
        try:
            refused = _REFUSED.decode(body)
            words = f"{refused.error} {refused.error_description}".strip()
        except msgspec.DecodeError:
            words = ""
        words = "".join(mark for mark in words if mark.isprintable())[:200].rstrip(".")
        if "eyJ" in words:  # how every assertion begins
            words = ""
        said = f": {words}" if words else ""
        return UpstreamAuthFailed(
            f"Google gave no access token for {self._email} ({status}){said}.",
            hint="Check the service account's key file and its access to Vertex AI.",
            upstream_status=status,
        )

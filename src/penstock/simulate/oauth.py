"""Google's token endpoint: ``POST /token`` with a signed JWT gives an access token for Vertex.

Theory
------
A service account is made here with a fresh RSA key; the caller gets the private half in Google's file format, with
``token_uri`` pointing at this simulator. A token is given only for an assertion whose RS256 signature verifies with the
public half, and whose audience, times and scope are right (RFC 7523; developers.google.com/identity, read 2026-11).
``cryptography`` is imported where a key is made, so that a simulator without Vertex does not need it.
"""

import base64
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from penstock.simulate.reply import Call, Refused, Reply
from penstock.simulate.untyped import as_number, as_object, as_text

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
"""google-auth writes this audience whatever the file's ``token_uri`` says (google/oauth2/service_account.py, 2.62)."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_MAX_LIFE_S = 3600
_SKEW_S = 60
_encode = msgspec.json.Encoder().encode
_HEADERS = [(b"content-type", b"application/json; charset=utf-8"), (b"cache-control", b"no-store")]


class _Account(Struct):
    email: str
    audience: str
    verifies: Callable[[bytes, bytes], bool]


class TokenDesk:
    """Known service accounts, and the tokens given. ``now_s`` is Unix time."""

    def __init__(self, lifetime_s: int, now_s: Callable[[], float]) -> None:
        self._lifetime_s = lifetime_s
        self._now_s = now_s
        self._accounts: dict[str, _Account] = {}
        self._tokens: dict[str, float] = {}

    def make_account(self, folder: Path, name: str, token_uri: str, project: str) -> Path:
        """A fresh key, registered; its file as Google writes it."""
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # see the module's head
        from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        email = f"{name}@{project}.iam.gserviceaccount.com"
        self._accounts[email] = _Account(email, token_uri, _verifier(key.public_key()))
        content = {
            "type": "service_account",
            "project_id": project,
            "private_key_id": secrets.token_hex(20),
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": "100000000000000000000",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "universe_domain": "googleapis.com",
        }
        path = folder / f"{name}.json"
        path.write_bytes(msgspec.json.format(_encode(content), indent=2))
        path.chmod(0o600)
        return path

    def knows(self, token: str) -> bool:
        """A token that was given here and has not expired."""
        return self._tokens.get(token, 0.0) > self._now_s()

    def expire_all(self) -> None:
        """Every token given so far is void."""
        self._tokens.clear()

    def answer(self, call: Call) -> Reply:
        """A token, or Refused."""
        form = parse_qs(call.body.decode("latin-1"))
        if call.method != "POST" or form.get("grant_type") != [_GRANT]:
            raise Refused(
                400, f"Invalid grant_type: {form.get('grant_type', [''])[0]}", kind="unsupported_grant_type"
            )
        self._check(form.get("assertion", [""])[0])
        token = f"ya29.sim-{secrets.token_hex(24)}"
        self._tokens[token] = self._now_s() + self._lifetime_s
        body = {"access_token": token, "expires_in": self._lifetime_s, "token_type": "Bearer"}
        return Reply(200, list(_HEADERS), _encode(body))

    def refuse(self, refused: Refused, call: Call) -> Reply:  # the port of a dialect
        """The endpoint's error reply."""
        default = "internal_failure" if refused.status >= 500 else "invalid_grant"
        body = {
            "error": refused.kind or default,
            "error_description": refused.message or "The simulator was told so.",
        }
        return Reply(refused.status, list(_HEADERS), _encode(body))

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed; the body of the error."""
        return self.refuse(refused, call).body

    def _check(self, assertion: str) -> None:
        pieces = assertion.split(".")
        if len(pieces) != 3:
            raise _bad("Invalid JWT: Token must have three parts.")
        head, claims = _json_of(pieces[0]), _json_of(pieces[1])
        account = self._accounts.get(as_text(claims.get("iss")))
        if account is None:
            raise _bad("Invalid grant: account not found")
        if head.get("alg") != "RS256":
            raise _bad("Invalid JWT: alg must be RS256.")
        if not account.verifies(_decode_base64(pieces[2]), f"{pieces[0]}.{pieces[1]}".encode()):
            raise _bad("Invalid JWT Signature.")
        if claims.get("aud") not in (account.audience, GOOGLE_AUDIENCE):
            raise _bad("Invalid JWT: aud must be the token endpoint.")
        issued, expires, now = as_number(claims.get("iat")), as_number(claims.get("exp")), self._now_s()
        if (
            issued is None
            or expires is None
            or not issued - _SKEW_S <= now < expires
            or expires - issued > _MAX_LIFE_S
        ):
            raise _bad(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your "
                "iat and exp values in the JWT claim."
            )
        if SCOPE not in as_text(claims.get("scope")).split():
            raise Refused(400, "Invalid OAuth scope or ID token audience provided.", kind="invalid_scope")


def _bad(message: str) -> Refused:
    return Refused(400, message, kind="invalid_grant")


def _decode_base64(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise _bad("Invalid JWT: not base64url.") from error


def _json_of(text: str) -> dict[str, Any]:
    try:
        return as_object(msgspec.json.decode(_decode_base64(text)))
    except msgspec.DecodeError as error:
        raise _bad("Invalid JWT: not JSON.") from error


def _verifier(public_key: Any) -> Callable[[bytes, bytes], bool]:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # see the module's head
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    def verifies(signature: bytes, signed: bytes) -> bool:
        try:
            public_key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    return verifies

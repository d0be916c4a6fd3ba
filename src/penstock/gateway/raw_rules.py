"""The rest of a provider, reached raw: what of a caller's request may go on, and with whose credential. Pure.

Rules
- The host is the provider's entry's. A path goes below its base path, and can leave it by no trick: nothing in it is
  decoded or tidied by us, and what another server might read as a way out is refused.
- No credential of the caller goes on, in a header or in the query; none of ours comes back.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.operations import Operation
from penstock.wire.http import Headers

RAW_PREFIX: Final = b"/raw/"
FREE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"DELETE"})
"""They look, list and remove: taken to cost nothing."""
_CREDENTIAL: dict[str, tuple[bytes, bytes]] = {
    "openai": (b"authorization", b"Bearer "),
    "anthropic": (b"x-api-key", b""),
    "gemini": (b"x-goog-api-key", b""),
    "vertex": (b"authorization", b"Bearer "),
    "cohere": (b"authorization", b"Bearer "),
    "stability": (b"authorization", b"Bearer "),
    "replicate": (b"authorization", b"Bearer "),
    "fal": (b"authorization", b"Key "),
    "kserve": (b"authorization", b"Bearer "),
}
"""Where a provider of a dialect looks for its key (their references, read 2026-11). Requests that are signed whole (Bedrock's
SigV4) cannot go through untouched."""
_HOP = frozenset(
    {
        b"host", b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"content-length",
        b"expect", b"accept-encoding", b"forwarded", b"via", b"origin", b"referer", b"http2-settings", b"x-request-id",
        b"openai-organization", b"openai-project", b"traceparent", b"tracestate",
    }
)  # fmt: skip
_SECRET = re.compile(rb"auth|cookie|token|secret|credential|signature|(?:^|-)key$|api-?key|password")
_OURS = (b"x-penstock-", b"x-forwarded-", b"proxy-", b"x-amz-", b"x-real-")
_BACK = frozenset(
    {
        b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"trailer", b"upgrade", b"x-request-id",
        b"set-cookie", b"openai-organization", b"openai-project", b"anthropic-organization-id", b"proxy-authenticate",
        b"alt-svc", b"strict-transport-security",
    }
)  # fmt: skip
_OUT = re.compile(rb"%(?:2e|2f|5c|00|25)|\\|[\x00-\x20\x7f-\xff#]|//|/\.{1,2}(?:/|$|;)", re.IGNORECASE)
"""Dots, slashes, percent signs and NULs in disguise; backslashes; control characters and spaces; empty and dotted segments."""
_TOLD_QUERY = re.compile(rb"(?:^|(?<=&))(?:key|api_?key|access_token|token)=[^&]*(?:&|$)", re.IGNORECASE)
_MODEL_IN_PATH = re.compile(rb"/(?:tuned)?models/([^/:]+)")
_OPERATIONS: tuple[tuple[re.Pattern[bytes], Operation], ...] = (
    (re.compile(rb".*/chat/completions|.*/messages|.*:(?:stream)?generatecontent", re.IGNORECASE), "chat"),
    (re.compile(rb".*/embeddings|.*:(?:batch)?embedcontents?", re.IGNORECASE), "embeddings"),
    (re.compile(rb".*/images/generations"), "images"),
    (re.compile(rb".*/moderations"), "moderations"),
    (re.compile(rb".*/rerank"), "rerank"),
)


MAX_REFUSAL_BYTES = 64 * 1024


class RawBody(Struct):
    """What a JSON body may say that concerns us."""

    model: str = ""
    stream: bool = False


class RawAsked(Struct, frozen=True):
    """Below which provider, at which path, and what that is. ``operation`` None: nothing that we can read the usage of."""

    provider: str
    path: bytes
    model: str
    operation: Operation | None
    stream: bool


_body = msgspec.json.Decoder(RawBody).decode
_raw = re.compile(rb"/raw/([^/?]+)(/[^?]*)?(?:\?(.*))?", re.DOTALL)


def raw_path(url: bytes) -> tuple[str, bytes, bytes] | Rejected:
    """Provider, path and query of ``/raw/{provider}/{path}``, as they were written."""
    match = _raw.fullmatch(url)
    if match is None:
        return Rejected("not_found", "Write /raw/{provider}/{path}.", caller_fault=True)
    path, query = match[2] or b"/", match[3] or b""
    if _OUT.search(path) is not None or re.search(rb"[\x00-\x20\x7f-\xff#]", query) is not None:
        return Rejected(
            "raw-path", "This path could be read in more than one way.", param="path", caller_fault=True
        )
    name = match[1].decode("latin-1")
    query = _TOLD_QUERY.sub(b"", query).rstrip(b"&")
    return name, path, query


def raw_asked(provider: str, path: bytes, content_type: bytes, body: bytes) -> RawAsked:
    """What is asked for, as far as it can be read."""
    said = RawBody()
    if b"json" in content_type.lower() and body:
        try:
            said = _body(body)
        except (msgspec.DecodeError, RecursionError):
            said = RawBody()
    named = _MODEL_IN_PATH.search(path)
    model = said.model or ("" if named is None else named[1].decode("latin-1"))
    operation: Operation | None = None
    for pattern, one in _OPERATIONS:
        if operation is None and pattern.fullmatch(path):
            operation = one
    stream = said.stream or b":streamgeneratecontent" in path.lower()
    return RawAsked(provider, path, model, operation, stream)


def forwarded(headers: Headers) -> Headers:
    """The caller's headers that go on: none that is a credential, or of this connection, or ours."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    kept = [
        (name, value)
        for name, value in headers
        if name not in _HOP
        and name not in named
        and not name.startswith(_OURS)
        and (name == b"idempotency-key" or _SECRET.search(name) is None)
    ]
    return [*kept, (b"accept-encoding", b"identity")]


def returned(headers: Headers) -> Headers:
    """The provider's headers that come back."""
    return [(name, value) for name, value in headers if name not in _BACK]


def masked(data: bytes, secrets: Sequence[str]) -> bytes:
    """The same without our credentials, where a provider quotes one."""
    for secret in secrets:
        data = data.replace(secret.encode(), b"***")
    return data


class Masking:
    """The same of a reply that comes in pieces. ``hold``: until it is whole, as a key that it quotes may stand in two of
    them; beyond ``MAX_REFUSAL_BYTES`` it goes on piece by piece, as what is no refusal does from the start."""

    def __init__(self, secrets: Sequence[str], *, hold: bool) -> None:
        self.refusal = bytearray()
        self._secrets = secrets
        self._hold = hold

    def feed(self, data: bytes) -> bytes:
        """What may go on now."""
        if self._hold and len(self.refusal) + len(data) <= MAX_REFUSAL_BYTES:
            self.refusal += data
            return b""
        return masked(self._let_go() + data, self._secrets)

    def close(self) -> bytes:
        """The rest."""
        return masked(self._let_go(), self._secrets)

    def _let_go(self) -> bytes:
        """What was held, once."""
        held, self._hold = self._hold, False
        return bytes(self.refusal) if held else b""


def credential(dialect: str, secret: str) -> Headers | Rejected:
    """Our key, where this provider looks for it. An empty one (a local server) is not sent."""
    place = _CREDENTIAL.get(dialect)
    if place is None:
        return Rejected(
            "raw-unsupported",
            f"Providers that speak {dialect} cannot be reached raw: their requests are signed whole.",
        )
    return [(place[0], place[1] + secret.encode())] if secret else []

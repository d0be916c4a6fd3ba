"""Google's errors -> ours: right class, cleaned sentence, retry hint.

Rules
- The body is ``{"error": {...}}``, or on some paths a JSON list of it, or a proxy's page; nothing here may raise.
- A bad key is a 400 at Google (reason API_KEY_INVALID): an auth failure, not the caller's fault.
- A quota per day is spent for today: ``quota_exhausted``, waiting a little is no remedy.
- Messages are masked and cut before they become public.
"""

import re
import time

import msgspec
from msgspec import Struct, field

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.wire.http import Headers
from penstock.wire.retry_hint import go_duration_s, retry_after_s
from penstock.wire.uploads import MISSING_FILE, names_missing_file

MAX_MESSAGE = 500
_SECRET = re.compile(
    r"AIza[\w-]{10,}|AQ\.[\w-]{10,}|ya29\.[\w.-]+|eyJ[\w-]{8,}\.[\w.-]+|sk-[\w-]{10,}"
    r"|(?<=Bearer )\S+|(?<=bearer )\S+|(?<=[?&]key=)[^&\s\"']+"
)
_SPACES = re.compile(r"[\s\x00-\x1f\x7f]+")


class _Violation(Struct):
    quota_id: str | None = field(name="quotaId", default=None)
    quota_metric: str | None = field(name="quotaMetric", default=None)


class _Detail(Struct):
    reason: str | None = None
    retry_delay: str | None = field(name="retryDelay", default=None)
    violations: list[_Violation] | None = None


class GoogleError(Struct):
    """google.rpc.Status as JSON, as far as it decides anything."""

    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[_Detail] | None = None


class _Undetailed(Struct):
    code: int | None = None
    message: str | None = None
    status: str | None = None


class _Envelope(Struct):
    error: msgspec.Raw = msgspec.Raw(b"")


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ENVELOPES = msgspec.json.Decoder(list[_Envelope])
_ERROR = msgspec.json.Decoder(GoogleError)
_UNDETAILED = msgspec.json.Decoder(_Undetailed)


def clean(text: str) -> str:
    """One line, no keys in it, at most 500 characters."""
    masked = _SECRET.sub("[masked]", _SPACES.sub(" ", text).strip())
    return masked if len(masked) <= MAX_MESSAGE else masked[: MAX_MESSAGE - 1] + "…"


def read_error(label: str, status: int, headers: Headers, body: bytes) -> UpstreamError:
    """A non-2xx answer as our error. Never raises."""
    error = _parse(body)
    if error is None:
        error = GoogleError(message=_plain(body))
    return classify(label, status, error, headers)


def read_inner_error(label: str, raw: bytes) -> UpstreamError:
    """The value of ``error`` inside a 200 as our error; its ``code`` stands in for the HTTP status."""
    error = _details(raw) or GoogleError()
    status = error.code if error.code is not None and 400 <= error.code < 600 else 500
    return classify(label, status, error, [])


def classify(label: str, status: int, error: GoogleError, headers: Headers) -> UpstreamError:
    """Status, reason and message -> class."""
    words = clean(error.message or "")
    told = f"{label} answered {status}: {words}" if words else f"{label} answered {status} without a reason."
    reasons = {detail.reason for detail in error.details or () if detail.reason}
    if status == 429:
        return _rate_limited(told, error, headers)
    if status >= 500 or status in (408, 425, 499):
        wait = retry_after_s(headers, time.time())
        return UpstreamFault(told, upstream_status=status, retry_after_s=wait)
    if status == 403 and names_missing_file(words):
        return UpstreamBadRequest(told, code=MISSING_FILE, status=404, upstream_status=status)
    if status in (401, 402, 403) or any(reason.startswith("API_KEY_") for reason in reasons):
        # The provider's sentence about *our* key or project is not for the caller.
        return UpstreamAuthFailed(f"{label} refused the gateway's credential.", upstream_status=status)
    if status == 404:
        return UpstreamNotFound(told, upstream_status=status)
    if status == 413 or "payload size exceeds the limit" in words:
        return UpstreamTooLarge(told, upstream_status=status)
    if "exceeds the maximum number of tokens" in words:
        return UpstreamBadRequest(
            told, code="context_length_exceeded", status=status, upstream_status=status, falls_back=True
        )
    # FAILED_PRECONDITION is about our account (region, billing), not about the request: another provider may do.
    elsewhere = error.status == "FAILED_PRECONDITION"
    return UpstreamBadRequest(told, status=status, upstream_status=status, falls_back=elsewhere)


def _rate_limited(told: str, error: GoogleError, headers: Headers) -> UpstreamRateLimited:
    wait = retry_after_s(headers, time.time())
    spent = False
    for detail in error.details or ():
        if wait is None and detail.retry_delay:
            wait = go_duration_s(detail.retry_delay)
        for violation in detail.violations or ():
            spent = spent or "PerDay" in f"{violation.quota_id} {violation.quota_metric}"
    limited = UpstreamRateLimited(told, upstream_status=429, retry_after_s=wait)
    limited.quota_exhausted = spent
    return limited


def _parse(body: bytes) -> GoogleError | None:
    """The error in an object or in a list of objects; None where there is none."""
    try:
        if body.lstrip()[:1] == b"[":
            raws = [bytes(envelope.error) for envelope in _ENVELOPES.decode(body)]
        else:
            raws = [bytes(_ENVELOPE.decode(body).error)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return next((found for raw in raws if raw and (found := _details(raw)) is not None), None)


def _details(raw: bytes) -> GoogleError | None:
    try:
        return _ERROR.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:  # details of an unknown shape must not cost us the message
        bare = _UNDETAILED.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return GoogleError(code=bare.code, message=bare.message, status=bare.status)


def _plain(body: bytes) -> str:
    text = body[: 4 * MAX_MESSAGE].decode("utf-8", "replace").strip()
    if text[:1] == "<":
        return "an HTML page instead of JSON (a proxy or load balancer on the way)."
    return text

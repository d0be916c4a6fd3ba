"""Anthropic's errors as ours: an error reply, or an ``error`` object inside a 200.

Rules
- The class follows the documented ``error.type``, else the HTTP status; never loose words of a message
  (behaviour 27). Three documented sentences are the exceptions, each matched as a prefix: Anthropic has no code
  for a prompt that is too long, nor for an empty balance that it reports as 400.
- What the provider wrote is cleaned: one line, no key-like strings, at most 500 characters.
- ``x-should-retry: false`` wins: a 5xx becomes a plain UpstreamError (the next target, but no retry), a 429 counts
  as a spent quota.
"""

import re
import time
from typing import Any, cast

import msgspec

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.wire.http import Headers, header
from penstock.wire.retry_hint import retry_after_s
from penstock.wire.uploads import MISSING_FILE, names_missing_file

MESSAGE_CHARS = 500
_READ_BYTES = 256 * 1024

# platform.claude.com/docs/en/api/errors
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TRANSIENT = frozenset({408, 425})
_REFUSALS = frozenset(range(400, 500)) - {401, 402, 403, 404, 413, 429} - _TRANSIENT
# error.details.error_code, as the SDK's types list them: waiting a little does not help.
_SPENT = frozenset(
    {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
    }
)
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "prompt_too_long"})
_TOO_LONG = ("prompt is too long", "input length and `max_tokens` exceed context limit")
_NO_CREDIT = "Your credit balance is too low"

_SECRETS = re.compile(
    r"""(?ix) \b(?:sk|pk|rk)-[\w\-]{6,}           # vendors' API keys
      | \bbearer\s+[^\s"',;]+                      # Authorization values
      | \b(?:x-)?api[-_ ]?key["']?\s*[:=]\s*["']?[^\s"',;]+
      | \bAIza[\w\-]{10,} | \bya29\.[\w\-.]+ | \beyJ[\w\-]+\.[\w\-.]+
      | \b(?=[\w\-]*\d)(?=[\w\-]*[a-z])[\w\-]{40,}   # any long token of letters and digits
    """
)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f]+")


def clean(text: str) -> str:
    """One line, without what looks like a secret, not long."""
    # Cut before masking too, so that a hostile body costs little; the margin keeps a key at the edge whole.
    line = _BLANKS.sub(" ", text[: 4 * MESSAGE_CHARS]).strip()
    masked = _SECRETS.sub("[masked]", line)
    return masked if len(masked) <= MESSAGE_CHARS else masked[: MESSAGE_CHARS - 1] + "…"


def read_error(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """A non-2xx reply as our error. Never raises."""
    kind, message, code = _parts(body)
    wait_s = retry_after_s(headers, time.time())
    should_retry = header(headers, b"x-should-retry")
    final = should_retry is not None and should_retry.strip().lower() == b"false"
    effective = _STATUS_OF_TYPE.get(kind, status)
    said = message or f"an answer without a readable error ({_shape(body)})"
    text = f"The provider answered {status}{f' ({kind})' if kind else ''}: {said}"
    return _build(effective, text, message, code, wait_s, status, final=final)


def from_object(error: object) -> UpstreamError:
    """The ``error`` object of a 200 reply, stream or not, as our error."""
    kind, message, code = _of_object(error)
    effective = _STATUS_OF_TYPE.get(kind, 500)
    text = f"The provider reported {kind or 'an error'} inside a reply: {message or 'no message'}"
    return _build(effective, text, message, code, None, 200, final=False)


def _build(
    status: int,
    text: str,
    message: str,
    code: str,
    wait_s: float | None,
    upstream_status: int,
    *,
    final: bool,
) -> UpstreamError:
    if status in (401, 402, 403) or message.startswith(_NO_CREDIT):
        return UpstreamAuthFailed(text, upstream_status=upstream_status)
    if status == 429:
        limited = UpstreamRateLimited(text, retry_after_s=wait_s, upstream_status=upstream_status)
        limited.quota_exhausted = code in _SPENT or final
        return limited
    if status == 404 and names_missing_file(message):
        return UpstreamBadRequest(text, code=MISSING_FILE, status=status, upstream_status=upstream_status)
    if status == 404:
        return UpstreamNotFound(text, upstream_status=upstream_status)
    if status == 413:
        return UpstreamTooLarge(text, upstream_status=upstream_status)
    if status in _TRANSIENT or not 400 <= status < 500:
        public = {529: 503, 503: 503, 504: 504}.get(status, 502)
        kind = UpstreamError if final else UpstreamFault
        return kind(text, status=public, retry_after_s=wait_s, upstream_status=upstream_status)
    # A refusal of the request keeps its status (409, 422, ...), unless it is one that means something else to a caller.
    public = upstream_status if upstream_status in _REFUSALS else status
    if code in _TOO_LONG_CODES or message.startswith(_TOO_LONG):
        return UpstreamBadRequest(
            text,
            code="context_length_exceeded",
            status=public,
            upstream_status=upstream_status,
            falls_back=True,
        )
    return UpstreamBadRequest(text, status=public, upstream_status=upstream_status)


def _parts(body: bytes) -> tuple[str, str, str]:
    """(type, cleaned message, details.error_code) of a body of any kind; "" where it does not say."""
    if body.lstrip()[:1] != b"{":
        text = body[: 8 * MESSAGE_CHARS].decode("utf-8", "replace").strip()
        return "", "" if text[:1] == "<" else clean(text), ""
    try:
        whole = cast("dict[str, Any]", msgspec.json.decode(body[:_READ_BYTES]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", "", ""
    return _of_object(whole.get("error", whole))


def _of_object(error: object) -> tuple[str, str, str]:
    if isinstance(error, str):
        return "", clean(error), ""
    if not isinstance(error, dict):
        return "", "", ""
    facts = cast("dict[str, object]", error)
    kind, message = facts.get("type"), facts.get("message") or facts.get("detail")
    details = facts.get("details")
    code = cast("dict[str, object]", details).get("error_code") if isinstance(details, dict) else None
    return (
        clean(kind) if isinstance(kind, str) else "",
        clean(message) if isinstance(message, str) else "",
        code if isinstance(code, str) else "",
    )


def _shape(body: bytes) -> str:
    first = body.lstrip()[:1]
    if not first:
        return "an empty body"
    return {b"<": "an HTML or XML page", b"{": "JSON of another shape"}.get(first, "not JSON")

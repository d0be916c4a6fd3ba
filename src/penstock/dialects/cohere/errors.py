"""Cohere's errors as ours: an error reply, or an error in a stream.

Rules
- Cohere has no error codes: the class follows the HTTP status (docs.cohere.com, errors, read 2026-11). Two documented
  sentences are the exceptions, matched by their beginnings: a prompt that is too long, and a trial key's monthly limit.
- 498 is a prompt or an answer that was blocked.
- What Cohere wrote is cleaned: one line, no key-like strings, at most 500 characters.
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
from penstock.wire.http import Headers
from penstock.wire.retry_hint import retry_after_s

MESSAGE_CHARS = 500
_READ_BYTES = 256 * 1024
_BLOCKED = 498
_TRANSIENT = frozenset({408, 425, 499})
_TOO_LONG = ("too many tokens",)
_TRIAL = "You are using a Trial key"
_MONTH = "/ month"
_SECRETS = re.compile(
    r"""(?ix) \bbearer\s+[^\s"',;]+ | \b(?:x-)?api[-_ ]?key["']?\s*[:=]\s*["']?[^\s"',;]+
      | \b(?=[\w\-]*\d)(?=[\w\-]*[a-z])[\w\-]{36,}   # any long token of letters and digits
    """
)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f]+")


def clean(text: str) -> str:
    """One line, without what looks like a secret, not long."""
    line = _BLANKS.sub(" ", text[: 4 * MESSAGE_CHARS]).strip()
    masked = _SECRETS.sub("[masked]", line)
    return masked if len(masked) <= MESSAGE_CHARS else masked[: MESSAGE_CHARS - 1] + "…"


def read_error(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """A non-2xx reply as our error. Never raises."""
    message = _message(body)
    said = message or "an answer without a readable error"
    return _build(
        f"The provider answered {status}: {said}", message, status, retry_after_s(headers, time.time())
    )


def in_reply(told: object) -> UpstreamError:
    """An error inside a 200."""
    message = clean(told) if isinstance(told, str) else ""
    return UpstreamFault(
        f"The provider reported an error inside a reply: {message or 'no message'}", upstream_status=200
    )


def _build(text: str, message: str, status: int, wait_s: float | None) -> UpstreamError:
    if status in (401, 402, 403):
        return UpstreamAuthFailed(text, upstream_status=status)
    if status == 429:
        limited = UpstreamRateLimited(text, retry_after_s=wait_s, upstream_status=status)
        limited.quota_exhausted = message.startswith(_TRIAL) and _MONTH in message
        return limited
    if status == 404:
        return UpstreamNotFound(text, upstream_status=status)
    if status == 413:
        return UpstreamTooLarge(text, upstream_status=status)
    if status == _BLOCKED:
        return UpstreamBadRequest(text, code="content_policy_violation", status=400, upstream_status=status)
    if status in _TRANSIENT or not 400 <= status < 500:
        public = {503: 503, 504: 504}.get(status, 502)
        return UpstreamFault(text, status=public, retry_after_s=wait_s, upstream_status=status)
    if message.startswith(_TOO_LONG):
        return UpstreamBadRequest(
            text, code="context_length_exceeded", status=400, upstream_status=status, falls_back=True
        )
    return UpstreamBadRequest(text, status=status, upstream_status=status)


def _message(body: bytes) -> str:
    if body.lstrip()[:1] != b"{":
        text = body[: 8 * MESSAGE_CHARS].decode("utf-8", "replace").strip()
        return "" if text[:1] == "<" else clean(text)
    try:
        facts = cast("dict[str, Any]", msgspec.json.decode(body[:_READ_BYTES]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    message = facts.get("message") or facts.get("error") or facts.get("detail")
    return clean(message) if isinstance(message, str) else ""

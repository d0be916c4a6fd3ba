"""Bedrock's errors as ours: an error reply, or an exception frame inside a 200.

Rules
- The class follows the exception's name (header ``x-amzn-errortype``, ``__type`` in the body, ``:exception-type`` in a
  frame), else the HTTP status; never loose words of a message (behaviour 27). The exceptions are documented sentences,
  each matched as a prefix: a ValidationException has no code for a prompt that is too long, nor for a model that is
  unknown, and throttling none for a day's quota.
- ModelNotReadyException is a 429 of AWS and no limit of ours: the model is being loaded. It is a fault that passes.
- What AWS wrote is cleaned: one line, nothing of the canonical request that a refused signature is answered with.
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

MESSAGE_CHARS = 500
_READ_BYTES = 256 * 1024
# API reference of Converse, errors; common errors of AWS. Names in lower case, without "exception".
_STATUS_OF = {
    "accessdenied": 403,
    "expiredtoken": 403,
    "incompletesignature": 403,
    "invalidclienttokenid": 403,
    "invalidsignature": 403,
    "missingauthenticationtoken": 403,
    "notauthorized": 403,
    "optinrequired": 403,
    "requestexpired": 403,
    "signaturedoesnotmatch": 403,
    "unrecognizedclient": 403,
    "resourcenotfound": 404,
    "modeltimeout": 504,
    "requesttoolarge": 413,
    "throttling": 429,
    "toomanyrequests": 429,
    "servicequotaexceeded": 429,
    "modelnotready": 503,
    "modelerror": 502,
    "modelstreamerror": 502,
    "internalserver": 500,
    "internalfailure": 500,
    "serviceunavailable": 503,
    "validation": 400,
}
_TRANSIENT = frozenset({408, 424, 425})
_TOO_LONG = ("Input is too long for requested model", "prompt is too long", "input is too long")
_UNKNOWN_MODEL = (
    "The provided model identifier is invalid",
    "Invocation of model ID",  # "... with on-demand throughput isn't supported": an inference profile is needed
    "This model version has reached the end of its life",
)
_DAY = ("Too many tokens per day",)
_CANONICAL = "The Canonical String for this request"
_WRAPPED = re.compile(r"^The model returned the following errors: ")
_SECRETS = re.compile(
    r"""(?x) \b(?:AKIA|ASIA)[A-Z0-9]{12,} | \bABSK[\w+/=]{8,} | \bbedrock-api-key-[\w+/=]{8,}
      | (?i:\bbearer\s+[^\s"',;]+) | \b(?=[\w\-+/]*\d)(?=[\w\-+/]*[a-z])[\w\-+/=]{40,} """
)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f]+")


def clean(text: str) -> str:
    """One line, without what looks like a secret, not long."""
    line = _BLANKS.sub(" ", text[: 4 * MESSAGE_CHARS].partition(_CANONICAL)[0]).strip()
    masked = _SECRETS.sub("[masked]", line)
    return masked if len(masked) <= MESSAGE_CHARS else masked[: MESSAGE_CHARS - 1] + "…"


def read_error(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """A non-2xx reply as our error. Never raises."""
    told = header(headers, b"x-amzn-errortype") or b""
    kind, message = _parts(body)
    kind = clean(told.decode("latin-1").partition(":")[0]) or kind
    said = message or "an answer without a readable error"
    text = f"The provider answered {status}{f' ({kind})' if kind else ''}: {said}"
    return _build(kind, text, message, status, retry_after_s(headers, time.time()))


def from_frame(kind: str, payload: bytes, told: str = "") -> UpstreamError:
    """An exception inside a stream. ``told``: the message where it stands in a header."""
    _, message = _parts(payload)
    message = message or clean(told)
    text = f"The provider reported {clean(kind) or 'an error'} inside a reply: {message or 'no message'}"
    error = _build(kind, text, message, 500, None)
    error.upstream_status = 200
    return error


def is_error(body: dict[str, Any]) -> bool:
    """A 200 that holds an error object in place of a reply."""
    return "output" not in body and bool({"message", "Message", "__type"} & body.keys())


def from_object(body: dict[str, Any]) -> UpstreamError:
    """The error object of a 200 reply."""
    return from_frame(str(body.get("__type", "")).rpartition("#")[2], msgspec.json.encode(body))


def _build(kind: str, text: str, message: str, status: int, wait_s: float | None) -> UpstreamError:
    plain = kind.lower().removesuffix("exception").removesuffix("error") or ""
    effective = _STATUS_OF.get(plain) or _STATUS_OF.get(kind.lower().removesuffix("exception")) or status
    said = _WRAPPED.sub("", message)
    if effective in (401, 402, 403):
        return UpstreamAuthFailed(text, upstream_status=status)
    if effective == 429:
        limited = UpstreamRateLimited(text, retry_after_s=wait_s, upstream_status=status)
        limited.quota_exhausted = plain == "servicequotaexceeded" or said.startswith(_DAY)
        return limited
    if effective == 404 or (effective == 400 and said.startswith(_UNKNOWN_MODEL)):
        return UpstreamNotFound(text, upstream_status=status)
    if effective == 413:
        return UpstreamTooLarge(text, upstream_status=status)
    if effective in _TRANSIENT or not 400 <= effective < 500:
        public = {408: 504, 503: 503, 504: 504}.get(effective, 502)
        return UpstreamFault(text, status=public, retry_after_s=wait_s, upstream_status=status)
    if said.startswith(_TOO_LONG):
        return UpstreamBadRequest(
            text, code="context_length_exceeded", status=400, upstream_status=status, falls_back=True
        )
    return UpstreamBadRequest(text, status=effective, upstream_status=status)


def _parts(body: bytes) -> tuple[str, str]:
    """(exception's name, cleaned message) of a body of any kind; "" where it does not say."""
    if body.lstrip()[:1] != b"{":
        text = body[: 8 * MESSAGE_CHARS].decode("utf-8", "replace").strip()
        return "", "" if text[:1] == "<" else clean(text)
    try:
        facts = cast("dict[str, Any]", msgspec.json.decode(body[:_READ_BYTES]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", ""
    kind, message = facts.get("__type"), facts.get("message") or facts.get("Message")
    return (
        clean(kind.rpartition("#")[2]) if isinstance(kind, str) else "",
        clean(message) if isinstance(message, str) else "",
    )

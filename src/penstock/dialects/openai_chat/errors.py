"""A provider's refusal as our error, and our errors as an OpenAI (or OpenRouter) client reads them.

Rules: classes are chosen by status, code and type, never by words in a sentence (behaviour 27); a sentence is
cleaned of anything that looks like a key before it goes anywhere (behaviour 40); nothing here raises.
"""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import (
    BodyTooLarge,
    CallerError,
    NotFound,
    PenstockError,
    PolicyError,
    RateLimited,
    Unauthenticated,
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from penstock.dialects.openai_chat.loose import as_list, as_object, as_text
from penstock.wire.http import Headers, header
from penstock.wire.retry_hint import go_duration_s, retry_after_s
from penstock.wire.uploads import MISSING_FILE, names_missing_file

MAX_SENTENCE = 500

# Keys of the usual makers (a digit or a star tells them from words), other long random tokens, bearer tokens, and
# "key=..." in an URL.
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|fw|tgp|nvapi|pplx|csk|hf|key)[-_](?=[A-Za-z_\-.]*[0-9*])[A-Za-z0-9_\-*.]{6,}"
    r"|AIza[0-9A-Za-z_\-]{10,}"
    r"|\beyJ[0-9A-Za-z_\-.]{20,}"
    r"|\b(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{32,}\b"
    r"|(?<=[Bb]earer )\S+"
    r"|(?<=[?&]key=)[^&\s]+"
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_THREE_DIGITS = re.compile(r"[0-9]{3}")
_TAG = re.compile(r"<[^>]{0,2000}>")

_SPENT = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "payment_required"}
)
_TOO_LONG = frozenset({"context_length_exceeded", "token_limit_exceeded"})
# The prompt was refused by moderation, under these words with 400, or 403 (OpenRouter): wire facts, errors.
_FLAGGED = frozenset({"content_policy_violation", "moderation_blocked", "content_filter", "refusal"})
_OVERLOADED = (503, 529)
_AUTH = (401, 402, 403)
_TRANSIENT = (408, 425)

# An error inside a 200 says its status by its code or type only.
_STATUS_OF_WORD: dict[str, int] = {
    "invalid_request_error": 400,
    "invalid_request": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    **dict.fromkeys(_FLAGGED, 400),
    "invalid_api_key": 401,
    "authentication_error": 401,
    "authentication": 401,
    "payment_required": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "not_found": 404,
    "request_too_large": 413,
    "payload_too_large": 413,
    "insufficient_quota": 429,
    "credit_balance_exhausted": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded_error": 503,
    "provider_overloaded": 503,
    "slow_down": 503,
}


class _Said(Struct):
    """What a provider said, in whatever shape."""

    message: str = ""
    type: str = ""
    param: str | None = None
    code: str = ""
    status: int | None = None
    retry_after_s: float | None = None


def clean(text: str, limit: int = MAX_SENTENCE) -> str:
    """One line, without secrets, of at most ``limit`` characters."""
    line = _SECRET.sub("***", " ".join(text[: 20 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def read_error(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """A non-2xx answer as our error."""
    said = _said(body)
    if said is None:
        said = _Said(message=_of_page(status, body))
    wait = retry_after_s(headers, _server_now_s(headers))
    return _classify(status, said, wait if wait is not None else said.retry_after_s, status)


def read_error_in_200(body: bytes) -> UpstreamError:
    """A JSON body with an error inside a 200 as the error that its status should have said."""
    said = _said(body) or _Said()
    status = said.status
    if status is None:
        status = _STATUS_OF_WORD.get(said.code) or _STATUS_OF_WORD.get(said.type) or 502
    return _classify(status, said, said.retry_after_s, said.status or 200)


def read_page_in_200(body: bytes) -> UpstreamError:
    """A body that should have been a stream, or JSON, and is a page, a text, or a JSON error."""
    said = _said(body)
    if said is not None and said.message:
        return read_error_in_200(body)
    if said is not None:
        return UpstreamMalformed("The upstream answered with JSON that is not the reply asked for.")
    return UpstreamMalformed(f"The upstream answered 200 with {_of_page(200, body)}")


def _classify(status: int, said: _Said, wait_s: float | None, upstream_status: int) -> UpstreamError:
    sentence = said.message or f"The upstream answered {status} without a reason."
    words = (said.code, said.type)
    code = said.code or None
    if status in (400, 403) and not _FLAGGED.isdisjoint(words):
        # Not about our key: to rest it would let one caller's words lock out all others.
        return UpstreamBadRequest(
            sentence,
            code="content_policy_violation",
            param=said.param,
            status=status,
            upstream_status=upstream_status,
        )
    if status in _AUTH:
        return UpstreamAuthFailed(
            f"The upstream refused the gateway's credentials ({status}): {sentence}",
            upstream_status=upstream_status,
        )
    if status == 429:
        limited = UpstreamRateLimited(
            sentence, code=code, retry_after_s=wait_s, upstream_status=upstream_status
        )
        limited.quota_exhausted = any(word in _SPENT for word in words)
        return limited
    if status == 404 and names_missing_file(sentence):
        return UpstreamBadRequest(
            sentence, code=MISSING_FILE, param=said.param, status=status, upstream_status=upstream_status
        )
    if status == 404:
        return UpstreamNotFound(sentence, code=code, param=said.param, upstream_status=upstream_status)
    if status == 413:
        return UpstreamTooLarge(sentence, code=code, upstream_status=upstream_status)
    if 400 <= status < 500 and status not in _TRANSIENT:
        too_long = any(word in _TOO_LONG for word in words)
        return UpstreamBadRequest(
            sentence,
            code="context_length_exceeded" if too_long else code,
            param=said.param,
            status=status,
            upstream_status=upstream_status,
            falls_back=too_long,
        )
    return UpstreamFault(
        f"The upstream failed ({status}): {sentence}" if said.message else sentence,
        code=code,
        status=503 if status in _OVERLOADED else 502,
        retry_after_s=wait_s,
        upstream_status=upstream_status,
    )


def _said(body: bytes) -> _Said | None:
    """The provider's words out of any JSON shape; None if the body is no JSON."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list):
        # Google's OpenAI-compatible endpoint answers [{"error": {...}}].
        found = next(iter(as_list(found)), None)
    if isinstance(found, str):
        return _Said(message=clean(found))
    outer = as_object(found)
    inner: Any = outer.get("error")
    if isinstance(inner, str):
        # Ollama: {"error": "model not found"}.
        return _Said(message=clean(inner))
    return _of_facts(as_object(inner) or outer)


def _of_facts(facts: dict[str, Any]) -> _Said:
    extra = as_object(facts.get("metadata"))
    said = _Said()
    for name in ("message", "detail", "error", "msg"):
        value: Any = facts.get(name)
        if value:
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            said.message = clean(text)
            break
    raw = as_text(extra.get("raw"))
    if raw:
        # OpenRouter: the message is "Provider returned error", the provider's own words are here.
        said.message = clean(f"{said.message}: {raw}")
    code: Any = facts.get("code")
    if isinstance(code, int) or (isinstance(code, str) and _THREE_DIGITS.fullmatch(code)):
        said.status = _status(int(code))
    elif isinstance(code, str):
        said.code = clean(code, 100)
    said.code = said.code or clean(as_text(extra.get("error_type")) or "", 100)
    if not said.code and extra.get("flagged_input") is not None:
        said.code = "content_policy_violation"
    said.type = as_text(facts.get("type")) or ""
    said.param = clean(as_text(facts.get("param")) or "", 100) or None
    said.retry_after_s = _retry_info_s(facts.get("details"))
    return said


def _status(code: int) -> int | None:
    return code if 400 <= code <= 599 else None


def _retry_info_s(details: Any) -> float | None:
    """Google's RetryInfo, which its OpenAI-compatible endpoint keeps."""
    for detail in as_list(details):
        delay = as_text(as_object(detail).get("retryDelay"))
        if delay is not None:
            return go_duration_s(delay)
    return None


def _of_page(status: int, body: bytes) -> str:
    """What an HTML page or plain text says, in a sentence (behaviour 13)."""
    text = body[: 40 * MAX_SENTENCE].decode("utf-8", "replace")
    if "<" in text:
        title = _TITLE.search(text)
        text = title.group(1) if title else _TAG.sub(" ", text)
    words = clean(text, 200)
    return f"an answer that is not JSON: {words}" if words else f"an empty answer with status {status}"


def _server_now_s(headers: Headers) -> float:
    """The provider's own clock, by which its dates are meant."""
    date = header(headers, b"date")
    if date is not None:
        try:
            return parsedate_to_datetime(date.decode("latin-1")).timestamp()
        except ValueError:
            pass
    return time.time()


def error_type(error: PenstockError) -> str:
    """OpenAI's ``type`` for one of ours."""
    if isinstance(error, UpstreamRateLimited) and error.quota_exhausted:
        return "insufficient_quota"
    if error.status == 429:
        return "rate_limit_error"
    if isinstance(error, CallerError | PolicyError) or error.status < 500:
        return "invalid_request_error"
    return "server_error"


def write_error(error: PenstockError, request_id: str) -> dict[str, Any]:
    """The body of an OpenAI error."""
    return {
        "error": {
            "message": error.public(),
            "type": error_type(error),
            "param": error.param,
            "code": error.code,
            "request_id": request_id,
        }
    }


def openrouter_error_type(error: PenstockError) -> str:
    """OpenRouter's ``metadata.error_type`` for one of ours."""
    if error.code in ("context_length_exceeded", "content_policy_violation"):
        return error.code
    for kind, word in _OPENROUTER_TYPES:
        if isinstance(error, kind):
            return word
    if isinstance(error, UpstreamError):
        return "provider_overloaded" if error.status == 503 else "provider_unavailable"
    return "server" if error.status >= 500 else "invalid_request"


_OPENROUTER_TYPES: tuple[tuple[type[PenstockError], str], ...] = (
    (Unauthenticated, "authentication"),
    (NotFound, "not_found"),
    (UpstreamNotFound, "not_found"),
    (BodyTooLarge, "payload_too_large"),
    (UpstreamTooLarge, "payload_too_large"),
    (RateLimited, "rate_limit_exceeded"),
    (UpstreamRateLimited, "rate_limit_exceeded"),
    (PolicyError, "permission_denied"),
    (UpstreamTimeout, "timeout"),
    (UpstreamBadRequest, "invalid_request"),
)


def write_openrouter_error(error: PenstockError, request_id: str) -> dict[str, Any]:
    """The body of an OpenRouter error: an integer ``code``, the kind in ``metadata``."""
    served: dict[str, Any] = {}
    if isinstance(error, UpstreamError) and error.provider:
        served = {"provider_name": error.provider, "raw": error.message}
    return {
        "error": {
            "code": error.status,
            "message": error.public(),
            "metadata": {
                **served,
                "error_type": openrouter_error_type(error),
                "provider_code": error.code,
                "param": error.param,
                "request_id": request_id,
            },
        }
    }

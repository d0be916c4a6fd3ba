"""Our errors as Anthropic's client reads them: ``type``, status, ``details.error_code``, ``request_id``.

Source: platform.claude.com/docs/en/api/errors and anthropic-python 2.11.0 (its classes follow the status, then
``details.error_code``), read 2026-11. Rules
- A provider that is overloaded is 529, as Anthropic says it; what is ours for the moment (shutting down) stays 503.
- Clients look for "prompt is too long" at the beginning of a message: Anthropic has no code for it.
"""

from typing import Any

from penstock.base.errors import PenstockError, UpstreamError

OVERLOADED = 529
_UNAVAILABLE = 503
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_LONG = "prompt is too long"
_SERVER = 500


def status_of(error: PenstockError) -> int:
    """The HTTP status that an Anthropic caller gets."""
    if isinstance(error, UpstreamError) and (
        error.status == _UNAVAILABLE or error.upstream_status in (_UNAVAILABLE, OVERLOADED)
    ):
        return OVERLOADED
    return error.status


def write_error(error: PenstockError, request_id: str) -> dict[str, Any]:
    """The body of an error."""
    message = error.public()
    if error.code == "context_length_exceeded" and not message.startswith(_TOO_LONG):
        message = f"{_TOO_LONG}: {message}"
    details: dict[str, Any] = {"error_code": error.code}
    if error.param is not None:
        details["param"] = error.param
    status = status_of(error)
    kind = _TYPES.get(status) or ("api_error" if status >= _SERVER else "invalid_request_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message, "details": details},
        "request_id": request_id,
    }

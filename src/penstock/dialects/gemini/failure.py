"""Our errors as Google's clients read them: ``google.rpc.Status`` as JSON.

Rules: ``code`` is the HTTP status, ``status`` its name in Google's list; our own word for what happened is the ErrorInfo's
``reason`` (domain "penstock"); what to wait is a RetryInfo, which the clients' retries read; a field is a BadRequest's
violation.
"""

from typing import Any

from penstock.base.errors import NotFound, PenstockError, UpstreamNotFound

Json = dict[str, Any]
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."


def write_error(error: PenstockError, request_id: str) -> Json:
    """``{"error": ...}``."""
    status = error.status
    word = _WORDS.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    if isinstance(error, NotFound | UpstreamNotFound):
        word = "NOT_FOUND"
    details: list[Json] = [
        {
            "@type": f"{_TYPE}ErrorInfo",
            "reason": error.code.upper().replace("-", "_"),
            "domain": "penstock",
            "metadata": {"code": error.code, "blame": error.blame},
        },
        {"@type": f"{_TYPE}RequestInfo", "requestId": request_id},
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"})
    return {"error": {"code": status, "message": error.public(), "status": word, "details": details}}

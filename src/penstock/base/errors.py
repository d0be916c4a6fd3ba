"""One error tree, with blame.

    PenstockError
    ├── CallerError             the caller sent something that cannot be served
    │   ├── BadRequest          400  a field is wrong; names the field and the remedy
    │   ├── BodyTooLarge        413
    │   ├── Unauthenticated     401  no or unknown virtual key
    │   ├── NotFound            404  no such model, route or path
    │   ├── MethodNotAllowed    405
    │   └── CallerGone          499  hung up; nobody is left to answer
    ├── PolicyError             the operator's rules say no
    │   ├── Forbidden           403  key may not use this model, or has expired
    │   ├── RateLimited         429  our own limit; always with retry_after_s
    │   └── BudgetRefused       402  a budget is spent; 429 where running calls hold what is left
    ├── UpstreamError           a provider, or the way to it, failed
    │   ├── UpstreamBadRequest  4xx  the provider refused the request itself
    │   ├── UpstreamNotFound    404  the provider does not know the model (retired or unknown)
    │   ├── UpstreamTooLarge    413
    │   ├── UpstreamAuthFailed  502  the provider refused our key (401, 402, 403)
    │   ├── UpstreamRateLimited 429
    │   ├── UpstreamFault       502  5xx, overloaded, an error inside a 200
    │   ├── UpstreamTimeout     504  one of four deadlines: connect, first_byte, idle, total
    │   ├── UpstreamUnreachable 502  DNS, TCP, TLS, proxy
    │   ├── UpstreamTruncated   502  closed before the reply was complete
    │   ├── UpstreamMalformed   502  not the wire format that was promised
    │   └── NoTargetLeft        502/503  every target was refused or failed; carries the reasons
    ├── EngineError             our own GPU worker failed
    └── OurFault                500  a bug or a full disk
        ├── Draining            503  shutting down
        └── ConfigFault         500  the configuration cannot be built

Rules
- Routing reads attributes (``retryable``, ``rotates_key``, ``falls_back``, ``is_fault``), never message text.
- ``str(error)`` is a public sentence: no secrets, no provider headers, safe to send to the caller.
- ``server/respond.py`` is the only place that turns an error into HTTP.
"""

from typing import ClassVar, Literal

Blame = Literal["caller", "policy", "upstream", "engine", "ours"]
TimeoutPhase = Literal["connect", "first_byte", "idle", "total"]


class PenstockError(Exception):
    """Base of all our errors. ``message`` is public; ``hint`` says what to do."""

    blame: ClassVar[Blame] = "ours"
    default_status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.hint = hint
        self.status = status or self.default_status
        self.retry_after_s = retry_after_s

    def public(self) -> str:
        """The sentence a caller sees: what happened and what to do."""
        return f"{self.message} {self.hint}" if self.hint else self.message


class CallerError(PenstockError):
    """The caller sent something that cannot be served as it is."""

    blame: ClassVar[Blame] = "caller"
    default_status: ClassVar[int] = 400
    default_code: ClassVar[str] = "invalid_request"


class BadRequest(CallerError):
    """400: a field is wrong. ``param`` names it."""


class BodyTooLarge(CallerError):
    """413: the body is over ``server.max_body_bytes``."""

    default_status: ClassVar[int] = 413
    default_code: ClassVar[str] = "request_too_large"


class Unauthenticated(CallerError):
    """401: no virtual key, or one that is not known."""

    default_status: ClassVar[int] = 401
    default_code: ClassVar[str] = "invalid_api_key"


class NotFound(CallerError):
    """404: no such model, route or path."""

    default_status: ClassVar[int] = 404
    default_code: ClassVar[str] = "not_found"


class MethodNotAllowed(CallerError):
    """405: the path exists, the method does not."""

    default_status: ClassVar[int] = 405
    default_code: ClassVar[str] = "method_not_allowed"


class CallerGone(CallerError):
    """499: the caller hung up. Never sent, only recorded."""

    default_status: ClassVar[int] = 499
    default_code: ClassVar[str] = "caller_gone"


class PolicyError(PenstockError):
    """The operator's rules say no."""

    blame: ClassVar[Blame] = "policy"
    default_status: ClassVar[int] = 403
    default_code: ClassVar[str] = "forbidden"


class Forbidden(PolicyError):
    """403: the virtual key may not do this (model not allowed, expired)."""


class RateLimited(PolicyError):
    """429 from our own limits. ``retry_after_s`` is always set."""

    default_status: ClassVar[int] = 429
    default_code: ClassVar[str] = "rate_limit_exceeded"
    retryable: ClassVar[bool] = True


class BudgetRefused(PolicyError):
    """A budget has too little left. ``code`` is the ledger's (ledger.budgets); ``retry_after_s`` None: asking again is no use.

    402, which clients do not repeat; 429 where running calls hold what is left, and some of it may come back soon.
    """

    default_status: ClassVar[int] = 402
    default_code: ClassVar[str] = "budget-exhausted"


class UpstreamError(PenstockError):
    """A provider, or the way to it, failed.

    ``rotates_key``: another key of the same target may do better, without back-off.
    ``falls_back``: the next target of the chain may do better.
    ``is_fault``: counts against the target's health (429 and 4xx do not).
    ``upstream_status``: what the provider answered, if it answered.
    ``detail``: the provider's own sentence, already cleaned of secrets. ``provider``: who failed, where that is known.
    """

    blame: ClassVar[Blame] = "upstream"
    default_status: ClassVar[int] = 502
    default_code: ClassVar[str] = "upstream_error"
    rotates_key: ClassVar[bool] = False
    default_falls_back: ClassVar[bool] = True
    is_fault: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        falls_back: bool | None = None,
    ) -> None:
        super().__init__(
            message, code=code, param=param, hint=hint, status=status, retry_after_s=retry_after_s
        )
        self.upstream_status = upstream_status
        self.provider = ""
        self.falls_back = self.default_falls_back if falls_back is None else falls_back


class UpstreamBadRequest(UpstreamError):
    """The provider refused the request itself; its status is kept (400, 409, 422, ...). Never retried.

    ``falls_back`` is False unless another model may take it (code ``context_length_exceeded``).
    """

    default_status: ClassVar[int] = 400
    default_code: ClassVar[str] = "invalid_request"
    default_falls_back: ClassVar[bool] = False


class UpstreamNotFound(UpstreamError):
    """The provider does not know the model: retired or misspelt. The target is dropped, never retried."""

    default_status: ClassVar[int] = 404
    default_code: ClassVar[str] = "model_not_found"


class UpstreamTooLarge(UpstreamError):
    """413 from the provider: another provider may take it."""

    default_status: ClassVar[int] = 413
    default_code: ClassVar[str] = "request_too_large"


class UpstreamAuthFailed(UpstreamError):
    """The provider refused our key (401, 402, 403): rotate without back-off.

    The caller never sees the upstream's 401: it would think that its own key is bad.
    """

    default_code: ClassVar[str] = "upstream_credentials_exhausted"
    rotates_key: ClassVar[bool] = True


class UpstreamRateLimited(UpstreamError):
    """429. ``quota_exhausted``: a spent quota or balance, for which waiting a little is no remedy."""

    default_status: ClassVar[int] = 429
    default_code: ClassVar[str] = "rate_limit_exceeded"
    retryable: ClassVar[bool] = True
    rotates_key: ClassVar[bool] = True
    quota_exhausted: bool = False


class UpstreamFault(UpstreamError):
    """408, 5xx, 529, or an error inside a 200."""

    default_code: ClassVar[str] = "upstream_fault"
    retryable: ClassVar[bool] = True
    is_fault: ClassVar[bool] = True


class UpstreamTimeout(UpstreamError):
    """One of four deadlines ran out; ``phase`` says which. ``unsent``: before a byte of the request had left."""

    default_status: ClassVar[int] = 504
    default_code: ClassVar[str] = "upstream_timeout"
    retryable: ClassVar[bool] = True
    is_fault: ClassVar[bool] = True

    def __init__(self, message: str, *, phase: TimeoutPhase) -> None:
        super().__init__(message, code=f"upstream_timeout_{phase}")
        self.phase: TimeoutPhase = phase
        self.unsent = False


class UpstreamUnreachable(UpstreamError):
    """No connection: DNS, TCP, TLS or proxy; or closed before the reply's head."""

    default_code: ClassVar[str] = "upstream_unreachable"
    retryable: ClassVar[bool] = True
    is_fault: ClassVar[bool] = True


class UpstreamTruncated(UpstreamError):
    """The provider closed before the reply was complete."""

    default_code: ClassVar[str] = "upstream_truncated"
    retryable: ClassVar[bool] = True
    is_fault: ClassVar[bool] = True


class UpstreamMalformed(UpstreamError):
    """Not the wire format that was promised: an HTML page, broken JSON, a broken frame."""

    default_code: ClassVar[str] = "upstream_malformed"
    retryable: ClassVar[bool] = True
    is_fault: ClassVar[bool] = True


class NoTargetLeft(UpstreamError):
    """Every target was refused or failed. ``reasons`` says why, one line each."""

    default_status: ClassVar[int] = 503
    default_code: ClassVar[str] = "no_target_left"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reasons: tuple[str, ...] = (),
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, status=status, retry_after_s=retry_after_s)
        self.reasons = reasons


class EngineError(PenstockError):
    """Our own GPU worker failed."""

    blame: ClassVar[Blame] = "engine"
    default_code: ClassVar[str] = "engine_error"


class OurFault(PenstockError):
    """A bug, a full disk: ours."""


class Draining(OurFault):
    """503: shutting down; another replica will answer."""

    default_status: ClassVar[int] = 503
    default_code: ClassVar[str] = "draining"
    retryable: ClassVar[bool] = True


class ConfigFault(OurFault):
    """The configuration cannot be built. ``path`` names the place, ``$.providers.openai.keys[0]``."""

    default_code: ClassVar[str] = "config_fault"

    def __init__(self, message: str, *, path: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, param=path)
        self.path = path

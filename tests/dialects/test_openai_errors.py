"""Errors both ways: a provider's refusal as ours, and ours as a client reads them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import (
    BadRequest,
    BodyTooLarge,
    Draining,
    Forbidden,
    NoTargetLeft,
    NotFound,
    OurFault,
    PenstockError,
    RateLimited,
    Unauthenticated,
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from penstock.dialects.openai_chat import OPENAI, OPENROUTER


def said(message: str = "words", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "ours"),
    [
        (400, said(type="invalid_request_error", param="messages", code="x"), UpstreamBadRequest, 400),
        (400, said(code="context_length_exceeded"), UpstreamBadRequest, 400),
        (401, said(code="invalid_api_key"), UpstreamAuthFailed, 502),
        (402, said(), UpstreamAuthFailed, 502),
        (403, said(), UpstreamAuthFailed, 502),
        (404, said(code="model_not_found"), UpstreamNotFound, 404),
        (405, said(), UpstreamBadRequest, 405),
        (408, said(), UpstreamFault, 502),
        (409, said(), UpstreamBadRequest, 409),
        (413, said(), UpstreamTooLarge, 413),
        (422, said(), UpstreamBadRequest, 422),
        (429, said(code="rate_limit_exceeded"), UpstreamRateLimited, 429),
        (500, said(type="server_error"), UpstreamFault, 502),
        (502, b"<html><title>502 Bad Gateway</title></html>", UpstreamFault, 502),
        (503, said(code="slow_down"), UpstreamFault, 503),
        (504, said(), UpstreamFault, 502),
        (524, b"", UpstreamFault, 502),
        (529, said(), UpstreamFault, 503),
        (302, b"", UpstreamFault, 502),
    ],
)
def test_behaviour_27_classes_by_status(
    status: int, body: bytes, kind: type[UpstreamError], ours: int
) -> None:
    error = OPENAI.read_error(status, [], body)
    assert type(error) is kind
    assert (error.status, error.upstream_status) == (ours, status)


@pytest.mark.parametrize(
    "facts",
    [
        {"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "..."}},
        {"code": 403, "metadata": {"error_type": "content_policy_violation"}},
        {"code": "content_policy_violation"},
        {"code": "moderation_blocked", "type": "invalid_request_error"},
        {"code": "content_filter"},
    ],
    ids=["openrouter", "openrouter-typed", "openai", "openai-images", "azure"],
)
@pytest.mark.parametrize("status", [400, 403])
def test_a_flagged_prompt_says_nothing_about_the_key(status: int, facts: dict[str, Any]) -> None:
    """A caller's words that moderation refuses must not cool the operator's key down, whatever the status."""
    error = OPENAI.read_error(status, [], said("Your input was flagged.", **facts))
    assert type(error) is UpstreamBadRequest
    assert (error.status, error.upstream_status) == (status, status)
    assert error.code == "content_policy_violation"
    assert error.message == "Your input was flagged."
    assert (error.rotates_key, error.falls_back, error.retryable) == (False, False, False)


def test_a_refused_request_keeps_the_provider_s_words() -> None:
    error = OPENAI.read_error(400, [], said("No such field.", param="tools[0]", code="unsupported_parameter"))
    assert (error.message, error.param, error.code) == ("No such field.", "tools[0]", "unsupported_parameter")
    assert not error.falls_back
    assert not error.retryable


def test_a_context_that_is_too_long_may_fall_back() -> None:
    for body in (
        said(code="context_length_exceeded"),
        said(type="context_length_exceeded"),
        said(code=400, metadata={"error_type": "context_length_exceeded"}),
    ):
        error = OPENAI.read_error(400, [], body)
        assert error.falls_back
        assert error.code == "context_length_exceeded"
    assert not OPENAI.read_error(400, [], said("maximum context length exceeded")).falls_back


@pytest.mark.parametrize(
    ("body", "exhausted"),
    [
        (said(type="insufficient_quota", code="insufficient_quota"), True),
        (said(code="credit_balance_exhausted"), True),
        (said("You exceeded your quota: limit exceeded", code="rate_limit_exceeded"), False),
        (b"too many requests", False),
    ],
)
def test_behaviour_27_a_spent_quota_is_told_by_its_code_not_by_words(body: bytes, exhausted: bool) -> None:
    error = OPENAI.read_error(429, [], body)
    assert isinstance(error, UpstreamRateLimited)
    assert error.quota_exhausted is exhausted


def test_behaviour_28_a_429_says_how_long_to_wait() -> None:
    assert OPENAI.read_error(429, [(b"retry-after", b"3")], said()).retry_after_s == 3
    dated = [(b"date", b"Fri, 06 Nov 2026 21:20:00 GMT"), (b"retry-after", b"Fri, 06 Nov 2026 21:20:09 GMT")]
    assert OPENAI.read_error(429, dated, said()).retry_after_s == 9
    google = b'[{"error":{"code":429,"message":"x","details":[{"@type":"x"},{"retryDelay":"31.5s"}]}}]'
    assert OPENAI.read_error(429, [], google).retry_after_s == 31.5
    assert OPENAI.read_error(429, [], said()).retry_after_s is None
    assert OPENAI.read_error(503, [(b"retry-after", b"5")], said()).retry_after_s == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":"model \'x\' not found"}', "model 'x' not found"),
        (b'[{"error":{"message":"google","code":400}}]', "google"),
        (b'{"detail":"fast"}', "fast"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (b'{"message":"mistral"}', "mistral"),
        (b'"just a text"', "just a text"),
        (
            b'{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"inner words"}}}',
            "inner words",
        ),
        (b"<html><head><title>400 Bad\nRequest</title></head>x</html>", "400 Bad Request"),
        (b"<p>only <b>tags</b></p>", "only tags"),
        (b"plain words", "plain words"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"", "status 400"),
        (b"{}", "without a reason"),
        (b"[]", "without a reason"),
        (b"null", "without a reason"),
    ],
)
def test_behaviour_13_a_body_of_any_shape_becomes_one_clean_sentence(body: bytes, words: str) -> None:
    error = OPENAI.read_error(400, [], body)
    assert words in error.message
    assert "\n" not in error.message
    assert "<" not in error.message


def test_behaviour_40_nothing_that_looks_like_a_key_is_repeated() -> None:
    secrets = [
        "sk-proj-abcDEF123456_7890",
        "sk-ant-api03-abcdefgh",
        "gsk_abcdefghijk1234",
        "xai-abcdefgh12345678",
        "AIzaSyA1234567890abcdefghijk",
        "sk-abc***********xyz1",
        "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln",
    ]
    for secret in secrets:
        error = OPENAI.read_error(401, [], said(f"Incorrect API key provided: {secret}. See docs."))
        assert secret not in str(error)
        assert "See docs." in str(error)
    assert "tok3n" not in str(OPENAI.read_error(500, [], said("header Authorization: Bearer tok3n-abc")))
    assert "abc123" not in str(OPENAI.read_error(500, [], b"https://x.example/?key=abc123secret failed"))
    words = "the task-force-one model of key-value-pairs"
    assert words in str(OPENAI.read_error(500, [], said(words)))


def test_a_long_sentence_is_cut() -> None:
    assert len(OPENAI.read_error(400, [], said("x" * 100_000)).message) <= 500
    assert len(OPENAI.read_error(500, [], b"<html>" + b"y" * 100_000).message) < 500


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "code", "type", "param", "detail", "details", "metadata", "raw"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.integers(300, 599), st.binary(max_size=50) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_read_error_never_raises(status: int, body: bytes) -> None:
    error = OPENAI.read_error(status, [(b"retry-after", body[:20]), (b"date", body[:20])], body)
    assert isinstance(error, UpstreamError)
    assert 400 <= error.status < 600
    assert error.message


# --- our errors, written


def _limited() -> UpstreamRateLimited:
    error = UpstreamRateLimited("spent")
    error.quota_exhausted = True
    return error


@pytest.mark.parametrize(
    ("error", "kind", "code", "openrouter"),
    [
        (BadRequest("m", param="stream"), "invalid_request_error", "invalid_request", "invalid_request"),
        (Unauthenticated("m"), "invalid_request_error", "invalid_api_key", "authentication"),
        (Forbidden("m"), "invalid_request_error", "forbidden", "permission_denied"),
        (NotFound("m"), "invalid_request_error", "not_found", "not_found"),
        (BodyTooLarge("m"), "invalid_request_error", "request_too_large", "payload_too_large"),
        (RateLimited("m", retry_after_s=1), "rate_limit_error", "rate_limit_exceeded", "rate_limit_exceeded"),
        (_limited(), "insufficient_quota", "rate_limit_exceeded", "rate_limit_exceeded"),
        (UpstreamBadRequest("m"), "invalid_request_error", "invalid_request", "invalid_request"),
        (
            UpstreamBadRequest("m", code="context_length_exceeded"),
            *("invalid_request_error", "context_length_exceeded", "context_length_exceeded"),
        ),
        (UpstreamNotFound("m"), "invalid_request_error", "model_not_found", "not_found"),
        (UpstreamAuthFailed("m"), "server_error", "upstream_credentials_exhausted", "provider_unavailable"),
        (UpstreamTimeout("m", phase="idle"), "server_error", "upstream_timeout_idle", "timeout"),
        (UpstreamFault("m", status=503), "server_error", "upstream_fault", "provider_overloaded"),
        (NoTargetLeft("m"), "server_error", "no_target_left", "provider_overloaded"),
        (OurFault("m"), "server_error", "internal_error", "server"),
        (Draining("m"), "server_error", "draining", "server"),
    ],
)
def test_behaviour_40_errors_in_the_caller_s_dialect(
    error: PenstockError, kind: str, code: str, openrouter: str
) -> None:
    body = json.loads(OPENAI.write_error(error, "req-1"))
    assert body == {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": code,
            "request_id": "req-1",
        }
    }
    other = json.loads(OPENROUTER.write_error(error, "req-1"))["error"]
    assert (other["code"], other["message"]) == (error.status, error.message)
    assert other["metadata"]["error_type"] == openrouter
    assert other["metadata"]["request_id"] == "req-1"


def test_an_error_says_what_to_do() -> None:
    error = BadRequest("The field n is 0.", param="n", hint="Send at least 1.")
    assert (
        json.loads(OPENAI.write_error(error, "r"))["error"]["message"] == "The field n is 0. Send at least 1."
    )


def test_behaviour_10_the_error_that_ends_a_stream() -> None:
    frame = OPENAI.write_stream_error(UpstreamFault("boom"), "req-1")
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    assert json.loads(frame[6:]) == json.loads(OPENAI.write_error(UpstreamFault("boom"), "req-1"))
    other = json.loads(OPENROUTER.write_stream_error(UpstreamFault("boom"), "req-1")[6:])
    assert other["error"]["code"] == 502
    assert other["choices"][0]["finish_reason"] == "error"
    assert {"id", "object", "created", "model", "system_fingerprint"} <= set(other)

"""Google's error answers -> ours: class, blame, retry hint, and nothing secret in the sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.base.models import ModelFacts, Target
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.gemini import GEMINI, VERTEX
from penstock.dialects.openai_chat import OPENAI


def google(code: int, status: str, message: str = "no", details: list | None = None, listed=False) -> bytes:
    body = {"error": {"code": code, "message": message, "status": status, "details": details or []}}
    return json.dumps([body] if listed else body, indent=2).encode()


def quota(quota_id: str, delay: str | None = "31.5s") -> list:
    violation = {"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": quota_id}
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
    if delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return details


TARGET = Target("gemini", "m", "gemini", ModelFacts("gemini", "m"))
KEY_INVALID = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "details", "kind"),
    [
        (400, "INVALID_ARGUMENT", None, UpstreamBadRequest),
        (400, "INVALID_ARGUMENT", KEY_INVALID, UpstreamAuthFailed),
        (401, "UNAUTHENTICATED", None, UpstreamAuthFailed),
        (402, "FAILED_PRECONDITION", None, UpstreamAuthFailed),
        (403, "PERMISSION_DENIED", None, UpstreamAuthFailed),
        (404, "NOT_FOUND", None, UpstreamNotFound),
        (409, "ABORTED", None, UpstreamBadRequest),
        (413, "INVALID_ARGUMENT", None, UpstreamTooLarge),
        (429, "RESOURCE_EXHAUSTED", None, UpstreamRateLimited),
        (499, "CANCELLED", None, UpstreamFault),
        (500, "INTERNAL", None, UpstreamFault),
        (503, "UNAVAILABLE", None, UpstreamFault),
        (504, "DEADLINE_EXCEEDED", None, UpstreamFault),
    ],
)
def test_behaviour_27_and_30_status_decides_the_class(code, status, details, kind, listed):
    """As an object and as Google's JSON list; the upstream's own status is kept."""
    error = GEMINI.read_error(code, [], google(code, status, details=details, listed=listed))
    assert type(error) is kind
    assert error.upstream_status == code


@pytest.mark.parametrize("status", range(400, 500))
def test_a_refusal_means_the_same_from_every_provider(status):
    """A status without words: the same class and the same status for the caller, whoever was asked."""
    ours = OPENAI.read_error(status, [], b"{}")
    for dialect in (ANTHROPIC, GEMINI, VERTEX):
        theirs = dialect.read_error(status, [], b"{}")
        if status == 499:  # Google's word for a call that it gave up
            continue
        assert (type(theirs), theirs.status) == (type(ours), ours.status)
    assert type(ours) is not UpstreamBadRequest or ours.status == status


def test_a_refusal_inside_a_200_keeps_its_status_too():
    """Its code stands in for the status."""
    reader = GEMINI.reader(TARGET, stream=False)
    reader.feed(google(422, "INVALID_ARGUMENT"))
    with pytest.raises(UpstreamBadRequest) as caught:
        reader.close()
    assert caught.value.status == 422


def test_behaviour_28_retry_info_is_read_and_the_header_wins():
    body = google(429, "RESOURCE_EXHAUSTED", details=quota("RequestsPerMinutePerProject"))
    assert GEMINI.read_error(429, [], body).retry_after_s == 31.5
    assert GEMINI.read_error(429, [(b"retry-after", b"7")], body).retry_after_s == 7
    assert GEMINI.read_error(503, [(b"retry-after-ms", b"250")], b"{}").retry_after_s == 0.25


def test_a_quota_per_day_is_spent():
    spent = GEMINI.read_error(
        429, [], google(429, "X", details=quota("GenerateRequestsPerDayPerProjectPerModel"))
    )
    short = GEMINI.read_error(429, [], google(429, "X", details=quota("GenerateRequestsPerMinute")))
    assert spent.quota_exhausted
    assert not short.quota_exhausted


def test_too_long_a_prompt_falls_back_to_another_model():
    words = "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."
    error = GEMINI.read_error(400, [], google(400, "INVALID_ARGUMENT", words))
    assert (error.code, error.falls_back, type(error)) == (
        "context_length_exceeded",
        True,
        UpstreamBadRequest,
    )
    plain = GEMINI.read_error(400, [], google(400, "INVALID_ARGUMENT", "Invalid value at contents"))
    assert (plain.code, plain.falls_back) == ("invalid_request", False)
    assert "Invalid value at contents" in plain.message


def test_our_accounts_region_is_not_the_callers_fault():
    words = "User location is not supported for the API use."
    assert GEMINI.read_error(400, [], google(400, "FAILED_PRECONDITION", words)).falls_back


def test_auth_failures_say_nothing_of_our_account():
    error = VERTEX.read_error(403, [], google(403, "PERMISSION_DENIED", "Project 4711 billing is off"))
    assert "4711" not in error.public()
    assert "Vertex AI" in error.public()


SECRETS = [
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "AQ.Ab8RN6K_abcdefghijklmnop",
    "ya29.a0AfH6SMBx-token_token",
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.sig",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["key {} is bad", "https://x/?key={}&alt=sse", "Authorization: Bearer {}"])
def test_behaviour_40_key_like_words_are_masked(secret, around):
    for body in (google(400, "INVALID_ARGUMENT", around.format(secret)), around.format(secret).encode()):
        error = GEMINI.read_error(400, [], body)
        assert secret not in error.public()
        assert secret[:12] not in error.public()


def test_behaviour_13_pages_and_plain_text_become_a_sentence():
    html = GEMINI.read_error(502, [], b"<html><head><title>502 Bad Gateway</title></head></html>")
    assert "<" not in html.public()
    assert "HTML" in html.public()
    plain = GEMINI.read_error(503, [], b"upstream connect error\nor disconnect")
    assert "upstream connect error or disconnect" in plain.public()
    assert "without a reason" in GEMINI.read_error(500, [], b"").public()


def test_long_messages_are_cut():
    assert len(GEMINI.read_error(400, [], google(400, "INVALID_ARGUMENT", "x" * 5000)).public()) < 600


@given(st.sampled_from([400, 401, 403, 404, 413, 418, 429, 500, 503, 599]), st.binary(max_size=300))
def test_no_body_makes_it_raise(status, body):
    assert isinstance(GEMINI.read_error(status, [], body), UpstreamError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([400, 429, 500]), JSON, st.booleans())
def test_no_shape_of_error_makes_it_raise(status, inside, listed):
    """``error`` may hold anything; so may its details."""
    for error in (inside, {"code": 1, "message": "kept", "details": inside}):
        body = json.dumps([{"error": error}] if listed else {"error": error}).encode()
        found = GEMINI.read_error(status, [], body)
        assert found.upstream_status == status
    assert "kept" in found.public() or isinstance(found, UpstreamAuthFailed)

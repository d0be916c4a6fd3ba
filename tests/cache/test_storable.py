"""Which answers are kept: each "no" with its code."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.events import (
    Event,
    Finished,
    Folded,
    FoldedTool,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
    VectorMade,
    fold,
)
from penstock.base.usage import Usage
from penstock.cache.controls import DEFAULT, Controls
from penstock.cache.storable import looks_secret, semantic_storable, size_bytes, storable
from penstock.config.schema_cache import SemanticCacheConfig

GOOD = fold(
    [Started("m"), TextDelta("A red mug."), UsageSeen(Usage(input=9, output=4)), Stopped("stop"), Finished()]
)


def with_(**fields: Any) -> Folded:
    return msgspec.structs.replace(GOOD, **fields)


def code(folded: Folded, **given_: Any) -> str | None:
    told: dict[str, Any] = {
        "answered_by_fallback": False,
        "adjusted": (),
        "controls": DEFAULT,
        "cost_nusd": 1000,
        "max_bytes": 10_000,
        **given_,
    }
    refusal = storable(folded, **told)
    assert refusal is None or refusal.reason.endswith(".")
    return None if refusal is None else refusal.code


def test_a_whole_answer_is_kept() -> None:
    assert code(GOOD) is None


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("stop", None),
        ("length", "truncated"),
        ("content_filter", "filtered"),
        ("error", "failed"),
        ("tool_calls", "empty"),
    ],
)
def test_errors_cut_and_filtered_answers_are_not__vllm_sr_2130(why: Any, expected: str | None) -> None:
    assert code(with_(stopped=Stopped(why))) == expected


@pytest.mark.parametrize("cut", range(5))
def test_no_stream_is_kept_before_its_end(cut: int) -> None:
    events: list[Event] = [Started("m"), TextDelta("A"), TextDelta(" mug"), Stopped("stop"), Finished()]
    assert code(fold(events[:cut])) == "not-finished"
    assert code(fold(events)) is None


def test_refusals_and_nothing_are_not_kept() -> None:
    assert code(fold([RefusalDelta("I cannot."), Stopped("stop"), Finished()])) == "refused-by-model"
    assert code(with_(text="half", refusal="I cannot.")) == "refused-by-model"
    assert code(with_(text=" \n")) == "empty"
    assert code(with_(text="", thinking=[ThinkingDelta("hm")])) == "empty"


def test_calls_of_tools_may_be_told_again_exactly_and_not_by_meaning() -> None:
    called = fold(
        [
            ToolStarted(0, "1", "f"),
            ToolArgs(0, "{}"),
            Stopped("tool_calls"),
            UsageSeen(Usage(output=3)),
            Finished(),
        ]
    )
    assert code(called) is None
    refusal = semantic_storable(called, SemanticCacheConfig())
    assert refusal is not None
    assert refusal.code == "tools-called"
    assert semantic_storable(called, SemanticCacheConfig(tools=True)) is None
    assert semantic_storable(GOOD, SemanticCacheConfig()) is None


def test_pictures_and_vectors() -> None:
    made = with_(text="", made=[VectorMade(0, bytes(8))])
    assert code(made) is None
    picture = with_(text="", media=[MediaMade("image", "image/png", data="AAAA")])
    assert code(picture) is None
    for one in (made, picture):
        refusal = semantic_storable(one, SemanticCacheConfig())
        assert refusal is not None
        assert refusal.code == "not-text"
    assert code(with_(media=[MediaMade("image", "image/png", url="https://a.example/x")])) == "elsewhere"


def test_the_caller_may_forbid_it() -> None:
    assert code(GOOD, controls=Controls(no_store=True)) == "no-store"
    assert code(GOOD, controls=Controls("off")) == "no-store"
    assert code(GOOD, controls=Controls("refresh")) is None


def test_a_fallbacks_answer_is_not_kept() -> None:
    assert code(GOOD, answered_by_fallback=True) == "answered-by-fallback"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("logit_bias-dropped", "field-dropped"),
        ("top_k-dropped", "field-dropped"),
        ("thinking-dropped", "field-dropped"),
        ("cache_control-dropped", None),
        ("metadata.a-dropped", None),
        ("provider.options-dropped", None),
        ("service_tier-dropped", None),
        ("user-dropped", None),
        ("name-approximated", None),
        ("json-word-added", None),
    ],
)
def test_an_answer_that_heeds_less_than_was_asked_is_not_kept(word: str, expected: str | None) -> None:
    assert code(GOOD, adjusted=("system-as-user", word)) == expected


def test_a_free_reply_is_kept_only_if_it_used_something() -> None:
    assert code(with_(usage=None), cost_nusd=0) == "cost-nothing"
    assert code(with_(usage=Usage()), cost_nusd=0) == "cost-nothing"
    assert code(GOOD, cost_nusd=0) is None
    assert code(with_(usage=None), cost_nusd=None) is None


def test_a_large_answer_is_not_kept() -> None:
    assert code(GOOD, max_bytes=len("A red mug.")) is None
    assert code(GOOD, max_bytes=len("A red mug.") - 1) == "too-large"


def test_everything_counts_in_the_size() -> None:
    folded = with_(
        text="é",
        thinking=[ThinkingDelta("abc", "sig")],
        tools=[FoldedTool(0, "1", "f", "{}")],
        media=[MediaMade("image", "image/png", "AAAA")],
        made=[VectorMade(0, bytes(8))],
    )
    assert size_bytes(folded) == 2 + 6 + 3 + 4 + 8


# The forms only: none of these was ever a key.
FILL = "x1Y2z3W4" * 8
SECRETS = [
    f"sk-proj-{FILL}",
    f"sk-ant-api03-{FILL}",
    f"sk-{FILL[:20]}",
    f"psk-{FILL[:16]}",
    f"rk_live_{FILL[:24]}",
    "AKIA" + "ABCD1234EFGH5678",
    "AIza" + FILL[:35],
    "ghp_" + FILL[:36],
    "github_pat_" + FILL[:40],
    "glpat-" + FILL[:20],
    "xoxb-" + FILL[:20],
    "hf_" + FILL[:34],
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "postgres://ann:hunter22@db.example/x",
    ".".join(("eyJ" + FILL[:20], "eyJ" + FILL[:20], FILL[:30])),
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:12])
def test_what_looks_like_a_secret_is_not_kept(secret: str) -> None:
    for text in (secret, f"Your key is {secret}, keep it.", f'{{"key":"{secret}"}}'):
        assert code(with_(text=text)) == "looks-secret"
    assert code(with_(tools=[FoldedTool(0, "1", "f", f'{{"a":"{secret}"}}')])) == "looks-secret"
    assert code(with_(thinking=[ThinkingDelta(f"The key {secret}.")])) == "looks-secret"


@pytest.mark.parametrize(
    "text",
    [
        "A mug for tasks, asks and masks.",
        "Use sk-learn-pipelines-and-transformers for that.",
        "See https://a.example:8080/path and mail ann@a.example.",
        "-----BEGIN CERTIFICATE-----",
        "The risk-adjusted-return-of-2024-portfolios",
        "AKIA is a prefix.",
        "data:image/png;base64," + base64.b64encode(bytes(range(200))).decode(),
    ],
)
def test_what_does_not_is(text: str) -> None:
    assert code(with_(text=text)) is None


@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    assert looks_secret(with_(text=text)) in (True, False)
    assert (code(with_(text=text)) == "empty") == (not text.strip())


@pytest.mark.parametrize(
    "piece", ["eyJ-", "eyJaaaaaaaaaa.", "sk-", "a://b", "aa", "a+", "-----BEGIN ", "xox", "://a:"]
)
def test_a_long_answer_is_judged_as_a_short_one(piece: str) -> None:
    """A pattern that went back over what it has read would not end within the test's time."""
    assert looks_secret(with_(text=piece * (500_000 // len(piece)))) == looks_secret(with_(text=piece * 9))

"""Key choice by weight, and cool-downs that outlive a request (behaviours 28, 29, 30)."""

import random
from collections import Counter
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamFault
from penstock.routing.keys import KeyChoice, KeyRing, ProviderKey
from tests.routing.make import rate_limited, refused, ring

CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27}
"""0.999 quantiles by degrees of freedom."""


def chosen(keys: KeyRing, now_s: float = 0.0, **how: object) -> KeyChoice:
    """The choice, which must not be a refusal."""
    choice = keys.choose("m", now_s, random.Random(1), **how)  # type: ignore[arg-type]
    assert isinstance(choice, KeyChoice), choice
    return choice


def no(keys: KeyRing, now_s: float = 0.0, **how: object) -> Rejected:
    """The refusal, which must not be a choice."""
    choice = keys.choose("m", now_s, random.Random(1), **how)  # type: ignore[arg-type]
    assert isinstance(choice, Rejected), choice
    return choice


@pytest.mark.parametrize(
    "weights", [{"a": 0.7, "b": 0.3}, {"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 5, "b": 0.5, "c": 3, "d": 1.5}]
)
@pytest.mark.parametrize("around", [False, True])
def test_ten_thousand_draws_match_the_weights(weights, around):
    """Pearson's chi-square over 10,000 draws stays under its 99.9 % quantile, on both ways through the choice."""
    keys, rng = ring(**weights, cold=1.0) if around else ring(**weights), random.Random(20_26)
    if around:
        keys.failed("cold", rate_limited(3600), 0.0)
    draws = Counter(keys.choose("m", 1.0, rng).key.name for _ in range(10_000))
    total = sum(weights.values())
    expected = {name: 10_000 * weight / total for name, weight in weights.items()}
    assert set(draws) == set(weights)
    chi_square = sum((draws[name] - expected[name]) ** 2 / expected[name] for name in weights)
    assert chi_square < CHI_SQUARE_999[len(weights) - 1]


def test_the_same_seed_draws_the_same_keys():
    """Chance is a parameter."""
    runs = [
        [ring(a=1, b=1).choose("m", 0.0, rng).key.name for _ in range(50)]
        for rng in (random.Random(7), random.Random(7), random.Random(8))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_a_choice_says_how_probable_it_was():
    """Probability and reason are those of the eligible keys."""
    keys = ring(a=0.7, b=0.3)
    choice = chosen(keys)
    assert choice.probability == pytest.approx({"a": 0.7, "b": 0.3}[choice.key.name])
    assert "of 1 among 2 keys" in choice.reason
    keys.failed("a", rate_limited(), 0.0)
    choice = chosen(keys)
    assert (choice.key.name, choice.probability) == ("b", 1.0)
    assert "1 cooling" in choice.reason


def test_a_provider_without_keys_has_one_that_is_empty():
    """A local server needs no credential."""
    choice = chosen(KeyRing("ollama", ()))
    assert (choice.key.name, choice.key.secret, choice.probability) == ("none", "", 1.0)


def test_secrets_are_in_no_repr():
    """Neither Python's repr nor rich's shows the secret, of the key or of what holds it."""
    choice = chosen(ring(a=1))
    screen = StringIO()
    Console(file=screen, width=200).print(choice.key, choice)
    for shown in (repr(choice.key), repr(choice), str(choice.key), screen.getvalue()):
        assert "sk-a" not in shown
        assert "a" in shown


def test_models_and_callers_limit_the_keys():
    """A key's own models and the virtual key's provider_keys both hold; each refusal has its own code."""
    keys = KeyRing(
        "openai",
        (
            ProviderKey("openai", "big", "s1", models=("gpt-5*",)),
            ProviderKey("openai", "small", "s2", models=("*-mini", "o3")),
        ),
    )
    rng = random.Random(1)
    assert keys.choose("gpt-5", 0, rng).key.name == "big"
    assert keys.choose("o3", 0, rng).key.name == "small"
    assert keys.count("gpt-5-mini") == 2
    assert keys.choose("gpt-5-mini", 0, rng, allowed=frozenset({"small"})).key.name == "small"
    assert keys.count("gpt-5-mini", frozenset({"small"})) == 1
    assert keys.choose("gpt-4", 0, rng).code == "no-key-for-model"
    assert keys.choose("gpt-5", 0, rng, allowed=frozenset({"small"})).code == "key-not-allowed"
    assert keys.count("gpt-4") == 0


def test_another_key_is_preferred_but_not_demanded():
    """``avoid`` names keys used before: another one where there is one, else one of them."""
    keys = ring(a=100, b=1)
    assert {chosen(keys, avoid=frozenset("a")).key.name for _ in range(5)} == {"b"}
    assert chosen(keys, avoid=frozenset("ab")).key.name in "ab"
    assert chosen(ring(a=1), avoid=frozenset("a")).key.name == "a"


@pytest.mark.parametrize(
    ("error", "waits_s"),
    [
        (rate_limited, [1, 2, 4, 8, 16, 32, 60, 60]),
        (lambda: rate_limited(7.5), [7.5, 7.5]),
        (lambda: rate_limited(0.0), [0.05]),
        (lambda: rate_limited(1e6), [3600]),
        (lambda: rate_limited(quota=True), [300, 600, 1200, 2400, 3600, 3600]),
        (lambda: rate_limited(2000, quota=True), [2000]),
        (lambda: refused(401), [10, 20, 40, 80, 160, 320, 600, 600]),
        (lambda: refused(402), [10]),
        (lambda: refused(403), [10]),
    ],
)
def test_behaviour_29_cool_downs_grow_with_each_failed_probe(error, waits_s):
    """Each kind of refusal has its own wait; a probe that fails lengthens it."""
    keys, now_s = ring(a=1), 100.0
    for wait_s in waits_s:
        keys.failed("a", error(), now_s)
        assert keys.cooling(now_s) == {"a": pytest.approx(wait_s)}
        refusal = no(keys, now_s + wait_s - 0.01)
        assert refusal.retry_after_s == pytest.approx(0.01)
        now_s += wait_s + 0.001
        assert chosen(keys, now_s).reason.endswith("probe after a cool-down")


def test_behaviour_29_one_probe_at_a_time_and_its_success_clears():
    """After the cool-down one call draws the key; the others wait for its outcome, but not for ever."""
    keys = ring(a=1)
    keys.failed("a", rate_limited(2), 0.0)
    assert chosen(keys, 2.0).key.name == "a"
    assert no(keys, 2.1).code == "keys-cooling"
    assert chosen(keys, 3.1).key.name == "a", "a probe that never reports is given up after its lease"
    keys.succeeded("a")
    assert keys.cooling(3.2) == {}
    assert chosen(keys, 3.2).reason == "the only key"
    keys.failed("a", rate_limited(), 4.0)
    assert keys.cooling(4.0) == {"a": pytest.approx(1.0)}, "the count starts anew"


def test_a_probe_that_fails_for_another_reason_is_freed():
    """A 503 says nothing about the key: the next call probes at once."""
    keys = ring(a=1)
    keys.failed("a", rate_limited(2), 0.0)
    chosen(keys, 2.0)
    keys.failed("a", UpstreamFault("down"), 2.1)
    assert chosen(keys, 2.1).key.name == "a"
    keys.failed("a", UpstreamFault("down"), 2.2)
    keys.failed("a", rate_limited(), 2.3)
    assert keys.cooling(2.3) == {"a": pytest.approx(2.0)}


def test_each_kind_of_refusal_is_counted_apart():
    """Many rate limits do not make the first 401 a long one."""
    keys, now_s = ring(a=1), 0.0
    for wait_s in (1, 2, 4, 8):
        keys.failed("a", rate_limited(), now_s)
        now_s += wait_s
        chosen(keys, now_s)
    keys.failed("a", refused(), now_s)
    assert keys.cooling(now_s) == {"a": pytest.approx(10)}


def test_a_fault_of_a_healthy_key_is_not_the_keys():
    """5xx never cools a key."""
    keys = ring(a=1)
    keys.failed("a", UpstreamFault("down"), 0.0)
    assert keys.cooling(0.0) == {}


def test_calls_already_under_way_do_not_double_the_wait():
    """Ten 429s of one moment are one strike; a longer Retry-After among them counts, a success does not."""
    keys = ring(a=1)
    for _ in range(10):
        keys.failed("a", rate_limited(), 0.0)
    assert keys.cooling(0.0) == {"a": pytest.approx(1.0)}
    keys.failed("a", rate_limited(5), 0.1)
    assert keys.cooling(0.1) == {"a": pytest.approx(5.0)}
    keys.succeeded("a")
    assert keys.cooling(0.1) == {"a": pytest.approx(5.0)}
    keys.failed("a", refused(), 0.2)
    assert keys.cooling(0.2) == {"a": pytest.approx(10.0)}
    assert no(keys, 0.2).code == "keys-exhausted"


def test_behaviour_30_all_dead_is_told_from_all_busy():
    """Refused keys and rate-limited keys are different refusals, with the soonest return."""
    keys = ring(a=1, b=1)
    keys.failed("a", refused(), 0.0)
    keys.failed("b", rate_limited(3), 0.0)
    assert (no(keys).code, no(keys).retry_after_s) == ("keys-cooling", pytest.approx(3))
    keys.failed("b", rate_limited(quota=True), 0.0)
    assert (no(keys).code, no(keys).retry_after_s) == ("keys-exhausted", pytest.approx(10))


def test_a_reload_keeps_the_cool_downs_of_equal_keys():
    """Same name and same secret: the cool-down is taken over. A renewed secret starts fresh."""
    old = ring(a=1, b=1, c=1)
    for name in "abc":
        old.failed(name, refused(), 0.0)
    new = KeyRing("openai", (ProviderKey("openai", "a", "sk-a", 3), ProviderKey("openai", "b", "sk-renewed")))
    new.adopt(old)
    assert set(new.cooling(1.0)) == {"a"}
    old.failed("a", refused(), 20.0)
    assert new.cooling(1.0) == {"a": pytest.approx(9.0)}, "the two rings are apart from then on"


OUTCOMES = st.sampled_from(["ok", "429", "429-hint", "quota", "401", "503", "silence"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(OUTCOMES, st.floats(0.0, 30.0)), max_size=40), st.integers(0, 2**32))
def test_a_ring_never_draws_a_cooling_key_and_never_forgets_one(moves, seed):
    """A cooling key is not drawn; a refusal names the soonest; after that wait the ring serves again."""
    keys, rng, now_s = ring(a=3, b=1), random.Random(seed), 0.0
    errors: dict[str, UpstreamError] = {
        "429": rate_limited(),
        "429-hint": rate_limited(4),
        "quota": rate_limited(quota=True),
        "401": refused(),
        "503": UpstreamFault("down"),
    }
    for outcome, pause_s in moves:
        now_s += pause_s
        before = keys.cooling(now_s)
        choice = keys.choose("m", now_s, rng)
        if isinstance(choice, Rejected):
            assert set(before) == {"a", "b"}
            assert choice.retry_after_s == pytest.approx(min(before.values()))
            now_s += choice.retry_after_s + 1e-6
            choice = keys.choose("m", now_s, rng)
            assert isinstance(choice, KeyChoice)
        else:
            assert choice.key.name not in before
        if outcome in errors:
            keys.failed(choice.key.name, errors[outcome], now_s)
        elif outcome == "ok":
            keys.succeeded(choice.key.name)
            assert choice.key.name not in keys.cooling(now_s)
        assert all(0 < left_s <= 3600 + 1e-9 for left_s in keys.cooling(now_s).values())


def test_the_tables_stay_bounded():
    """Callers may invent models without end."""
    keys, rng = ring(a=1, b=1), random.Random(1)
    for number in range(10_000):
        assert keys.choose(f"m{number}", 0.0, rng, allowed=frozenset("a") if number % 2 else None).key
    assert len(keys._by_model) + len(keys._by_caller) <= 4096


@pytest.mark.parametrize("told", ["fault", "nothing"])
def test_a_probe_that_proves_nothing_is_free_at_once(told):
    """A 500 or a hang-up says nothing about the key: the next call may probe it, without the lease's seconds."""
    keys = ring(a=1.0)
    keys.failed("a", refused(), 0.0)
    assert chosen(keys, 11.0).reason.endswith("its probe after a cool-down")
    assert no(keys, 11.1).code == "keys-exhausted"
    if told == "fault":
        keys.failed("a", UpstreamFault("500"), 11.2)
    else:
        keys.release("a", 11.2)
    assert chosen(keys, 11.2).key.name == "a"

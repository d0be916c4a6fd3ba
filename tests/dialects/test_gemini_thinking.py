"""Reasoning in its three spellings -> thinkingConfig, by table: per model, per effort, per budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Reasoning
from penstock.base.decisions import Accepted, Rejected
from penstock.base.models import BudgetRange, ModelFacts
from penstock.dialects.gemini.models import rules
from penstock.dialects.gemini.thinking import plan

FLASH, LITE, PRO = "gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"
NO_FACTS = ModelFacts("gemini", "any")


def sent(model: str, asked: Reasoning | None, facts: ModelFacts = NO_FACTS):
    """(thinkingConfig, adjusted), or the refusal."""
    verdict = plan(asked, rules(model, vertex=False), facts)
    return verdict if isinstance(verdict, Rejected) else (verdict.value.config, verdict.value.adjusted)


def budget(tokens: int) -> tuple[dict, tuple]:
    return {"thinkingBudget": tokens, "includeThoughts": True}, ()


def level(word: str, *adjusted: str) -> tuple[dict, tuple]:
    return {"thinkingLevel": word, "includeThoughts": True}, adjusted


@pytest.mark.parametrize("model", [FLASH, LITE, PRO, "gemini-3.5-flash", "gemini-flash-latest", "tuned"])
def test_no_reasoning_asked_is_nothing_sent(model):
    """On every model; ``exclude`` alone asks for nothing either."""
    assert sent(model, None) == (None, ())
    assert sent(model, Reasoning(exclude=True)) == (None, ())


@pytest.mark.parametrize(
    ("effort", "tokens"),
    [("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24576), ("xhigh", 24576), ("max", 24576)],
)
@pytest.mark.parametrize(
    "model", [FLASH, LITE, PRO, "gemini-2.5-flash-preview-09-2025", "models/gemini-2.5-pro"]
)
def test_effort_on_2_5_follows_googles_numbers(model, effort, tokens):
    assert sent(model, Reasoning(effort=effort)) == budget(tokens)


@pytest.mark.parametrize("off", [Reasoning(effort="none"), Reasoning(enabled=False), Reasoning(max_tokens=0)])
def test_off_is_zero_and_impossible_on_pro(off):
    assert sent(FLASH, off) == sent(LITE, off) == ({"thinkingBudget": 0}, ())
    refused = sent(PRO, off)
    assert refused.code == "reasoning-cannot-be-off"
    assert refused.caller_fault
    assert refused.param == "reasoning"


@pytest.mark.parametrize(
    ("model", "allowed", "clamped"),
    [
        (FLASH, [-1, 1, 511, 24576], {24577: 24576, 10**9: 24576}),
        (LITE, [-1, 512, 24576], {1: 512, 511: 512, 24577: 24576}),
        (PRO, [-1, 128, 32768], {1: 128, 127: 128, 32769: 32768}),
    ],
)
def test_a_budget_is_kept_within_the_models_range_and_it_is_said(model, allowed, clamped):
    """Google's table for 2.5. What is no budget at all is refused, with the caller's field and the range."""
    for tokens in allowed:
        assert sent(model, Reasoning(max_tokens=tokens)) == budget(tokens)
    for tokens, nearest in clamped.items():
        assert sent(model, Reasoning(max_tokens=tokens)) == (
            budget(nearest)[0],
            ("reasoning.max_tokens-clamped",),
        )
    verdict = sent(model, Reasoning(max_tokens=-2, param="reasoning.max_tokens"))
    assert (verdict.code, verdict.param) == ("reasoning-budget-out-of-range", "reasoning.max_tokens")
    assert verdict.caller_fault
    assert "-2" in verdict.reason
    assert " to " in verdict.reason


def test_the_catalogues_range_wins_over_the_name():
    facts = ModelFacts("gemini", FLASH, budget=BudgetRange(100, 2000, dynamic=False), source="here")
    assert sent(FLASH, Reasoning(max_tokens=2000), facts) == budget(2000)
    assert sent(FLASH, Reasoning(max_tokens=2001), facts) == (
        budget(2000)[0],
        ("reasoning.max_tokens-clamped",),
    )
    assert isinstance(sent(FLASH, Reasoning(max_tokens=-1), facts), Rejected)
    clamped, adjusted = sent(FLASH, Reasoning(effort="high"), facts)
    assert clamped == {"thinkingBudget": 2000, "includeThoughts": True}
    assert adjusted == ("reasoning_effort-clamped",)


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-3.5-flash", "minimal", level("MINIMAL")),
        ("gemini-3.5-flash", "low", level("LOW")),
        ("gemini-3.5-flash", "medium", level("MEDIUM")),
        ("gemini-3.5-flash", "high", level("HIGH")),
        ("gemini-3.5-flash", "xhigh", level("HIGH", "reasoning_effort-xhigh-as-high")),
        ("gemini-3.5-flash", "max", level("HIGH", "reasoning_effort-max-as-high")),
        ("gemini-3.8-flash", "minimal", level("LOW", "reasoning_effort-minimal-as-low")),
        ("gemini-4-argon", "minimal", level("LOW", "reasoning_effort-minimal-as-low")),
        ("gemini-3.1-pro", "minimal", level("LOW", "reasoning_effort-minimal-as-low")),
        ("gemini-4-argon", "high", level("HIGH")),
        ("gemini-flash-latest", "low", level("LOW")),
    ],
)
def test_effort_from_3_on_is_a_level(model, effort, expected):
    assert sent(model, Reasoning(effort=effort)) == expected


def test_off_from_3_on_is_minimal_and_said_so_or_refused():
    assert sent("gemini-3.5-flash", Reasoning(effort="none")) == (
        {"thinkingLevel": "MINIMAL"},
        ("reasoning_effort-none-as-minimal",),
    )
    assert sent("gemini-4-argon", Reasoning(enabled=False)).code == "reasoning-cannot-be-off"


def test_budget_from_3_on_goes_as_a_budget():
    """Google maps it inside; dynamic too."""
    assert sent("gemini-3.5-flash", Reasoning(max_tokens=50_000)) == budget(50_000)
    assert sent("gemini-4-argon", Reasoning(max_tokens=-1)) == budget(-1)
    assert isinstance(sent("gemini-4-argon", Reasoning(max_tokens=-2)), Rejected)


def test_enabled_alone_is_medium():
    assert sent(FLASH, Reasoning(enabled=True)) == budget(8192)
    assert sent("gemini-3.5-flash", Reasoning(enabled=True)) == level("MEDIUM")


def test_exclude_thinks_but_does_not_show():
    assert sent(FLASH, Reasoning(effort="low", exclude=True)) == ({"thinkingBudget": 1024}, ())


@pytest.mark.parametrize(
    "asked",
    [
        Reasoning(effort="low", max_tokens=100),
        Reasoning(enabled=False, effort="low"),
        Reasoning(enabled=False, max_tokens=-1),
        Reasoning(enabled=True, effort="none"),
        Reasoning(enabled=True, max_tokens=0),
    ],
)
def test_contradictions_are_refused(asked):
    assert sent(FLASH, asked).code == "reasoning-contradiction"
    assert sent(FLASH, asked).caller_fault


@pytest.mark.parametrize(
    "model", ["gemini-2.0-flash", "gemini-2.5-flash-image", "gemini-3.8-flash-tts", "tuned"]
)
def test_models_that_do_not_think_get_nothing_and_it_is_said(model):
    assert sent(model, Reasoning(effort="high")) == (None, ("reasoning-dropped",))
    assert sent(model, Reasoning(effort="none")) == (None, ())


MODELS = [FLASH, LITE, PRO, "gemini-3.5-flash", "gemini-3.8-flash", "gemini-4-argon", "gemini-2.0-flash", "x"]


@given(
    st.sampled_from(MODELS),
    st.builds(
        Reasoning,
        effort=st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        max_tokens=st.none() | st.integers(-3, 40_000),
        enabled=st.sampled_from([None, True, False]),
        exclude=st.booleans(),
    ),
)
def test_never_budget_and_level_together_and_never_silence(model, asked):
    """Whatever is asked: refused with the field named, or sent lawfully, or said to be dropped."""
    verdict = plan(asked, rules(model, vertex=False), NO_FACTS)
    if isinstance(verdict, Rejected):
        assert verdict.param == "reasoning"
        assert verdict.caller_fault
        return
    assert isinstance(verdict, Accepted)
    config = verdict.value.config
    if config is None:
        off = asked.enabled is False or asked.effort == "none" or asked.max_tokens == 0
        nothing = asked.effort is None and asked.max_tokens is None and asked.enabled is None
        assert off or nothing or verdict.value.adjusted
    else:
        assert ("thinkingBudget" in config) != ("thinkingLevel" in config)
        assert not (asked.exclude and "includeThoughts" in config)

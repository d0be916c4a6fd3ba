"""Which targets of a chain are tried, and why the others are not (behaviours 21, 32, 33)."""

from typing import Any

import pytest

from penstock.base.chat import ProviderPreferences
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, Forbidden, NoTargetLeft
from penstock.base.models import Target
from penstock.routing.health import Health
from penstock.routing.names import Chain
from penstock.routing.plan import Plan, no_steps, plan
from tests.routing.make import target

A = target("openai/a", context_tokens=1000, capabilities=frozenset({"tools"}))
B = target("anthropic/b", dialect="anthropic", modalities_in=frozenset({"text", "image", "document"}))
C = target("gemini/c", dialect="gemini", context_tokens=1_000_000, capabilities=frozenset())
U = target("vllm/u", source="", modalities_in=frozenset({"text"}), capabilities=frozenset())


def planned(*targets: Target, route: str = "", routes: tuple[str, ...] = (), **how: Any) -> Plan:
    """A plan under easy conditions, but for ``how``."""
    conditions: dict[str, Any] = {
        "needs": frozenset(),
        "input_tokens": 10,
        "max_tokens": None,
        "caller_family": "openai",
        "patterns": ("*",),
        "preferences": None,
        "refuse": None,
        "health": Health(),
        "now_s": 0.0,
        "may_pass_through": lambda target: None,
        **how,
    }
    return plan(Chain(targets=targets, route=route, routes=routes), **conditions)


def tried(made: Plan) -> list[str]:
    """The steps' targets."""
    return [step.target.name for step in made.steps]


def refusals(made: Plan) -> dict[str, str]:
    """Target -> code."""
    return {refusal.target: refusal.rejected.code for refusal in made.refused}


def sick(*names: str, how: str = "open") -> Health:
    """Health in which these targets are open or dropped."""
    health = Health()
    for name in names:
        if how == "dropped":
            health.drop(name, 0.0)
        for _ in range(5):
            health.fault(name, 0.0)
    return health


def test_a_healthy_chain_is_tried_in_order_and_says_why():
    """Same dialect passes through, another is translated."""
    made = planned(A, B, route="r")
    assert [
        (step.target, step.reason, step.pass_through, step.pass_through_reason) for step in made.steps
    ] == [
        (A, "first in the chain", True, "same dialect"),
        (B, "fallback", False, "translated from openai to anthropic"),
    ]
    assert (made.route, made.refused) == ("r", ())


def test_what_stands_against_pass_through_is_recorded():
    """The gateway's own objection, asked only where the dialects are the same."""
    asked: list[Target] = []

    def objection(target: Target) -> str | None:
        asked.append(target)
        return "parameters are overridden"

    made = planned(A, B, may_pass_through=objection)
    assert asked == [A]
    assert (made.steps[0].pass_through, made.steps[0].pass_through_reason) == (
        False,
        "parameters are overridden",
    )


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"image"}, {"openai/a": "lacks-image", "gemini/c": "lacks-image"}),
        ({"document"}, {"openai/a": "lacks-document", "gemini/c": "lacks-document"}),
        ({"audio"}, {"openai/a": "lacks-audio", "anthropic/b": "lacks-audio", "gemini/c": "lacks-audio"}),
        ({"tools"}, {"gemini/c": "lacks-tools"}),
        ({"json_schema"}, {"openai/a": "lacks-json_schema", "gemini/c": "lacks-json_schema"}),
        ({"telepathy"}, {"openai/a": "lacks-telepathy", "gemini/c": "lacks-telepathy"}),
    ],
)
def test_behaviour_32_targets_that_lack_a_need_are_refused(needs, expected):
    """Only where the catalogue says no: unknown facts (u) and unknown capabilities (b) never refuse."""
    made = planned(A, B, C, U, needs=frozenset(needs))
    assert refusals(made) == expected
    assert "vllm/u" in tried(made)
    assert all(refusal.rejected.caller_fault for refusal in made.refused)


def test_a_context_is_too_small_only_beyond_the_estimates_own_error():
    """A fifth of slack; an unknown context never refuses."""
    assert refusals(planned(A, B, input_tokens=1250)) == {}
    made = planned(A, B, C, input_tokens=1260, max_tokens=500)
    assert refusals(made) == {"openai/a": "context-too-small"}
    assert "1000 tokens" in made.refused[0].rejected.reason
    assert "500 asked for" in made.refused[0].rejected.reason


@pytest.mark.parametrize(
    ("patterns", "route", "expected"),
    [
        (("*",), "", ["openai/a", "anthropic/b"]),
        (("openai/*",), "", ["openai/a"]),
        (("*", "!openai/*"), "", ["anthropic/b"]),
        (("r",), "", []),
        ((), "", []),
        (("r",), "r", ["openai/a", "anthropic/b"]),
        (("r", "!anthropic/*"), "r", ["openai/a"]),
        (("*", "!r"), "r", []),
        (("openai/*",), "r", ["openai/a"]),
    ],
)
def test_behaviour_33_a_keys_models_hold_for_every_target(patterns, route, expected):
    """By the target's name or by the route that the operator put it into; a denial of either wins."""
    made = planned(A, B, patterns=patterns, route=route)
    assert tried(made) == expected
    assert set(refusals(made).values()) <= {"not-allowed"}


def test_a_route_that_is_allowed_allows_nothing_that_the_caller_appended():
    """Else any key could reach any model through its own fallbacks."""
    made = planned(A, B, route="r", routes=("r", ""), patterns=("r",))
    assert (tried(made), refusals(made)) == (["openai/a"], {"anthropic/b": "not-allowed"})


@pytest.mark.parametrize("how", ["open", "dropped"])
def test_sick_targets_are_left_out_but_never_the_last(how):
    """The last target that can serve the request is tried whatever its health, and that is said."""
    made = planned(A, B, C, health=sick("openai/a", how=how))
    assert (tried(made), refusals(made)) == (["anthropic/b", "gemini/c"], {"openai/a": how})
    assert made.steps[0].reason == "first that is healthy"
    made = planned(A, B, health=sick("openai/a", "anthropic/b", how=how))
    assert (tried(made), refusals(made)) == (["anthropic/b"], {"openai/a": how})
    assert made.steps[0].reason.startswith("the last of the chain, tried all the same: anthropic/b")
    made = planned(A, B, health=sick("anthropic/b", how=how))
    assert (tried(made), refusals(made)) == (["openai/a", "anthropic/b"], {})
    made = planned(A, B, health=sick("openai/a", how=how), patterns=("openai/*",))
    assert tried(made) == ["openai/a"], "the last that is left after all other refusals"


def test_the_dialects_own_refusal_counts():
    """And it is not asked about what is already refused."""
    asked: list[str] = []

    def refuse(target: Target) -> Rejected | None:
        asked.append(target.name)
        return Rejected("n-unsupported", "n > 1 has no equal there.", "n", caller_fault=True)

    made = planned(A, B, refuse=refuse, needs=frozenset({"image"}))
    assert asked == ["anthropic/b"]
    assert refusals(made) == {"openai/a": "lacks-image", "anthropic/b": "n-unsupported"}


@pytest.mark.parametrize(
    ("preferences", "expected", "refused"),
    [
        ({"only": ("Anthropic",)}, ["anthropic/b"], {"openai/a": "not-in-only", "gemini/c": "not-in-only"}),
        ({"only": ("gemini/c",)}, ["gemini/c"], {"openai/a": "not-in-only", "anthropic/b": "not-in-only"}),
        ({"ignore": ("openai",)}, ["anthropic/b", "gemini/c"], {"openai/a": "ignored"}),
        ({"order": ("gemini", "openai")}, ["gemini/c", "openai/a", "anthropic/b"], {}),
        ({"order": ("nobody",)}, ["openai/a", "anthropic/b", "gemini/c"], {}),
        (
            {"allow_fallbacks": False},
            ["openai/a"],
            {"anthropic/b": "fallbacks-not-allowed", "gemini/c": "fallbacks-not-allowed"},
        ),
        (
            {"order": ("gemini", "anthropic"), "allow_fallbacks": False},
            ["gemini/c", "anthropic/b"],
            {"openai/a": "fallbacks-not-allowed"},
        ),
        (
            {"order": ("azure",), "allow_fallbacks": False},
            [],
            {name: "fallbacks-not-allowed" for name in ("openai/a", "anthropic/b", "gemini/c")},
        ),
    ],
)
def test_provider_preferences_are_openrouters(preferences, expected, refused):
    """only, ignore, order and allow_fallbacks."""
    made = planned(A, B, C, preferences=ProviderPreferences(**preferences))
    assert (tried(made), refusals(made)) == (expected, refused)


def test_an_order_that_names_no_target_and_allows_no_other_is_refused():
    """A prompt pinned to a vendor goes to nobody else, be there one target or several."""
    error = no_steps(planned(A, preferences=ProviderPreferences(order=("azure",), allow_fallbacks=False)))
    assert (type(error), error.param) == (BadRequest, "provider")
    assert error.message == "provider.allow_fallbacks is false, and openai is not named by provider.order."


def test_a_plan_without_steps_says_whose_fault_it_is():
    """400 names the field, 403 is the key's, 503 the rest."""
    error = no_steps(planned(A, needs=frozenset({"image"})))
    assert isinstance(error, BadRequest)
    assert (error.status, error.param) == (400, "messages")
    assert error.message.startswith("openai/a takes no image")
    error = no_steps(planned(A, C, needs=frozenset({"json_schema"})))
    assert (type(error), error.param) == (BadRequest, "response_format")
    assert "openai/a" in error.message
    assert "gemini/c" in error.message
    error = no_steps(planned(A, B, patterns=("x/*",)))
    assert (type(error), error.status, error.code) == (Forbidden, 403, "model_not_allowed")
    error = no_steps(planned(A, B, patterns=("openai/*",), needs=frozenset({"image"})))
    assert (type(error), error.param) == (BadRequest, "messages")
    busy = Rejected("busy", "not now.")
    error = no_steps(
        planned(A, C, refuse=lambda one: busy if one is C else None, needs=frozenset({"json_schema"}))
    )
    assert isinstance(error, BadRequest), "c lacks it as well"
    error = no_steps(planned(A, B, refuse=lambda one: busy, needs=frozenset({"image"})))
    assert isinstance(error, NoTargetLeft)
    assert error.status == 503
    assert error.reasons[1] == "anthropic/b: not now."
    assert no_steps(planned()).status == 503

"""From the name in ``model`` to a chain."""

from typing import Any

import msgspec
import pytest

from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.config.schema import Config
from penstock.routing.names import Chain, Names, no_chain
from tests.routing.make import facts

CONFIG: dict[str, Any] = {
    "providers": {
        "openai": {"models": {"fast": "gpt-4o-mini", "o": "gpt-4o"}},
        "azure": {"models": {"fast": "my-deployment", "deep": "o3-deployment"}},
        "anthropic": {},
        "openrouter": {},
        "stability": {},
    },
    "fallbacks": [
        {
            "primary": "openai/gpt-4o-mini",
            "secondary": "anthropic/claude-haiku-4-5",
            "tertiary": "openai/gpt-4o-mini",
        },
        {
            "primary": {"model": "anthropic/claude-opus", "params": {"temperature": 0}},
            "fallbacks": [{"model": "openai/gpt-4o", "params": {"max_tokens": 99}}, "stability/none"],
        },
    ],
    "routes": [
        {
            "id": "summaries",
            "primary": "openai/gpt-4o",
            "fallbacks": ["anthropic/claude-haiku-4-5"],
            "max_attempts": 3,
        },
        {"id": "pictures", "primary": "stability/sd3"},
        {"id": "half", "primary": "stability/sd3", "fallbacks": ["openai/fast"]},
    ],
    "mcp": [
        {
            "id": "prompt-rewrite",
            "primary": "openai/gpt-4o-mini",
            "fallbacks": ["anthropic/claude-haiku-4-5"],
        }
    ],
}
SELLERS = {
    "gpt-4o": [("openai", "gpt-4o"), ("azure", "gpt-4o"), ("openrouter", "openai/gpt-4o")],
    "gpt-4o-mini": [("openai", "gpt-4o-mini"), ("azure", "gpt-4o-mini")],
    "llama-4": [("groq", "llama-4"), ("openrouter", "meta/llama-4"), ("azure", "Llama-4")],
    "claude-haiku-4-5": [("anthropic", "claude-haiku-4-5"), ("openrouter", "anthropic/claude-haiku-4-5")],
    "sora": [("elsewhere", "sora")],
}
MADE: list[tuple[str, str]] = []


def make_target(provider: str, model: str, overrides: dict[str, Any]) -> Target | None:
    """Every configured provider but stability, whose dialect is not there yet."""
    MADE.append((provider, model))
    if provider not in CONFIG["providers"] or provider == "stability":
        return None
    return Target(provider, model, "openai", facts(provider, model), overrides=overrides)


def names(config: dict[str, Any] = CONFIG) -> Names:
    """Names over ``config``."""
    return Names(
        config=msgspec.convert(config, Config),
        make_target=make_target,
        bare=lambda model: SELLERS.get(model, []),
        nearest=lambda name: ["openai/gpt-4o"] if "gpt" in name else [],
    )


def resolved(model: str, **more: Any) -> Chain:
    """The chain, which must not be a refusal."""
    chain = names().chain(model, **more)
    assert isinstance(chain, Chain), chain
    return chain


@pytest.mark.parametrize(
    ("model", "targets", "route", "reason"),
    [
        # 1: routes, under both names of the block
        ("summaries", ["openai/gpt-4o", "anthropic/claude-haiku-4-5"], "summaries", "the route summaries"),
        (
            "prompt-rewrite",
            ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"],
            "prompt-rewrite",
            "the route prompt-rewrite",
        ),
        (
            "half",
            ["openai/gpt-4o-mini"],
            "half",
            "the route half (1 of its targets are not configured)",
        ),
        # 2: provider/model, its aliases resolved; unknown models of a configured provider go through
        ("openai/gpt-9", ["openai/gpt-9"], "", "openai is configured"),
        ("openai/o", ["openai/gpt-4o"], "", "openai is configured"),
        ("openrouter/meta/llama-4", ["openrouter/meta/llama-4"], "", "openrouter is configured"),
        # 3: aliases, the first provider's in the configuration's order
        ("deep", ["azure/o3-deployment"], "", "deep is an alias of azure for o3-deployment"),
        # 4: bare names: the maker first, then the configuration's order, whatever the catalogue's
        (
            "gpt-4o",
            ["openai/gpt-4o"],
            "",
            "openai sells gpt-4o; also sold by azure/gpt-4o, openrouter/openai/gpt-4o",
        ),
        ("llama-4", ["azure/Llama-4"], "", "azure sells llama-4; also sold by openrouter/meta/llama-4"),
        # 5: author/model, where the author is no configured provider
        (
            "meta/llama-4",
            ["openrouter/meta/llama-4"],
            "",
            "meta is not configured; openrouter takes author/model",
        ),
    ],
)
def test_names_resolve_in_order(model, targets, route, reason):
    """Each rule, and the sentence that says which one decided."""
    chain = resolved(model)
    assert [target.name for target in chain.targets] == targets == list(chain.names)
    assert [target.position for target in chain.targets] == list(range(len(targets)))
    assert (chain.route, chain.reason) == (route, reason)


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "gpt-4o-mini", "fast", "openai/fast"])
def test_a_configured_chain_follows_its_primary_however_it_is_named(model):
    """And a target named twice stays twice."""
    chain = resolved(model)
    assert chain.names == ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "openai/gpt-4o-mini")
    assert [target.position for target in chain.targets] == [0, 1, 2]
    assert chain.reason.endswith("; the configured chain of openai/gpt-4o-mini follows")
    assert chain.route == ""


def test_targets_carry_their_own_parameters():
    """The primary's too; a target that cannot be built is left out."""
    chain = resolved("anthropic/claude-opus")
    assert [(target.name, target.overrides) for target in chain.targets] == [
        ("anthropic/claude-opus", {"temperature": 0}),
        ("openai/gpt-4o", {"max_tokens": 99}),
    ]


def test_the_callers_own_chain_replaces_the_configured_one():
    """``models`` first, then ``fallbacks``, each resolved like a model; the configured chain stays out."""
    chain = resolved("openai/gpt-4o-mini", models=("deep", "summaries"), fallbacks=("openai/gpt-4o-mini",))
    assert chain.names == (
        "openai/gpt-4o-mini",
        "azure/o3-deployment",
        "openai/gpt-4o",
        "anthropic/claude-haiku-4-5",
        "openai/gpt-4o-mini",
    )
    assert chain.routes == ("", "", "summaries", "summaries", "")
    assert (chain.route, chain.max_attempts) == ("", None)
    assert "4 more" not in chain.reason
    assert chain.reason == "openai is configured; 3 more named by the caller"


def test_a_route_keeps_its_name_and_budget_when_the_caller_appends():
    """And what the caller appended is not the route's: allow-lists need to know."""
    chain = resolved("summaries", fallbacks=("openai/gpt-9",))
    assert (chain.route, chain.max_attempts) == ("summaries", 3)
    assert chain.routes == ("summaries", "summaries", "")


def test_openrouters_models_may_repeat_or_replace_model():
    """``models`` whose first is ``model``, or without any ``model``, is the chain itself."""
    for model in ("", "openai/gpt-4o"):
        chain = resolved(model, models=("openai/gpt-4o", "deep"))
        assert chain.names == ("openai/gpt-4o", "azure/o3-deployment")


@pytest.mark.parametrize(
    ("asked", "code", "param", "words"),
    [
        (("gpt-5x", (), ()), "unknown-model", "model", "Did you mean openai/gpt-4o?"),
        (("nothing", (), ()), "unknown-model", "model", "write provider/model"),
        (("sora", (), ()), "unknown-model", "model", "no model 'sora'"),
        (("openai/", (), ()), "unknown-model", "model", "no model 'openai/'"),
        (("openai/gpt-4o", ("nope",), ()), "unknown-model", "models", "'nope'"),
        (("openai/gpt-4o", (), ("nope",)), "unknown-model", "fallbacks", "'nope'"),
        (("", (), ()), "no-model", "model", "names no model"),
        (("", (), ("deep",)), "no-model", "model", "names no model"),
        (("deep", (), ("deep",) * 16), "too-many-models", "fallbacks", "at most 16"),
    ],
)
def test_behaviour_23_what_cannot_be_resolved_is_said(asked, code, param, words):
    """Nothing in a caller's chain is dropped silently: the field and the remedy are named."""
    model, models, fallbacks = asked
    refusal = names().chain(model, models=models, fallbacks=fallbacks)
    assert isinstance(refusal, Rejected)
    assert (refusal.code, refusal.param, refusal.caller_fault) == (code, param, True)
    assert words in refusal.reason
    error = no_chain(refusal)
    assert (error.status, error.param) == (404 if (code, param) == ("unknown-model", "model") else 400, param)


def test_a_route_without_any_target_says_so():
    """It is the operator's matter, not the caller's."""
    refusal = names().chain("pictures")
    assert isinstance(refusal, Rejected)
    assert (refusal.code, refusal.caller_fault) == ("route-without-targets", False)
    assert no_chain(refusal).status == 503


def test_an_unknown_author_without_openrouter_names_the_missing_provider():
    """The sentence names what is missing."""
    config = {"providers": {"openai": {}}}
    refusal = names(config).chain("meta/llama-4")
    assert isinstance(refusal, Rejected)
    assert "no provider 'meta' is configured" in refusal.reason


def test_openrouter_under_another_name_is_known_by_its_address():
    """``base_url`` decides where the name does not."""
    config = {"providers": {"azure": {"network": {"base_url": "https://openrouter.ai/api/v1"}}}}
    chain = names(config).chain("x-ai/grok-9")
    assert isinstance(chain, Chain)
    assert chain.names == ("azure/x-ai/grok-9",)


def test_answers_are_remembered_within_bounds():
    """The second look-up builds nothing; callers cannot grow the memory without end."""
    known = names()
    first = known.chain("openai/gpt-4o", fallbacks=("deep",))
    MADE.clear()
    assert known.chain("openai/gpt-4o", fallbacks=("deep",)) is first
    assert known.chain("openai/gpt-4o") is known.chain("openai/gpt-4o")
    assert len(MADE) == 1
    for number in range(9000):
        known.chain(f"openai/m{number}", fallbacks=("deep",) if number % 2 else ())
    known.chain("openai/" + "x" * 100_000)
    assert max(len(known._plain), len(known._memo)) <= 4096
    assert not any(len(name) > 1000 for name in known._plain)

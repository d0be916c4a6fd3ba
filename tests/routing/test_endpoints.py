"""Among the endpoints of one model: what is excluded, what is drawn with which chance, what is sorted (wire.md 1.3, 1.4)."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import ProviderPreferences
from penstock.base.decisions import Rejected
from penstock.base.models import Offer, PriceRow, PriceTier, Target
from penstock.base.money import Price, price_from_usd_text
from penstock.routing.health import Health
from penstock.routing.names import Chain
from penstock.routing.observed import Observed
from penstock.routing.ordering import Candidate, arrange, usd_per_million, weights
from penstock.routing.plan import Plan, plan
from penstock.routing.suffixes import Wished, with_suffixes
from penstock.routing.wishes import against
from tests.routing.make import facts

NOW_S = 10_000.0


def priced(name: str, usd: str | None, *, offer: Offer | None = None, **units: str) -> Target:
    """A target whose prompt and completion cost ``usd`` per million tokens."""
    provider, _, model = name.partition("/")
    row = None
    if usd is not None:
        both = price_from_usd_text(f"{usd}e-6")
        more = {unit: price_from_usd_text(text) for unit, text in units.items()}
        row = PriceRow(version="v", units={"input": both, "output": both, **more})
    return Target(
        provider=provider,
        model=model,
        dialect="openai",
        facts=facts(provider, model, price=row, capabilities=frozenset({"tools"})),
        offer=offer or Offer(),
    )


A, B, C = (priced(f"{name}/m", usd) for name, usd in (("a", "1"), ("b", "2"), ("c", "3")))


def placed(*targets: Target, group: int = 0, **how: Any) -> list[str]:
    """Providers in order."""
    conditions = {"seen": Observed(), "now_s": NOW_S, "rng": Random(1), **how}
    wishes = conditions.pop("wishes", None)
    found = [
        Candidate(target.name, target, group, frozenset({target.provider}), target.provider == how.get("ill"))
        for target in targets
    ]
    conditions.pop("ill", None)
    return [one.candidate.target.provider for one in arrange(found, wishes, **conditions)]


def wish(**fields: Any) -> ProviderPreferences:
    return ProviderPreferences(**fields)


# The draw.


def test_openrouters_own_example():
    """A costs $1, B $2 and had outages, C $3: A is first nine times as often as C, and B is always last."""
    seen = Observed()
    for at in range(10):
        seen.see("b/m", NOW_S - 20, good=at > 3)
    shares = {one.name: one.share for one in weights([Candidate(t.name, t, 0) for t in (A, C)])}
    assert shares["a/m"] == pytest.approx(9 * shares["c/m"], rel=1e-12)
    rng = Random(7)
    orders = Counter(tuple(placed(A, B, C, seen=seen, rng=rng)) for _ in range(5000))
    assert set(orders) == {("a", "c", "b"), ("c", "a", "b")}
    # 5,000 draws with p = 0.9: five standard deviations are 106.
    assert abs(orders["a", "c", "b"] - 4500) < 106


def test_the_same_seed_draws_the_same():
    assert [placed(A, B, C, rng=Random(3)) for _ in range(3)] == [placed(A, B, C, rng=Random(3))] * 3


def test_an_open_breaker_counts_as_trouble():
    assert all(placed(A, B, C, ill="a", rng=Random(seed))[-1] == "a" for seed in range(20))


def test_what_costs_nothing_comes_first_and_an_unknown_price_last():
    free, unknown = priced("free/m", "0"), priced("dark/m", None)
    for seed in range(20):
        order = placed(A, unknown, free, C, rng=Random(seed))
        assert (order[0], order[-1]) == ("free", "dark")


def test_every_drawn_place_tells_its_weight_and_share():
    found = arrange(
        [Candidate(t.name, t, 0) for t in (A, C)], None, seen=Observed(), now_s=NOW_S, rng=Random(1)
    )
    reasons = {one.candidate.name: one.reason for one in found}
    assert "weight 1, share 0.900000" in reasons["a/m"]
    assert "weight 0.111111, share 0.100000" in reasons["c/m"]


prices = st.one_of(st.none(), st.decimals("0", "1000", places=4).map(str))


@given(st.lists(prices, min_size=1, max_size=8))
def test_shares_are_one_together_and_fall_with_the_price(usd: list[str | None]):
    found = weights([Candidate(f"p{at}/m", priced(f"p{at}/m", one), 0) for at, one in enumerate(usd)])
    assert sum(one.share for one in found) == pytest.approx(1)
    known = [one for one in found if one.usd_per_million]
    if known and not any(one.usd_per_million == 0 for one in found):
        for one in known:
            for other in known:
                ratio = (other.usd_per_million / one.usd_per_million) ** 2
                assert one.share == pytest.approx(other.share * ratio)


@dataclass
class Case:
    """Endpoints, what was seen of them, and what is wished."""

    targets: list[Target]
    groups: list[int]
    seen: Observed = field(default_factory=Observed)


@st.composite
def cases(draw: Any) -> Case:
    usd = draw(st.lists(prices, min_size=1, max_size=7))
    targets = [priced(f"p{at}/m{at % 2}", one) for at, one in enumerate(usd)]
    groups = [draw(st.sampled_from((-1, 0, 1))) for _ in targets]
    case = Case(targets, groups)
    for target in targets:
        for _ in range(draw(st.integers(0, 3))):
            case.seen.see(
                target.name,
                NOW_S - draw(st.floats(0, 400)),
                good=draw(st.booleans()),
                first_s=draw(st.floats(0.01, 10)),
                tokens_per_s=draw(st.floats(1, 500)),
            )
    return case


wishes = st.builds(
    ProviderPreferences,
    order=st.lists(st.sampled_from([f"p{at}" for at in range(7)]), max_size=3).map(tuple),
    sort=st.sampled_from([None, "price", "throughput", "latency", "exacto"]),
    partition=st.sampled_from(["model", "none"]),
    min_throughput=st.sampled_from([(), ((50, 100.0),), ((90, 50.0), (50, 10.0))]),
    max_latency=st.sampled_from([(), ((50, 1.0),), ((99, 2.0),)]),
)


@given(cases(), st.none() | wishes, st.integers(0, 1000))
def test_nobody_is_lost_or_doubled(case: Case, want: ProviderPreferences | None, seed: int):
    """Whatever is wished: a permutation, the same for the same seed."""
    found = [
        Candidate(t.name, t, g, frozenset({t.provider}))
        for t, g in zip(case.targets, case.groups, strict=True)
    ]
    once, again = (arrange(found, want, seen=case.seen, now_s=NOW_S, rng=Random(seed)) for _ in range(2))
    assert once == again
    assert sorted(one.candidate.name for one in once) == sorted(one.name for one in found)


@given(cases(), wishes, st.integers(0, 1000))
def test_models_stay_together_unless_the_caller_sorts_across_them(
    case: Case, want: ProviderPreferences, seed: int
):
    """Endpoints of the model asked for first are tried before those of the next."""
    targets = sorted(zip(case.groups, range(len(case.groups)), strict=True))
    found = [
        Candidate(case.targets[at].name, case.targets[at], 0 if group < 1 else 1) for group, at in targets
    ]
    order = [
        one.candidate.group for one in arrange(found, want, seen=case.seen, now_s=NOW_S, rng=Random(seed))
    ]
    if not (want.sort and want.partition == "none"):
        assert order == sorted(order)


@given(cases(), st.integers(0, 1000))
def test_a_chain_of_the_operators_keeps_its_order(case: Case, seed: int):
    found = [Candidate(t.name, t) for t in case.targets]
    assert [
        one.candidate for one in arrange(found, None, seen=case.seen, now_s=NOW_S, rng=Random(seed))
    ] == found


@given(cases(), st.integers(0, 1000))
def test_sorted_by_price_is_sorted(case: Case, seed: int):
    found = [Candidate(t.name, t, 0) for t in case.targets]
    order = arrange(found, wish(sort="price"), seen=case.seen, now_s=NOW_S, rng=Random(seed))
    usd = [usd_per_million(one.candidate.target) for one in order]
    assert usd == sorted(usd, key=lambda one: (one is None, one or 0))


@given(cases(), st.integers(0, 1000))
def test_what_misses_a_preferred_bound_is_only_put_behind(case: Case, seed: int):
    """Never excluded; and nothing that meets it stands after something that does not."""
    found = [Candidate(t.name, t, 0) for t in case.targets]
    want = wish(max_latency=((50, 1.0),))
    order = arrange(found, want, seen=case.seen, now_s=NOW_S, rng=Random(seed))
    misses = [
        (seen := case.seen.latency_s(one.candidate.name, NOW_S)) is not None and seen.p50 > 1 for one in order
    ]
    assert len(order) == len(found)
    assert misses == sorted(misses)


def test_order_then_price():
    order = placed(C, B, A, wishes=wish(order=("b",)))
    assert order == ["b", "a", "c"]


def test_throughput_and_latency_sort_by_what_was_measured():
    seen = Observed()
    for provider, first_s, speed in (("a", 2.0, 10.0), ("b", 0.5, 30.0)):
        seen.see(f"{provider}/m", NOW_S, good=True, first_s=first_s, tokens_per_s=speed)
    assert placed(C, A, B, seen=seen, wishes=wish(sort="throughput")) == ["b", "a", "c"]
    assert placed(C, A, B, seen=seen, wishes=wish(sort="latency")) == ["b", "a", "c"]
    assert placed(A, B, C, seen=seen, now_s=NOW_S + 400, wishes=wish(sort="latency")) == ["a", "b", "c"]


# What is excluded.

CLEAN = Offer(trains=False, zdr=True, distillable=True, quantization="fp8", source="s", date="2026-11-21")
POLICIES = [
    ({"data_collection": "deny"}, "trains", "data-collection", {False: True, True: False, None: False}),
    ({"zdr": True}, "zdr", "zdr", {True: True, False: False, None: False}),
    (
        {"enforce_distillable_text": True},
        "distillable",
        "not-distillable",
        {True: True, False: False, None: False},
    ),
]


@pytest.mark.parametrize(("asked", "fact", "code", "passes"), POLICIES)
@pytest.mark.parametrize("known", [True, False, None])
def test_a_policy_is_a_hard_filter_and_unknown_is_not_allowed(
    asked: dict[str, Any], fact: str, code: str, passes: dict[bool | None, bool], known: bool | None
):
    target = priced("a/m", "1", offer=Offer(**{fact: known}))
    no = against(target, wish(**asked), 10)
    assert (no is None) == passes[known]
    if no is not None:
        assert (no.code, no.param, no.caller_fault) == (code, "provider", True)


def test_a_router_that_keeps_the_wish_itself_passes_only_where_it_is_told():
    obeys = priced("router/m", "1", offer=Offer(obeys=True))
    assert against(obeys, wish(zdr=True), 10) is not None
    told = Target(
        "router", "m", "openai", obeys.facts, {}, {"passthrough_fields": "provider,usage"}, 0, obeys.offer
    )
    assert against(told, wish(zdr=True, data_collection="deny"), 10) is None


@pytest.mark.parametrize(
    ("offered", "wanted", "passes"),
    [
        ("fp8", ("fp8",), True),
        ("fp8", ("int4", "fp8"), True),
        ("int4", ("fp8",), False),
        ("", ("fp8",), False),
        ("", ("unknown",), True),
    ],
)
def test_quantizations(offered: str, wanted: tuple[str, ...], passes: bool):
    target = priced("a/m", "1", offer=Offer(quantization=offered))
    assert (against(target, wish(quantizations=wanted), 10) is None) == passes


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from((1, 1000, 1_000_000)))
def test_max_price_is_exact(limit_pico: int, pico: int, per: int):
    """Compared as integers: the last pico-dollar decides."""
    row = PriceRow(version="v", units={"input": Price(pico, per), "output": Price(0)})
    target = Target("a", "m", "openai", facts("a", "m", price=row))
    no = against(target, wish(max_price=(("prompt", limit_pico),)), 10)
    assert (no is None) == (pico <= limit_pico * per)


def test_max_price_of_what_is_not_known_or_not_charged():
    dark = priced("dark/m", None)
    assert against(dark, wish(max_price=(("request", 10),)), 10) is not None
    plain = priced("a/m", "1")
    assert against(plain, wish(max_price=(("request", 0), ("image", 0))), 10) is None
    fee = priced("a/m", "1", request="0.01")
    no = against(fee, wish(max_price=(("request", 10**9),)), 10)
    assert no is not None
    assert no.code == "too-dear"


def test_max_price_looks_at_the_prompts_length():
    units = {"input": Price(10**6), "output": Price(10**6)}
    tier = PriceTier(1000, {"input": Price(2 * 10**6)})
    target = Target("a", "m", "openai", facts("a", "m", price=PriceRow("v", units, (tier,))))
    want = wish(max_price=(("prompt", 15 * 10**5),))
    assert against(target, want, 1000) is None
    assert against(target, want, 1001) is not None


@given(
    st.sampled_from(POLICIES),
    st.lists(st.sampled_from((True, False, None)), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_a_plan_never_tries_what_a_filter_excludes(policy: Any, known: list[bool | None], seed: int):
    asked, fact, code, passes = policy
    targets = tuple(priced(f"p{at}/m", "1", offer=Offer(**{fact: one})) for at, one in enumerate(known))
    made = planned(*targets, preferences=wish(**asked), rng=Random(seed))
    assert {step.target.name for step in made.steps} == {
        f"p{at}/m" for at, one in enumerate(known) if passes[one]
    }
    assert {refusal.rejected.code for refusal in made.refused} <= {code}


def planned(*targets: Target, **how: Any) -> Plan:
    conditions: dict[str, Any] = {
        "needs": frozenset(),
        "input_tokens": 10,
        "max_tokens": None,
        "caller_family": "openai",
        "patterns": ("*",),
        "preferences": None,
        "refuse": None,
        "health": Health(),
        "now_s": NOW_S,
        "may_pass_through": lambda target: None,
        **how,
    }
    return plan(Chain(targets, "", groups=(0,) * len(targets)), **conditions)


def test_without_fallbacks_one_endpoint_is_left():
    made = planned(A, B, C, preferences=wish(allow_fallbacks=False, sort="price"))
    assert [step.target.provider for step in made.steps] == ["a"]
    assert {refusal.rejected.code for refusal in made.refused} == {"fallbacks-not-allowed"}


# Suffixes.


@pytest.mark.parametrize(
    ("suffix", "sort"), [("nitro", "throughput"), ("floor", "price"), ("exacto", "exacto")]
)
def test_a_suffix_sorts_unless_the_body_does(suffix: str, sort: str):
    found = with_suffixes([f"openai/gpt-4o:{suffix}"], None)
    assert isinstance(found, Wished)
    assert found.preferences == wish(sort=sort)
    body = wish(sort="latency", zdr=True)
    assert with_suffixes([f"openai/gpt-4o:{suffix}"], body) == Wished(body)


def test_free_is_a_price_of_nothing():
    found = with_suffixes(["openai/gpt-oss-120b:free"], wish(max_price=(("prompt", 5), ("image", 7))))
    assert isinstance(found, Wished)
    assert found.preferences is not None
    assert dict(found.preferences.max_price) == {"prompt": 0, "completion": 0, "image": 7}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["openai/gpt-4o:online"], "online-unsupported"),
        (["anthropic/claude-haiku-4.5:thinking"], "thinking-suffix"),
        (["a/b:nitro", "c/d:floor"], "two-sorts"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(names: list[str], code: str):
    found = with_suffixes(names, None)
    assert isinstance(found, Rejected)
    assert (found.code, found.caller_fault) == (code, True)
    assert names[0].partition(":")[0] in found.reason or code == "two-sorts"


@given(st.text(max_size=30))
def test_what_is_no_suffix_changes_nothing(name: str):
    if name.rpartition(":")[2] not in ("nitro", "floor", "free", "online", "exacto", "thinking"):
        assert with_suffixes([name], None) == Wished(None)

"""Fees beside tokens: a line each, with the price of their kind, or unknown; never 0 for want of a price."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from penstock.base.models import PriceRow, PriceTier
from penstock.base.money import Price, line_cost_nusd
from penstock.base.usage import Usage
from penstock.config.catalogue import OTHER_UNITS, UNITS, Catalogue
from penstock.ledger.prices import price_lines

CENT = Price(10_000_000_000)
SIZES = {"web_search:low": CENT, "web_search:medium": CENT, "web_search:high": CENT}
ONE = Usage(input=1, fees=(("web_search", 3),))


def priced(usage: Usage, **units: Price) -> tuple[list[tuple[str, int, int | None]], int | None]:
    """(unit, quantity, cost) of each line, and the sum."""
    lines, total = price_lines(usage, PriceRow("v", {"input": Price(1_000_000), **units}))
    return [(line.unit, line.quantity, line.cost_nusd) for line in lines], total


@given(
    st.lists(st.tuples(st.sampled_from(["web_search", "citation", "x"]), st.integers(1, 10**6)), max_size=4)
)
def test_every_fee_is_a_line_and_an_unknown_one_makes_the_sum_unknown(fees: list[tuple[str, int]]) -> None:
    """Quantity times price, rounded once; what the row does not know is null."""
    known = {"web_search": Price(10_000_000_500), "citation": Price(2_000_000)}
    lines, total = priced(Usage(fees=tuple(fees)), **known)
    costs = [line_cost_nusd(quantity, known[unit]) if unit in known else None for unit, quantity in fees]
    assert lines == [(unit, quantity, cost) for (unit, quantity), cost in zip(fees, costs, strict=True)]
    assert total == (None if None in costs else sum(cost for cost in costs if cost is not None))


def test_a_search_without_a_price_is_not_free() -> None:
    """The tokens keep their cost, the search and the call have none that is known; also where there is no row."""
    assert priced(ONE) == ([("input", 1, 1000), ("web_search", 3, None)], None)
    lines, total = price_lines(ONE, None)
    assert ([line.cost_nusd for line in lines], total) == ([None, None], None)


def test_a_kind_that_is_not_said_has_a_price_where_all_kinds_cost_the_same() -> None:
    """Anthropic names no size, and has one price for all; Perplexity's prices differ, so the size must be said."""
    assert priced(ONE, **SIZES)[1] == 1000 + 3 * 10_000_000
    thousand = {**SIZES, "web_search:low": Price(10_000_000_000_000, 1000)}
    assert priced(ONE, **thousand)[1] == 1000 + 3 * 10_000_000
    apart = {**SIZES, "web_search:low": Price(5_000_000_000)}
    assert priced(ONE, **apart)[1] is None
    low = structs.replace(ONE, fees=(("web_search:low", 1),))
    assert priced(low, **apart)[0][-1] == ("web_search:low", 1, 5_000_000)
    assert priced(low, web_search=CENT)[0][-1] == ("web_search:low", 1, 10_000_000)
    assert priced(structs.replace(ONE, fees=(("web_search:huge", 1),)), **SIZES)[1] is None


def test_a_price_by_prompt_is_charged_once() -> None:
    """However many queries; a price for each query goes before it."""
    assert priced(ONE, web_search_prompt=CENT)[0][-1] == ("web_search_prompt", 1, 10_000_000)
    assert priced(ONE, web_search_prompt=CENT, web_search=CENT)[0][-1] == ("web_search", 3, 30_000_000)


def test_fees_hold_in_a_tier_and_are_unknown_in_a_service_without_them() -> None:
    """A longer prompt does not change the price of a search; another service might."""
    row = PriceRow(
        "v",
        {"input": Price(1_000_000), "web_search": CENT},
        tiers=(PriceTier(10, {"input": Price(2_000_000)}),),
        service={"flex": {"input": Price(500_000)}},
    )
    long = Usage(input=11, fees=(("web_search", 1),))
    assert price_lines(long, row)[1] == 11 * 2000 + 10_000_000
    assert price_lines(Usage(input=5, fees=(("web_search", 1),), service_tier="flex"), row)[1] is None


@pytest.mark.parametrize(
    ("provider", "model", "fees", "lines"),
    [
        ("anthropic", "claude-sonnet-4-5", (("web_search", 2),), {"web_search": 20_000_000}),
        ("openai", "gpt-4o-search-preview", (("web_search", 1),), {"web_search": 25_000_000}),
        ("perplexity", "sonar", (("web_search:low", 1),), {"web_search:low": 5_000_000}),
        ("perplexity", "sonar", (("web_search", 1),), {"web_search": None}),
        ("gemini", "gemini-2.5-flash", (("web_search", 4),), {"web_search_prompt": 35_000_000}),
        ("gemini", "gemini-3.6-flash", (("web_search", 4),), {"web_search": 56_000_000}),
        ("vertex", "gemini-2.5-pro", (("maps_grounding", 2),), {"maps_grounding_prompt": 25_000_000}),
        ("xai", "grok-4.5", (("search_source", 5),), {"search_source": None}),
    ],
)
def test_the_catalogue_s_prices_of_searches(
    provider: str, model: str, fees: tuple[tuple[str, int], ...], lines: dict[str, int | None]
) -> None:
    """Gemini 2 by the prompt, Gemini 3 by the query, the others by the search; xAI's price is not known."""
    price = Catalogue.load().facts(provider, model).price
    assert price is not None
    assert {line.unit: line.cost_nusd for line in price_lines(Usage(fees=fees), price)[0]} == lines


def test_a_user_can_give_a_fee_its_price() -> None:
    """Every unit that a fee may have is one that ``prices`` takes."""
    for unit in (
        "web_search",
        "web_search_prompt",
        "search_source",
        "maps_grounding",
        "maps_grounding_prompt",
    ):
        assert unit in OTHER_UNITS
    assert "citation" in UNITS

"""Usage x prices is exact: integers, one rounding per line, and nothing unknown is ever 0."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from penstock.base.models import PriceRow, PriceTier
from penstock.base.money import Price, line_cost_nusd
from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.config.catalogue import Catalogue
from penstock.ledger.prices import price_lines

COUNTS = st.dictionaries(st.sampled_from(TOKEN_UNITS), st.integers(0, 10**12))
PRICES = st.builds(Price, pico_usd=st.integers(0, 10**12), per=st.sampled_from([1, 1000, 1_000_000]))
ALL_PRICED = st.fixed_dictionaries(dict.fromkeys(TOKEN_UNITS, PRICES))


@given(COUNTS, ALL_PRICED)
def test_the_cost_is_the_sum_of_its_lines(counts, units):
    """The total is nothing but its lines, one for each class of tokens that was used."""
    usage = Usage(**counts)
    lines, total = price_lines(usage, PriceRow("v1", units))
    assert total == sum(line.cost_nusd for line in lines)
    assert {line.unit: line.quantity for line in lines} == {unit: n for unit, n in counts.items() if n}
    assert sum(line.quantity for line in lines) == usage.total_tokens


@given(st.integers(1, 10**12), PRICES)
def test_each_line_is_rounded_half_even_once(quantity, price):
    """A line is the exact product rounded half to even, as decimal arithmetic has it."""
    (line,), total = price_lines(Usage(input=quantity), PriceRow("v1", {"input": price}))
    exact = Decimal(quantity) * price.pico_usd / (price.per * 1000)
    assert line.cost_nusd == total == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
    assert line.cost_nusd == line_cost_nusd(quantity, price)


def test_halves_go_to_the_even_nano_dollar():
    """500 pico-dollars round to 0, 1,500 to 2, 2,500 to 2."""
    costs = [price_lines(Usage(input=1), PriceRow("v", {"input": Price(p)}))[1] for p in (500, 1500, 2500)]
    assert costs == [0, 2, 2]


@given(COUNTS, st.sets(st.sampled_from(TOKEN_UNITS)))
def test_one_unknown_price_makes_the_sum_unknown(counts, priced):
    """The sum is None exactly when a class that was used has no price, of its own or borrowed."""
    usage = Usage(**counts)
    lines, total = price_lines(usage, PriceRow("v1", {unit: Price(1000) for unit in priced}))
    borrows = {"reasoning": "output", "input_audio": "input", "input_image": "input"}
    unknown = {u for u, n in counts.items() if n and u not in priced and borrows.get(u) not in priced}
    assert {line.unit for line in lines if line.cost_nusd is None} == unknown
    assert {line.unit for line in lines if line.price_pico_usd is None} == unknown
    assert (total is None) == bool(unknown)


def test_no_row_is_unknown_not_free():
    """A model without prices costs None, and its line says that the version is unknown."""
    (line,), total = price_lines(Usage(input=5, source="stream"), None)
    assert total is None
    assert (line.cost_nusd, line.price_version, line.source) == (None, "unknown", "stream")


def test_nothing_used_costs_nothing():
    """Zero quantities give no line, and a sum of 0 that is known, with or without prices."""
    assert price_lines(Usage(), None) == ((), 0)
    assert price_lines(Usage(), PriceRow("v1", {"input": Price(1)})) == ((), 0)


def test_a_free_model_is_known_to_be_free():
    """A price of 0 is a price."""
    lines, total = price_lines(
        Usage(input=5, output=5), PriceRow("v1", {"input": Price(0), "output": Price(0)})
    )
    assert total == 0
    assert [line.cost_nusd for line in lines] == [0, 0]


def test_thinking_is_billed_at_the_output_rate():
    """Reasoning has output's price, unless it has its own."""
    usage = Usage(output=10, reasoning=90)
    assert price_lines(usage, PriceRow("v1", {"output": Price(2_500_000)}))[1] == 250_000
    own = PriceRow("v1", {"output": Price(2_500_000), "reasoning": Price(3_500_000)})
    assert price_lines(usage, own)[1] == 25_000 + 315_000


TIERED = PriceRow(
    "v1",
    {"input": Price(1_250_000), "output": Price(10_000_000), "cache_read": Price(125_000)},
    tiers=(
        PriceTier(
            200_000,
            {"input": Price(2_500_000), "output": Price(15_000_000), "cache_read": Price(250_000)},
        ),
        PriceTier(500_000, {"input": Price(5_000_000)}),
    ),
    service={"batch": {"input": Price(625_000), "output": Price(5_000_000)}},
)


def test_a_tier_holds_for_the_whole_request_by_its_whole_prompt():
    """200,000 tokens are not above 200,000; one more, cached or not, and every token has the tier's price."""
    assert price_lines(Usage(input=200_000), TIERED)[1] == 250_000_000
    assert price_lines(Usage(input=200_001), TIERED)[1] == 500_002_500
    cached, total = price_lines(Usage(input=1, cache_read=200_000, output=1), TIERED)
    assert {line.unit: line.price_pico_usd for line in cached} == {
        "input": 2_500_000,
        "cache_read": 250_000,
        "output": 15_000_000,
    }
    assert total == 2500 + 50_000_000 + 15_000


def test_the_highest_tier_reached_is_the_one():
    """Above 500,000 the third price holds; what that tier does not name keeps the row's own."""
    lines, _ = price_lines(Usage(input=500_001, output=1), TIERED)
    assert {line.unit: line.price_pico_usd for line in lines} == {"input": 5_000_000, "output": 10_000_000}


def test_a_tier_that_raises_the_input_and_not_the_cache_leaves_the_cache_unknown():
    """A cache's price is a share of the input's: that of short prompts would be a guess. Other units stay."""
    cached = Usage(input=500_001, cache_read=1)
    assert [line.price_pico_usd for line in price_lines(cached, TIERED)[0]] == [5_000_000, None]
    assert price_lines(cached, TIERED)[1] is None
    base = {"input": Price(4), "cache_read": Price(1), "cache_write_5m": Price(5), "output_audio": Price(9)}
    row = PriceRow("v1", base, tiers=(PriceTier(10, {"input": Price(8), "cache_read": Price(2)}),))
    used = Usage(input=11, cache_read=1, cache_write_5m=1, output_audio=1)
    found = {line.unit: line.price_pico_usd for line in price_lines(used, row)[0]}
    assert found == {"input": 8, "cache_read": 2, "cache_write_5m": None, "output_audio": 9}
    short = {line.unit: line.price_pico_usd for line in price_lines(structs.replace(used, input=5), row)[0]}
    assert short == {unit: price.pico_usd for unit, price in base.items()}


@pytest.mark.parametrize("cache", ["cache_read", "cache_write_5m", "cache_write_1h"])
def test_a_cache_without_a_discount_moves_with_the_input(cache):
    """Where it costs what input costs, it does so in the tier; where the tier leaves the input, it leaves the cache."""
    base = {"input": Price(4), cache: Price(4000, 1000)}
    raised = PriceRow("v1", base, tiers=(PriceTier(10, {"input": Price(8)}),))
    usage = Usage(input=11, **{cache: 1})
    assert price_lines(usage, raised)[0][1].price_pico_usd == 8
    apart = {"input": Price(4), cache: Price(1)}
    for tier in ({"output": Price(8)}, {"input": Price(4000, 1000)}):
        row = PriceRow("v1", apart, tiers=(PriceTier(10, tier),))
        assert price_lines(usage, row)[0][1].price_pico_usd == 1


def test_the_same_in_a_service_s_own_tier():
    """Batch beyond 200,000 that names only its input: batch's short cache price is no price there."""
    batch = {"input": Price(4), "cache_read": Price(1), "input_image": Price(4)}
    row = PriceRow("v1", {"input": Price(8)}, service={"batch": batch, "batch>10": {"input": Price(6)}})
    usage = Usage(input=11, cache_read=1, input_image=1, service_tier="batch")
    found = {line.unit: line.price_pico_usd for line in price_lines(usage, row)[0]}
    assert found == {"input": 6, "cache_read": None, "input_image": 6}


def test_the_catalogue_s_rows_whose_tier_has_no_cache_price():
    """Each of them is unknown there rather than too cheap; below the threshold nothing changed."""
    grok = Catalogue.load().facts("openrouter", "x-ai/grok-4-fast").price
    assert price_lines(Usage(input=128_000, cache_read=1000), grok)[1] is None
    assert price_lines(Usage(input=127_000, cache_read=1000), grok)[1] == 127_000 * 200 + 1000 * 50
    own = Catalogue.load().facts("databricks", "databricks-gpt-5-4-pro").price
    lines, _ = price_lines(Usage(input=272_000, cache_read=1000), own)
    assert lines[1].cost_nusd == 60_000_000


def test_a_service_has_its_own_figures_or_none():
    """Batch is billed at batch prices; a service, or a unit of it, without figures is unknown."""
    usage = Usage(input=1000, output=100)
    assert price_lines(served(usage, "batch"), TIERED)[1] == 625_000 + 500_000
    assert price_lines(served(usage, "priority"), TIERED)[1] is None
    assert price_lines(served(Usage(cache_read=5), "batch"), TIERED)[1] is None
    assert price_lines(served(Usage(input=300_000), "batch"), TIERED)[1] is None


def served(usage, tier):
    """The same tokens, in another class of service."""
    return structs.replace(usage, service_tier=tier)


def test_a_service_has_its_own_tiers():
    """Beyond 200,000 tokens batch costs what the catalogue says for batch beyond 200,000."""
    row = structs.replace(TIERED, service={**TIERED.service, "batch>200000": {"input": Price(1_250_000)}})
    assert price_lines(Usage(input=200_000, service_tier="batch"), row)[1] == 125_000_000
    lines, total = price_lines(Usage(input=200_001, output=1, service_tier="batch"), row)
    assert {line.unit: line.price_pico_usd for line in lines} == {"input": 1_250_000, "output": 5_000_000}
    assert total == 250_001_250 + 5_000


def test_a_service_s_text_price_is_not_its_audio_price():
    """Where the list has a price of its own for audio, a service that names only text leaves audio unknown."""
    audio = Usage(input=1, input_audio=1, service_tier="flex")
    apart = {"input": Price(300_000), "input_audio": Price(1_000_000)}
    flex = {"flex": {"input": Price(150_000)}}
    lines, total = price_lines(audio, PriceRow("v1", apart, service=flex))
    assert {line.unit: line.price_pico_usd for line in lines} == {"input": 150_000, "input_audio": None}
    assert total is None
    alike = {"input": Price(300_000), "input_audio": Price(300_000_000, 1000)}
    assert price_lines(audio, PriceRow("v1", alike, service=flex))[1] == 300


@given(st.integers(1, 10**9), st.integers(0, 10**9), PRICES, PRICES)
def test_cached_audio_has_its_own_price_and_the_rest_of_the_cache_its_own(audio, text, per_text, per_audio):
    """Two lines that sum to what was cached, each at its price."""
    usage = Usage(cache_read=audio + text, cache_read_audio=audio)
    row = PriceRow("v1", {"cache_read": per_text, "cache_read_audio": per_audio})
    lines, total = price_lines(usage, row)
    found = {line.unit: (line.quantity, line.cost_nusd) for line in lines}
    assert found.pop("cache_read_audio") == (audio, line_cost_nusd(audio, per_audio))
    assert found == ({"cache_read": (text, line_cost_nusd(text, per_text))} if text else {})
    assert total == sum(line.cost_nusd for line in lines)


@pytest.mark.parametrize(
    ("units", "price"),
    [
        ({}, 30_000),
        ({"input_audio": Price(300_000)}, 30_000),
        ({"input_audio": Price(1_000_000)}, None),
        ({"input_audio": Price(1_000_000), "cache_read_audio": Price(100_000)}, 100_000),
    ],
)
def test_cached_audio_without_a_price_is_text_only_where_audio_is_text(units, price):
    """A row that tells audio from text, and has one price for the cache, does not say what cached audio costs."""
    row = PriceRow("v1", {"input": Price(300_000), "cache_read": Price(30_000), **units})
    (line,), total = price_lines(Usage(cache_read=5, cache_read_audio=5), row)
    assert (line.unit, line.price_pico_usd) == ("cache_read_audio", price)
    assert total == (None if price is None else 5 * price // 1000)


def test_cached_audio_in_another_service():
    """Vertex's flex has a price for the text of a cache alone; Gemini's batch has one for both."""
    cached = Usage(cache_read=9, cache_read_audio=4)
    catalogue = Catalogue.load()
    vertex, gemini = (catalogue.facts(name, "gemini-2.5-flash").price for name in ("vertex", "gemini"))
    assert price_lines(cached, vertex)[1] == price_lines(cached, gemini)[1] == 5 * 30 + 4 * 100
    assert price_lines(served(cached, "flex"), vertex)[1] is None
    assert price_lines(served(cached, "batch"), gemini)[1] == 5 * 30 + 4 * 100


def test_a_tier_raises_what_costs_as_much_as_input():
    """Pictures listed at the price of text stay at the price of text in a tier that names only text."""
    base = {"input": Price(1_000_000), "output": Price(2_000_000), "input_image": Price(1_000_000)}
    row = PriceRow("v1", base, tiers=(PriceTier(100, {"input": Price(3_000_000)}),))
    lines, _ = price_lines(Usage(input=100, input_image=1, output=1), row)
    assert {line.unit: line.price_pico_usd for line in lines} == {
        "input": 3_000_000,
        "input_image": 3_000_000,
        "output": 2_000_000,
    }
    apart = structs.replace(row, units={**base, "input_image": Price(9)})
    assert price_lines(Usage(input=100, input_image=1), apart)[0][1].price_pico_usd == 9


def test_a_price_per_request_is_a_line_of_its_own():
    """Where a provider charges for the call itself, it is on the bill once."""
    row = PriceRow("v1", {"input": Price(1_000_000), "request": Price(5_000_000_500)})
    lines, total = price_lines(Usage(input=2), row)
    assert [(line.unit, line.quantity, line.cost_nusd) for line in lines] == [
        ("input", 2, 2000),
        ("request", 1, 5_000_000),
    ]
    assert total == 5_002_000


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_cache_reads_never_cost_more_than_uncached_input(cached, fresh):
    """With a cheaper cache price, a call with cache hits costs at most what it would without."""
    row = PriceRow("v1", {"input": Price(150_000), "cache_read": Price(75_000)})
    with_cache = price_lines(Usage(input=fresh, cache_read=cached), row)[1]
    without = price_lines(Usage(input=fresh + cached), row)[1]
    assert with_cache <= without

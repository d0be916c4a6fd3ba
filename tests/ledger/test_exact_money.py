"""Money is exact: parts are the whole, a line is off by half a nano-dollar at most, and no float is on the way."""

import ast
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base import money
from penstock.base.models import PriceRow
from penstock.base.money import Price, price_from_usd_text, usd_text
from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.config.catalogue import Catalogue
from penstock.dialects.openai_chat.usage import (
    CompletionDetails,
    PromptDetails,
    ResponsesUsage,
    read_responses_usage,
)
from penstock.ledger import prices
from penstock.ledger.prices import price_lines, prices_for

COUNT = st.integers(0, 3_000_000)
PRICE = st.builds(Price, pico_usd=st.integers(0, 10**12), per=st.sampled_from([1, 1000, 1_000_000]))
ROWS = [facts.price for facts in Catalogue.load().find("") if facts.price is not None]
HALF = Decimal("0.5")


@given(st.dictionaries(st.sampled_from(TOKEN_UNITS), COUNT), st.sampled_from(ROWS))
def test_a_line_is_off_by_half_a_nano_dollar_at_most(counts, row):
    """Against exact decimals, with every price of the catalogue; so a billion lines are off by half a dollar at most."""
    lines, total = price_lines(Usage(**counts), row)
    for line in lines:
        if line.price_pico_usd is None:
            assert line.cost_nusd is None
            continue
        exact = Decimal(line.quantity) * line.price_pico_usd / line.per / 1000
        assert abs(exact - line.cost_nusd) <= HALF
    known = [line.cost_nusd for line in lines]
    assert total == (None if None in known else sum(known))


@given(COUNT, COUNT, COUNT, st.sampled_from(ROWS), st.sampled_from(["", "batch", "flex", "priority"]))
def test_cached_never_costs_more_than_uncached_where_the_prices_say_so(fresh, cached, output, row, tier):
    """Whatever the row, tier or service: if a cached token is no dearer there than a fresh one, neither is the call."""
    hit = Usage(input=fresh, cache_read=cached, output=output, service_tier=tier)
    miss = Usage(input=fresh + cached, output=output, service_tier=tier)
    with_cache, without = price_lines(hit, row)[1], price_lines(miss, row)[1]
    units = prices_for(row, hit.prompt_tokens, tier)
    read, full = units.get("cache_read"), units.get("input")
    if with_cache is None or without is None or not cached or read is None or full is None:
        return
    if read.pico_usd * full.per <= full.pico_usd * read.per:
        # Two lines are rounded apart, and one is not: a nano-dollar.
        assert with_cache <= without + 1


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
def test_the_parts_of_a_responses_usage_are_its_total(fresh, cached, written, image, said, thought):
    """The Responses API counts inclusively; the vector is disjoint and loses nothing."""
    whole_in, whole_out = fresh + cached + written + image, said + thought
    seen = ResponsesUsage(
        input_tokens=whole_in,
        output_tokens=whole_out,
        total_tokens=whole_in + whole_out,
        input_tokens_details=PromptDetails(
            cached_tokens=cached, cache_write_tokens=written, image_tokens=image
        ),
        output_tokens_details=CompletionDetails(reasoning_tokens=thought),
    )
    usage = read_responses_usage(seen, "provider", "flex")
    assert (usage.input, usage.cache_read, usage.cache_write_5m) == (fresh, cached, written)
    assert (usage.input_image, usage.output, usage.reasoning) == (image, said, thought)
    assert usage.total_tokens == whole_in + whole_out
    assert (usage.note, usage.service_tier) == ("", "flex")


def test_a_responses_usage_that_contradicts_itself_says_so():
    """More cached than there was: clamped, and noted."""
    seen = ResponsesUsage(
        input_tokens=5, output_tokens=1, input_tokens_details=PromptDetails(cached_tokens=9)
    )
    usage = read_responses_usage(seen, "provider")
    assert (usage.input, usage.cache_read, usage.total_tokens) == (0, 5, 6)
    assert "exceed" in usage.note


@given(st.lists(st.tuples(COUNT, PRICE), min_size=1, max_size=40))
def test_a_sum_of_calls_is_the_sum_of_their_lines(calls):
    """Nothing is lost between a line and a total, however many there are."""
    totals = [
        price_lines(Usage(input=count), PriceRow("v", {"input": price}))[1] or 0 for count, price in calls
    ]
    exact = sum(Decimal(count) * price.pico_usd / price.per / 1000 for count, price in calls)
    assert abs(exact - sum(totals)) <= HALF * len(calls)
    assert Decimal(usd_text(sum(totals))) * 10**9 == sum(totals)


@given(st.decimals(0, 1000, places=12, allow_nan=False))
def test_a_price_s_text_is_its_integer(usd):
    """Up to 12 significant digits the integer is the text, exactly."""
    price = price_from_usd_text(str(usd))
    exact = Decimal(price.pico_usd) / price.per / 10**12
    assert abs(exact - usd) <= usd * Decimal("5e-12")


# ------------------------------------------------------------------ no float on the way


def floats_in(source: str) -> list[str]:
    """Float literals, true division, ``float`` and ``round`` by name, with their lines."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        what = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            what = f"the float {node.value}"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            what = "a true division"
        elif isinstance(node, ast.Name) and node.id in ("float", "round"):
            what = node.id
        elif isinstance(node, ast.Attribute) and node.attr == "truediv":
            what = "truediv"
        if what:
            found.append(f"line {node.lineno}: {what}")
    return found


@pytest.mark.parametrize("module", [money, prices], ids=lambda module: module.__name__)
def test_no_float_is_on_the_way(module):
    """From a price's text to a call's cost there is no float: not as a literal, not by a division."""
    assert floats_in(Path(module.__file__).read_text("utf-8")) == []


@pytest.mark.parametrize(
    "sin", ["a = 0.5", "a = b / c", "a /= 2", "a = float(b)", "a = round(b)", "a = operator.truediv(b, c)"]
)
def test_each_float_would_be_seen(sin):
    """The walk finds what it is there for."""
    assert len(floats_in(sin)) == 1

"""What a provider's reply costs, to the nano-dollar: recorded shapes against figures worked out by hand.

A file ``tests/golden/cost/<case>.json`` has the reply as it came, the model, where its prices stand and since when, the
lines that are due ([unit, quantity, dollars per million of it, nano-dollars]; null is a price that nobody publishes) and
the sum with its arithmetic. ``dialect`` "responses" is the Responses API's usage alone (its normaliser; the route comes
with its own part); "fees" is what is sold by the piece, as ``Usage.fees`` has it. A catalogue that says another price
fails here: look at the vendor's page, then correct the file by hand.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.config.catalogue import Catalogue
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.gemini import GEMINI, VERTEX
from penstock.dialects.openai_chat import OPENAI
from penstock.dialects.openai_chat.usage import ResponsesUsage, read_responses_usage
from penstock.ledger.prices import price_lines
from tests.dialects.test_service_tier import last_usage

FILES = sorted((Path(__file__).parent.parent / "golden/cost").glob("*.json"))
CASES: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}
DIALECTS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI, "vertex": VERTEX}
CATALOGUE = Catalogue.load()
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def usage_of(case: dict[str, Any]) -> Usage:
    """What the dialect's own reader makes of the reply."""
    reply, dialect = case["reply"], case["dialect"]
    if dialect == "fees":
        return Usage(fees=tuple((unit, quantity) for unit, quantity in reply["fees"]))
    if dialect == "responses":
        seen = msgspec.convert(reply["usage"], ResponsesUsage)
        return read_responses_usage(seen, "provider", reply.get("service_tier"))
    return last_usage(DIALECTS[dialect], json.dumps(reply).encode(), stream=False)


def row_of(case: dict[str, Any]):
    provider, _, model = case["target"].partition("/")
    return CATALOGUE.facts(provider, model).price


@cases
def test_the_reply_costs_what_was_worked_out_by_hand(case):
    """Usage, lines, prices and the sum, each as the file says."""
    usage = usage_of(case)
    assert usage.note == ""
    lines, total = price_lines(usage, row_of(case))
    found = sorted((line.unit, line.quantity, line.cost_nusd) for line in lines)
    assert found == sorted((unit, quantity, nusd) for unit, quantity, _, nusd in case["lines"])
    prices = {
        line.unit: None
        if line.price_pico_usd is None
        else Decimal(line.price_pico_usd) / line.per * 1_000_000 / 10**12
        for line in lines
    }
    said = {unit: None if usd is None else Decimal(usd) for unit, _, usd, _ in case["lines"]}
    assert prices == said
    assert total == case["cost_nusd"]


@cases
def test_the_file_s_own_arithmetic_is_right(case):
    """Dollars per million x quantity, in decimals: no code of ours has a part in it."""
    exact = [
        None if usd is None else Decimal(quantity) * Decimal(usd) * 1000
        for _, quantity, usd, _ in case["lines"]
    ]
    assert exact == [line[3] for line in case["lines"]]
    assert case["cost_nusd"] == (None if None in exact else sum(exact))
    assert "2026-" in case["price_source"]
    assert case["by_hand"]


@cases
def test_the_parts_are_the_provider_s_total(case):
    """No token is lost or counted twice; what was given away or is a fee in tokens is on a line of its own."""
    usage = usage_of(case)
    given = sum(quantity for unit, quantity in usage.fees if unit == "grounded_input")
    assert usage.total_tokens + given == case["provider_total_tokens"]


@cases
def test_the_provider_s_own_cost_is_ours(case):
    """OpenRouter and Perplexity say what they charge: the same to the nano-dollar."""
    if "their_cost_usd" not in case:
        assert "cost" not in case["reply"].get("usage", {})
        return
    theirs = case["reply"]["usage"]["cost"]
    assert Decimal(str(theirs["total_cost"] if isinstance(theirs, dict) else theirs)) == Decimal(
        case["their_cost_usd"]
    )
    assert Decimal(case["their_cost_usd"]) * 10**9 == case["cost_nusd"]


def test_every_shape_of_usage_has_a_case():
    """The list of the issue."""
    words = " ".join(CASES)
    for shape in (
        "openai-cached-reasoning",
        "openai-audio",
        "openai-priority",
        "openai-flex",
        "anthropic-cache",
        "anthropic-batch",
        "gemini-thinking",
        "gemini-audio",
        "above-200k",
        "above-128k",
        "responses",
        "image",
        "openrouter",
        "deepseek",
        "xai",
        "perplexity",
    ):
        assert shape in words, shape


GROUNDED = CASES["gemini-search"]


def test_what_a_search_brought_in_is_input_where_another_tool_was_at_work():
    """Google does not say whose tokens they are: url_context's and code's are charged, so all are."""
    for more in (
        {"urlContextMetadata": {"urlMetadata": []}},
        {"content": {"role": "model", "parts": [{"executableCode": {"code": "1"}}, {"text": "Hi"}]}},
    ):
        candidate = GROUNDED["reply"]["candidates"][0] | more
        usage = usage_of(GROUNDED | {"reply": GROUNDED["reply"] | {"candidates": [candidate]}})
        assert (usage.input, usage.fees) == (1810, (("web_search", 2),))


def test_nothing_is_given_where_no_price_is_known():
    """A model without a row costs None; an own price for what a search brought in is taken."""
    usage = usage_of(GROUNDED)
    lines, total = price_lines(usage, ModelFacts("p", "m").price)
    assert total is None
    assert all(line.cost_nusd is None for line in lines)


def test_a_case_is_served_by_its_target():
    """Every target is in the catalogue under that very name."""
    for case in CASES.values():
        provider, _, model = case["target"].partition("/")
        facts = CATALOGUE.facts(provider, model)
        assert facts.known, case["target"]
        assert Target(provider, model, case["dialect"], facts).name == case["target"]

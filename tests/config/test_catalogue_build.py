"""The script that builds the catalogue: the merge rules, on two small made-up tables."""

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from penstock.config.price_lines import parse_prices

SCRIPTS = str(Path(__file__).parents[2] / "scripts")
PROVIDERS = [
    {"name": "openai", "litellm": ["openai"], "genai": ["openai"], "authors": ["openai"]},
    {"name": "azure", "litellm": ["azure"]},
    {"name": "openrouter", "genai": ["openrouter"]},
]
MAP = """{
 "sample_spec": {"litellm_provider": "one of", "input_cost_per_token": 0},
 "gpt-x": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000, "max_output_tokens": 10.0,
   "supports_function_calling": true, "supports_vision": true, "deprecation_date": "2027-01-02",
   "input_cost_per_token": 2.9999999999999997e-07, "output_cost_per_token": 0.0000025,
   "input_cost_per_token_above_200k_tokens": 6e-07, "input_cost_per_token_batches": 1.5e-07,
   "input_cost_per_token_above_200k_tokens_batches": 3e-07, "odd_cost_of_something": 1},
 "low/1024-x-1024/img": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 0.0,
   "output_cost_per_image": 0.011},
 "gpt-zero": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0},
 "azure/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-07},
 "azure/eu/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-07},
 "azure/us/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1.1e-07},
 "azure/x/search": {"litellm_provider": "azure", "mode": "search", "input_cost_per_query": 1}
}"""
TABLE = """
providers: list[Provider] = [
    Provider(id='openai', models=[
        ModelInfo(id='gpt-x', match=ClauseEquals(equals='gpt-x'),
                  prices=ModelPrice(input_mtok=Decimal('0.3'), output_mtok=Decimal('2.5'))),
    ]),
    Provider(id='openrouter', models=[
        ModelInfo(id='openai/gpt-x', match=ClauseEquals(equals='openai/gpt-x'), prices=[
            ConditionalPrice(prices=ModelPrice(input_mtok=Decimal('9'))),
            ConditionalPrice(constraint=StartDateConstraint(start_date=datetime.date(2026, 1, 1)),
                prices=ModelPrice(input_mtok=TieredPrices(base=Decimal('1'), tiers=[Tier(start=5, price=Decimal('2'))]))),
            ConditionalPrice(constraint=StartDateConstraint(start_date=datetime.date(2099, 1, 1)),
                prices=ModelPrice(input_mtok=Decimal('7'))),
        ]),
        ModelInfo(id='openai/gpt-x:batch', match=ClauseEquals(equals='x'), prices=ModelPrice(input_mtok=Decimal('0.5'))),
        ModelInfo(id='bare-name', match=ClauseEquals(equals='x'), prices=ModelPrice(input_mtok=Decimal('1'))),
    ]),
]
"""


@pytest.fixture
def build(monkeypatch):
    """The two script modules."""
    monkeypatch.syspath_prepend(SCRIPTS)
    yield importlib.import_module("build_catalogue"), importlib.import_module("catalogue_sources")
    for name in ("build_catalogue", "catalogue_sources"):
        sys.modules.pop(name, None)


@pytest.fixture
def tables(build, tmp_path):
    """Both tables, read, with the cost fields that found no unit."""
    _, sources = build
    (tmp_path / "map.json").write_text(MAP)
    (tmp_path / "data.py").write_text(TABLE)
    ignored: Counter[str] = Counter()
    first = sources.read_litellm(tmp_path / "map.json", PROVIDERS, "litellm 1", "2026-11-21", ignored)
    second = sources.read_genai(tmp_path / "data.py", PROVIDERS, "genai-prices 1", "2026-11-21", ignored)
    return first, second, ignored


def test_figures_tiers_and_classes_survive_without_float_noise(build, tables):
    """Noise is rounded away; tiers, classes and both together keep their place; what has no unit is counted aloud."""
    script, _ = build
    first, _, ignored = tables
    row = first["openai", "gpt-x"]
    price = parse_prices(script.price_text(row.prices), "s", "2026-11-21")
    assert price.units["input"].text == "3e-7"
    assert price.tiers[0].above_tokens == 200_000
    assert set(price.service) == {"batch", "batch>200000"}
    assert (row.context, row.output, row.retires) == (1000, 10, "2027-01-02")
    assert row.modalities_in == {"text", "image"}
    assert ignored["odd_cost_of_something"] == 1


def test_sizes_become_units_and_search_products_are_left_out(tables):
    """One model, one row."""
    first, _, _ = tables
    assert first["openai", "img"].prices["", 0] == {"image:low:1024x1024": "0.011"}
    assert ("azure", "x/search") not in first
    assert not [key for key in first if "1024" in key[1] or key[1] == "sample_spec"]


@pytest.mark.parametrize(
    ("seller", "billed", "units"),
    [
        ("gemini", {}, {"web_search_prompt": "0.035", "maps_grounding_prompt": "0.025"}),
        (
            "vertex_ai",
            {"web_search_billing_unit": "per_query"},
            {"web_search:low": "0.035", "maps_grounding": "0.025"},
        ),
        ("anthropic", {}, {"web_search:low": "0.035", "maps_grounding": "0.025"}),
    ],
)
def test_google_charges_by_the_prompt_unless_the_map_says_by_the_query(build, seller, billed, units):
    """What is charged once a call has a unit of its own."""
    _, sources = build
    entry = {
        "litellm_provider": seller,
        "google_maps_grounding_cost_per_query": 0.025,
        "search_context_cost_per_query": {"search_context_size_low": 0.035},
        **billed,
    }
    ignored: Counter[str] = Counter()
    assert sources.litellm_draft(entry, "s", "2026-11-21", ignored).prices == {("", 0): units}
    assert not ignored


def test_regional_twins_are_folded_and_others_not_counted(build, tables):
    """Same figures: an alias. Other figures: a row of its own that the count leaves out."""
    script, _ = build
    first, _, _ = tables
    rows = {key: row for key, row in first.items() if key[0] == "azure"}
    same = script.fold_regions(rows)
    assert same == {"azure": {"eu/gpt-x": "gpt-x"}}
    assert set(rows) == {("azure", "gpt-x"), ("azure", "us/gpt-x")}
    assert script.distinct(rows) == 1


def test_all_zero_is_a_placeholder_unless_listed_as_free(build, tables):
    """gpt-zero is not free; a local model is."""
    script, _ = build
    first, _, _ = tables
    assert script.all_zero(first["openai", "gpt-zero"])
    assert not script.is_free("openai", "gpt-zero")
    assert script.is_free("ollama", "anything")
    assert not script.distinct({("openai", "gpt-zero"): first["openai", "gpt-zero"]})


def test_the_second_table_gives_the_price_in_force_and_its_batch_class(tables):
    """Neither the old price nor the future one; ``:batch`` ids become a class; bare names are no OpenRouter ids."""
    _, second, _ = tables
    assert second["openrouter", "openai/gpt-x"].prices == {
        ("", 0): {"input": "0.000001"},
        ("", 5): {"input": "0.000002"},
        ("batch", 0): {"input": "5e-7"},
    }
    assert ("openrouter", "bare-name") not in second


def test_the_first_table_wins_and_limits_are_lent_but_never_prices(build, tables):
    """A row of the second table takes its maker's limits, not its figures."""
    script, _ = build
    first, second, _ = tables
    rows, added = script.merge(first, second)
    assert added == 1
    assert rows["openai", "gpt-x"].source == "litellm 1"
    assert script.borrow(rows, PROVIDERS) == 1
    lent = rows["openrouter", "openai/gpt-x"]
    assert lent.context == 1000
    assert lent.prices["", 0] == {"input": "0.000001"}
    assert "limits of openai" in lent.all_notes()


def test_a_new_disagreement_of_the_tables_stops_the_build(build, tables, tmp_path, monkeypatch):
    """Nobody has looked at it yet, so nothing is written."""
    script, _ = build
    first, second, _ = tables
    monkeypatch.setattr(script, "FIXTURE", tmp_path / "second.json")
    monkeypatch.setattr(script, "DISAGREE", {})
    script.write_fixture(first, second, "genai-prices 1")
    assert json.loads((tmp_path / "second.json").read_text())["usd_per_token"] == {
        "openai/gpt-x": ["3e-7", "0.0000025"]
    }
    (tmp_path / "second.json").unlink()
    second["openai", "gpt-x"].prices["", 0]["input"] = "4e-7"
    with pytest.raises(SystemExit, match="new: openai/gpt-x"):
        script.write_fixture(first, second, "genai-prices 1")
    assert not (tmp_path / "second.json").exists()

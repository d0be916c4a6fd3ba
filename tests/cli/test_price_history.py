"""``penstock models --price-history``: every price that a model had, has and will have, as far as it is known."""

import json

OWN = """
providers: {openai: {keys: [{value: env.A}]}}
prices:
  - {model: openai/gpt-4o, from: 2026-12-01, usd_per_million: {input: "1"}}
  - {model: openai/gpt-4o, from: 2999-01-01, usd_per_million: {input: "2"}}
"""


def test_each_row_has_its_dates_and_one_is_in_force(screen):
    """The catalogue's own: 2/10 until the end of November, then 4/20."""
    text = "\n".join(screen.lines(120, "models", "--price-history", "gemini/gemini-4-argon"))
    assert "from the beginning, until 2026-12-01" in text
    assert "in 4, out 20" in text
    assert text.count("(in force)") == 1


def test_own_prices_are_part_of_it(screen, tmp_path, monkeypatch):
    """With the configuration named; as a program reads it, dollars are text."""
    monkeypatch.setenv("A", "x")
    path = tmp_path / "penstock.yaml"
    path.write_text(OWN)
    words = ("models", "--price-history", "openai/gpt-4o", "--config", str(path), "--json")
    prices = json.loads("".join(screen.lines(None, *words)))["prices"]
    assert [row["from"] for row in prices] == [None, "2026-12-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"]
    assert [row["usd"]["input_per_million"] for row in prices] == ["2.5", "1", "2"]


def test_a_model_without_a_price_is_said(screen, tmp_path, capsys):
    """With names that are near; and a configuration with faults is not taken for one without prices."""
    assert screen.show(None, "models", "--price-history", "openai/gpt-4o-minni")[0] == 1
    path = tmp_path / "penstock.yaml"
    path.write_text("prices: 5")
    assert screen.show(None, "models", "--price-history", "openai/gpt-4o", "--config", str(path))[0] == 1

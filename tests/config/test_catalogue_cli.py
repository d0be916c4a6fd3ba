"""``penstock models``: the catalogue as a user sees it."""

import argparse
import json

import pytest

from penstock.cli import models


@pytest.fixture
def ask(capsys, monkeypatch):
    """Runs the command and returns its exit code and output, on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        models.add_arguments(parser)
        code = models.run(parser.parse_args(words))
        return code, capsys.readouterr().out

    return run


def test_json_lists_every_hit_with_prices_as_text(ask):
    """Decimal text, per million tokens; unknown is null."""
    code, out = ask("gemini-2.5", "--json")
    assert code == 0
    rows = json.loads(out)["models"]
    assert len(rows) > 10
    assert all("gemini-2.5" in f"{row['provider']}/{row['model']}" for row in rows)
    flash = next(row for row in rows if (row["provider"], row["model"]) == ("gemini", "gemini-2.5-flash"))
    assert flash["price"]["usd"]["input_per_million"] == "0.3"
    assert flash["price"]["usd"]["output_per_million"] == "2.5"
    assert flash["price"]["usd"]["input_audio_per_million"] == "1"
    assert flash["budget"] == {"minimum": 1, "maximum": 24576, "off": True, "dynamic": True}
    assert flash["lifecycle"].startswith("retire")
    assert flash["source"].startswith("litellm")
    assert all(row["price"] is None or row["price"]["version"] for row in rows)


def test_a_model_shows_prices_tiers_lifecycle_and_source(ask):
    """What a person needs to choose a model."""
    code, out = ask("gemini/gemini-2.5-pro")
    assert code == 0
    for piece in (
        "1,048,576",
        "in 1.25",
        "above 200,000",
        "batch",
        "retire",
        "2026-12-01",
        "litellm",
    ):
        assert piece in out, piece


def test_an_unknown_price_is_said(ask):
    """Never 0."""
    code, out = ask("github_copilot/gpt-4o-mini")
    assert code == 0
    assert "unknown" in out


def test_no_hit_names_near_models(ask):
    """Exit code 1 and a hint."""
    code, out = ask("openai/gpt-4o-minni")
    assert code == 1
    assert "openai/gpt-4o-mini" in out


def test_long_lists_are_cut_aloud(ask):
    """Many hits do not flood the terminal; how many are left out is said."""
    code, out = ask("gpt")
    assert code == 0
    assert "more: add words to the filter, or --all" in out
    assert out.count("\n") < 50

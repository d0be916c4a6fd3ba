"""Providers under names of one's own that are a known one: prices, limits and names hold for them, too."""

from pathlib import Path

import pytest

from penstock.config.borrowing import borrowed, catalogue_for
from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text
from penstock.config.schema import Config, NetworkConfig, PriceOverride, ProviderConfig

CATALOGUE = Catalogue.load()


def config_of(**providers: ProviderConfig) -> Config:
    return Config(providers=providers)


@pytest.mark.parametrize(
    ("dialect", "base_url", "whose"),
    [
        ("anthropic", None, "anthropic"),
        ("vertex", None, "vertex"),
        ("openai", None, "openai"),
        ("openai", "https://api.openai.com/v1/", "openai"),
        ("openai", "https://api.groq.com/openai/v1", "groq"),
        ("openai", "https://eu.api.openai.com/v1", None),
        ("openai", "http://127.0.0.1:8000/v1", None),
        ("anthropic", "https://api.openai.com/v1", None),
        ("anthropic", "http://proxy.local", None),
    ],
)
def test_the_address_says_who_it_is(dialect, base_url, whose):
    """Prices of a region, of a proxy or of a server of one's own are nobody else's."""
    settings = ProviderConfig(dialect=dialect, network=NetworkConfig(base_url=base_url))
    assert borrowed(config_of(mine=settings), CATALOGUE) == ({} if whose is None else {"mine": whose})


def test_a_known_name_borrows_nothing():
    config = config_of(groq=ProviderConfig(dialect="openai"), openai=ProviderConfig())
    assert borrowed(config, CATALOGUE) == {}
    assert catalogue_for(config, CATALOGUE) is CATALOGUE


def test_facts_names_and_own_prices_are_there_under_the_name():
    """Two regions of Vertex, as the how-to has them; a price of one's own wins, and is one name's alone."""
    vertex = ProviderConfig(dialect="vertex", project="p", location="us-east5", credentials="file:k.json")
    own = PriceOverride(model="vertex-eu/gemini-2.5-flash", usd_per_million={"input": "9", "output": "9"})
    config = Config(providers={"vertex-us": vertex, "vertex-eu": vertex}, prices=(own,))
    known = catalogue_for(config, CATALOGUE)
    plain = CATALOGUE.facts("vertex", "gemini-2.5-flash")
    assert known.facts("vertex-us", "gemini-2.5-flash") == plain
    assert known.facts("vertex-eu", "gemini-2.5-flash").price != plain.price
    assert known.facts("vertex", "gemini-2.5-flash") == plain
    assert "gemini-2.5-flash" in known.chat_models("vertex-eu")
    sellers = [name for name, _ in known.bare("gemini-2.5-flash")]
    assert sellers.index("vertex") + 1 == sellers.index("vertex-us") == sellers.index("vertex-eu") - 1


def test_check_does_not_miss_prices_that_are_known():
    text = """
providers:
  claude-two: {dialect: anthropic, keys: [{value: env.K}]}
  proxied: {dialect: anthropic, keys: [{value: env.K}], network: {base_url: "http://proxy.local"}}
routes:
  - {id: r, primary: claude-two/claude-haiku-4-5, fallbacks: [proxied/claude-haiku-4-5]}
"""
    loaded = load_text(text, Path(), {"K": "sk-x"}, CATALOGUE, "2026-11-22")
    assert [str(one) for one in loaded.warnings if "price" in str(one)] == [
        one for one in map(str, loaded.warnings) if "proxied/claude-haiku-4-5" in one
    ]
    assert not loaded.faults

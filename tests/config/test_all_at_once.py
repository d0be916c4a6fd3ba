"""Faults of shape do not hide faults of meaning: all come at once."""

from pathlib import Path

from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text

TEXT = """
providers:
  openai:
    keys: [{value: env.NOT_SET, weigth: 0.5}]
    network: {idle_timeout_ms: -1}
fallbacks:
  - {primary: openai/gpt-4o-mini, secondary: nobody/x, retries: 3}
"""


def test_misspelt_fields_out_of_range_values_unset_secrets_and_unknown_providers_come_together():
    """One round of mending is enough."""
    loaded = load_text(TEXT, Path(), {}, Catalogue.load(), "2026-11-21")
    assert loaded.config is None
    assert sorted(fault.path for fault in loaded.faults) == [
        "$.fallbacks[0].retries",
        "$.fallbacks[0].secondary",
        "$.providers.openai.keys[0].value",
        "$.providers.openai.keys[0].weigth",
        "$.providers.openai.network.idle_timeout_ms",
    ]

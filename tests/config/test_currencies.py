"""Rates of other currencies: as they are written, and all faults at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from penstock.config.catalogue import Catalogue
from penstock.config.load import load_text
from penstock.ledger.currency import rates_of


def loaded(text):
    """The configuration with these currencies."""
    return load_text(f"currencies: {text}", Path(), {}, Catalogue.load(), "2026-11-21")


@pytest.mark.parametrize(
    ("written", "text"), [("1.08", "1.08"), ('"1.080"', "1.080"), ("2", "2"), ("6.4e-3", "0.0064")]
)
def test_a_rate_is_the_decimal_that_was_written(written, text):
    """A YAML number counts as its shortest text; quoted text is kept."""
    (rate,) = rates_of(loaded(f"{{EUR: {{usd: {written}, date: 2026-11-20}}}}").config)
    assert (rate.code, Decimal(rate.usd), rate.date) == ("EUR", Decimal(text), "2026-11-20")


def test_all_faults_at_once():
    """Each with its place."""
    text = """
  euro: {usd: 1.08, date: 2026-11-20}
  USD: {usd: 1, date: 2026-11-20}
  GBP: {usd: 0, date: 2026-11-20}
  JPY: {usd: .inf, date: 2026-11-20}
  CHF: {usd: dear, date: yesterday}
"""
    assert {fault.path for fault in loaded(text).faults} >= {
        "$.currencies.euro",
        "$.currencies.USD",
        "$.currencies.GBP.usd",
        "$.currencies.CHF.usd",
        "$.currencies.CHF.date",
    }
    assert loaded(text).config is None

"""Money is whole numbers; prices lose nothing that a source wrote."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.money import (
    NANO_PER_USD,
    Price,
    div_half_even,
    line_cost_nusd,
    price_from_usd_text,
    usd_text,
)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**12))
def test_division_rounds_half_to_even(numerator: int, denominator: int) -> None:
    assert div_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@pytest.mark.parametrize(
    ("quantity", "usd_per_million", "nusd"),
    [
        (1_000_000, "0.0375", 37_500_000),
        (1, "0.15", 150),
        (1, "0.0375", 38),  # 37.5 rounds to even
        (3, "0.0375", 112),  # 112.5 rounds to even
        (0, "3", 0),
        (7, "0", 0),
    ],
)
def test_a_line_is_rounded_half_even_once(quantity: int, usd_per_million: str, nusd: int) -> None:
    per_token = format(Decimal(usd_per_million) / 1_000_000, "f")
    assert line_cost_nusd(quantity, price_from_usd_text(per_token)) == nusd


@given(st.integers(0, 10**10), st.integers(0, 10**9), st.sampled_from([1, 1000, 1_000_000]))
def test_a_line_is_within_half_a_nano_dollar_of_the_truth(quantity: int, pico: int, per: int) -> None:
    truth = Fraction(quantity * pico, per * 1000)
    assert abs(line_cost_nusd(quantity, Price(pico, per)) - truth) <= Fraction(1, 2)


@given(st.integers(1, 10**8), st.integers(0, 14))
def test_a_price_keeps_the_value_of_its_text(digits: int, places: int) -> None:
    """Twelve significant digits and six places beyond a pico-dollar are more than any price list uses."""
    text = format(Decimal(digits).scaleb(-places), "f")
    price = price_from_usd_text(text)
    assert Fraction(price.pico_usd, price.per) == Fraction(Decimal(text)) * 10**12
    assert price.text == text


def test_noise_of_binary_floats_is_rounded_off() -> None:
    assert price_from_usd_text("1.5000000000000002e-07") == Price(150_000, 1, "1.5000000000000002e-07")


def test_a_price_finer_than_a_pico_dollar_is_told_per_thousand() -> None:
    assert price_from_usd_text("0.0000000000005") == Price(500, 1000, "0.0000000000005")


@pytest.mark.parametrize("text", ["", "free", "-1", "NaN", "Infinity", "1,5", "0x1"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        price_from_usd_text(text)


@given(st.integers(-(10**18), 10**18))
def test_dollars_as_text_are_exact(nusd: int) -> None:
    text = usd_text(nusd)
    assert Decimal(text) * NANO_PER_USD == nusd
    assert "e" not in text.lower()
    assert Decimal(text).quantize(Decimal("1e-9"), ROUND_HALF_EVEN) == Decimal(text)


def test_dollars_as_text_read_well() -> None:
    assert [usd_text(n) for n in (0, 1_500, 2_000_000_000, -1)] == ["0", "0.0000015", "2", "-0.000000001"]

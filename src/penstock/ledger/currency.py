"""Other currencies, for tables: the ledger stays in dollars, a dated rate of the configuration shows it in another.

Exact: a rate is a decimal text, an amount a fraction of integers, rounded half-even once to a thousand-millionth of the
currency's unit.
"""

from decimal import Decimal

from msgspec import Struct

from penstock.base.money import div_half_even, usd_text


class Rate(Struct, frozen=True):
    """One ``code`` is ``usd`` dollars (decimal text), as of ``date``."""

    code: str
    usd: str
    date: str

    def nano(self, nusd: int) -> int:
        """Nano-dollars in thousand-millionths of this currency."""
        numerator, denominator = Decimal(self.usd).as_integer_ratio()
        return div_half_even(nusd * denominator, numerator)

    def text(self, nusd: int) -> str:
        """Nano-dollars as plain decimals of this currency."""
        return usd_text(self.nano(nusd))


DOLLARS = Rate("USD", "1", "")


def rate_of(code: str, usd: str | float, date: str) -> Rate:
    """A rate as the configuration has it; a number counts as its shortest text. Raises ValueError."""
    text = usd if isinstance(usd, str) else repr(usd)
    try:
        value = Decimal(text.strip())
    except ArithmeticError as error:
        raise ValueError(f"not a decimal rate: {text!r}") from error
    if not value.is_finite() or value <= 0:
        raise ValueError(f"not a rate above 0: {text!r}")
    return Rate(code, text.strip(), date)

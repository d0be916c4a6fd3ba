"""Other currencies, for tables: the ledger stays in dollars, a dated rate of the configuration shows it in another.

Exact: a rate is a decimal text, an amount a fraction of integers, rounded half-even once to a thousand-millionth of the
currency's unit.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock.base.money import div_half_even, usd_text
from penstock.config.currencies import rate_text

if TYPE_CHECKING:  # a table without a configuration need not load what describes one
    from penstock.config.schema import Config


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


def rates_of(config: "Config") -> tuple[Rate, ...]:
    """The rates of a configuration that was checked."""
    return tuple(Rate(code, rate_text(rate.usd), rate.date) for code, rate in config.currencies.items())

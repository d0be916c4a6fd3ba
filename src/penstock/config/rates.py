"""Prices of your own things: dollars as the configuration writes them -> integer prices.

A YAML number becomes a float on its way in. Its shortest text (``repr``) is what the file said, to 17 digits; from there
on it is decimal text, and never a float again.
"""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from penstock.base.money import Price, price_from_usd_text
from penstock.config.fault import Fault, shown
from penstock.config.schema import Config, Usd

MAX_USD = 1_000_000
"""Per hour, gigabyte or unit: beyond it the unit was mistaken."""


def usd_price(value: Usd | Decimal) -> Price:
    """A price per one unit. ValueError, with a sentence, for what is no price."""
    text = (
        value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    ).strip()
    try:
        usd = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{shown(text)} is no decimal price") from error
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{shown(text)} is no finite, non-negative price")
    if usd > MAX_USD:
        raise ValueError(f"{shown(text)} is more than {MAX_USD:,} dollars")
    return price_from_usd_text(text)


def rate_faults(config: Config) -> Iterator[Fault]:
    """Prices that are none, and names that cannot be posted."""
    told: list[tuple[str, str, str, Usd]] = [
        ("compute", name, "usd_per_hour", one.usd_per_hour) for name, one in config.compute.items()
    ]
    told += [
        ("storage", name, "usd_per_gb_month", one.usd_per_gb_month) for name, one in config.storage.items()
    ]
    told += [("egress", name, "usd_per_gb", one.usd_per_gb) for name, one in config.egress.items()]
    for kind, name, field, value in told:
        path = f"$.{kind}.{name}"
        if not name or name != name.strip():
            yield Fault(path, "A name has no spaces around it, and is not empty.", "Rename it.")
        try:
            usd_price(value)
        except ValueError as error:
            yield Fault(f"{path}.{field}", f"{error}.", "Write decimal dollars, 2.49.")

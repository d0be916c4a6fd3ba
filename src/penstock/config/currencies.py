"""Rates of other currencies, as the configuration writes them: decimal text, never calculated with as a float."""

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from penstock.config.fault import Fault, shown

if TYPE_CHECKING:  # a table in dollars need not load what describes a configuration
    from penstock.config.schema import Config, Usd

_CODE = re.compile(r"[A-Z]{3}")


def rate_text(value: "Usd") -> str:
    """Dollars for one unit, as decimal text; a YAML number counts as its shortest text. ValueError for what is no rate."""
    text = (value if isinstance(value, str) else repr(value)).strip()
    try:
        usd = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{shown(text)} is no decimal rate") from error
    if not usd.is_finite() or not Decimal("1e-9") <= usd <= Decimal("1e9"):
        raise ValueError(f"{shown(text)} is no rate above 0")
    return text


def currency_faults(config: "Config") -> Iterator[Fault]:
    """Names that are no codes, rates that are none, days that are no dates."""
    for code, rate in config.currencies.items():
        path = f"$.currencies.{code}"
        if not _CODE.fullmatch(code) or code == "USD":
            yield Fault(
                path, f"{shown(code)} is no code of another currency.", "Write three capitals, such as EUR."
            )
        try:
            rate_text(rate.usd)
        except ValueError as error:
            yield Fault(f"{path}.usd", f"{error}.", "Write what one unit is in dollars: 1.08.")
        try:
            date.fromisoformat(rate.date)
        except ValueError:
            yield Fault(f"{path}.date", f"{shown(rate.date)} is no date.", "Write 2026-11-20.")

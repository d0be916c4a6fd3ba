"""What sounds are charged by, where the provider counts no tokens: the unit that the catalogue prices them in.

Rules
- A recording that is written down is charged by its seconds, words that are spoken by their characters, or by the seconds
  that were spoken. One unit, the first that has a price: to name two of them would charge twice.
- Where nothing has a price the usual unit is named all the same: the ledger shows it, and that its price is not known.
- A begun second is a second.
"""

from math import ceil

from penstock.base.models import PriceRow

HEARD = ("second_input", "second", "second_input_audio")
SPOKEN = ("character_input", "character")
SPOKEN_TOKENS_PER_S = 20
"""Audio tokens that a second of speech is: gpt-4o-mini-tts costs $0.00025 a second and $12 a million tokens (catalogue)."""
CHARACTERS_PER_S = 15
"""How fast speech is read out, to estimate sounds whose length cannot be seen: 150 words of six characters a minute."""


def heard_fees(row: PriceRow | None, seconds: float) -> tuple[tuple[str, int], ...]:
    """``Usage.fees`` for a recording of so many seconds."""
    units = {} if row is None else row.units
    unit = next((name for name in HEARD if name in units), HEARD[0])
    return ((unit, ceil(seconds)),) if seconds > 0 else ()


def by_character(row: PriceRow | None, characters: int) -> tuple[tuple[str, int], ...]:
    """``Usage.fees`` for so many characters that were spoken; empty where they have no price."""
    units = {} if row is None else row.units
    unit = next((name for name in SPOKEN if name in units), "")
    return ((unit, characters),) if unit and characters > 0 else ()


def by_second(row: PriceRow | None, seconds: float) -> tuple[tuple[str, int], ...]:
    """``Usage.fees`` for so many seconds that were spoken; empty where they have no price."""
    units = {} if row is None else row.units
    return (("second", ceil(seconds)),) if "second" in units and seconds > 0 else ()

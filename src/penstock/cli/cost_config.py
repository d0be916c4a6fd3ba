"""What ``penstock cost`` takes from the configuration: owned compute and rates. Without a file, neither is known."""

import os
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from penstock.base.errors import BadRequest, ConfigFault
from penstock.cli.place import DEFAULT_CONFIG, ledger_at
from penstock.ledger.currency import DOLLARS, Rate
from penstock.ledger.stages import Pool

DEFAULT_LEDGER = "penstock.db"


class Told(Struct, frozen=True):
    """``pools`` is None where there is no configuration. ``ledger``: its own, or the default."""

    pools: tuple[Pool, ...] | None = None
    rates: tuple[Rate, ...] = ()
    ledger: str = DEFAULT_LEDGER

    def rate(self, code: str | None) -> Rate:
        """The rate of a currency; dollars for none. Raises BadRequest."""
        if code is None or code.upper() == DOLLARS.code:
            return DOLLARS
        for rate in self.rates:
            if rate.code == code.upper():
                return rate
        known = ", ".join(rate.code for rate in self.rates)
        hint = f"Known: {known}." if known else "Add currencies: {EUR: {usd: 1.08, date: 2026-11-20}}."
        if self.pools is None:
            hint = "Name the configuration that has it with --config."
        raise BadRequest(f"There is no rate for {code!r}.", param="--currency", hint=hint)


def told_by(path: str | None, db: str | None = None) -> Told:
    """What a configuration says: the named one, else the penstock.yaml that is here; ``db`` is another ledger. Raises ConfigFault with its first fault.

    Its secrets need not be at hand, but for the ledger's.
    """
    named = None if db is None else ledger_at(db)
    if path is None:
        if not DEFAULT_CONFIG.exists():
            return Told(ledger=named or DEFAULT_LEDGER)
        path = str(DEFAULT_CONFIG)
    # Reading a configuration takes longer to load than most tables take to make.
    from penstock.cli.office import ledger_of  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.config.catalogue import Catalogue  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.config.load import load  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.config.rates import usd_price  # noqa: PLC0415 - see tests/house/test_floors.py
    from penstock.ledger.currency import rates_of  # noqa: PLC0415 - see tests/house/test_floors.py

    today = datetime.now(UTC).date().isoformat()
    loaded = load(Path(path), os.environ, Catalogue.load(), today, secrets=False)
    if loaded.config is None:
        first = loaded.faults[0]
        raise ConfigFault(
            f"{path}: {first.message}",
            path=first.path,
            hint=f"{first.remedy} `penstock check` lists all faults.",
        )
    config = loaded.config
    pools = (Pool(name, usd_price(pool.usd_per_hour), pool.owned) for name, pool in config.compute.items())
    return Told(
        tuple(pools), rates_of(config), ledger_of(config, Path(path).parent) if named is None else named
    )

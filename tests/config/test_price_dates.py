"""Prices have dates: what a call costs is decided by when it began, for the catalogue's prices and one's own."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.models import PriceRow
from penstock.base.money import Price
from penstock.base.usage import Usage
from penstock.config.catalogue import Catalogue
from penstock.config.price_lines import followed, parse_prices, starts_ms
from penstock.config.schema import PriceOverride
from penstock.ledger.prices import price_lines, row_at
from penstock.server import express
from tests.config.make import loaded
from tests.gateway.inside import chat, inside, whole

ARGON = ("gemini", "gemini-4-argon")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def own(text: str, starts: str | None = None, model: str = "openai/gpt-4o-mini") -> PriceOverride:
    return PriceOverride(model=model, usd_per_million={"input": text}, starts=starts)


def input_usd(row: PriceRow | None) -> Decimal | None:
    if row is None or "input" not in row.units:
        return None
    price = row.units["input"]
    return Decimal(price.pico_usd) / price.per / 10**6


@given(st.lists(st.integers(1, 10**13), unique=True, max_size=6), st.integers(0, 10**13))
def test_the_row_in_force_is_the_last_that_began(starts, at_ms):
    """Never one that comes later; before the first dated one, the row itself."""
    later = [PriceRow(f"v{start}", {}, from_ms=start) for start in sorted(starts)]
    row = followed(PriceRow("v0", {}), later)
    found = row_at(row, at_ms)
    begun = [start for start in starts if start <= at_ms]
    assert found is not None
    assert found.version == f"v{max(begun, default=0)}"
    assert found.passing is any(start > at_ms for start in starts)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001 - read as UTC below
def test_the_clock_says_which_price_holds(moment):
    """Half the price, but on weekdays from 1 to 4 and from 6 to 10 o'clock UTC; what is free stays free."""
    row = parse_prices(
        "cache_write_5m=0 input=4e-6 ~off_peak input=2e-6 %12345/0000-0100,0400-0600,1000-2400;67/0000-2400",
        "s",
        "d",
    )
    found = row_at(row, int(moment.replace(tzinfo=UTC).timestamp() * 1000))
    assert found is not None
    peak = moment.weekday() < 5 and moment.hour in (1, 2, 3, 6, 7, 8, 9)
    assert input_usd(found) == (4 if peak else 2)
    assert found.units["cache_write_5m"].pico_usd == 0
    assert (found.version, found.passing) == (row.version, True)


def test_a_row_that_another_follows_is_kept_by_nobody():
    """The express lane keeps prices from call to call: only those that hold at any time, or are the last."""
    first, second, last = (
        PriceRow(f"v{start}", {"input": Price(1), "output": Price(2)}, from_ms=start) for start in (0, 5, 9)
    )
    row = followed(first, [second, last])
    kept = [express._priced(found) for at_ms in (0, 5, 9) if (found := row_at(row, at_ms)) is not None]
    assert kept == [False, False, True]
    assert express._priced(first)


def test_a_price_line_has_dated_rows():
    """Each is whole, with its tiers and services, and has a version of its own."""
    row = parse_prices(
        "input=1e-6 >10 input=2e-6 @2026-12-01 input=3e-6 ~batch input=1e-6", "s", "2026-11-21"
    )
    assert [successor.from_ms for successor in row.later] == [ms("2026-12-01")]
    (after,) = row.later
    assert (len(row.tiers), len(after.tiers), list(after.service)) == (1, 0, ["batch"])
    assert after.version != row.version
    last_ms = ms("2026-12-01") - 1
    assert input_usd(row_at(row, last_ms)) == 1
    assert input_usd(row_at(row, last_ms + 1)) == 3


def test_the_catalogue_knows_a_price_that_ends():
    """gemini-4-argon is 2/10 until 30 November, then 4/20; what the list does not say of then is unknown, not the same."""
    row = Catalogue.load().facts(*ARGON).price
    usage = Usage(input=1000, output=100)
    assert price_lines(usage, row_at(row, ms("2026-11-30T23:59:59")))[1] == 1000 * 2000 + 100 * 10_000
    assert price_lines(usage, row_at(row, ms("2026-12-01")))[1] == 1000 * 4000 + 100 * 20_000
    assert price_lines(Usage(cache_read=1), row_at(row, ms("2026-12-01")))[1] is None


def test_own_prices_take_over_from_their_day_on():
    """Before it the catalogue's hold; after it none of them, its later ones included."""
    row = Catalogue((own("9", "2026-11-25", "gemini/gemini-4-argon"),)).facts(*ARGON).price
    days = ("2026-11-24", "2026-11-25", "2026-12-02")
    assert [input_usd(row_at(row, ms(day))) for day in days] == [2, 9, 9]
    row = Catalogue((own("9", "2026-12-05", "gemini/gemini-4-argon"),)).facts(*ARGON).price
    assert [input_usd(row_at(row, ms(day))) for day in (*days, "2026-12-05")] == [2, 2, 4, 9]


def test_an_own_price_without_a_date_was_always_there():
    """And those with one follow it, in whatever order they are written."""
    prices = (own("3", "2026-12-03"), own("2", "2026-12-02"), own("1"))
    row = Catalogue(prices).facts("openai", "gpt-4o-mini").price
    days = ("2020-01-01", "2026-12-01", "2026-12-02", "2026-12-31")
    assert [input_usd(row_at(row, ms(day))) for day in days] == [1, 1, 2, 3]


def test_a_model_without_a_price_is_unknown_until_its_own_begins():
    """Not free, and not at the price that it will have."""
    row = Catalogue((own("2", "2026-12-01", "lab/none"),)).facts("lab", "none").price
    before, after = (
        price_lines(Usage(input=5), row_at(row, ms(day))) for day in ("2026-11-30", "2026-12-01")
    )
    assert (before[1], before[0][0].price_version) == (None, "unknown")
    assert after[1] == 10_000


def test_an_own_price_keeps_the_text_it_was_written_in():
    """ "0.150" stays "0.150"; its version is of the figure and the day, not of its zeros."""
    rows = [
        Catalogue((one,)).facts("lab", "none").price
        for one in (
            own("0.150", model="lab/none"),
            own("0.15", model="lab/none"),
            own("0.15", "2026-12-01", "lab/none"),
        )
    ]
    assert rows[0] is not None
    assert rows[2] is not None
    assert rows[0].units["input"] == Price(150_000, 1, "0.150")
    assert rows[1] is not None
    assert rows[2].later[0].version != rows[1].version


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-01", "2026-12-01"),
        ("2026-12-01T06:30:00", "2026-12-01T06:30"),
        ("2026-12-01T00:00:00+01:00", "2026-11-30T23:00"),
    ],
)
def test_a_day_begins_in_utc_unless_it_says_otherwise(text, utc):
    """Exactly, without a float."""
    assert starts_ms(text) == ms(utc)


TWICE = """
providers: {openai: {keys: [{value: env.A}]}}
prices:
  - {model: openai/gpt-4o, from: %s, usd_per_million: {input: "1"}}
  - {model: openai/gpt-4o, from: %s, usd_per_million: {input: "2"}}
"""


def test_a_config_with_dates_loads_as_written():
    """A YAML date without quotes is text here; two prices of two days are no fault."""
    found = loaded(TWICE % ("2026-12-01", "2026-12-02"))
    assert found.faults == []
    assert found.config is not None
    assert [price.starts for price in found.config.prices] == ["2026-12-01", "2026-12-02"]


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        ("2026-12-01", "2026-12-01T00:00:00Z", "$.prices[1].model"),
        ("tomorrow", "2026-12-01", "$.prices[0].from"),
        ("2026-12-01", "2026-02-30", "$.prices[1].from"),
    ],
)
def test_a_date_that_is_none_or_taken_is_a_fault_with_its_place(first, second, path):
    """The same moment written in two ways is one moment."""
    (fault,) = loaded(TWICE % (first, second)).faults
    assert fault.path == path
    assert "2026-12-01" in fault.remedy


DATED = """
providers: {openai: {keys: [{value: env.OPENAI}]}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "1", output: "1"}}
  - {model: openai/gpt-4o-mini, from: %s, usd_per_million: {input: "2", output: "2"}}
"""


@pytest.mark.parametrize(("starts", "nusd"), [("1970-01-02", 11 * 2000), ("2999-01-01", 11 * 1000)])
def test_the_ledger_has_the_price_of_the_moment(tmp_path: Path, starts, nusd):
    """Cost, lines and the entry's version are all of the row in force when the attempt began."""
    with inside(tmp_path, DATED % starts, openai=[whole()]) as house:
        asyncio.run(house.call(chat()))
        (entry,) = house.record().entries
        assert entry.cost_nusd == nusd
        assert {line.price_version for line in entry.lines} == {entry.price_version}

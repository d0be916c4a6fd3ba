"""Windows cut time into pieces, in every zone and at every clock change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.ledger.periods import window_at

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "America/St_Johns",
    "Asia/Beirut", "Pacific/Apia", "Pacific/Kwajalein", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca",
]  # fmt: skip
PERIODS = ["day", "week", "month"]


def unix(zone: str, *when: int) -> float:
    return datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(("when", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_in_berlin_has_the_hours_that_its_clocks_give_it(when, hours):
    """23 in spring, 25 in autumn."""
    window = window_at("day", ZoneInfo("Europe/Berlin"), unix("Europe/Berlin", *when, 12))
    assert window.start_s == unix("Europe/Berlin", *when)
    assert window.end_s - window.start_s == hours * 3600


def test_a_week_begins_on_monday_and_a_month_on_the_first():
    """In local time; December is followed by January."""
    zone = ZoneInfo("America/New_York")
    week = window_at("week", zone, unix("America/New_York", 2026, 11, 22, 23, 59))
    assert week.start_s == unix("America/New_York", 2026, 11, 16)
    assert week.end_s == unix("America/New_York", 2026, 11, 23)
    month = window_at("month", zone, unix("America/New_York", 2026, 12, 31, 23, 59))
    assert month.start_s == unix("America/New_York", 2026, 12, 1)
    assert month.end_s == unix("America/New_York", 2027, 1, 1)


def test_a_day_that_a_country_left_out_has_no_window():
    """Samoa went from 29 to 31 December 2011."""
    zone = ZoneInfo("Pacific/Apia")
    before = window_at("day", zone, unix("Pacific/Apia", 2011, 12, 29, 12))
    assert before.end_s == unix("Pacific/Apia", 2011, 12, 31)
    assert window_at("day", zone, before.end_s).start_s == before.end_s


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(PERIODS), st.integers(0, 2_000_000_000))
def test_windows_have_no_gap_and_no_overlap(zone, period, unix_s):
    """Every instant lies in its window; the instant after the end opens the next; the one before the start, the last."""
    window = window_at(period, ZoneInfo(zone), unix_s)
    assert window.start_s <= unix_s < window.end_s
    assert window_at(period, ZoneInfo(zone), window.start_s) == window
    assert window_at(period, ZoneInfo(zone), window.end_s - 0.001) == window
    assert window_at(period, ZoneInfo(zone), window.end_s).start_s == window.end_s
    assert window_at(period, ZoneInfo(zone), window.start_s - 0.001).end_s == window.start_s


@pytest.mark.parametrize("zone", ZONES)
def test_the_hours_around_every_clock_change_are_cut_cleanly(zone):
    """Quarter by quarter through two years with changes at and near midnight."""
    for year in (1993, 2010, 2011):
        at_s = datetime(year, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp()
        end_s, window = at_s + 366 * 86_400, window_at("day", ZoneInfo(zone), at_s)
        while at_s < end_s:
            now = window_at("day", ZoneInfo(zone), at_s)
            assert now == window or now.start_s == window.end_s
            assert now.start_s <= at_s < now.end_s
            window, at_s = now, at_s + 3600

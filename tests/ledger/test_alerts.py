"""Thresholds are told once a window; a forecast is a straight line through the recent past."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ledger.alerts import THRESHOLDS_PERCENT, Alert, Rate, Told, read, told_of
from penstock.ledger.alerts import alerts as new_alerts
from penstock.ledger.budgets import Bucket, Budget, Budgets, Node
from penstock.ledger.pool import Pool

START = datetime(2026, 11, 21, tzinfo=ZoneInfo("UTC")).timestamp()
DAY = 86_400


def alerts(bucket: Bucket, told: Told) -> tuple[list[Alert], Told]:
    """What is new of a bucket, and what is told from then on."""
    new = new_alerts(read(bucket), told)
    return new, told_of(new[-1]) if new else told


def budgets() -> Budgets:
    return Budgets([Node("team", None, (Budget("day", 1000, "day"),))])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), max_size=40))
def test_each_threshold_is_told_once_a_window_when_it_is_reached(steps):
    """Whatever the steps; a big one tells several, lowest first."""
    book, told, now_s, said = budgets(), Told(), START, []
    account = book.accounts["team", "day"]
    for days, spent in steps:
        now_s += days * DAY
        bucket = account.at(now_s)
        bucket.spent += spent
        new, told = alerts(bucket, told)
        said += [(one.reading.start_s, one.percent) for one in new]
        reached = {percent for percent in THRESHOLDS_PERCENT if bucket.spent * 100 >= 1000 * percent}
        assert {percent for at_s, percent in said if at_s == bucket.start_s} == reached
    assert said == sorted(set(said))


def test_a_correction_takes_no_alert_back_and_tells_none_twice():
    """A late settlement can lower what was spent; and an earlier window's is silent."""
    book, told = budgets(), Told()
    account = book.accounts["team", "day"]
    bucket = account.at(START)
    bucket.spent = 810
    new, told = alerts(bucket, told)
    assert [(one.percent, one.reading.spent_nusd, one.reading.spec.limit_nusd, one.reading.node) for one in new] == [
        (50, 810, 1000, "team"), (80, 810, 1000, "team"),
    ]  # fmt: skip
    bucket.spent = 700
    assert alerts(bucket, told)[0] == []
    bucket.spent = 950
    new, told = alerts(bucket, told)
    assert [one.percent for one in new] == [95]
    later = account.at(START + DAY)
    later.spent = 500
    new, told = alerts(later, told)
    assert [one.percent for one in new] == [50]
    bucket.spent = 1000
    assert alerts(bucket, told) == ([], told)


def test_the_forecast_is_when_the_recent_rate_meets_the_limit():
    """1 a second from 0: after an hour at 100 more an hour it is the recent rate that counts."""
    account = budgets().accounts["team", "day"]
    rate, bucket = Rate(span_s=600, readings=10), account.at(START)
    assert rate.forecast_s(read(bucket), START) is None
    for minute in range(6):
        bucket.spent = minute * 60
        rate.read(read(bucket), START + minute * 60)
    assert rate.forecast_s(read(bucket), START + 300) == pytest.approx(START + 1000)
    for minute in range(6, 40):
        bucket.spent += 10
        rate.read(read(bucket), START + minute * 60)
    assert bucket.spent == 640
    assert rate.forecast_s(read(bucket), START + 39 * 60) == pytest.approx(START + 39 * 60 + 360 * 6)


def test_a_forecast_beyond_the_window_or_without_a_rate_is_none():
    """Nothing is spent: nothing is forecast; the limit is reached: it is now."""
    account = budgets().accounts["team", "day"]
    rate, bucket = Rate(), account.at(START)
    rate.read(read(bucket), START)
    assert rate.forecast_s(read(bucket), START + 60) is None
    bucket.spent = 1
    assert rate.forecast_s(read(bucket), START + 3600) is None
    bucket.spent = 1000
    assert rate.forecast_s(read(bucket), START + 7) == START + 7
    tomorrow = account.at(START + DAY)
    assert rate.forecast_s(read(tomorrow), START + DAY + 1) is None, (
        "yesterday's readings are not today's rate"
    )
    rate.read(read(tomorrow), START + DAY + 1)
    tomorrow.spent = 500
    assert rate.forecast_s(read(tomorrow), START + DAY + 101) == pytest.approx(START + DAY + 201)


def test_readings_are_bounded():
    """However often it is read."""
    account = budgets().accounts["team", "day"]
    rate, bucket = Rate(span_s=100, readings=10), account.at(START)
    for tenth in range(5000):
        rate.read(read(bucket), START + tenth / 10)
    assert len(rate._readings) <= 12


def test_another_limit_has_thresholds_of_its_own():
    """Who raises a limit wants to hear of the new one."""
    account = budgets().accounts["team", "day"]
    bucket = account.at(START)
    bucket.spent = 960
    new, told = alerts(bucket, Told())
    assert [one.percent for one in new] == [50, 80, 95]
    account.change(Budget("day", 1500, "day"))
    new, told = alerts(bucket, told)
    assert [(one.percent, one.reading.spec.limit_nusd) for one in new] == [(50, 1500)]
    assert alerts(bucket, told) == ([], told)


def test_of_all_who_claim_an_alert_one_may_tell_it():
    """Also after its lease, and after it has gone; another threshold, limit or window is another claim."""
    account = budgets().accounts["team", "day"]
    bucket = account.at(START)
    bucket.spent = 800
    fifty, eighty = new_alerts(read(bucket), Told())
    pool = Pool()
    asked = [("a", 1), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    grants = [pool.exchange(fifty.claim(*one), START) for one in asked]
    assert [grant.granted for grant in grants] == [1, 0, 1, 1, 0], "asking again is answered alike"
    assert {grant.taken for grant in grants} == {1}
    pool.expire(START + 1000)
    assert pool.exchange(fifty.claim("c", 1), START + 1000).granted == 0
    assert pool.exchange(eighty.claim("c", 1), START + 1000).granted == 1
    account.change(Budget("day", 1600, "day"))
    (raised,) = new_alerts(read(bucket), Told())
    assert raised.percent == 50
    assert pool.exchange(raised.claim("c", 1), START + 1000).granted == 1


def test_what_the_store_knows_of_others_counts():
    """And what it has not yet heard of this process does, too."""
    bucket = budgets().accounts["team", "day"].at(START)
    bucket.spent = 300
    assert read(bucket, 900).spent_nusd == 900
    assert read(bucket, 100).spent_nusd == 300

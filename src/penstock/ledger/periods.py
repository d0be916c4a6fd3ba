"""Calendar windows: the day, the week (from Monday) or the month of a time zone, as instants.

Windows of one period and zone cut time into pieces without gap or overlap, also where a clock change skips midnight,
strikes it twice, or drops a whole day: a window begins when its first local midnight is struck (where it is skipped: when it would have been).
"""

from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

Period = Literal["day", "week", "month"]


class Window(Struct, frozen=True):
    """From ``start_s`` (within) to ``end_s`` (beyond), in unix seconds."""

    start_s: float
    end_s: float


def window_at(period: Period, zone: ZoneInfo, unix_s: float) -> Window:
    """The window in which ``unix_s`` lies."""
    first = _first_day(period, datetime.fromtimestamp(unix_s, zone).date())
    # Around a clock change at midnight the local date can run ahead of the window, or fall behind it, by one.
    while unix_s < _midnight_s(first, zone):
        first = _first_day(period, first - timedelta(days=1))
    after = _next(period, first)
    while unix_s >= _midnight_s(after, zone):
        first, after = after, _next(period, after)
    return Window(_midnight_s(first, zone), _midnight_s(after, zone))


def _first_day(period: Period, day: date) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def _next(period: Period, first: date) -> date:
    if period == "month":
        return date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return first + timedelta(days=7 if period == "week" else 1)


def _midnight_s(day: date, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()

"""When a provider says "not now", how long? One parser for every spelling.

Understood: ``retry-after-ms``; ``retry-after`` in seconds or as an HTTP date; OpenAI's ``x-ratelimit-reset-*`` as Go
durations ("6m0s", "12ms"); Anthropic's ``anthropic-ratelimit-*-reset`` as RFC 3339 times; Google's RetryInfo
("31.5s"). A reset header is a time to full refill, so it is used only beside a matching ``remaining`` of 0.
"""

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

from penstock.wire.http import Headers, header

_GO_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")


def retry_after_s(headers: Headers, now_unix_s: float) -> float | None:
    """Seconds to wait as the headers say, never negative; None where they say nothing that can be read."""
    text = _text(headers, b"retry-after-ms")
    if text is not None and (number := _number(text)) is not None:
        return max(0.0, number / 1000)
    text = _text(headers, b"retry-after")
    if text is not None:
        if (number := _number(text)) is not None:
            return max(0.0, number)
        if (moment := _http_date(text)) is not None:
            return max(0.0, moment - now_unix_s)
    return _reset_s(headers, now_unix_s)


def go_duration_s(text: str) -> float | None:
    """ "1m30.5s" -> 90.5; plain seconds are taken too; None for anything else."""
    text = text.strip()
    if (number := _number(text)) is not None:
        return number
    parts = _GO_PART.findall(text)
    if not parts or "".join(value + unit for value, unit in parts) != text:
        return None
    return sum(float(value) * _GO_UNIT_S[unit] for value, unit in parts)


def _reset_s(headers: Headers, now_unix_s: float) -> float | None:
    waits: list[float] = []
    for name, value in headers:
        if b"ratelimit-" not in name or b"remaining" not in name or value.strip() not in (b"0", b"-1"):
            continue
        reset = name.replace(b"remaining", b"reset")
        text = _text(headers, reset)
        if text is None:
            continue
        wait = go_duration_s(text)
        if wait is None and (moment := _rfc3339(text)) is not None:
            wait = moment - now_unix_s
        if wait is not None:
            waits.append(max(0.0, wait))
    return max(waits) if waits else None


def _text(headers: Headers, name: bytes) -> str | None:
    value = header(headers, name)
    return None if value is None else value.decode("latin-1").strip()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _rfc3339(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None

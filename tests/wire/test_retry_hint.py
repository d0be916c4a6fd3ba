"""Every spelling of "not now" is understood, and none is made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.http import Headers
from penstock.wire.retry_hint import go_duration_s, retry_after_s

NOW = 1_794_000_000.0  # Fri, 06 Nov 2026 21:20:00 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b"0.5")], 0.5),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"7")], 0.25),
        ([(b"retry-after", b"Fri, 06 Nov 2026 21:20:30 GMT")], 30.0),
        ([(b"retry-after", b"Fri, 06 Nov 2026 21:19:30 GMT")], 0.0),
        ([(b"retry-after", b"-3")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT")], None),
        ([(b"retry-after", b"Mon, 01 Jan 2020 00:00:00 +99999999999999999999")], None),
        ([(b"retry-after", b"inf")], None),
        ([], None),
        ([(b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-reset-requests", b"1m0.5s")], 60.5),
        ([(b"x-ratelimit-remaining-requests", b"3"), (b"x-ratelimit-reset-requests", b"6m0s")], None),
        (
            [
                (b"x-ratelimit-remaining-requests", b"0"),
                (b"x-ratelimit-reset-requests", b"12ms"),
                (b"x-ratelimit-remaining-tokens", b"0"),
                (b"x-ratelimit-reset-tokens", b"2s"),
            ],
            2.0,
        ),
        (
            [
                (b"anthropic-ratelimit-tokens-remaining", b"0"),
                (b"anthropic-ratelimit-tokens-reset", b"2026-11-06T21:20:12Z"),
            ],
            12.0,
        ),
        ([(b"x-ratelimit-remaining-tokens", b"-1"), (b"x-ratelimit-reset-tokens", b"9")], 9.0),
        ([(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"whenever")], None),
    ],
)
def test_behaviour_28_headers_say_how_long_to_wait(headers: Headers, expected: float | None) -> None:
    assert retry_after_s(headers, NOW) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12ms", 0.012),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("250µs", 0.00025),
        ("31.5s", 31.5),
        ("8", 8.0),
        ("1m nonsense", None),
        ("", None),
        ("5 s", None),
    ],
)
def test_go_durations(text: str, expected: float | None) -> None:
    assert go_duration_s(text) == (None if expected is None else pytest.approx(expected))


@given(
    st.binary(max_size=40), st.sampled_from([b"retry-after", b"retry-after-ms", b"x-ratelimit-reset-tokens"])
)
def test_no_header_can_crash_it_or_make_it_negative(value: bytes, name: bytes) -> None:
    wait = retry_after_s([(b"x-ratelimit-remaining-tokens", b"0"), (name, value)], NOW)
    assert wait is None or wait >= 0

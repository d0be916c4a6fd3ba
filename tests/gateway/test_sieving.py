"""Static vectors are asked where they spare more than they cost."""

import time

from penstock.gateway.caching.sieving import SIEVED_ANYWAY, Paying


class Slow:
    """Takes a millisecond, and says what it is told to."""

    def __init__(self, *, near: bool) -> None:
        self.near = near
        self.asked = 0

    def passes(self, partition: bytes, text: str) -> bool:
        self.asked += 1
        end_s = time.monotonic() + 0.001
        while time.monotonic() < end_s:
            pass
        return self.near

    def insert(self, partition: bytes, entry_id: str, text: str) -> None:
        raise AssertionError

    def remove(self, entry_id: str) -> None:
        raise AssertionError


def test_where_nothing_is_near_they_are_asked_each_time():
    """Each spares an embedding of a second."""
    paying, sieve = Paying(), Slow(near=False)
    assert not any(paying.near(sieve, b"p", "text", 1.0) for _ in range(40))
    assert sieve.asked == 40


def test_where_all_is_near_they_are_asked_now_and_then():
    """What they would spare is less than what they take; a change is seen all the same."""
    paying, sieve = Paying(), Slow(near=True)
    assert all(paying.near(sieve, b"p", "text", 0.000001) for _ in range(40 * SIEVED_ANYWAY))
    assert 40 <= sieve.asked <= 42
    sieve.near = False
    assert not all(paying.near(sieve, b"p", "text", 0.000001) for _ in range(SIEVED_ANYWAY))

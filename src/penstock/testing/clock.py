"""A clock that stands still until it is told to go on."""

NOON_UNIX_S = 1_795_176_000.0
"""2026-11-20 12:00 UTC: any fixed moment does."""


class FakeClock:
    """A ``base.clock.Clock`` whose time a test decides.

    >>> clock = FakeClock()
    >>> clock.advance(2.5)
    >>> clock.monotonic_s()
    2.5
    """

    def __init__(self, monotonic_s: float = 0.0, unix_s: float = NOON_UNIX_S) -> None:
        self._monotonic_s = monotonic_s
        self._unix_s = unix_s

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self._monotonic_s

    def unix_s(self) -> float:
        """Seconds since 1970."""
        return self._unix_s

    def advance(self, seconds: float) -> None:
        """Both readings go on. ValueError for less than nothing: a monotonic clock never goes back."""
        if seconds < 0:
            raise ValueError("A clock does not go back; use set_unix_s for a wall clock that was put right.")
        self._monotonic_s += seconds
        self._unix_s += seconds

    def set_unix_s(self, unix_s: float) -> None:
        """The wall clock alone is put right, as by NTP."""
        self._unix_s = unix_s

"""Time as a port: what decides takes ``now``; what acts owns a clock; tests inject one."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: a monotonic one for durations, a wall one for the ledger."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        ...

    def unix_s(self) -> float:
        """Seconds since 1970, for records."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def unix_s(self) -> float:
        """Seconds since 1970, for records."""
        return time.time()

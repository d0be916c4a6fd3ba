"""The clock of what is kept: other processes read the same times."""

import time


def unix_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000

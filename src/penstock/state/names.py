"""Names of runs: a holder of slices is one run of one process, and its name is never used again."""

import os
import time


def new_run() -> str:
    """A name that no other run has, had or will have: the moment, and 80 random bits."""
    return f"{int(time.time() * 1000):012x}-{os.urandom(10).hex()}"

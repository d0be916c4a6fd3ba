# What it does is in _copy.pyx.

from typing import Any

SOURCES: str

def tuples(rows: list[list[Any]], kinds: bytes) -> bytes: ...
def spoken(rows: list[list[Any]], kinds: bytes, silent: tuple[Any, ...]) -> bytes: ...

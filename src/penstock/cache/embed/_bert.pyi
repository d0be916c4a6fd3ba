# What it does is in _bert.pyx.

from collections.abc import Sequence
from typing import Any

SOURCES: str

def able() -> bool: ...

class Bert:
    def __init__(
        self, sizes: tuple[int, int, int, int, int, int], epsilon: float, parts: Sequence[Any]
    ) -> None: ...
    def embed(self, pieces: Sequence[int]) -> bytes: ...

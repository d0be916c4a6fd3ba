# What it does is in _rows.pyx.

from typing import Any

SOURCES: str

def available() -> bool: ...

class Writer:
    def __init__(
        self,
        path: str,
        pragmas: tuple[str, ...],
        statements: tuple[tuple[str, ...], tuple[str, ...]],
        widths: tuple[int, int],
        form: type,
    ) -> None: ...
    @property
    def bindings(self) -> int: ...
    def execute(self, statement: bytes) -> None: ...
    def write(self, batch: list[Any]) -> int: ...
    def close(self) -> None: ...

# What it does is in _till.pyx.

from typing import Any

SOURCES: str

class Bucket:
    account: Any
    start_s: float
    end_s: float
    spent: int
    committed: int
    limit: int
    ceiling: int
    moved: bool

    def __init__(self, account: Any, start_s: float, end_s: float) -> None: ...
    @property
    def reserved(self) -> int: ...

class Held:
    @property
    def buckets(self) -> tuple[Any, ...]: ...
    @property
    def amount(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    def settle(self, cost_nusd: int | None) -> None: ...

class Till:
    def __init__(
        self,
        treasury: Any,
        path: Any,
        prices: tuple[int, int, int, int],
        places: list[tuple[Any, dict[str, float] | None, int, float]],
        limits: Any,
        moved: set[Any],
    ) -> None: ...
    def amount(self, body_bytes: int) -> int: ...
    def take(self, rid: str, body_bytes: int, tokens: int, now_s: float) -> Held | bool: ...
    def leave(self, rid: str, estimated: int, used: int, now_s: float) -> None: ...

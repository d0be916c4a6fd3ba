# What it does is in _shortcut.pyx.

from collections.abc import Callable

from penstock.wire.sse import Mould

SOURCES: str

class Shortcut:
    def __init__(
        self, mould: Mould, forward: Callable[[bytes], None], slow: Callable[[bytes], bool]
    ) -> None: ...
    def take(self, data: bytes, /) -> bool: ...

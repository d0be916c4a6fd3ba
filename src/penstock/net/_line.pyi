# What it does is in line.py.

from collections.abc import Callable

from penstock.net.exchange import Exchange

SOURCES: str

class Line:
    exchange: Exchange | None
    shortcut: Callable[[bytes], bool] | None

    def __init__(self) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def received(self, data: bytes) -> None: ...

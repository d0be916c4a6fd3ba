"""The first step of what a provider sends: to the shortcut where there is one, else to the parser.

It is a class of its own because it is all that runs for a usual event of a stream, tens of thousands of times a second: in
native code (_line.pyx) where that was built, so that such an event comes from one socket and leaves by another without a
Python frame. Between two events other processes have had the processor's caches; what an event costs is what it touches.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.base.native import load_native
from penstock.net.exchange import Exchange

native, missing = load_native("penstock.net", "_line", Path(__file__).parent)
"""``missing``: why there is none; "" where there is."""


class PythonLine:
    """Bytes of a socket, while an exchange is under way."""

    __slots__ = ("exchange", "shortcut")

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.shortcut: Callable[[bytes], bool] | None = None
        """The exchange's, while the parser stands between two chunks."""

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes. The hot path."""
        exchange, shortcut = self.exchange, self.shortcut
        if shortcut is None or exchange is None:
            self.received(data)
            return
        try:
            taken = shortcut(data)
        except BaseException as error:
            exchange.fail(error)
            if not isinstance(error, Exception):
                raise
            return
        if taken:
            exchange.touched = True
        else:
            self.received(data)

    def received(self, data: bytes) -> None:
        """What no shortcut takes."""
        raise NotImplementedError


Line = PythonLine if TYPE_CHECKING or native is None else native.Line

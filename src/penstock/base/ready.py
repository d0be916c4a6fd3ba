"""Types made ready for msgspec, once, before threads share them.

Theory
------
msgspec works out what it knows of a Struct where it is first decoded or converted, and keeps it in the class; it calls Python on
the way (annotations), so that another thread may run. A second thread that meets the same class then finds half of it: a
KeyError that names the class, or the end of the process (msgspec 0.22.0 on Python 3.11, seen 2026-11-22: most runs of
tests/config/test_ready.py without this). Types of which the whole tree is known are read by any thread without harm.

Rule: who converts to a type at run time, and not in one thread alone, calls ``ready`` first, of the outermost type. Decoders made
at the import of a module need nothing: one thread imports it.
"""

import threading
from typing import Any

import msgspec

_lock = threading.Lock()
_known: set[Any] = set()


def ready(kind: Any) -> None:
    """From here on any thread may convert to it, and to all that is in it."""
    if kind in _known:
        return
    with _lock:
        if kind not in _known:
            msgspec.msgpack.Decoder(kind)
            _known.add(kind)

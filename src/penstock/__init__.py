"""Penstock: AI inference in production, at the lowest latency and cost per result, and proof of it."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from penstock.meter.surface import meter

__version__ = "0.1.0"
__all__ = ["__version__", "meter"]


def __getattr__(name: str) -> _typing.Any:
    """``penstock.meter`` is loaded when it is first named: ``import penstock`` stays free of it."""
    if name == "meter":
        return _importlib.import_module("penstock.meter")
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")

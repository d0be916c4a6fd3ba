"""The engine wing: where each millisecond of a PyTorch inference goes, and what to do about it.

Owns: traces, timings, findings, workloads, kernels. Does not own: providers, routing, callers - the gateway's wing, which it
never imports. Rules: what reads a trace file or decides about one needs no torch; torch is imported by the files that run it.
"""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from penstock.engine.lab.session import profile

__all__ = ["profile"]


def __getattr__(name: str) -> _typing.Any:
    """``penstock.engine.profile`` is loaded when it is first named: ``import penstock.engine`` stays free of torch."""
    if name == "profile":
        try:
            return _importlib.import_module("penstock.engine.lab.session").profile
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "numpy", "psutil"):
                raise
            raise ModuleNotFoundError(
                f"penstock.engine.profile runs models, and {error.name} is not installed: "
                "pip install 'penstock[engine]'. A trace file needs none of it: penstock profile trace.json.gz.",
                name=error.name,
            ) from error
    raise AttributeError(f"module 'penstock.engine' has no attribute {name!r}")

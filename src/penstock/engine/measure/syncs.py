"""Reads that stop the host until the device has caught up, found without a GPU, with the user's source line.

An op in ``STOPS`` needs a value on the host (``item``) or the size of its result (``nonzero``). On a GPU that is a wait for all
work queued so far; here it is counted. Tensors that live on the CPU by design are told apart by where they are kept.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from msgspec import Struct
from torch.utils._pytree import tree_leaves

from penstock.engine.measure import inside, traffic
from penstock.engine.measure.places import in_library

STOPS = {
    "aten::_local_scalar_dense": "item",
    "aten::nonzero": "nonzero",
    "aten::equal": "equal",
    "aten::is_nonzero": "is_nonzero",
    "aten::masked_select": "masked_select",
    "aten::_unique": "unique",
    "aten::_unique2": "unique",
    "aten::unique_dim": "unique",
    "aten::unique_consecutive": "unique",
    "aten::bincount": "bincount",
    "aten::linalg_eig": "linalg_eig",
    "aten::linalg_eigvals": "linalg_eigvals",
}
"""Always: by the op's name."""
MASKED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""Only with a boolean mask, whose number of set elements must be known."""
METHODS = {"cpu": "copy to host", "tolist": "tolist"}
"""Tensor methods that read from the device, and that on a CPU never become an op."""
COPIES = {"aten::_to_copy", "aten::copy_"}
"""From the device to the host, and back unless the host's memory is pinned: only where both are present."""
READS = {"item", "tolist", "equal", "is_nonzero", "copy to host"}
"""What only reads: the others go on to launch what they have asked the size for."""
_PACKAGE = Path(__file__).parents[2]
OWN = (
    str(Path(torch.__file__).parent),
    str(_PACKAGE / "engine"),  # and engine_wiring
    str(warnings.__file__),
)
"""Files that are never the user's line: PyTorch's, and the engine's own."""
COMMAND = str(_PACKAGE / "cli")
"""Who runs the user's code from the command line."""


SYNCHRONISING = "called a synchronizing"
"""What every warning of PyTorch's sync debug mode says."""


class SyncDebug(Protocol):
    """A device that can say when it is waited for: ``torch.cuda``."""

    def get_sync_debug_mode(self) -> Any:
        """The mode now."""
        ...

    def set_sync_debug_mode(self, debug_mode: Any, /) -> None:
        """``default``, ``warn`` or ``error``, or what ``get_sync_debug_mode`` said."""
        ...


class Home(Struct, frozen=True):
    """An attribute that keeps tensors on the CPU by design: ``Home(pipe.scheduler, "sigmas")``. Read anew at every op."""

    owner: Any
    attribute: str


class Sync(Struct, frozen=True, kw_only=True):
    """A read that stops the host, ``count`` times over the run."""

    op: str
    """``item``, ``nonzero``, ``mask``, ``copy to host`` …"""
    where: str
    """``path/file.py:12 in step``: the innermost line that is neither PyTorch's nor ours."""
    count: int
    final: int = 0
    """Of these, after the run's last op: reads of its result, behind which nothing waits to be launched."""
    caller: str = ""
    """Where ``where`` is a library's: the innermost line of the user's own code around it; empty where there is none."""


def verdict(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], device: torch.device) -> str:
    """What an op about to run would stop the host for; empty if it would not. Tensors need only ``device`` and ``dtype``.

    With ``device`` a CPU or meta, every tensor is taken for one that would live on a GPU. Else only tensors on a device of that
    type stop the host, and blocking copies from and to it.
    """
    tensors = [t for t in tree_leaves((args, kwargs)) if hasattr(t, "dtype") and hasattr(t, "device")]
    lint = device.type in ("cpu", "meta")
    there = [t for t in tensors if lint or t.device.type == device.type]
    if name in COPIES:
        return "" if lint else _copy(name, args, kwargs)
    if not there:
        return ""
    if name == "aten::repeat_interleave" and kwargs.get("output_size") is None:
        return "repeat_interleave"
    if name in MASKED and len(args) > 1:
        masks = [t for t in tree_leaves(args[1]) if getattr(t, "dtype", None) in (torch.bool, torch.uint8)]
        return "mask" if masks else ""
    return STOPS.get(name, "")


def _copy(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Copies between host and device."""
    target, source = (args[0].device, args[1]) if name == "aten::copy_" else (kwargs.get("device"), args[0])
    waits = not (kwargs.get("non_blocking") or (name == "aten::copy_" and len(args) > 2 and args[2]))
    if target is None or not waits or torch.device(target).type == source.device.type:
        return ""
    if torch.device(target).type == "cpu":
        return "copy to host"
    return "copy from pageable memory" if source.device.type == "cpu" and not source.is_pinned() else ""


class Lint:
    """Collects the syncs of one run, less those of tensors that are at home on the CPU."""

    def __init__(self, device: torch.device, homes: Sequence[Home]) -> None:
        self._device = device
        self._homes = tuple(homes)
        self._at_home: dict[int, inside.Held] = {}
        self._found: Counter[tuple[str, str, str]] = Counter()
        self._final: Counter[tuple[str, str, str]] = Counter()
        """Of those found, since the last op that is more than a view or a read."""

    def before(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """An op is about to run."""
        op = verdict(inside.name_of(func), args, kwargs, self._device)
        if op not in READS and not traffic.is_view(func) and self._on_device(args, kwargs):
            self._final.clear()
        if op and not self._all_at_home(args, kwargs):
            self._add(op)

    def method(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """A tensor's method is about to be called. Where there is a device, the op that it becomes tells."""
        if name in METHODS and self._device.type in ("cpu", "meta") and not self._all_at_home(args, kwargs):
            self._add(METHODS[name])

    def _add(self, op: str) -> None:
        key = op, *user_lines()
        self._found[key] += 1
        if op in READS:
            self._final[key] += 1

    def _on_device(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether an op is the device's work: on a CPU or meta, all are taken for it."""
        if self._device.type in ("cpu", "meta"):
            return True
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        return not tensors or any(t.device.type == self._device.type for t in tensors)

    def after(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """An op has run: what is computed from tensors at home alone is at home too."""
        if not self._homes or not self._all_at_home(args, kwargs):
            return
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and traffic.has_storage(tensor):
                self._at_home[inside.storage_key(tensor)] = inside.hold(tensor)

    def found(self) -> tuple[Sync, ...]:
        """Most frequent first."""
        return tuple(
            Sync(op=op, where=where, count=count, final=self._final[op, where, caller], caller=caller)
            for (op, where, caller), count in self._found.most_common()
        )

    def _all_at_home(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        if not self._homes:
            return False
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if not tensors:
            return False
        homes = {
            inside.storage_key(t)
            for home in self._homes
            for t in tree_leaves(getattr(home.owner, home.attribute, None))
            if isinstance(t, torch.Tensor) and traffic.has_storage(t)
        }
        return all(
            traffic.has_storage(t) and ((key := inside.storage_key(t)) in homes or key in self._at_home)
            for t in tensors
        )


def warned(call: Callable[[], Any], *, port: SyncDebug | None = None) -> tuple[Sync, ...]:
    """Syncs of one call as the CUDA runtime itself reports them, those within C++ included, with the user's line. On a GPU only.

    Args:
        call: run once.
        port: how the device's reports are switched; by default PyTorch's ``set_sync_debug_mode``.
    """
    switch: SyncDebug = port or torch.cuda
    found: Counter[tuple[str, str]] = Counter()
    before = switch.get_sync_debug_mode()

    def heard(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if SYNCHRONISING in str(message):
            found[user_lines()] += 1
        else:
            passed_on(message, category, *rest, **named)

    with warnings.catch_warnings():
        passed_on: Any = warnings.showwarning
        warnings.filterwarnings("always", message=f".*{SYNCHRONISING}")
        warnings.showwarning = heard
        switch.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            switch.set_sync_debug_mode(before)
    return tuple(
        Sync(op="sync", where=where, caller=caller, count=count)
        for (where, caller), count in found.most_common()
    )


def user_line() -> str:
    """The innermost caller that is neither PyTorch nor ours: ``file.py:12 in step``; empty where there is none."""
    return user_lines()[0]


def user_lines() -> tuple[str, str]:
    """That line; and where it is a library's, the innermost line of the user's own code around it, else an empty one.

    A command of ours runs the user's code, and is run by nobody's: what is outside of it is not looked at.
    """
    frame = inside.caller()
    line = ""
    while frame is not None:
        code = frame.f_code
        path = code.co_filename
        if path.startswith(COMMAND):
            break
        if not path.startswith((*OWN, "<")):
            told = f"{path}:{frame.f_lineno} in {code.co_name}"
            if not in_library(path):
                return (line, told) if line else (told, "")
            line = line or told
        frame = frame.f_back
    return line, ""

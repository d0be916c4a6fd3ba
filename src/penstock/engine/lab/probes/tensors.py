"""Tensors inside what modules take and give: tuples, dicts, outputs of diffusers and transformers."""

import contextlib
import gc
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SEQUENCES = (list, tuple, set, frozenset, deque)


def inside(thing: Any, depth: int = 4) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists, sets, deques and mappings, in order."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif depth and isinstance(thing, Mapping):
        for one in cast("Mapping[Any, Any]", thing).values():
            yield from inside(one, depth - 1)
    elif depth and isinstance(thing, SEQUENCES):
        for one in cast("Iterable[Any]", thing):
            yield from inside(one, depth - 1)


def equal(one: Any, other: Any) -> bool:
    """Same tensors' values, in the same nesting; two things without tensors are equal where Python says so."""
    ours, theirs = list(inside(one)), list(inside(other))
    if not ours and not theirs:
        return one is other or bool(one == other)
    return len(ours) == len(theirs) and all(
        a is b or (a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b))
        for a, b in zip(ours, theirs, strict=True)
    )


def live_bytes(device: str) -> int:
    """Bytes of live tensors. On a GPU the allocator's figure; on a CPU the storages of all tensors that Python can reach.

    Not of their subclasses: a quantised weight's inner tensors are counted themselves, a fake tensor has no memory.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.memory_allocated(device))
    found: dict[int, int] = {}
    for thing in [
        one for one in gc.get_objects() if type(one) is torch.Tensor or type(one) is torch.nn.Parameter
    ]:
        try:
            if thing.device.type == "cpu":
                storage = thing.untyped_storage()
                found[storage.data_ptr()] = storage.nbytes()
        except (RuntimeError, NotImplementedError):
            continue  # without storage: no memory
    return sum(found.values())


def _key(storage: Any) -> int:
    """One storage is one address of its C++ object; a meta tensor's data has none."""
    return int(storage._cdata)  # noqa: SLF001 - as torch's own memory tracker does


@contextlib.contextmanager
def newcomers() -> Generator[None]:
    """Within it, ``live_bytes`` on a CPU looks only at objects made since: the libraries' half million are set aside for the garbage
    collector's time of the run, and given back."""
    if gc.get_freeze_count():  # somebody has set some aside for good: unfreezing would undo it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on, until each is freed. Works on meta tensors too.

    What existed before (weights, inputs) is not counted. ``peak_bytes`` is the most at one time.
    """

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - torch leaves its parameter untyped
        self.now_bytes = 0
        self.peak_bytes = 0
        self._ours: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._foreign: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for thing in tree_leaves((args, kwargs)):
            if isinstance(thing, torch.Tensor):
                self._know(thing)
        out = func(*args, **(kwargs or {}))
        for thing in tree_leaves(out):
            if isinstance(thing, torch.Tensor):
                self._hold(thing)
        return out

    def _know(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = _key(storage)
        if key not in self._ours and key not in self._foreign:
            self._foreign[key] = weakref.ref(storage, lambda _: self._foreign.pop(key, None))

    def _hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = _key(storage)
        if key in self._ours or key in self._foreign:
            return
        self._ours[key] = (storage.nbytes(), weakref.ref(storage, lambda _: self._free(key)))
        self.now_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.now_bytes)

    def _free(self, key: int) -> None:
        held = self._ours.pop(key, None)
        if held is not None:
            self.now_bytes -= held[0]

"""What one call does, counted and not timed: dispatched ops, FLOPs, bytes, chains that could fuse, reads that stop the host.

A ``TorchDispatchMode`` sees every op of the calling thread, on the CPU, a GPU or meta tensors alike (the last need no weights and
no time). Compiled code runs eagerly while it is counted. Counts do not depend on the machine's load: tests rest on them.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import torch
from msgspec import Struct, field
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from penstock.engine.measure import chains, flops, inside, ranges, syncs, traffic
from penstock.engine.measure.chains import Chain
from penstock.engine.measure.syncs import Home, Sync


class OpCount(Struct):
    """A sum over ops. ``bytes``: read and written by non-view ops, as if nothing was fused or cached: an upper bound."""

    count: int = 0
    flops: int = 0
    bytes: int = 0

    def add(self, flops: int, moved_bytes: int) -> None:
        """One op more."""
        self.count += 1
        self.flops += flops
        self.bytes += moved_bytes


class Counts(Struct, kw_only=True):
    """One call, counted."""

    ops: int = 0
    """Non-view ops: what a device would be given to do. On a GPU most are one kernel."""
    views: int = 0
    """Metadata only: no kernel, no bytes; they cost host time."""
    flops: int = 0
    bytes: int = 0
    by_op: dict[str, OpCount] = field(default_factory=dict)
    """``aten::addmm`` -> its sums."""
    by_module: dict[str, OpCount] = field(default_factory=dict)
    """Dotted name -> sums of all that ran inside it, children included; ``""`` is the whole call."""
    by_stage: dict[str, OpCount] = field(default_factory=dict)
    """Stage -> sums of all that ran inside it, nested stages included."""
    stage_calls: dict[str, int] = field(default_factory=dict)
    """Stage -> how often it was entered: the denoiser's calls of one image."""
    flops_by_dtype: dict[str, int] = field(default_factory=dict)
    """``bf16`` -> FLOPs whose first operand has that type: which peak they are held against."""
    calls: dict[str, int] = field(default_factory=dict)
    """Dotted name -> how often the module's forward was entered."""
    pointwise_chains: tuple[Chain, ...] = ()
    syncs: tuple[Sync, ...] = ()
    uncounted: dict[str, int] = field(default_factory=dict)
    """Ops that surely compute products but have no formula, and how often they ran: the FLOPs are too low by them."""


def count(
    call: Callable[[], Any],
    *,
    modules: Mapping[str, torch.nn.Module] | None = None,
    points: Sequence[ranges.Point] = (),
    device: str = "cpu",
    on_cpu_by_design: Sequence[Home] = (),
) -> Counts:
    """Run ``call`` once and count what it does.

    Args:
        call: the workload; it runs on this thread, eagerly. What it raises passes through.
        modules: parts by name (``{"unet": unet}``); their children are counted as ``unet.down_blocks.0`` and so on.
        points: methods that are stages, see ``ranges.staged``.
        device: where the tensors live. On ``cpu`` and ``meta`` every read that *would* stop the host on a GPU is listed;
            elsewhere those of tensors that are on the device.
        on_cpu_by_design: attributes whose tensors are meant to stay on the CPU (a scheduler's ``sigmas``): reading them, or
            what is computed from them alone, is no sync.
    """
    counter = _Counter(torch.device(device), on_cpu_by_design)
    with (
        _entered(modules or {}, counter),
        ranges.staged(points, beat=counter.beat),
        torch.compiler.set_stance("force_eager"),
        _Methods(counter.lint),
        counter,
    ):
        kept = call()
        return counter.finish(kept)


@contextlib.contextmanager
def _entered(modules: Mapping[str, torch.nn.Module], counter: "_Counter") -> Generator[None]:
    """Tell the counter which module is running, by hooks that are taken off again."""
    handles: list[Any] = []
    seen: set[int] = set()
    try:
        for prefix, top in modules.items():
            handle: Any = top
            for name, module in handle.named_modules():
                if id(module) in seen or isinstance(module, torch.jit.ScriptModule):  # takes no hooks
                    continue
                seen.add(id(module))
                if inside.is_optimised_module(
                    module
                ):  # one call, one name: the user's module, which is called within it
                    continue
                label = ".".join(part for part in (prefix, *name.split(".")) if part and part != "_orig_mod")
                handles.append(module.register_forward_pre_hook(counter.enter(label), prepend=True))
                handles.append(module.register_forward_hook(counter.leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Counter(TorchDispatchMode):
    """Sees every op: hands views through, adds up the rest."""

    def __init__(self, device: torch.device, homes: Sequence[Home]) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - torch leaves a parameter untyped
        self._sums = Counts(by_module={"": OpCount()})
        self._modules: list[str] = []
        self._stages: list[str] = []
        self._ops: list[chains.Op] = []
        self._values = _Values()
        self.lint = syncs.Lint(device, homes)
        self._dtypes: Counter[str] = Counter()
        self._uncounted: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    def enter(self, label: str) -> Callable[[Any, Any], None]:
        """A forward pre-hook for the module of that name."""

        def entered(module: Any, args: Any) -> None:
            self._modules.append(label)
            self._calls[label] += 1

        return entered

    def beat(self, stage: str, begins: bool) -> None:
        """A stage begins or ends."""
        if begins:
            self._stages.append(stage)
            self._sums.stage_calls[stage] = self._sums.stage_calls.get(stage, 0) + 1
        else:
            self._stages.remove(stage)

    def leave(self, module: Any, args: Any, output: Any) -> None:
        """The forward hook; runs also when the forward raised."""
        if self._modules:
            self._modules.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One op. Tensor subclasses (quantised weights) are asked to unfold themselves first: their inner ops come back here."""
        kwargs = kwargs or {}
        if any(kind not in (torch.Tensor, torch.nn.Parameter) for kind in types):
            return NotImplemented
        if not inside.is_op(func):
            return func(*args, **kwargs)
        if inside.is_composite(func):
            with self:  # as autograd would have done: inference mode hands composite ops over whole
                unfolded = func.decompose(*args, **kwargs)
            if unfolded is not NotImplemented:
                return unfolded
        self.lint.before(func, args, kwargs)
        out = func(*args, **kwargs)
        self.lint.after(args, kwargs, out)
        if traffic.is_view(func):
            self._sums.views += 1
        elif not traffic.is_free(func):
            self._add(func, args, kwargs, out)
        return out

    def _add(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        name = inside.name_of(func)
        counted = flops.of(func, args, kwargs, out)
        if counted is None and flops.looks_heavy(name):
            self._uncounted[name] += 1
        work = counted or 0
        moved = traffic.of(func, args, kwargs, out)
        if work:
            self._dtypes[traffic.dtype_name(moved.first)] += work
        sums = self._sums
        sums.ops += 1
        sums.flops += work
        sums.bytes += moved.total_bytes
        sums.by_op.setdefault(name, OpCount()).add(work, moved.total_bytes)
        for label in {"", *self._modules}:
            sums.by_module.setdefault(label, OpCount()).add(work, moved.total_bytes)
        for stage in set(self._stages):
            sums.by_stage.setdefault(stage, OpCount()).add(work, moved.total_bytes)
        self._ops.append(
            chains.Op(
                name=name.removeprefix("aten::"),
                pointwise=traffic.is_pointwise(func),
                elements=max((t.numel() for t in moved.outputs), default=0),
                reads=tuple(self._values.read(t, size) for t, size in moved.reads),
                writes=tuple(self._values.write(t, size) for t, size in moved.writes),
                module=self._modules[-1] if self._modules else "",
                where=syncs.user_line() if traffic.is_pointwise(func) else "",
            )
        )

    def finish(self, kept: Any) -> Counts:
        """The sums; ``kept`` is the call's output, which no fusing may leave unwritten."""
        outlive = self._values.alive([t for t in tree_leaves(kept) if isinstance(t, torch.Tensor)])
        sums = self._sums
        sums.pointwise_chains = chains.find(self._ops, kept=outlive)
        sums.syncs = self.lint.found()
        sums.flops_by_dtype = dict(self._dtypes)
        sums.uncounted = dict(self._uncounted)
        sums.calls = dict(self._calls)
        return sums


class _Methods(TorchFunctionMode):
    """Sees calls of methods before they become ops: ``cpu()`` and ``tolist()`` are none on a tensor that is on the CPU."""

    def __init__(self, lint: syncs.Lint) -> None:
        super().__init__()
        self._lint = lint

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One call; handed through."""
        self._lint.method(getattr(func, "__name__", ""), args, kwargs or {})
        return func(*args, **(kwargs or {}))


class _Values:
    """Numbers values: a storage, anew each time it is written. Weak references keep an address from being taken twice."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[inside.Held, int]] = {}
        self._next = 0

    def read(self, tensor: torch.Tensor, size: int) -> chains.Read:
        """The value that a tensor shows now."""
        key, held = self._find(tensor)
        number = held[1] if held else self._number(tensor, key)
        region = hash((tensor.storage_offset(), tuple(tensor.shape), tensor.stride()))
        return chains.Read(value=number, bytes=size, region=region)

    def write(self, tensor: torch.Tensor, size: int) -> chains.Read:
        """The new value of a tensor that was just written."""
        key, _held = self._find(tensor)
        return chains.Read(value=self._number(tensor, key), bytes=size)

    def alive(self, tensors: Sequence[torch.Tensor]) -> frozenset[int]:
        """Values that exist still: those given, and whatever else somebody holds."""
        held = {number for ref, number in self._held.values() if not ref.gone}
        return frozenset(held | {self.read(t, 0).value for t in tensors if traffic.has_storage(t)})

    def _find(self, tensor: torch.Tensor) -> tuple[int, tuple[inside.Held, int] | None]:
        key = inside.storage_key(tensor)
        return key, self._held.get(key)

    def _number(self, tensor: torch.Tensor, key: int) -> int:
        self._next += 1
        self._held[key] = (inside.hold(tensor), self._next)
        return self._next

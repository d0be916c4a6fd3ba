"""What PyTorch shows only from within: its private names, each behind a function with a public one. Checked against 2.13.

Everything else here uses these, so that a new PyTorch that renames one breaks one line.
"""
# ruff: noqa: SLF001 - it is what this file is for

import contextlib
import sys
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import torch
from msgspec import Struct
from torch.multiprocessing import reductions
from torch.utils import flop_counter

_torch: Any = torch
_reductions: Any = reductions
_flop_counter: Any = flop_counter
COMPOSITE: Any = _torch._C.DispatchKey.CompositeImplicitAutograd


def is_op(func: Any) -> bool:
    """Whether what was dispatched is an ATen (or custom) op, and not a question to a tensor or a higher-order one."""
    return isinstance(func, _torch._ops.OpOverload) and func.namespace != "prim"


def is_composite(func: Any) -> bool:
    """Whether the op is only written in terms of others."""
    return func.has_kernel_for_dispatch_key(COMPOSITE)


def name_of(func: Any) -> str:
    """``aten::addmm``."""
    return func._schema.name


def overload_of(func: Any) -> str:
    """``aten::add.Tensor``; a dot and nothing after it for the default."""
    return f"{func._schema.name}.{func._schema.overload_name}"


def library_formula(func: Any) -> Any:
    """PyTorch's own FLOP formula for the op, or None."""
    return _flop_counter.flop_registry.get(func._overloadpacket)


def storage_key(tensor: Any) -> int:
    """The identity of a tensor's storage, shared by its views, on meta tensors too."""
    return tensor.untyped_storage()._cdata


class Held(Struct, frozen=True):
    """A storage, held weakly: memory is given back, the address is not taken anew."""

    reference: Any

    @property
    def gone(self) -> bool:
        """Whether nobody holds it any more."""
        return self.reference.expired()


def hold(tensor: Any) -> Held:
    """Hold a tensor's storage weakly."""
    return Held(_reductions.StorageWeakRef(tensor.untyped_storage()))


def compiled_call(module: Any) -> Any:
    """What ``module.compile()`` put in the place of its call; None where it was not compiled so."""
    return module._compiled_call_impl


def is_optimised_module(module: Any) -> bool:
    """Whether it is what ``torch.compile(module)`` returned."""
    return isinstance(module, _torch._dynamo.OptimizedModule)


def original_module(module: Any) -> Any:
    """The user's module behind what ``torch.compile(module)`` returned; any other is its own."""
    return module._orig_mod if is_optimised_module(module) else module


def profiler_runs() -> bool:
    """Whether any PyTorch profiler is recording in this process."""
    return bool(_torch.autograd.profiler._is_profiler_enabled)


def event_names(call: Callable[[], Any]) -> set[str]:
    """What the profiler recorded of one call on the host, by name; without building its tables, which takes seconds."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        call()
    known: Any = recorded
    return {event.name() for event in known.profiler.kineto_results.events()}


def all_threads() -> Any:
    """The profiler's setting to record every thread's ops, not only the caller's: workers, autograd's, an executor's."""
    return _torch._C._profiler._ExperimentalConfig(profile_all_threads=True)


def bf16_on_cpu() -> bool:
    """Whether oneDNN multiplies bf16 on this CPU at speed."""
    return bool(_torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fp32_precision() -> str:
    """What multiplies fp32 matrices: ``ieee``, ``tf32``, or ``none`` where nobody has said (ieee).

    ``get_float32_matmul_precision`` raises where a user has set it by the newer names; this does not.
    """
    return str(_torch.backends.cuda.matmul.fp32_precision)


@contextlib.contextmanager
def matmul_precision(*, tf32: bool) -> Generator[None]:
    """fp32 products by tf32 units or not, and as it was afterwards, by whichever of PyTorch's two ways it had been set."""
    places = (_torch.backends.cuda.matmul, _torch.backends.mkldnn.matmul)
    before = [place.fp32_precision for place in places]
    try:
        older: str | None = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by the newer names: the older function then refuses to answer
        older = None
    try:
        if older is None:
            places[0].fp32_precision = "tf32" if tf32 else "ieee"
        else:
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def int_product(a_MK: Any, b_KN: Any) -> Any:
    """int8 by int8 into int32."""
    return _torch._int_mm(a_MK, b_KN)


def scaled_product(a_MK: Any, b_KN: Any, scale: Any) -> Any:
    """fp8 by fp8 into bf16, one scale for both."""
    return _torch._scaled_mm(a_MK, b_KN, scale_a=scale, scale_b=scale, out_dtype=torch.bfloat16)


def caller() -> FrameType | None:
    """The frame that called whoever asks."""
    handle: Any = sys
    return handle._getframe(2)

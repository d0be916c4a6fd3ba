"""What a call gave back, as tensors: whatever the model's output type, so that two calls can be compared."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


def tensors(output: Any) -> tuple[Tensor, ...]:
    """Every tensor in an output, in its order: nested lists, dicts, dataclasses, numpy arrays and images among them.

    Images become float tensors of 0 to 1, height x width x channels. What is no number (text, None) is left out.
    """
    return tuple(part for _, part in _walk(output))


_SEED = 0
Way = tuple[Any, ...]
"""Keys, indices and names of fields, from an output to a tensor in it."""


def _walk(value: Any, way: Way = ()) -> Iterable[tuple[Way, Tensor]]:
    if isinstance(value, Kept):
        yield from value.items()
    elif isinstance(value, Tensor):
        yield way, value.detach()
    elif isinstance(value, np.ndarray):
        if cast("np.ndarray[Any, Any]", value).dtype.kind in "bifuc":
            yield way, torch.tensor(cast("np.ndarray[Any, Any]", value))
    elif _is_image(value):
        yield way, torch.tensor(np.asarray(value, dtype=np.float32) / 255.0)
    elif isinstance(value, Mapping):
        for key, part in cast("Mapping[Any, Any]", value).items():
            yield from _walk(part, (*way, key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(cast("list[Any] | tuple[Any, ...]", value)):
            yield from _walk(part, (*way, index))
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _walk(getattr(value, field.name), (*way, field.name))


def _is_image(value: Any) -> bool:
    """A Pillow image, without importing Pillow: it is the diffusion extra's."""
    return hasattr(value, "getbands") and hasattr(value, "tobytes")


def max_error(one: Any, other: Any) -> float | None:
    """The largest absolute difference between two outputs; None where neither has a number.

    Infinite where they cannot be held against each other: other keys or shapes, or NaN where the other has a number. NaN in the
    same places is no difference, nor is the same infinity.
    """
    ours, theirs = tuple(_walk(one)), tuple(_walk(other))
    if not ours and not theirs:
        return None
    if {way: part.shape for way, part in ours} != {way: part.shape for way, part in theirs}:
        return math.inf
    others = dict(theirs)
    return max((_difference(part, others[way]) for way, part in ours), default=0.0)


def _difference(one: Tensor, other: Tensor) -> float:
    """Of two tensors of one shape. Real and imaginary parts each count; a real one against a complex one has none."""
    a, b = _reals(one), _reals(other.to(one.device))
    if a.shape != b.shape or not torch.equal(a.isnan(), b.isnan()):
        return math.inf
    apart = (a - b).abs()[
        (a != b) & ~a.isnan()
    ]  # what is equal is left out: the difference of two infinities is NaN
    return float(apart.max()) if apart.numel() else 0.0


def _reals(part: Tensor) -> Tensor:
    """As float64; of complex numbers their two parts, in one more dimension."""
    return (torch.view_as_real(part.resolve_conj()) if part.is_complex() else part).double()


class Kept(dict[Way, Tensor]):
    """An output's tensors, copied: a module may give back a buffer that its next call writes over."""

    random = False
    """Whether the call drew from PyTorch's random numbers."""


def drawn(call: Callable[[], Any], device: str = "cpu") -> Kept:
    """The output of one call that begins with the same random numbers as every other; the caller's own go on as if it had not run."""
    where = torch.device(device)
    devices = [where] if where.type == "cuda" else []
    torch_: Any = torch  # what these two take is not typed
    with torch_.random.fork_rng(devices=devices):
        torch_.manual_seed(_SEED)
        before = [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in devices)]
        kept = Kept({way: part.clone() for way, part in _walk(call())})
        after = [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in devices)]
    kept.random = not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    return kept


def scale(output: Any) -> float:
    """The largest finite number in it, without its sign; 0 where there is none."""
    largest = 0.0
    for part in tensors(output):
        numbers = _reals(part)
        numbers = numbers[numbers.isfinite()]
        if numbers.numel():
            largest = max(largest, float(numbers.abs().max()))
    return largest


def finite(output: Any) -> bool:
    """No NaN and no infinity in any of its tensors."""
    return all(
        bool(torch.isfinite(part).all())
        for part in tensors(output)
        if part.is_floating_point() or part.is_complex()
    )

"""What a call gave back, as tensors: whatever the model's output type, so that two calls can be compared."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


def tensors(output: Any) -> tuple[Tensor, ...]:
    """Every tensor in an output, in its order: nested lists, dicts, dataclasses, numpy arrays and images among them.

    Images become float tensors of 0 to 1, height x width x channels. What is no number (text, None) is left out.
    """
    return tuple(_walk(output))


def _walk(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value.detach()
    elif isinstance(value, np.ndarray):
        if cast("np.ndarray[Any, Any]", value).dtype.kind in "bifu":
            yield torch.tensor(cast("np.ndarray[Any, Any]", value))
    elif _is_image(value):
        yield torch.tensor(np.asarray(value, dtype=np.float32) / 255.0)
    elif isinstance(value, Mapping):
        for part in cast("Mapping[Any, Any]", value).values():
            yield from _walk(part)
    elif isinstance(value, list | tuple):
        for part in cast("list[Any] | tuple[Any, ...]", value):
            yield from _walk(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _walk(getattr(value, field.name))


def _is_image(value: Any) -> bool:
    """A Pillow image, without importing Pillow: it is the diffusion extra's."""
    return hasattr(value, "getbands") and hasattr(value, "tobytes")


def max_error(one: Any, other: Any) -> float | None:
    """The largest absolute difference between two outputs; infinite where shapes differ, None where neither has a number."""
    ours, theirs = tensors(one), tensors(other)
    if not ours and not theirs:
        return None
    if [part.shape for part in ours] != [part.shape for part in theirs]:
        return float("inf")
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.numel():
            worst = max(worst, float((a.double() - b.to(a.device).double()).abs().max()))
    return worst


def finite(output: Any) -> bool:
    """No NaN and no infinity in any of its tensors."""
    return all(bool(torch.isfinite(part).all()) for part in tensors(output) if part.is_floating_point())

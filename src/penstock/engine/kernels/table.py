"""Which route an op takes on a device: our kernel, a library's, or eager PyTorch - with the reason, and why not the others.

A table, not a search: the rows are in order of preference, and the first that is not refused is taken.
"""

from collections.abc import Callable
from typing import Any

import torch
from msgspec import Struct

from penstock.engine.kernels import geglu


class Choice(Struct, frozen=True, kw_only=True):
    """What was picked for an op on a device."""

    op: str
    route: str
    """``kernel`` (ours), ``library`` (somebody's, and called directly) or ``eager``."""
    name: str
    """``triton``, ``onednn`` or ``pytorch``."""
    run: Callable[..., Any]
    """With the reference's own arguments."""
    reason: str
    """Why this one."""
    refused: tuple[tuple[str, str], ...] = ()
    """(name, why not) of those that stand before it."""


class Row(Struct, frozen=True, kw_only=True):
    """One route of the table. ``refusal`` tells why it cannot run on a device with a dtype, or would lose; empty where it is good."""

    route: str
    name: str
    run: Callable[..., Any]
    refusal: Callable[[torch.device, torch.dtype], str]
    reason: str


def _never(device: torch.device, dtype: torch.dtype) -> str:
    return ""


def _onednn(device: torch.device, dtype: torch.dtype) -> str:
    return geglu.onednn_refusal(device, dtype) or geglu.onednn_loss(device, dtype)


TABLE: dict[str, tuple[Row, ...]] = {
    "geglu": (
        Row(
            route="kernel",
            name="triton",
            run=geglu.with_triton,
            refusal=geglu.triton_refusal,
            reason="gelu and mul in one kernel of our own: gelu's result stays in registers, without compiling the module",
        ),
        Row(
            route="library",
            name="onednn",
            run=geglu.with_onednn,
            refusal=_onednn,
            reason="oneDNN ends the products with gelu and with the multiply: no pass of their own, on a CPU",
        ),
        Row(
            route="eager",
            name="pytorch",
            run=geglu.reference,
            refusal=_never,
            reason="nothing that fuses it runs here, and gains",
        ),
    )
}


def pick(op: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Choice:
    """The first route of the op's rows that the device can run. KeyError for an op that has no rows."""
    where = torch.device(device)
    refused: list[tuple[str, str]] = []
    for row in TABLE[op]:
        why_not = row.refusal(where, dtype)
        if not why_not:
            return Choice(
                op=op, route=row.route, name=row.name, run=row.run, reason=row.reason, refused=tuple(refused)
            )
        refused.append((row.name, why_not))
    raise AssertionError(f"the rows of {op} must end with eager, which is never refused")

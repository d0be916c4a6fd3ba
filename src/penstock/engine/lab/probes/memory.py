"""Memory of a run: live tensors by step and by call, and who holds more of them than before."""

import gc
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from penstock.engine.lab.probes.parts import inside_of, path_of
from penstock.engine.lab.probes.tensors import inside, live_bytes
from penstock.engine.measure.seen import Holder
from penstock.engine.workloads.workload import Workload

Held = Mapping[str, tuple[int, int]]
"""Path → tensors, bytes."""
CONTAINERS = (list, dict, set, tuple)


def total_bytes(device: str) -> int:
    """The card's memory, or the machine's."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def settled_bytes(device: str) -> int:
    """Bytes of live tensors once the garbage is gone. Within ``newcomers``: of those made since."""
    gc.collect()
    return live_bytes(device)


def held(workload: Workload) -> dict[str, tuple[int, int]]:
    """Tensors in the lists, dicts, sets and deques that are attributes of the workload's objects."""
    found: dict[str, tuple[int, int]] = {}
    for path, value in _containers(workload):
        tensors = list(inside(value))
        if tensors:
            found[path] = (len(tensors), sum(one.numel() * one.element_size() for one in tensors))
    return found


def grown(before: Held, after: Held) -> tuple[Holder, ...]:
    """Who holds more, most bytes first."""
    found = [
        Holder(
            path=path,
            added=count - before.get(path, (0, 0))[0],
            added_bytes=size - before.get(path, (0, 0))[1],
        )
        for path, (count, size) in after.items()
        if count > before.get(path, (0, 0))[0]
    ]
    return tuple(sorted(found, key=lambda one: -one.added_bytes))


def _containers(workload: Workload) -> Iterator[tuple[str, Any]]:
    objects: dict[str, Any] = {}
    if not isinstance(workload.root, nn.Module):
        objects["pipe"] = workload.root
    for name, module in workload.modules().items():
        path = path_of(workload, name)
        for inner, child in inside_of(module).named_modules():
            steps = "".join(
                f"[{step}]" if step.isdigit() else f".{step}" for step in inner.split(".") if step
            )
            objects[path + steps] = child
    for path, thing in objects.items():
        for name, value in list(getattr(thing, "__dict__", {}).items()):
            if name.startswith("_") or not (isinstance(value, CONTAINERS) or type(value).__name__ == "deque"):
                continue
            yield f"{path}.{name}", value

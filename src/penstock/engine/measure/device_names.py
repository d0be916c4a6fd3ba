"""What a trace's device is called: as its driver named it, else unnamed, with the architecture where the trace says it.

Rule: a card's name is never concluded from its architecture, which several cards share: an unnamed one has no data sheet.
"""

import re
from collections.abc import Sequence

from penstock.engine.measure.trace import Trace

ISA = re.compile(r"^Cijk_.*_ISA(\d+[a-f]?)_")
"""The instruction set in the name of a kernel that Tensile built: 942 of gfx942."""
CALLS = ("cuda_runtime", "cuda_driver")


def told(trace: Trace, index: int, kernels: Sequence[str]) -> str:
    """Its own name, else that of all the devices that the trace names (a process may see one of eight, numbered otherwise)."""
    if index < 0:
        return "cpu"
    alike = set(trace.devices.values())
    known = trace.devices.get(index) or (alike.pop() if len(alike) == 1 else "")
    if known:
        return known
    arch = architecture(trace, index, kernels)
    return f"unnamed GPU (device {index}{f', {arch}' if arch else ''})"


def architecture(trace: Trace, index: int, kernels: Sequence[str]) -> str:
    """``gfx942``, ``sm_90``; empty where the trace does not say.

    On ROCm the kernels name the one instruction set that they run on; a compute capability (9.4) is of several. On CUDA a kernel's
    name tells the oldest card that it runs on, which says nothing; there the capability decides.
    """
    sets = {found[1] for name in kernels for found in [ISA.search(name)] if found}
    if sets:
        return f"gfx{sets.pop()}" if len(sets) == 1 else ""
    capability = trace.capabilities.get(index)
    if capability is None:
        return ""
    # ROCm's calls are recorded under CUDA's category too: their own names tell them apart.
    cuda = any((event.cat or "").lower() in CALLS and event.name.startswith("cu") for event in trace.events)
    return f"sm_{capability[0]}{capability[1]}" if cuda else ""

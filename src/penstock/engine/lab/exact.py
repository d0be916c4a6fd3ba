"""The code of a capture's findings in the user's own names: a capture knows modules by dotted names, a live run has the objects.

``module.compile(fullgraph=True)`` becomes ``pipe.unet.compile_repeated_blocks(fullgraph=True)`` where it happens in such a block, and
another call where compiling in place would compile nothing: an autoencoder is used by its ``decode``, and Dynamo steps over PyTorch's own classes that are compiled in
place. What is compiled is the part, not the innermost module: chains go from one to the next.
"""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from penstock.engine.lab.probes import parts
from penstock.engine.measure.findings.kernels import COMPILE
from penstock.engine.measure.records import Finding
from penstock.engine.workloads.workload import Workload


def named(found: Iterable[Finding], workload: Workload) -> list[Finding]:
    """Each with its code as it is written for this workload; as it was where its place is no part of it."""
    return [_named(one, workload) if COMPILE in one.fix else one for one in found]


def _named(one: Finding, workload: Workload) -> Finding:
    name, _, inner = one.where.partition(".")
    part: Any = workload.modules().get(name)
    if part is None:
        return one
    return replace(one, fix=one.fix.replace(COMPILE, compiling(workload, name, part, inner)))


def compiling(workload: Workload, name: str, part: Any, inner: str = "") -> str:
    """What compiles a part of the workload, as the user writes it. ``inner``: the module in it that is to be compiled by that."""
    path = parts.path_of(workload, name)
    methods = {point.method for point in workload.stages() if point.owner is part}
    if "decode" in methods and "forward" not in methods:
        return f"{path}.decode = torch.compile({path}.decode, fullgraph=True)"
    if parts.built_in(part):
        return f"{path} = torch.compile({path}, fullgraph=True)"
    if _in_a_repeated_block(part, inner):
        return f"{path}.compile_repeated_blocks(fullgraph=True)"
    return f"{path}.compile(fullgraph=True)"


def _in_a_repeated_block(part: Any, inner: str) -> bool:
    """Whether compiling a model's repeated blocks, which is quick, compiles that module too."""
    repeated: Any = getattr(part, "_repeated_blocks", None) or ()
    names = inner.split(".") if inner else []
    try:
        above = [part.get_submodule(".".join(names[: at + 1])) for at in range(len(names))]
    except AttributeError:
        return False
    return any(type(module).__name__ in repeated for module in above)

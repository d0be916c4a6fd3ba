"""Chains of pointwise ops that one kernel could do, and the bytes they cost apart. Pure: fed by ``counting``, needs no torch.

Two pointwise ops belong together when one reads what the other wrote, at the same number of elements, and no kernel that must
stay apart (a GEMM, a reduction) lies on any way between them. That is decided by a rank: an op's rank is the highest of its
producers' ranks, plus one for every edge that cannot be fused. Ops joined by edges of equal rank can be contracted without a
cycle, since any way out of the group and back into it would have raised the rank.
"""

from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct


class Read(Struct, frozen=True):
    """One tensor read or written by an op: which value (see ``Op``), and how many bytes of it."""

    value: int
    bytes: int
    region: int = 0
    """Which part of the value, where several are read: two halves of one tensor are two regions."""


class Op(Struct, frozen=True, kw_only=True):
    """One kernel's worth of work as dispatched; views are no ops. Values are numbered by the run, a rewritten tensor is a new one."""

    name: str
    pointwise: bool
    elements: int
    """Of its output."""
    reads: tuple[Read, ...]
    writes: tuple[Read, ...]
    module: str = ""
    where: str = ""


class Chain(Struct, frozen=True, kw_only=True):
    """A group of pointwise ops that could be one kernel, ``count`` times over the run."""

    ops: tuple[str, ...]
    count: int
    bytes: int
    """What the ops read and write apart, over all ``count`` times."""
    fused_bytes: int
    """What one kernel would read and write: inputs once, and only the outputs that somebody else reads."""
    module: str = ""
    where: str = ""
    """The source line of the first op."""

    @property
    def saves_bytes(self) -> int:
        """What need not travel."""
        return self.bytes - self.fused_bytes


def groups(ops: Sequence[Op]) -> list[list[int]]:
    """Indexes of ops that could be one kernel, each group in order of execution; pointwise ops that stand alone included."""
    made_by: dict[int, int] = {}
    rank: list[int] = []
    parent: list[int] = list(range(len(ops)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index, op in enumerate(ops):
        producers = {made_by[read.value] for read in op.reads if read.value in made_by}
        joined = [p for p in producers if _fusible(ops[p], op)]
        rank.append(max((rank[p] + (p not in joined) for p in producers), default=0))
        for producer in joined:
            if rank[producer] == rank[index]:
                parent[root(index)] = root(producer)
        for write in op.writes:
            made_by[write.value] = index
    found: defaultdict[int, list[int]] = defaultdict(list)
    for index, op in enumerate(ops):
        if op.pointwise:
            found[root(index)].append(index)
    return list(found.values())


def find(ops: Sequence[Op], *, kept: frozenset[int] = frozenset()) -> tuple[Chain, ...]:
    """Chains of two ops or more, like ones counted together, those that save most first.

    Args:
        ops: in order of execution.
        kept: values that outlive the run (its outputs): they must be written whoever reads them.
    """
    readers: defaultdict[int, set[int]] = defaultdict(set)
    for index, op in enumerate(ops):
        for read in op.reads:
            readers[read.value].add(index)
    alike: dict[tuple[tuple[str, ...], str, str], Chain] = {}
    for members in groups(ops):
        if len(members) < 2:
            continue
        inside = set(members)
        apart, fused = _traffic([ops[m] for m in members], inside, readers, kept)
        if fused >= apart:
            continue
        first = ops[members[0]]
        key = (tuple(ops[m].name for m in members), first.module, first.where)
        seen = alike.get(key)
        alike[key] = Chain(
            ops=key[0],
            count=1 + (seen.count if seen else 0),
            bytes=apart + (seen.bytes if seen else 0),
            fused_bytes=fused + (seen.fused_bytes if seen else 0),
            module=first.module,
            where=first.where,
        )
    return tuple(sorted(alike.values(), key=lambda chain: -chain.saves_bytes))


def _fusible(producer: Op, consumer: Op) -> bool:
    return producer.pointwise and consumer.pointwise and producer.elements == consumer.elements


def _traffic(
    members: Sequence[Op], inside: set[int], readers: dict[int, set[int]], kept: frozenset[int]
) -> tuple[int, int]:
    """(bytes apart, bytes as one kernel)."""
    made = {write.value for op in members for write in op.writes}
    apart = sum(part.bytes for op in members for part in (*op.reads, *op.writes))
    inputs: dict[tuple[int, int], int] = {}
    fused = 0
    for op in members:
        for read in op.reads:
            if read.value not in made:
                inputs[read.value, read.region] = read.bytes
        for write in op.writes:
            outside = readers.get(write.value, set()) - inside
            if outside or write.value in kept or not readers.get(write.value):
                fused += write.bytes
    return apart, fused + sum(inputs.values())

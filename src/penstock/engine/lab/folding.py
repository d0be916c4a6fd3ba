"""Equal layers as one row, for tables that are read: sixty rows ``layers.0`` to ``layers.59`` are ``layers.0-59 x 60``, with their
sum and the median of one.

Theory: neighbours are equal that are called as often, do the same work, launched the same kernels, and hold parts that are equal
in turn. A name alone does not tell: the members of a ``Sequential`` are numbered, and differ.

Rules
- Pure. Sums are kept; what programs read (``--json``) has every row.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from msgspec.structs import replace

from penstock.engine.measure.records import KernelRow, StageRow

LEAST = 3
"""So many equal neighbours are one row. Our choice."""
EACH = "median of one"
"""The title of the column that only folded rows have."""
SAID = (
    f"Equal layers are one row (layers.0-59 x 60), with their sums and the {EACH}; --json has each of them."
)


Launched = tuple[tuple[str, str, int], ...]
"""Name, op and count of each kernel."""


class Folded(NamedTuple):
    """A row, and the names of those that it stands for: itself, where nothing was folded."""

    row: StageRow
    of: tuple[str, ...]
    walls_ms: tuple[float, ...]
    """Of each of them."""

    @property
    def label(self) -> str:
        """ "layers.0-59 x 60"."""
        return labelled(self.row.name, len(self.of))

    @property
    def median_ms(self) -> float | None:
        """Of one; None where nothing was folded."""
        return median(self.walls_ms) if len(self.of) > 1 else None


class FoldedKernel(NamedTuple):
    """A kernel's row, and the time that each of the layers had of it."""

    row: KernelRow
    totals_ms: tuple[float, ...]

    @property
    def module(self) -> str:
        """ "layers.0-59.mlp x 60"."""
        return labelled(self.row.module, len(self.totals_ms))

    @property
    def median_ms(self) -> float | None:
        """Of one layer; None where nothing was folded."""
        return median(self.totals_ms) if len(self.totals_ms) > 1 else None


def labelled(name: str, count: int) -> str:
    """The name, with how many it stands for."""
    return f"{name} x {count}" if count > 1 else name


class _Node:
    """A stage with what is nested in it."""

    def __init__(
        self,
        row: StageRow,
        of: tuple[str, ...],
        walls_ms: tuple[float, ...],
        children: "list[_Node]",
        launched: Launched,
    ) -> None:
        self.row, self.of, self.walls_ms, self.children, self.launched = row, of, walls_ms, children, launched


def stages(rows: Sequence[StageRow], kernels: Iterable[KernelRow] = ()) -> list[Folded]:
    """The rows in their order, equal siblings as one. ``kernels``: the run's, which tell what is equal."""
    launched: defaultdict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for kernel in kernels:
        launched[kernel.module].append((kernel.name, kernel.op, kernel.count))
    told = {module: tuple(sorted(found)) for module, found in launched.items()}
    tops: list[_Node] = []
    last: dict[str, _Node] = {}
    for row in rows:
        node = _Node(row, (row.name,), (row.wall_ms,), [], told.get(row.name, ()))
        above = last.get(row.parent) if row.parent else None
        (tops if above is None else above.children).append(node)
        last[row.name] = node
    return list(_flat(_folded(tops)))


def kernels(rows: Iterable[KernelRow]) -> list[FoldedKernel]:
    """The longest first, those of equal layers as one: the same kernel by the same op, as often, in modules that differ in a number."""
    found = [FoldedKernel(row, (row.total_ms,)) for row in rows]
    deepest = max((one.row.module.count(".") + 1 for one in found), default=0)
    for place in range(deepest):
        found = _folded_at(found, place)
    return sorted(found, key=lambda one: -one.row.total_ms)


def _flat(nodes: Iterable[_Node]) -> Iterable[Folded]:
    for node in nodes:
        yield Folded(node.row, node.of, node.walls_ms)
        yield from _flat(node.children)


def _folded(nodes: list[_Node]) -> list[_Node]:
    alike: defaultdict[Any, list[tuple[int, _Node]]] = defaultdict(list)
    for node in nodes:
        parts = node.row.name.split(".")
        place = next((at for at in reversed(range(len(parts))) if parts[at].isdecimal()), None)
        if place is not None:
            like = (node.row.parent, _signature(node, node.row.name))
            key = (tuple(parts[:place]), tuple(parts[place + 1 :]), like)
            alike[key].append((int(parts[place]), node))
    stands: dict[int, _Node | None] = {}
    for (before, after, _), members in alike.items():
        for run in _runs(members):
            name = ".".join((*before, f"{run[0][0]}-{run[-1][0]}", *after))
            stands |= {id(node): None for _, node in run}
            stands[id(run[0][1])] = _merged([node for _, node in run], name, run[0][1].row.parent)
    kept = [stands.get(id(node), node) for node in nodes]
    found = [node for node in kept if node is not None]
    for node in found:
        node.children = _folded(node.children)
    return found


def _runs(members: list[tuple[int, Any]]) -> Iterable[list[tuple[int, Any]]]:
    """Of consecutive numbers, each long enough."""
    run: list[tuple[int, Any]] = []
    for number, one in [*sorted(members, key=lambda pair: pair[0]), (-1, None)]:
        if run and number != run[-1][0] + 1:
            if len(run) >= LEAST:
                yield run
            run = []
        run.append((number, one))


def _signature(node: _Node, top: str) -> Any:
    """What equal layers have in common; names without the layer's own."""
    row = node.row
    children = tuple(_signature(child, top) for child in node.children)
    return row.name.removeprefix(top), row.calls, row.flops, row.bytes, node.launched, children


def _merged(nodes: Sequence[_Node], name: str, parent: str) -> _Node:
    """One node for equal ones, and so down to the leaves."""
    first = nodes[0].row
    children = [
        _merged(alike, name + alike[0].row.name.removeprefix(first.name), name)
        if alike[0].row.name.startswith(f"{first.name}.")
        else _merged(alike, alike[0].row.name, name)
        for alike in zip(*(node.children for node in nodes), strict=True)
    ]
    rows = [node.row for node in nodes]
    row = replace(
        first,
        name=name,
        parent=parent,
        calls=sum(one.calls for one in rows),
        start_ms=min(one.start_ms for one in rows),
        wall_ms=sum(one.wall_ms for one in rows),
        share=sum(one.share for one in rows),
        exposed_host_ms=_sum(one.exposed_host_ms for one in rows),
        gpu_busy_ms=_sum(one.gpu_busy_ms for one in rows),
        launches=_sum(one.launches for one in rows),
        flops=_sum(one.flops for one in rows),
        bytes=_sum(one.bytes for one in rows),
        cost_nusd=_sum(one.cost_nusd for one in rows),
        pieces=tuple(sorted(piece for one in rows for piece in one.pieces)),
    )
    names = tuple(name for node in nodes for name in node.of)
    walls_ms = tuple(wall_ms for node in nodes for wall_ms in node.walls_ms)
    return _Node(row, names, walls_ms, children, nodes[0].launched)


def _folded_at(rows: list[FoldedKernel], place: int) -> list[FoldedKernel]:
    """Rows whose modules differ in the number at one place of their dotted names alone."""
    alike: defaultdict[Any, list[tuple[int, FoldedKernel]]] = defaultdict(list)
    for one in rows:
        row = one.row
        parts = row.module.split(".")
        if place < len(parts) and parts[place].isdecimal():
            same = (row.name, row.op, row.means, row.count, row.flops, row.bytes, row.attributed)
            alike[same, tuple(parts[:place]), tuple(parts[place + 1 :])].append((int(parts[place]), one))
    gone: set[int] = set()
    made: list[FoldedKernel] = []
    for (_, before, after), members in alike.items():
        for run in _runs(members):
            found = [one.row for _, one in run]
            gone |= {id(one) for _, one in run}
            row = replace(
                found[0],
                module=".".join((*before, f"{run[0][0]}-{run[-1][0]}", *after)),
                count=sum(row.count for row in found),
                total_ms=sum(row.total_ms for row in found),
                flops=_sum(row.flops for row in found),
                bytes=_sum(row.bytes for row in found),
            )
            made.append(FoldedKernel(row, tuple(ms for _, one in run for ms in one.totals_ms)))
    return [*(one for one in rows if id(one) not in gone), *made]


def _sum(values: Iterable[Any]) -> Any:
    """Of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None

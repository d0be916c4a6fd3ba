"""What goes when room is needed: GreedyDual-Size-Frequency. Pure.

Theory
------
priority = clock + frequency * gain, where gain is what a hit saves per byte (worth / bytes). The least goes first, and the clock
rises to its priority: so what was once used much and then no more is overtaken in time (Cherkasova, HPL-98-69R1, 1998).
Where the worth is not known the gain is ``PLAIN_GAIN`` whatever the size: that leaves frequency, aged by the clock, and of equals
the one longest unused goes first.

There is one line for all, and one for each tenant with a clock of its own: a tenant at its limit ages its own entries, and
nobody else's.

A hit only raises a priority, so a heap may hold an old and lower one: it is put right when it comes to the top. So a hit costs
no step in a heap, and finding who goes is O(log n) for each hit or entry since.

Rules
- Bounded by bytes and by entries, in all and for each tenant. Tenant "" is a gateway without virtual keys: all that there is
  is its own, so only the limits for all hold.
- A newcomer is never the one that goes for itself.
"""

from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

from msgspec import Struct

PLAIN_GAIN = 1.0
"""Nano-dollars a byte where the worth is not known: less than what is written by any model with a price."""
_SLACK = 64
T = TypeVar("T")


class Limits(Struct, frozen=True):
    """What may lie there, in all and of one tenant."""

    max_bytes: int
    max_entries: int
    tenant_max_bytes: int
    tenant_max_entries: int

    @classmethod
    def of(cls, max_bytes: int, max_entries: int, tenant_max_bytes: int | None = None) -> "Limits":
        """A tenant's share in the entries is its share in the bytes; default: a quarter of both."""
        tenant_bytes = min(max_bytes, tenant_max_bytes or max(1, max_bytes // 4))
        return cls(max_bytes, max_entries, tenant_bytes, max(1, max_entries * tenant_bytes // max_bytes))


def gain_of(worth_nusd: int, size: int) -> float:
    """What a hit saves per byte."""
    return worth_nusd / max(1, size) if worth_nusd > 0 else PLAIN_GAIN


class Slot(Generic[T]):
    """One entry's place in the lines."""

    __slots__ = ("alive", "clock", "frequency", "gain", "item", "own", "own_clock", "size", "tick")

    def __init__(self, item: T, size: int, gain: float, own: "Line[T]", uses: int) -> None:
        self.item = item
        self.size = size
        self.gain = gain
        self.own = own
        self.frequency = uses
        self.alive = True
        self.tick = 0
        self.clock = 0.0
        self.own_clock = 0.0


class Line(Generic[T]):
    """What lies under one limit, the next to go at the top."""

    __slots__ = ("_heap", "clock", "entries", "size", "tenant")

    def __init__(self, tenant: str | None) -> None:
        self.tenant = tenant
        """None: the line for all."""
        self.clock = 0.0
        self.entries = 0
        self.size = 0
        self._heap: list[tuple[float, int, Slot[T]]] = []

    def enter(self, slot: Slot[T]) -> None:
        """One more."""
        self.entries += 1
        self.size += slot.size
        heappush(self._heap, (self.priority(slot), slot.tick, slot))

    def leave(self, slot: Slot[T]) -> None:
        """One less; what the heap holds of it goes later."""
        self.entries -= 1
        self.size -= slot.size
        if len(self._heap) > 2 * self.entries + _SLACK:
            self._heap = [(self.priority(one[2]), one[2].tick, one[2]) for one in self._heap if one[2].alive]
            heapify(self._heap)

    def priority(self, slot: Slot[T]) -> float:
        """As of its last use."""
        return (slot.clock if self.tenant is None else slot.own_clock) + slot.frequency * slot.gain

    def next(self) -> Slot[T] | None:
        """Who goes."""
        heap = self._heap
        while heap:
            _, tick, slot = heap[0]
            if not slot.alive:
                heappop(heap)
            elif slot.tick != tick:
                heapreplace(heap, (self.priority(slot), slot.tick, slot))
            else:
                return slot
        return None


class Gdsf(Generic[T]):
    """Who goes when room is needed. Not for several threads at once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.all: Line[T] = Line(None)
        self._tenants: dict[str, Line[T]] = {}
        self._tick = 0

    def enter(
        self, item: T, tenant: str, size: int, worth_nusd: int, uses: int = 1
    ) -> tuple[Slot[T] | None, list[Slot[T]]]:
        """A newcomer's slot, and who had to go for it. None: it is too large for any room to be made."""
        limits = self.limits
        if size > limits.max_bytes or not limits.max_entries or (tenant and size > limits.tenant_max_bytes):
            return None, []
        own = self._tenants.get(tenant) or Line[T](tenant)
        gone: list[Slot[T]] = []
        if tenant:
            self._make_room(own, limits.tenant_max_bytes - size, limits.tenant_max_entries, gone)
        self._make_room(self.all, limits.max_bytes - size, limits.max_entries, gone)
        if tenant:
            self._tenants[tenant] = own  # the last of its entries may just have gone, and its line with it
        slot = Slot(item, size, gain_of(worth_nusd, size), own, uses)
        self._use(slot)
        self.all.enter(slot)
        if tenant:
            own.enter(slot)
        return slot, gone

    def hit(self, slot: Slot[T]) -> None:
        """It was of use."""
        slot.frequency += 1
        self._tick = slot.tick = self._tick + 1
        slot.clock = self.all.clock
        slot.own_clock = slot.own.clock

    def leave(self, slot: Slot[T]) -> None:
        """It is dropped, purged, over, or has to go."""
        if not slot.alive:
            return
        slot.alive = False
        self.all.leave(slot)
        own = slot.own
        if own.tenant:
            own.leave(slot)
            if not own.entries and self._tenants.get(own.tenant) is own:
                del self._tenants[own.tenant]

    def _use(self, slot: Slot[T]) -> None:
        self._tick = slot.tick = self._tick + 1
        slot.clock = self.all.clock
        slot.own_clock = slot.own.clock

    def _make_room(self, line: Line[T], size: int, entries: int, gone: list[Slot[T]]) -> None:
        """Until ``size`` more bytes and one more entry fit."""
        while line.size > size or line.entries >= entries:
            slot = line.next()
            if slot is None:
                return
            line.clock = max(line.clock, line.priority(slot))
            self.leave(slot)
            gone.append(slot)

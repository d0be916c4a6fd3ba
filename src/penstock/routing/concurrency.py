"""Concurrent calls: a semaphore whose places are leased, so that a caller that dies does not hold one for ever."""

from typing import Protocol

from penstock.base.decisions import Rejected


class TakesPlaces(Protocol):
    """``Places``, or places that several processes share (``routing.credit``)."""

    def take(self, rid: str, now_s: float) -> Rejected | None:
        """A place for ``rid`` until its lease ends."""
        ...

    def give(self, rid: str) -> bool:
        """The call has ended."""
        ...


class Places:
    """At most ``most`` calls at a time. A place is known by its call's id; taking or giving it back twice is once."""

    __slots__ = ("held", "lease_s", "most")

    def __init__(self, most: int, lease_s: float = 600.0) -> None:
        if most < 1:
            raise ValueError("A limit of concurrent calls is at least 1.")
        self.most = most
        self.lease_s = lease_s
        self.held: dict[str, float] = {}
        """Id -> when its lease ends, in the order in which leases end."""

    def take(self, rid: str, now_s: float) -> Rejected | None:
        """A place for ``rid`` until its lease ends; taking it again renews the lease."""
        held = self.held
        if held.pop(rid, None) is None and len(held) >= self.most:
            self.sweep(now_s)
            if len(held) >= self.most:
                return Rejected(
                    "too-many-concurrent",
                    f"{self.most} calls run already, which is the limit; ask again when one has ended.",
                    retry_after_s=1.0,
                )
        held[rid] = now_s + self.lease_s
        return None

    def give(self, rid: str) -> bool:
        """The call has ended. False: it held no place (any more)."""
        return self.held.pop(rid, None) is not None

    def sweep(self, now_s: float) -> list[str]:
        """Places whose lease has ended, freed."""
        ended: list[str] = []
        for rid, until_s in self.held.items():
            if until_s > now_s:
                break
            ended.append(rid)
        for rid in ended:
            del self.held[rid]
        return ended

    def free(self) -> int:
        """How many may begin now."""
        return self.most - len(self.held)

"""What is withheld: the ledger is read in one pass, at most once a minute; where it is slow or gone, spending is told without."""

import asyncio
import threading
from typing import Any

import pytest

from penstock.base.errors import ConfigFault
from penstock.ledger.journal import Journal
from penstock.wiring import money
from penstock.wiring.money import Withheld
from tests.ledger.make import entry, record

KEY, TEAM = ("key a", "day"), ("key a", "month")


def ledger(tmp_path: Any, costs: list[tuple[int, int]]) -> str:
    path = str(tmp_path / "l.db")
    journal = Journal(path)
    for number, (at_ms, cost) in enumerate(costs):
        name = f"r{number}"
        journal.add(record(name, entry(name, id=f"{name}/1", at_ms=at_ms, virtual_key="a", cost_nusd=cost)))
    assert journal.flush(10)
    journal.close()
    return path


def test_windows_are_read_in_one_pass(tmp_path):
    """Each entry counts for every window that began before it; what the ledger lacks is withheld."""
    path = ledger(tmp_path, [(1_000, 5), (2_000, 7), (3_000, 11)])
    sums = money._sums(path, {1.0, 2.0, 3.0, 4.0})
    assert {start: one.get("key a", 0) for start, one in sums.items()} == {1.0: 23, 2.0: 18, 3.0: 11, 4.0: 0}

    async def run() -> Any:
        return await Withheld(path).of({KEY: (2.0, 20), TEAM: (1.0, 10)})

    assert asyncio.run(run()) == {KEY: 2, TEAM: 0}


def test_it_is_read_once_a_minute(tmp_path, monkeypatch):
    """What is spent since then is in the ledger, or on its way: it changes nothing of what is withheld."""
    path = ledger(tmp_path, [(2_000, 7)])
    asked: list[set[float]] = []
    real = money._sums
    monkeypatch.setattr(money, "_sums", lambda place, starts: (asked.append(starts), real(place, starts))[1])

    async def run() -> None:
        withheld = Withheld(path)
        assert await withheld.of({KEY: (1.0, 10)}) == {KEY: 3}
        assert await withheld.of({KEY: (1.0, 500)}) == {KEY: 3}
        assert asked == [{1.0}]
        assert await withheld.of({KEY: (9.0, 4)}) == {KEY: 4}  # a new window
        assert asked == [{1.0}, {9.0}]

    asyncio.run(run())


def test_a_slow_ledger_is_not_waited_for(tmp_path, monkeypatch):
    """Unknown now, and known to who asks later; no second reading beside the first."""
    path = ledger(tmp_path, [(2_000, 7)])
    go, real = threading.Event(), money._sums
    monkeypatch.setattr(money, "_WAIT_S", 0.01)
    monkeypatch.setattr(money, "_sums", lambda place, starts: (go.wait(10), real(place, starts))[1])

    async def run() -> None:
        withheld = Withheld(path)
        assert await withheld.of({KEY: (1.0, 10)}) == {}
        first = withheld._reading
        assert await withheld.of({KEY: (1.0, 10)}) == {}
        assert withheld._reading is first
        go.set()
        assert first is not None
        await asyncio.wait({first})
        assert await withheld.of({KEY: (1.0, 10)}) == {KEY: 3}

    asyncio.run(run())


@pytest.mark.parametrize("error", [ConfigFault("x", path="$"), OSError("gone")])
def test_a_ledger_that_cannot_be_read_leaves_it_unknown(tmp_path, monkeypatch, error):
    """The listing of budgets does not fail with it."""

    def broken(place: str, starts: set[float]) -> Any:
        raise error

    monkeypatch.setattr(money, "_sums", broken)

    async def run() -> Any:
        return await Withheld("x").of({KEY: (1.0, 10)})

    assert asyncio.run(run()) == {}

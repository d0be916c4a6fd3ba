"""One thread beside the loop: in order, with results, and what has not begun can be taken back."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from penstock.base.errors import OurFault
from penstock.gateway.caching.aside import Aside


@pytest.fixture
def aside():
    made = Aside("test-aside")
    yield made
    made.close()


def until(so: Callable[[], bool]) -> None:
    """Wait for it."""
    while not so():
        time.sleep(0.001)


def test_one_after_another(aside):
    """In the order in which they were given, all in one thread, whose name says what it is for."""
    seen: list[tuple[int, str]] = []

    def note(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        return number

    async def scenario() -> list[int]:
        for number in range(3):
            aside.do(partial(note, number))
        jobs = [aside.ask(partial(note, number)) for number in range(3, 6)]
        return [await job.future for job in jobs]

    assert asyncio.run(scenario()) == [3, 4, 5]
    assert seen == [(number, "test-aside") for number in range(6)]


def test_what_is_asked_for_raises_where_it_is_awaited(aside):
    """And the next is done; what nobody asked for is counted."""

    def fail() -> None:
        raise KeyError("no")

    async def scenario() -> str:
        aside.do(fail)
        with pytest.raises(KeyError):
            await aside.ask(fail).future
        return await aside.ask(lambda: "well").future

    assert asyncio.run(scenario()) == "well"
    assert aside.lost == 1


def test_what_has_not_begun_can_be_taken_back(aside):
    """What has begun cannot, and its result comes."""
    begun, go = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        go.wait(10)
        return "first"

    async def scenario() -> tuple[bool, bool, str, list[str]]:
        done: list[str] = []
        first = aside.ask(wait)
        second = aside.ask(partial(done.append, "second"))
        await asyncio.to_thread(begun.wait, 10)
        assert not aside.idle
        taken = first.take_back(), second.take_back()
        go.set()
        said = await first.future
        await aside.ask(lambda: None).future
        return *taken, said, done

    assert asyncio.run(scenario()) == (False, True, "first", [])


def test_idle_once_all_is_done(aside):
    """A look-up that needs no thread may go past it then, and no earlier."""
    assert aside.idle

    async def scenario() -> None:
        await aside.ask(lambda: None).future

    asyncio.run(scenario())
    until(lambda: aside.idle)


def test_closed():
    """What waits is told so, what is given later is not done, and what is asked for later refused."""
    made = Aside("test-aside")
    begun, go = threading.Event(), threading.Event()
    done: list[str] = []

    def wait() -> None:
        begun.set()
        go.wait(10)

    async def scenario() -> None:
        first = made.ask(wait)
        second = made.ask(partial(done.append, "second"))
        await asyncio.to_thread(begun.wait, 10)
        closing = asyncio.get_running_loop().run_in_executor(None, made.close)
        await asyncio.to_thread(until, lambda: made._closed)
        go.set()
        await first.future
        with pytest.raises(OurFault):
            await second.future
        await closing
        made.do(partial(done.append, "third"))
        with pytest.raises(OurFault):
            made.ask(lambda: None)

    asyncio.run(scenario())
    assert done == []

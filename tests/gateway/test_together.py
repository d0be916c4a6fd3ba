"""One message on its way at a time; what gathers meanwhile goes with the next, and nobody is left waiting."""

import asyncio

from penstock.gateway.together import Together


def test_what_gathers_goes_with_the_next_message():
    """Three calls ask while the first message is away: two messages in all, and each call is told when its own is answered."""

    async def run() -> None:
        sent: list[list[int]] = []
        answers: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]

        async def send(claims: list[int]) -> None:
            sent.append(claims)
            await answers[len(sent) - 1].wait()

        store = Together(send)
        first = asyncio.ensure_future(store.ask([1]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [asyncio.ensure_future(store.ask([2, 3])), asyncio.ensure_future(store.ask([4]))]
        store.tell([5])
        await asyncio.sleep(0)
        assert sent == [[1]]
        assert store.busy
        answers[0].set()
        await first
        assert not any(one.done() for one in later)
        answers[1].set()
        await asyncio.gather(*later)
        await asyncio.sleep(0)
        assert sent == [[1], [2, 3, 4, 5]]
        assert not store.busy
        await store.ask([])
        assert len(sent) == 2

    asyncio.run(run())


def test_a_caller_that_goes_away_keeps_nobody_else_waiting():
    """Its future is cancelled; the message it rode with is answered all the same."""

    async def run() -> None:
        answer = asyncio.Event()

        async def send(claims: list[str]) -> None:
            await answer.wait()

        store = Together(send)
        gone, stays = asyncio.ensure_future(store.ask(["a"])), asyncio.ensure_future(store.ask(["b"]))
        await asyncio.sleep(0)
        gone.cancel()
        answer.set()
        async with asyncio.timeout(5):
            await stays
        assert gone.cancelled() or gone.done()
        await store.ask(["c"])

    asyncio.run(run())

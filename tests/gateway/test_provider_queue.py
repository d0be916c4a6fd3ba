"""The queue of one provider, whatever happens in whatever order: no place is lost, and nobody waits beside a free one."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.decisions import Rejected
from penstock.base.usage import Usage
from penstock.config.schema import QueueConfig
from penstock.gateway.queue import REPLY_TOKENS, ProviderQueue

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abc"), st.sampled_from(["interactive", "batch"])),
        st.tuples(st.just("leave"), st.integers(0, 9), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.none()),
        st.tuples(st.just("leave-and-cancel"), st.integers(0, 9), st.none()),
        st.tuples(st.just("resize"), st.integers(1, 4), st.integers(1, 6)),
        st.tuples(st.just("turn"), st.just(0), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_no_place_is_lost_and_nobody_waits_beside_a_free_one(steps):
    """Calls come, run, end and are cancelled in any order, also in the moment of their turn."""

    async def run() -> None:
        most, room = 2, 5
        queue = ProviderQueue("p", QueueConfig(max_concurrent=most, max_waiting=room))
        running: list[str] = []
        waiting: list[asyncio.Task[None]] = []
        refused = 0

        async def wait(key: str, priority: str) -> None:
            nonlocal refused
            answer = await queue.enter(key, 300, priority, 60)
            if isinstance(answer, Rejected):
                refused += 1
            else:
                running.append(key)

        for what, one, two in steps:
            if what == "enter" and queue.enter_now():
                running.append(one)
            elif what == "enter":
                waiting.append(asyncio.create_task(wait(one, two)))
                await asyncio.sleep(0)
            elif what in ("leave", "leave-and-cancel") and running:
                queue.leave(running.pop(one % len(running)), None)
            elif what == "resize":
                most, room = one, two
                queue.change(QueueConfig(max_concurrent=most, max_waiting=room))
            if "cancel" in what and waiting:
                waiting.pop(one % len(waiting)).cancel()
            if what == "turn":
                await asyncio.sleep(0)
                waiting = [task for task in waiting if not task.done()]
            assert not (queue.waiting and queue.running < most)
        for _ in range(3):
            await asyncio.sleep(0)
        waiting = [task for task in waiting if not task.done()]
        assert (queue.running, queue.waiting) == (len(running), len(waiting))
        assert queue.refused == refused
        for _ in range(len(running) + len(waiting)):
            queue.leave(running.pop(), None)
            for _ in range(3):
                await asyncio.sleep(0)
        assert (queue.running, queue.waiting, running) == (0, 0, [])

    asyncio.run(run())


def test_time_that_runs_out_leaves_nothing_behind():
    """Nor does it in the very moment of the call's turn."""

    async def run() -> None:
        queue = ProviderQueue("p", QueueConfig(max_concurrent=1))
        assert queue.enter_now()
        late = await queue.enter("k", 1, "batch", 0.001)
        assert isinstance(late, Rejected)
        assert late.code == "queue-timeout"
        assert (queue.running, queue.waiting, queue.gave_up) == (1, 0, 1)
        both = asyncio.create_task(queue.enter("k", 1, "batch", 0))
        await asyncio.sleep(0)
        queue.leave("k", None)
        answer = await both
        assert queue.running == (0 if isinstance(answer, Rejected) else 1)

    asyncio.run(run())


def test_a_keys_share_is_measured_by_its_own_replies():
    """A key of long replies gets fewer calls through than one of short ones, and about the same tokens."""

    async def run() -> dict[str, int]:
        queue = ProviderQueue("p", QueueConfig(max_concurrent=1))
        got = {"long": 0, "short": 0}
        replies = {"long": 2000, "short": 100}

        async def caller(key: str) -> None:
            while sum(got.values()) < 400_000:
                tokens = 20 + queue.reply_tokens(key, None)
                assert await queue.enter(key, tokens, "interactive", 60) is None
                got[key] += 20 + replies[key]
                await asyncio.sleep(0)
                queue.leave(key, Usage(input=20, output=replies[key]))

        assert queue.enter_now()
        callers = [asyncio.create_task(caller(key)) for key in ("long", "long", "short", "short", "short")]
        await asyncio.sleep(0)
        queue.leave("nobody", None)
        await asyncio.gather(*callers)
        return got

    got = asyncio.run(run())
    assert 0.8 < got["long"] / got["short"] < 1.25, got


def test_what_is_not_known_of_a_key_is_a_middling_reply_within_its_cap():
    """Until its first reply has come."""
    queue = ProviderQueue("p", QueueConfig(max_concurrent=1))
    assert queue.reply_tokens("k", None) == REPLY_TOKENS
    assert queue.reply_tokens("k", 10) == 10
    assert queue.enter_now()
    queue.leave("k", Usage(output=1000))
    assert queue.reply_tokens("k", None) == 1000

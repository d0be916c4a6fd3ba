"""The fair queue: equal shares between keys, batch never starves, and a full queue says so at once."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.decisions import Rejected
from penstock.routing.fair import FairQueue, Waiting


def sized(name: str, source: random.Random) -> int:
    return {"small": source.randint(1, 50), "large": source.randint(5_000, 60_000)}.get(
        name, int(source.lognormvariate(6, 1.5)) + 1
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_over_a_long_run_keys_share_within_5_percent_whatever_they_send(seed):
    """Small calls, large ones and mixed ones; one key floods, the others keep two calls waiting."""
    source, queue, got = random.Random(seed), FairQueue(1000), Counter()
    keys = {"small": 200, "large": 2, "mixed-1": 2, "mixed-2": 500}
    for key, depth in keys.items():
        for _ in range(depth):
            queue.offer(None, key, sized(key, source))
    while sum(got.values()) < 20_000_000:
        one = queue.next()
        got[one.key] += one.tokens
        queue.offer(None, one.key, sized(one.key, source))
    equal = sum(got.values()) / len(keys)
    assert all(abs(tokens - equal) <= 0.05 * equal for tokens in got.values()), got


def test_batch_gets_through_while_interactive_floods():
    """One token in ten at the default share; and all of them when nothing else waits."""
    queue, got = FairQueue(100), Counter()
    for number in range(20):
        queue.offer(number, "chat", 700)
        queue.offer(number, "nightly", 1000, "batch")
    for _ in range(5000):
        one = queue.next()
        got[one.priority] += one.tokens
        queue.offer(None, one.key, one.tokens, one.priority)
    assert got["batch"] / sum(got.values()) == pytest.approx(0.1, abs=0.005)
    left = [queue.next().priority for _ in range(40)]
    assert queue.next() is None
    assert left.count("batch") == 20
    assert left[-5:] == ["batch"] * 5


def test_interactive_goes_before_batch_that_came_first():
    """The batch call's share is not due yet."""
    queue = FairQueue(10)
    queue.offer("b", "k", 10, "batch")
    queue.offer("i", "k", 10)
    assert [queue.next().item, queue.next().item] == ["i", "b"]


def test_a_full_queue_refuses_at_once_and_one_key_cannot_fill_it():
    """Room for others stays."""
    queue = FairQueue(3, most_a_key=2)
    assert isinstance(queue.offer(1, "a", 5), Waiting)
    mine = queue.offer(2, "a", 5)
    refused = queue.offer(3, "a", 5)
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.retry_after_s) == ("queue-full", 1.0)
    assert "2 calls of this key wait" in refused.reason
    assert isinstance(queue.offer(4, "b", 5), Waiting)
    assert "3 calls wait" in queue.offer(5, "c", 5).reason
    queue.leave(mine)
    assert isinstance(queue.offer(5, "c", 5), Waiting)
    assert sorted(queue.next().item for _ in range(3)) == [1, 4, 5]
    assert len(queue) == 0
    with pytest.raises(ValueError, match="at least 1"):
        FairQueue(0)


def test_a_huge_call_costs_no_endless_rounds():
    """A million rounds of one token are given at once, equally."""
    queue = FairQueue(10, quantum=1)
    for key in "abc":
        queue.offer(key, key, 1_000_000)
    queue.offer("small", "d", 10)
    assert [queue.next().item for _ in range(4)] == ["small", "a", "b", "c"]


CALLS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 5000),
        st.sampled_from(["interactive", "batch"]),
        st.integers(0, 3),
    ),
    max_size=120,
)


@settings(max_examples=200)
@given(CALLS, st.integers(1, 2000))
def test_every_call_leaves_once_in_its_keys_order(calls, quantum):
    """However offers, departures and hang-ups are mixed: nothing is lost, nothing twice."""
    queue, waiting, order = FairQueue(50, quantum=quantum), {}, Counter()
    for number, (key, tokens, priority, then) in enumerate(calls):
        one = queue.offer(number, key, tokens, priority)
        if isinstance(one, Rejected):
            assert len(waiting) == 50
        else:
            waiting[number] = one
        if then == 1 and waiting:
            queue.leave(waiting.pop(random.Random(number).choice(list(waiting))))
        elif then == 2:
            check_next(queue, waiting, order)
        assert len(queue) == len(waiting)
    while waiting:
        check_next(queue, waiting, order)
    assert queue.next() is None


def check_next(queue, waiting, order):
    one = queue.next()
    if one is None:
        assert not waiting
        return
    assert waiting.pop(one.item) is one
    line = (one.key, one.priority)
    assert one.item >= order[line]
    order[line] = one.item


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=2, max_size=5), st.integers(1, 2000))
def test_no_key_is_ever_further_ahead_than_a_quantum_and_its_largest_call(sizes, quantum):
    """While all wait: the bound that the algorithm promises, at every departure."""
    queue, got = FairQueue(100, quantum=quantum), Counter()
    for number, tokens in enumerate(sizes):
        for _ in range(2):
            queue.offer(None, str(number), tokens)
    for _ in range(300):
        one = queue.next()
        got[one.key] += one.tokens
        queue.offer(None, one.key, one.tokens)
        counts = [got[str(number)] for number in range(len(sizes))]
        assert max(counts) - min(counts) <= 2 * (quantum + max(sizes))

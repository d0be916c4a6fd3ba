"""Blocks: every second once, traces inherited, and nothing of ours in the caller's way."""

import asyncio
import sys
import threading
import time
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock
from penstock.meter import block
from penstock.meter.block import Meter


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now_s = 1000.0

    def time(self):
        return 1_795_000_000.0 + self.now_s

    def perf_counter(self):
        return self.now_s


@pytest.fixture
def told(monkeypatch):
    """What blocks report, in the order of their ends."""
    events = []
    monkeypatch.setattr(block.reporter, "add", events.append)
    return events


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(block, "time", made)
    return made


def by_stage(events):
    return {one["stage"]: one for one in events}


def test_a_block_reports_its_time_stage_and_compute(told, clock):
    """Wall time in milliseconds, compute in seconds, the time of its begin."""
    with penstock.meter("denoise", compute="h100", gpus=2, trace="r7", meta={"sku": "1"}) as running:
        clock.now_s += 1.5
        running.meta["frames"] = "48"
    assert told == [
        {"stage": "denoise", "trace": "r7", "at": 1_795_001_000.0, "duration_ms": 1500.0, "compute": "h100",
         "gpu_seconds": 3.0, "meta": {"sku": "1", "frames": "48"}}
    ]  # fmt: skip


def test_blocks_in_blocks_count_each_second_once(told, clock):
    """The same compute is taken out of the outer block, other compute is not; wall time always is."""
    with penstock.meter("render", compute="h100"):
        clock.now_s += 1
        with penstock.meter("mux", compute="cpu"):
            clock.now_s += 2
            with penstock.meter("decode", compute="h100"):
                clock.now_s += 4
        with penstock.meter("group"):
            with penstock.meter("vae", compute="h100"):
                clock.now_s += 8
            clock.now_s += 16
    found = {stage: (one["duration_ms"], one["gpu_seconds"]) for stage, one in by_stage(told).items()}
    assert found == {
        "decode": (4000, 4),
        "mux": (2000, 6),  # the cpu is held all the while
        "vae": (8000, 8),
        "render": (1000, 31 - 4 - 8),
    }


TREES = st.recursive(
    st.tuples(st.sampled_from(["h100", "cpu", None]), st.integers(0, 9), st.just(())),
    lambda inner: st.tuples(
        st.sampled_from(["h100", "cpu", None]), st.integers(0, 9), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


@given(TREES)
def test_sums_over_any_nesting(tree):
    """GPU-seconds of a compute are the time in which some block holds it; wall time is counted once."""
    events, clock = [], Clock()
    held: dict[str, float] = {}
    walls = []

    def walk(node, above):
        compute, seconds, inner = node
        holding = above | ({compute} if compute else set())
        with Meter("s", compute=compute):
            clock.now_s += seconds
            for name in holding:
                held[name] = held.get(name, 0) + seconds
            if compute:
                walls.append(seconds)
            for one in inner:
                walk(one, holding)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block.reporter, "add", events.append)
        patch.setattr(block, "time", clock)
        walk(tree, set())
    used: dict[str, float] = {}
    for one in events:
        used[one["compute"]] = used.get(one["compute"], 0) + one["gpu_seconds"]
    assert {name: one for name, one in used.items() if one} == {
        name: one for name, one in held.items() if one
    }
    assert sum(one["duration_ms"] for one in events) == sum(walls) * 1000
    assert len({one["trace"] for one in events}) <= 1


def test_an_exception_goes_on_and_its_time_is_reported(told):
    """With its class, not its words."""
    with pytest.raises(ZeroDivisionError), penstock.meter("denoise", compute="h100"):
        1 / 0  # noqa: B018
    assert told[0]["meta"] == {"error": "ZeroDivisionError"}
    assert penstock.meter.current_trace() is None


def test_traces_are_inherited_and_end_with_the_outermost(told):
    """Two renders are two traces; a given one wins for its block and those inside."""
    for _ in range(2):
        with penstock.meter("render") as render, penstock.meter("a", compute="h100"):
            assert penstock.meter.current_trace() == render.trace
            with penstock.meter("b", compute="h100", trace="other"), penstock.meter("c", compute="h100"):
                pass
    traces = [one["trace"] for one in told]
    assert traces[0] == traces[1] == traces[3] == "other"
    assert len({traces[2], traces[5]}) == 2
    assert all(len(one) == 32 for one in (traces[2], traces[5]))


def test_async_blocks_side_by_side_keep_their_traces(told):
    """Each task has its own; tasks made inside a block inherit its trace."""

    @penstock.meter("stage", compute="h100")
    async def stage(name):
        await asyncio.sleep(0.01)
        return name, penstock.meter.current_trace()

    async def render(name):
        with penstock.meter("render") as running:
            done = await asyncio.gather(stage(name), stage(name))
            assert [one[1] for one in done] == [running.trace] * 2
        return running.trace

    async def all_of_them():
        return await asyncio.gather(*(render(i) for i in range(5)))

    traces = asyncio.run(all_of_them())
    assert len(set(traces)) == 5
    assert sorted(one["trace"] for one in told) == sorted([*traces, *traces])


def test_functions_of_each_kind(told, clock):
    """Metered per call, with name and result kept; a generator for as long as it is read."""

    @penstock.meter("plain", compute="h100")
    def plain(a, b=1):
        clock.now_s += 1
        return a + b

    @penstock.meter("frames", compute="h100")
    def frames():
        for number in range(2):
            clock.now_s += 1
            yield number

    assert (plain(1, b=2), plain.__name__) == (3, "plain")
    assert list(frames()) == [0, 1]
    assert [one["gpu_seconds"] for one in told] == [1, 2]
    with pytest.raises(TypeError, match="inside it"):

        @penstock.meter("late", compute="h100")
        async def late():
            yield 1


def test_generators_may_end_in_any_order(told):
    """Two that were begun one after the other, the first ended first: both are reported."""

    @penstock.meter("one", compute="h100")
    def one():
        yield

    @penstock.meter("two", compute="h100")
    def two():
        yield

    first, second = one(), two()
    next(first)
    next(second)
    assert list(first) == []
    assert list(second) == []
    assert [event["stage"] for event in told] == ["one", "two"]
    assert penstock.meter.current_trace() is None


def test_one_meter_in_many_threads(told):
    """One object, used side by side."""
    meter = penstock.meter("s", compute="h100")
    barrier = threading.Barrier(8)

    def work():
        for _ in range(50):
            with meter:
                pass
        barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 400


@pytest.mark.parametrize("odd", [{"meta": 7}, {"gpus": "two"}, {"gpu": "first"}, {"meta": {1: object()}}])
def test_odd_arguments_never_reach_the_caller(told, odd):
    """The block runs and ends as if it were not metered."""
    ran = []
    with penstock.meter("s", compute="h100", **odd):
        ran.append(1)
    assert ran == [1]
    assert penstock.meter.current_trace() is None


def test_record_takes_the_trace_around_it(told):
    """And what is given wins."""
    with penstock.meter("render") as render:
        penstock.meter.record("keep", storage="s3", gb_months="0.5")
        penstock.meter.record("deliver", egress="cdn", gb=2, trace="t", at=5)
    assert told[0].pop("at") == pytest.approx(time.time(), abs=60)
    assert told[0] == {"stage": "keep", "trace": render.trace, "storage": "s3", "gb_months": "0.5"}
    assert told[1] == {"stage": "deliver", "trace": "t", "at": 5, "egress": "cdn", "gb": 2}


class Nvml(types.ModuleType):
    """A driver with some cards: 300 W each, by the test's clock."""

    class NVMLError(Exception):
        pass

    def __init__(self, clock, cards):
        super().__init__("pynvml")
        self.clock, self.cards, self.broken = clock, cards, False

    def nvmlInit(self):
        if self.cards is None:
            raise self.NVMLError("no driver")

    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.broken:
            raise self.NVMLError("lost")
        return int(self.clock.now_s * 300 * 1000)


def cards(monkeypatch, clock, count):
    """What ``energy`` finds with this driver."""
    nvml = Nvml(clock, count)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    made = block.energy.__class__()
    made.open()
    monkeypatch.setattr(block, "energy", made)
    return nvml


def test_joules_where_a_counter_is(told, clock, monkeypatch):
    """Each joule once: the outer block's without the inner one's; unknown once the driver is lost."""
    nvml = cards(monkeypatch, clock, 1)
    with penstock.meter("outer", compute="h100"):
        clock.now_s += 2
        with penstock.meter("inner", compute="h100"):
            clock.now_s += 1
    assert {stage: one["joules"] for stage, one in by_stage(told).items()} == {"inner": 300, "outer": 600}
    with penstock.meter("lost", compute="h100"):
        nvml.broken = True
    assert "joules" not in told[-1]


@pytest.mark.parametrize(
    ("count", "gpu", "known"), [(2, None, False), (2, 1, True), (1, 7, False), (None, 0, False)]
)
def test_of_several_cards_one_must_be_named(told, clock, monkeypatch, count, gpu, known):
    """Not known is not 0."""
    cards(monkeypatch, clock, count)
    with penstock.meter("s", compute="h100", gpu=gpu):
        clock.now_s += 1
    assert ("joules" in told[0]) is known

"""Timing decides by its readings alone: a scripted clock stands in for the machine's, and for a GPU's events."""

import random
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.engine.measure import ports, timing
from penstock.engine_wiring.live import FirstCall


class Event:
    """Like a CUDA event: it has a time only once the device has passed it."""

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.passed = False


class Machine:
    """A machine in script: ``call(ms)`` takes that long, on the host or queued on a device."""

    def __init__(self, *, clock: str = "wall", slept: float = 0.0, launch_ms: float = 0.001) -> None:
        self.clock = clock
        self.now_s = 0.0
        self.used_s = 0.0
        self.device_free_s = 0.0
        self.slept = slept
        self.launch_ms = launch_ms
        self.open: list[Event] = []
        self.order: list[str] = []

    @property
    def on_device(self) -> bool:
        return self.clock == "cuda-events"

    def call(self, name: str, ms: Callable[[int], float]) -> Callable[[], None]:
        """A call that takes ``ms(how often it was called before)``."""
        times = 0

        def called() -> None:
            nonlocal times
            took_s = ms(times) / 1e3
            times += 1
            self.order.append(name)
            if self.on_device:
                self.pass_host(self.launch_ms / 1e3)
                self.device_free_s = max(self.device_free_s, self.now_s) + took_s
            else:
                self.pass_host(took_s)

        return called

    def pass_host(self, seconds: float) -> None:
        self.now_s += seconds * (1 + self.slept)
        self.used_s += seconds

    def mark(self) -> Any:
        if not self.on_device:
            return self.now_s
        event = Event(max(self.device_free_s, self.now_s))
        self.open.append(event)
        return event

    def wait(self) -> None:
        self.now_s = max(self.now_s, self.device_free_s)
        for event in self.open:
            event.passed = True
        self.open.clear()

    def between_ms(self, first: Any, last: Any) -> float:
        if not self.on_device:
            return (last - first) * 1e3
        if not (first.passed and last.passed):
            raise RuntimeError("CUDA error: device not ready")
        return (last.due_s - first.due_s) * 1e3

    def wall_s(self) -> float:
        return self.now_s

    def cpu_s(self) -> float | None:
        return None if self.on_device else self.used_s


def steady(ms: float) -> Callable[[int], float]:
    return lambda _times: ms


def test_a_steady_call_has_its_time_and_nothing_to_warn_of():
    machine = Machine()
    found = timing.measure(machine.call("a", steady(4.0)), clock=machine)
    assert found.median_ms == pytest.approx(4.0)
    assert found.low_ms == pytest.approx(found.high_ms)
    assert found.first_ms == pytest.approx(4.0)
    assert found.warnings == ()
    assert (found.clock, found.per_sample) == ("wall", 1)
    assert found.runs >= timing.LEAST_SAMPLES
    assert len(machine.order) == found.warmup + found.runs


def test_warm_up_goes_on_until_the_times_have_settled():
    """A cold call and six that compile or fill caches are in neither the median nor the quartiles."""
    machine = Machine()
    falling = [900.0, 100.0, 80.0, 60.0, 40.0, 20.0, 10.0]
    found = timing.measure(
        machine.call("a", lambda times: falling[times] if times < len(falling) else 5.0), clock=machine
    )
    assert found.first_ms == pytest.approx(900.0)
    assert found.high_ms == pytest.approx(5.0)
    assert found.warmup >= len(falling)
    assert found.warnings == ()


def test_a_call_that_never_settles_is_told():
    machine = Machine()
    found = timing.measure(
        machine.call("a", lambda times: 1000.0 * 0.97**times + 1), clock=machine, most_s=60
    )
    assert any("not settled" in said for said in found.warnings)


def test_short_calls_are_timed_many_at_once():
    """A microsecond is under the clock's grain: a sample holds enough calls, and is divided by their number."""
    machine = Machine()
    found = timing.measure(machine.call("a", steady(0.001)), clock=machine)
    assert found.median_ms == pytest.approx(0.001)
    assert found.per_sample * 0.001 >= timing.SAMPLE_MS["wall"]
    assert len(machine.order) == found.warmup + found.runs * found.per_sample


def test_a_slow_call_is_called_no_more_than_it_must():
    machine = Machine()
    found = timing.measure(machine.call("a", steady(30_000.0)), clock=machine, most_s=10)
    assert len(machine.order) == 2
    assert found.median_ms == pytest.approx(30_000.0)
    assert any("only 1 sample:" in said for said in found.warnings)


def test_a_slow_calls_time_goes_to_samples_not_to_warm_up():
    """1.5 s a call in 16 s: one cold, two that agree, and five that count."""
    machine = Machine()
    found = timing.measure(
        machine.call("a", lambda times: 1500.0 if times else 4000.0), clock=machine, most_s=16
    )
    assert (found.warmup, found.runs) == (3, timing.LEAST_SAMPLES)
    assert found.first_ms == pytest.approx(4000.0)
    assert found.warnings == ()


def test_device_events_are_read_only_when_passed_and_show_the_devices_time():
    """The fake raises like CUDA does when an event is read too early; the launches' host time is not what is reported."""
    machine = Machine(clock="cuda-events", launch_ms=0.004)
    found = timing.measure(machine.call("a", steady(7.0)), clock=machine)
    assert found.median_ms == pytest.approx(7.0, abs=0.01)
    assert found.clock == "cuda-events"
    assert found.warnings == ()


class Card:
    """A GPU in script with two streams, behind PyTorch's own names: work goes to the current stream, or to a side one."""

    def __init__(self) -> None:
        self.machine = Machine(clock="cuda-events")
        self.side_free_s = 0.0

    def side(self, ms: float) -> None:
        """Launch on the side stream: the current one's events do not wait for it."""
        self.machine.pass_host(self.machine.launch_ms / 1e3)
        self.side_free_s = max(self.side_free_s, self.machine.now_s) + ms / 1e3

    def event(self, *, enable_timing: bool) -> Any:
        card, machine = self, self.machine
        assert enable_timing

        class Recorded:
            def record(self, stream: Any) -> None:
                self.of = machine.mark()

            def synchronize(self) -> None:
                machine.wait()

            def elapsed_time(self, last: Any) -> float:
                return card.machine.between_ms(self.of, last.of)

        return Recorded()

    def synchronize(self, device: Any) -> None:
        self.machine.wait()
        self.machine.now_s = max(self.machine.now_s, self.side_free_s)
        self.machine.pass_host(5e-6)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setattr(torch.cuda, "Event", made.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", made.synchronize)
    return made


def test_work_on_other_streams_is_timed_too(card: Card):
    """7 ms here and 9 beside it are 9; what one stream does alone is by its own events, without the host's synchronisation."""
    clock = ports.CudaWatch("cuda:0", now_s=card.machine.wall_s)
    here = card.machine.call("here", steady(7.0))

    def both() -> None:
        here()
        card.side(9.0)

    assert timing.measure(both, clock=clock).median_ms == pytest.approx(9.0, abs=0.02)
    assert timing.measure(lambda: card.side(9.0), clock=clock).median_ms == pytest.approx(9.0, abs=0.02)
    assert timing.measure(here, clock=clock).median_ms == pytest.approx(7.001, abs=1e-6)


def test_the_first_call_is_over_when_the_device_has_done_it():
    """A launch of 4 us on the host, 40 ms on the device, which was busy with loading before."""
    machine = Machine(clock="cuda-events", launch_ms=0.004)
    machine.call("loading", steady(500.0))()
    workload: Any = SimpleNamespace(device="cpu", call=machine.call("cold", steady(40.0)))
    first = FirstCall(workload, machine)
    first.call()
    assert first.first_ms == pytest.approx(40.0, abs=0.01)
    first.call()
    assert first.first_ms == pytest.approx(40.0, abs=0.01)
    assert machine.order == ["loading", "cold", "cold"]


def test_a_disturbed_machine_is_told_and_a_device_that_waits_is_not():
    busy = Machine(slept=2.1)
    said = timing.measure(busy.call("a", steady(4.0)), clock=busy).warnings
    assert any("disturbed" in line and "3.1" in line for line in said)
    device = Machine(clock="cuda-events")
    assert timing.measure(device.call("a", steady(4.0)), clock=device).warnings == ()


def test_spread_and_drift_are_told():
    rng = random.Random(1)
    wild = Machine()
    said = timing.measure(wild.call("a", lambda _: rng.choice((1.0, 2.0))), clock=wild).warnings
    assert any("unsteady" in line for line in said)
    slowing = Machine()
    said = timing.measure(slowing.call("a", lambda times: 5.0 + times / 20), clock=slowing).warnings
    assert any("drifting" in line and "slower" in line for line in said)


def test_compared_calls_are_sampled_in_turn_and_in_random_order():
    """Each round holds every call once; the order changes; a machine that slows down slows both alike."""
    machine = Machine()
    calls = {
        "a": machine.call("a", lambda _: 2.0 * (1 + machine.now_s)),
        "b": machine.call("b", lambda _: 4.0 * (1 + machine.now_s)),
    }
    found = timing.interleave(calls, clock=machine, least_s=1.0, most_s=5.0)
    sampled = machine.order[found["a"].warmup + found["b"].warmup :]
    rounds = [tuple(sampled[i : i + 2]) for i in range(0, len(sampled), 2)]
    assert all(sorted(pair) == ["a", "b"] for pair in rounds)
    assert {("a", "b"), ("b", "a")} == set(rounds)
    assert found["a"].runs == found["b"].runs
    assert found["b"].median_ms / found["a"].median_ms == pytest.approx(2.0, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.001, 60_000), min_size=1, max_size=4), st.floats(0, 2), st.floats(0, 8))
def test_no_call_costs_more_than_it_was_given(times_ms: list[float], least_s: float, more_s: float):
    """A call of a minute beside one of a microsecond: each has a sample, none goes on past its time but for what was begun."""
    machine = Machine()
    calls = {str(i): machine.call(str(i), steady(ms)) for i, ms in enumerate(times_ms)}
    most_s = least_s + more_s
    found = timing.interleave(calls, clock=machine, least_s=least_s, most_s=most_s)
    for i, ms in enumerate(times_ms):
        one = found[str(i)]
        assert one.runs >= 1
        assert one.median_ms == pytest.approx(ms, rel=1e-3, abs=1e-6)
        spent_s = machine.order.count(str(i)) * ms / 1e3
        assert spent_s <= most_s + (2 + one.per_sample) * ms / 1e3 + 1e-6


def test_a_run_can_be_repeated_in_the_same_order():
    def taken(seed: int) -> list[str]:
        machine = Machine()
        calls = {name: machine.call(name, steady(9.0)) for name in "abc"}
        timing.interleave(calls, clock=machine, least_s=0.1, order=random.Random(seed))
        return machine.order

    assert taken(3) == taken(3)
    assert taken(3) != taken(4)


def test_times_that_contradict_are_refused():
    with pytest.raises(BadRequest, match="must not be the larger"):
        timing.measure(lambda: None, least_s=3, most_s=1)


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1e4), min_size=1, max_size=200))
def test_quartiles_hold_the_median_and_are_among_the_samples(ms: list[float]):
    found = timing.summary(timing.Samples(ms=ms), "wall")
    assert min(ms) <= found.low_ms <= found.median_ms <= found.high_ms <= max(ms)
    assert found.median_ms == pytest.approx(median(ms))


@settings(deadline=None)
@given(st.floats(1e-6, 1e5), st.floats(0.01, 10))
def test_a_sample_is_long_enough_or_as_many_calls_as_allowed(call_ms: float, sample_ms: float):
    count = timing.repeats(call_ms, sample_ms)
    assert count == 1000 or count * call_ms >= sample_ms * 0.999
    assert count == 1 or (count - 2) * call_ms <= sample_ms


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 100), min_size=0, max_size=60),
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(0, 20),
)
def test_sampling_always_ends(ms: list[float], least_s: float, more_s: float, spent_s: float):
    samples = timing.Samples(ms=ms, wall_s=spent_s)
    if spent_s >= least_s + more_s and ms:
        assert timing.enough(samples, least_s, least_s + more_s)
    elif len(ms) < timing.LEAST_SAMPLES or spent_s < least_s:
        assert not timing.enough(samples, least_s, least_s + more_s)


def test_the_machines_own_clocks_answer_the_port():
    """The real stopwatch: wall and thread time go forward, and the device of a name decides which is taken."""
    for thread in (False, True):
        clock = ports.watch("cpu", thread=thread)
        first = clock.mark()
        sum(range(10_000))
        last = clock.mark()
        clock.wait()
        assert clock.between_ms(first, last) >= 0
        assert clock.cpu_s() is not None
        assert clock.clock == ("thread" if thread else "wall")
    assert isinstance(ports.watch("cuda:1"), ports.CudaWatch)
    assert ports.CudaWatch("cuda:0").cpu_s() is None


def test_a_real_call_is_timed():
    calls: list[int] = []
    found = timing.measure(lambda: calls.append(1), least_s=0.01, most_s=1.0)
    assert len(calls) == found.warmup + found.runs * found.per_sample
    assert found.median_ms > 0

"""The figures of several workers become one: sums of what is counted, and of gauges what each metric says."""

from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.observe import names
from penstock.observe.metrics import Metrics, Snapshot


@dataclass
class Attempt:
    provider: str = "openai"
    model: str = "gpt-4o"
    route: str = "openai/gpt-4o"
    klass: str = "delivered"
    error_code: str | None = None
    cost_nusd: int | None = 7
    ttft_ms: float | None = 100.0
    usage_source: str | None = "provider"
    input: int = 3
    output: int = 5
    cache_read: int = 0
    reasoning: int = 2
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_image: int = 0
    output_audio: int = 0
    output_image: int = 0


@dataclass
class Answered:
    status: int = 200
    latency_ms: float = 128.0
    gateway_us: int = 64


@dataclass
class Whole:
    call: Answered = field(default_factory=Answered)
    entries: list[Attempt] = field(default_factory=lambda: [Attempt()])


CALLS = st.builds(
    Whole,
    st.builds(
        Answered, st.sampled_from([200, 429]), st.sampled_from([0.5, 128.0, 4096.0]), st.integers(0, 20_000)
    ),
    st.lists(
        st.builds(
            Attempt,
            st.sampled_from(["openai", "anthropic"]),
            cost_nusd=st.none() | st.integers(0, 10**12),
            error_code=st.none() | st.just("timeout"),
        ),
        max_size=3,
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), CALLS), max_size=30))
def test_three_workers_count_what_one_would_have_counted(calls):
    """To the letter of what Prometheus reads (sums of seconds are made of binary fractions here)."""
    one, workers, together = Metrics(version="1"), [Metrics(version="1") for _ in range(3)], Metrics()
    for metrics in (one, *workers):  # a name that only one of them has delivered is "other" to the rest
        metrics.expect(frozenset({"openai/gpt-4o", "anthropic/gpt-4o"}), frozenset())
    for index, call in calls:
        call.call.gateway_us = 1 << (call.call.gateway_us % 14)
        one.observe(call)
        workers[index].observe(call)
    for metrics in workers:
        words = msgspec.msgpack.encode(metrics.snapshot())
        together.absorb(msgspec.msgpack.decode(words, type=Snapshot))
    assert lines(together) == lines(one)


def lines(metrics):
    """Sorted: the order of series says nothing. Sums of floats to nine digits: their order of adding differs."""
    found = []
    for line in metrics.render().decode().splitlines():
        words, _, value = line.rpartition(" ")
        found.append((words, f"{float(value):.9g}") if "_sum" in words else (words, value))
    return sorted(found)


def test_gauges_are_joined_as_each_says():
    """A key that cools anywhere is down, connections add up, the worst breaker is shown, a reload is one."""
    together = Metrics()
    for up, connections, breaker in ((True, 3, "open"), (False, 4, "closed")):
        worker = Metrics(version="9")
        worker.inflight = connections
        worker.set_key("openai", "first", up=up)
        worker.set(names.CONNECTIONS, connections)
        worker.set_breaker("openai/gpt-4o", breaker)
        worker.add(names.RELOADS, 1, "applied")
        worker.add(names.TURNED_AWAY, 2)
        worker.set_texts(names.COST_PER_RENDER, {("USD", "denoise"): "0.10"})
        together.absorb(worker.snapshot())
    text = together.render().decode().splitlines()
    assert 'penstock_provider_key_up{provider="openai",key="first"} 0' in text
    assert "penstock_connections 7" in text
    assert "penstock_inflight_requests 7" in text
    assert 'penstock_breaker_state{target="openai/gpt-4o"} 2' in text
    assert 'penstock_config_reloads_total{outcome="applied"} 1' in text
    assert "penstock_connections_refused_total 4" in text
    assert 'penstock_cost_per_render{currency="USD",stage="denoise"} 0.10' in text
    assert 'penstock_build_info{version="9"} 1' in text

"""What a run costs, stage by stage, and a request's hops: sums to the nano-dollar, parts inside what they are a part of."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.base.errors import BadRequest, NotFound
from penstock.base.money import Price
from penstock.cli.profile_tables import show
from penstock.engine.lab.figures import hop_depths, start_text
from penstock.engine.lab.hops import joined, ledger_profile
from penstock.engine.lab.pricing import priced, run_cost_nusd
from penstock.engine.measure.records import UNATTRIBUTED, DeviceSummary, Hop, Profile, StageRow
from penstock.engine_wiring.ledger_hops import _rest, hops_of
from penstock.ledger.entry import Line
from penstock.ledger.journal import Journal
from tests.engine.made import profile
from tests.ledger.make import AT_MS, entry, record

H100 = Price(pico_usd=2_490_000_000_000)
"""$2.49 an hour."""


def of_stages(walls, **fields):
    """A profile of stages in order, the residual last."""
    whole = sum(walls)
    names = [f"s{i}" for i in range(len(walls) - 1)] + [UNATTRIBUTED]
    rows = tuple(
        StageRow(name=name, wall_ms=wall, share=wall / whole if whole else 0.0)
        for name, wall in zip(names, walls, strict=True)
    )
    return Profile(
        target="t", source="live", device=DeviceSummary(name="cpu"), wall_ms=whole, stages=rows, **fields
    )


def test_an_hour_costs_the_hour():
    """2.49 dollars for an hour, exactly; half a nano-dollar is rounded to even, once."""
    assert run_cost_nusd(3_600_000, H100) == 2_490_000_000
    assert run_cost_nusd(36, H100) == 24_900
    assert run_cost_nusd(0, H100) == 0


@given(
    st.lists(st.floats(min_value=0.001, max_value=1e5), min_size=1, max_size=30),
    st.integers(1, 10**14),
)
@example([6816.0, 99999.0, 84320.6875], 9_417_393_583_767)  # shares that round to more than the whole
def test_stages_sum_to_the_run(walls, pico):
    """To the nano-dollar, and each is its share within one."""
    told = priced(of_stages(walls), Price(pico_usd=pico))
    assert sum(row.cost_nusd for row in told.stages) == told.cost_nusd
    for row in told.stages:
        assert abs(row.cost_nusd - told.cost_nusd * row.share) <= 1 + told.cost_nusd * 1e-7


def test_the_cost_is_of_the_run_without_the_profiler():
    """The capture says how it is spread; nested stages are parts, and not counted twice."""
    told = priced(profile(), Price(pico_usd=3_600_000_000_000_000))  # a dollar a second
    assert told.cost_nusd == 8_000_000  # 8 ms, not the captured 10
    by_name = {row.name: row.cost_nusd for row in told.stages}
    assert by_name["unet"] == 4_800_000
    assert by_name["unet/attention"] == 1_600_000
    assert sum(row.cost_nusd for row in told.stages if not row.parent) == told.cost_nusd
    assert priced(profile(timing=None, wall_ms=None), H100).cost_nusd is None


def own(name, stage, at_ms, wall_ms, cost_nusd, provider="own", model="h100"):
    """A metered part of a service."""
    made = entry(
        name, trace_id="render-1", stage=stage, at_ms=at_ms, klass="own_cost", provider=provider, model=model
    )
    made.lines = (Line("gpu_us", 1, 1, 1, "own", "provider", cost_nusd),)
    made.cost_nusd, made.latency_ms = cost_nusd, wall_ms
    return record(name, made)


EXPLAIN = {
    "happenings": [
        {"at_ms": 2.0, "what": "queued", "target": "openai/gpt-4o-mini", "reason": "8 calls run"},
        {"at_ms": 42.0, "what": "turn", "target": "openai/gpt-4o-mini", "reason": "waited 40 ms"},
        {"at_ms": 42.5, "what": "try", "target": "openai/gpt-4o-mini", "attempt": 1},
    ]
}


@pytest.fixture
def ledger(tmp_path):
    """A render: a call that waited in a queue, text encoder, denoising, decoding, encoding, storage."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    made = record(
        "call-1", entry("call-1", trace_id="render-1", stage="plan", latency_ms=120.5), explain=EXPLAIN,
        latency_ms=163.0, gateway_us=500,
    )  # fmt: skip
    journal.add(made)
    for name, stage, at, wall, cost in (
        ("t", "text_encoder", 200, 12.0, 8_300),
        ("d", "denoise", 220, 1500.0, 1_037_500),
        ("v", "vae", 1730, 210.0, 145_250),
        ("e", "encode", 1950, 40.0, 1_333),
    ):
        journal.add(own(name, stage, AT_MS + at, wall, cost))
    journal.add(own("s", "keep", AT_MS + 1995, 30.0, 500, model="s3"))
    journal.close()
    return path


def test_the_ledger_s_hops(ledger):
    """HTTP with its queue, its attempt and the gateway's own share inside; then each metered part, with its cost."""
    hops = hops_of(ledger, "render-1")
    tops = [hop for hop in hops if not hop.parent]
    assert [hop.name for hop in tops] == ["HTTP plan", "text_encoder", "denoise", "vae", "encode", "keep"]
    inside = {hop.name: hop for hop in hops if hop.parent == "call-1"}
    assert set(inside) == {"gateway", "queue", "openai/gpt-4o-mini", UNATTRIBUTED}
    assert (inside["queue"].start_ms, inside["queue"].wall_ms) == (2.0, 40.0)
    assert (inside["openai/gpt-4o-mini"].start_ms, inside["openai/gpt-4o-mini"].wall_ms) == (42.5, 120.5)
    assert inside["gateway"].wall_ms == 0.5
    assert inside[UNATTRIBUTED].wall_ms == pytest.approx(163.0 - 0.5 - 40.0 - 120.5)
    assert tops[0].cost_nusd == inside["openai/gpt-4o-mini"].cost_nusd == 270_000
    told = ledger_profile("render-1", hops)
    assert told.cost_nusd == sum(hop.cost_nusd for hop in tops)
    assert told.wall_ms == 2025.0


def retried(tmp_path, *, latency_ms=400.0, entry_at_ms=AT_MS, gave_up=False):
    """A call whose first attempt failed, which then waited 250 ms, and came through; or whose caller had gone by then."""
    happenings = [
        {"at_ms": 0.5, "what": "try", "target": "openai/gpt-4o-mini", "attempt": 1},
        {"at_ms": 30.5, "what": "failed", "target": "openai/gpt-4o-mini", "attempt": 1},
        {"at_ms": 31.0, "what": "wait", "reason": "rate limited: 250 ms"},
    ]
    if not gave_up:
        happenings.append({"at_ms": 282.0, "what": "try", "target": "openai/gpt-4o-mini", "attempt": 2})
    path = str(tmp_path / "retried.db")
    journal = Journal(path)
    made = {"trace_id": "render-2", "at_ms": entry_at_ms}
    entries = [entry("call-2", attempt=1, latency_ms=30.0, **made)]
    if not gave_up:
        entries.append(entry("call-2", attempt=2, latency_ms=118.0, **made))
    explain = {"happenings": happenings}
    journal.add(record("call-2", *entries, explain=explain, latency_ms=latency_ms, gateway_us=700))
    journal.close()
    return hops_of(path, "render-2")


def test_a_back_off_has_its_row_and_the_parts_sum_to_the_call(tmp_path):
    call, *parts = retried(tmp_path)
    assert [part.name for part in parts if part.name == "back-off"] == ["back-off"]
    (waited,) = (part for part in parts if part.name == "back-off")
    assert (waited.start_ms, waited.wall_ms, waited.cost_nusd) == (31.0, 251.0, 0)
    assert parts[-1].start_ms == 282.0
    assert [part.name for part in parts][-1] == "openai/gpt-4o-mini"
    assert sum(part.wall_ms for part in parts) == pytest.approx(call.wall_ms) == 400.0
    assert sum(part.cost_nusd for part in parts) == call.cost_nusd


def test_a_back_off_that_the_caller_did_not_wait_for_ends_with_the_call(tmp_path):
    call, *parts = retried(tmp_path, latency_ms=131.0, gave_up=True)
    (waited,) = (part for part in parts if part.name == "back-off")
    assert waited.wall_ms == 100.0
    assert sum(part.wall_ms for part in parts) == pytest.approx(call.wall_ms)


def test_the_way_begins_with_its_first_hop(tmp_path, capsys):
    """A call begins before its first entry is written down: that is 0, and not a millisecond before it."""
    hops = retried(tmp_path, entry_at_ms=AT_MS + 1)
    assert min(hop.start_ms for hop in hops) == hops[0].start_ms == 0.0
    show(ledger_profile("render-2", hops))
    said = capsys.readouterr().out
    assert "+0.0 ms" in said
    assert "+-" not in said
    assert (start_text(-1.0), start_text(1234.5)) == ("-1.0 ms", "+1,234.5 ms")


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 200)), max_size=5),
    st.floats(0.01, 300),
    st.integers(0, 50_000),
)
def test_what_a_call_leaves_over_is_never_negative_and_lies_in_it(spans, wall_ms, gateway_us):
    call = Hop(key="c", name="HTTP", start_ms=7.0, wall_ms=wall_ms, source="gateway")
    own = Hop(key="g", name="gateway", parent="c", start_ms=7.0, wall_ms=gateway_us / 1000, source="gateway")
    parts = [
        Hop(key=f"{at}", name="a", parent="c", start_ms=7.0 + start, wall_ms=length_ms, source="ledger")
        for at, (start, length_ms) in enumerate(spans)
    ]
    rest = _rest(call, [own, *parts])
    assert len(rest) <= 1
    for one in rest:
        assert one.wall_ms > 0
        assert 7.0 <= one.start_ms <= 7.0 + wall_ms + 1e-9
        inside = [min(start + length_ms, wall_ms) - start for start, length_ms in spans if start < wall_ms]
        assert one.wall_ms <= wall_ms - own.wall_ms - max([0.0, *inside]) + 1e-6
        assert one.wall_ms >= wall_ms - own.wall_ms - sum(inside) - 1e-6


def test_a_trace_that_is_not_there(ledger):
    """It is said, with where to look."""
    with pytest.raises(NotFound, match="render-9"):
        hops_of(ledger, "render-9")


def captured(**fields):
    """A capture of that render's pipeline: encode_prompt, unet, vae, and a scheduler that no hop names."""
    walls = {"encode_prompt": 10.0, "unet": 1200.0, "vae": 420.0, "scheduler": 100.0, UNATTRIBUTED: 20.0}
    rows = tuple(StageRow(name=n, wall_ms=w, share=w / 1750, gpu_busy_ms=w / 2) for n, w in walls.items())
    made = {"target": "capture.json", "source": "trace", "device": DeviceSummary(name="NVIDIA H100")}
    return Profile(**made, wall_ms=1750.0, stages=rows, **fields)


def test_the_capture_s_stages_lie_inside_their_hops(ledger):
    """By name, by a name that means the same, the rest in the longest own hop; what they leave is shown, and all sums."""
    hops = hops_of(ledger, "render-1")
    told = joined(captured(trace_ids=("render-1",)), "render-1", hops)
    parents = {
        hop.name: hop.parent for hop in told.hops if hop.source == "profile" and hop.name != UNATTRIBUTED
    }
    keys = {hop.name: hop.key for hop in hops if not hop.parent}
    assert parents == {
        "encode_prompt": keys["text_encoder"],
        "unet": keys["denoise"],
        "vae": keys["vae"],
        "scheduler": keys["denoise"],
    }
    for host in (hop for hop in hops if not hop.parent and hop.key in parents.values()):
        parts = [hop for hop in told.hops if hop.parent == host.key]
        assert sum(part.cost_nusd for part in parts) == host.cost_nusd
        assert sum(part.wall_ms for part in parts) == pytest.approx(host.wall_ms)
        assert all(host.start_ms <= part.start_ms + 1e-9 for part in parts)
    (vae,) = (hop for hop in told.hops if hop.name == "vae" and hop.source == "profile")
    assert vae.wall_ms == pytest.approx(210.0)  # the capture's 420 ms, drawn in proportion
    assert vae.gpu_busy_ms == pytest.approx(105.0)
    assert any("2.00 times as long as vae" in line for line in told.warnings)
    assert told.trace_ids == ("render-1",)


def test_a_capture_shorter_than_its_hop_is_drawn_as_it_is_and_that_is_said(ledger):
    """From the hop's start, and the rest is left over: where in the hop the stages lay nobody knows."""
    told = joined(captured(trace_ids=("render-1",)), "render-1", hops_of(ledger, "render-1"))
    (denoise,) = (hop for hop in told.hops if hop.name == "denoise")
    parts = [hop for hop in told.hops if hop.parent == denoise.key]
    assert [(part.name, part.wall_ms) for part in parts] == [
        ("unet", 1200.0),
        ("scheduler", 100.0),
        (UNATTRIBUTED, pytest.approx(200.0)),
    ]
    (said,) = (line for line in told.warnings if "denoise's time" in line)
    assert "0.87 of" in said
    assert "is not known" in said
    assert hop_depths(told.hops)[list(told.hops).index(parts[0])] == 1


def test_a_capture_of_another_request_is_refused(ledger):
    """One that does not say which it is of is taken, and that is said."""
    hops = hops_of(ledger, "render-1")
    with pytest.raises(BadRequest, match="render-2"):
        joined(captured(trace_ids=("render-2",)), "render-1", hops)
    told = joined(captured(), "render-1", hops)
    assert any("taken on trust" in line for line in told.warnings)


@given(
    st.lists(st.floats(min_value=0.01, max_value=1e4), min_size=1, max_size=8),
    st.floats(min_value=0.01, max_value=1e4),
    st.integers(0, 10**12),
)
def test_parts_are_never_longer_than_their_hop(walls, wall_ms, cost_nusd):
    """Whatever the capture says; and they cost what it costs."""
    host = Hop(
        key="k", name="render", start_ms=5.0, wall_ms=wall_ms, source="ledger", cost_nusd=cost_nusd,
        target="own/h100", klass="own_cost",
    )  # fmt: skip
    told = joined(of_stages([*walls, 0.0]), "t", [host])
    parts = [hop for hop in told.hops if hop.parent == "k"]
    assert len(parts) in (len(walls), len(walls) + 1)
    assert sum(part.cost_nusd for part in parts) == cost_nusd
    assert sum(part.wall_ms for part in parts) == pytest.approx(wall_ms)
    assert all(part.start_ms + part.wall_ms <= 5.0 + wall_ms * (1 + 1e-9) for part in parts)

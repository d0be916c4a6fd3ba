"""The real traces give the figures that stand beside them: counts exact, the rest as far as it is told there."""

import collections

import pytest
from msgspec import structs

from penstock.engine.lab import from_trace
from penstock.engine.measure import attribution, gaps, stage_rows, timeline, trace
from tests.engine import traces
from tests.engine.traces import ALL, B200, H100, MI300X, REPLAY


def test_h100_vit():
    told = gaps.summary(traces.real(H100))
    assert (told.name, told.kernels, told.device_events, told.correlated) == (
        "NVIDIA H100 80GB HBM3",
        154,
        156,
        156,
    )
    assert (round(told.span_ms, 2), round(told.busy_share, 3), round(told.host_wait_ms, 2)) == (
        7.56,
        0.162,
        6.32,
    )
    assert told.launch_delay_us == pytest.approx(6.4, abs=0.05)
    assert told.short_kernels_share == pytest.approx(0.36, abs=0.005)
    assert told.reliable


def test_b200_vllm():
    told = gaps.summary(traces.real(B200))
    assert (told.name, told.kernels) == ("NVIDIA B200", 768)
    assert (round(told.span_ms, 2), round(told.busy_share, 3), round(told.host_wait_ms, 2)) == (
        84.49,
        0.137,
        72.47,
    )
    assert told.launch_delay_us == pytest.approx(10.4, abs=0.05)


def test_mi300x_sd35():
    line = traces.real(MI300X)
    told = gaps.summary(line)
    assert (told.name, told.kernels) == ("AMD Instinct MI300X", 8042)
    assert (round(told.span_ms, 1), round(told.busy_share, 3), round(told.host_wait_ms)) == (
        1171.6,
        0.608,
        455,
    )
    copies = [call.span for call in line.waits if call.span.name == "hipMemcpyWithStream"]
    assert (len(copies), round(sum(span.dur_us for span in copies) / 1e3)) == (10, 42)
    by_op: collections.Counter[str] = collections.Counter()
    for row in attribution.kernels(line):
        by_op[row.op] += row.total_ms
    (first, mm_ms), (second, attention_ms) = by_op.most_common(2)
    assert (first, round(mm_ms)) == ("aten::mm", 338)
    assert (second, round(attention_ms)) == ("aten::_flash_attention_forward", 209)


def test_graph_replay_is_declared_unreliable():
    line = traces.real(REPLAY)
    told = gaps.summary(line)
    assert told.kernels == 413
    replayed = [event for event in line.events if event.replayed]
    assert (len(replayed), len({id(event.call) for event in replayed})) == (361, 25)
    assert round(told.graph_replayed_share, 2) == 0.96
    assert round(told.busy_share, 3) == 0.998
    assert not told.reliable
    assert told.launch_delay_us is None
    assert told.unreliable_because.startswith(
        "361 of 413 kernels (96% of kernel time) were launched by 25 hipGraphLaunch"
    )
    rows = attribution.kernels(line)
    assert sum(row.count for row in rows if not row.attributed) == 361
    assert {(row.op, row.module) for row in rows if not row.attributed} == {("", "")}


@pytest.mark.parametrize("name", ALL)
def test_busy_and_gaps_are_the_span(name: str):
    told = gaps.summary(traces.real(name))
    waits = told.host_wait_ms + told.kernel_wait_ms + told.other_wait_ms
    assert told.busy_share * told.span_ms + waits == pytest.approx(told.span_ms, rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_stages_and_residual_are_the_wall_time(name: str):
    line = traces.real(name)
    rows = stage_rows.stages(line, price_nusd_per_s=1_000_000)
    top = [row for row in rows if not row.parent]
    assert sum(row.wall_ms for row in top) * 1e3 == pytest.approx(stage_rows.wall_us(line), rel=1e-9)
    assert sum(row.share for row in top) == pytest.approx(1.0)
    assert rows[-1].name == "unattributed"
    assert all(row.wall_ms >= 0 and (row.exposed_host_ms or 0) <= row.wall_ms + 1e-9 for row in rows)


@pytest.mark.parametrize("name", ALL)
def test_kernel_rows_hold_all_device_time(name: str):
    line = traces.real(name)
    rows = attribution.kernels(line)
    assert sum(row.count for row in rows) == len(line.events)
    assert sum(row.total_ms for row in rows) * 1e3 == pytest.approx(
        sum(event.dur_us for event in line.events)
    )
    assert sum(row.total_ms for row in rows if row.means) > 0.97 * sum(row.total_ms for row in rows)


def test_flops_of_the_vit_are_those_of_its_config():
    """ViT-B/16, 4 images of 224: 12 layers x (4 projections, 2 of the MLP, 2 of attention), patches, pooler."""
    rows = attribution.kernels(traces.real(H100))
    tokens, width, hidden = 4 * 197, 768, 3072
    layer = 4 * 2 * tokens * width**2 + 2 * 2 * tokens * width * hidden
    attention = 4 * 12 * 4 * 197 * 197 * 64
    patches = 2 * (4 * 196) * (3 * 16 * 16) * width
    convolution = next(row for row in rows if row.op == "aten::cudnn_convolution" and row.flops)
    flash = next(row for row in rows if row.op == "aten::_flash_attention_forward")
    matmuls = sum(row.flops or 0 for row in rows if row.op == "aten::addmm")
    pooler = 2 * 4 * width**2
    assert convolution.flops == patches
    assert flash.flops == 12 * attention
    assert matmuls == 12 * layer + pooler


@pytest.mark.parametrize("name", ALL)
def test_a_stage_s_pieces_are_its_calls(name):
    """For the waterfall: they cover the stage's time and little more, lie inside the run, and do not overlap."""
    line = traces.real(name)
    run_ms = stage_rows.wall_us(line) / 1e3
    for row in stage_rows.stages(line):
        ends = [0.0]
        for start, end in row.pieces:
            assert ends[-1] <= start <= end
            ends.append(end)
        covered = sum(end - start for start, end in row.pieces)
        assert (
            row.wall_ms - 1e-6
            <= covered
            <= row.wall_ms + 0.001 * run_ms * max(1, row.calls + 1000 * (row.name == "unattributed"))
        )
        assert len(row.pieces) <= 1000
        assert not row.pieces or row.pieces[0][0] == pytest.approx(row.start_ms)


def test_modules_are_in_the_timeline():
    """Where the trace has frames of nn.Module: by their names, as deep as they lie."""
    bars = [bar for bar in timeline.slices(traces.real(H100)) if bar.kind == "module"]
    assert {bar.name for bar in bars} >= {"ViTEncoder_0", "ViTLayer_11"}
    depths = {bar.name: bar.depth for bar in bars}
    assert depths["ViTEncoder_0"] < depths["ViTLayer_11"]


def test_slices_are_bounded_and_ordered():
    line = traces.real(MI300X)
    bars = timeline.slices(line, most=500)
    assert len(bars) == 500
    assert [bar.start_us for bar in bars] == sorted(bar.start_us for bar in bars)
    assert {bar.kind for bar in bars} >= {"stage", "sync", "kernel"}
    assert sum(1 for bar in bars if bar.kind == "sync") == len(line.waits)


def test_a_part_holds_what_was_launched_in_it():
    whole = traces.real(MI300X)
    graph = [span for span in whole.threads[0].annotations if span.name.startswith("## Call")]
    one = timeline.build(trace.load(traces.path(MI300X)), between=(graph[0].start_us, graph[0].end_us))
    inside = [
        event
        for event in whole.events
        if event.call and graph[0].start_us <= event.call.span.start_us < graph[0].end_us
    ]
    assert len(one.events) == len(inside) > 1000
    assert stage_rows.wall_us(one) == pytest.approx(graph[0].dur_us)


def test_a_part_in_which_nothing_was_launched_is_not_taken_for_a_cpus():
    part = timeline.build(trace.load(traces.path(H100)), between=(0.0, 1.0))
    assert (part.events, part.on_cpu, part.device) == ((), False, "NVIDIA H100 80GB HBM3")
    assert gaps.summary(part).kernels == 0


def test_of_several_devices_the_busiest_is_told():
    """The H100's run, and a second device that did each thing in half the time."""
    read = trace.load(traces.path(H100))
    twins = [
        structs.replace(event, dur=(event.dur or 0) / 2, args=structs.replace(event.args, device=1))
        for event in read.events
        if event.cat == "kernel" and event.args
    ]
    both = timeline.build(structs.replace(read, events=(*read.events, *twins)))
    assert (both.device_index, len(both.events)) == (0, 156)
    assert {at: len(rows) for at, rows in both.others.items()} == {1: 154}
    assert any(told.startswith("2 devices are in the trace") for told in from_trace.warnings(both))


def test_kernels_that_nobody_recorded_are_missed():
    """A run on a GPU profiled with ProfilerActivity.CPU alone."""
    read = trace.load(traces.path(H100))
    host = timeline.build(
        structs.replace(read, events=tuple(e for e in read.events if e.cat not in ("kernel", "gpu_memset")))
    )
    assert host.on_cpu
    assert any("ProfilerActivity.CUDA" in told for told in from_trace.warnings(host))

"""What a real trace shows, and what another real one must not be blamed for."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from penstock.engine.measure import (
    datasheets,
    findings,
    gaps,
    ops,
    roofline,
    stage_rows,
    timeline,
    trace,
)
from penstock.engine.measure.findings import kernels, sync_fixes, waits
from penstock.engine.measure.records import Finding
from penstock.engine.measure.timeline import Timeline
from tests.engine import traces
from tests.engine.test_trace_cpu import MODEL, X_BD
from tests.engine.traces import ALL, B200, H100, MI300X, REPLAY

SHOWN: dict[str, set[str]] = {
    "launch-bound": {H100},
    "host-bound": {B200},
    "idle-gaps": {MI300X},
    "host-device-sync": {MI300X},
    "runtime-queries": {MI300X},
    "graph-replay-unattributed": {REPLAY},
    "short-kernels": {H100, B200},
    "unfused-pointwise": {MI300X},
    "math-attention": {MI300X},
    "layout-conversions": {H100, MI300X},
    "device-copies": {B200},
    "collectives": {B200},
    "memory-bound": {H100},
    "compute-bound": {MI300X},
    "recompiles": set(),
    "graph-breaks": set(),
}
"""Finding -> the real traces that show it. The others must not."""


@cache
def found(name: str) -> dict[str, Finding]:
    line = traces.real(name)
    return {one.id: one for one in findings.of_timeline(line, datasheets.of_device(line.device))}


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("name", ALL)
def test_each_finding_where_it_belongs_and_nowhere_else(kind: str, name: str):
    assert (kind in found(name)) == (name in SHOWN[kind])


@pytest.mark.parametrize("name", ALL)
def test_every_finding_has_numbers_a_bound_a_fix_and_a_proof(name: str):
    wall_ms = stage_rows.wall_us(traces.real(name)) / 1e3
    told = findings.of_timeline(traces.real(name))
    assert {one.id for one in told} <= set(SHOWN)
    for one in told:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", one.id)
        assert len(re.findall(r"\d", one.evidence)) >= 4
        assert one.facts
        assert "\n" in one.fix  # a sentence, then the code
        assert one.proof
        assert one.bound
        assert 0 <= (one.saves_ms or 0.0) <= wall_ms
    savings = [one.saves_ms for one in told if one.saves_ms is not None and not one.once]
    assert savings == sorted(savings, reverse=True)


def test_every_finding_is_explained():
    page = Path(__file__).parents[2] / "docs" / "explanation" / "trace-findings.md"
    assert set(
        re.findall(r"`([a-z]+(?:-[a-z]+)+|collectives|recompiles)`", page.read_text(encoding="utf-8"))
    ) == set(SHOWN)


def test_h100_is_launch_bound_with_its_figures():
    one = found(H100)["launch-bound"]
    assert "154 kernels" in one.evidence
    assert "16.2% of 7.56 ms" in one.evidence
    assert "6.32 ms" in one.evidence
    assert "36% of the kernels took under 5 µs" in one.evidence
    assert "recorded with_stack" in one.evidence
    assert round(one.saves_ms or 0, 2) == 6.32


def test_b200_is_host_bound_with_its_figures():
    one = found(B200)["host-bound"]
    assert "768 kernels" in one.evidence
    assert "13.7% of 84.49 ms" in one.evidence
    assert "72.47 ms" in one.evidence
    assert one.facts["long_gaps"] == 250
    assert one.where == "vllm/model_executor/parameter.py(122): __torch_function__"


def test_mi300x_stops_ten_times_and_where():
    """Its worst wait is for the result itself (pixels to numpy): the device works meanwhile, little would be saved."""
    one = found(MI300X)["host-device-sync"]
    assert "10 x hipMemcpyWithStream = 42.3 ms" in one.evidence
    assert one.facts["waits"] == 10
    assert round(one.facts["blocked_ms"]) == 42
    assert one.where == "diffusers/image_processor.py(190): pt_to_numpy"
    own = "/app/xDiT/xfuser/model_executor/pipelines/base_pipeline.py(272): check_naive_forward_fn"
    assert one.caller == own  # the run's own code, which called the library's
    assert (
        f"Called from {own} (8 times); /app/xDiT/xfuser/model_executor/schedulers/base_scheduler.py(40)"
        in one.evidence
    )
    assert (one.saves_ms or 0) < 2
    places = {call.frame.name for call in waits.syncs(traces.real(MI300X)) if call.frame}
    assert any(
        "scheduling_flow_match_euler_discrete.py(386): index_for_timestep" in place for place in places
    )


def test_synchronisations_of_the_profiler_itself_are_not_the_runs():
    line = traces.real(H100)
    assert [call.span.name for call in line.waits] == ["cudaDeviceSynchronize"] * 2
    assert waits.syncs(line) == []


def test_mi300x_idle_time_by_class():
    one = found(MI300X)["idle-gaps"]
    told = gaps.summary(traces.real(MI300X))
    assert one.saves_ms == pytest.approx(told.span_ms * (1 - told.busy_share))
    assert "455.1 ms waiting for the host" in one.evidence


def test_mi300x_asks_its_runtime_too_often():
    one = found(MI300X)["runtime-queries"]
    assert "12507 x hipGetDevicePropertiesR0600" in one.evidence
    assert one.facts["launches"] == 8066


def test_a_replay_is_declared_and_nothing_said_of_its_host():
    assert [one.id for one in findings.of_timeline(traces.real(REPLAY))] == ["graph-replay-unattributed"]
    one = found(REPLAY)["graph-replay-unattributed"]
    assert one.evidence.startswith(
        "361 of 413 kernels (96% of kernel time) were launched by 25 hipGraphLaunch"
    )
    assert (one.facts["replayed"], one.facts["launches"]) == (361, 25)


def test_the_t5_encoder_attends_by_hand():
    """24 layers, two prompts."""
    one = found(MI300X)["math-attention"]
    assert (one.facts["attentions"], one.facts["math_backend"]) == (48, 0)
    assert one.where == "T5Attention"


def test_the_t5_encoders_gated_gelu_is_nine_kernels():
    """``NewGELUActivation`` written out, and the gate's multiply after the linear that makes its other operand."""
    names = [chain.name for chain in kernels.chains(traces.real(MI300X))]
    assert names.count("mul, pow, mul, add, mul, tanh, add, mul, mul") == 48


def test_layout_conversions_and_copies_by_count():
    assert found(H100)["layout-conversions"].facts["conversions"] == 3
    assert found(B200)["device-copies"].facts["copies"] == 219


def test_b200s_collectives_run_alone():
    one = found(B200)["collectives"]
    assert "73 x all-reduce, 1 x all-gather" in one.evidence
    assert one.facts["alone_ms"] == pytest.approx(one.facts["time_ms"])


def test_without_peaks_nothing_is_said_of_a_roof():
    ids = {one.id for name in ALL for one in findings.of_timeline(traces.real(name))}
    assert ids & {"memory-bound", "compute-bound"} == set()


def test_far_from_both_roofs_is_said():
    """Batch 4 on an H100: below the ridge, and at a sixth of the bandwidth."""
    assert "far away" in found(H100)["memory-bound"].title
    assert "far away" not in found(MI300X)["compute-bound"].title
    points = roofline.points(traces.real(MI300X), datasheets.sheet("mi300x"))
    assert next(point.bound for point in points if point.name == "aten::mm") == "compute"


def test_a_roof_is_never_under_what_was_done():
    for name in (H100, MI300X):
        line = traces.real(name)
        rows = roofline.known(line, datasheets.of_device(line.device) or datasheets.sheet("h100"))
        assert rows
        assert all(row.least_us <= row.time_us for row in rows)


# Recorded here, from real modules


class ByHand(nn.Module):
    """Attention as it is written in a first lesson."""

    def forward(self, q_BHLD: torch.Tensor) -> torch.Tensor:
        scores_BHLL = q_BHLD @ q_BHLD.transpose(-1, -2) / q_BHLD.shape[-1] ** 0.5
        return torch.softmax(scores_BHLL, dim=-1) @ q_BHLD


Q_BHLD = torch.randn(1, 2, 64, 16)


def attend(*backends: SDPBackend) -> Callable[[], Any]:
    def call() -> Any:
        with sdpa_kernel(list(backends)):
            return F.scaled_dot_product_attention(Q_BHLD, Q_BHLD, Q_BHLD)

    return call


def ids(line: Timeline) -> set[str]:
    return {one.id for one in findings.of_timeline(line)}


def test_math_attention_chosen(tmp_path: Path):
    line = traces.of_cpu(attend(SDPBackend.MATH), tmp_path)
    one = next(one for one in findings.of_timeline(line) if one.id == "math-attention")
    assert (one.facts["attentions"], one.facts["math_backend"]) == (1, 1)
    assert one.facts["kernels"] >= 4


def test_attention_by_hand(tmp_path: Path):
    (pieces,) = kernels.attentions(traces.of_cpu(lambda: ByHand()(Q_BHLD), tmp_path))
    assert not pieces.named
    names = [event.name for event in pieces.events]
    assert (names[0], names[-1]) == ("aten::bmm", "aten::bmm")
    assert "aten::_softmax" in names


def test_flash_attention_is_not_blamed(tmp_path: Path):
    assert "math-attention" not in ids(traces.of_cpu(attend(SDPBackend.FLASH_ATTENTION), tmp_path))


def test_a_softmax_of_probabilities_is_no_attention(tmp_path: Path):
    head = nn.Sequential(nn.Linear(64, 64), nn.Softmax(-1), nn.Linear(64, 8))
    assert "math-attention" not in ids(traces.of_cpu(lambda: head(X_BD), tmp_path))


def test_geglus_gelu_and_multiply_travel_through_memory(tmp_path: Path):
    line = traces.of_cpu(lambda: MODEL(X_BD), tmp_path)
    one = next(one for one in findings.of_timeline(line) if one.id == "unfused-pointwise")
    assert (
        "1 x (gelu, mul)" in one.evidence
    )  # the linear `up`, which makes the other operand, runs between them
    assert one.facts["chains"] == 1
    assert one.facts["travelled_bytes"] == 2 * 32 * 256 * 4


def test_a_conversion_of_a_conversion_is_a_chain_and_two_conversions_are_none(tmp_path: Path):
    """Inductor makes one kernel of the first; of two tensors cast one after the other nothing travels between."""
    line = traces.of_cpu(lambda: X_BD.to(torch.float64).to(torch.float32), tmp_path)
    assert [event.name for event in line.events] == ["aten::_to_copy"] * 2
    (chain,) = kernels.chains(line)
    assert (chain.name, chain.travelled_bytes) == ("_to_copy, _to_copy", 2 * 8 * X_BD.numel())
    other = X_BD + 1
    line = traces.of_cpu(lambda: (X_BD.to(torch.float64), other.to(torch.float64)), tmp_path)
    assert [event.name for event in line.events] == ["aten::_to_copy"] * 2
    assert kernels.chains(line) == []
    line = traces.of_cpu(lambda: (X_BD.clone(), other.clone()), tmp_path)
    assert kernels.chains(line) == []


def test_a_copy_is_a_part_of_a_chain_that_computes(tmp_path: Path):
    line = traces.of_cpu(lambda: X_BD.to(torch.float64).relu(), tmp_path)
    assert [chain.name for chain in kernels.chains(line)] == ["_to_copy, relu"]


def test_a_single_linear_has_nothing_to_fuse(tmp_path: Path):
    linear = nn.Linear(64, 64)
    assert ids(traces.of_cpu(lambda: linear(X_BD), tmp_path)) == set()


class Steps(nn.Module):
    """A loop that looks at its own values, or keeps them where they are."""

    def __init__(self, *, looks: bool) -> None:
        super().__init__()
        self.looks = looks

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        for _ in range(4):
            norm = x_BD.norm()
            if self.looks:
                x_BD = x_BD / norm if norm.item() > 1 else x_BD
            else:
                x_BD = torch.where(norm > 1, x_BD / norm, x_BD)
        return x_BD


def test_reads_that_would_stop_a_gpu_and_where(tmp_path: Path):
    line = traces.of_cpu(lambda: Steps(looks=True)(X_BD), tmp_path, stacks=True)
    one = next(one for one in findings.of_timeline(line) if one.id == "host-device-sync")
    assert one.facts == {"reads": 4, "aten::_local_scalar_dense": 4}
    assert re.search(r"test_findings_trace\.py\(\d+\): forward$", one.where)
    assert one.caller == ""  # the line is the user's own
    assert "(aten::_local_scalar_dense)" in one.title
    assert one.fix.startswith("aten::_local_scalar_dense: Keep the value on the device")
    assert "torch.where" not in one.fix


def test_what_to_write_is_about_the_op_that_was_seen(tmp_path: Path):
    """Indices of what is not zero, whose number the host must know; and two kinds of reads, the more frequent first."""
    line = traces.of_cpu(lambda: [X_BD.relu().nonzero() for _ in range(3)], tmp_path)
    one = next(one for one in findings.of_timeline(line) if one.id == "host-device-sync")
    assert one.fix.splitlines()[1:] == ["y = torch.where(mask, x, 0)  # in place of aten::nonzero"]
    assert one.proof == "No aten::nonzero in the trace."
    line = traces.of_cpu(
        lambda: [(X_BD.unique(), X_BD[0, 0].item(), X_BD[1, 0].item()) for _ in range(2)], tmp_path
    )
    one = next(one for one in findings.of_timeline(line) if one.id == "host-device-sync")
    assert one.proof == "No aten::_local_scalar_dense or aten::_unique2 in the trace."


def test_every_op_that_reads_has_a_remedy():
    assert set(sync_fixes.OF_OPS) == ops.SYNCING
    assert set(sync_fixes.OF_OPS.values()) <= set(sync_fixes.REMEDIES)


def test_values_kept_where_they_are_stop_nothing(tmp_path: Path):
    assert "host-device-sync" not in ids(traces.of_cpu(lambda: Steps(looks=False)(X_BD), tmp_path))


def test_one_result_read_at_the_end_is_no_fault(tmp_path: Path):
    assert "host-device-sync" not in ids(traces.of_cpu(lambda: MODEL(X_BD).sum().item(), tmp_path))


@pytest.fixture
def fresh() -> Iterator[None]:
    """Dynamo's frames are counted from 0."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


SIZES = (3, 4, 5)


def scaled(x_B: torch.Tensor) -> torch.Tensor:
    return (x_B * 2).relu()


def broken(x_B: torch.Tensor) -> torch.Tensor:
    y_B = x_B * 2
    torch._dynamo.graph_break()
    return y_B.relu()


def compiled(function: Callable[..., torch.Tensor], *, dynamic: bool) -> Callable[[], Any]:
    """Called with three sizes. The backend does not matter for what Dynamo does."""
    called = torch.compile(function, backend="eager", dynamic=dynamic)
    return lambda: [called(torch.ones(size)) for size in SIZES]


@pytest.mark.usefixtures("fresh")
def test_a_version_for_each_size_is_told(tmp_path: Path):
    line = traces.of_cpu(compiled(scaled, dynamic=False), tmp_path)
    one = next(one for one in findings.of_timeline(line) if one.id == "recompiles")
    assert one.facts == {"frames": 1, "versions": 3}
    assert one.saves_ms is None
    assert "before the trace began" in one.bound


@pytest.mark.usefixtures("fresh")
def test_compilations_in_the_trace_bound_what_recompiling_took(tmp_path: Path):
    """Three compilations of one frame: the second and the third, by Dynamo's own ranges."""
    target = tmp_path / "cold.json"
    call = compiled(scaled, dynamic=False)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        call()
    profiler.export_chrome_trace(str(target))
    line = timeline.build(trace.load(target))
    one = next(one for one in findings.of_timeline(line) if one.id == "recompiles")
    spans = [span for thread in line.threads for span in thread.ops if span.name == "entire_frame_compile"]
    assert len(spans) == 3
    assert (one.saves_ms, one.once) == (pytest.approx(sum(span.dur_us for span in spans[1:]) / 1e3), True)
    assert "2 of the compilations after a frame's first" in one.evidence


@pytest.mark.usefixtures("fresh")
def test_one_version_for_all_sizes_is_not_blamed(tmp_path: Path):
    assert not ids(traces.of_cpu(compiled(scaled, dynamic=True), tmp_path)) & {"recompiles", "graph-breaks"}


@pytest.mark.usefixtures("fresh")
def test_a_graph_break_is_told(tmp_path: Path):
    line = traces.of_cpu(compiled(broken, dynamic=True), tmp_path)
    one = next(one for one in findings.of_timeline(line) if one.id == "graph-breaks")
    assert one.facts == {"breaks": len(SIZES), "frames": 1}
    regions = [s for t in line.threads for s in t.ops if s.name.startswith("Torch-Compiled Region: 0/")]
    # pointwise ops alone: nothing is the libraries', so that all of the broken function's time is the bound
    assert one.saves_ms == pytest.approx(sum(span.dur_us for span in regions) / 1e3)

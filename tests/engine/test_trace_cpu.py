"""Traces that torch's profiler records here, of real modules: on a CPU the ops are the kernels."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import record_function

from penstock.engine.measure import attribution, counting, findings, gaps, stage_rows, timeline, trace
from penstock.engine.measure.records import KernelRow
from tests.engine import traces


class GeGLU(nn.Module):
    """The MLP of the public series: gate and up, GELU and multiply, down."""

    def __init__(self, width: int = 64, hidden: int = 256) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.gate(x_BD)) * self.up(x_BD))


X_BD = torch.randn(32, 64)
MODEL = GeGLU()


@pytest.fixture
def told_kernels() -> Iterator[None]:
    """Inductor names its C++ kernels in a trace."""
    from torch._inductor import config  # noqa: PLC0415 - only tests that compile pay for it

    with config.patch({"cpp.enable_kernel_profile": True}):
        yield
    torch._dynamo.reset()


def counts(rows: tuple[KernelRow, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row.name] = found.get(row.name, 0) + row.count
    return found


def test_an_eager_geglu_is_five_kernels(tmp_path: Path):
    """Bias in the matmul's epilogue; aten::t and the other views are no kernels."""
    line = traces.of_cpu(lambda: MODEL(X_BD), tmp_path)
    rows = attribution.kernels(line)
    assert counts(rows) == {"aten::addmm": 3, "aten::gelu": 1, "aten::mul": 1}
    assert {row.op for row in rows if row.name == "aten::addmm"} == {"aten::linear"}
    assert sum(row.flops or 0 for row in rows) == 3 * 2 * 32 * 64 * 256
    assert next(row.bytes for row in rows if row.name == "aten::mul") == 3 * 32 * 256 * 4
    told = gaps.summary(line)
    assert (told.name, told.kernels, told.correlated) == ("cpu", 5, 5)
    assert (told.host_wait_ms, told.kernel_wait_ms, told.other_wait_ms, told.launch_delay_us) == (
        0,
        0,
        0,
        None,
    )


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("told_kernels")
def test_a_compiled_geglu_is_four(tmp_path: Path):
    """GELU and multiply become one loop; the three matmuls are untouched."""
    compiled = torch.compile(MODEL)
    line = traces.of_cpu(lambda: compiled(X_BD), tmp_path)
    assert findings.of_timeline(line) == ()  # eager it has unfused-pointwise
    rows = attribution.kernels(line)
    assert sum(row.count for row in rows) == 4
    fused = next(row for row in rows if "cpp_fused" in row.name)
    assert fused.means == "fused C++ loop: gelu, mul"
    assert fused.module.startswith("compiled graph ")


def test_with_stacks_the_modules_are_known(tmp_path: Path):
    line = traces.of_cpu(lambda: MODEL(X_BD), tmp_path, stacks=True)
    where = {(row.name, row.module) for row in attribution.kernels(line)}
    assert where == {("aten::addmm", "Linear"), ("aten::gelu", "GeGLU"), ("aten::mul", "GeGLU")}
    rows = stage_rows.stages(line)
    assert [(row.name, row.calls) for row in rows] == [("Linear", 3), ("unattributed", 1)]
    functions = {event.call.frame.name for event in line.events if event.call and event.call.frame}
    assert any("test_trace_cpu.py" in name and name.endswith("forward") for name in functions)


def test_stages_modules_and_runs_by_our_own_ranges(tmp_path: Path):
    """``run:`` is the wall time, ``stage:`` the rows, the user's own ranges nested in them; ``module:`` names the kernels."""

    def call() -> None:
        torch.zeros(8)  # before the run: not of it
        with record_function("run: test"):
            with record_function("stage: text encoder"), record_function("module: text.mlp"):
                MODEL(X_BD)
            for _ in range(3):
                with record_function("stage: unet"):
                    MODEL(X_BD)
                    with record_function("attention of mine"):
                        MODEL(X_BD)
            X_BD.sum()

    line = traces.of_cpu(call, tmp_path)
    rows = stage_rows.stages(line, price_nusd_per_s=2_000_000_000)
    assert [(row.name, row.parent, row.calls) for row in rows] == [
        ("text encoder", "", 1),
        ("unet", "", 3),
        ("attention of mine", "unet", 3),
        ("unattributed", "", 1),
    ]
    one = 3 * 2 * 32 * 64 * 256
    assert [row.flops for row in rows] == [one, 6 * one, 3 * one, None]
    top = [row for row in rows if not row.parent]
    run = next(span for span in line.threads[0].annotations if span.name == "run: test")
    assert sum(row.wall_ms for row in top) * 1e3 == pytest.approx(run.dur_us)
    assert sum(row.cost_nusd or 0 for row in top) == pytest.approx(run.dur_us * 2000, abs=3)
    assert {row.gpu_busy_ms for row in rows} == {None}
    kernels = attribution.kernels(line)
    assert {row.module for row in kernels} == {"text.mlp", "unet", "attention of mine", "run: test", ""}


def test_a_models_children_are_its_stages(tmp_path: Path):
    """Without stages, the ranges of modules: the root is the whole, its children the parts."""
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)

    def call() -> None:
        with record_function("run: test"), record_function("module: model"):
            with record_function("module: model.0"):
                first(X_BD)
            with record_function("module: model.1"):
                second(X_BD)

    rows = stage_rows.stages(traces.of_cpu(call, tmp_path))
    assert [row.name for row in rows] == ["model.0", "model.1", "unattributed"]


def test_convolutions_and_attention_have_their_flops(tmp_path: Path):
    """Against the formulas; PyTorch's own counter gives CPU flash attention 0."""
    conv = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=2)
    q_BHLD, x_BCHW = torch.randn(2, 4, 32, 16), torch.randn(2, 8, 20, 20)

    def call() -> None:
        conv(x_BCHW)
        F.scaled_dot_product_attention(q_BHLD, q_BHLD, q_BHLD)

    rows = attribution.kernels(traces.of_cpu(call, tmp_path))
    flops = {row.name: row.flops for row in rows if row.flops}
    convolution = 2 * (2 * 16 * 10 * 10) * (4 * 9)
    attention = 2 * 2 * (2 * 4) * 32 * 32 * 16
    assert sorted(flops.values()) == sorted((convolution, attention))


X_BCHW = torch.randn(2, 8, 20, 18)
WORK: dict[str, Callable[[], Any]] = {
    "linear of 3 dimensions": lambda: F.linear(torch.randn(2, 5, 16), torch.randn(24, 16), torch.randn(24)),
    "linear without bias": lambda: F.linear(torch.randn(7, 16), torch.randn(24, 16)),
    "matmul of 4 by 2": lambda: torch.randn(2, 3, 5, 16) @ torch.randn(16, 9),
    "matmul of 2 by 3": lambda: torch.randn(5, 16) @ torch.randn(4, 16, 9),
    "matmul, broadcast": lambda: torch.randn(3, 1, 5, 16) @ torch.randn(1, 4, 16, 9),
    "matrix and vector": lambda: torch.randn(5, 16) @ torch.randn(16),
    "baddbmm": lambda: torch.baddbmm(torch.randn(3, 5, 9), torch.randn(3, 5, 16), torch.randn(3, 16, 9)),
    "conv1d": lambda: F.conv1d(torch.randn(2, 8, 30), torch.randn(6, 8, 5), stride=3, padding=2),
    "conv2d": lambda: F.conv2d(X_BCHW, torch.randn(6, 8, 3, 3), torch.randn(6), padding=1),
    "conv2d, dilated": lambda: F.conv2d(X_BCHW, torch.randn(6, 8, 3, 3), dilation=2, stride=(1, 2)),
    "conv2d of one column": lambda: F.conv2d(X_BCHW, torch.randn(6, 8, 5, 1), padding=(2, 0)),
    "conv2d, depthwise": lambda: F.conv2d(X_BCHW, torch.randn(8, 1, 3, 3), groups=8),
    "conv3d": lambda: F.conv3d(torch.randn(1, 4, 6, 8, 8), torch.randn(5, 4, 3, 3, 3), padding=1),
    "attention": lambda: F.scaled_dot_product_attention(*(torch.randn(2, 4, n, 16) for n in (32, 12, 12))),
    "int8": lambda: torch._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 8, dtype=torch.int8)),
}


@pytest.mark.parametrize("name", WORK)
def test_flops_from_shapes_are_those_of_the_counter(name: str, tmp_path: Path):
    rows = attribution.kernels(traces.of_cpu(WORK[name], tmp_path))
    assert sum(row.flops or 0 for row in rows) == counting.count(WORK[name]).flops > 0


def test_a_trace_needs_only_its_own_thread(tmp_path: Path):
    """A part between two times holds what began in it."""
    line = trace.load(traces.recorded(lambda: MODEL(X_BD), tmp_path))
    whole = timeline.build(line)
    gelu = next(event for event in whole.events if event.name == "aten::gelu")
    part = timeline.build(line, between=(gelu.start_us, gelu.end_us))
    assert [event.name for event in part.events] == ["aten::gelu"]


def test_a_pipelines_trace_and_its_dispatch_agree(tiny_sdxl: Any, tmp_path: Path):
    """Two counts that know nothing of each other: shapes in the profiler's file, and operands seen by a dispatch mode."""

    def call() -> Any:
        return tiny_sdxl("a teapot", height=64, width=64, num_inference_steps=2, output_type="np")

    rows = attribution.kernels(traces.of_cpu(call, tmp_path))
    seen = counting.count(call)
    assert sum(row.flops or 0 for row in rows) == seen.flops > 10**8
    ours, theirs = counts(rows), {name: one.count for name, one in seen.by_op.items()}
    alike = (
        "mm",
        "addmm",
        "silu",
        "gelu",
        "div",
        "sigmoid",
        "native_group_norm",
        "native_layer_norm",
        "embedding",
        "exp",
        "neg",
    )
    for name in (*alike, "_scaled_dot_product_flash_attention_for_cpu"):
        assert ours[f"aten::{name}"] == theirs[f"aten::{name}"], name
    convolutions = ours["aten::mkldnn_convolution"] + ours.get("aten::_slow_conv2d_forward", 0)
    assert convolutions == theirs["aten::convolution"]

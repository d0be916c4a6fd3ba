"""What a call does, counted: ops, FLOPs, bytes by hand, chains, syncs with their line, per module; nothing depends on time."""

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from penstock.engine.measure import syncs, traffic
from penstock.engine.measure.counting import Counts, count
from penstock.engine.measure.syncs import Home
from penstock.engine.workloads.workload import StagePoint


class GeGLU(torch.nn.Module):
    """The part that users write: two linears in, gelu and multiply, one out."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = torch.nn.Linear(width, hidden, bias=False)
        self.up = torch.nn.Linear(width, hidden, bias=False)
        self.down = torch.nn.Linear(hidden, width, bias=False)

    def forward(self, x_MD: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.gate(x_MD)) * self.up(x_MD))


def test_a_geglu_is_five_ops_with_their_bytes():
    """3 GEMMs, gelu, mul. Bytes: each op's operands and its result, 4 a number."""
    m, d, h = 16, 8, 32
    block = GeGLU(d, h)
    x_MD = torch.randn(m, d)
    with torch.no_grad():
        found = count(lambda: block(x_MD), modules={"mlp": block})
    assert found.ops == 5
    assert {name: one.count for name, one in found.by_op.items()} == {
        "aten::mm": 3,
        "aten::gelu": 1,
        "aten::mul": 1,
    }
    assert found.flops == 3 * 2 * m * d * h
    gemm = 4 * (m * d + d * h + m * h)
    assert found.bytes == 3 * gemm + 4 * (2 * m * h) + 4 * (3 * m * h)
    (chain,) = found.pointwise_chains
    assert chain.ops == ("gelu", "mul")
    assert chain.saves_bytes == 4 * 2 * m * h
    assert chain.module == "mlp"
    source, first = inspect.getsourcelines(GeGLU.forward)
    line = first + next(i for i, text in enumerate(source) if "F.gelu" in text)
    assert chain.where == f"{__file__}:{line} in forward"


def test_modules_hold_what_their_children_do():
    block = GeGLU(8, 32)
    x_MD = torch.randn(16, 8)
    with torch.no_grad():
        found = count(lambda: (block(x_MD), block(x_MD)), modules={"mlp": block})
    linear = 2 * 16 * 8 * 32
    assert found.by_module["mlp.gate"].flops == 2 * linear
    assert found.by_module["mlp"].flops == found.by_module[""].flops == found.flops == 2 * 3 * linear
    assert found.by_module["mlp"].count == found.ops == 10
    assert found.calls == {"mlp": 2, "mlp.gate": 2, "mlp.up": 2, "mlp.down": 2}


def test_views_cost_nothing_and_inference_mode_changes_no_figure():
    x_AB = torch.randn(6, 4)

    def call() -> Any:
        rows = x_AB.t().reshape(2, 12).chunk(3, dim=1)[1]
        return rows.to(torch.float32).softmax(-1).contiguous()

    with torch.no_grad():
        taken_apart = count(call)
    with torch.inference_mode():
        whole = count(call)
    assert taken_apart.views > 0
    assert {k: v.count for k, v in whole.by_op.items()} == {k: v.count for k, v in taken_apart.by_op.items()}
    assert (whole.bytes, whole.ops) == (taken_apart.bytes, taken_apart.ops)


def test_expanded_tensors_gathers_and_scatters_count_what_they_touch():
    table_VD = torch.randn(1000, 4)
    index_N = torch.tensor([1, 2, 3])
    with torch.no_grad():
        looked_up = count(lambda: F.embedding(index_N, table_VD))
        assert looked_up.bytes == 2 * 3 * 4 * 4 + 3 * 8  # three rows read and written, and the indexes
        expanded = count(lambda: torch.ones(4).expand(500, 4) + table_VD[:500])
        assert expanded.by_op["aten::add"].bytes == 4 * (4 + 500 * 4 + 500 * 4)
        cache_SD = torch.zeros(1000, 4)
        put = count(lambda: cache_SD.index_put_((index_N,), torch.ones(3, 4)))
        assert put.by_op["aten::index_put_"].bytes == 3 * 8 + 2 * 3 * 4 * 4
        copied = count(lambda: cache_SD[:10].copy_(table_VD[:10]))
        assert copied.bytes == 2 * 10 * 4 * 4


def test_meta_tensors_are_counted_without_weights():
    with torch.device("meta"):
        block = GeGLU(4096, 14336)
        x_MD = torch.empty(8192, 4096)
    with torch.no_grad():
        found = count(lambda: block(x_MD), modules={"mlp": block}, device="meta")
    assert found.flops == 3 * 2 * 8192 * 4096 * 14336
    assert found.pointwise_chains[0].saves_bytes == 4 * 2 * 8192 * 14336


def test_the_calls_output_is_written_whatever_fuses():
    x_N = torch.randn(100)
    with torch.no_grad():
        both = count(lambda: (lambda a: (a, a * 2))(F.relu(x_N)))
        last = count(lambda: F.relu(x_N) * 2)
    assert both.pointwise_chains[0].fused_bytes == 1200
    assert last.pointwise_chains[0].fused_bytes == 800


def test_quantised_weights_are_counted_inside():
    """torchao's tensors are subclasses: what they do is seen, not only that ``linear`` was called on them."""
    quantization = pytest.importorskip("torchao.quantization")
    layer = torch.nn.Sequential(torch.nn.Linear(64, 32))
    quantization.quantize_(layer, quantization.Int8DynamicActivationInt8WeightConfig())
    x_MK = torch.randn(16, 64)
    with torch.no_grad():
        found = count(lambda: layer(x_MK))
    assert found.flops_by_dtype == {"int8": 2 * 16 * 64 * 32}
    assert "aten::_int_mm" in found.by_op


def test_compiled_code_is_counted_and_stays_compiled():
    """Counting runs the eager code, and neither recompiles nor forgets the compiled one."""
    graphs: list[int] = []
    runs: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(1)

        def run(*args: Any) -> Any:
            runs.append(1)
            return graph(*args)

        return run

    torch._dynamo.reset()
    block = GeGLU(8, 16)
    compiled = torch.compile(block, backend=backend)
    x_MD = torch.randn(4, 8)
    with torch.no_grad():
        compiled(x_MD)
        found = count(lambda: compiled(x_MD), modules={"mlp": block})
        compiled(x_MD)
    assert (found.ops, found.calls["mlp"]) == (5, 1)
    assert (len(graphs), len(runs)) == (1, 2)


def test_hooks_are_gone_whether_or_not_the_call_raised():
    block = GeGLU(8, 16)

    def fails() -> None:
        block(torch.randn(2, 8))
        raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        count(fails, modules={"mlp": block})
    with pytest.raises(RuntimeError):
        count(lambda: block(torch.randn(2, 7)), modules={"mlp": block})
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in block.modules())
    with torch.no_grad():
        assert count(lambda: block(torch.randn(2, 8)), modules={"mlp": block}).calls["mlp"] == 1


def test_an_op_without_a_formula_is_said():
    with torch.library._scoped_library("penstock_test", "FRAGMENT") as library:
        library.define("odd_mm(Tensor a, Tensor b) -> Tensor")
        library.impl("odd_mm", lambda a, b: a @ b, "CPU")
        found = count(lambda: torch.ops.penstock_test.odd_mm(torch.ones(2, 2), torch.ones(2, 2)))
    assert found.uncounted == {"penstock_test::odd_mm": 1}


class Scheduler:
    """As diffusers' Euler: sigmas stay on the CPU, timesteps go to the device."""

    def set_timesteps(self, count: int) -> None:
        self.sigmas = torch.linspace(1, 0, count + 1)
        self.timesteps = torch.arange(count)

    def step(self, index: int, x_N: torch.Tensor) -> torch.Tensor:
        sigma, following = self.sigmas[index], self.sigmas[index + 1]
        if float(following - sigma) > 0:
            raise ValueError(index)
        return x_N * (following - sigma)


def run(scheduler: Scheduler, *, read_timesteps: bool) -> Any:
    scheduler.set_timesteps(4)
    x_N = torch.ones(8)
    for index in range(4):
        if read_timesteps and int(scheduler.timesteps[index].item()) > 100:
            return None
        x_N = scheduler.step(index, x_N)
    return x_N


def test_syncs_are_found_with_the_users_line_and_their_number():
    scheduler = Scheduler()
    found = count(lambda: run(scheduler, read_timesteps=True)).syncs
    assert sorted((s.op, s.count) for s in found) == [("item", 4), ("item", 4)]
    source, first = inspect.getsourcelines(run)
    line = first + next(i for i, text in enumerate(source) if ".item()" in text)
    assert f"{__file__}:{line} in run" in {s.where for s in found}


def test_tensors_at_home_on_the_cpu_are_allowed():
    """What is read is computed from sigmas alone, which are set anew within the run: no sync. The timesteps still are."""
    scheduler = Scheduler()
    homes = [Home(scheduler, "sigmas")]
    assert count(lambda: run(scheduler, read_timesteps=False), on_cpu_by_design=homes).syncs == ()
    (left,) = count(lambda: run(scheduler, read_timesteps=True), on_cpu_by_design=homes).syncs
    assert (left.op, left.count) == ("item", 4)


def test_a_value_mixed_with_the_models_is_not_at_home():
    scheduler = Scheduler()
    scheduler.set_timesteps(2)
    weight = torch.ones(1)
    found = count(lambda: (scheduler.sigmas[0] * weight).item(), on_cpu_by_design=[Home(scheduler, "sigmas")])
    assert [s.op for s in found.syncs] == ["item"]


@pytest.mark.parametrize(
    ("call", "op"),
    [
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x[x > 0], "mask"),
        (lambda x: torch.masked_select(x, x > 0), "masked_select"),
        (lambda x: bool((x > 0).all()), "item"),
        (lambda x: x.unique(), "unique"),
        (lambda x: torch.equal(x, x), "equal"),
        (lambda x: x.tolist()[0], "tolist"),
        (lambda x: x.cpu(), "copy to host"),
        (lambda x: x.cpu().numpy(), "copy to host"),
        (lambda x: x.to("cpu"), ""),  # the user's device, for all we know
        (lambda x: x.detach().numpy(), ""),  # would raise on a GPU
        (lambda x: x[torch.tensor([0])], ""),
        (lambda x: torch.where(x > 0, x, 0.0), ""),
        (lambda x: x.masked_fill(x > 0, 0.0), ""),
    ],
)
def test_what_stops_the_host_and_what_does_not(call: Any, op: str):
    with torch.no_grad():
        found = count(lambda: call(torch.ones(3)))
    assert [s.op for s in found.syncs] == ([op] if op else [])


class Far:
    """A tensor on a device that this machine has not."""

    def __init__(self, device: str, *, pinned: bool = False, dtype: torch.dtype = torch.float32) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.pinned = pinned

    def is_pinned(self) -> bool:
        return self.pinned


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "op"),
    [
        ("aten::_local_scalar_dense", [Far("cuda:0")], {}, "item"),
        ("aten::_local_scalar_dense", [Far("cpu")], {}, ""),
        ("aten::_to_copy", [Far("cuda:0")], {"device": torch.device("cpu")}, "copy to host"),
        ("aten::_to_copy", [Far("cuda:0")], {"device": torch.device("cpu"), "non_blocking": True}, ""),
        ("aten::_to_copy", [Far("cuda:0")], {"dtype": torch.float16}, ""),
        ("aten::_to_copy", [Far("cpu")], {"device": CUDA}, "copy from pageable memory"),
        ("aten::_to_copy", [Far("cpu", pinned=True)], {"device": CUDA}, ""),
        ("aten::copy_", [Far("cpu"), Far("cuda:0")], {}, "copy to host"),
        ("aten::copy_", [Far("cpu"), Far("cuda:0"), True], {}, ""),
        ("aten::copy_", [Far("cuda:0"), Far("cuda:0")], {}, ""),
        ("aten::index", [Far("cuda:0"), [Far("cuda:0", dtype=torch.bool)]], {}, "mask"),
        ("aten::index", [Far("cuda:0"), [Far("cuda:0", dtype=torch.int64)]], {}, ""),
        ("aten::repeat_interleave", [Far("cuda:0")], {}, "repeat_interleave"),
        ("aten::repeat_interleave", [Far("cuda:0")], {"output_size": 5}, ""),
    ],
)
def test_on_a_gpu_only_what_is_there_stops_the_host(
    name: str, args: list[Any], kwargs: dict[str, Any], op: str
):
    assert syncs.verdict(name, args, kwargs, CUDA) == op


class Reporting:
    """As ``torch.cuda`` with its sync debug mode: warns from within, and says that the operation was a CUDA one."""

    def __init__(self) -> None:
        self.mode: Any = 0
        self.modes: list[Any] = []

    def get_sync_debug_mode(self) -> Any:
        return self.mode

    def set_sync_debug_mode(self, debug_mode: Any, /) -> None:
        self.mode = debug_mode
        self.modes.append(debug_mode)

    def synchronise(self) -> None:
        if self.mode == "warn":
            warnings.warn("called a synchronizing CUDA operation", UserWarning, stacklevel=1)


def test_a_devices_own_reports_have_the_users_line_too():
    """As often as they happen, other warnings as they were, and the mode as it was, also when the call raises."""
    card = Reporting()

    def step() -> None:
        card.synchronise()

    def call() -> None:
        for _ in range(3):
            step()
        warnings.warn("the user's own", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="the user's own") as others:
        (found,) = syncs.warned(call, port=card)
    assert len(others) == 1
    assert (found.op, found.count) == ("sync", 3)
    assert found.where.endswith(" in synchronise")
    assert card.modes == ["warn", 0]
    with pytest.raises(ZeroDivisionError):
        syncs.warned(lambda: 1 // 0, port=card)
    assert card.mode == 0


def test_stages_are_counted_too():
    """By stage what ran inside, nested stages included; the denoiser's calls of one image."""
    block = GeGLU(8, 32)
    x_MD = torch.randn(16, 8)

    def call() -> None:
        for _ in range(3):
            block(x_MD)

    before = dict(vars(block.gate))
    points = [StagePoint(block, "forward", "mlp"), StagePoint(block.gate, "forward", "gate")]
    with torch.no_grad():
        found = count(call, points=points)
    assert found.stage_calls == {"mlp": 3, "gate": 3}
    assert found.by_stage["mlp"].flops == found.flops == 3 * found.by_stage["gate"].flops
    assert found.by_stage["gate"].count == 3
    assert vars(block.gate) == before


def test_a_real_pipelines_figures(tiny_sdxl: Any):
    """A whole SDXL: UNet called once a step, FLOPs add up by module, no syncs by the scheduler (DPM++ keeps its sigmas)."""
    pipe = tiny_sdxl
    modules = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}

    def call(steps: int = 2) -> Any:
        return pipe("a red lamp", num_inference_steps=steps, height=64, width=64, output_type="pt")

    found: Counts = count(call, modules=modules, on_cpu_by_design=[Home(pipe.scheduler, "sigmas")])
    assert found.uncounted == {}
    assert found.calls["unet"] == 2
    assert found.by_module["unet"].flops > 0
    more = count(lambda: call(3), modules=modules)
    assert more.by_module["unet"].flops * 2 == found.by_module["unet"].flops * 3
    assert more.by_module["vae.decoder"] == found.by_module["vae.decoder"]
    assert not [s for s in found.syncs if "scheduling_" in s.where]
    assert all(s.count == 1 for s in found.syncs if s.op == "copy to host")  # the image itself, at most


def test_dtype_names_are_those_of_the_peaks():
    assert traffic.dtype_name(torch.ones(1, dtype=torch.bfloat16)) == "bf16"
    assert traffic.dtype_name(torch.ones(1, dtype=torch.int64)) == "int64"
    assert traffic.dtype_name(None) == ""

"""The guided tour: what was written before is what is seen, on this CPU; and what is not, is said."""

import pytest
import torch
from torch import nn

from penstock.base.errors import BadRequest
from penstock.engine.lab import tour as lab
from penstock.engine.measure.records import KernelRow
from penstock.engine.workloads import outputs, tour
from penstock.engine_wiring.asked import Asked
from penstock.engine_wiring.profiling import profile_of

SHAPE = (2, 8, 32, 64)
TIMES = {"least_s": 0.0, "most_s": 0.05}


@pytest.fixture(scope="module")
def geglu():
    """The last step, all three sides: the one graph that these tests compile."""
    if tour.compile_refusal(torch.device("cpu")):
        pytest.skip(tour.compile_refusal(torch.device("cpu")))
    torch._dynamo.reset()
    return {variant.name: variant for variant in lab.run("geglu", shape=SHAPE, device="cpu", **TIMES)}


def count(variant):
    return sum(row.count for row in variant.kernels)


def test_five_kernels_become_four_and_three(geglu):
    """Eager: three products, gelu, mul. Compiled: gelu and mul are one loop. oneDNN: both are the products' ends."""
    assert {name: count(variant) for name, variant in geglu.items()} == {
        "eager": 5,
        "compile": 4,
        "kernels": 3,
    }
    assert {row.name: row.count for row in geglu["eager"].kernels} == {
        "aten::mm": 3,
        "aten::gelu": 1,
        "aten::mul": 1,
    }
    (fused,) = [row for row in geglu["compile"].kernels if "cpp_fused" in row.name]
    assert "gelu" in fused.means
    assert "mul" in fused.means
    assert {row.name for row in geglu["kernels"].kernels} == {"mkldnn::_linear_pointwise"}


def test_what_is_seen_is_what_was_expected(geglu):
    """No differences, one graph, equal outputs."""
    for name, variant in geglu.items():
        assert variant.differences == (), name
        assert variant.expected, name
        assert variant.refused == "", name
    assert geglu["compile"].graphs == 1
    assert geglu["compile"].prepare_s > 0
    assert geglu["eager"].max_error is None
    assert geglu["compile"].max_error < 1e-5
    assert geglu["kernels"].max_error < 1e-5
    assert any(line.startswith("because: onednn") for line in geglu["kernels"].expected)


@pytest.mark.parametrize("step", ["linear", "mlp"])
def test_the_first_steps_are_as_written(step):
    """A linear is one kernel with its bias in it; an MLP's gelu is one of its own, and none by oneDNN."""
    eager, kernels = lab.run(step, shape=SHAPE, device="cpu", names=("eager", "kernels"), **TIMES)
    assert {row.name: row.count for row in eager.kernels} == {
        "linear": {"aten::addmm": 1},
        "mlp": {"aten::addmm": 2, "aten::gelu": 1},
    }[step]
    assert count(kernels) == {"linear": 1, "mlp": 2}[step]
    assert eager.differences == kernels.differences == ()
    assert kernels.max_error < 1e-5


def test_what_cannot_run_says_why(monkeypatch):
    """A dtype that oneDNN does not multiply here, a machine without a compiler: the other sides go on."""
    monkeypatch.setattr(tour.geglu, "onednn_refusal", lambda device, dtype: "not on this CPU")
    monkeypatch.setattr(tour.shutil, "which", lambda name: None)
    found = lab.run("mlp", shape=SHAPE, device="cpu", **TIMES)
    assert [variant.refused for variant in found] == [
        "",
        "Inductor compiles C++ on a CPU, and there is no g++ or clang++ here",
        "not on this CPU",
    ]
    assert [bool(variant.kernels) for variant in found] == [True, False, False]
    assert found[0].timing.runs > 0


def test_differences_are_told():
    """A fusion that did not happen: what was expected and not seen, and the reverse."""
    rows = [
        KernelRow(name=name, count=n, total_ms=1.0)
        for name, n in (("aten::mm", 3), ("aten::gelu", 1), ("aten::mul", 1))
    ]
    assert tour.differences(tour.EAGER["geglu"], rows) == ()
    said = tour.differences(tour.COMPILED["geglu"], rows)
    assert said == (
        "not expected: 1 x aten::gelu",
        "not expected: 1 x aten::mul",
        "expected 1, seen 0: gelu and multiply fused",
    )
    assert "expected 2, seen 3: product with the bias in its epilogue" in tour.differences(
        tour.EAGER["mlp"], rows
    )


GPU = {
    ("linear", "EAGER"): {"cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_32x32_32x1_tn_align8": 1},
    ("geglu", "EAGER"): {
        "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_tn": 2,
        "ampere_bf16_s16816gemm_bf16_128x256_ldg8_f2f_stages_64x3_tn": 1,
        "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(at::TensorIteratorBase&, at::native::GeluType)::{lambda()#1}::operator()() const::{lambda()#4}>": 1,
        "void at::native::vectorized_elementwise_kernel<4, at::native::BinaryFunctor<c10::BFloat16, c10::BFloat16, c10::BFloat16, at::native::binary_internal::MulFunctor<float> >, std::array<char*, 3ul> >": 1,
    },
    ("geglu", "COMPILED"): {
        "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_tn": 2,
        "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT": 1,
        "triton_poi_fused__unsafe_view_gelu_mul_0": 1,
    },
    ("geglu", "TRITON"): {"nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT": 3, "_gelu_mul_kernel": 1},
    ("mlp", "LIBRARY"): {"nvjet_tst_128x256_64x4_1x2_h_bz_coopA_gelu_bias_TNT": 1, "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_bias_TNT": 1},
}  # fmt: skip


@pytest.mark.parametrize(("step", "side"), GPU)
def test_kernels_of_a_gpu_are_known_by_their_names(step, side):
    """As the public series shows them on an A100, and as cuBLAS names its newer ones."""
    rows = [KernelRow(name=name, count=n, total_ms=1.0) for name, n in GPU[step, side].items()]
    assert tour.differences(getattr(tour, side)[step], rows) == ()


def test_a_step_is_a_workload():
    """Called, batched, and told in words with the bytes that it is about."""
    for step in tour.STEPS:
        loaded = tour.load(step, shape=SHAPE, device="cpu")
        assert loaded.call().shape == (2, 8, 64 if step == "linear" else 32)
        assert loaded.with_batch(5)().shape[0] == 5
        assert (loaded.kind, loaded.batch, loaded.device, loaded.rows()) == ("tour", 2, "cpu", 16)
        assert loaded.modules() == {"model": loaded.root}
        assert outputs.max_error(loaded.call(), tour.load(step, shape=SHAPE, device="cpu").call()) == 0.0
        assert len(tour.words(loaded)) >= 3
    said = " ".join(tour.words(tour.load("geglu", shape=(64, 128, 768), dtype="bf16", device="meta")))
    assert "50.3 MB never leaves the registers" in said  # as the series says: about 50 MB


def test_default_sizes_and_hidden_width():
    """Four times the width, unless it is named."""
    assert tour.load("mlp", shape=(1, 2, 8), device="cpu").hidden == 32
    assert tour.load("mlp", shape=(1, 2, 8, 12), device="cpu").hidden == 12
    assert isinstance(tour.load("linear", device="meta").root, nn.Linear)
    assert tuple(tour.load("linear", device="cpu").x_BSD.shape) == tour.SHAPE_CPU


@pytest.mark.parametrize(
    ("step", "options", "said"),
    [
        ("cnn", {}, "no step 'cnn'"),
        ("mlp", {"shape": (1, 2)}, "batch, sequence, width"),
        ("mlp", {"shape": (0, 2, 3)}, "batch, sequence, width"),
        ("mlp", {"dtype": "int4"}, "no dtype"),
        ("mlp", {"device": "gpu"}, "'gpu' is no device"),
        ("mlp", {"device": "cuda:99"}, "cuda:99 is none of them"),
    ],
)
def test_mistakes_are_told(step, options, said):
    """With what to write."""
    with pytest.raises(BadRequest, match=said) as caught:
        tour.load(step, **options)
    assert caught.value.hint


def asked(**options):
    return Asked(target="mlp", kind="tour", shape=SHAPE, quick=True, **options)


def test_the_command_tells_it(monkeypatch):
    """A whole profile: the step's stages, its sides though nobody asked for a comparison, its words."""
    monkeypatch.setattr(tour, "compile_refusal", lambda device: "not in this test")
    told = profile_of(asked(device="cpu"), lambda *said, **done: None)
    assert [variant.name for variant in told.variants] == ["eager", "compile", "kernels"]
    assert {row.name for row in told.stages} >= {"model.up", "model.act", "model.down"}
    assert told.notes == tour.words(tour.load("mlp", shape=SHAPE, device="cpu"))
    assert told.facts["flops"] == 2 * 2 * 16 * 32 * 64


def test_the_command_foresees_it():
    """On a card that is not here: two products and a gelu, of bf16."""
    told = profile_of(Asked(target="mlp", kind="tour", shape=SHAPE, gpu="a100"), lambda *said, **done: None)
    assert told.source == "preflight"
    assert {row.op: row.count for row in told.kernels} == {"aten::addmm": 2, "aten::gelu": 1}
    assert told.machine["dtype"] == "bf16"
    assert told.facts["weight_bytes"] == 2 * (2 * 32 * 64 + 32 + 64)

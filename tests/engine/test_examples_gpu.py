"""The scripts for a GPU: their expectations know the kernels of the public series by name, and they run as far as a CPU can."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from penstock.engine.measure.records import KernelRow

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples/engine"
ELEMENTWISE = "void at::native::vectorized_elementwise_kernel<4, at::native::"
GEMM = "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_tn"
MUL = f"{ELEMENTWISE}AUnaryFunctor<c10::BFloat16, c10::BFloat16, c10::BFloat16, at::native::binary_internal::MulFunctor<float>>>"
FILL = f"{ELEMENTWISE}(anonymous namespace)::masked_fill_kernel(at::TensorIterator&, c10::Scalar const&)>"
SOFTMAX = (
    "void (anonymous namespace)::softmax_warp_forward<c10::BFloat16, c10::BFloat16, float, 10, false, false>"
)
COPY = "Memcpy DtoD (Device -> Device)"
ADD = f"{ELEMENTWISE}CUDAFunctor_add<c10::BFloat16>, std::array<char*, 3ul> >"


@pytest.fixture
def script(monkeypatch):
    """A script as a module; what it adds to the interpreter is taken back."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if name in {path.stem for path in SCRIPTS.glob("*.py")}:
            del sys.modules[name]


def rows(**seen):
    return [KernelRow(name=name, count=count, total_ms=1.0) for name, count in seen.items()]


def test_a_product_and_a_sum(script):
    """Two kernels eagerly; a copy and the same product compiled."""
    on_gpu, add = script("on_gpu"), script("add_matmul")
    eager, compiled = add.cases("cpu", torch.float32, [8])
    assert on_gpu.judged(eager, rows(**{GEMM: 1, ADD: 1})) == ()
    assert on_gpu.judged(compiled, rows(**{GEMM: 1, COPY: 1})) == ()
    assert on_gpu.judged(compiled, rows(**{GEMM: 1, ADD: 1})) != ()
    assert len(add.cases("cpu", torch.float32, [8, 16])) == 4


def test_attention_by_hand_and_by_backend(script):
    """Six, five, ten or more, and one each; a backend that was silently replaced is told."""
    on_gpu, attention = script("on_gpu"), script("attention_backends")
    made = {case.name: case for case in attention.cases("cpu", torch.float32, [1, 2, 16, 8])}
    hand = {GEMM: 2, MUL: 1, FILL: 1, SOFTMAX: 1}
    flash = "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false, false, cutlass::bfloat16_t>>"
    efficient = "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::bfloat16_t>)"
    cudnn = "cudnn_generated_fort_native_sdpa_sm80_flash_fprop_wmma_f16_knob_7_64x64x64_4x1x1_kernel0_0"
    right = {"by hand": {**hand, COPY: 1}, "in place": hand, "math": {**hand, ADD: 5}}
    right |= {"flash": {flash: 1}, "efficient": {efficient: 1}, "cudnn": {cudnn: 1}}
    assert set(right) == set(made)
    for name, seen in right.items():
        assert on_gpu.judged(made[name], rows(**seen)) == (), name
    assert on_gpu.judged(made["by hand"], rows(**hand)) == (
        "expected 1, seen 0: the scores copied, for masked_fill is out of place",
    )
    assert on_gpu.judged(made["math"], rows(**{flash: 1})) == ("expected 10 kernels or more, seen 1",)
    for one, other in (("flash", efficient), ("efficient", flash), ("cudnn", flash), ("flash", cudnn)):
        assert len(on_gpu.judged(made[one], rows(**{other: 1}))) == 2, (one, other)


def test_the_attentions_are_one_function(script):
    """Those that a CPU has give equal results."""
    attention = script("attention_backends")
    made = {case.name: case for case in attention.cases("cpu", torch.float32, [1, 2, 16, 8])}
    right = made["by hand"].call()
    for name in ("in place", "math", "flash"):
        assert torch.allclose(made[name].call(), right, atol=1e-5), name


def test_the_steps_of_the_tour(script, tmp_path, capsys):
    """Each side that can run here, run, told and recorded; oneDNN's have no differences."""
    on_gpu, steps = script("on_gpu"), script("linear_to_geglu")
    made = [c for c in steps.cases("cpu", torch.float32, [2, 4, 8, 16]) if not c.name.endswith("compile")]
    assert [case.name for case in made] == [
        f"{step} {side}" for step in ("linear", "mlp", "geglu") for side in ("eager", "kernels")
    ]
    for case in made:
        told = on_gpu.ran(case, "cpu", tmp_path)
        assert told["differences"] == []
        assert json.loads(json.dumps(told)) == told
    assert "observed  3 x mkldnn::_linear_pointwise" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    """And sends to what a CPU can show."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "add_matmul.py")],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    assert "from-a-linear-to-a-fused-mlp.md" in done.stderr


def test_every_script_is_listed():
    """In the examples' own page."""
    listed = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    names = {path.name for path in SCRIPTS.glob("*.py")}
    assert names == {"add_matmul.py", "linear_to_geglu.py", "attention_backends.py", "on_gpu.py"}
    assert all(f"(engine/{name})" in listed for name in names)

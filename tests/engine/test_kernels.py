"""Kernels beside their references: equal results, fewer ops, and a table that says why."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from penstock.engine.kernels import geglu, table

CPU = torch.device("cpu")
SRC = Path(__file__).parents[2] / "src"

pytestmark = pytest.mark.filterwarnings("error")


class Names(TorchDispatchMode):
    """The ops that were dispatched, views left out."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            self.seen.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def weights(rows, width, hidden, dtype=torch.float32):
    made = torch.Generator().manual_seed(rows + width + hidden)
    shapes = ((rows, width), (hidden, width), (hidden, width), (width, hidden))
    return [torch.randn(shape, generator=made).to(dtype) / 2 for shape in shapes]


@pytest.mark.parametrize("approximate", geglu.APPROXIMATIONS)
@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 9), width=st.integers(1, 17), hidden=st.integers(1, 33))
def test_onednn_is_the_reference(approximate, rows, width, hidden):
    """Any shape, both forms of GELU."""
    parts = weights(rows, width, hidden)
    expected = geglu.reference(*parts, approximate)
    assert torch.allclose(geglu.with_onednn(*parts, approximate), expected, atol=1e-4, rtol=1e-4)


def test_onednn_keeps_a_batch_and_a_sequence():
    """More dimensions than rows and width."""
    x, gate, up, down = weights(6, 8, 12)
    x = x.reshape(2, 3, 8)
    assert torch.allclose(geglu.with_onednn(x, gate, up, down), geglu.reference(x, gate, up, down), atol=1e-5)


def test_gelu_and_mul_are_no_ops_of_their_own():
    """Five ops eagerly; three products with oneDNN."""
    parts = weights(4, 8, 16)
    with Names() as eager:
        geglu.reference(*parts)
    with Names() as fused:
        geglu.with_onednn(*parts)
    assert sorted(eager.seen) == ["aten::gelu", "aten::mm", "aten::mm", "aten::mm", "aten::mul"]
    assert fused.seen == ["mkldnn::_linear_pointwise"] * 3


def test_the_bytes_that_travel_are_those_of_the_ops():
    """Counted at the ops: every R x F tensor that one writes or reads."""

    class Bytes(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
                for tensor in (*args, out):
                    if isinstance(tensor, torch.Tensor) and tuple(tensor.shape) == (4, 16):
                        self.total += tensor.numel() * tensor.itemsize
            return out

    parts = weights(4, 8, 16)
    for route, run in (("eager", geglu.reference), ("onednn", geglu.with_onednn)):
        with Bytes() as counted:
            run(*parts)
        assert counted.total == geglu.travelling_bytes(4, 16, 4, route=route), route


def test_the_table_picks_and_says_why(monkeypatch):
    """On a CPU oneDNN where it gains; eager where it loses or cannot run, with each refusal."""
    losing = table.pick("geglu", dtype=torch.float32)
    assert (losing.route, losing.name, losing.run) == ("eager", "pytorch", geglu.reference)
    assert losing.refused[0] == ("triton", "Triton compiles for GPUs, and this is a CPU")
    assert "MKL" in dict(losing.refused)["onednn"]
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    choice = table.pick("geglu", dtype=torch.float32)
    assert (choice.route, choice.name, choice.run) == ("library", "onednn", geglu.with_onednn)
    assert "oneDNN" in choice.reason
    other = table.pick("geglu", dtype=torch.float64)
    assert (other.route, other.run) == ("eager", geglu.reference)
    assert [name for name, _why in other.refused] == ["triton", "onednn"]
    assert "torch.float64" in dict(other.refused)["onednn"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_the_table_picks_runs(dtype):
    """On this machine, whatever it is: a route that is not refused works, one that is refused does not."""
    parts = weights(4, 8, 16, dtype)
    made = table.pick("geglu", dtype=dtype).run(*parts)
    assert torch.allclose(made.float(), geglu.reference(*parts).float(), atol=0.1, rtol=0.1)
    if geglu.onednn_refusal(CPU, dtype):
        with pytest.raises(RuntimeError):
            geglu.with_onednn(*parts)


class Card:
    """What PyTorch says of a GPU."""

    def __init__(self, monkeypatch, major, *, triton=True):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
        monkeypatch.setattr(geglu, "find_spec", lambda name: object() if triton else None)


def test_on_a_gpu_the_kernel_is_ours(monkeypatch):
    """Where Triton is installed and the card is new enough for the dtype; else the reason."""
    gpu = torch.device("cuda:0")
    Card(monkeypatch, 9)
    assert table.pick("geglu", device=gpu, dtype=torch.bfloat16).name == "triton"
    assert "float64" in geglu.triton_refusal(gpu, torch.float64)
    Card(monkeypatch, 7)
    assert table.pick("geglu", device=gpu, dtype=torch.float16).name == "triton"
    assert "8.0" in geglu.triton_refusal(gpu, torch.bfloat16)
    Card(monkeypatch, 6)
    assert "7.0" in geglu.triton_refusal(gpu, torch.float32)
    Card(monkeypatch, 9, triton=False)
    choice = table.pick("geglu", device=gpu, dtype=torch.bfloat16)
    assert (choice.route, choice.name) == ("eager", "pytorch")
    assert "pip install triton" in dict(choice.refused)["triton"]


INTERPRETED = """
import torch
from penstock.engine.kernels import geglu, geglu_triton
torch.manual_seed(0)
for dtype, bound in ((torch.float32, 2e-6), (torch.bfloat16, 0.02), (torch.float16, 0.002)):
    for approximate in geglu.APPROXIMATIONS:
        for shape in ((1,), (3, 5), (2, 7, 97), (1025,), (64, 512), (0,)):
            gate, up = (torch.randn(shape) * 3).to(dtype), torch.randn(shape).to(dtype)
            made = geglu_triton.gelu_mul(gate, up, approximate)
            right = geglu.gelu_mul_reference(gate.float(), up.float(), approximate)
            assert made.dtype == dtype and made.shape == gate.shape
            if right.numel():
                error = ((made.float() - right).abs() / right.abs().clamp(min=1)).max()
                assert float(error) <= bound, (dtype, approximate, shape, float(error))
x, gate, up, down = torch.randn(6, 8), torch.randn(12, 8), torch.randn(12, 8), torch.randn(8, 12)
assert torch.allclose(geglu.with_triton(x, gate, up, down), geglu.reference(x, gate, up, down), atol=1e-4)
flipped = torch.randn(5, 6).t()  # not contiguous
assert torch.allclose(geglu_triton.gelu_mul(flipped, flipped), geglu.gelu_mul_reference(flipped, flipped), atol=1e-5)
print("equal")
"""


def test_the_triton_kernel_is_the_reference():
    """Interpreted, in a process of its own: the variable is read as Triton is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed: pip install triton (the interpreter needs no GPU)")
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["equal"]

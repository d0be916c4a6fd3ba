"""FLOP formulas, exact, on ops as PyTorch dispatches them; what it lacks, and where both have a figure the two agree."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from penstock.engine.measure import flops
from penstock.engine.measure.counting import count


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def counted(call: Callable[[], Any]) -> int:
    with torch.no_grad():
        found = count(call)
    assert found.uncounted == {}
    return found.flops


def theirs(call: Callable[[], Any]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_cpu_flash_attention_is_counted_where_pytorch_counts_nothing():
    """The published figure: 2 x 8 heads, 1024 x 1024 scores of width 64, twice."""
    q_BHSD = torch.randn(2, 8, 1024, 64)

    def attend() -> Any:
        return F.scaled_dot_product_attention(q_BHSD, q_BHSD, q_BHSD)

    assert theirs(attend) == 0
    assert counted(attend) == 4_294_967_296
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in count(attend).by_op


def test_math_attention_counts_the_same_as_flash():
    q_BHSD, k_BHTD = torch.randn(1, 2, 16, 8), torch.randn(1, 2, 24, 8)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        by_math = counted(lambda: F.scaled_dot_product_attention(q_BHSD, k_BHTD, k_BHTD))
    assert by_math == counted(lambda: F.scaled_dot_product_attention(q_BHSD, k_BHTD, k_BHTD))
    assert by_math == 2 * 2 * 16 * 24 * (8 + 8)


def test_attention_of_grouped_queries_counts_every_query_head():
    q_BHSD, k_BHTD = torch.randn(1, 8, 32, 16), torch.randn(1, 2, 32, 16)
    found = counted(lambda: F.scaled_dot_product_attention(q_BHSD, k_BHTD, k_BHTD, enable_gqa=True))
    assert found == 2 * 8 * 32 * 32 * (16 + 16)


def test_int8_products_are_counted_where_pytorch_counts_nothing():
    a_MK = torch.ones(32, 64, dtype=torch.int8)
    b_KN = torch.ones(64, 16, dtype=torch.int8)
    assert theirs(lambda: torch._int_mm(a_MK, b_KN)) == 0
    assert counted(lambda: torch._int_mm(a_MK, b_KN)) == 2 * 32 * 64 * 16
    assert count(lambda: torch._int_mm(a_MK, b_KN)).flops_by_dtype == {"int8": 2 * 32 * 64 * 16}


def test_fp8_products_are_counted_on_meta():
    a_MK = meta(32, 64, dtype=torch.float8_e4m3fn)
    b_KN = meta(16, 64, dtype=torch.float8_e4m3fn).t()
    one = meta(1)
    found = count(lambda: torch._scaled_mm(a_MK, b_KN, scale_a=one, scale_b=one, out_dtype=torch.bfloat16))
    assert found.flops == 2 * 32 * 64 * 16
    assert found.flops_by_dtype == {"fp8": 2 * 32 * 64 * 16}


def test_weight_only_int8_is_counted():
    x_MK, w_NK, scale_N = (
        torch.ones(4, 32, dtype=torch.bfloat16),
        torch.ones(8, 32, dtype=torch.int8),
        torch.ones(8),
    )
    call = lambda: torch._weight_int8pack_mm(x_MK, w_NK, scale_N.bfloat16())  # noqa: E731
    assert counted(call) == 2 * 4 * 32 * 8


def test_products_of_groups_count_each_row_once():
    """Mixture of experts: 3 experts share 12 rows; each row meets one of them."""
    rows_TK, experts_GKN = meta(12, 16, dtype=torch.bfloat16), meta(3, 16, 8, dtype=torch.bfloat16)
    out_TN = meta(12, 8, dtype=torch.bfloat16)
    assert flops.grouped([rows_TK, experts_GKN], {}, out_TN) == 2 * 12 * 16 * 8
    a_MT, b_TN, out_GMN = meta(16, 12), meta(12, 8), meta(3, 16, 8)
    assert flops.grouped([a_MT, b_TN], {}, out_GMN) == 2 * 16 * 12 * 8


def test_recurrent_layers_count_both_matrices_each_step():
    """4 gates of width 8: input 16 and hidden 8, for 5 steps of 2 sequences."""
    layer = torch.nn.LSTM(16, 8)
    x_SBI = torch.randn(5, 2, 16)
    assert counted(lambda: layer(x_SBI)) == 2 * 5 * 2 * (4 * 8 * 16 + 4 * 8 * 8)
    weights = [meta(32, 16), meta(32, 8), meta(32), meta(32)]
    assert flops.recurrent_stack([x_SBI, weights], {}, None) == 2 * 5 * 2 * (32 * 16 + 32 * 8)


def test_onednns_fused_linear_counts_like_the_linear_it_is():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of PyTorch has no oneDNN")
    layer = torch.nn.Linear(32, 8)
    x_MK = torch.randn(4, 32)
    fused = torch.ops.mkldnn._linear_pointwise
    found = counted(lambda: fused(x_MK, layer.weight, layer.bias, "gelu", [], "none"))
    assert found == counted(lambda: layer(x_MK)) == 2 * 4 * 32 * 8


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from((1, 2)),
    st.integers(1, 3),
    st.booleans(),
)
def test_convolutions_agree_with_pytorchs_counter(
    batch: int, inputs: int, outputs: int, groups: int, kernel: int, transposed: bool
):
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer = kind(inputs * groups, outputs * groups, kernel, groups=groups, device="meta")
    x_BCHW = meta(batch, inputs * groups, 7, 5)
    assert counted(lambda: layer(x_BCHW)) == theirs(lambda: layer(x_BCHW)) > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_linears_count_the_same_in_every_mode(m: int, k: int, n: int, bias: bool, inference: bool):
    """Inference mode hands ``aten::linear`` over whole; autograd has it taken apart. One figure, as PyTorch's own."""
    layer = torch.nn.Linear(k, n, bias=bias, device="meta")
    x_BMK = meta(2, m, k)
    with torch.inference_mode(inference):
        found = count(lambda: layer(x_BMK))
        assert found.flops == theirs(lambda: layer(x_BMK)) == 2 * 2 * m * k * n


def test_formulas_that_need_other_hardware():
    """Ops of GPUs and of quantised oneDNN, on meta tensors of their signatures."""
    q_BHSD, q_BSHD = meta(2, 4, 8, 16), meta(2, 8, 4, 16)
    assert flops.attention([q_BHSD] * 3, {}, None) == flops.attention_bshd([q_BSHD] * 3, {}, None)
    x_BCHW, w_OIHW, out_BOHW = meta(1, 4, 8, 8), meta(6, 4, 3, 3), meta(1, 6, 6, 6)
    expected = 2 * (6 * 6 * 6) * (4 * 3 * 3)
    assert flops.convolution([x_BCHW, w_OIHW], {}, out_BOHW) == expected
    assert flops.convolution_third([x_BCHW, out_BOHW, w_OIHW], {}, out_BOHW) == expected
    assert flops.quantised_convolution([x_BCHW, 1.0, 0, w_OIHW], {}, out_BOHW) == expected
    assert flops.convolution_transpose([out_BOHW, w_OIHW], {}, x_BCHW) == 2 * 216 * (4 * 3 * 3)
    assert flops.dot([meta(7), meta(7)], {}, meta()) == 14


def test_every_formula_is_of_an_op_that_exists_or_of_a_package_that_may():
    """A name that was misspelt would count nothing, in silence."""
    known = {name.partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    ours = {name.partition(".")[0] for name in flops.OURS if not name.startswith("flash_attn")}
    assert ours - known == set()


def test_names_of_products_look_like_them():
    assert all(
        flops.looks_heavy(name)
        for name in ("aten::_cslt_sparse_mm", "torchao::da8w4_linear_cpu", "x::attn_fwd")
    )
    assert not any(flops.looks_heavy(name) for name in ("aten::mul", "onednn::qlinear_prepack", "aten::gelu"))

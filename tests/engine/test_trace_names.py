"""Kernel names, decoded: names that stand in the real traces, in the public PyTorch series and in CUDA libraries' builds."""

import pytest

from penstock.engine.measure import kernel_names
from tests.engine import traces
from tests.engine.traces import ALL, H100, MI300X

NAMES = {
    # HF's series, part 2: one nn.Linear and the GeGLU MLP
    "cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_32x32_32x1_tn_align8": ("gemm", "GEMM 32x32x32 bf16 tn (CUTLASS)"),
    "triton_poi_fused__unsafe_view_gelu_mul_0": ("pointwise", "fused pointwise: _unsafe_view, gelu, mul"),
    "graph_0_cpp_fused_gelu_mul_0": ("pointwise", "fused C++ loop: gelu, mul"),
    # the traces
    "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8>": ("gemm", "GEMM 128x64x64 bf16 tn (CUTLASS)"),
    "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel__5x_cublas": ("gemm", "GEMM 128x128x64 bf16 tn (cuBLAS, sm90)"),
    "nvjet_tst_64x64_64x16_2x1_2cta_v_bz_bias_TNT": ("gemm", "GEMM 64x64x64 bf16 tn with bias (cuBLAS nvjet)"),
    "Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT320x224x64_MI16x16x1_SN_LDSB0": ("gemm", "GEMM 320x224x64 bf16 tn (hipBLASLt)"),
    "Cijk_Ailk_Bljk_BBS_BH_MT256x256x32_MI32x32x8x1_SN": ("gemm", "GEMM 256x256x32 bf16 nn (hipBLASLt)"),
    "Cijk_Alik_Bljk_HHS_BH_MT64x64x64_MI16": ("gemm", "GEMM 64x64x64 fp16 tn (hipBLASLt)"),
    "igemm_fwd_gtcx3_nhwc_bf16_bx0_ex1_bt128x256x32_wt32x32x8_ws1x2": ("conv", "convolution 128x256x32 bf16 nhwc (MIOpen implicit GEMM)"),
    "_matmul_ogs_NNT_bf16xbf16xmxfp4_128x128x128x1_swiglu": ("gemm", "GEMM 128x128x128 mxfp4 with SwiGLU"),
    "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128, 128, 4>>": ("attention", "flash attention"),
    "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel)": ("attention", "memory-efficient attention"),
    "cudnn_generated_fort_native_sdpa_sm80_flash_fprop_wmma_f16_knob_31_64x64x64": ("attention", "cuDNN attention"),
    "attn_fwd": ("attention", "fused attention"),
    "fmhaSm100aKernel_QkvE4m3OBfloat16H64PagedKvCausalP16VarSeqQ128Kv128PersistentContext": ("attention", "fused attention"),
    "_ZN5aiter13fmha_fwd_bf16E": ("attention", "fused attention (aiter)"),
    "void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16, __nv_bfloat16, float>": ("layout", "layout conversion"),
    "batched_transpose_32x32_half": ("layout", "layout conversion"),
    "_ZN7ck_tile6kentryILi1ENS_12Rmsnorm2dFwdINS_27Rmsnorm2dFwdPipeline": ("norm", "RMS norm (Composable Kernel)"),
    "_ZN2ck16tensor_operation6device12_GLOBAL__N_139kernel_grouped_conv_fwd_xdl_cshuffle_v3": ("conv", "convolution (Composable Kernel)"),
    "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)": ("collective", "all-gather"),
    "Memcpy HtoD (Pageable -> Device)": ("copy", "copy host to device, from pageable memory: the host waits"),
    "Memcpy DtoD (Device -> Device)": ("copy", "copy within the device"),
    "Memset (Device)": ("memset", "memory set"),
    "triton_per_fused__to_copy_add_addmm_mean_mul_pow_rsqrt_transpose_view_8": ("reduction", "fused persistent reduction: _to_copy, add, addmm, mean, mul, pow, rsqrt, transpose, view"),
    "triton_red_fused_native_layer_norm_1": ("reduction", "fused reduction: native_layer_norm"),
    "triton_poi_fused__scaled_dot_product_flash_attention_cat_transpose_view_10": ("pointwise", "fused pointwise: _scaled_dot_product_flash_attention, cat, transpose, view"),
    "triton_tem_fused_mm_3": ("gemm", "Triton template: mm"),
    # a CPU's ops
    "aten::addmm": ("gemm", "matrix multiply with bias in its epilogue"),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ("attention", "flash attention"),
    "aten::t": ("view", "no kernel"),
    "aten::native_layer_norm": ("norm", "layer norm"),
    "aten::gelu": ("pointwise", "pointwise: gelu"),
    "my_own_kernel": ("other", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_what_it_is(name: str):
    told = kernel_names.decode(name)
    assert (told.kind, told.means) == NAMES[name]


def test_dtype_of_a_matmul():
    assert kernel_names.decode("Cijk_Alik_Bljk_BBS_BH_Bias_MT320x224x64").dtype == "bf16"
    assert kernel_names.decode("ampere_sgemm_128x64_tn").dtype == "fp32"
    assert kernel_names.decode("ampere_fp16_s16816gemm_fp16_128x64_ldg8_f2f_stages_64x3_tn").dtype == "fp16"


@pytest.mark.parametrize("name", ALL)
def test_nearly_every_kernel_of_the_real_traces_has_a_meaning(name: str):
    events = traces.real(name).events
    unknown = {event.name for event in events if kernel_names.decode(event.name).kind == "other"}
    lost_us = sum(event.dur_us for event in events if event.name in unknown)
    assert lost_us < 0.02 * sum(event.dur_us for event in events), unknown


def test_convolutions_are_not_taken_for_matmuls():
    for name in (H100, MI300X):
        for event in traces.real(name).events:
            if event.op is not None and event.op.name.endswith("_convolution"):
                assert kernel_names.decode(event.name).kind in (
                    "conv",
                    "gemm",
                    "layout",
                    "memset",
                    "pointwise",
                ), event.name

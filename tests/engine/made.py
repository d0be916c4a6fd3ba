"""Profiles made by hand, for what shows them; the first has every field filled, and names that want to break a page."""

from hypothesis import strategies as st

from penstock.engine.measure.records import (
    UNATTRIBUTED,
    DeviceSummary,
    Finding,
    Hop,
    KernelRow,
    Peaks,
    Profile,
    RooflinePoint,
    Slice,
    StageRow,
    Timing,
    Variant,
)

EVIL = 'void kernel<float, 4>(</script><img src=x onerror="alert(1)">, <!-- &amp; \u2028'
"""A kernel's name that would end a script, start a comment and load a picture."""


def profile(**fields) -> Profile:
    """One of everything."""
    made = {
        "target": "tiny-sdxl </title>",
        "source": "live",
        "device": DeviceSummary(
            name="NVIDIA H100 80GB HBM3",
            kernels=154,
            device_events=156,
            correlated=156,
            span_ms=7.56,
            busy_share=0.162,
            host_wait_ms=6.32,
            kernel_wait_ms=0.01,
            other_wait_ms=0.005,
        ),
        "wall_ms": 10.0,
        "stages": (
            StageRow(name="text_encoder", start_ms=0.1, wall_ms=1.0, share=0.1, gpu_busy_ms=0.2, launches=12),
            StageRow(name="unet", calls=4, start_ms=1.2, wall_ms=6.0, share=0.6, exposed_host_ms=5.0),
            StageRow(name="unet/attention", calls=8, start_ms=1.3, wall_ms=2.0, share=0.2, parent="unet"),
            StageRow(name="vae", start_ms=8.0, wall_ms=1.7, share=0.17),
            StageRow(name=UNATTRIBUTED, wall_ms=1.3, share=0.13),
        ),
        "kernels": (
            KernelRow(
                name=EVIL, count=4, total_ms=0.9, op="aten::addmm", module="unet", means="GEMM 128x64 bf16 tn"
            ),
            KernelRow(name="triton_poi_fused_gelu_mul_0", count=2, total_ms=0.2, means="fused pointwise"),
            KernelRow(name="Memcpy DtoH", count=1, total_ms=0.1, attributed=False),
        ),
        "findings": (
            Finding(
                id="launch-bound",
                title="The host cannot keep up <b>",
                evidence="Host wait 6.32 of 7.56 ms.",
                saves_ms=6.32,
                fix="Compile the denoiser.\npipe.unet.compile_repeated_blocks(fullgraph=True)\nassert a < b",
                proof="One graph, fewer launches.",
                where="unet",
            ),
            Finding(id="memory-bound", title="Bytes decide", evidence="0.3 FLOP/B."),
        ),
        "timing": Timing(median_ms=8.0, low_ms=7.9, high_ms=8.2, runs=11, warmup=3, first_ms=90.0),
        "variants": (
            Variant(name="eager", expected=("3 GEMM", "gelu", "mul")),
            Variant(
                name="compile",
                prepare_s=4.0,
                graphs=1,
                gain=1.25,
                break_even_calls=2500.0,
                max_error=1e-6,
                kernels=(KernelRow(name="fused </script>", count=1, total_ms=0.1, means="gelu, mul"),),
            ),
            Variant(name="kernels", refused="No Triton here."),
        ),
        "roofline": (
            RooflinePoint(name="unet", flops=1e9, bytes=1e7, time_ms=1.0, bound="compute"),
            RooflinePoint(name=EVIL, flops=1e6, bytes=1e7),
            RooflinePoint(name="nothing", flops=0, bytes=1e7),
        ),
        "peaks": Peaks(device="H100", flops_per_s={"bf16": 989e12, "fp32": 67e12}, bytes_per_s=3.35e12),
        "timeline": (
            Slice(lane="thread 1", name="unet", start_us=1200, dur_us=3000, kind="stage"),
            Slice(lane="thread 1", name="unet", start_us=4300, dur_us=3000, kind="stage"),
            Slice(lane="thread 1", name="aten::addmm", start_us=1300, dur_us=50, kind="op", depth=1),
            Slice(lane="stream 7", name=EVIL, start_us=1400, dur_us=900, kind="kernel"),
            Slice(lane="stream 7", name="overlaps", start_us=1500, dur_us=2000, kind="kernel"),
        ),
        "warnings": ("the machine was <disturbed>",),
        "machine": {"torch": "2.13.0+cpu", "threads": "1"},
        "facts": {"parameters": 1_980_000.0},
        "trace_ids": ("render-1",),
        "hops": (
            Hop(key="r/1", name="plan", start_ms=0, wall_ms=120.5, source="ledger", cost_nusd=270_000),
            Hop(key="r/1#queue", parent="r/1", name="queue", start_ms=1, wall_ms=20, source="gateway"),
            Hop(key="unet", parent="d/1", name="unet", start_ms=130, wall_ms=900, source="profile"),
        ),
    }  # fmt: skip
    return Profile(**{**made, **fields})


times = st.floats(min_value=0, max_value=1e7, allow_nan=False)
slices = st.lists(
    st.builds(
        Slice,
        lane=st.sampled_from(["thread 1", "thread 2", "stream 7"]),
        name=st.sampled_from(["a", "b", "</script>", "ü"]),
        start_us=times,
        dur_us=st.one_of(st.just(0.0), times),
        kind=st.sampled_from(["op", "kernel", "stage"]),
        depth=st.integers(0, 4),
    ),
    max_size=40,
)

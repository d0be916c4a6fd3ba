"""The pre-flight without a GPU: known figures of known models, exact bytes of small ones, and what each mistake is told."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from penstock.base.errors import BadRequest
from penstock.engine.lab import preflight as lab
from penstock.engine.measure import preflight
from penstock.engine.measure.peaks import sheet
from penstock.engine.measure.records import Peaks
from penstock.engine.workloads import on_meta
from tests.engine import full

CARD = Peaks(device="a card", flops_per_s={"fp32": 1e12, "fp16": 4e12}, bytes_per_s=1e11, memory_bytes=10**9)


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    """Full-size SDXL from its configuration files, 25 steps at 1024 x 1024, on an H100."""
    folder = full.write_sdxl(tmp_path_factory.mktemp("full") / "sdxl")
    return lab.profile(on_meta.of_pipeline(folder, steps=25), sheet("h100"), price_nusd_per_s=691_667)


def test_sdxl_is_what_is_known_of_it(sdxl):
    """2.57 billion parameters in the UNet, 13.52 TFLOP for a call with guidance batched, 10.47 TFLOP to decode."""
    stages = {row.name: row for row in sdxl.stages}
    assert list(stages) == ["encode_prompt", "unet", "vae"]
    assert (stages["unet"].calls, stages["vae"].calls) == (25, 1)
    assert stages["unet"].flops / 25 / 1e12 == pytest.approx(13.52, abs=0.005)
    assert stages["vae"].flops / 1e12 == pytest.approx(10.47, abs=0.005)
    assert sdxl.facts["flops"] / 1e12 == pytest.approx(349, abs=0.5)
    assert sdxl.facts["parameters"] == 2_567_463_684 + 83_653_863 + 123_060_480 + 694_659_840


def test_no_h100_makes_more_than_its_roofline(sdxl):
    """At most 2.84 images a second, whatever is claimed; the stages' shares are of that bound."""
    assert 1e3 / sdxl.wall_ms == pytest.approx(2.84, abs=0.01)
    assert sum(row.share for row in sdxl.stages) == pytest.approx(1)
    assert sdxl.facts["eager_roofline_ms"] > sdxl.wall_ms
    assert {point.name: point.bound for point in sdxl.roofline} == {
        "encode_prompt": "overhead",
        "unet": "compute",
        "vae": "compute",
    }
    assert {(finding.id, finding.where) for finding in sdxl.findings} == {
        ("compute-bound", "unet"),
        ("compute-bound", "vae"),
        ("launch-bound", "encode_prompt"),
    }
    assert sdxl.cost_nusd == round(sdxl.wall_ms / 1e3 * 691_667)


def test_its_embeddings_are_as_large_as_they_are(sdxl):
    """77 x 2048 of two bytes: 308 KiB a prompt, and 2.5 KiB pooled. 4000 of them are no small cache."""
    assert sdxl.facts["prompt_embedding_bytes"] == 308 * 1024
    assert sdxl.facts["negative_embedding_bytes"] == 308 * 1024
    assert sdxl.facts["pooled_embedding_bytes"] == 2.5 * 1024
    assert any("77 tokens are assumed" in warning for warning in sdxl.warnings)


def test_its_kernels_are_foreseen(sdxl):
    """140 attentions a UNet call, all fused; the convolutions and products by name, each with what a GPU runs for it."""
    rows = {(row.module, row.op): row for row in sdxl.kernels}
    attention = rows["unet", "aten::_scaled_dot_product_flash_attention"]
    assert attention.count == 140 * 25
    assert attention.means == "fused attention"
    assert rows["unet", "aten::addmm"].means == "GEMM, the bias in its epilogue"
    assert rows["vae", "aten::convolution"].means.startswith("convolution")
    assert not any("softmax" in row.op for row in sdxl.kernels if row.module == "unet")
    assert sum(row.count for row in sdxl.kernels) == sdxl.device.kernels == sdxl.facts["launches"]


def test_whether_it_fits_is_told(sdxl, tmp_path):
    """The weights alone are 6.46 GiB of bf16; a card of 1 GB says so first."""
    assert sdxl.facts["weight_bytes"] == pytest.approx(2 * sdxl.facts["parameters"], rel=1e-3)
    assert sdxl.facts["weight_bytes"] < sdxl.facts["peak_memory_bytes"] < sdxl.facts["card_memory_bytes"]
    plan = on_meta.of_call(
        "wide", nn.Linear(30_000, 30_000, device="meta"), (torch.empty(1, 30_000, device="meta"),)
    )
    found = {finding.id: finding for finding in lab.profile(plan, CARD).findings}
    assert "3.4 GiB" in found["peak-memory"].evidence


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 64), widths=st.lists(st.integers(1, 64), min_size=2, max_size=5))
def test_bytes_and_flops_of_linears_are_exact(rows, widths):
    """FLOPs, weights, what must move, and what is alive: a layer's input and output, nothing else."""
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    plan = on_meta.of_call("stack", nn.Sequential(*layers), (torch.zeros(rows, widths[0]),))
    (part,) = plan.parts
    parameters = sum(a * b + b for a, b in pairwise(widths))
    assert part.parameters == parameters
    assert part.weight_bytes == 4 * parameters
    assert part.flops == sum(2 * rows * a * b for a, b in pairwise(widths))
    assert part.least_bytes == 4 * (parameters + rows * (widths[0] + widths[-1]))
    # the input is the caller's and stays; of the rest, one layer's input and output are alive at a time
    hidden = [0, *widths[1:]]
    assert part.peak_bytes == 4 * rows * (widths[0] + max(a + b for a, b in pairwise(hidden)))
    assert part.flops_by_dtype == {"fp32": part.flops}


def test_a_table_is_looked_up_in_and_a_tied_head_is_read():
    """An embedding's weights need not move; those that a product shares must."""

    class Tied(nn.Module):
        def __init__(self, *, tied):
            super().__init__()
            self.table = nn.Embedding(1000, 8)
            self.head = nn.Linear(8, 1000, bias=False)
            if tied:
                self.head.weight = self.table.weight

        def forward(self, ids):
            return self.head(self.table(ids))

    for tied in (True, False):
        plan = on_meta.of_call("tied", Tied(tied=tied), (torch.zeros(1, 1, dtype=torch.int64),))
        (part,) = plan.parts
        assert part.weight_bytes == 4 * 8000 * (1 if tied else 2)
        assert part.least_bytes == 4 * 8000 + 8 + 4 * 1000


def test_bounds_follow_the_peaks():
    """The same product is bound by memory for one row and by arithmetic for many; op by op is never faster than the whole."""

    def part(rows):
        plan = on_meta.of_call("x", nn.Linear(4096, 4096), (torch.empty(rows, 4096, device="meta"),))
        return plan.parts[0]

    one, many = part(1), part(4096)
    assert (preflight.bound(one, CARD), preflight.bound(many, CARD)) == ("memory", "compute")
    assert preflight.roofline_ms(many, CARD) == pytest.approx(1e3 * many.flops / 1e12)
    assert preflight.roofline_ms(one, CARD) == pytest.approx(1e3 * one.least_bytes / 1e11)
    for each in (one, many):
        assert preflight.eager_ms(each, CARD) >= preflight.roofline_ms(each, CARD) - 1e-9
    assert preflight.peak_flops_per_s(CARD, "fp8") == 4e12  # no such units: bf16, and for want of those fp16
    assert preflight.peak_flops_per_s(CARD, "int3") == 0.0


def test_attention_is_fused_as_on_a_card():
    """Flash for half precision; memory-efficient for fp32, masks and wide heads, shared heads repeated; never the math route."""

    def ops(dtype, *, width=64, mask=False, shared=1):
        q = torch.empty(2, 4, 32, width, dtype=dtype, device="meta")
        k = torch.empty(2, 4 // shared, 32, width, dtype=dtype, device="meta")
        bias = torch.empty(2, 4, 32, 32, dtype=dtype, device="meta") if mask else None
        attend = nn.functional.scaled_dot_product_attention

        def call():
            return attend(q, k, k, attn_mask=bias, enable_gqa=shared > 1)

        part = preflight.count("attention", call, {})
        assert part.flops == 2 * 2 * 2 * 4 * 32 * 32 * width
        return sorted(name for name in part.by_op if "attention" in name)

    assert ops(torch.bfloat16) == ["aten::_scaled_dot_product_flash_attention"]
    assert ops(torch.bfloat16, shared=2) == ["aten::_scaled_dot_product_flash_attention"]
    for efficient in (
        {"dtype": torch.float32},
        {"dtype": torch.float16, "mask": True},
        {"dtype": torch.bfloat16, "width": 512},
    ):
        assert ops(**efficient) == ["aten::_scaled_dot_product_efficient_attention"]
    assert ops(torch.float32, shared=4) == ["aten::_scaled_dot_product_efficient_attention"]


def test_a_text_generator_is_bound_by_its_weights(tmp_path):
    """Llama 3 8B: 8.03 billion parameters; decoding reads all but the table once a token; 128 KiB of keys and values a token."""
    plan = on_meta.of_generator(full.write_llama(tmp_path / "llama"), prompt_tokens=128, tokens=32)
    told = lab.profile(plan, sheet("a10g"))
    stages = {row.name: row for row in told.stages}
    assert told.facts["parameters"] == 8_030_261_248
    assert (stages["prefill"].calls, stages["decode"].calls) == (1, 31)
    assert plan.embedding_bytes == {"key_value_cache": 159 * 128 * 1024}  # the last token is never read
    assert {point.name: point.bound for point in told.roofline} == {"prefill": "compute", "decode": "memory"}
    read = told.facts["weight_bytes"] - 2 * 128_256 * 4096
    assert read / 0.6e12 * 1e3 * 31 == pytest.approx(stages["decode"].wall_ms, rel=0.01)


def test_a_users_module_is_built_on_meta(tmp_path, monkeypatch):
    """No weight is allocated; where build needs real ones it runs as it is; the dtype can be another."""
    path = tmp_path / "big.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n    return nn.Linear(200_000, 200_000), torch.zeros(4, 200_000)\n"  # 160 GB of fp32
        "def needs():\n    net = nn.Linear(4, 4)\n    assert net.weight.sum().item() != 7\n    return net, torch.ones(2, 4)\n"
        "def broken():\n    return None\n"
    )
    plan = on_meta.of_module(f"{path}:build", dtype="bf16")
    assert (plan.dtype, plan.batch, plan.kind) == ("bf16", 4, "module")
    told = lab.profile(plan, sheet("h200"))
    assert told.facts["weight_bytes"] == 2 * (200_000**2 + 200_000)
    assert told.stages[0].flops == 2 * 4 * 200_000**2
    needy = on_meta.of_module(f"{path}:needs")
    assert needy.parts[0].flops == 2 * 2 * 4 * 4
    with pytest.raises(BadRequest, match="returned None"):
        on_meta.of_module(f"{path}:broken")


def test_a_pipeline_is_foreseen_as_it_runs(tiny_sdxl_dir, tmp_path):
    """The tiny one: calls as its own loop makes them, from configurations alone as well as beside weights."""
    beside = on_meta.of_pipeline(tiny_sdxl_dir, steps=3, batch=2, dtype="bf16")
    bare = shutil.copytree(tiny_sdxl_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    alone = on_meta.of_pipeline(bare, steps=3, batch=2, dtype="bf16")
    for plan in (beside, alone):
        assert [(part.name, part.calls) for part in plan.parts] == [
            ("encode_prompt", 1),
            ("unet", 3),
            ("vae", 1),
        ]
        assert plan.notes == ()
    assert beside.embedding_bytes == alone.embedding_bytes == {
        "prompt_embedding": 77 * 64 * 2,
        "negative_embedding": 77 * 64 * 2,
        "pooled_embedding": 32 * 2,
        "negative_pooled_embedding": 32 * 2,
    }  # fmt: skip
    unguided = on_meta.of_pipeline(bare, steps=3, batch=2, arguments={"guidance_scale": 1.0})
    flops = [plan.parts[1].flops for plan in (alone, unguided)]
    assert flops[0] == 2 * flops[1]


def test_what_cannot_be_foreseen_is_told(tmp_path, tiny_sdxl_dir):
    """No such pipeline, a missing configuration, an unknown dtype."""
    with pytest.raises(BadRequest, match="no dtype"):
        on_meta.of_pipeline(tiny_sdxl_dir, dtype="fp12")
    folder = shutil.copytree(tiny_sdxl_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "unet/config.json").unlink()
    with pytest.raises(BadRequest, match=r"config\.json cannot be read"):
        on_meta.of_pipeline(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "vae": ["mine", "Vae"]}))
    with pytest.raises(BadRequest) as caught:
        on_meta.of_pipeline(folder)
    assert "cannot be read" in caught.value.message or "mine" in caught.value.message
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "TeapotPipeline"}))
    with pytest.raises(BadRequest, match="TeapotPipeline"):
        on_meta.of_pipeline(Path(folder))


def test_a_pipeline_is_judged_in_its_weights_own_dtype(tiny_sdxl_dir, tmp_path):
    """fp32 weights take four bytes each, whatever a card likes best; without weights bf16 is assumed, and said."""
    own = on_meta.of_pipeline(tiny_sdxl_dir, steps=2)
    half = on_meta.of_pipeline(tiny_sdxl_dir, steps=2, dtype="bf16")
    assert (own.dtype, half.dtype, own.notes) == ("fp32", "bf16", ())
    assert own.parts[1].weight_bytes == 2 * half.parts[1].weight_bytes
    assert set(own.parts[1].flops_by_dtype) == {"fp32"}
    bare = shutil.copytree(tiny_sdxl_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    assumed = on_meta.of_pipeline(bare, steps=2)
    assert assumed.dtype == "bf16"
    assert "bf16 is assumed" in assumed.notes[0]
    (bare / "unet" / "x.safetensors").write_bytes(b"12345678{")
    with pytest.raises(BadRequest, match=r"x\.safetensors cannot be read"):
        on_meta.of_pipeline(bare, steps=2)


READS = """
import torch
from torch import nn

class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x, masked=False):
        total = 0.0
        for block in self.blocks:
            x = block(x)
            total += x.mean().item()
        n = int((x > 0).sum())
        if x.sum() > 0:
            x = x + n
        if masked:
            x = x[x > 0]
        return self.head(x) * total

def build():
    return Reads(), torch.ones(2, 8)

def masked():
    return Reads(), (torch.ones(2, 8),), {"masked": True}
"""


def test_a_module_that_reads_values_is_foreseen_with_the_lines_that_wait(tmp_path):
    """Each read is taken for 1, and is a finding with the user's line; its children are its stages."""
    path = tmp_path / "reads.py"
    path.write_text(READS)
    told = lab.profile(on_meta.of_module(f"{path}:build"), sheet("h100"))
    lines = {one.where.partition(" in ")[0]: one.fix for one in told.findings}
    source = READS.splitlines()
    assert set(lines) == {f"{path}:{n}" for n, line in enumerate(source, 1) if "total +=" in line}
    assert {one.id for one in told.findings} == {"host-device-sync"}
    assert told.warnings == ("its code reads 4 numbers out of tensors: taken for 1 each",)
    assert [row.name for row in told.stages] == ["model.head", "model.blocks.0", "model.blocks.1", "model"]
    assert sum(row.flops or 0 for row in told.stages) == told.facts["flops"] == 3 * 2 * 2 * 8 * 8
    assert sum(row.wall_ms for row in told.stages) == pytest.approx(told.wall_ms)
    assert sum(row.launches for row in told.stages) == told.facts["launches"]


def test_where_shapes_do_not_suffice_the_users_line_is_named(tmp_path):
    """A mask whose set elements must be counted: the line in the user's file, and nothing untrue about running it."""
    path = tmp_path / "reads2.py"
    path.write_text(READS)
    with pytest.raises(BadRequest, match=r"failed at reads2\.py:20 in forward") as caught:
        on_meta.of_module(f"{path}:masked")
    assert "fails there too" not in (caught.value.hint or "")
    assert "Without --gpu it may well run" in (caught.value.hint or "")


def test_what_is_near_its_roof_or_small_has_no_finding():
    """Two large products, and three small ops: nothing to fuse, nothing to launch less."""
    large = [nn.Linear(4096, 4096, device="meta") for _ in range(2)]
    healthy = on_meta.of_call("healthy", nn.Sequential(*large), (torch.empty(4096, 4096, device="meta"),))
    small = on_meta.of_call(
        "small", nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)), (torch.ones(2, 8),)
    )
    for plan in (healthy, small):
        assert lab.profile(plan, sheet("h100")).findings == ()
        assert lab.profile(plan, sheet("h100")).machine["dtype"] == "fp32"
    chain = nn.Sequential(*[nn.Tanh() for _ in range(30)])
    (said,) = lab.profile(on_meta.of_call("chain", chain, (torch.ones(2, 8),)), sheet("h100")).findings
    assert said.id == "launch-bound"
    assert said.fix.splitlines()[1] == 'model.compile(mode="reduce-overhead", dynamic=False)'


def test_fixes_name_the_pipelines_own_parts(sdxl):
    """What is called is what is compiled: the autoencoder's ``decode``, not its ``forward``."""
    fixes = {one.where: one.fix for one in sdxl.findings}
    assert "pipe.unet.compile()" in fixes["unet"]
    assert "pipe.vae.decode = torch.compile(pipe.vae.decode)" in fixes["vae"]
    assert "pipe.text_encoder.compile(" in fixes["encode_prompt"]
    assert "pipe.text_encoder_2.compile(" in fixes["encode_prompt"]

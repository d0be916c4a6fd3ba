"""Findings of live runs that need the operands' shapes, and what a comparison found: real modules, run as a user's are."""

import pytest

from penstock.base.errors import BadRequest
from penstock.cli.profile_tables import show
from penstock.engine.lab.compare import Side, differences, verdict
from penstock.engine.lab.figures import nothing_found
from penstock.engine.measure.records import DeviceSummary, KernelRow, Profile, Timing, Variant
from tests.engine.test_cli_profile import refused, shown

torch = pytest.importorskip("torch")
MODULES = """
import torch
from torch import nn
from torch.nn import functional

class Chain(nn.Module):
    def forward(self, x):
        return torch.tanh(torch.sigmoid(x * 2 + 1) * x)

def chain():
    return Chain(), torch.randn(256, 1024)

def compiled():
    model = Chain()
    model.compile(fullgraph=True, options={"cpp.enable_kernel_profile": True})
    return model, torch.randn(256, 1024)

class Attention(nn.Module):
    def __init__(self, fused):
        super().__init__()
        self.qkv, self.out, self.fused = nn.Linear(64, 192), nn.Linear(64, 64), fused

    def forward(self, x):
        q, k, v = self.qkv(x).view(2, 64, 3, 4, 16).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * 16**-0.5).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(2, 64, 64))

def by_hand():
    return Attention(False).eval(), torch.randn(2, 64, 64)

def fused():
    return Attention(True).eval(), torch.randn(2, 64, 64)

def convolutions():
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 4, 4, stride=2)
    ).eval(), torch.randn(1, 4, 16, 16)
"""


@pytest.fixture
def told(tmp_path, capsys, monkeypatch):
    """The JSON of one of them, run from the command line."""
    (tmp_path / "these.py").write_text(MODULES)
    monkeypatch.chdir(tmp_path)
    return lambda name: shown(capsys, f"these.py:{name}", "--quick", "--seconds", "0.1")


def found(profile):
    return {one["id"]: one for one in profile["findings"]}


def test_a_chain_of_pointwise_ops_is_found(told):
    """Without asking for shapes: five ops as one chain, with the bytes that travel between them."""
    chain = found(told("chain"))["unfused-pointwise"]
    assert chain["facts"]["kernels"] == 5
    assert chain["facts"]["travelled_bytes"] == 4 * 2 * 4 * 256 * 1024


def test_a_compiled_chain_is_none(told):
    """It is one kernel."""
    profile = told("compiled")
    assert not {"unfused-pointwise", "math-attention"} & set(found(profile))
    assert len([row for row in profile["kernels"] if "cpp_fused" in row["name"]]) == 1


def test_attention_by_hand_is_found(told):
    """And the library's is not."""
    assert found(told("by_hand"))["math-attention"]["facts"]["attentions"] == 1
    assert not {"unfused-pointwise", "math-attention"} & set(found(told("fused")))


def test_convolutions_have_flops(told):
    """Plain, grouped and transposed: the kernels' FLOPs are those that were counted, and stand on the roofline."""
    profile = told("convolutions")
    of = {row["module"]: row for row in profile["kernels"] if "conv" in row["name"]}
    assert of["model.0"]["flops"] == 2 * 8 * 14 * 14 * 4 * 9
    assert of["model.1"]["flops"] == 2 * 8 * 12 * 12 * 9
    assert of["model.2"]["flops"] == 2 * 8 * 12 * 12 * 4 * 16
    assert sum(row["flops"] for row in of.values()) == profile["facts"]["flops"]
    names = [point["name"] for point in profile["roofline"] if not point["name"].startswith("stage")]
    assert any("convolution" in name for name in names)
    counted = [point["flops"] for point in profile["roofline"] if not point["name"].startswith("stage")]
    assert sum(counted) == profile["facts"]["flops"]


def test_stages_of_a_generator_have_work_and_one_decode(tiny_generator_dir, capsys):
    """The prompt's own forward is prefill's; both stages' FLOPs are all of the call's."""
    profile = shown(capsys, str(tiny_generator_dir), "--generate", "--tokens", "4", "--quick")
    rows = [row for row in profile["stages"] if row["name"] in ("prefill", "decode")]
    assert [(row["name"], row["parent"], row["calls"]) for row in rows] == [
        ("prefill", "", 1),
        ("decode", "", 3),
    ]
    assert sum(row["flops"] for row in rows) == profile["facts"]["flops"]
    assert all(row["flops"] > 0 for row in rows)


def quartiles(low_ms, high_ms):
    return Timing(median_ms=(low_ms + high_ms) / 2, low_ms=low_ms, high_ms=high_ms, runs=9, warmup=3)


def compared(**more):
    rows = tuple(KernelRow(name=f"kernel_{at}", count=2, total_ms=1.0) for at in range(15))
    made = {"timing": quartiles(7.1, 7.3), "graphs": 1, **more}
    eager = Variant(name="eager", timing=quartiles(9.8, 10.2))
    said = "" if made["timing"] is None else verdict(eager.timing, made["timing"])
    fast = Variant(name="compile", gain=1.39, break_even_calls=40.0, kernels=rows, verdict=said, **made)
    device = DeviceSummary(name="cpu", kernels=1, device_events=1, correlated=1, span_ms=1, busy_share=1)
    return Profile(target="mine", source="live", device=device, wall_ms=1.0, variants=(eager, fast))


def test_a_gain_is_something_found(capsys):
    """Nothing else was found, but that was; and what is not shown of the kernels is counted."""
    show(compared())
    said = " ".join(capsys.readouterr().out.split())
    assert "Nothing was found" not in said
    assert "compile is 1.39x as fast as eager" in said
    assert "after 40 calls" in said
    assert "3 more, 6 kernels" in said


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({}, True),
        ({"graphs": None}, True),  # a library's kernel has no graphs
        ({"timing": quartiles(7.1, 9.9)}, False),
        ({"timing": quartiles(7.1, 9.8)}, False),
        ({"timing": None}, False),
    ],
)
def test_a_gain_within_the_noise_is_none(more, named):
    assert ("1.39x as fast" in nothing_found(compared(**more))) is named


def test_an_expectation_that_does_not_hold_differs():
    """As many as expected are no difference; fewer or more are one, with both figures."""
    rows = (KernelRow(name="a", count=5, total_ms=1.0),)

    def said(least, most):
        side = Side(name="compile", call=list, output=list, least_kernels=least, most_kernels=most)
        return differences(side, rows)

    assert said(0, 5) == said(5, 5) == said(None, None) == ()
    assert said(10, 10)[0].startswith("5 kernels were observed where 10 were expected")
    assert said(0, 4)[0].startswith("5 kernels were observed where at most 4 were expected")


def test_zero_is_refused(capsys, tmp_path):
    """Of each figure, before anything is loaded."""
    (tmp_path / "model_index.json").write_text("{}")
    for option in ("--steps", "--batch", "--tokens"):
        assert f"{option} 0 is too small" in refused(capsys, str(tmp_path), option, "0")


def test_events_that_nobody_understands_are_no_trace(capsys, tmp_path):
    """Neither named nor placed."""
    (tmp_path / "weird.json").write_text(
        '{"traceEvents":[{"ph":"X"},5,null,{"ph":"X","cat":"kernel","name":3,"ts":"a","dur":-1}]}'
    )
    assert "can be understood" in refused(capsys, str(tmp_path / "weird.json"))


def test_a_bare_decorator_is_told_what_to_write():
    """In the message itself: no hint is printed with a traceback."""
    import penstock.engine  # noqa: PLC0415 - with torch

    with pytest.raises(BadRequest) as caught:
        penstock.engine.profile(print)
    assert '@penstock.engine.profile("name")' in str(caught.value)


def test_sentences_end(capsys, tmp_path, monkeypatch):
    """Between what happened and what to do."""
    (tmp_path / "broken.py").write_text("def build():\n    raise ValueError('no weights')\n")
    monkeypatch.chdir(tmp_path)
    assert "no weights. " in refused(capsys, "broken.py:build", "--quick")

"""Equal layers as one row in what people read; sums are kept, and what is not equal stays apart."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.cli.main import run
from penstock.cli.profile_tables import show
from penstock.engine.lab import folding
from penstock.engine.lab.document import encoded
from penstock.engine.lab.figures import depths
from penstock.engine.lab.report.page import page
from penstock.engine.measure.records import UNATTRIBUTED, KernelRow, StageRow
from tests.engine.made import profile

KINDS = ("aten::addmm", "aten::gelu", "aten::native_layer_norm")
LAYERS = 60


def layered(count: int, *, odd: int = -1) -> tuple[tuple[StageRow, ...], tuple[KernelRow, ...]]:
    """Stages and kernels of a model of so many layers, each an attention and an MLP; the ``odd`` one has another kernel."""
    stages: list[StageRow] = [StageRow(name="embed", wall_ms=1.0, share=0.01)]
    kernels = [KernelRow(name="aten::embedding", count=1, total_ms=1.0, module="embed")]
    for at in range(count):
        name = f"layers.{at}"
        stages.append(StageRow(name=name, start_ms=1.0 + at, wall_ms=1.0, share=0.01, launches=3))
        for part, (inner, op) in enumerate(
            (("attn", KINDS[0]), ("mlp", KINDS[1] if at != odd else KINDS[2]))
        ):
            stages.append(StageRow(name=f"{name}.{inner}", parent=name, wall_ms=0.5, share=0.005, launches=1))
            kernels.append(
                KernelRow(name=op, count=2, total_ms=0.1 + part, module=f"{name}.{inner}", flops=10)
            )
    stages.append(StageRow(name=UNATTRIBUTED, wall_ms=2.0, share=0.02))
    return tuple(stages), tuple(kernels)


def test_sixty_equal_layers_are_one_row_with_its_parts():
    stages, kernels = layered(LAYERS)
    rows = [one.row for one in folding.stages(stages, kernels)]
    names = ["embed", "layers.0-59", "layers.0-59.attn", "layers.0-59.mlp", UNATTRIBUTED]
    assert [row.name for row in rows] == names
    assert depths(rows) == [0, 0, 1, 1, 0]
    assert folding.stages(stages, kernels)[1].label == "layers.0-59 x 60"
    assert folding.stages(stages, kernels)[1].median_ms == 1.0
    layer, attn = rows[1], rows[2]
    assert (layer.calls, layer.wall_ms, layer.start_ms, layer.launches) == (60, 60.0, 1.0, 180)
    assert (attn.parent, attn.calls, attn.launches, attn.flops) == ("layers.0-59", 60, 60, None)
    found = [one.row for one in folding.kernels(kernels)]
    assert [(row.name, row.module, row.count, row.flops) for row in found] == [
        (KINDS[1], "layers.0-59.mlp", 120, 600),
        (KINDS[0], "layers.0-59.attn", 120, 600),
        ("aten::embedding", "embed", 1, None),
    ]


def test_a_layer_that_launches_something_else_stays_apart():
    """And with it what is left of its neighbours is folded on either side."""
    stages, kernels = layered(10, odd=4)
    names = [one.row.name for one in folding.stages(stages, kernels) if not one.row.parent]
    assert names == ["embed", "layers.0-3", "layers.4", "layers.5-9", UNATTRIBUTED]
    modules = {one.row.module for one in folding.kernels(kernels) if one.row.name == KINDS[1]}
    assert modules == {"layers.0-3.mlp", "layers.5-9.mlp"}


def test_numbered_parts_of_several_kinds_are_not_equal():
    """A Sequential's members have numbers for names."""
    kinds = [*KINDS, *KINDS]
    stages = [StageRow(name=f"model.{at}", wall_ms=1.0, share=0.1) for at in range(6)]
    kernels = [
        KernelRow(name=kind, count=1, total_ms=1.0, module=f"model.{at}") for at, kind in enumerate(kinds)
    ]
    assert [one.row for one in folding.stages(stages, kernels)] == stages
    assert [one.row for one in folding.kernels(kernels)] == kernels
    assert {one.median_ms for one in folding.kernels(kernels)} == {None}


stage_rows = some.lists(
    some.builds(
        StageRow,
        name=some.sampled_from(
            ["a.0", "a.1", "a.2", "a.3", "a.4", "a.1.b", "a.2.b", "a.3.b", "a.3-5", "x", ""]
        ),
        parent=some.sampled_from(["", "", "a.1", "a.2", "a.3", "another thread"]),
        calls=some.integers(1, 2),
        wall_ms=some.integers(0, 9).map(float),
        share=some.just(0.125),
        flops=some.sampled_from([None, 5]),
        cost_nusd=some.sampled_from([None, 7]),
    ),
    max_size=25,
)
kernel_rows = some.lists(
    some.builds(
        KernelRow,
        name=some.sampled_from(["k", "l"]),
        count=some.integers(1, 2),
        total_ms=some.integers(0, 9).map(float),
        module=some.sampled_from(["a.0", "a.1", "a.2", "a.3", "a.1.b", "a.2.b", "a.3.b", "0.a.0", "1.a.0", "2.a.0", ""]),
    ),
    max_size=25,
)  # fmt: skip


@given(stages=stage_rows, kernels=kernel_rows)
def test_sums_are_kept_and_each_row_is_in_one(stages: list[StageRow], kernels: list[KernelRow]):
    found = folding.stages(stages, kernels)
    assert Counter(name for one in found for name in one.of) == Counter(row.name for row in stages)
    for field in ("calls", "wall_ms", "share"):
        assert sum(getattr(one.row, field) for one in found) == sum(getattr(row, field) for row in stages)
    for field in ("flops", "cost_nusd"):
        told = [getattr(row, field) or 0 for row in stages]
        assert sum(getattr(one.row, field) or 0 for one in found) == sum(told)
    assert all(len(one.walls_ms) == len(one.of) for one in found)
    assert sum(sum(one.walls_ms) for one in found) == sum(row.wall_ms for row in stages)
    both = folding.kernels(kernels)
    assert [sum(one.totals_ms) for one in both] == [one.row.total_ms for one in both]
    short = [one.row for one in both]
    assert sum(row.count for row in short) == sum(row.count for row in kernels)
    assert sum(row.total_ms for row in short) == sum(row.total_ms for row in kernels)
    assert [row.total_ms for row in short] == sorted((row.total_ms for row in short), reverse=True)


def test_tables_fold_and_json_keeps_all(capsys: pytest.CaptureFixture[str]):
    stages, kernels = layered(LAYERS)
    made = profile(stages=stages, kernels=kernels, timeline=())
    show(made)
    for said in (" ".join(capsys.readouterr().out.split()), page(made).replace("<wbr>", "")):
        assert "layers.0-59.attn x 60" in said
        assert "median of one" in said
        assert "Equal layers are one row" in said
        assert "layers.17" not in said
    assert encoded(made).count('"layers.17.attn"') == 2


def test_equal_layers_of_a_real_model():
    torch: Any = pytest.importorskip("torch")
    from penstock.engine.lab.session import profile as profiled  # noqa: PLC0415 - imports torch

    def layer() -> Any:
        return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.Linear(8, 8))

    model = torch.nn.ModuleDict({"head": torch.nn.Linear(8, 8)})
    model["layers"] = torch.nn.ModuleList(layer() for _ in range(12))
    x = torch.randn(4, 8)
    with torch.no_grad(), profiled("run", modules=model) as told:
        x = model["head"](x)
        for one in model["layers"]:
            x = one(x)
    rows = folding.stages(told.stages, told.kernels)
    tops = [one.row.name for one in rows if not one.row.parent]
    assert len(told.stages) == 2 + 12 * 4
    assert any(name.endswith("layers.0-11") for name in tops), tops
    assert len(rows) == 6
    sums = [one for one in folding.kernels(told.kernels) if one.row.name == "aten::gelu"]
    assert [(one.row.count, len(one.totals_ms)) for one in sums] == [(12, 12)]
    assert sums[0].module.endswith("layers.0-11.1 x 12")


BLOCKS = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(60))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

def build():
    return Model().eval(), torch.randn(2, 8)
"""


def test_sixty_blocks_of_a_real_model_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Four rows with the residual's, in the terminal and in the report; the JSON has each of the sixty."""
    pytest.importorskip("torch")
    (tmp_path / "blocks.py").write_text(BLOCKS)
    monkeypatch.chdir(tmp_path)
    words = ["profile", "blocks.py:build", "--quick", "--seconds", "0.1", "--report", "out.html"]
    assert run(words) == 0
    said = capsys.readouterr().out
    report = (tmp_path / "out.html").read_text(encoding="utf-8").replace("<wbr>", "")
    tables = [
        table for table in re.findall(r"<table>.*?</table>", report, re.DOTALL) if "median of one" in table
    ]
    assert len(tables) == 2  # stages, kernels
    for told in (said, *tables):
        assert "model.layers.0-59.up x 60" in told
        assert "model.layers.17" not in told
    assert "model.layers.0-59 x 60" in said
    assert "model.layers.0-59 x 60" in tables[0]
    assert run([*words[:5], "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["stages"]]
    assert {f"model.layers.{at}" for at in range(60)} <= set(names)

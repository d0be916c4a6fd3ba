"""``penstock profile`` of real things from the command line: a saved pipeline, a text generator, a module of the user's."""

import json
import os
import re
import subprocess
import sys

import pytest

from penstock.cli.main import run
from penstock.engine.measure import trace
from tests.engine import traces
from tests.engine.test_cli_profile import refused, shown
from tests.engine.test_profile_money_and_hops import ledger  # noqa: F401 - a fixture
from tests.engine.test_speedscope import held_to
from tests.house.source import SRC

torch = pytest.importorskip("torch")
MODULE = """
import torch
from torch import nn

print("the user's own words")

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.last = nn.Linear(32, 8)

    def forward(self, x):
        return self.last(nn.functional.gelu(self.first(x)))

def build():
    torch.manual_seed(0)
    return Model(), torch.randn(4, 16)

def broken():
    return Model(), torch.randn(4, 15)
"""


@pytest.fixture
def environ(tmp_path):
    """A user's shell: one thread, no network for weights."""
    return {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(SRC.parent), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip


def test_a_real_pipeline_from_the_command_line(tiny_sdxl_dir, environ, tmp_path):
    """Every stage of the pipeline; with the residual they sum to the wall time within 3 %; all files are written."""
    words = [
        str(tiny_sdxl_dir), "--steps", "2", "--shape", "64,64", "--quick", "--usd-per-hour", "2.49", "--json",
        "--report", "out.html", "--speedscope", "out.json", "--capture", "out.json.gz",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "profile", *words],
        env=environ, capture_output=True, text=True, timeout=55, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = {row["name"]: row for row in told["stages"] if not row["parent"]}
    assert {"encode_prompt", "unet", "vae", "scheduler", "postprocess", "unattributed"} <= set(rows)
    assert abs(sum(row["share"] for row in rows.values()) - 1) <= 0.03
    assert abs(sum(row["wall_ms"] for row in rows.values()) - told["wall_ms"]) <= 0.03 * told["wall_ms"]
    assert sum(row["cost_nusd"] for row in rows.values()) == told["cost_nusd"] > 0
    assert rows["unet"]["calls"] == 2
    assert rows["vae"]["calls"] == 1
    assert rows["unet"]["flops"] > 0
    assert rows["vae"]["flops"] > 0
    assert told["timing"]["runs"] >= 1
    assert told["timing"]["first_ms"] > 0
    assert told["machine"]["torch"] == torch.__version__
    assert any(row["module"].startswith("unet.") for row in told["kernels"])
    assert "timing without a profiler" in done.stderr
    steps = re.compile(r" *\d+\.\d s  \S|wrote |\d+ lines of libraries")  # none of their words or bars
    assert [line for line in done.stderr.splitlines() if not steps.match(line)] == []
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in page for name in rows)
    held_to(json.loads((tmp_path / "out.json").read_text(encoding="utf-8")))
    assert trace.load(tmp_path / "out.json.gz")


def test_a_module_of_the_user_s(tmp_path, capsys, monkeypatch):
    """Its children are its stages; what it prints is not on stdout; a variant that cannot be had says why."""
    (tmp_path / "ours.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    words = ["ours.py:build", "--quick", "--compare", "eager,kernels", "--seconds", "0.2", "--json"]
    assert run(["profile", *words]) == 0
    caught = capsys.readouterr()
    told = json.loads(caught.out)
    assert {"model.first", "model.last", "unattributed"} <= {row["name"] for row in told["stages"]}
    assert told["facts"]["flops"] == 2 * 4 * (16 * 32 + 32 * 8)
    assert "the user's own words" in caught.err
    eager, kernels = told["variants"]
    assert "2 x aten::addmm" in eager["expected"][0]
    assert {(row["name"], row["count"]) for row in eager["kernels"]} == {
        ("aten::addmm", 2),
        ("aten::gelu", 1),
    }
    assert "GEGLU" in kernels["refused"]
    (note,) = told["notes"]
    assert "training mode" in note


def test_a_module_that_fails(tmp_path, capsys, monkeypatch):
    """It is the user's mistake, with the line that raised."""
    (tmp_path / "mistaken.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    assert "mistaken.py:" in refused(capsys, "mistaken.py:broken", "--quick")


def test_a_generator(tiny_generator_dir, capsys):
    """Prefill and decode apart, the tokens counted by their calls."""
    told = shown(capsys, str(tiny_generator_dir), "--generate", "--tokens", "4", "--quick")
    rows = {row["name"]: row for row in told["stages"]}
    assert rows["prefill"]["calls"] == 1
    assert rows["decode"]["calls"] == 3
    assert "is --prompt" in refused(capsys, str(tiny_generator_dir), "--generate", "--shape", "4")


def test_a_capture_of_several_requests_is_cut(tmp_path, capsys, ledger):  # noqa: F811 - the fixture
    """From one request's note to the next one's; of a request that is not in it nothing is shown."""
    first, second, x = torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.randn(2, 8)

    def serve():
        for name, module in (("render-0", first), ("render-1", second)):
            with torch.profiler.record_function(f"penstock.trace:{name}"):
                pass
            module(x)

    path = str(traces.recorded(serve, tmp_path))
    assert shown(capsys, path)["trace_ids"] == ["render-0", "render-1"]
    told = shown(capsys, path, "--trace", "render-1", "--db", ledger)
    names = {row["name"] for row in told["kernels"]}
    assert "aten::native_layer_norm" in names
    assert "aten::addmm" not in names
    assert told["trace_ids"] == ["render-1"]
    assert not any("on trust" in line for line in told["warnings"])


def test_a_trace_of_ours_is_read_again(tmp_path, capsys):
    """What torch's profiler writes on this machine is a trace like any other."""
    linear, x = torch.nn.Linear(8, 8), torch.randn(2, 8)
    path = traces.recorded(lambda: linear(x), tmp_path)
    told = shown(capsys, str(path))
    assert told["device"]["name"] == "cpu"
    assert "aten::addmm" in [row["name"] for row in told["kernels"]]

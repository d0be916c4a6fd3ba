"""One short profile: its file, what is in it, one at a time, and everything put back."""

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from penstock.base.errors import BadRequest
from penstock.engine.measure import attribution, capture, stage_rows, timeline, trace
from penstock.engine.measure.records import UNATTRIBUTED
from penstock.engine.workloads.workload import StagePoint


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(8, 8)
        self.calls = 0

    def encode(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD + 1

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.relu(self.inner(self.encode(x_BD)))


def runner(model: Model) -> Any:
    x_BD = torch.ones(4, 8)

    def call() -> torch.Tensor:
        with torch.no_grad():
            return model(x_BD)

    return call


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_capture_is_read_by_our_own_parser(tmp_path: Path, name: str):
    """One run is kept, the warm-up is not; stages, modules and ops are found again."""
    model = Model()
    points = [StagePoint(model, "encode", "text"), StagePoint(model, "forward", "unet")]
    path = capture.capture(
        runner(model), path=tmp_path / "deep" / name, points=points, modules={"model": model}, warmup=3
    )
    assert model.calls == 4
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    line = timeline.build(trace.load(path))
    rows = {row.name: row for row in stage_rows.stages(line)}
    assert {"text", "unet", UNATTRIBUTED} == set(rows)
    assert rows["text"].parent == "unet"
    assert rows["unet"].calls == 1
    kernels = {(k.name, k.module): k.count for k in attribution.kernels(line)}
    assert kernels["aten::addmm", "model.inner"] == 1
    assert line.on_cpu


def events(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    return json.loads(data)["traceEvents"]


def test_shapes_memory_and_stacks_are_recorded_when_asked_for(tmp_path: Path):
    call = runner(Model())
    bare = events(capture.capture(call, path=tmp_path / "bare.json"))
    full = events(capture.capture(call, path=tmp_path / "full.json", shapes=True, stacks=True, memory=True))

    def has(found: list[dict[str, Any]]) -> tuple[bool, bool, bool]:
        return (
            any("Input Dims" in e.get("args", {}) for e in found),
            any(e.get("cat") == "python_function" for e in found),
            any(e["name"] == "[memory]" for e in found),
        )

    assert has(bare) == (False, False, False)
    assert has(events(capture.capture(call, path=tmp_path / "s.json", stacks=True))) == (False, True, False)
    assert has(full) == (True, True, True)


def test_work_on_other_threads_is_recorded(tmp_path: Path):
    def call() -> None:
        worker = threading.Thread(target=runner(Model()))
        worker.start()
        worker.join()

    found = events(capture.capture(call, path=tmp_path / "t.json"))
    assert [e["name"] for e in found].count("aten::addmm") == 1


def test_one_session_at_a_time(tmp_path: Path):
    """A second one is refused in words, ours or the user's own; the first goes on, and the next may begin."""
    call = runner(Model())
    with capture.session(tmp_path / "a.json") as taken:
        taken.begin("a")
        assert capture.under_way()
        with pytest.raises(BadRequest, match="one at a time") as refused:
            capture.capture(call, path=tmp_path / "b.json")
        assert refused.value.code == capture.UNDER_WAY
        call()
    assert taken.written
    assert not (tmp_path / "b.json").exists()
    users_own = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with users_own, pytest.raises(BadRequest, match="already running"):
        capture.capture(call, path=tmp_path / "b.json")
    capture.capture(call, path=tmp_path / "b.json")
    assert (tmp_path / "b.json").exists()


def test_a_call_that_fails_leaves_a_trace_and_nothing_else(tmp_path: Path):
    model = Model()
    before = dict(vars(model))

    def fails() -> None:
        runner(model)()
        raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        capture.capture(
            fails, path=tmp_path / "t.json", points=[StagePoint(model, "encode", "text")], warmup=0
        )
    assert {k: v for k, v in vars(model).items() if k != "calls"} == {
        k: v for k, v in before.items() if k != "calls"
    }
    assert "stage: text" in {e["name"] for e in events(tmp_path / "t.json")}
    with pytest.raises(RuntimeError):
        capture.capture(fails, path=tmp_path / "none.json", warmup=1)  # fails before anything was begun
    assert not (tmp_path / "none.json").exists()
    assert not capture.under_way()


def test_a_wrong_stage_is_refused_and_the_next_capture_works(tmp_path: Path):
    model = Model()
    with pytest.raises(BadRequest, match="no such method"):
        capture.capture(runner(model), path=tmp_path / "t.json", points=[StagePoint(model, "nothing", "x")])
    capture.capture(runner(model), path=tmp_path / "t.json")
    assert not capture.under_way()


def test_a_name_that_is_no_traces_is_refused(tmp_path: Path):
    with pytest.raises(BadRequest, match=r"no name for a trace"):
        capture.capture(lambda: None, path=tmp_path / "t.html")


def test_activities_follow_the_device():
    kinds = torch.profiler.ProfilerActivity
    assert capture.activities("cpu") == [kinds.CPU]
    assert capture.activities("cuda:1") == [kinds.CPU, kinds.CUDA]
    assert capture.activities("meta") == [kinds.CPU]

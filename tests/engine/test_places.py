"""Whose a line is: the user's own line beside the library's, in a live run and in a trace; and what an unnamed device is called."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penstock.engine.lab import from_trace
from penstock.engine.measure import counting, device_names, findings, places, stage_rows
from penstock.engine.measure.gaps import summary
from penstock.engine.measure.records import DEVICE_ALONE, SILENT, UNATTRIBUTED
from penstock.engine.measure.syncs import user_lines
from penstock.engine.measure.trace import Args, Event, Trace
from tests.engine import traces
from tests.engine.faults import found, look, module

HERE = "test_places.py"
LIBRARY = """
def halve_until_small(x):
    for _ in range(3):
        if x.abs().max().item() > 1:
            x = x / 2
    return x
"""


@pytest.fixture
def halving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed package that waits for the device in each round."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "halving.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("halving")
    sys.modules.pop("halving", None)


class Calls(nn.Module):
    """Calls the library, or does the same without a read."""

    def __init__(self, halve: Any) -> None:
        super().__init__()
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        return self.halve(x).exp()


def without_reading(x: Tensor) -> Tensor:
    for _ in range(3):
        x = torch.where(x.abs().max() > 1, x / 2, x)
    return x


def test_a_wait_in_a_library_names_the_users_own_line_too(halving: Any):
    """Both lines in the finding; where the wait is in the user's own code there is one; without it there is none."""
    workload = module(Calls(halving.halve_until_small), torch.full((2, 2), 100.0))
    (said,) = found(look(workload, counts=counting.count(workload.call)), "host-device-sync")
    assert "/site-packages/halving.py:4 in halve_until_small" in said.where
    assert said.caller.startswith(str(Path(__file__)))
    assert said.caller.endswith(" in forward")
    assert f"called from {said.caller} (3)" in said.evidence
    fixed = module(Calls(without_reading), torch.full((2, 2), 100.0))
    assert found(look(fixed, counts=counting.count(fixed.call)), "host-device-sync") == []


def test_the_users_own_line_has_no_other():
    where, caller = user_lines()
    assert where.startswith(str(Path(__file__)))
    assert caller == ""


def test_a_recorded_wait_in_a_library_names_both(tmp_path: Path):
    """In a trace with stacks, which names files from sys.path on: diffusers' scheduler looks for its step, three times."""
    from diffusers import EulerDiscreteScheduler  # noqa: PLC0415 - takes seconds, and only this test needs it

    scheduler: Any = EulerDiscreteScheduler()
    scheduler.set_timesteps(4)

    def steps() -> list[int]:
        return [scheduler.index_for_timestep(scheduler.timesteps[2]) for _ in range(3)]

    line = traces.of_cpu(steps, tmp_path, stacks=True)
    one = next(one for one in findings.of_timeline(line) if one.id == "host-device-sync")
    assert one.where.startswith("diffusers/schedulers/scheduling_euler_discrete.py(")
    assert HERE in one.caller
    assert f"called from {one.caller}" in one.evidence
    fixed = traces.of_cpu(lambda: scheduler.timesteps[2] * 2, tmp_path, stacks=True)
    assert "host-device-sync" not in {one.id for one in findings.of_timeline(fixed)}


@pytest.mark.parametrize(
    ("frame", "library"),
    [
        ("diffusers/image_processor.py(190): pt_to_numpy", True),
        ("/usr/lib/python3.12/site-packages/mine/x.py(3): f", True),
        ("/usr/lib/python3.12/logging/__init__.py(3): f", True),
        ("dataclasses.py(1286): <genexpr>", True),
        ("logging/__init__.py(1): debug", True),
        ("/app/xDiT/xfuser/runner.py(81): profile", False),
        ("moca/model.py(3): forward", False),
        ("run.py(12): main", False),
        ("C:/work/run.py(12): main", False),
    ],
)
def test_whose_a_recorded_frame_is(frame: str, library: bool):
    assert places.frame_in_library(frame) is library


# A device without a name


def test_an_unnamed_device_is_called_so_with_the_instruction_set_that_its_kernels_name():
    """Eight devices without a name; Tensile's kernels say gfx942. No card is concluded from it, nor its data sheet."""
    line = traces.real(traces.REPLAY)
    assert line.device == "unnamed GPU (device 2, gfx942)"
    told = from_trace.of_timeline(line, target="replay")
    assert (told.device.name, told.peaks) == (line.device, None)


def test_a_named_device_keeps_its_name():
    assert summary(traces.real(traces.B200)).name == "NVIDIA B200"


TENSILE = "Cijk_Alik_Bljk_BBS_BH_MT256x192x64_ISA{}_IU1"


@pytest.mark.parametrize(
    ("kernels", "call", "capability", "name"),
    [
        ([], "cudaLaunchKernel", (9, 0), "unnamed GPU (device 1, sm_90)"),
        ([], "hipLaunchKernel", (9, 4), "unnamed GPU (device 1)"),
        (["sm80_xmma_gemm", "cutlass_80_wmma"], "cudaLaunchKernel", None, "unnamed GPU (device 1)"),
        ([TENSILE.format("90a")], "hipLaunchKernel", (9, 0), "unnamed GPU (device 1, gfx90a)"),
        ([TENSILE.format("90a"), TENSILE.format("942")], "hipLaunchKernel", None, "unnamed GPU (device 1)"),
    ],
)
def test_what_a_trace_says_of_its_device(
    kernels: list[str], call: str, capability: tuple[int, int] | None, name: str
):
    """A kernel built for an older card runs on a newer one: on CUDA its name tells nothing."""
    event = Event(ph="X", cat="cuda_runtime", name=call, ts=1.0, dur=1.0, args=Args())
    known = {} if capability is None else {1: capability}
    assert device_names.told(Trace(events=(event,), capabilities=known), 1, kernels) == name


# What lies behind the host's last event


def test_the_replays_two_spans_behind_the_host_are_rows_of_their_own_and_declared():
    """125 ms without any event, then the device alone: 281 of 308 ms that no stage covers, and nothing left over."""
    line = traces.real(traces.REPLAY)
    rows = {row.name: row for row in stage_rows.stages(line)}
    assert list(rows)[-3:] == [SILENT, DEVICE_ALONE, UNATTRIBUTED]
    assert round(rows[SILENT].wall_ms, 1) == 124.9
    assert round(rows[DEVICE_ALONE].wall_ms, 1) == 156.5
    assert rows[UNATTRIBUTED].wall_ms < 0.01
    assert sum(row.wall_ms for row in rows.values()) == pytest.approx(stage_rows.wall_us(line) / 1e3)
    assert rows[SILENT].exposed_host_ms is None
    said = [one for one in from_trace.warnings(line) if SILENT in one or DEVICE_ALONE in one]
    assert len(said) == 2
    assert "423 of its events were launched before" in said[0]


@pytest.mark.parametrize("name", [traces.H100, traces.B200, traces.MI300X])
def test_a_host_that_waits_for_its_device_has_no_such_rows(name: str):
    assert stage_rows.after_the_host(traces.real(name)) == []
    assert {row.name for row in stage_rows.stages(traces.real(name))} & {SILENT, DEVICE_ALONE} == set()

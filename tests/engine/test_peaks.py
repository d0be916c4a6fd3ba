"""What devices can do: data sheets as printed, dense; measured peaks by a scripted clock and once by the real one."""

from typing import Any

import pytest
import torch

from penstock.base.errors import BadRequest
from penstock.engine.measure import datasheets, hardware, peaks


def test_every_gpu_that_the_command_knows_has_a_sheet():
    assert set(datasheets.SHEETS) == {"h100", "h200", "a100", "a10g", "b200", "mi300x"}
    for name in datasheets.SHEETS:
        sheet = peaks.sheet(name.upper())
        assert {"fp32", "tf32", "bf16", "fp16", "int8"} <= set(sheet.flops_per_s)
        assert "20" in sheet.source
        assert "dense" in sheet.source


@pytest.mark.parametrize("name", list(datasheets.SHEETS))
def test_sheets_are_dense_and_in_the_units_they_say(name: str):
    """Tensor cores double per halving of the type (MI300X and H100 alike): a sparse figure among dense ones would break it."""
    rates = datasheets.sheet(name).flops_per_s
    assert rates["bf16"] == rates["fp16"]
    assert rates["bf16"] / rates["tf32"] == pytest.approx(2, rel=0.05)
    assert rates["int8"] / rates["bf16"] == pytest.approx(2, rel=0.01)
    if "fp8" in rates:
        assert rates["fp8"] == rates["int8"]
    assert 1e13 < rates["fp32"] < rates["bf16"] < 1e16
    sheet = datasheets.sheet(name)
    assert 5e11 < sheet.bytes_per_s < 1e13
    assert sheet.memory_bytes is not None
    assert 2e10 < sheet.memory_bytes < 2e11


def test_the_published_bound_for_sdxl_on_an_h100_follows():
    """349 TFLOP an image: at most 2.84 a second at 100 % of bf16."""
    assert datasheets.sheet("h100").flops_per_s["bf16"] / 349e12 == pytest.approx(2.84, abs=0.01)


def test_an_unknown_gpu_is_refused_with_those_known():
    with pytest.raises(BadRequest, match="h900") as refused:
        peaks.sheet("h900")
    assert "h100" in refused.value.public()


@pytest.mark.parametrize(
    ("driver", "sheet"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", None),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A10", None),
        ("NVIDIA B200", "b200"),
        ("AMD Instinct MI300X", "mi300x"),
        ("AMD Instinct MI300X VF", "mi300x"),
        ("cpu", None),
    ],
)
def test_a_drivers_name_finds_the_sheet_of_that_very_card(driver: str, sheet: str | None):
    assert datasheets.of_device(driver) is (datasheets.SHEETS[sheet] if sheet else None)


class Script:
    """A stopwatch that reads what it is told, in seconds."""

    clock = "wall"

    def __init__(self, laps_ms: list[float]) -> None:
        self.laps_ms = laps_ms
        self.taken = 0

    def mark(self) -> int:
        self.taken += 1
        return self.taken

    def wait(self) -> None: ...

    def between_ms(self, first: Any, last: Any) -> float:
        assert last == first + 1
        return self.laps_ms[(last // 2 - 1) % len(self.laps_ms)]

    def wall_s(self) -> float:
        return 0.0

    def cpu_s(self) -> float | None:
        return None


def test_the_fastest_run_is_the_peak():
    assert peaks.best_s(lambda: None, Script([5.0, 2.0, 9.0]), 3) == pytest.approx(0.002)


def test_a_type_that_the_device_refuses_has_no_peak():
    def refuses() -> None:
        raise RuntimeError("not implemented for this type")

    assert peaks.best_s(refuses, Script([1.0]), 3) == 0.0


def test_figures_are_work_over_time():
    """2 x 64^3 FLOPs in 2 ms; a copy of half a MiB moves it twice."""
    effort = peaks.Effort(side=64, copy_bytes=2**20, repeats=2)
    found = peaks.probe("cpu", effort, Script([2.0]))
    assert found.flops_per_s["fp32"] == pytest.approx(2 * 64**3 / 0.002)
    assert found.bytes_per_s == pytest.approx(2**20 / 0.002)
    assert found.source.startswith("measured")
    assert found.device == "cpu"


def test_the_present_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(peaks.EFFORT, "cpu", peaks.Effort(side=128, copy_bytes=2**20, repeats=2))
    peaks.measured.cache_clear()
    first = peaks.measured("cpu")
    assert first is peaks.measured("cpu")
    assert first.flops_per_s["fp32"] > 0
    assert first.bytes_per_s > 0
    peaks.measured.cache_clear()


def test_the_machine_tells_what_figures_rest_on():
    facts = hardware.machine()
    assert facts["torch"] == torch.__version__
    assert {"cpu", "cpu_cores", "memory", "threads", "python", "os"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())


def test_a_cpus_name_is_read_from_linux():
    assert hardware.cpu_name("processor\t: 0\nmodel name\t: AMD EPYC 9B14\n") == "AMD EPYC 9B14"
    assert hardware.cpu_name("") == ""


def test_asking_changes_no_setting():
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    hardware.machine()
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == before

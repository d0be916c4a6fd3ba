"""What devices can do: data sheets as printed, dense; measured peaks by a scripted clock and once by the real one."""

from typing import Any
from unittest import mock

import pytest
import torch

from penstock.base.errors import BadRequest
from penstock.engine.measure import datasheets, hardware, inside, peaks, ports


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


PRECISIONS = {
    "nothing": lambda: None,
    "older": lambda: torch.set_float32_matmul_precision("high"),
    "newer": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
}


def precision() -> tuple[str, str]:
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = "refuses"
    return older, inside.fp32_precision()


@pytest.mark.parametrize("way", list(PRECISIONS))
def test_precision_is_read_and_set_by_either_way_and_put_back(way: str):
    """PyTorch has two ways to allow tf32 that do not mix: the older getter raises once the newer setter was used."""
    begun = torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
    try:
        PRECISIONS[way]()
        before = precision()
        for tf32, expected in ((True, "tf32"), (False, "ieee")):
            with pytest.raises(ZeroDivisionError), inside.matmul_precision(tf32=tf32):  # noqa: PT012 - it has to raise within
                assert inside.fp32_precision() == expected
                raise ZeroDivisionError
            assert precision() == before
        assert hardware.machine()["fp32_matmul"] == before[1]
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = begun


@pytest.mark.parametrize(
    ("kind", "capability", "rocm", "found"),
    [
        ("cpu", (0, 0), False, {"fp32"}),
        ("cuda", (7, 5), False, {"fp32", "fp16", "bf16"}),
        ("cuda", (8, 0), False, {"fp32", "fp16", "bf16", "tf32", "int8"}),
        ("cuda", (9, 0), False, {"fp32", "fp16", "bf16", "tf32", "int8", "fp8"}),
        ("cuda", (10, 0), False, {"fp32", "fp16", "bf16", "tf32", "int8", "fp8"}),
        ("cuda", (9, 0), True, {"fp32", "fp16", "bf16", "int8"}),
        ("cuda", (9, 4), True, {"fp32", "fp16", "bf16", "int8", "fp8"}),
    ],
)
def test_types_follow_the_generation(kind: str, capability: tuple[int, int], rocm: bool, found: set[str]):
    assert set(peaks.types(kind, capability, rocm=rocm, cpu_bf16=False)) == found
    assert "bf16" in peaks.types("cpu", (0, 0), rocm=False, cpu_bf16=True)


def test_every_probe_multiplies(monkeypatch: pytest.MonkeyPatch):
    """All types' GEMMs run, here on the CPU: what they compute is a product of that type."""
    monkeypatch.setattr(
        peaks, "types", lambda *given, **named: ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
    )
    for name, product in peaks.products("cpu", 32).items():
        out_NN = product()
        assert tuple(out_NN.shape) == (32, 32)
        if name in ("int8", "fp8"):
            assert bool((out_NN == 32).all())


def test_a_devices_port_calls_what_pytorch_has():
    """The CUDA stopwatch and allocator, against PyTorch's own signatures: a call that does not fit one fails."""
    with (
        mock.patch("torch.cuda.Event", autospec=True) as event,
        mock.patch("torch.cuda.synchronize", autospec=True) as synchronize,
        mock.patch("torch.cuda.current_stream", autospec=True) as stream,
    ):
        event.return_value.elapsed_time.return_value = 1.5
        clock = ports.CudaWatch("cuda:1")
        first, last = clock.mark(), clock.mark()
        clock.wait()
        assert clock.between_ms(first, last) == 1.5
        event.assert_called_with(enable_timing=True)
        event.return_value.record.assert_called_with(stream.return_value)
        stream.assert_called_with(torch.device("cuda:1"))
        synchronize.assert_called_once_with(torch.device("cuda:1"))
    with (
        mock.patch("torch.cuda.memory_allocated", autospec=True, return_value=3),
        mock.patch("torch.cuda.max_memory_allocated", autospec=True, return_value=5),
        mock.patch("torch.cuda.reset_peak_memory_stats", autospec=True) as reset,
    ):
        card = ports.CudaAllocator("cuda:1")
        card.reset()
        assert (card.now_bytes(), card.peak_bytes()) == (3, 5)
        reset.assert_called_once_with(torch.device("cuda:1"))


class Properties:
    """As the driver tells them."""

    name = "NVIDIA H100 80GB HBM3"
    total_memory = 80 * 2**30
    multi_processor_count = 132
    major, minor = 9, 0


def test_a_gpus_facts():
    with (
        mock.patch("torch.cuda.get_device_properties", autospec=True, return_value=Properties()),
        mock.patch("torch.cuda.get_device_name", autospec=True, return_value=Properties.name),
        mock.patch("torch.cuda.device_count", autospec=True, return_value=8),
    ):
        facts = hardware.machine("cuda:0")
        assert (facts["gpu"], facts["gpu_capability"], facts["gpu_count"]) == (Properties.name, "9.0", "8")
        assert facts["gpu_memory"] == "80.0 GiB"
        assert hardware.memory_bytes("cuda:0") == 80 * 2**30
        assert datasheets.of_device(hardware.device_name("cuda:0")) is datasheets.SHEETS["h100"]

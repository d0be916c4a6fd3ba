"""What devices can do: data sheets as printed, dense; measured peaks by a scripted clock and once by the real one."""

import json
import weakref
from typing import Any
from unittest import mock

import pytest
import torch

from penstock.base.errors import BadRequest
from penstock.engine.lab import from_trace
from penstock.engine.measure import datasheets, hardware, inside, peaks, ports, timeline, trace


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


def test_a_card_of_a_known_family_without_a_sheet_is_told_why():
    assert "MIG instance" in datasheets.why_none("NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    assert "PCIe" in datasheets.why_none("NVIDIA A100 80GB PCIe")
    assert datasheets.why_none("NVIDIA H100 80GB HBM3") == ""
    assert datasheets.why_none("NVIDIA T4 PCIe") == ""


@pytest.mark.parametrize(
    ("driver", "sheet"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA A100 80GB PCIe", None),
        ("NVIDIA H100 80GB HBM2e", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GH200 480GB", None),
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
    assert peaks.best_s(lambda: lambda: None, Script([5.0, 2.0, 9.0]), 3) == pytest.approx(0.002)


def test_a_type_that_the_device_refuses_has_no_peak():
    def refuses() -> None:
        raise RuntimeError("not implemented for this type")

    assert peaks.best_s(lambda: refuses, Script([1.0]), 3) == 0.0
    assert peaks.best_s(refuses, Script([1.0]), 3) == 0.0


def test_a_machine_without_memory_for_a_copy_has_no_measured_peaks():
    """The allocator refuses; the run goes on."""
    with pytest.raises(RuntimeError):
        torch.empty(2**50, dtype=torch.uint8)
    found = peaks.probe("cpu", peaks.Effort(side=64, copy_bytes=2**51), Script([1.0]), free_bytes=2**60)
    assert (found.flops_per_s, found.bytes_per_s) == ({}, 0.0)
    (warning,) = found.warnings
    assert "too little memory" in warning


def test_a_full_gpu_gets_its_sheet_with_a_warning():
    with (
        mock.patch("torch.cuda.get_device_properties", autospec=True, return_value=Properties()),
        mock.patch("torch.cuda.get_device_name", autospec=True, return_value=Properties.name),
        mock.patch("torch.cuda.mem_get_info", autospec=True, return_value=(2**28, 80 * 2**30)),
        mock.patch("torch.cuda.memory_reserved", autospec=True, return_value=2**27),
        mock.patch("torch.cuda.memory_allocated", autospec=True, return_value=2**26),
    ):
        assert hardware.free_bytes("cuda:0") == 2**28 + 2**26
        found = peaks.probe("cuda:0", peaks.EFFORT["cuda"], Script([1.0]))
    sheet = datasheets.SHEETS["h100"]
    assert (found.flops_per_s, found.bytes_per_s) == (sheet.flops_per_s, sheet.bytes_per_s)
    assert any("data sheet" in said for said in found.warnings)


def test_probes_fit_into_what_is_free():
    large = peaks.EFFORT["cuda"]
    assert peaks.fitted(large, 80 * 2**30) == large
    smaller = peaks.fitted(large, 3 * 2**30)
    assert smaller is not None
    assert (smaller.side, smaller.copy_bytes) == (8192, 2**30)
    assert peaks.fitted(large, 2**29) is None


def test_one_products_operands_are_gone_before_the_next_ones_are_made(monkeypatch: pytest.MonkeyPatch):
    alive: list[weakref.ref[Any]] = []
    plain = torch.randn

    def made(*given: Any, **named: Any) -> torch.Tensor:
        out = plain(*given, **named)
        alive.append(weakref.ref(out))
        return out

    monkeypatch.setattr(torch, "randn", made)
    monkeypatch.setattr(peaks, "types", lambda *given, **named: ("fp32", "bf16"))
    makers = peaks.products("cpu", 16)
    assert alive == []
    for make in makers.values():
        assert peaks.best_s(make, Script([1.0]), 1) > 0
        assert alive
        assert all(one() is None for one in alive)


def test_measuring_leaves_the_users_random_numbers_as_they_were():
    before = torch.get_rng_state()
    peaks.probe("cpu", peaks.Effort(side=16, copy_bytes=2**12), Script([1.0]))
    assert torch.equal(before, torch.get_rng_state())


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
    for name, make in peaks.products("cpu", 32).items():
        out_NN = make()()
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
        clock = ports.CudaWatch("cuda:1", now_s=lambda: 0.0)
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


def test_a_trace_from_a_card_without_a_sheet_says_so():
    """Two cards of one family: the figures of the one are not the other's."""
    events = [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 0, "dur": 10, "pid": 1, "tid": 1},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 1, "dur": 2, "pid": 1, "tid": 1,
         "args": {"correlation": 5}},
        {"ph": "X", "cat": "kernel", "name": "gemm", "ts": 20, "dur": 10, "pid": 0, "tid": 7,
         "args": {"device": 0, "stream": 7, "correlation": 5}},
    ]  # fmt: skip

    def seen(name: str) -> Any:
        told = {"traceEvents": events, "deviceProperties": [{"id": 0, "name": name}]}
        return from_trace.of_timeline(timeline.build(trace.load(json.dumps(told).encode())), target="t")

    assert seen("NVIDIA H100 80GB HBM3").peaks is not None
    assert not any("data sheet" in said for said in seen("NVIDIA H100 80GB HBM3").warnings)
    other = seen("NVIDIA H100 80GB HBM2e")
    assert other.peaks is None
    assert any("no data sheet for NVIDIA H100 80GB HBM2e" in said for said in other.warnings)

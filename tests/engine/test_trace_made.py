"""Traces written by hand: several processes, missing launches, work at once, names that speak to a terminal, many waits."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.text import Text
from torch.nn.attention import SDPBackend, sdpa_kernel

from penstock.cli.main import run
from penstock.cli.screen import printable, put
from penstock.engine.lab import from_trace
from penstock.engine.lab.points import bound
from penstock.engine.measure import (
    attribution,
    datasheets,
    findings,
    flops,
    gaps,
    roofline,
    shapes,
    stage_rows,
    timeline,
    trace,
)
from penstock.engine.measure.findings import waits
from penstock.engine.measure.findings.kernels import spent_us
from penstock.engine.measure.timeline import Timeline
from tests.engine import traces

Event = dict[str, Any]
H100_NAME = "NVIDIA H100 80GB HBM3"
WIDTH = {"float": 4, "c10::BFloat16": 2}


def x(cat: str, name: str, ts: float, dur: float, pid: int = 1, tid: int = 1, **args: Any) -> Event:
    """One complete event."""
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "pid": pid, "tid": tid, "args": args}


def packed(events: Iterable[Event], name: str = H100_NAME) -> bytes:
    return json.dumps({"traceEvents": list(events), "deviceProperties": [{"id": 0, "name": name}]}).encode()


def made(events: Iterable[Event], name: str = H100_NAME) -> Timeline:
    return timeline.build(trace.load(packed(events, name)))


def launched(
    at: float,
    dur: float,
    number: int,
    *,
    op: str = "aten::mm",
    name: str = "gemm",
    stream: int = 7,
    **args: Any,
) -> list[Event]:
    """An op, its launch and its kernel."""
    return [
        x("cpu_op", op, at, 3, tid=stream, **args),
        x("cuda_runtime", "cudaLaunchKernel", at + 1, 1, tid=stream, correlation=number),
        x("kernel", name, at + 4, dur, pid=0, tid=stream, device=0, stream=stream, correlation=number),
    ]


def test_math_attention_is_counted_as_the_products_that_it_runs(tmp_path: Path):
    """Its scale is no attention: two products, and nothing besides."""
    q_BHLD = torch.randn(2, 4, 64, 32)

    def attend() -> object:
        with sdpa_kernel([SDPBackend.MATH]):
            return F.scaled_dot_product_attention(q_BHLD, q_BHLD, q_BHLD)

    rows = attribution.kernels(traces.of_cpu(attend, tmp_path))
    assert sum(row.flops or 0 for row in rows) == 2 * 2 * 4 * 64 * 64 * (32 + 32)
    assert {row.name for row in rows if row.flops} == {"aten::bmm"}


def of_two(kernels: Iterable[Event], **second: Any) -> dict[str, str | None]:
    """Kernel -> its op, in a trace of two processes that both gave out id 5."""
    line = made(
        [
            x("cpu_op", "aten::A", 0, 10, pid=101),
            x("cuda_runtime", "cudaLaunchKernel", 1, 2, pid=101, correlation=5),
            x("cpu_op", "aten::B", 0, 10, pid=102),
            x("cuda_runtime", "cudaLaunchKernel", 1, 2, pid=102, correlation=5, **second),
            *kernels,
        ]
    )
    every = [*line.events, *(event for row in line.others.values() for event in row)]
    return {event.name: event.op.name if event.op else None for event in every}


def test_an_id_of_two_processes_is_no_launch_of_the_others():
    """Kineto's kernels carry their device where others carry the process: 0 and 1 are nobody's ids here."""
    a = x("kernel", "kA", 20, 10, pid=0, tid=7, device=0, stream=7, correlation=5)
    b = x("kernel", "kB", 25, 100, pid=1, tid=7, device=1, stream=7, correlation=5)
    assert of_two([a, b]) == {"kA": None, "kB": None}
    assert of_two([a, b], device=1) == {"kA": None, "kB": "aten::B"}
    assert of_two([{**a, "pid": 101}, {**b, "pid": 102}]) == {"kA": "aten::A", "kB": "aten::B"}


def test_a_device_that_is_numbered_like_a_process_is_not_taken_for_it():
    line = made(
        [
            *(x("cpu_op", f"aten::{pid}", 0, 10, pid=pid) for pid in (1, 2)),
            *(x("cuda_runtime", "cudaLaunchKernel", 1, 2, pid=pid, correlation=5) for pid in (1, 2)),
            x("kernel", "k", 25, 100, pid=1, tid=7, device=1, stream=7, correlation=5),
        ]
    )
    assert [event.op for event in line.events] == [None]


def test_a_thread_works_for_a_stage_of_its_own_process():
    other = [x("user_annotation", "stage: theirs", 0, 100, pid=1)]
    other += [event for i in range(4) for event in launched(10 * i, 5, 10 + i)]
    lone = [
        x("cpu_op", "aten::mm", 50, 3, pid=2),
        x("cuda_runtime", "cudaLaunchKernel", 51, 1, pid=2, correlation=90),
        x("kernel", "lone", 54, 5, pid=0, tid=9, device=0, stream=9, correlation=90),
    ]
    line = made([*[{**e, "tid": 1} if e["cat"] != "kernel" else e for e in other], *lone])
    assert {event.name: attribution.module_of(event.call) for event in line.events} == {
        "gemm": "theirs",
        "lone": "",
    }


def gemm(card: str, dtype: str, side: int, of_peak: float) -> tuple[Timeline, float]:
    """A square product at a share of its dtype's own peak (and of the bandwidth); and how long it took, in ms."""
    peaks = datasheets.sheet(card)
    named = {"fp32": "float", "bf16": "c10::BFloat16"}[dtype]
    moved = 3 * side * side * WIDTH[named]
    least_s = max(2 * side**3 / peaks.flops_per_s[dtype], moved / peaks.bytes_per_s)
    dur = least_s * 1e6 / of_peak
    sizes: dict[str, Any] = {"Input Dims": [[side, side], [side, side]], "Input type": [named, named]}
    return made(launched(0, dur, 1, **sizes), card), dur / 1e3


@pytest.mark.parametrize("card", ["h100", "b200", "mi300x"])
@pytest.mark.parametrize(("dtype", "side"), [("fp32", 8192), ("bf16", 8192), ("bf16", 2048)])
def test_a_product_is_held_against_the_peak_of_its_own_dtype(card: str, dtype: str, side: int):
    peaks = datasheets.sheet(card)
    line, ms = gemm(card, dtype, side, 0.95)
    (point,) = roofline.points(line, peaks)
    assert (point.bound, point.dtype) == ("compute", dtype)
    assert bound(int(point.flops), int(point.bytes), ms, 1, peaks, dtype) == "compute"
    assert [f.id for f in findings.of_timeline(line, peaks) if f.id.endswith("-bound")] == ["compute-bound"]


def test_without_a_dtype_only_what_holds_for_all_is_said():
    peaks = datasheets.sheet("b200")
    side = 2048
    _, ms = gemm("b200", "bf16", side, 0.8)
    assert bound(2 * side**3, 3 * side * side * 2, ms, 1, peaks) == ""
    assert bound(10**9, 10**12, 200.0, 1, peaks) == "memory"


def test_the_command_shows_the_points_of_the_timeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    line, ms = gemm("h100", "fp32", 4096, 0.95)
    sizes: dict[str, Any] = {"Input Dims": [[4096, 4096]] * 2, "Input type": ["float", "float"]}
    path = tmp_path / "gemm.json"
    path.write_bytes(packed(launched(0, ms * 1e3, 1, **sizes)))
    assert run(["profile", str(path), "--json"]) == 0
    (point,) = json.loads(capsys.readouterr().out)["roofline"]
    assert (point["bound"], point["dtype"]) == ("compute", "fp32")
    assert line.device == "h100"


def at_once(streams: int) -> Timeline:
    """Pointwise chains and copies on some streams, in each at the same times."""
    sizes: dict[str, Any] = {"Input Dims": [[1 << 20], [1 << 20]], "Input type": ["float", "float"]}
    events: list[Event] = []
    for stream in range(streams):
        for i in range(40):
            number = 1000 * stream + 2 * i + 1
            events += launched(10 * i, 4, number, op="aten::mul", name="mul", stream=stream, **sizes)
            events.append(
                x("gpu_memcpy", "Memcpy DtoD", 10 * i + 4, 4, pid=0, tid=stream, device=0, stream=stream)
            )
    return made(events)


@pytest.mark.parametrize("streams", [1, 4])
def test_what_runs_at_once_is_saved_once(streams: int):
    line = at_once(streams)
    told = {one.id: one for one in findings.of_timeline(line)}
    assert ("short-kernels" in told) == (streams > 1)  # 40 kernels are too few
    wall_ms = stage_rows.wall_us(line) / 1e3
    assert told["device-copies"].saves_ms == pytest.approx(40 * 4 / 1e3)
    for one in told.values():
        assert (one.saves_ms or 0.0) <= wall_ms
    assert told["device-copies"].facts["time_ms"] == pytest.approx(streams * 40 * 4 / 1e3)


def test_threads_of_a_cpu_save_no_more_than_the_run_took():
    """Four threads, each with the same chain at the same time."""
    sizes: dict[str, Any] = {"Input Dims": [[1 << 20], [1 << 20]], "Input type": ["float", "float"]}
    line = made(
        x("cpu_op", "aten::mul", 10 * i, 9, tid=thread, **sizes) for thread in range(4) for i in range(50)
    )
    (one,) = [f for f in findings.of_timeline(line) if f.id == "unfused-pointwise"]
    assert one.facts["time_ms"] == pytest.approx(4 * 50 * 9 / 1e3)
    assert (one.saves_ms or 0) == pytest.approx(spent_us(line.events) / 1e3) == pytest.approx(50 * 9 / 1e3)


def test_a_limit_is_of_the_time_in_which_anything_under_it_ran():
    """Two equal products at the same time on two streams: busy once, not twice."""
    sizes: dict[str, Any] = {"Input Dims": [[2048, 2048]] * 2, "Input type": ["c10::BFloat16"] * 2}
    line = made([e for s in (7, 8) for e in launched(0, 100, s, stream=s, **sizes)])
    (one,) = [f for f in findings.of_timeline(line, datasheets.sheet("h100")) if f.id == "compute-bound"]
    assert one.facts["time_ms"] == one.facts["busy_ms"] == pytest.approx(0.1)
    assert (one.saves_ms or 0) == pytest.approx(0.1 - 2 * 2 * 2048**3 / 989.4e12 * 1e3)


class Watched:
    """A gap that counts how often somebody looks at it."""

    looks = 0

    def __init__(self, start_us: float) -> None:
        self.start, self.kind = start_us, "host"

    @property
    def start_us(self) -> float:
        Watched.looks += 1
        return self.start

    @property
    def end_us(self) -> float:
        Watched.looks += 1
        return self.start + 5

    @property
    def dur_us(self) -> float:
        return 5.0


def test_each_wait_looks_its_gap_up():
    """One look at each gap and one for each wait, not one for each pair."""
    count = 3000
    found = [Watched(10.0 * i) for i in range(count)]
    spans = [timeline.Span("cudaStreamSynchronize", "call", 0, 10.0 * i, 10.0 * i + 2) for i in range(count)]
    late = [timeline.Span("cudaStreamSynchronize", "call", 0, 10.0 * i, 10.0 * i + 7) for i in range(count)]
    Watched.looks = 0
    hit = waits.ended_in(cast("Any", found), [timeline.Call(span) for span in (*spans[::2], *late)])
    assert [gap.start_us for gap in hit] == [20.0 * i for i in range(count // 2)]
    assert Watched.looks < 5 * count


EVIL = "gem\x1b]0;pwned\x07\x1b[31mRED\x9b2J\x7f"


def test_a_name_does_not_speak_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sizes: dict[str, Any] = {"Input Dims": [[1 << 20], [1 << 20]], "Input type": ["float", "float"]}
    events = [e for i in range(60) for e in launched(100 * i, 2, i + 1, name=EVIL, op="aten::mul", **sizes)]
    events.append(x("user_annotation", f"stage: {EVIL}", 0, 7000, tid=7))
    path = tmp_path / "esc.json"
    path.write_bytes(packed(events, f"H100 {EVIL}"))
    assert run(["profile", str(path)]) == 0
    out = capsys.readouterr().out
    assert "pwned" in out
    assert not [sign for sign in out if sign != "\n" and (ord(sign) < 32 or 127 <= ord(sign) < 160)]
    assert run(["profile", str(tmp_path / "no\x1b[31m.json")]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_text_for_people_keeps_its_lines_and_colours(capsys: pytest.CaptureFixture[str]):
    assert printable("a\tb\nc \x85é µ") == "a\tb\nc \ufffdé µ"
    put(Console(width=80), Text.assemble("a\x1b", ("b", "bold")))
    assert capsys.readouterr().out == "a\ufffdb\n"


def test_a_byte_order_mark_is_no_part_of_the_trace():
    data = packed(launched(0, 5, 1))
    assert len(trace.load(b"\xef\xbb\xbf" + data).events) == len(trace.load(data).events) == 3
    assert len(trace.load(b"\xef\xbb\xbf" + json.dumps(launched(0, 5, 1)).encode()).events) == 3


@pytest.mark.parametrize(("known", "reliable"), [(0, False), (29, False), (30, True), (60, True)])
def test_without_launches_nobody_says_what_the_device_waited_for(known: int, reliable: bool):
    """Of 60 kernels with gaps between them, that many have their launch in the trace."""
    events = [
        x("kernel", "k", 100 * i, 10, pid=0, tid=7, device=0, stream=7, correlation=i + 1) for i in range(60)
    ]
    events += [x("cuda_runtime", "cudaLaunchKernel", 100 * i - 2, 1, correlation=i + 1) for i in range(known)]
    line = made(events)
    told = gaps.summary(line)
    assert (told.correlated, told.reliable) == (known, reliable)
    assert (told.host_wait_ms is None, told.other_wait_ms is None) == (not reliable, not reliable)
    assert told.unreliable_because.startswith("" if reliable else f"{known} of 60 device events")
    found = {one.id for one in findings.of_timeline(line)}
    hosts = {"host-bound", "launch-bound", "idle-gaps", "host-device-sync", "runtime-queries"}
    assert bool(found & hosts) == reliable
    assert "graph-replay-unattributed" not in found


def test_waits_that_are_not_known_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "alone.json"
    path.write_bytes(
        packed(x("kernel", "k", 100 * i, 10, pid=0, tid=7, device=0, stream=7) for i in range(60))
    )
    assert run(["profile", str(path)]) == 0
    out = capsys.readouterr().out
    assert "waits for the host" not in out
    assert "0 of 60 device events have their launch" in out


def test_costs_and_gaps_are_worked_out_once(monkeypatch: pytest.MonkeyPatch):
    """However many ask: the rows, the stages, the roofline, the findings."""
    asked: list[str] = []
    real = shapes.cost

    def noted(op: timeline.Span) -> shapes.Cost | None:
        asked.append(op.name)
        return real(op)

    monkeypatch.setattr(shapes, "cost", noted)
    sizes: dict[str, Any] = {"Input Dims": [[64, 64]] * 2, "Input type": ["float"] * 2}
    line = made(e for i in range(20) for e in launched(50 * i, 5, i + 1, **sizes))
    from_trace.of_timeline(line, target="t")
    assert len(asked) == 20
    assert gaps.gaps(line) is gaps.gaps(line)
    assert line.busy() is line.busy()
    assert gaps.summary(line) is gaps.summary(line)
    assert gaps.gaps(made(launched(0, 5, 1))) == ()


def test_a_nan_costs_no_second_reader(monkeypatch: pytest.MonkeyPatch):
    """The standard library's takes several times the memory."""

    def never(text: str) -> object:
        raise AssertionError("read by the standard library")

    monkeypatch.setattr(json, "loads", never)
    odd = launched(0, 5, 1, occupancy=[float("nan"), -float("inf")], warps=float("inf"))
    odd.append(x("kernel", "nowhere", float("nan"), 1))
    read = trace.load(packed(odd))
    assert (len(read.events), read.skipped) == (3, 1)


@pytest.mark.parametrize(
    "name",
    ["_flash_attention_forward", "_efficient_attention_forward", "_scaled_dot_product_flash_attention"],
)
def test_a_formula_that_does_not_fit_the_call_counts_nothing(name: str):
    """Named arguments, which PyTorch's own formulas want in their places."""
    op = getattr(torch.ops.aten, name).default
    q_BHLD = torch.empty(1, 8, 16, 64, dtype=torch.bfloat16, device="meta")
    assert flops.of(op, (q_BHLD,), {"k": q_BHLD, "v": q_BHLD}, (q_BHLD,)) is None
    assert flops.looks_heavy(f"aten::{name}")

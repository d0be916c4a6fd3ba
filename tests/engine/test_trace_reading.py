"""The parser: what Kineto wrote, what others broke. Whatever the bytes, a trace or BadRequest."""

import gzip
import json
import os
import random
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.engine.lab import from_trace
from penstock.engine.measure import attribution, findings, gaps, stage_rows, timeline, trace
from tests.engine import traces
from tests.engine.traces import H100

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(trace.__file__).parents[3])}
EVENT = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 10.5, "dur": 2.0}


@cache
def small() -> tuple[dict[str, Any], ...]:
    """The H100 trace's first events of each kind: a real trace in miniature."""
    told = json.loads(gzip.decompress(traces.path(H100).read_bytes()))["traceEvents"]
    kept: list[dict[str, Any]] = []
    for category in (
        "user_annotation",
        "cpu_op",
        "cuda_runtime",
        "kernel",
        "gpu_memset",
        "python_function",
        "ac2g",
    ):
        kept += [event for event in told if event.get("cat") == category][:12]
    return tuple(kept)


def everything(data: bytes) -> None:
    """The whole way that a trace goes."""
    line = timeline.build(trace.load(data))
    gaps.summary(line)
    attribution.kernels(line)
    rows = stage_rows.stages(line, price_nusd_per_s=10)
    top = sum(row.wall_ms for row in rows if not row.parent)
    assert top * 1e3 == pytest.approx(stage_rows.wall_us(line), rel=1e-6, abs=1e-3)
    timeline.slices(line)
    findings.of_timeline(line)


def test_a_bare_list_of_events_is_a_trace_too():
    assert len(trace.load(json.dumps([EVENT]).encode()).events) == 1


def test_gzip_in_two_members():
    text = json.dumps({"traceEvents": [EVENT]}).encode()
    assert len(trace.load(gzip.compress(text[:30]) + gzip.compress(text[30:])).events) == 1


def test_a_trace_with_nan_and_broken_utf8_is_read():
    text = json.dumps({"traceEvents": [{**EVENT, "args": {"occupancy": float("nan")}}]}).encode()
    assert len(trace.load(text.replace(b"aten::mm", b"aten::\xff\xfe")).events) == 1


def test_broken_utf8_alone_costs_no_event():
    text = json.dumps({"traceEvents": [EVENT]}).encode()
    (event,) = trace.load(text.replace(b"aten::mm", b"aten::\xff\xfe")).events
    assert event.name == "aten::\ufffd\ufffd"


def test_odd_events_are_counted_not_fatal():
    odd = [
        EVENT,
        7,
        {**EVENT, "ts": "soon"},
        {**EVENT, "dur": -1},
        {**EVENT, "args": []},
        {**EVENT, "ts": 1e300},
    ]
    read = trace.load(json.dumps({"traceEvents": odd}).encode())
    assert (len(read.events), read.skipped) == (1, 5)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"[1,2]",
        b'{"traceEvents": 3}',
        b'{"traceEvents": []}',
        b'{"traceEvents": [{}]}',
        b"\x1f\x8b",
        b"\x1f\x8b\x08rubbish",
        gzip.compress(b"{}", mtime=0),  # these bytes name the test: no clock in them
        gzip.compress(json.dumps([EVENT]).encode(), mtime=0)[:-9],
        gzip.compress(b"x" * 5000, mtime=0)[:40],
        b"PK\x03\x04 a zip file",
        b"[" * 100_000,
        b'{"traceEvents": ' + b'[{"a":' * 50_000,
        "€ in utf-16".encode("utf-16"),
        zlib.compress(b"[]"),
    ],
)
def test_what_is_no_trace_is_told(data: bytes):
    with pytest.raises(BadRequest) as told:
        trace.load(data)
    assert told.value.param == "trace"


def test_no_such_file(tmp_path: Path):
    with pytest.raises(BadRequest, match="No such file"):
        trace.load(tmp_path / "nowhere.json")
    with pytest.raises(BadRequest, match="cannot be read"):
        trace.load(tmp_path)


def test_more_than_the_most_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trace, "MOST_BYTES", 1 << 16)
    with pytest.raises(BadRequest, match="larger than"):
        trace.load(gzip.compress(b" " * (1 << 20)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_damaged_real_trace_is_read_or_refused(seed: int, times: int):
    chance = random.Random(seed)
    data = bytearray(json.dumps({"traceEvents": small()[:40]}).encode())
    for _ in range(times):
        place = chance.randrange(len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[place] = chance.randrange(256)
        elif kind == 1:
            del data[place : place + chance.randrange(1, 40)]
        else:
            data[place:place] = chance.choice((b"[", b"}", b'"', b"1e999", b"null", b"-", b"\\u0000", b"{}"))
    packed = bytes(data)
    if chance.random() < 0.5:
        packed = bytearray(gzip.compress(packed))
        if chance.random() < 0.7:
            packed[chance.randrange(len(packed))] = chance.randrange(256)
        packed = bytes(packed[: chance.randrange(1, len(packed) + 1)])
    try:
        everything(packed)
    except BadRequest as told:
        assert told.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELD = st.sampled_from(
    ["ph", "cat", "name", "pid", "tid", "ts", "dur", "args", "correlation", "device", "stream", "bytes", "Input Dims",
     "Input type", "Concrete Inputs"]
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 35), FIELD, JSON), max_size=6))
def test_any_value_in_any_field_is_read_or_refused(changes: list[tuple[int, str, Any]]):
    events = json.loads(json.dumps(small()[:36]))
    for place, name, value in changes:
        event = events[place % len(events)]
        inside = event.get("args")
        if name in event or not isinstance(inside, dict):
            event[name] = value
        else:
            inside[name] = value
    try:
        everything(json.dumps({"traceEvents": events}).encode())
    except BadRequest as told:
        assert told.message


DEVICE = st.tuples(st.integers(0, 3000), st.integers(0, 200), st.integers(0, 3), st.integers(-300, 100))


@settings(max_examples=150, deadline=None)
@given(st.lists(DEVICE, min_size=1, max_size=40))
def test_busy_and_gaps_are_the_span_for_any_events(rows: list[tuple[int, int, int, int]]):
    """Kernels on some streams, launched early or (as clocks drift) late, overlapping as they like."""
    events: list[dict[str, Any]] = []
    for number, (start, dur, stream, ahead) in enumerate(rows):
        events.append(
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": start + ahead, "dur": 2,
             "args": {"correlation": number + 1}}
        )  # fmt: skip
        events.append(
            {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": stream, "ts": start, "dur": dur,
             "args": {"correlation": number + 1, "device": 0, "stream": stream}}
        )  # fmt: skip
    told = gaps.summary(timeline.build(trace.load(json.dumps(events).encode())))
    waits = told.host_wait_ms + told.kernel_wait_ms + told.other_wait_ms
    assert told.busy_share * told.span_ms + waits == pytest.approx(told.span_ms, abs=1e-9)
    assert told.correlated == len(rows)


RANGE = st.tuples(st.integers(0, 200), st.integers(0, 80), st.sampled_from("abcd"), st.integers(1, 3))


@settings(max_examples=200, deadline=None)
@given(st.lists(RANGE, min_size=1, max_size=15))
def test_stages_and_residual_are_the_wall_time_for_any_ranges(rows: list[tuple[int, int, str, int]]):
    """Nested, crossing (as damaged traces have them), on several threads, of equal names."""
    events = [
        {"ph": "X", "cat": "user_annotation", "name": name, "pid": 1, "tid": thread, "ts": start, "dur": dur}
        for start, dur, name, thread in rows
    ]
    line = timeline.build(trace.load(json.dumps(events).encode()))
    told = stage_rows.stages(line, price_nusd_per_s=1_000_000)
    top = [row for row in told if not row.parent]
    assert sum(row.wall_ms for row in top) * 1e3 == pytest.approx(stage_rows.wall_us(line))
    assert top[-1].name == "unattributed"
    assert min(row.wall_ms for row in told) >= 0


def test_a_trace_needs_no_torch():
    """In a process that cannot import it."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from penstock.engine.lab.from_trace import profile_of_trace\n"
        f"print(profile_of_trace(Path({str(traces.path(H100))!r})).findings[0].id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.strip() == "launch-bound"


def test_the_whole_profile_of_a_trace():
    told = from_trace.profile_of_trace(traces.path(H100), price_nusd_per_s=1_000_000)
    assert told.wall_ms == pytest.approx(7.894065)
    assert told.cost_nusd == 7894
    assert sum(row.cost_nusd or 0 for row in told.stages if not row.parent) == pytest.approx(
        told.cost_nusd, abs=3
    )
    assert any("with_stack" in warning for warning in told.warnings)
    assert told.findings[0].id == "launch-bound"
    assert told.facts == {"threads": 1, "waits": 2, "steps": 1, "peak_memory_bytes": 231_332_864}
    assert told.timeline

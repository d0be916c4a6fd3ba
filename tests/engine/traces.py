"""The real GPU traces beside the repository, and traces that a test records itself on the CPU."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from penstock.engine.measure import timeline, trace
from penstock.engine.measure.timeline import Timeline

H100 = "h100_vit_classifier"
B200 = "b200_vllm_eager"
MI300X = "mi300x_sd35_xdit"
REPLAY = "vllm_graph_replay"
ALL = (H100, B200, MI300X, REPLAY)
HERE = Path(__file__).resolve()


def path(name: str) -> Path:
    """``../shared/traces/<name>.json.gz``, looked for beside each folder above this file; skips where it is missing."""
    told = os.environ.get("PENSTOCK_TRACES")
    folders = [Path(told)] if told else [folder / "shared" / "traces" for folder in HERE.parents]
    for folder in folders:
        found = folder / f"{name}.json.gz"
        if found.is_file():
            return found
    pytest.skip(f"NOT TESTED: {name}.json.gz is in none of {', '.join(map(str, folders))}")


@cache
def real(name: str) -> Timeline:
    """The timeline of one of the real traces, read once."""
    return timeline.build(trace.load(path(name)))


def recorded(call: Callable[[], object], folder: Path, *, stacks: bool = False) -> Path:
    """A trace that torch's profiler writes of one call on this CPU, after one to warm up."""
    import torch  # noqa: PLC0415 - tests of trace files do without it
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415

    torch.set_num_threads(1)
    with torch.no_grad():
        call()
        with profile(
            activities=[ProfilerActivity.CPU], record_shapes=True, with_stack=stacks, with_modules=stacks
        ) as profiler:
            call()
    target = folder / "cpu.json.gz"
    profiler.export_chrome_trace(str(target))
    return target


def of_cpu(call: Callable[[], Any], folder: Path, *, stacks: bool = False) -> Timeline:
    """Its timeline."""
    return timeline.build(trace.load(recorded(call, folder, stacks=stacks)))

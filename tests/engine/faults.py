"""Workloads with a fault in them, and what is found on them: for the tests of the live findings."""

from typing import Any

import torch
from msgspec import structs
from torch._dynamo import utils as dynamo

from penstock.engine.lab import probes
from penstock.engine.measure.findings import live
from penstock.engine.measure.records import Finding, Peaks
from penstock.engine.measure.seen import Seen
from penstock.engine.workloads.module import ModuleWorkload
from penstock.engine.workloads.pipeline import PipelineWorkload

torch.set_num_threads(1)

CARD = Peaks(
    device="a card",
    flops_per_s={"fp32": 67e12, "tf32": 495e12, "bf16": 989e12},
    bytes_per_s=3.35e12,
    memory_bytes=80 * 2**30,
    source="data sheet",
)
"""An H100's figures, for rules that need some."""


def forget() -> None:
    """Dynamo begins anew."""
    torch._dynamo.reset()
    dynamo.clear_compilation_metrics()
    dynamo.counters.clear()
    torch._dynamo.config.capture_scalar_outputs = False


def module(root: Any, *inputs: Any, **named: Any) -> ModuleWorkload:
    """A module with its inputs."""
    return ModuleWorkload("module", root, inputs, named)


def pipeline(pipe: Any, *, steps: int = 2, batch: int = 1, side: int = 64, **more: Any) -> PipelineWorkload:
    """A pipeline, called as a user would."""
    given = {"prompt": ["a red lamp"] * batch, "num_inference_steps": steps, "height": side, "width": side}
    pipe.set_progress_bar_config(disable=True)
    return PipelineWorkload("pipeline", pipe, {**given, **more})


def look(workload: Any, *, deep: bool = False, **more: Any) -> Seen:
    """Probe it; nothing may have been skipped."""
    seen = probes.probe(workload, deep=deep, **more)
    assert seen.skipped == (), seen.skipped
    return seen


def found(seen: Seen, kind: str, *, peaks: Peaks | None = None) -> list[Finding]:
    """The findings of one id. Whatever was found says what its bound rests on, or why it has none."""
    told = live.of_seen(seen, peaks)
    assert all(one.bound for one in told), [one.id for one in told if not one.bound]
    return [one for one in told if one.id == kind]


def on_gpu(seen: Seen) -> Seen:
    """The same evidence, had it been gathered on a GPU."""
    return structs.replace(seen, device="cuda:0")


def code(finding: Finding) -> str:
    """What a fix says to write: everything after its sentence."""
    return finding.fix.partition("\n")[2]


def mend(finding: Finding, **names: Any) -> dict[str, Any]:
    """Run the fix's code with the user's objects; the names it leaves."""
    space: dict[str, Any] = {"torch": torch, **names}
    exec(code(finding), space)
    return space

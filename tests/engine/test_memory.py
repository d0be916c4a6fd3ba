"""Memory by stage and step: exact on the CPU by allocation records, on a device by a scripted allocator like CUDA's."""

from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.measure import memory
from penstock.engine.workloads.workload import StagePoint

KIB = 1024


class Pipe:
    """Allocates what it says: text 4 KiB kept, unet 64 KiB for a while, vae 16 KiB returned."""

    def __init__(self, *, leaks: bool = False) -> None:
        self.leaks = leaks
        self.kept: list[torch.Tensor] = []

    def text(self) -> torch.Tensor:
        return torch.ones(4 * KIB, dtype=torch.uint8)

    def unet(self) -> None:
        scratch = torch.ones(64 * KIB, dtype=torch.uint8)
        if self.leaks:
            self.kept.append(scratch[:1].clone().expand(1).repeat(KIB))

    def vae(self) -> torch.Tensor:
        return torch.ones(16 * KIB, dtype=torch.uint8)

    def __call__(self) -> torch.Tensor:
        words = self.text()
        for _ in range(4):
            self.unet()
        image = self.vae()
        del words
        return image


def points(pipe: Any) -> list[StagePoint]:
    return [StagePoint(pipe, name, name) for name in ("text", "unet", "vae")]


def test_peaks_of_a_cpu_run_are_exact():
    pipe = Pipe()
    found = memory.seen(pipe, points=points(pipe))
    assert found.by_stage == {"text": 4 * KIB, "unet": 68 * KIB, "vae": 20 * KIB}
    assert found.peak_bytes == 68 * KIB
    assert found.after["unet"] == [4 * KIB] * 4
    assert found.end_bytes in (0, 16 * KIB)  # the output may be dropped just before or after the run's end
    assert memory.growth_per_step_bytes(found.after["unet"]) == 0


def test_a_leak_is_its_bytes_a_step():
    """Each step keeps 1 KiB, in a list that outlives the run."""
    pipe = Pipe(leaks=True)
    found = memory.seen(pipe, points=points(pipe))
    assert memory.growth_per_step_bytes(found.after["unet"]) == KIB


def test_a_trace_without_allocation_records_says_nothing(tmp_path: Path):
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": [{"ph": "X", "name": "aten::mm", "cat": "cpu_op", "ts": 1, "dur": 2}]}')
    assert memory.of_trace(path) == memory.MemorySeen(peak_bytes=0)


class Card:
    """A device's allocator in script: what is live, and the most since the last reset."""

    def __init__(self, weights: int) -> None:
        self.live = weights
        self.top = weights

    def take(self, size: int) -> None:
        self.live += size
        self.top = max(self.top, self.live)

    def give(self, size: int) -> None:
        self.live -= size

    def now_bytes(self) -> int:
        return self.live

    def peak_bytes(self) -> int:
        return self.top

    def reset(self) -> None:
        self.top = self.live


class OnCard:
    """As a pipeline on a device: the denoiser holds a nested attention; each step may keep something."""

    def __init__(self, card: Card, keeps: int = 0) -> None:
        self.card = card
        self.keeps = keeps

    def attention(self) -> None:
        self.card.take(500)
        self.card.give(500)

    def unet(self) -> None:
        self.card.take(200)
        self.attention()
        self.card.give(200 - self.keeps)

    def vae(self) -> None:
        self.card.take(300)

    def __call__(self) -> None:
        self.card.take(50)
        for _ in range(4):
            self.unet()
        self.vae()


def on_card(keeps: int) -> memory.MemorySeen:
    card = Card(weights=10_000)
    card.take(99_999)  # an earlier peak, which is not this run's
    card.give(99_999)
    pipe = OnCard(card, keeps)
    stages = [StagePoint(pipe, name, name) for name in ("attention", "unet", "vae")]
    return memory.metered(pipe, points=stages, allocator=card)


def test_a_devices_peak_belongs_to_every_open_stage():
    found = on_card(keeps=0)
    assert found.start_bytes == 10_000
    assert found.by_stage == {"unet": 750, "attention": 750, "vae": 350}
    assert (found.peak_bytes, found.end_bytes) == (750, 350)
    assert found.after["unet"] == [50] * 4


def test_growth_on_a_device():
    found = on_card(keeps=7)
    assert memory.growth_per_step_bytes(found.after["unet"]) == 7
    assert found.by_stage["unet"] == 750 + 3 * 7


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(3, 50), st.integers(0, 10**9))
def test_growth_is_the_slope_whatever_the_first_step_keeps(base: int, slope: int, steps: int, first: int):
    after = [first, *(base + slope * step for step in range(steps))]
    assert memory.growth_per_step_bytes(after) == slope
    assert memory.growth_per_step_bytes(after[:2]) == 0


def test_a_scheduler_that_fills_its_history_is_no_leak(tiny_sdxl: Any):
    """DPM++ 2M keeps two outputs: the second step still adds one, no later step does."""
    pipe = tiny_sdxl

    def call() -> Any:
        return pipe("a red lamp", num_inference_steps=4, height=64, width=64, output_type="pt")

    stages = [StagePoint(pipe.unet, "forward", "unet"), StagePoint(pipe.vae, "decode", "vae")]
    found = memory.seen(call, points=stages)
    after = found.after["unet"]
    assert after[2] > after[1]
    assert memory.growth_per_step_bytes(after) == 0
    assert found.by_stage["vae"] > found.by_stage["unet"] > 0

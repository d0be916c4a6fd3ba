"""What looks like a fault and is none: reads of a result, calls that feed each other, nightlies, compiled layouts."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from penstock.engine.lab.probes import packages
from penstock.engine.lab.probes.patches import Patches
from penstock.engine.measure import counting
from penstock.engine.measure.findings import environment, syncs
from penstock.engine.measure.seen import Package, Seen, SyncPoint
from tests.engine import faults
from tests.engine.faults import found, look, module
from tests.engine.test_finding_pipeline import Sequential


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Dynamo begins anew in each test."""
    faults.forget()
    yield
    faults.forget()


class Reads(nn.Module):
    """Reads values: its result at the end, and each round's where ``rounds`` are asked for."""

    def __init__(self, *, rounds: int = 0) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.rounds = rounds

    def forward(self, x: Tensor) -> list[Any]:
        for _ in range(self.rounds):
            x = self.linear(x)
            x = x / x.abs().max().item()
        return self.linear(x).cpu().tolist()


def test_reading_the_result_is_no_fault_and_reading_each_round_is():
    """One step: a module's call, a pipeline with ``--steps 1``."""
    x = torch.randn(2, 8)
    assert found(look(module(Reads(), x), deep=True), "host-device-sync") == []
    assert found(look(module(Reads(rounds=1), x), deep=True), "host-device-sync") == []
    (said,) = found(look(module(Reads(rounds=3), x), deep=True), "host-device-sync")
    assert (said.evidence.split(":")[0], said.facts["count"]) == ("item", 3)


def test_reads_after_the_last_launch_are_told_apart():
    """Two results, read one after the other on one line: nothing is launched behind either."""
    with torch.no_grad():
        twice = counting.count(lambda: [(one + 1).sum() for one in torch.ones(2, 3)])
        assert twice.syncs == ()
        counts = counting.count(lambda: [one.cpu() for one in (torch.ones(2, 3) + 1).unbind()])
        (copies,) = counts.syncs
        assert (copies.count, copies.final) == (2, 2)
        (items,) = counting.count(lambda: [(one + 1).sum().item() for one in torch.ones(2, 3)]).syncs
        assert (items.count, items.final) == (2, 1)
        (asked,) = counting.count(lambda: torch.ones(3).nonzero()).syncs
        assert asked.final == 0  # it goes on to launch what it has asked the size for


@pytest.mark.parametrize(
    ("count", "final", "steps", "told"),
    [(1, 0, 1, False), (2, 0, 1, True), (2, 1, 1, True), (2, 2, 1, False), (3, 1, 3, True), (3, 3, 3, False), (2, 0, 3, False)],
)  # fmt: skip
def test_the_rule_on_waits(count: int, final: int, steps: int, told: bool):
    point = SyncPoint(op="item", where="a.py:1 in f", count=count, final=final)
    assert bool(syncs.find(Seen(steps=steps, syncs=(point,)))) == told


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 40)

    def forward(self, ids: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        return self.head(self.embedding(ids) + encoder_hidden_states.mean(1, keepdim=True)).argmax(-1)


class Cell(nn.Module):
    """One step of a recurrence: a constant condition, and its own last state."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, condition: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.linear(condition + state))


class Looped:
    """A part in a loop, each call given what the call before gave."""

    kind, batch, device, name = "pipeline", 2, "cpu", "looped"

    def __init__(self, part: nn.Module, steps: int, *, summed: bool = False) -> None:
        torch.manual_seed(0)
        self.part, self.root, self.steps, self.summed = part, self, steps, summed
        self.condition = torch.randn(2, 5, 16)

    def call(self) -> Tensor:
        with torch.no_grad():
            if isinstance(self.part, Decoder):
                ids = torch.ones(2, 1, dtype=torch.long)
                for i in range(self.steps):
                    last = self.part(ids[:, -1:] % 40 + i, encoder_hidden_states=self.condition)
                    ids = torch.cat([ids, last], 1)
                return ids
            state = torch.zeros(2, 5, 16)
            for _ in range(self.steps):
                given = self.part(self.condition, state)
                state = state + given if self.summed else given
            return state

    def stages(self) -> tuple[Any, ...]:
        return ()

    def modules(self) -> dict[str, Any]:
        return {"part": self.part}

    def with_batch(self, batch: int) -> None:
        return None


@pytest.mark.parametrize(
    "workload",
    [
        Looped(Decoder(), 6),
        Looped(Decoder(), 2),
        Looped(Cell(), 2),
        Looped(Cell(), 6),
        Looped(Cell(), 6, summed=True),
    ],
)
def test_calls_that_need_each_other_are_no_guidance(workload: Looped):
    """Token ids, a state that is fed back, a state that is fed back with something added: none can be batched."""
    assert look(workload).guided == ()


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(
        self, sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, attention_mask: Tensor
    ) -> Tensor:
        return (
            self.linear(sample) * float(timestep)
            + (encoder_hidden_states * attention_mask[:, None, :, None]).sum()
        )


class Guided(Sequential):
    """Two calls a step, at one time or at two; their prompts' masks differ."""

    def __init__(self, *, apart: Any) -> None:
        super().__init__(Denoiser())
        self.apart = apart

    def twice(self, sample: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        masks = torch.tensor([[1, 1, 0]]), torch.tensor([[1, 1, 1]])
        conditions = torch.ones(1, 1, 3, 8), torch.zeros(1, 1, 3, 8)
        first, second = (
            self.unet(sample, self.time(timestep, one), conditions[one], masks[one]) for one in (0, 1)
        )
        return first, second

    def time(self, timestep: Tensor, one: int) -> Any:
        return self.apart(float(timestep) * 1e-3 + 0.1 * one)


def test_guidance_with_masks_is_found_and_two_times_are_no_guidance():
    (pair,) = look(Guided(apart=lambda _: torch.tensor(0.5))).guided
    assert (pair.pairs, pair.differing) == (3, ("encoder_hidden_states", "attention_mask"))
    assert look(Guided(apart=torch.tensor)).guided == ()
    assert look(Guided(apart=float)).guided == ()


def test_what_the_run_itself_took_away_is_put_back_with_the_rest():
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    first, second = Plain(), Plain()
    before = dict(first.__dict__), dict(second.__dict__)
    with Patches() as held:
        for one in (first, second):
            held.wrap(one, "forward", lambda original: lambda *given: original(*given))
        del second.__dict__["forward"]
    assert (first.__dict__, second.__dict__) == before


@pytest.mark.parametrize(
    ("installed", "line", "fits"),
    [
        ("2.14.0.dev20260101+cu130", "torch==2.14.0.dev20260101", True),
        ("2.14.0.dev20260102+cu130", "torch==2.14.0.dev20260101", False),
        ("2.14.0a0+git1234567", "torch (==2.14.0a0)", True),
        ("2.14.0rc1", "torch==2.14.0", False),
        ("2.13.0+cpu", "torch==2.13.0", True),
        ("2.13.0+cpu", "torch==2.13", True),
        ("2.13.0+cpu", "torch==2.13.0+cpu", True),
        ("2.13.1+cpu", "torch==2.13.0", False),
        ("2.13.1+cpu", "torch==2.13.*", True),
        ("2.130.0", "torch==2.13.*", False),
        ("2.10.0", "torch==2.1", False),
        ("2.13.0", 'torch==2.13.0; python_version < "4"', True),
    ],
)
def test_versions_are_compared_whole(installed: str, line: str, fits: bool):
    """By what the package's metadata says, as ``pip`` would."""
    wants = packages.wanted([line])
    package = Package(name="torchvision", version="0.29", wants_torch=wants, torch_version=installed)
    assert bool(wants)
    assert (environment.broken(package) == []) is fits


def convs() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))


def test_compiled_convolutions_are_laid_out_by_the_compiler():
    """Not run through Inductor: the layout of a compiled region is nobody's to tell, whatever compiles it."""
    x = torch.randn(1, 3, 16, 16)
    (said,) = found(look(module(convs(), x)), "missing-channels-last")
    assert "may transpose" in said.evidence
    assert found(look(module(torch.compile(convs(), backend="eager"), x)), "missing-channels-last") == []
    half = nn.Sequential(convs(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    half[0] = torch.compile(half[0], backend="eager")
    (said,) = found(look(module(half, x)), "missing-channels-last")
    assert (said.facts["convs"], said.facts["channels_first"]) == (4, 2)

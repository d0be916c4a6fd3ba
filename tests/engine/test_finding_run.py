"""Faults of a whole run: batch scaling, a cold first call, memory, a figure beyond the peak, packages, syncs; and what a probe may do."""

import gc
import importlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs
from torch import Tensor, nn
from torch._dynamo import utils as dynamo
from torch.utils._python_dispatch import TorchDispatchMode

from penstock.engine.lab import probes
from penstock.engine.lab.probes import packages, patches, tensors
from penstock.engine.measure import counting
from penstock.engine.measure.findings import environment, roof, scaling, steps, syncs
from penstock.engine.measure.findings.live import of_seen
from penstock.engine.measure.records import Peaks, Timing
from penstock.engine.measure.seen import Memory, Package, Part, Scaling, Seen, Work
from penstock.engine.workloads.module import load
from penstock.engine.workloads.workload import StagePoint
from tests.engine import faults
from tests.engine.clocks import Scripted
from tests.engine.faults import CARD, code, found, look, mend, module, pipeline


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Dynamo begins anew in each test."""
    faults.forget()
    yield
    faults.forget()


class OpClock(Scripted, TorchDispatchMode):
    """A clock that each operator moves by a microsecond and, with ``per_item``, by more for each row of its result."""

    def __init__(self, *, per_item_us: float = 0.0) -> None:
        super().__init__()
        self.per_item_us = per_item_us

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        rows = out.shape[0] if isinstance(out, Tensor) and out.dim() else 0
        self.now_s += 1e-3 * (1.0 + self.per_item_us * rows)
        return out


def test_overhead_that_a_batch_shares_in_a_real_module():
    """The clock counts operators: batch 8 dispatches as many as batch 1, so that all of it is overhead."""
    with OpClock() as clock:
        seen = look(module(nn.Sequential(nn.Linear(4, 4), nn.GELU()), torch.randn(1, 4)), clock=clock)
    (said,) = found(seen, "batch-scaling")
    assert said.facts["ratio"] == 1.0
    assert said.saves_ms == said.facts["batch_ms"] * 7 / 8  # of the one sample shown
    assert code(said) == "model(torch.cat([inputs[0]] * 8))"


def test_the_probe_starts_at_the_users_own_batch():
    """Batch 4 against 32, never batch 1; both named, and what a sample costs."""
    with OpClock() as clock:
        seen = look(module(nn.Sequential(nn.Linear(4, 4), nn.GELU()), torch.randn(4, 4)), clock=clock)
    (said,) = found(seen, "batch-scaling")
    assert seen.scaling is not None
    assert set(seen.scaling.timings) == {4, 32}
    assert said.title.startswith("Batch 32 ")
    assert "batch 4" in said.title
    assert said.facts["sample_ms"] == said.facts["batch_ms"] / 4
    assert said.saves_ms == said.facts["batch_ms"] * 7 / 8


def test_a_spread_that_leaves_it_open_is_no_finding():
    """Quartiles that reach over the limit: it would come and go from run to run."""
    sure = {1: flat(10), 8: flat(15)}
    open_ = {1: flat(10), 8: Timing(median_ms=15, low_ms=14, high_ms=21, runs=5, warmup=1)}
    assert scaling.batched(Scaling(timings=sure))
    assert scaling.batched(Scaling(timings=open_)) == []


class Takes(nn.Module):
    """Two batched inputs and one that is none."""

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> Tensor:
        return x * scale if mask is None else x * mask * scale


FORMS = {
    "tensor": "return net, torch.ones(2, 4)",
    "tuple": "return net, (torch.ones(2, 4), torch.ones(2, 4))",
    "both": "return net, (torch.ones(2, 4),), {'mask': torch.ones(2, 4), 'scale': 2.0}",
    "dict": "return net, {'x': torch.ones(2, 4), 'scale': 2.0}",
    "scalar": "return net, (torch.ones(2, 4), None, 2.0)",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_batch_that_is_suggested_runs_in_the_form_that_build_returned(form: str, tmp_path: Path):
    """The fix's code with the user's own names: eight times the rows."""
    path = tmp_path / f"takes_{form}.py"
    path.write_text(
        "import torch\nfrom tests.engine.test_finding_run import Takes\n"
        f"def build():\n    net = Takes()\n    {FORMS[form]}\n"
    )
    workload = load(f"{path}:build")
    with OpClock() as clock:
        (said,) = found(look(workload, clock=clock), "batch-scaling")
    space: dict[str, Any] = {"torch": torch}
    exec(path.read_text(), space)
    model, *inputs = space["build"]()
    names = {"args": inputs[0], "kwargs": inputs[1]} if len(inputs) == 2 else {"inputs": inputs[0]}
    many = eval(code(said), {"torch": torch, "model": model, **names})
    assert torch.equal(many, workload.call().repeat(8, 1))


def test_the_batch_that_is_suggested_runs_and_has_the_same_rows():
    """The fix's code, on the real module."""
    model, x = nn.Linear(4, 4), torch.randn(1, 4)
    with OpClock() as clock:
        (said,) = found(look(module(model, x), clock=clock), "batch-scaling")
    many = eval(code(said), {"torch": torch, "model": model, "inputs": [x]})
    assert torch.allclose(many, model(x).repeat(8, 1), atol=1e-6)


def test_work_that_grows_with_the_batch_is_no_overhead():
    """Time by rows, hardly any by operator."""
    with OpClock(per_item_us=100.0) as clock:
        seen = look(module(nn.GELU(), torch.randn(1, 4)), clock=clock, deep=True)
    assert seen.scaling is not None
    assert seen.scaling.timings[8].median_ms > 6 * seen.scaling.timings[1].median_ms
    assert found(seen, "batch-scaling") == []


def test_batch_scaling_is_measured_on_a_real_clock_without_being_judged_by_it():
    """Both sizes are timed; a workload that is not quick is not run for it unless asked."""
    root = nn.Linear(4, 4)
    seen = look(module(root, torch.randn(1, 4)), deep=True)
    assert seen.scaling is not None
    assert set(seen.scaling.timings) == {1, 8}
    with OpClock(per_item_us=1e6) as clock:
        assert look(module(root, torch.randn(1, 4)), clock=clock).scaling is None
    assert look(module(root, torch.randn(4))).scaling is None  # no batch to repeat


def flat(ms: float, *, first: float | None = None) -> Timing:
    return Timing(median_ms=ms, low_ms=ms, high_ms=ms, runs=5, warmup=1, first_ms=first)


@given(fixed=some.floats(0.01, 100), item=some.floats(0.01, 100))
def test_the_fixed_part_of_a_call_is_found_and_bounds_what_is_saved(fixed: float, item: float):
    """Time = fixed + item · batch, exactly: told where batch 8 takes less than twice batch 1; a sample of 8 saves 7/8 of fixed."""
    timings = {size: flat(fixed + item * size) for size in (1, 8)}
    told = scaling.batched(Scaling(timings=timings))
    one, eight = fixed + item, fixed + 8 * item
    if abs(eight - 2 * one) > 1e-9:
        assert bool(told) == (eight < 2 * one)
    for said in told:
        assert said.facts["fixed_ms"] == pytest.approx(fixed, rel=1e-6)
        assert said.saves_ms == pytest.approx(fixed * 7 / 8, rel=1e-6)
        assert said.saves_ms is not None
        assert said.saves_ms <= one


class Lazy(nn.Module):
    """Builds a table in its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.ready = False

    def encode_prompt(self, prompt: Any) -> Tensor:
        x = torch.ones(2, 4)
        for _ in range(0 if self.ready else 50):
            x = x * 1.0
        self.ready = True
        return self.inner(x)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.encode_prompt("a lamp")


class Staged:
    """A pipeline of one stage."""

    kind, steps, batch, device, name = "pipeline", 1, 1, "cpu", "staged"

    def __init__(self, root: Any) -> None:
        self.root = root

    def call(self) -> Any:
        with torch.no_grad():
            return self.root(torch.ones(2, 4))

    def stages(self) -> tuple[StagePoint, ...]:
        return (StagePoint(self.root, "encode_prompt", "text encoder"),)

    def modules(self) -> dict[str, Any]:
        return {"inner": self.root.inner}

    def with_batch(self, batch: int) -> Callable[[], Any] | None:
        return None


def test_a_cold_first_call_of_a_stage_and_the_code_that_warms_it():
    """Fifty operators more in the first call. Warmed by the code, the first is as the second."""
    with OpClock() as clock:
        seen = look(Staged(Lazy()), clock=clock)
    (said,) = found(seen, "cold-first-call")
    assert said.where == "text encoder"
    assert said.facts["saves_first_ms"] == pytest.approx(50.0)
    assert (said.saves_ms, said.once) == (pytest.approx(50.0), True)  # a warm run does not pay it
    assert code(said) == 'pipe.encode_prompt("warm up")'
    warmed = Lazy()
    mend(said, pipe=warmed)
    with OpClock() as clock:
        assert found(look(Staged(warmed), clock=clock), "cold-first-call") == []


def test_the_warm_up_of_a_real_pipelines_text_stage_runs(tiny_sdxl: Any):
    """The code on a real pipeline; its stages are timed, first and later."""
    seen = look(pipeline(tiny_sdxl, output_type="pt"))
    assert {"encode_prompt", "unet", "vae"} <= set(seen.stages)
    assert all(timing.first_ms is not None for timing in seen.stages.values())
    cold = structs.replace(seen, wall_ms=100.0, stages={"encode_prompt": flat(12.0, first=340.0)})
    (said,) = found(cold, "cold-first-call")
    assert "328.000 ms once a process" in said.evidence
    mend(said, pipe=tiny_sdxl)


def test_a_first_call_that_hardly_matters_is_not_told():
    """Twice as slow, but a hundredth of the run."""
    seen = Seen(wall_ms=1000.0, stages={"scheduler": flat(1.0, first=9.0), "text": flat(10.0, first=19.0)})
    assert scaling.find(seen) == []


class Keeping(nn.Module):
    """Keeps every step's result, or every second step's in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(64, 64)
        self.history: list[Tensor] = []
        self.keeps = True

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.keeps:
            self.history.append(y)
        return y


class Steps:
    """Six steps of a denoiser, from the same noise."""

    kind, steps, batch, device, name = "pipeline", 6, 1, "cpu", "steps"

    def __init__(self, unet: Any, *, clears: bool = False) -> None:
        self.unet, self.root = unet, self
        self.after: Callable[[], None] | None = None

    def call(self) -> None:
        x = torch.ones(64, 64)
        with torch.no_grad():
            for _ in range(self.steps):
                x = self.unet(x)
        if self.after is not None:
            self.after()

    def stages(self) -> tuple[StagePoint, ...]:
        return ()

    def modules(self) -> dict[str, Any]:
        return {"unet": self.unet}

    def with_batch(self, batch: int) -> None:
        return None


def test_a_module_that_keeps_every_steps_tensors_is_named_with_its_list():
    """16 KiB a step, exactly; the list that holds them is found, and emptying it after each call mends the calls."""
    workload = Steps(Keeping())
    seen = look(workload)
    (said,) = found(seen, "memory-growth")
    assert said.facts["bytes_a_step"] == 64 * 64 * 4
    assert "pipe.unet.history holds 6 more tensors" in said.evidence
    assert code(said) == "pipe.unet.history.clear()"
    workload.unet.keeps = False
    workload.after = lambda: mend(said, pipe=workload)["pipe"] and None
    mended = look(workload)
    assert found(mended, "memory-growth") == []
    assert mended.memory is not None
    assert len(mended.memory.steps_bytes) == 6


def test_a_list_emptied_after_each_call_still_grows_by_step_and_no_longer_by_call():
    """The fix's code alone: the next call begins where this one did."""
    workload = Steps(Keeping())
    (said,) = found(look(workload), "memory-growth")
    workload.after = lambda: mend(said, pipe=workload)["pipe"] and None
    workload.call()
    seen = look(workload)
    assert seen.memory is not None
    assert seen.memory.holders == ()
    assert steps.rise(seen.memory.calls_bytes) is None


def test_a_plain_module_that_grows_with_every_call():
    """Not step by step, but call by call: looked at again only because it grew."""
    keeping = Keeping()
    (said,) = found(look(module(keeping, torch.ones(64, 64))), "memory-growth")
    assert said.facts["bytes_a_call"] == 64 * 64 * 4
    mend(said, model=keeping)
    assert keeping.history == []
    keeping.keeps = False
    assert found(look(module(keeping, torch.ones(64, 64))), "memory-growth") == []


def test_what_fills_once_and_what_a_generator_keeps_by_design_is_no_growth():
    """Two buffers are no leak; a key-value cache is meant to grow."""
    assert steps.rise((0, 10, 20, 20, 20)) is None
    assert steps.rise((0, 10, 20)) is None
    assert steps.rise((0, 10, 20, 30, 40)) == 10
    growing = Memory(steps_bytes=(0, 10, 20, 30, 40))
    assert steps.find(Seen(kind="generator", memory=growing)) == []
    assert len(steps.find(Seen(kind="pipeline", memory=growing))) == 1


@given(some.lists(some.integers(0, 1000), max_size=12))
def test_growth_is_told_only_of_an_unbroken_rise(sizes: list[int]):
    rise = steps.rise(tuple(sizes))
    later = sizes[1:]
    unbroken = len(later) > 3 and all(a < b for a, b in pairwise(later))
    assert (rise is not None) == unbroken
    assert rise is None or rise > 0


def test_live_bytes_are_exact_and_let_go():
    """Of a tensor kept, of a view of it, and of nothing."""
    with tensors.newcomers():
        before = tensors.live_bytes("cpu")
        kept = torch.zeros(1000)
        view = kept[10:]
        assert tensors.live_bytes("cpu") - before == 4000
        del kept
        assert tensors.live_bytes("cpu") - before == 4000
        del view
        assert tensors.live_bytes("cpu") == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_peak_of_live_tensors_is_exact(device: str):
    """Weights and inputs are not counted; what is freed is."""
    x, w = torch.zeros(1024, device=device), torch.zeros(1024, device=device)
    with tensors.LiveBytes() as live:
        y = (x + w) * 2
        y.view(2, 512).add_(1)
        x.add_(1)
        assert live.now_bytes == 4096
        assert live.peak_bytes == 8192
        del y
        assert live.now_bytes == 0


def test_a_peak_near_the_cards_memory_and_half_of_it_in_bfloat16():
    """A real module against a card that it hardly fits; the code halves its bytes."""
    model, x = nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 256)), torch.ones(4, 256)
    seen = look(module(model, x), deep=True)
    assert seen.memory is not None
    assert seen.memory.peak_bytes == 4 * (2 * (256 * 256 + 256) + 2 * 4 * 256)
    card = structs.replace(CARD, memory_bytes=550_000)
    (said,) = found(seen, "peak-memory", peaks=card)
    assert said.facts["peak_bytes"] == seen.memory.peak_bytes
    assert found(seen, "peak-memory", peaks=CARD) == []
    mend(said, model=model)
    half = look(module(model, x.bfloat16()), deep=True)
    assert half.memory is not None
    assert half.memory.peak_bytes == seen.memory.peak_bytes // 2
    assert found(half, "peak-memory", peaks=card) == []


def test_what_to_do_about_a_full_card():
    """By what fills it: float32, an autoencoder's activations, or weights."""

    def fix(part: Part, kind: str = "pipeline") -> str:
        memory = Memory(peak_bytes=95, total_bytes=100)
        (said,) = steps.find(Seen(kind=kind, parts=(part,), memory=memory))
        return code(said)

    part = Part(name="vae", path="pipe.vae", dtype="bfloat16", weight_bytes=10)
    assert fix(structs.replace(part, dtype="float32")) == "pipe.to(torch.bfloat16)"
    assert fix(structs.replace(part, autoencoder=True)) == "pipe.vae.enable_tiling()"
    assert fix(structs.replace(part, weight_bytes=90)) == "pipe.enable_model_cpu_offload()"
    assert fix(structs.replace(part, weight_bytes=90), "module").startswith(
        "from torchao.quantization import"
    )


def test_more_than_the_peak_is_a_unit_error_in_a_real_modules_figures():
    """FLOPs counted in a real module; milliseconds against the same figure taken for seconds."""
    model, x = nn.Linear(256, 256, bias=False), torch.ones(64, 256)
    counts = counting.count(lambda: model(x))
    assert counts.flops == 2 * 64 * 256 * 256
    slow = Peaks(device="a slow one", flops_per_s={"fp32": 1e9}, bytes_per_s=1e9, source="made up")
    right = probes.probe(module(model, x), counts=counts, timing=flat(20.0))
    assert found(right, "over-peak", peaks=slow) == []
    wrong = probes.probe(module(model, x), counts=counts, timing=flat(0.020))  # seconds, read as milliseconds
    (said,) = found(wrong, "over-peak", peaks=slow)
    assert said.facts["least_ms"] == pytest.approx(counts.flops / 1e9 * 1e3)
    assert said.facts["reached_flops_per_s"] == pytest.approx(counts.flops / 20e-6)
    assert "a unit error" in said.title
    assert of_seen(wrong, None) == of_seen(structs.replace(wrong, work=()), slow)


def test_a_measured_peak_may_be_surpassed_by_what_disturbed_it():
    """A measurement is no roof: only far beyond it is a unit error."""
    measured = Peaks(device="cpu", flops_per_s={"fp32": 1e12}, bytes_per_s=1e9, source="measured")
    assert roof.over(Work(name="w", flops=2 * 10**12, wall_ms=1000.0, dtype="fp32"), measured) == []
    assert len(roof.over(Work(name="w", flops=3 * 10**12, wall_ms=1000.0, dtype="fp32"), measured)) == 1


def test_a_public_claim_beyond_an_h100():
    """23 renders a second of SDXL at 25 steps: 349 TFLOP an image (torch.md, 1.3)."""
    claim = Work(name="SDXL, 25 steps", flops=349 * 10**12, wall_ms=1000 / 23, dtype="bf16")
    (said,) = roof.over(claim, CARD)
    assert said.facts["reached_flops_per_s"] / said.facts["peak_flops_per_s"] == pytest.approx(8.1, abs=0.1)
    assert roof.over(structs.replace(claim, wall_ms=500.0), CARD) == []
    assert roof.over(structs.replace(claim, dtype="fp8"), CARD) == []  # no peak known, no verdict


def fake(folder: Path, *, wants: str, binary: bytes, version: str = "0.28.0") -> Path:
    """A torchvision as ``pip`` would have installed it, with an extension that was linked as said."""
    info = folder / f"torchvision-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: torchvision\nVersion: {version}\nRequires-Dist: numpy\nRequires-Dist: torch=={wants}\n"
    )
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    if binary:
        (folder / "torchvision" / "_C.so").write_bytes(b"\x7fELF..." + binary + b"\0")
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, on ``sys.path``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    importlib.invalidate_caches()


MINE = torch.__version__.split("+", maxsplit=1)[0]


def test_a_torchvision_for_cuda_beside_a_cpu_torch_is_found_without_importing_it(site: Path):
    """Its import would raise; its binary names CUDA's libraries. Removed, as the code says, there is nothing to say."""
    fake(site, wants=MINE, binary=b"libtorch_cuda.so\0libcudart.so.13")
    seen = look(module(nn.Linear(2, 2), torch.ones(1, 2)))
    (said,) = found(seen, "broken-torchvision")
    assert "linked against CUDA" in said.evidence
    assert code(said) == "pip uninstall -y torchvision"
    for one in sorted(site.rglob("*"), reverse=True):
        one.rmdir() if one.is_dir() else one.unlink()
    importlib.invalidate_caches()
    assert found(look(module(nn.Linear(2, 2), torch.ones(1, 2))), "broken-torchvision") == []


def test_a_torchvision_for_another_torch(site: Path):
    """By the version that it names."""
    fake(site, wants="1.0.0", binary=b"libtorch_cpu.so")
    (package,) = packages.beside_torch()
    assert (package.wants_torch, package.cuda, package.torch_cuda) == ("1.0.0", False, False)
    (said,) = environment.broken(package)
    assert "built for torch 1.0.0" in said.evidence


@pytest.mark.parametrize(
    ("version", "binary"), [("0.28.0+cpu", b""), ("0.28.0", b"libtorch_cpu.so"), ("0.28.0", b"")]
)
def test_a_torchvision_that_fits(site: Path, version: str, binary: bytes):
    """The right build, and one of which nothing is known."""
    fake(site, wants=MINE, binary=binary, version=version)
    (package,) = packages.beside_torch()
    assert environment.broken(package) == []


def test_a_cuda_build_known_by_its_version_alone(site: Path):
    fake(site, wants=MINE, binary=b"", version="0.28.0+cu130")
    (package,) = packages.beside_torch()
    assert package.cuda
    assert len(environment.broken(package)) == 1
    assert environment.broken(structs.replace(package, torch_cuda=True)) == []


class Masking(nn.Module):
    """Chooses rows by a mask, once by asking which, once by ``where``."""

    def __init__(self) -> None:
        super().__init__()
        self.mended = False

    def forward(self, x: Tensor) -> Tensor:
        mask = x > 0
        if self.mended:
            for _ in range(2):
                x = torch.where(mask, x, 0).sum() / x.max() * x
            return x.sum()
        for _ in range(2):
            x = x[mask.nonzero(as_tuple=True)].sum() / x.max().item() * x
        return x.sum()


def test_a_wait_for_the_device_at_the_users_line():
    """Linted on a CPU: the operator, how often, and where in this file."""
    masking = Masking()
    workload = module(masking, torch.randn(4, 4))
    assert found(look(workload), "host-device-sync") == []  # counting is asked for
    (said,) = found(look(workload, deep=True), "host-device-sync")  # both are in one line
    assert "nonzero: 2" in said.evidence
    assert "item: 2" in said.evidence
    assert "test_finding_run.py" in said.where
    assert said.facts["count"] == 4
    assert "would wait on a GPU" in said.title
    fix = next(line for line in said.fix.splitlines() if line.startswith("y = "))
    x = torch.randn(4, 4)
    space: dict[str, Any] = {"torch": torch, "x": x, "mask": x > 0}
    exec(fix, space)
    assert torch.equal(space["y"].sum(), x[x > 0].sum()) or torch.allclose(space["y"].sum(), x[x > 0].sum())
    masking.mended = True
    assert found(look(workload, deep=True), "host-device-sync") == []


def test_a_sync_less_often_than_once_a_step_is_not_told():
    from penstock.engine.measure.seen import SyncPoint  # noqa: PLC0415 - beside its use

    rare = SyncPoint(op="item", where="a.py:1 in f", count=3)
    assert syncs.find(Seen(steps=4, syncs=(rare,))) == []
    (said,) = syncs.find(Seen(steps=3, syncs=(rare,), device="cuda:0"))
    assert "waits for the device" in said.title


def frozen(workload: Any) -> dict[str, Any]:
    """Every attribute of every object that a probe touches, by identity."""
    objects = {
        "root": workload.root,
        **{f"{point.stage}.{point.method}": point.owner for point in workload.stages()},
    }
    for name, part in workload.modules().items():
        objects |= {f"{name}.{inner}": child for inner, child in part.named_modules()}
    return {
        path: {
            name: id(value) for name, value in vars(thing).items() if not isinstance(value, int | float | str)
        }
        | {name: dict(value) for name, value in vars(thing).items() if name.endswith("_hooks")}
        for path, thing in objects.items()
        if hasattr(thing, "__dict__")
    }


def test_a_pipeline_is_left_as_it_was(tiny_sdxl: Any):
    """Attributes, hooks, compiled and wrapped methods; also one that somebody else has replaced; and the output."""
    own = tiny_sdxl.vae.decode
    tiny_sdxl.vae.decode = lambda *args, **kwargs: own(*args, **kwargs)
    tiny_sdxl.unet.mid_block.resnets[0].compile(backend="eager")
    tiny_sdxl.text_encoder = torch.compile(tiny_sdxl.text_encoder, backend="eager", disable=True)
    workload = pipeline(tiny_sdxl, output_type="pt")
    result = workload.call()
    compiled = len(dynamo.get_compilation_metrics())
    before = frozen(workload)
    look(workload)
    after = frozen(workload)
    assert (
        len(dynamo.get_compilation_metrics()) == compiled > 0
    )  # nothing was compiled anew by being looked at
    scheduler = {path for path, held in before.items() if held != after[path]}
    assert scheduler <= {
        "scheduler.set_timesteps",
        "scheduler.step",
        "root",
    }  # its own state, set anew by each run
    assert set(vars(workload.root.scheduler)) == set(vars(tiny_sdxl.scheduler))
    assert torch.equal(workload.call(), result)


class Counting(Staged):
    """Counts its calls."""

    calls = 0

    def call(self) -> Any:
        self.calls += 1
        return super().call()

    def with_batch(self, batch: int) -> Callable[[], Any]:
        return self.call


def test_without_being_asked_a_probe_runs_the_thing_twice():
    """The first run, and the watched one; a quick one is timed a few times more."""
    with OpClock(per_item_us=1000.0) as clock:
        slow = Counting(Lazy())
        look(slow, clock=clock)
        assert slow.calls == 2
    with OpClock() as clock:
        quick = Counting(Lazy())
        look(quick, clock=clock)
    assert 2 < quick.calls < 100


class Failing(Staged):
    """Raises in its second run."""

    def __init__(self, root: Any) -> None:
        super().__init__(root)
        self.calls = 0

    def call(self) -> Any:
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("out of memory\nsecond line")
        return super().call()


def test_a_run_that_fails_leaves_its_reason_and_no_wrapper():
    """The reason is a value; what could be seen was; nothing stays wrapped."""
    root = Lazy()
    before = set(vars(root))
    seen = probes.probe(Failing(root))
    (skipped,) = seen.skipped
    assert skipped.probe == "watched run"
    assert skipped.reason == "RuntimeError: out of memory"
    assert [part.name for part in seen.parts] == ["inner"]
    assert set(vars(root)) == before
    assert "forward" not in vars(root.inner)
    assert of_seen(seen) == ()


def test_patches_are_put_back_after_an_error_in_the_order_of_undoing():
    """Two on one name, one on a name that was there before."""
    model = nn.Linear(2, 2)
    model.forward = own = model.forward

    def wrapped() -> None:
        with patches.Patches() as held:
            held.wrap(model, "forward", lambda original: lambda x: original(x) + 1)
            held.wrap(model, "forward", lambda original: lambda x: original(x) * 2)
            assert torch.equal(model(torch.ones(1, 2)), (own(torch.ones(1, 2)) + 1) * 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        wrapped()
    assert vars(model)["forward"] is own


def test_a_package_that_is_not_there():
    assert packages.beside_torch() == ()
    assert environment.find(Seen(packages=(Package(name="torchvision", version="1"),))) == []


SYNC_LINES = [
    ("item", "total += v.abs().mean().item()  # each step", "total += v.abs().mean()"),
    ("item", "n = int(mask.sum())", "n = mask.sum()"),
    ("item", "if x.sum() > 0:", "y = torch.where(x.sum() > 0, when_true, when_false)"),
    ("copy to host", "b = h.cpu().numpy()", 'b = h.to("cpu", non_blocking=True)'),
]


@pytest.mark.parametrize(("op", "line", "instead"), SYNC_LINES)
def test_a_wait_is_mended_in_its_own_line(op: str, line: str, instead: str):
    """The exact code, made from the line; a library's line is not the user's to change."""
    from penstock.engine.measure.seen import SyncPoint  # noqa: PLC0415 - beside its use

    (said,) = syncs.find(Seen(syncs=(SyncPoint(op=op, where="a.py:1 in f", count=3, line=line),)))
    assert instead in code(said).splitlines()
    there = SyncPoint(op=op, where="/v/site-packages/transformers/utils.py:7 in f", count=3, line=line)
    (other,) = syncs.find(Seen(syncs=(there,)))
    assert "a library's, not yours" in other.fix
    assert code(other) == ""


class TwoReads(nn.Module):
    """Two kinds of wait in one line."""

    def forward(self, x: Tensor) -> Tensor:
        n = int(x.sum()); b = x.cpu().numpy()  # fmt: skip # noqa: E702
        return x * n + float(b[0, 0])


def test_every_kind_of_wait_of_a_line_is_told():
    """One finding for the line, with the number of each, and what to write for each."""
    workload = module(TwoReads(), torch.ones(2, 4))
    counts = counting.count(workload.call)
    (said,) = found(look(workload, counts=counts), "host-device-sync")
    assert "item: 1" in said.evidence
    assert "copy to host: 1" in said.evidence
    assert "n = x.sum()" in said.fix
    assert 'b = x.to("cpu", non_blocking=True)' in said.fix

"""What each finding's bound rests on: every one says it; where nothing was tried, the capture of the same real module bounds it."""

import ast
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import penstock.engine
from penstock.cli.profile_tables import show
from penstock.engine.lab import exact, from_trace
from penstock.engine.lab.report.page import page
from penstock.engine.lab.spent import dotted, with_spent
from penstock.engine.measure import timeline, trace
from penstock.engine.measure.attribution import convolves, of_library
from penstock.engine.measure.capture import capture
from penstock.engine.measure.findings import kernels
from penstock.engine.measure.findings.tried import FUSED, spent_in
from penstock.engine.measure.records import Finding, Profile
from penstock.engine.measure.seen import Seen, Spent
from tests.engine import faults, made
from tests.engine.faults import found, look, mend, module

SOURCE = Path(penstock.engine.__file__).parent


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Dynamo begins anew in each test."""
    faults.forget()
    yield
    faults.forget()


def test_no_finding_is_made_without_its_bound():
    """In the source: every one says what its figure rests on, or why it has none."""
    calls = [
        (path.name, node)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding"
    ]
    assert len(calls) > 30
    assert [
        f"{name}:{node.lineno}" for name, node in calls if "bound" not in {word.arg for word in node.keywords}
    ] == []


def captured(workload: Any, folder: Path) -> Profile:
    """A real capture of it."""
    path = capture(workload.call, path=folder / "c.json", modules=workload.modules(), label=workload.name)
    return from_trace.of_timeline(timeline.build(trace.load(path)), target=workload.name)


def seen_with(workload: Any, folder: Path) -> tuple[Seen, Profile]:
    """What the probes and the capture saw of it."""
    seen, profile = look(workload), captured(workload, folder)
    return with_spent(seen, profile), profile


class Coder(nn.Module):
    """Used by one method, as a pipeline uses a VAE: a product, and pointwise ops."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(64, 64)

    def decode(self, z: Tensor) -> Tensor:
        return torch.tanh(self.up(z)) * 2

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)


class Holder(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner.decode(x).exp()


def test_compiled_nothing_is_bounded_by_what_is_not_the_libraries(tmp_path: Path):
    """The product stays as it is, whoever compiles the rest."""
    root = Holder(torch.compile(Coder().eval(), backend="eager"))
    workload = module(root, torch.randn(8, 64))
    seen, profile = seen_with(workload, tmp_path)
    (said,) = found(seen, "compiled-nothing")
    spent = spent_in(seen, "model.inner")
    assert spent is not None
    products = sum(row.total_ms for row in profile.kernels if row.name == "aten::addmm")
    assert spent.library_ms == pytest.approx(min(products, spent.wall_ms))
    assert (said.saves_ms, said.bound) == (spent.between_ms, FUSED)
    assert 0 < spent.between_ms < (profile.wall_ms or 0)
    assert not said.once
    mend(said, model=root, torch=SimpleNamespace(compile=partial(torch.compile, backend="eager")))
    assert found(look(workload), "compiled-nothing") == []


def test_layout_is_bounded_by_the_convolutions(tmp_path: Path):
    """And where both layouts were timed, by that; mended, nothing is said."""
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(512, 8))
    workload = module(net, torch.randn(1, 4, 12, 12))
    seen, profile = seen_with(workload, tmp_path)
    (said,) = found(seen, "missing-channels-last")
    convs = sum(row.total_ms for row in profile.kernels if "conv" in row.name)
    assert 0 < convs < sum(row.total_ms for row in profile.kernels)
    assert said.saves_ms == pytest.approx(min(convs, profile.wall_ms or 0))
    assert said.bound.startswith("The time of its convolutions")
    mend(said, model=net)
    assert found(look(workload), "missing-channels-last") == []


class Broken(nn.Module):
    """Reads a value in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        if y.sum() > 0:
            y = y * 2
        return y.exp()


def test_a_graph_break_is_bounded_by_what_could_have_been_fused(tmp_path: Path):
    """Of a part that is not compiled nothing is lost yet, and that is the reason why there is no figure."""
    workload = module(torch.compile(Broken(), backend="eager"), torch.randn(4, 32))
    seen, _ = seen_with(workload, tmp_path)
    said, *_ = found(seen, "graph-breaks")
    assert said.bound == FUSED
    assert said.saves_ms == seen.spent["model"].between_ms
    faults.forget()
    (foreseen,) = found(look(module(Broken(), torch.randn(4, 32)), deep=True), "graph-breaks")
    assert (foreseen.saves_ms, foreseen.bound[:27]) == (None, "Nothing is compiled yet, so")


def test_a_part_without_a_capture_is_bounded_by_what_is_around_it():
    """What a part spends bounds what is in it; without any capture nothing is bounded."""
    whole, unet = Spent(wall_ms=10.0), Spent(wall_ms=7.0, library_ms=3.0)
    seen = Seen(spent={"": whole, "pipe.unet": unet})
    assert spent_in(seen, "pipe.unet.blocks[3].attn") is unet
    assert spent_in(seen, "pipe.vae.decode") is whole
    assert spent_in(Seen(), "pipe.vae") is None
    assert (unet.between_ms, Spent(wall_ms=1.0, library_ms=2.0).between_ms) == (4.0, 0.0)
    assert [dotted(path) for path in ("model", "pipe.unet.blocks[3].attn")] == ["model", "unet.blocks.3.attn"]


@pytest.mark.parametrize(
    ("name", "op", "library", "conv"),
    [
        ("aten::addmm", "aten::linear", True, False),
        ("aten::mkldnn_convolution", "aten::_convolution", True, True),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "", True, False),
        ("aten::gelu", "", False, False),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<float>", "aten::cudnn_convolution", True, True),
        ("triton_poi_fused_gelu_mul_0", "", False, False),
        ("aten::native_group_norm", "aten::group_norm", False, False),
    ],
)
def test_what_is_the_libraries(name: str, op: str, library: bool, conv: bool):
    assert (of_library(name, op), convolves(name, op)) == (library, conv)


def test_bounds_are_shown(capsys: pytest.CaptureFixture[str]):
    """In the terminal, in the report and in JSON; what is paid once says so, and no meter is drawn for it."""
    told = made.profile(
        findings=(
            Finding(id="a-b", title="A", evidence="e", saves_ms=2.0, bound="The wait."),
            Finding(id="c-d", title="B", evidence="e", saves_ms=900.0, once=True, bound="A first call."),
            Finding(
                id="e-f",
                title="C",
                evidence="e",
                bound="It costs memory.",
                where="lib.py:3",
                caller="my.py:7",
            ),
        )
    )
    show(told)
    terminal, report = " ".join(capsys.readouterr().out.split()), page(told)
    for said in (terminal, report):
        for words in (
            "Bound: The wait.",
            "900.0 ms once",
            "No bound: It costs memory.",
            "lib.py:3, called from my.py:7",
        ):
            assert words in said
    assert report.count("width:100.0%") == 1


class Pointwise(nn.Module):
    """Four ops over one tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(x) * 2).exp() + 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_code_for_a_chain_names_the_users_part_and_takes_the_finding_away(tmp_path: Path, wrapped: bool):
    """In place for a class of the user's; wrapped for one of PyTorch's, which compiled in place would compile nothing."""
    net: nn.Module = nn.Sequential(nn.Tanh(), nn.GELU()) if wrapped else Pointwise()
    workload = module(net, torch.randn(64, 64))

    def chains() -> list[Finding]:
        told = timeline.build(trace.load(shapes_of(workload, tmp_path)))
        return exact.named((one for one in kernels.find(told) if one.id == "unfused-pointwise"), workload)

    (said,) = chains()
    line = said.fix.splitlines()[-1]
    assert line == (
        "model = torch.compile(model, fullgraph=True)" if wrapped else "model.compile(fullgraph=True)"
    )
    assert said.fix.count("\n") == 1


def shapes_of(workload: Any, folder: Path) -> Path:
    """A capture with shapes."""
    return capture(workload.call, path=folder / "s.json", modules=workload.modules(), shapes=True)


def test_what_a_pipelines_parts_are_compiled_by(tiny_sdxl: Any):
    """Block by block; the autoencoder by what is called; what is no part of the pipeline is left as it is."""
    workload = faults.pipeline(tiny_sdxl)
    unet = tiny_sdxl.unet
    blocks = [name for name, one in unet.named_modules() if type(one).__name__ in unet._repeated_blocks]
    told = {name: exact.compiling(workload, name, part) for name, part in workload.modules().items()}
    inside = exact.compiling(workload, "unet", unet, f"{blocks[0]}.ff")
    assert inside == "pipe.unet.compile_repeated_blocks(fullgraph=True)"
    assert exact.compiling(workload, "unet", unet, "down_blocks.0.resnets.0") == told["unet"]
    assert told["unet"] == "pipe.unet.compile(fullgraph=True)"
    assert told["vae"] == "pipe.vae.decode = torch.compile(pipe.vae.decode, fullgraph=True)"
    other = Finding(
        id="unfused-pointwise", title="", evidence="", fix=f"Do.\n{kernels.COMPILE}", where="scheduler"
    )
    assert exact.named([other], workload) == [other]


def test_a_capture_that_was_disturbed_in_a_library_makes_no_bound_small():
    """The pointwise ops that were seen are room for the compiler, whatever the product took meanwhile."""
    spent = Spent(wall_ms=0.2, library_ms=0.19, others_ms=0.14)
    assert spent.between_ms == 0.14
    assert Spent(wall_ms=0.2, library_ms=0.05, others_ms=9.0).between_ms == 0.2

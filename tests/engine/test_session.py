"""``penstock.engine.profile`` around a user's block and on a user's function; nothing of it stays behind."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import penstock.engine
from penstock.base.errors import BadRequest
from penstock.engine.lab import session
from penstock.engine.measure import capture
from penstock.engine.measure.records import UNATTRIBUTED
from penstock.engine.workloads.workload import StagePoint
from tests.house.source import ROOT


class Render:
    """A pipeline of a user's own."""

    def __init__(self) -> None:
        self.unet = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.GELU(), torch.nn.Linear(32, 32))

    def encode(self, words: int) -> torch.Tensor:
        return torch.ones(words, 32)

    def decode(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD.clamp(0, 1)

    def __call__(self, steps: int = 3) -> torch.Tensor:
        with torch.no_grad():
            x_BD = self.encode(4)
            for _ in range(steps):
                x_BD = self.unet(x_BD)
            return self.decode(x_BD)


def stages_of(render: Render) -> dict[str, Any]:
    return {
        "text": (render, "encode"),
        "unet": (render.unet, "forward"),
        "vae": [(render, "decode")],
    }


def test_importing_the_engine_loads_no_torch():
    script = (
        "import sys, penstock.engine as e; assert 'torch' not in sys.modules; "
        "e.profile; assert 'torch' in sys.modules; print(e.profile.__name__)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT / "src"
    )
    assert out.stdout.strip() == "profile"
    assert penstock.engine.profile is session.profile
    with pytest.raises(AttributeError, match="no attribute 'profiles'"):
        penstock.engine.profiles  # type: ignore[attr-defined]  # noqa: B018


def test_a_block_has_its_stages_kernels_and_residual(tmp_path: Path):
    render = Render()
    before, of_unet = dict(vars(render)), dict(vars(render.unet))
    render()
    with penstock.engine.profile(
        "render",
        stages=stages_of(render),
        modules={"unet": render.unet},
        shapes=True,
        path=tmp_path / "t.json.gz",
    ) as p:
        image = render()
    assert image.shape == (4, 32)
    rows = {row.name: row for row in p.stages}
    assert list(rows) == ["text", "unet", "vae", UNATTRIBUTED]
    assert {name: row.calls for name, row in rows.items()} == {
        "text": 1,
        "unet": 3,
        "vae": 1,
        UNATTRIBUTED: 1,
    }
    assert sum(row.share for row in p.stages) == pytest.approx(1.0, abs=1e-6)
    assert rows["unet"].flops == 3 * 2 * 2 * 4 * 32 * 32
    found = {(k.name, k.module): k.count for k in p.kernels}
    assert found["aten::addmm", "unet.0"] == found["aten::addmm", "unet.2"] == 3
    assert found["aten::gelu", "unet.1"] == 3
    assert p.device.name == "cpu"
    assert p.profile.source == "live"
    assert p.profile.machine["torch"] == torch.__version__
    assert p.timeline.on_cpu
    assert isinstance(p.findings, tuple)
    assert (tmp_path / "t.json.gz").is_file()
    assert (dict(vars(render)), dict(vars(render.unet))) == (before, of_unet)


def test_stages_may_be_written_in_three_ways():
    render = Render()
    listed = [(render, "encode", "text"), StagePoint(render, "decode", "vae")]
    with penstock.engine.profile("render", stages=listed) as p:
        render()
    assert [row.name for row in p.stages] == ["text", "vae", UNATTRIBUTED]
    both = {"ends": [(render, "encode"), (render, "decode")]}
    assert session.points_of(both) == (
        StagePoint(render, "encode", "ends"),
        StagePoint(render, "decode", "ends"),
    )
    with pytest.raises(BadRequest, match="is no stage"):
        penstock.engine.profile("x", stages={"text": "encode"})
    with pytest.raises(BadRequest, match="is no stage"):
        penstock.engine.profile("x", stages=[(render, "encode")])


def test_without_stages_the_modules_or_the_users_own_ranges_are_the_parts():
    render = Render()
    with penstock.engine.profile("modules", modules=render.unet) as p:
        render()
    assert [row.name for row in p.stages] == ["model.0", "model.1", "model.2", UNATTRIBUTED]
    with penstock.engine.profile("own") as p, torch.profiler.record_function("my part"):
        render()
    assert [row.name for row in p.stages] == ["my part", UNATTRIBUTED]
    with penstock.engine.profile("bare") as p:
        render()
    assert [(row.name, row.share) for row in p.stages] == [(UNATTRIBUTED, 1.0)]


def test_money_memory_and_the_gateways_trace_id():
    render = Render()
    with penstock.engine.profile(
        "render", stages=stages_of(render), memory=True, usd_per_hour="3.6", trace_id="abc123"
    ) as p:
        render()
    assert p.profile.trace_ids == ("abc123",)
    assert p.profile.facts["peak_memory_bytes"] >= 2 * 4 * 32 * 4
    assert p.profile.cost_nusd is not None
    assert sum(row.cost_nusd or 0 for row in p.stages if not row.parent) == p.profile.cost_nusd
    assert [row.name for row in p.stages][-1] == UNATTRIBUTED
    assert "penstock.trace:abc123" not in {row.name for row in p.stages}


def test_a_block_that_raises_is_read_and_its_exception_goes_on():
    render = Render()
    before = dict(vars(render))
    with (  # noqa: PT012 - a block that raises is what is tested
        pytest.raises(RuntimeError, match="the user's own"),
        penstock.engine.profile("render", stages=stages_of(render)) as p,
    ):
        render()
        raise RuntimeError("the user's own")
    assert [row.name for row in p.stages] == ["text", "unet", "vae", UNATTRIBUTED]
    assert dict(vars(render)) == before
    assert not capture.under_way()


def test_results_are_there_only_after_the_block():
    p = penstock.engine.profile("render")
    for name in ("stages", "kernels", "findings", "timeline", "profile", "device"):
        with pytest.raises(BadRequest, match="nothing has been profiled yet"):
            getattr(p, name)


def test_one_at_a_time_in_words():
    render = Render()
    with penstock.engine.profile("outer") as outer:
        with pytest.raises(BadRequest, match="one at a time"), penstock.engine.profile("inner"):
            pass
        with pytest.raises(BadRequest, match="already under way"):
            outer.__enter__()
        render()
    assert outer.kernels
    with outer:  # and again, anew
        pass
    assert outer.kernels == ()


def test_a_decorated_function_is_profiled_once_in_so_many_calls():
    render = Render()

    @penstock.engine.profile("render", stages=stages_of(render), every=3)
    def make(steps: int) -> torch.Tensor:
        """Its words."""
        return render(steps)

    handle: Any = make
    seen: list[int] = []
    for steps in (1, 2, 3, 4):
        assert make(steps).shape == (4, 32)
        seen.append({row.name: row.calls for row in handle.profile.stages}["unet"])
    assert seen == [1, 1, 1, 4]
    assert make.__doc__ == "Its words."


def test_a_decorated_coroutine_is_profiled_to_its_end():
    render = Render()

    @penstock.engine.profile("render", stages=stages_of(render))
    async def make() -> torch.Tensor:
        await asyncio.sleep(0)
        return render()

    handle: Any = make
    asyncio.run(make())
    assert [row.name for row in handle.profile.stages] == ["text", "unet", "vae", UNATTRIBUTED]


def test_a_function_in_service_does_not_fail_by_being_profiled():
    """Eight threads at once, and one that calls itself: one records, the others run bare, all answer."""
    render = Render()

    @penstock.engine.profile("render")
    def make(depth: int = 0) -> int:
        render()
        return make(depth - 1) + 1 if depth else 1

    answers: list[int] = []
    workers = [threading.Thread(target=lambda: answers.append(make(2))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == [3] * 8
    assert not capture.under_way()
    with penstock.engine.profile("other"):
        assert make() == 1


def test_mistakes_are_said():
    with pytest.raises(BadRequest, match="takes a label"):

        @penstock.engine.profile  # type: ignore[arg-type]
        def bare() -> None: ...

    with pytest.raises(BadRequest, match="yields"):

        @penstock.engine.profile("tokens")
        def tokens() -> Any:
            yield 1

    with pytest.raises(BadRequest, match="once in 1, 2, 3"):
        penstock.engine.profile("x", every=0)


class Told:
    """An object that says where it is, as pipelines do."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def call(self) -> None: ...


def test_the_device_is_where_the_weights_are():
    here = torch.nn.Linear(2, 2)
    there = Told("cuda:1")
    assert session.device_of({"a": here}, ()) == "cpu"
    assert session.device_of({"a": here}, [StagePoint(there, "call", "x")]) == "cuda:1"
    assert session.device_of({"a": torch.nn.Linear(2, 2, device="meta")}, ()) == "cpu"
    assert session.device_of({}, ()) == "cpu"


def test_a_whole_sdxl_is_told_apart(tiny_sdxl: Any):
    """A real pipeline: three stages by name, the UNet once a step, the rest is the residual, all of it put back."""
    pipe = tiny_sdxl
    owners = [pipe, pipe.unet, pipe.vae]
    before = [dict(vars(owner)) for owner in owners]
    stages = {"text": (pipe, "encode_prompt"), "unet": (pipe.unet, "forward"), "vae": (pipe.vae, "decode")}
    with penstock.engine.profile("sdxl", stages=stages, modules=pipe.components, shapes=True) as p:
        pipe("a red lamp", num_inference_steps=2, height=64, width=64, output_type="pt")
    rows = {row.name: row for row in p.stages}
    assert {name: row.calls for name, row in rows.items() if not row.parent} == {
        "text": 1, "unet": 2, "vae": 1, UNATTRIBUTED: 1,
    }  # fmt: skip
    assert sum(row.share for row in p.stages if not row.parent) == pytest.approx(1.0, abs=0.03)
    assert any(k.module.startswith("unet.") for k in p.kernels)
    kept = [
        {k: v for k, v in vars(owner).items() if k in was} for owner, was in zip(owners, before, strict=True)
    ]
    assert all("forward" not in vars(owner) and "decode" not in vars(owner) for owner in owners)
    assert [set(k) for k in kept] == [set(was) for was in before]


def test_a_path_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in ("file/t.json", ".", "t.txt"):
        with pytest.raises(BadRequest, match=r"cannot be written|no name for a trace"):
            penstock.engine.profile("x", path=tmp_path / path)
    penstock.engine.profile("x", path=tmp_path / "new" / "t.json.gz")


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_function_keeps_its_result_and_its_exception_where_profiling_fails(tmp_path: Path, suffix: str):
    """A file is meanwhile where the trace's folder was; then nothing is in the way any more."""
    folder = tmp_path / "traces"
    place = folder / f"t{suffix}"

    @penstock.engine.profile("render", path=place)
    def make(*, fails: bool = False) -> torch.Tensor:
        if fails:
            raise KeyError("the user's own")
        return Render()()

    handle: Any = make
    folder.rmdir()
    folder.write_text("")
    assert make().shape == (4, 32)
    (said,) = handle.profile.profile.warnings
    assert "not profiled" in said
    assert handle.profile.kernels == ()
    with pytest.raises(KeyError, match="the user's own"):
        make(fails=True)
    assert not capture.under_way()
    folder.unlink()
    assert make().shape == (4, 32)
    assert handle.profile.kernels


def test_a_function_runs_bare_where_its_profile_cannot_begin():
    render = Render()

    @penstock.engine.profile("render", stages={"text": (render, "encoed")})
    def make() -> torch.Tensor:
        return render()

    handle: Any = make
    assert make().shape == (4, 32)
    assert "encoed" in handle.profile.profile.warnings[0]
    with (
        pytest.raises(BadRequest, match="encoed"),
        penstock.engine.profile("x", stages={"t": (render, "encoed")}),
    ):
        pass
    assert not capture.under_way()

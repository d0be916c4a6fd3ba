"""The sequence of a live run, with a real module; variants side by side; what was switched is switched back."""

import json
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.activations import GEGLU
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from penstock.base.errors import BadRequest
from penstock.engine.lab.compare import Ports as ComparePorts
from penstock.engine.lab.compare import Side, break_even, compare
from penstock.engine.lab.points import bound
from penstock.engine.lab.report import sections
from penstock.engine.lab.run import Ports, counted, facts, ranked, run
from penstock.engine.lab.sides import (
    compiled_places,
    expected_compiled,
    graphs,
    kernel_places,
    sides,
    switched,
)
from penstock.engine.measure import counting
from penstock.engine.measure.capture import capture
from penstock.engine.measure.records import (
    UNATTRIBUTED,
    Finding,
    KernelRow,
    Peaks,
    StageRow,
    Timing,
)
from penstock.engine.workloads.module import ModuleWorkload
from penstock.engine.workloads.outputs import max_error
from penstock.engine_wiring.live import FirstCall, by_name

torch.set_num_threads(1)
PEAKS = Peaks(device="cpu", flops_per_s={"fp32": 1e11}, bytes_per_s=1e10)


def silent(step, done=None):
    """No progress."""


@pytest.fixture
def workload():
    """Two children, whose FLOPs are known."""
    torch.manual_seed(0)
    model = nn.Sequential(GEGLU(16, 32), nn.Linear(32, 8))
    return ModuleWorkload("mine.py:build", model, (torch.randn(4, 16),))


def timed(ms):
    """A timing of that median."""
    return Timing(median_ms=ms, low_ms=ms, high_ms=ms, runs=5, warmup=2)


def port(workload, order, **more):
    """Real capture and counting, everything written down in order."""

    def noted(name, value):
        order.append(name)
        return value

    made = {
        "probe": lambda: noted("probe", workload.call()),
        "measure": lambda call: noted("measure", (call(), timed(0.5))[1]),
        "capture": lambda path: noted(
            "capture", capture(workload.call, path=path, modules=workload.modules(), label=workload.name)
        ),
        "machine": lambda: {"torch": torch.__version__},
        "peaks": lambda: noted("peaks", PEAKS),
        "count": lambda: noted("count", counting.count(workload.call, modules=workload.modules())),
        "faults": lambda seen, captured, counts: noted(
            "faults", (Finding(id="compute-bound", title="t", evidence=f"{counts.flops}", saves_ms=1.0),)
        ),
    }
    return Ports(**{**made, **more})


def test_the_order_and_the_whole(workload, tmp_path):
    """Probe while it is cold, time before anything is recorded, then capture; the stages sum to the captured run."""
    order, told = [], []
    watched = FirstCall(workload)
    profile = run(
        watched,
        port(watched, order),
        path=tmp_path / "c.json",
        tell=lambda step, done=None: told.append(step),
    )
    assert order == ["probe", "measure", "capture", "peaks", "count", "faults"]
    assert len(told) == 7
    assert watched.first_ms > 0
    assert profile.source == "live"
    assert profile.target == "mine.py:build"
    assert profile.timing.median_ms == 0.5
    top = [row for row in profile.stages if not row.parent]
    assert top[-1].name == UNATTRIBUTED
    assert sum(row.wall_ms for row in top) == pytest.approx(profile.wall_ms, rel=0.03)
    assert sum(row.share for row in top) == pytest.approx(1.0, abs=0.03)
    work = {row.name: row.flops for row in profile.stages}
    assert work["model.0"] == 2 * 4 * 16 * 64
    assert work["model.1"] == 2 * 4 * 32 * 8
    assert profile.facts["flops"] == work["model.0"] + work["model.1"]
    assert profile.facts["parameters"] == 16 * 64 + 64 + 32 * 8 + 8
    assert {"aten::addmm", "stage model.0", "stage model.1"} <= {point.name for point in profile.roofline}
    assert {point.dtype for point in profile.roofline} == {"fp32"}
    assert "compute-bound" in [one.id for one in profile.findings]
    assert any("times as long" in line for line in profile.warnings) == (profile.wall_ms > 0.75)
    json.dumps(profile.facts)


def test_what_is_not_asked_for_is_not_done(workload, tmp_path):
    """Without probe, count and faults there is still a timing and a capture."""
    order = []
    made = port(workload, order, probe=None, count=None, faults=None)
    profile = run(workload, made, path=tmp_path / "c.json.gz", tell=silent)
    assert order == ["measure", "capture", "peaks"]
    assert profile.stages
    assert "flops" not in profile.facts


def test_findings_are_ranked_and_told_once():
    """By what they save; a fault seen twice is told by the one that knows where."""
    found = ranked(
        [
            Finding(id="a", title="", evidence="", saves_ms=1.0),
            Finding(id="b", title="", evidence=""),
            Finding(id="c", title="", evidence="", saves_ms=9.0),
            Finding(id="sync", title="", evidence="of the capture", saves_ms=2.0),
            Finding(id="sync", title="", evidence="of the lint", saves_ms=3.0, where="mine.py:3"),
            Finding(id="cold", title="", evidence="", saves_ms=90.0, once=True),
        ]
    )
    assert [(one.id, one.saves_ms) for one in found] == [
        ("c", 9.0),
        ("sync", 3.0),
        ("a", 1.0),
        ("cold", 90.0),
        ("b", None),
    ]


def test_stages_take_their_modules_work(workload):
    """Of a part that is asked to decode, and whose forward nobody calls, its children's."""
    counts = counting.count(workload.call, modules=workload.modules())
    counts.by_module["vae"] = counting.OpCount()
    counts.by_module["vae.decoder"] = counting.OpCount(count=1, flops=7, bytes=3)
    counts.by_module["vae.decoder.up"] = counting.OpCount(count=1, flops=5, bytes=1)
    counts.by_module["text_encoder"] = counting.OpCount(count=1, flops=11, bytes=2)
    counts.by_module["text_encoder_2"] = counting.OpCount(count=1, flops=13, bytes=2)
    names = ("vae", "encode_prompt", "scheduler", "model.1")
    rows = counted([StageRow(name=name, wall_ms=1, share=0.1) for name in names], counts)
    assert [row.flops for row in rows] == [7, 24, None, 2 * 4 * 32 * 8]
    assert facts(workload, None)["batch"] == 4


def test_what_bounds_a_kernel():
    """By the device's peaks; a short kernel by being launched; far under the roof by neither."""
    assert bound(10**9, 10**6, 20.0, 1, PEAKS) == "compute"
    assert bound(10**6, 10**8, 20.0, 1, PEAKS) == "memory"
    assert bound(10**3, 10**3, 0.002, 1, PEAKS) == "overhead"
    assert bound(10**6, 10**6, 100.0, 1, PEAKS) == "overhead"
    assert bound(10**9, 10**6, 20.0, 1, None) == ""


def test_kernels_of_one_name_are_shown_together():
    """Whatever launched them."""
    rows = [
        KernelRow(name="k", count=1, total_ms=10.0, op="aten::mm", flops=10**9, bytes=10**6),
        KernelRow(name="k", count=1, total_ms=10.0, op="aten::mm", module="b", flops=10**9, bytes=10**6),
        KernelRow(name="r", count=1, total_ms=10.0, flops=1, bytes=1, attributed=False),
        KernelRow(name="u", count=1, total_ms=10.0),
    ]
    assert by_name(rows)[0] == KernelRow(
        name="k", count=2, total_ms=20.0, op="aten::mm", flops=10**9, bytes=10**6
    )


@given(st.floats(0, 1e4), st.floats(1e-3, 1e4), st.floats(1e-3, 1e4), st.integers(1, 50))
def test_the_break_even(prepare_s, base_ms, own_ms, shapes):
    """After so many calls as much has been gained as preparing all shapes took; never, where nothing is gained."""
    calls = break_even(prepare_s, base_ms, own_ms, shapes)
    if own_ms >= base_ms:
        assert calls is None
    else:
        assert calls * (base_ms - own_ms) / 1000 == pytest.approx(prepare_s * shapes)


def test_variants_with_a_machine_played():
    """Gain, error, seconds, graphs and break-even from what the ports say; a refused one is not called."""
    clock = iter([0.0, 1.0, 10.0, 14.01])
    made = iter([0, 0, 0, 2, 2, 2])
    medians = {"eager": 30.0, "compile": 10.0}
    played = ComparePorts(
        interleave=lambda calls: {name: timed(medians[name]) for name in calls},
        max_error=lambda a, b: abs(a - b),
        kernels=lambda name, call: (KernelRow(name=name, count=3, total_ms=1.0),),
        graphs=lambda: next(made),
        seconds=lambda: next(clock),
    )

    def never():
        raise AssertionError("a refused variant was called")

    shown = compare(
        [
            Side(name="eager", call=lambda: None, output=lambda: 1.0, expected=("three",)),
            Side(name="compile", call=lambda: None, output=lambda: 1.5, prepared=True),
            Side(name="kernels", call=never, output=never, refused="no such module"),
        ],
        played,
        shapes=3,
        tell=silent,
    )
    eager, compiled, kernels = shown
    assert (eager.gain, eager.prepare_s, eager.graphs, eager.break_even_calls) == (None, 0.0, None, None)
    assert (compiled.gain, compiled.verdict) == (3.0, "faster")
    assert compiled.prepare_s == pytest.approx(4.0)
    assert compiled.graphs == 2
    assert compiled.max_error == 0.5
    assert compiled.break_even_calls == pytest.approx(4.0 * 1000 * 3 / 20)
    assert (kernels.refused, kernels.timing) == ("no such module", None)


def test_switching_puts_everything_back():
    """Also where the call raises, and where an attribute was not the object's own."""
    thing = SimpleNamespace(own=1)

    def within():
        with switched([(thing, "own", 2), (thing, "new", 3)]):
            assert (thing.own, thing.new) == (2, 3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        within()
    assert vars(thing) == {"own": 1}


def test_a_module_compiled_and_with_kernels(workload):
    """One graph; gelu and mul are no ops of their own with oneDNN; the outputs agree, and nothing stays changed."""
    before = {name: dict(vars(module)) for name, module in workload.root.named_modules()}
    wanted = workload.call()
    counts = counting.count(workload.call, modules=workload.modules())
    eager, compiled, kernels = sides(workload, ("eager", "compile", "kernels"), counts)
    assert eager.expected[0].startswith("4 kernels")
    assert any("gelu, mul" in line for line in compiled.expected)
    already = graphs()
    assert max_error(wanted, compiled.call()) < 1e-5
    assert graphs() - already == 1
    assert compiled.prepared
    if kernels.refused:
        pytest.skip(f"NOT TESTED here: {kernels.refused}")
    assert max_error(wanted, kernels.output()) < 1e-5
    fused = counting.count(kernels.call, modules=workload.modules())
    assert not {"aten::gelu", "aten::mul"} & set(fused.by_op)
    assert {"aten::gelu", "aten::mul"} <= set(counts.by_op)
    assert {name: dict(vars(module)) for name, module in workload.root.named_modules()} == before


def test_without_geglu_there_is_no_kernel_to_show():
    """And that is the reason."""
    plain = ModuleWorkload("plain", nn.Linear(4, 4), (torch.randn(2, 4),))
    (side,) = sides(plain, ("kernels",))
    assert "GEGLU" in side.refused
    assert kernel_places(plain) == ([], [])
    assert expected_compiled(counting.count(plain.call)) == ("nothing to fuse: as many kernels as eager",)


def test_like_chains_are_expected_together():
    """Of what is compiled alone; those that save most kernels first."""
    chain = counting.Chain
    counts = counting.Counts(
        ops=20,
        pointwise_chains=(
            chain(ops=("mul", "add"), count=1, bytes=4, fused_bytes=2, module="unet.up.0.block"),
            chain(ops=("mul", "add"), count=2, bytes=8, fused_bytes=4, module="unet.up.0"),
            chain(ops=("gelu", "mul", "add"), count=2, bytes=8, fused_bytes=4, module="vae.decoder"),
            chain(ops=("add", "div"), count=4, bytes=8, fused_bytes=4, module="unet.up.01"),
        ),
    )
    assert expected_compiled(counts, ("unet.up.0", "vae")) == (
        "at most 13 kernels, for 7 pointwise ops need none of their own",
        "2 x one kernel for gelu, mul, add",
        "3 x one kernel for mul, add",
    )
    assert expected_compiled(counts, ("text",)) == ("nothing to fuse: as many kernels as eager",)


def test_a_pipeline_s_places_are_its_blocks_and_decode(tiny_sdxl):
    """The denoiser block by block, the autoencoder's decode; not ``pipe.vae``, whose forward nobody calls."""
    from penstock.engine.workloads.pipeline import PipelineWorkload  # noqa: PLC0415 - with the pipeline's fixture

    workload = PipelineWorkload("tiny", tiny_sdxl, {"prompt": ["a"], "num_inference_steps": 1})
    places = compiled_places(workload)
    blocks = {type(owner).__name__ for owner, name, _ in places if name == "_compiled_call_impl"}
    assert blocks == set(tiny_sdxl.unet._repeated_blocks)
    assert [(owner, name) for owner, name, _ in places if name == "decode"] == [(tiny_sdxl.vae, "decode")]
    replaced, reasons = kernel_places(workload)
    assert {type(owner).__name__ for owner, _, _ in replaced} <= {"GEGLU"}
    assert len(reasons) == sum(type(one).__name__ == "GEGLU" for one in tiny_sdxl.unet.modules())


def test_the_user_s_mistake_in_a_variant_is_told(workload):
    """As one, not as a traceback."""
    workload.args = (torch.randn(4, 5),)
    (side,) = sides(workload, ("eager",))
    with pytest.raises(BadRequest, match="shape"):
        side.call()


def test_a_device_that_could_not_be_measured_has_a_profile_without_a_roof(workload, tmp_path):
    """The timing, the stages and the findings are there; what is missing is said."""
    unknown = Peaks(device="cpu", flops_per_s={}, bytes_per_s=0.0, source="not measured", warnings=("full",))
    given = port(workload, [], peaks=lambda: unknown)
    profile = run(workload, given, path=tmp_path / "c.json", tell=silent)
    assert "full" in profile.warnings
    assert profile.stages
    assert {point.bound for point in profile.roofline} == {""}
    assert "peaks" not in str(sections.machine(profile))

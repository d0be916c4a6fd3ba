"""``--compare`` where a variant fails, keeps state, draws at random, is compiled again and again, or computes something else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from msgspec import structs
from torch import nn
from torch.nn import functional

from penstock.cli.profile_tables import show
from penstock.engine.lab import sides as ways
from penstock.engine.lab.compare import Side, compare, gain_range
from penstock.engine.lab.compare import gain as gain_of
from penstock.engine.lab.compare import verdict as verdict_of
from penstock.engine.lab.figures import break_even_text, gain_text
from penstock.engine.lab.report.page import page
from penstock.engine.measure import timing
from penstock.engine.measure.findings.compile import of_variants
from penstock.engine.measure.records import Timing, Variant
from penstock.engine.workloads.module import ModuleWorkload
from penstock.engine.workloads.pipeline import PipelineWorkload
from tests.engine.made import profile

torch.set_num_threads(1)


def silent(step, done=None):
    """No progress."""


def interleaved(calls):
    """Really in turn, shortly."""
    return timing.interleave(calls, least_s=0.0, most_s=0.5)


def compared(made, **played):
    """The variants by name, with this machine's own ports but for those that are played; their kernels are not looked at."""
    ports = ways.ports(interleaved, lambda name, call: (call(), ())[1])
    return {one.name: one for one in compare(made, structs.replace(ports, **played), tell=silent)}


def failing(when, message="no compiler"):
    """Works until its call of that number."""
    calls = 0

    def call():
        nonlocal calls
        calls += 1
        if calls == when:
            raise RuntimeError(message)
        return torch.ones(2)

    return call


def fine():
    return torch.ones(2)


def test_a_variant_that_fails_is_refused_and_the_others_go_on():
    """When it is prepared, while it is timed, or when its output is asked for; also where it is the first."""
    for first in (True, False):
        for when in (1, 4):
            bad = Side(name="bad", call=failing(when), output=fine)
            good = [Side(name="eager", call=fine, output=fine), Side(name="kernels", call=fine, output=fine)]
            told = compared([bad, *good] if first else [*good, bad])
            assert "no compiler" in told["bad"].refused
            assert told["bad"].timing is None
            assert told["eager"].timing is not None
            assert (told["eager"].max_error, told["kernels"].max_error) == (None, 0.0)
            assert list(told) == (["bad", "eager", "kernels"] if first else ["eager", "kernels", "bad"])
        bad = Side(name="bad", call=fine, output=failing(1))
        told = compared([bad, *good] if first else [*good, bad])
        assert "no compiler" in told["bad"].refused
        assert told["kernels"].max_error == 0.0
    (alone,) = compared([Side(name="bad", call=failing(1), output=fine)]).values()
    assert "RuntimeError: no compiler" in alone.refused


class Buffer(nn.Module):
    """Gives back a buffer of its own, another one every time."""

    def __init__(self):
        super().__init__()
        self.out = torch.zeros(2)

    def forward(self, x):
        return self.out.add_(x)


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def of(module, *names, x=None):
    torch.manual_seed(0)
    workload = ModuleWorkload("mine.py:build", module, (torch.ones(2) if x is None else x,))
    return compared(ways.sides(workload, names))


def as_kernels(side):
    """The same side by another name."""
    return Side(name="kernels", call=side.call, output=side.output)


def test_state_is_no_agreement():
    """What the first call gave is kept, though the second writes over it."""
    workload = ModuleWorkload("mine.py:build", Buffer(), (torch.ones(2),))
    (eager,) = ways.sides(workload, ("eager",))
    told = compared([eager, as_kernels(eager)])
    assert told["kernels"].max_error >= 1.0
    assert "differs from itself" in told["kernels"].differences[0]


def test_each_variant_draws_the_same_numbers():
    workload = ModuleWorkload("mine.py:build", Noise(), (torch.ones(2),))
    (eager,) = ways.sides(workload, ("eager",))
    told = compared([eager, as_kernels(eager)])
    assert (told["kernels"].max_error, told["kernels"].differences) == (0.0, ())
    compiled = Side(name="compile", call=eager.call, output=lambda: torch.randn(2), prepared=True)
    told = compared([eager, compiled], compiled=lambda call: True)
    assert told["compile"].max_error is None
    assert "at random" in told["compile"].differences[0]


class GEGLU(nn.Module):
    """A user's own: the gate comes first, and its gelu is the approximate one."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(16, 32)

    def forward(self, x):
        gate, up = self.proj(x).chunk(2, dim=-1)
        return functional.gelu(gate, approximate="tanh") * up


def test_a_geglu_of_another_s_is_not_ours_to_replace():
    """By its name it might compute anything."""
    told = of(GEGLU(), "eager", "kernels", x=torch.randn(4, 16))
    assert "not diffusers' own" in told["kernels"].refused


def test_a_variant_that_computes_something_else_is_told():
    told = compared(
        [
            Side(name="eager", call=fine, output=fine),
            Side(name="kernels", call=fine, output=lambda: 1.5 * fine()),
        ]
    )
    assert told["kernels"].max_error == 0.5
    assert "does not compute the same" in told["kernels"].differences[0]


class Counter(nn.Module):
    """Guarded by its own counter: every call is another graph."""

    def __init__(self):
        super().__init__()
        self.seen = {"calls": 0}

    def forward(self, x):
        self.seen["calls"] += 1
        return functional.gelu(x) * 2 if self.seen["calls"] % 2 else functional.gelu(x) * 3


def test_a_module_compiled_again_by_every_call():
    """The compiler's time is not blamed on guards: the guard that failed is told, and nothing is said to be saved."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=3):
        told = of(Counter(), "eager", "compile")
    assert told["compile"].recompiles
    assert "forward" in told["compile"].recompiles[0]
    (said,) = of_variants(told.values())
    assert (said.id, said.saves_ms) == ("recompiles", None)


class Convolved(nn.Module):
    """A user's own class around the same convolutions."""

    def __init__(self):
        super().__init__()
        self.body = convolutions()

    def forward(self, x):
        return self.body(x)


def convolutions():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))


@pytest.mark.parametrize("make", [convolutions, Convolved])
def test_a_module_of_torchs_own_classes_is_compiled_too(make):
    """Dynamo skips frames of torch.nn: a Sequential's call compiled as it stands makes no graph."""
    torch._dynamo.reset()
    module = make()
    told = of(module, "eager", "compile", x=torch.randn(1, 3, 16, 16))
    assert told["compile"].graphs == 1
    assert told["compile"].max_error < 1e-5
    assert told["compile"].compiled == (f"model ({type(module).__name__})",)
    assert not any("no graph" in one for one in told["compile"].differences)


def test_what_is_compiled_of_a_pipeline_is_named(tiny_sdxl):
    """Its denoiser's repeated blocks, and the method of its autoencoder that is called."""
    workload = PipelineWorkload("sdxl", tiny_sdxl, {"prompt": ["a lamp"]})
    blocks = [part for part in tiny_sdxl.unet.modules() if type(part).__name__ == "BasicTransformerBlock"]
    words = ways.compiled_words(workload, ways.compiled_places(workload))
    assert sorted(words) == [f"unet: {len(blocks)} x BasicTransformerBlock", "vae.decode"]
    skipped = Side(name="compile", call=fine, output=fine, prepared=True, compiled=words)
    told = compared([Side(name="eager", call=fine, output=fine), skipped])
    assert f"no graph was made for it ({', '.join(words)})" in told["compile"].refused


def test_only_torchs_own_classes_are_called_from_a_frame_of_ours():
    """All such frames have one code, and with it one limit of recompilations: a model's own blocks keep theirs."""
    user = Convolved()
    for module, own in ((user, True), (user.body, False)):
        (place,) = ways.compiled_places(ModuleWorkload("mine.py:build", module, (torch.ones(1),)))
        assert (place[2]._torchdynamo_orig_callable == module._call_impl) is own


def test_a_compiled_side_without_a_graph_is_refused():
    """Whatever it gained would not be the compiler's: it is not timed, and no call of it breaks even."""
    skipped = Side(name="compile", call=fine, output=fine, prepared=True)
    told = compared([Side(name="eager", call=fine, output=fine), skipped])
    assert "no graph was made for it, and nothing compiled runs in it" in told["compile"].refused
    assert (told["compile"].graphs, told["compile"].timing, told["compile"].gain) == (0, None, None)
    assert not told["eager"].refused


class Skipped(nn.Module):
    """Nobody may compile it."""

    def __init__(self):
        super().__init__()
        self.body = convolutions()

    @torch.compiler.disable
    def forward(self, x):
        return self.body(x)


@pytest.fixture
def quick(monkeypatch):
    """Dynamo's whole work, without Inductor's seconds."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **options: compiled(call, backend="eager"))
    torch._dynamo.reset()


@pytest.mark.usefixtures("quick")
def test_a_real_module_that_dynamo_leaves_alone_is_refused_and_without_the_mark_it_is_compared():
    told = of(Skipped(), "eager", "compile", x=torch.randn(1, 3, 16, 16))
    assert "(model (Skipped))" in told["compile"].refused
    assert of_variants(told.values()) == []
    told = of(Convolved(), "eager", "compile", x=torch.randn(1, 3, 16, 16))
    assert not told["compile"].refused
    assert told["compile"].verdict


@pytest.mark.usefixtures("quick")
def test_what_was_compiled_before_is_compared_and_that_is_said():
    """A second comparison in one process finds its graphs made."""
    net = Convolved()
    x = torch.randn(1, 3, 16, 16)
    assert of(net, "eager", "compile", x=x)["compile"].graphs == 1
    again = of(net, "eager", "compile", x=x)["compile"]
    if again.graphs:
        pytest.skip("NOT TESTED: this torch compiles it anew for each wrapper")
    assert not again.refused
    assert any("made before, in this process" in one for one in again.differences)


def of_times(*ms):
    """Quartiles as given: low, median, high."""
    low, middle, high = ms
    return Timing(median_ms=middle, low_ms=low, high_ms=high, runs=9, warmup=3)


def timed_as(base, own):
    """Two sides with those times, the second one prepared in a second."""
    clock = iter([0.0, 0.0, 10.0, 11.0])
    return compared(
        [
            Side(name="eager", call=fine, output=fine),
            Side(name="compile", call=fine, output=fine, prepared=True),
        ],
        interleave=lambda calls: {"eager": of_times(*base), "compile": of_times(*own)},
        compiled=lambda call: True,
        seconds=lambda: next(clock),
    )["compile"]


@pytest.mark.parametrize(
    ("base", "own", "verdict", "gain", "after"),
    [
        ((9.5, 10.0, 10.5), (9.3, 9.8, 10.3), "same", "no difference within the noise (+2.0 % ± 10.3 %)", "never"),
        ((9.5, 10.0, 10.5), (7.9, 8.0, 8.1), "faster", "1.25x", "496 calls"),
        ((9.5, 10.0, 10.5), (19.0, 20.0, 21.0), "slower", "0.50x", "never"),
        ((9.5, 10.0, 10.5), (9.6, 10.2, 11.0), "same", "no difference within the noise (-2.0 % ± 11.5 %)", "never"),
    ],
)  # fmt: skip
def test_a_gain_within_the_noise_is_none(base, own, verdict, gain, after, capsys):
    """In the record, in the terminal and in the report; a median that is lower pays for nothing by itself."""
    one = timed_as(base, own)
    assert (one.verdict, gain_text(one), break_even_text(one)) == (verdict, gain, after)
    assert (one.break_even_calls is None) == (verdict != "faster")
    made = profile(variants=(Variant(name="eager", timing=of_times(*base)), one), findings=())
    show(made)
    said = " ".join(capsys.readouterr().out.split())
    for told in (said, page(made)):
        assert ("within the noise" in told) == (verdict == "same")
        assert after in told
        assert ("The comparison found" in told) == (verdict == "faster")


@given(*(some.lists(some.floats(0.01, 1e4), min_size=3, max_size=3) for _ in range(2)))
def test_the_verdict_is_the_quartiles_and_the_gain_lies_in_its_range(base, own):
    first, second = of_times(*sorted(base)), of_times(*sorted(own))
    low, high = gain_range(first, second)
    assert low <= gain_of(first, second) <= high
    expected = {"faster": low > 1, "slower": high < 1}
    said = verdict_of(first, second)
    assert expected.get(said, not any(expected.values()))

"""``compiled-nothing``, ``recompiles``, ``graph-breaks``, ``slowed-by-compile``: made in real modules, mended by the fix's own code."""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import utils as dynamo

from penstock.engine.lab.probes import parts, watching
from penstock.engine.measure.findings import compile as rules
from penstock.engine.measure.records import Timing, Variant
from penstock.engine.measure.seen import GraphBreak, Seen
from tests.engine import faults
from tests.engine.clocks import Scripted
from tests.engine.faults import code, found, look, mend, module, pipeline

quick = partial(torch.compile, backend="eager")
"""Dynamo's whole work, without Inductor's minutes."""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Dynamo begins anew in each test."""
    faults.forget()
    yield
    faults.forget()


class Coder(nn.Module):
    """An autoencoder of two linears; used by its methods, as a pipeline uses a VAE."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def encode(self, x: Tensor) -> Tensor:
        return self.down(x)

    def decode(self, z: Tensor) -> Tensor:
        return torch.tanh(self.up(z))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Holder(nn.Module):
    """Calls one method of what it holds."""

    def __init__(self, inner: Any, method: str) -> None:
        super().__init__()
        self.inner, self.method = inner, method

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.inner, self.method)(x)


def test_a_compiled_module_used_by_a_method_compiles_nothing_and_the_fix_compiles_it():
    """The fix's code is run as it stands, Inductor included: one graph."""
    root = Holder(torch.compile(Coder().eval()), "decode")
    workload = module(root, torch.randn(2, 4))
    seen = look(workload)
    (said,) = found(seen, "compiled-nothing")
    assert (said.where, said.facts["forward_calls"], said.facts["other_calls"]) == ("model.inner", 0, 1)
    assert code(said) == "model.inner.decode = torch.compile(model.inner.decode)"
    assert dynamo.counters["stats"]["unique_graphs"] == 0
    mend(said, model=root)
    workload.call()
    assert dynamo.counters["stats"]["unique_graphs"] == 1
    assert found(look(workload), "compiled-nothing") == []


def test_compiled_in_place_and_bypassed():
    """``module.compile()`` leaves the object's class as it is, and is found all the same."""
    inner = Coder().eval()
    inner.compile(backend="eager")
    root = Holder(inner, "decode")
    (said,) = found(look(module(root, torch.randn(2, 4))), "compiled-nothing")
    mend(said, model=root, torch=SimpleNamespace(compile=quick))
    assert found(look(module(root, torch.randn(2, 4))), "compiled-nothing") == []
    assert dynamo.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("how", ["module", "in-place", "method", "forward"])
def test_what_is_compiled_and_called_is_no_fault(how: str):
    """Called by ``forward`` or compiled by method: nothing to say. And looking compiles nothing anew."""
    inner: Any = Coder().eval()
    if how == "module":
        inner = quick(inner)
    elif how == "in-place":
        inner.compile(backend="eager")
    else:
        name = "decode" if how == "method" else "forward"
        setattr(inner, name, quick(getattr(inner, name)))
    root = Holder(inner, "decode" if how == "method" else "__call__")
    workload = module(root, torch.randn(2, 4 if how == "method" else 8))
    workload.call()
    before = len(dynamo.get_compilation_metrics())
    assert before == 1
    seen = look(workload)
    assert found(seen, "compiled-nothing") == []
    (place,) = seen.parts[0].compiled
    assert place.forward_calls == 1
    assert len(dynamo.get_compilation_metrics()) == before


def test_pytorchs_own_classes_compiled_in_place_compile_nothing_and_wrapped_they_do():
    """``nn.Sequential(...).compile()``: called, and 0 graphs; with the fix's code one."""
    root = Holder(nn.Sequential(nn.Linear(4, 4), nn.GELU()), "__call__")
    root.inner.compile(backend="eager")
    workload = module(root, torch.randn(2, 4))
    (said,) = found(look(workload), "compiled-nothing")
    assert (said.where, said.facts["forward_calls"]) == ("model.inner", 1)
    assert dynamo.counters["stats"]["unique_graphs"] == 0
    mend(said, model=root, torch=SimpleNamespace(compile=quick))
    seen = look(workload)
    assert found(seen, "compiled-nothing") == []
    assert seen.compilation is not None
    assert seen.compilation.graphs == 1


def test_a_compiled_module_that_the_run_does_not_use_is_not_accused():
    """Of a part that no method of was called, nothing is known."""
    root = Holder(nn.Linear(4, 4), "__call__")
    root.spare = quick(Coder())
    assert found(look(module(root, torch.randn(2, 4))), "compiled-nothing") == []


def test_a_pipelines_vae_compiled_as_a_whole_runs_no_graph(tiny_sdxl: Any):
    """``pipe.vae = torch.compile(pipe.vae)``: the pipeline calls ``decode``."""
    tiny_sdxl.vae = quick(tiny_sdxl.vae)
    workload = pipeline(tiny_sdxl, output_type="pt")
    (said,) = found(look(workload), "compiled-nothing")
    assert said.where == "pipe.vae"
    assert code(said) == "pipe.vae.decode = torch.compile(pipe.vae.decode)"
    assert dynamo.counters["stats"]["unique_graphs"] == 0
    mend(said, pipe=tiny_sdxl, torch=SimpleNamespace(compile=quick))
    seen = look(workload)
    assert found(seen, "compiled-nothing") == []
    assert seen.compilation is not None
    assert seen.compilation.graphs == 1


class Paced(Holder):
    """Moves the clock by one duration where what it calls is compiled, by another where it is not."""

    def __init__(
        self, inner: Any, method: str, clock: Scripted, *, plain_s: float, compiled_s: float
    ) -> None:
        super().__init__(inner, method)
        self.clock, self.plain_s, self.compiled_s = clock, plain_s, compiled_s

    def forward(self, x: Tensor) -> Tensor:
        in_place = self.method == "__call__"
        called = self.inner._compiled_call_impl if in_place else getattr(self.inner, self.method)
        original = getattr(called, "_torchdynamo_orig_callable", None)
        stepped_over = getattr(original, "__func__", None) is nn.Module._call_impl
        self.clock.now_s += self.compiled_s if original is not None and not stepped_over else self.plain_s
        return super().forward(x)


@pytest.mark.parametrize("stepped_over", [False, True])
@pytest.mark.parametrize("gains", [True, False])
def test_what_compiling_it_would_save_is_measured_on_request(
    monkeypatch: pytest.MonkeyPatch, stepped_over: bool, gains: bool
):
    """As the fix's code would have it; else the finding says why it gives no figure. Nothing is left of the trial."""
    monkeypatch.setattr(torch, "compile", quick)
    clock = Scripted()
    inner: Any = nn.Sequential(nn.Linear(4, 4), nn.GELU()) if stepped_over else quick(Coder())
    if stepped_over:
        inner.compile(backend="eager")
    method = "__call__" if stepped_over else "decode"
    root = Paced(inner, method, clock, plain_s=30e-3, compiled_s=20e-3 if gains else 30e-3)
    workload = module(root, torch.randn(2, 4))
    before = dict(vars(inner))
    (said,) = found(look(workload, clock=clock), "compiled-nothing")
    assert said.saves_ms is None
    assert "not known before it is timed both ways" in said.evidence
    assert dynamo.counters["stats"]["unique_graphs"] == 0
    (said,) = found(look(workload, deep=True, clock=clock), "compiled-nothing")
    assert dynamo.counters["stats"]["unique_graphs"] == 1
    assert vars(inner) == before
    if gains:
        assert said.saves_ms == pytest.approx(10)
        assert "30 ms as it is, 20 ms" in said.evidence
    else:
        assert said.saves_ms is None
        assert "no gain beyond the noise" in said.evidence


class Lengths(nn.Module):
    """Calls a compiled part with three lengths."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return sum((self.inner(x[:n]).sum() for n in (4, 5, 6)), start=torch.zeros(()))


@pytest.mark.parametrize("kind", ["module", "in-place", "method"])
def test_recompiled_per_shape_with_the_guard_and_mended_by_a_dynamic_dimension(kind: str):
    """One graph for each of three lengths; with the fix's code, one for all."""
    inner: Any = Coder()
    if kind == "module":
        inner = quick(inner, dynamic=False)
    elif kind == "in-place":
        inner.compile(backend="eager", dynamic=False)
    else:
        inner.forward = quick(inner.forward, dynamic=False)
    root = Lengths(inner)
    (said,) = found(look(module(root, torch.randn(8, 8))), "recompiles")
    assert said.facts["recompiles"] == 2
    assert said.facts["run_compile_s"] == 0.0
    assert (said.saves_ms, said.once) == (said.facts["compile_s"] * 1e3, True)
    assert "once for each new shape" in said.bound
    assert "paid once for each new shape" in said.evidence
    assert "size of x in dimension 0 was" in said.title
    assert "size mismatch at index 0. expected" in said.evidence
    assert said.where.startswith("tests/engine/test_finding_compile.py:")
    torch._dynamo.reset()
    dynamo.clear_compilation_metrics()
    if kind == "in-place":
        assert code(said) == "model.inner.compile(dynamic=True)"
        inner.compile(dynamic=True, backend="eager")
    else:
        mend(said, model=root, torch=SimpleNamespace(compile=quick))
    assert found(look(module(root, torch.randn(8, 8))), "recompiles") == []
    assert len(dynamo.get_compilation_metrics()) == 1


class Strength(nn.Module):
    """Calls a compiled part with several numbers, or with several tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = quick(Scaled(), dynamic=False)
        self.mend: Any = float

    def forward(self, x: Tensor) -> Tensor:
        return sum((self.inner(x, self.mend(s)).sum() for s in (1.5, 2.5, 3.5)), start=torch.zeros(()))


class Scaled(nn.Module):
    def forward(self, x: Tensor, strength: Any) -> Tensor:
        return x * strength


def test_recompiled_per_value_and_mended_by_a_tensor():
    """A Python number is a constant of the graph."""
    root = Strength()
    (said,) = found(look(module(root, torch.randn(2, 8))), "recompiles")
    assert "strength was 1.5, and is part of the graph" in said.title or "strength was 2.5" in said.title
    torch._dynamo.reset()
    dynamo.clear_compilation_metrics()
    root.mend = lambda value: mend(said, strength=value)["strength"]
    assert found(look(module(root, torch.randn(2, 8))), "recompiles") == []


class Longer(nn.Module):
    """Calls a compiled part with another length in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.runs = quick(Coder(), dynamic=False), 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return self.inner(x[: self.runs])


def test_what_every_run_compiles_again_every_run_pays():
    """The compiler's seconds in a run that is not the first; never more than a run takes."""
    seen = look(module(Longer(), torch.randn(8, 8)))
    (said,) = found(seen, "recompiles")
    assert said.facts["run_compile_s"] > 0
    assert seen.wall_ms is not None
    assert (said.saves_ms, said.once) == (min(said.facts["run_compile_s"] * 1e3, seen.wall_ms), False)
    assert "every run pays that" in said.evidence


class Guided(nn.Module):
    """Branches on a scale that may be a tensor."""

    def forward(self, x: Tensor, guidance_scale: Any) -> Tensor:
        y = torch.tanh(x)
        if guidance_scale > 1.0:
            y = y * guidance_scale
        return y + 1


def test_a_branch_on_guidance_scale_breaks_the_graph_at_the_users_line():
    """A tensor's truth is read on the host; given as a number it is a guard."""
    root = quick(Guided())
    scale: Any = torch.tensor(7.5)
    seen = look(module(root, torch.randn(2, 4), scale))
    (said,) = found(seen, "graph-breaks")
    assert said.title.endswith("if guidance_scale > 1.0:")
    assert "Data-dependent branching" in said.evidence
    assert said.where.startswith("tests/engine/test_finding_compile.py:")
    torch._dynamo.reset()
    guidance_scale = mend(said, guidance_scale=scale)["guidance_scale"]
    assert found(look(module(root, torch.randn(2, 4), guidance_scale)), "graph-breaks") == []


class Reading(nn.Module):
    """Reads a value into Python in the middle."""

    def forward(self, x: Tensor) -> Tensor:
        top = x.max().item()
        return x / top


def test_an_item_breaks_the_graph_and_is_carried_by_it_with_the_fix():
    """``.item()``; the fix is a setting of Dynamo's."""
    root = quick(Reading())
    (said,) = found(look(module(root, torch.rand(2, 4))), "graph-breaks")
    assert "top = x.max().item()" in said.title
    torch._dynamo.reset()
    mend(said)
    assert found(look(module(root, torch.rand(2, 4))), "graph-breaks") == []


def test_what_is_not_compiled_is_traced_on_request_and_nothing_is_left_of_it():
    """A trial: what would break. Without ``deep`` it is not tried, and after it nothing is compiled."""
    root = Guided()
    workload = module(root, torch.randn(2, 4), torch.tensor(7.5))
    assert found(look(workload), "graph-breaks") == []
    seen = look(workload, deep=True)
    (said,) = found(seen, "graph-breaks")
    assert said.title.startswith("The graph would break at")
    assert dynamo.get_compilation_metrics() == []
    assert vars(root) == vars(Guided()) | {"training": False}
    fine = look(module(root, torch.randn(2, 4), 7.5), deep=True)
    assert found(fine, "graph-breaks") == []


def test_a_trial_would_forget_what_is_compiled_and_is_refused_with_the_reason():
    """The reason is a value, and the other probes ran."""
    quick(Guided())(torch.randn(2, 4), 7.5)
    seen = faults.probes.probe(module(Guided(), torch.randn(2, 4), torch.tensor(7.5)), deep=True)
    (skipped,) = seen.skipped
    assert skipped.probe == "what would break"
    assert "would discard it" in skipped.reason
    assert seen.parts[0].forward_calls == 1


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("if guidance_scale > 1.0:", "guidance_scale"),
        ("    if self.guidance_scale > 1:", "self.guidance_scale"),
        ("while scale:", "scale"),
        ("y = a if scale > 1 else b", "scale"),
        ("if x.sum() > 0:", ""),
        ("if a > b:", ""),
        ("y = x + 1", ""),
        ("if (", ""),
    ],
)
def test_the_name_that_a_branch_is_on(line: str, name: str):
    assert rules.branched(line) == name


def test_an_expression_in_a_branch_gets_where_and_not_a_conversion():
    """``float(x.sum())`` would be the same wait."""
    said = rules.broken(
        GraphBreak(reason="r", where="a.py:1", line="if x.sum() > 0:", kind="branch"), Seen(), tried=False
    )
    assert code(said) == "y = torch.where(condition, when_true, when_false)"


class Own(nn.Module):
    """A linear in a class of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def test_what_others_have_compiled_in_the_process_is_not_this_workloads():
    """A break of another's, before; and a compiled function, not an attribute of anything, that is called within."""
    quick(Guided())(torch.randn(2, 4), torch.tensor(7.5))
    assert found(look(module(nn.Linear(4, 4), torch.randn(2, 4))), "graph-breaks") == []
    torch._dynamo.reset()
    function = quick(Guided().forward)

    class Calling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x, torch.tensor(7.5))

    (said,) = found(look(module(Calling(), torch.randn(2, 4))), "graph-breaks")
    assert "if guidance_scale > 1.0:" in said.title


class Moving(nn.Module):
    """Moves the clock by one duration where it runs compiled, by another where it does not."""

    def __init__(self, clock: Scripted, *, eager_s: float, compiled_s: float) -> None:
        super().__init__()
        self.inner: Any = Own()
        self.clock, self.eager_s, self.compiled_s = clock, eager_s, compiled_s

    def forward(self, x: Tensor) -> Tensor:
        held = vars(self.inner)
        called = held.get("_compiled_call_impl") or held.get("forward")
        self.clock.now_s += self.compiled_s if hasattr(called, "_torchdynamo_orig_callable") else self.eager_s
        return self.inner(x)


@pytest.mark.parametrize("kind", ["module", "in-place", "method"])
def test_a_tiny_model_slowed_down_by_compile_and_left_eager_by_the_fix(kind: str):
    """28 against 49 (torch.md): told on request, undone by the fix's code."""
    clock = Scripted()
    root = Moving(clock, eager_s=28e-3, compiled_s=49e-3)
    if kind == "module":
        root.inner = quick(root.inner)
    elif kind == "in-place":
        root.inner.compile(backend="eager")
    else:
        root.inner.forward = quick(root.inner.forward)
    workload = module(root, torch.randn(1, 4))
    assert found(look(workload, clock=clock), "slowed-by-compile") == []
    (said,) = found(look(workload, deep=True, clock=clock), "slowed-by-compile")
    assert said.saves_ms == pytest.approx(21)
    assert said.facts["ratio"] == pytest.approx(28 / 49)
    mend(said, model=root)
    torch._dynamo.reset()
    dynamo.clear_compilation_metrics()
    dynamo.counters.clear()
    workload.call()
    assert dynamo.get_compilation_metrics() == []
    assert found(look(workload, deep=True, clock=clock), "slowed-by-compile") == []


def test_faster_compiled_or_not_to_be_told_is_no_fault():
    """Quartiles that overlap decide nothing."""
    eager = Timing(median_ms=1.0, low_ms=0.9, high_ms=1.2, runs=9, warmup=3)
    assert rules.slowed(eager, Timing(median_ms=0.8, low_ms=0.7, high_ms=0.9, runs=9, warmup=3)) == []
    assert rules.slowed(eager, Timing(median_ms=1.15, low_ms=1.1, high_ms=1.3, runs=9, warmup=3)) == []
    assert len(rules.slowed(eager, Timing(median_ms=1.5, low_ms=1.4, high_ms=1.6, runs=9, warmup=3))) == 1


def test_the_sides_of_a_comparison_are_judged_too():
    """``--compare eager,compile``; a side that was refused decides nothing."""
    eager = Timing(median_ms=1.0, low_ms=0.9, high_ms=1.1, runs=9, warmup=3)
    slow = Timing(median_ms=2.0, low_ms=1.9, high_ms=2.1, runs=9, warmup=3)
    named = Variant(name="compile", timing=slow, compiled=("model (Sequential)",))
    (said,) = rules.of_variants([Variant(name="eager", timing=eager), named])
    assert said.evidence.startswith("Compiled: model (Sequential). Eager")
    assert (said.id, said.fix) == ("slowed-by-compile", "Leave it eager.")
    assert said.saves_ms is None
    assert "the eager one" in said.bound
    again = ("forward (m.py:12), 8 times: self.n == 1",)
    (said,) = rules.of_variants(
        [Variant(name="eager", timing=eager), Variant(name="compile", timing=slow, recompiles=again)]
    )
    assert (said.id, said.saves_ms) == ("recompiles", None)
    assert "self.n == 1" in said.evidence
    assert (
        rules.of_variants([Variant(name="eager", timing=slow), Variant(name="compile", timing=eager)]) == []
    )
    assert (
        rules.of_variants([Variant(name="eager", timing=eager), Variant(name="compile", refused="no g++")])
        == []
    )


def test_a_bypassed_method_must_handle_tensors():
    """Asking a module its name is not using it."""

    class Named(Coder):
        def describe(self) -> str:
            return "coder"

    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = quick(Named())

        def forward(self, x: Tensor) -> Tensor:
            self.inner.describe()
            return x

    workload = module(Asking(), torch.randn(2, 8))
    (place,) = parts.places(workload)["model"]
    assert watching.bypassed(workload, place) == {}

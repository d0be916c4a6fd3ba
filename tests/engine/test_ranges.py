"""Ranges on live objects: there while the block lasts, gone after it, whatever happens within; compiled code stays compiled."""

import asyncio
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock.engine
from penstock.base.errors import BadRequest
from penstock.engine.measure import marks, ranges
from penstock.engine.measure.counting import count
from penstock.engine.measure.records import UNATTRIBUTED
from penstock.engine.workloads.workload import StagePoint


class Base:
    def inherited(self, value: int) -> int:
        return value + 1

    @staticmethod
    def fixed(value: int) -> int:
        return value * 2

    @classmethod
    def named(cls, value: int) -> str:
        return f"{cls.__name__} {value}"


class Thing(Base):
    """Has methods of every kind."""

    def __init__(self) -> None:
        self.own = lambda value: value - 1
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU())

    def plain(self, value: int, *, scale: int = 1) -> int:
        """Its words."""
        return self.inherited(value) * scale

    def fails(self, value: int) -> int:
        raise KeyError(value)

    async def waits(self, value: int) -> int:
        await asyncio.sleep(0)
        return self.plain(value)

    def set_timesteps(self, count: int, *, eta: float = 0.0) -> None:
        """Pipelines look at this signature."""


def seen(call: Callable[[], Any]) -> list[str]:
    """Names of the ranges that a call opened, in order."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True
    ) as profiler:
        call()
    return [event.name for event in profiler.events() if event.name.startswith((marks.STAGE, marks.MODULE))]


def test_methods_have_their_ranges_and_their_results():
    thing = Thing()
    before = dict(vars(thing))
    points = [
        StagePoint(thing, "plain", "outer"),
        StagePoint(thing, "inherited", "inner"),
        StagePoint(thing, "own", "own"),
        StagePoint(thing, "fixed", "fixed"),
        StagePoint(thing, "named", "named"),
    ]

    def call() -> None:
        with ranges.staged(points):
            assert thing.plain(3, scale=2) == 8
            assert thing.own(3) == 2
            assert thing.fixed(3) == 6
            assert thing.named(3) == "Thing 3"
            assert Thing().plain(1) == 2  # another object of the class has no ranges

    assert seen(call) == [f"stage: {name}" for name in ("outer", "inner", "own", "fixed", "named")]
    assert vars(thing) == before
    assert seen(lambda: thing.plain(1)) == []


def test_wrappers_look_like_what_they_wrap():
    thing = Thing()
    expected = inspect.signature(thing.set_timesteps)
    with ranges.staged([StagePoint(thing, "set_timesteps", "scheduler"), StagePoint(thing, "plain", "x")]):
        assert inspect.signature(thing.set_timesteps) == expected
        assert thing.plain.__doc__ == "Its words."


def test_what_is_raised_passes_through_and_the_range_ends():
    thing = Thing()
    before = dict(vars(thing))
    beats: list[tuple[str, bool]] = []

    def call() -> None:
        points = [StagePoint(thing, "fails", "bad"), StagePoint(thing, "plain", "good")]
        with ranges.staged(points, beat=lambda stage, begins: beats.append((stage, begins))):
            with pytest.raises(KeyError):
                thing.fails(1)
            thing.plain(1)
            raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"):
        call()
    assert beats == [("bad", True), ("bad", False), ("good", True), ("good", False)]
    assert vars(thing) == before


def test_coroutines_are_ranges_from_start_to_end():
    thing = Thing()

    async def call() -> int:
        with ranges.staged([StagePoint(thing, "waits", "waiting"), StagePoint(thing, "plain", "within")]):
            return await thing.waits(4)

    assert seen(lambda: asyncio.run(call())) == ["stage: waiting", "stage: within"]


def test_classes_and_their_static_methods_can_be_wrapped_too():
    before = dict(vars(Thing)), dict(vars(Base))
    points = [
        StagePoint(Thing, "plain", "plain"),
        StagePoint(Base, "fixed", "fixed"),
        StagePoint(Base, "named", "named"),
        StagePoint(Thing, "inherited", "inherited"),
    ]

    def call() -> None:
        with ranges.staged(points):
            assert Thing().plain(1) == 2
            assert (Thing.fixed(2), Thing().fixed(2)) == (4, 4)
            assert Thing.named(5) == "Thing 5"

    assert seen(call) == [f"stage: {name}" for name in ("plain", "inherited", "fixed", "fixed", "named")]
    assert (dict(vars(Thing)), dict(vars(Base))) == before


def test_modules_have_dotted_names_down_to_a_depth():
    block = torch.nn.ModuleDict(
        {
            "layers": torch.nn.ModuleList(
                [torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()) for _ in range(2)]
            )
        }
    )

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
            for layer in self.block["layers"]:
                x_BD = layer(x_BD)
            return x_BD

    model = Model()
    x_BD = torch.ones(1, 4)

    def call(depth: int) -> None:
        with ranges.staged(modules={"unet": model}, depth=depth), torch.no_grad():
            model(x_BD)

    assert seen(lambda: call(0)) == ["module: unet"]
    assert seen(lambda: call(1)) == [
        "module: unet",
        "module: unet.block.layers.0",
        "module: unet.block.layers.1",
    ]
    assert "module: unet.block.layers.1.0" in seen(lambda: call(2))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_modules_forward_is_its_call():
    thing = Thing()
    before = dict(vars(thing.net))

    def call() -> None:
        with ranges.staged([StagePoint(thing.net, "forward", "unet")], modules={"net": thing.net}):
            thing.net(torch.ones(1, 4))

    assert seen(call)[:2] == ["module: net", "stage: unet"]
    assert vars(thing.net) == before


class Two(torch.nn.Module):
    """A module of the user's: ``nn.Sequential`` itself, compiled in place, would compile nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.second = torch.nn.GELU()

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x_BD))


@pytest.mark.parametrize("how", ["in place", "by function", "a method"])
def test_compiled_modules_are_wrapped_from_outside(how: str):
    """One graph before, one graph after: no range was traced into it, no hook made it compile again."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(1)
        return graph

    torch._dynamo.reset()
    inner: Any = Two()
    model: Any = torch.compile(inner, backend=backend) if how == "by function" else inner
    if how == "in place":
        inner.compile(backend=backend)
    if how == "a method":
        model.decode = torch.compile(lambda x_BD: inner.second(inner.first(x_BD)), backend=backend)
    method = "decode" if how == "a method" else "forward"
    x_BD = torch.ones(2, 4)

    def call() -> None:
        with torch.no_grad():
            (model.decode if how == "a method" else model)(x_BD)

    def ranged() -> None:
        with ranges.staged([StagePoint(model, method, "unet")], modules={"net": model}):
            call()

    call()
    before = dict(vars(model))
    names = seen(ranged)
    call()
    assert len(graphs) == 1
    assert names.count("stage: unet") == 1
    assert not any(name.startswith("module: net.") for name in names)
    assert vars(model) == before


def test_what_cannot_be_wrapped_is_said():
    class Slotted:
        __slots__ = ("value",)

        def method(self) -> None: ...

    thing = Thing()
    with (
        pytest.raises(BadRequest, match=r"Thing\.decoed cannot be a stage: there is no such method"),
        ranges.staged([StagePoint(thing, "plain", "ok"), StagePoint(thing, "decoed", "vae")]),
    ):
        pass
    assert set(vars(thing)) == {"own", "net"}
    with (
        pytest.raises(BadRequest, match="not callable"),
        ranges.staged([StagePoint(Thing.__mro__[0], "__doc__", "x")]),
    ):
        pass
    with pytest.raises(BadRequest, match="__slots__"), ranges.staged([StagePoint(Slotted(), "method", "x")]):
        pass


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(("plain", "inherited", "own", "fixed", "fails")), max_size=6),
    st.lists(st.sampled_from(("plain", "inherited", "own", "fixed", "fails")), max_size=6),
    st.booleans(),
)
def test_attributes_come_back_from_any_nesting(outer: list[str], inner: list[str], raises: bool):
    """Blocks within blocks, the same method wrapped twice, an exception in the innermost: the object is as it was."""
    thing = Thing()
    before = dict(vars(thing))
    open_stages: list[str] = []

    def beat(stage: str, begins: bool) -> None:
        if begins:
            open_stages.append(stage)
        else:
            assert open_stages.pop() == stage

    def block() -> None:
        with ranges.staged([StagePoint(thing, name, f"o{name}") for name in outer], beat=beat):
            between = dict(vars(thing))
            with ranges.staged([StagePoint(thing, name, f"i{name}") for name in inner], beat=beat):
                assert thing.plain(2) == 3
                if raises:
                    thing.fails(1)
            assert vars(thing) == between

    if raises:
        with pytest.raises(KeyError):
            block()
    else:
        block()
    assert vars(thing) == before
    assert open_stages == []


def test_scripted_modules_take_no_hooks_and_have_their_range_all_the_same():
    """TorchScript is wrapped from outside, like what is compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's own, about TorchScript
        scripted: Any = torch.jit.script(Two().eval())
    x_BD = torch.ones(2, 4)

    def call() -> None:
        with (
            ranges.staged([StagePoint(scripted, "forward", "unet")], modules={"net": scripted}),
            torch.no_grad(),
        ):
            scripted(x_BD)

    before = dict(vars(scripted))
    assert set(seen(call)) == {"stage: unet", "module: net"}
    assert vars(scripted) == before
    assert count(lambda: scripted(x_BD), modules={"net": scripted}).flops == 2 * 2 * 4 * 4


def test_compiling_within_a_profile_is_one_stage():
    """Fifty phases of the compiler are one row, ``compilation``, and no parts of the user's."""
    torch._dynamo.reset()
    compiled = torch.compile(Two(), backend="aot_eager")
    with penstock.engine.profile("cold", stages={"unet": (compiled, "forward")}) as p, torch.no_grad():
        compiled(torch.ones(2, 4))
    assert {row.name for row in p.stages} == {"unet", "compilation", UNATTRIBUTED}
    assert sum(row.share for row in p.stages if not row.parent) == pytest.approx(1.0, abs=1e-6)


class Coder(torch.nn.Module):
    """Compiled, and used through ``decode``, as ``pipe.vae`` is; its ``forward`` uses ``decode`` too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.second = torch.nn.GELU()

    def decode(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x_BD))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.decode(x_BD)


class Holder(torch.nn.Module):
    """A model with a compiled part: the user's ``forward`` calls the part, or only its method."""

    def __init__(self, part: Any, *, bypass: bool) -> None:
        super().__init__()
        self.part, self.bypass = part, bypass

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.part.decode(x_BD) if self.bypass else self.part(x_BD)


@pytest.mark.parametrize("how", ["in place", "by function"])
def test_below_a_compiled_module_there_are_ranges_where_its_compiled_call_does_not_run(how: str):
    """Bypassed: its children have their names, and their FLOPs. Called: one graph, as without ranges, and none below."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(1)
        return graph

    torch._dynamo.reset()
    inner: Any = Coder()
    part: Any = torch.compile(inner, backend=backend) if how == "by function" else inner
    if how == "in place":
        inner.compile(backend=backend)
    x_BD = torch.ones(2, 4)
    bypassing, calling = Holder(part, bypass=True), Holder(part, bypass=False)
    before = {id(one): list(vars(one)) for one in (inner, inner.first, inner.second, bypassing)}

    def ranged(model: Any) -> list[str]:
        def call() -> None:
            with torch.no_grad(), ranges.staged(modules={"model": model}):
                model(x_BD)

        return seen(call)

    below = ["module: model", "module: model.part.first", "module: model.part.second"]
    assert sorted(ranged(bypassing)) == below
    assert graphs == []
    for _ in range(2):
        assert sorted(ranged(calling)) == ["module: model", "module: model.part"]
        assert graphs == [1]
    assert sorted(ranged(bypassing)) == below
    with torch.no_grad():
        calling(x_BD)
    assert graphs == [1]
    assert before == {id(one): list(vars(one)) for one in (inner, inner.first, inner.second, bypassing)}
    counts = count(lambda: bypassing(x_BD), modules={"model": bypassing})
    assert counts.by_module["model.part.first"].flops == counts.flops == 2 * 2 * 4 * 4
    assert count(lambda: calling(x_BD), modules={"model": calling}).calls["model.part"] == 1

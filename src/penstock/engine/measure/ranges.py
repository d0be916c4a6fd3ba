"""Names in a trace for what a live object's methods and modules do, without a change to anybody's source.

Bound methods and modules' ``forward`` are replaced on the instance for the time of a ``with`` block; what was there comes back,
whatever was raised in between. The names are ``marks``': ``stage: unet``, ``module: unet.mid_block``.

Compiled modules are wrapped from outside: a range within a compiled region would be traced into it, and cost a recompile. What
lies below one has ranges as long as the compiled call does not run (``pipe.vae.decode`` of a compiled ``pipe.vae``); while it
does, they are taken off.
"""

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from penstock.base.errors import BadRequest
from penstock.engine.measure import inside, marks

ABSENT: Any = object()
"""The attribute was not in the object's own ``__dict__``."""
CALLS = ("forward", "__call__")
"""Both name the call of a module."""


class Point(Protocol):
    """A method of a live object that is a stage: as ``workloads.workload.StagePoint``."""

    @property
    def owner(self) -> Any:
        """The object: a module, a pipeline, anything with a ``__dict__``; a class or a Python module, too."""
        ...

    @property
    def method(self) -> str:
        """The attribute's name."""
        ...

    @property
    def stage(self) -> str:
        """What to call it."""
        ...


Running = list[tuple[int, str]]
"""Stages that have begun and not ended: thread, and stage."""
Beat = Callable[[str, bool], None]
"""Called with a stage's name as it begins (True) and as it ends (False), also when it ends by raising."""


@contextlib.contextmanager
def staged(
    points: Sequence[Point] = (),
    *,
    modules: Mapping[str, torch.nn.Module] | None = None,
    beat: Beat | None = None,
    depth: int = 2,
) -> Generator[None]:
    """Ranges around every call of these methods and modules, until the block ends.

    Args:
        points: methods that are stages. A module's ``forward`` (or ``__call__``) is its call, compiled or not.
        modules: parts by name; they and their descendants get ranges with their dotted names.
        beat: told about each stage as it begins and ends; for memory and counts per stage.
        depth: how many levels below each of ``modules`` get ranges of their own.

    Raises:
        BadRequest: a point names something that cannot be called, or an object without a ``__dict__``.
    """
    running: Running = []
    with contextlib.ExitStack() as undo:
        for point in points:
            _wrap(point, beat, undo, running)
        wraps: dict[int, _Wrap] = {}
        for name, module in (modules or {}).items():
            for label, inner in _within(name, module, depth):
                if id(inner) not in wraps:
                    wraps[id(inner)] = _Wrap(label, inner)
        for wrap in wraps.values():
            undo.callback(wrap.take_off)
            wrap.put_on([one for one in map(wraps.get, wrap.below()) if one is not None])
        yield


def _wrap(point: Point, beat: Beat | None, undo: contextlib.ExitStack, running: Running) -> None:
    """Replace one method for a while."""
    owner, method = _place(point)
    if not hasattr(owner, "__dict__"):
        raise BadRequest(
            f"{_say(point)} cannot be a stage: the object keeps no attributes of its own (__slots__).",
            param="stages",
            hint="Name a method of an object that holds it, or the class.",
        )
    before = _own(owner).get(method, ABSENT)
    kind, callee = _unwrapped(owner, method)
    if not callable(callee):
        why = "there is no such method" if callee is None else "it is not callable"
        raise BadRequest(f"{_say(point)} cannot be a stage: {why}.", param="stages")
    ranged = _ranged(callee, point, beat, running)
    undo.callback(_back, owner, method, before)
    if isinstance(owner, type):
        setattr(owner, method, kind(ranged) if kind else ranged)
    else:
        _own(owner)[method] = ranged  # not setattr: owners' own __setattr__ registers, checks or refuses


def _unwrapped(owner: Any, method: str) -> tuple[Any, Any]:
    """(``staticmethod``, ``classmethod`` or None, the callable itself). Only on classes are the two still wrapped."""
    found: Any = inspect.getattr_static(owner, method, None) if isinstance(owner, type) else None
    kinds: tuple[Any, ...] = (staticmethod, classmethod)
    for kind in kinds:
        if type(found) is kind:
            return kind, found.__func__
    return None, getattr(owner, method, None)


def _place(point: Point) -> tuple[Any, str]:
    """Where a point's callable is kept. A module that was compiled in place keeps it in ``_compiled_call_impl``."""
    owner, method = point.owner, point.method
    if isinstance(owner, torch.nn.Module) and method in CALLS:
        compiled = _own(owner).get("_compiled_call_impl") is not None
        return owner, "_compiled_call_impl" if compiled else "forward"
    return owner, method


def _ranged(
    callee: Callable[..., Any], point: Point, beat: Beat | None, running: Running
) -> Callable[..., Any]:
    """The same callable, within a range."""
    stage, label = point.stage, marks.STAGE + point.stage
    other: str = getattr(point, "not_within", "")

    def begun() -> contextlib.ExitStack:
        block = contextlib.ExitStack()
        here = threading.get_ident()
        if other and (here, other) in running:
            return block
        running.append((here, stage))
        block.callback(running.remove, (here, stage))
        if beat is not None:
            beat(stage, True)
            block.callback(beat, stage, False)
        block.enter_context(torch.profiler.record_function(label))
        return block

    if inspect.iscoroutinefunction(callee):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with begun():
                return await callee(*args, **kwargs)

        return _looks_like(awaited, callee)

    def called(*args: Any, **kwargs: Any) -> Any:
        with begun():
            return callee(*args, **kwargs)

    return _looks_like(called, callee)


def _looks_like(wrapper: Callable[..., Any], callee: Callable[..., Any]) -> Callable[..., Any]:
    """Keep name and signature: pipelines inspect them (a scheduler's ``step`` is asked whether it takes ``eta``)."""
    with contextlib.suppress(AttributeError):
        functools.update_wrapper(wrapper, callee)
    return wrapper


def _own(owner: Any) -> dict[str, Any]:
    """An object's own attributes: its ``__dict__`` itself."""
    return owner.__dict__


def _back(owner: Any, name: str, before: Any) -> None:
    """As it was."""
    if isinstance(owner, type):
        if before is ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
    elif before is ABSENT:
        _own(owner).pop(name, None)
    else:
        _own(owner)[name] = before


def _within(name: str, top: torch.nn.Module, depth: int) -> Iterator[tuple[str, torch.nn.Module]]:
    """A module and its descendants, ``depth`` levels of them; below TorchScript nothing, through lists without counting."""
    yield name, top
    inner = inside.original_module(top)
    if depth <= 0 or isinstance(top, torch.jit.ScriptModule) or _holds_compiled(inner):
        return
    for child_name, child in inner.named_children():
        transparent = isinstance(child, torch.nn.ModuleList | torch.nn.ModuleDict)
        below = _within(f"{name}.{child_name}", child, depth if transparent else depth - 1)
        for label, module in below:
            if not isinstance(module, torch.nn.ModuleList | torch.nn.ModuleDict):  # never called
                yield label, module


def _is_compiled(module: torch.nn.Module) -> bool:
    """By ``torch.compile(module)`` or ``module.compile()``."""
    return inside.is_optimised_module(module) or inside.compiled_call(module) is not None


def _holds_compiled(module: torch.nn.Module) -> bool:
    """One of its methods was replaced by a compiled one (``vae.decode = torch.compile(vae.decode)``): ranges below would be traced."""
    return any(
        hasattr(value, "_torchdynamo_orig_callable")
        for name, value in _own(module).items()
        if name != "_compiled_call_impl"  # what module.compile() keeps: its call, and no method
    )


class _Wrap:
    """A range around a module's call: its ``forward`` is replaced, which costs less than hooks do; compiled, its compiled call."""

    def __init__(self, label: str, module: torch.nn.Module) -> None:
        self._module = module
        self._compiled = _is_compiled(module)
        self._name = "_compiled_call_impl" if inside.compiled_call(module) is not None else "forward"
        self._range = marks.MODULE + label
        self._before: Any = ABSENT
        self._ranged: Any = None
        self._covered: list[_Wrap] = []
        self._off = 0
        """Compiled calls under way that this range would be traced into."""
        self._lock = threading.Lock()

    def below(self) -> Iterator[int]:
        """Of a compiled module: the identities of what its call runs."""
        if self._compiled:
            yield from (id(one) for one in self._module.modules() if one is not self._module)

    def put_on(self, covered: "list[_Wrap]") -> None:
        """Put the range there. ``covered``: those that are off while this one's call runs."""
        self._covered = covered
        self._before = _own(self._module).get(self._name, ABSENT)
        callee = getattr(self._module, self._name)

        def called(*args: Any, **kwargs: Any) -> Any:
            with torch.profiler.record_function(self._range), self._alone():
                return callee(*args, **kwargs)

        self._ranged = _looks_like(called, callee)
        _own(self._module)[self._name] = self._ranged

    def take_off(self) -> None:
        """As it was before the block."""
        with self._lock:
            if self._ranged is not None:
                self._ranged = None
                _back(self._module, self._name, self._before)

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        for one in self._covered:
            one.pause(1)
        try:
            yield
        finally:
            for one in self._covered:
                one.pause(-1)

    def pause(self, more: int) -> None:
        """One compiled call more, or one less, during which nothing of ours stands here."""
        with self._lock:
            before = self._off
            self._off += more
            if self._ranged is None or bool(before) == bool(self._off):
                return
            if self._off:
                _back(self._module, self._name, self._before)
            else:
                _own(self._module)[self._name] = self._ranged


def _say(point: Point) -> str:
    owner = point.owner if isinstance(point.owner, type) else type(point.owner)
    return f"{owner.__name__}.{point.method}"

"""Any ``nn.Module`` with its inputs, named as ``my_module.py:build`` or ``package.module:build``.

``build`` takes nothing and returns the module, or (module, inputs), or (module, args, kwargs). ``inputs`` is a tensor, a tuple
or list of positional arguments, or a dict of named ones.
"""

import contextlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from penstock.base.errors import BadRequest
from penstock.engine.workloads import failures
from penstock.engine.workloads.workload import StagePoint

RETURN = (
    "End it with `return module, inputs`: inputs is a tensor, a tuple of arguments or a dict of named ones."
)

TRAINING = (
    "build() gave the module in training mode. It was run in evaluation mode, after eval(): dropout does nothing, and batch norm "
    "takes its stored statistics."
)


def training(root: nn.Module) -> bool:
    """Some part of it is in training mode, in which it may compute something else."""
    return any(part.training for part in root.modules())


class ModuleWorkload:
    """A module and one set of inputs. ``call`` runs it without gradients, in evaluation mode."""

    kind = "module"
    steps = 1

    def __init__(
        self,
        name: str,
        root: nn.Module,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        near: Path | None = None,
        form: str = "",
    ) -> None:
        self.name = name
        self.notes = (TRAINING,) if training(root) else ()
        """What was changed about it, and is to be said."""
        self.root = root.eval()
        self.args = args
        self.kwargs = dict(kwargs or {})
        self.near = near
        """The user's folder: errors name the innermost line in it."""
        self.form = form or ("both" if args and kwargs else "named" if kwargs else "positional")
        """How the inputs are given: ``tensor`` (alone), ``positional``, ``named``, ``both`` (args and kwargs)."""
        self.device = _device(root, self.inputs())
        self.batch = batch_of(self.inputs()) or 1

    def inputs(self) -> tuple[Any, ...]:
        """Positional and named inputs, in that order."""
        return (*self.args, *self.kwargs.values())

    def call(self) -> Any:
        """Run it once; the module's own output. BadRequest with the user's line where its ``forward`` raises."""
        return failures.run(lambda: self._forward(self.args, self.kwargs), self.name, near=self.near)

    def _forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with torch.no_grad():  # not inference_mode: what a module caches then could never be used outside it
            return self.root(*args, **kwargs)

    def stages(self) -> tuple[StagePoint, ...]:
        """None of its own: a module's children are its parts."""
        return ()

    def modules(self) -> dict[str, Any]:
        """The module, as ``model``."""
        return {"model": self.root}

    def with_batch(self, batch: int) -> Callable[[], Any] | None:
        """A call whose tensors' first dimension is ``batch``: theirs repeated. None where the inputs share no batch dimension."""
        own = batch_of(self.inputs())
        if own is None:
            return None
        args = tuple(rebatched(value, own, batch) for value in self.args)
        kwargs = {name: rebatched(value, own, batch) for name, value in self.kwargs.items()}
        return lambda: failures.run(
            lambda: self._forward(args, kwargs), f"{self.name} with batch {batch}", near=self.near
        )

    def written(self, times: int) -> str:
        """The code of a call with ``times`` its batch, with the names that ``build`` returns: model, inputs or args, kwargs."""
        own = batch_of(self.inputs())
        if self.form == "tensor":
            return f"model({_repeated('inputs', self.args[0], own, times)})"
        args, kwargs = ("args", "kwargs") if self.form == "both" else ("inputs", "inputs")
        given = [
            _repeated(f"{args}[{place}]", value, own, times) for place, value in enumerate(self.args)
        ] + [
            f'{name}={_repeated(f"""{kwargs}["{name}"]""", value, own, times)}'
            for name, value in self.kwargs.items()
        ]
        return f"model({', '.join(given)})"


def _repeated(code: str, value: Any, own: int | None, times: int) -> str:
    """The same value for a larger batch, in code: as ``rebatched`` makes it."""
    batched = isinstance(value, Tensor) and value.dim() >= 1 and value.shape[0] == own
    return f"torch.cat([{code}] * {times})" if batched else code


def batch_of(values: tuple[Any, ...]) -> int | None:
    """The first dimension that all tensors of two or more dimensions share; None where they share none."""
    firsts = {value.shape[0] for value in values if isinstance(value, Tensor) and value.dim() >= 2}
    return firsts.pop() if len(firsts) == 1 else None


def rebatched(value: Any, own: int, batch: int) -> Any:
    """A tensor whose first dimension is ``own``, repeated and cut to ``batch``; anything else as it is."""
    if not isinstance(value, Tensor) or value.dim() < 1 or value.shape[0] != own:
        return value
    return value[torch.arange(batch, device=value.device) % own]


def _device(root: nn.Module, inputs: tuple[Any, ...]) -> str:
    held = [*root.parameters(), *root.buffers(), *(value for value in inputs if isinstance(value, Tensor))]
    return str(held[0].device) if held else "cpu"


def load(spec: str, *, meta: bool = False) -> ModuleWorkload:
    """The workload that ``file.py:build`` or ``package.module:build`` makes. BadRequest says what is wrong and what to write.

    ``meta``: ``build`` runs with the meta device as default, so that no weight is allocated; where that fails (it reads
    weights, or values), it runs as it is.
    """
    place, colon, function = spec.rpartition(":")
    if not colon or not place or not function.isidentifier():
        raise BadRequest(
            f"{spec!r} names no function.",
            param="target",
            hint="Write the file and the function that builds the module: my_module.py:build",
        )
    module, near = _imported(place, spec)
    made = _made(module, place, function, near, meta=meta)
    root, args, kwargs = _parts(made, spec)
    _check_call(root, args, kwargs, spec)
    form = _form(made)
    return ModuleWorkload(spec, root, args, kwargs, near=near, form=form)


def _imported(place: str, spec: str) -> tuple[ModuleType, Path]:
    """The user's module and its folder, which is on ``sys.path`` from now on, as with ``python file.py``."""
    path = Path(place)
    if path.suffix == ".py" or path.is_file():
        return _from_file(path), path.resolve().parent
    if "/" in place or "\\" in place:
        raise BadRequest(
            f"{place} is neither a file nor the name of a module.",
            param="target",
            hint=f"Write the file's whole name: {place}.py:{spec.rpartition(':')[2]}",
        )
    here = Path.cwd()
    _on_path(here)
    try:
        found = importlib.util.find_spec(place)
    except (ModuleNotFoundError, ValueError):
        found = None
    if found is None:
        raise BadRequest(
            f"There is no module {place} to import.",
            param="target",
            hint=f"For a file, write its name with .py: {place.replace('.', '/')}.py:{spec.rpartition(':')[2]}",
        )
    module = failures.run(lambda: importlib.import_module(place), f"Importing {place}", near=here)
    return module, Path(found.origin).parent if found.origin else here


def _from_file(path: Path) -> ModuleType:
    if not path.exists():
        raise BadRequest(
            f"There is no file {path}.",
            param="target",
            hint=f"Relative paths start in {Path.cwd()}.",
        )
    near = path.resolve().parent
    name = (
        path.stem
        if path.stem.isidentifier() and path.stem not in sys.modules
        else f"penstock_target_{abs(hash(path.resolve()))}"
    )
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise BadRequest(f"{path} is no Python file.", param="target", hint="Name a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    _on_path(near)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by its name
    loader = spec.loader
    try:
        failures.run(lambda: loader.exec_module(module), f"Importing {path.name}", near=near)
    except BadRequest:
        del sys.modules[name]
        raise
    return module


def _on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _made(module: ModuleType, place: str, function: str, near: Path, *, meta: bool) -> Any:
    if not hasattr(module, function):
        builders = sorted(
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        )
        raise BadRequest(
            f"{place} has no {function}.",
            param="target",
            hint=f"It has: {', '.join(builders)}."
            if builders
            else f"Write `def {function}(): …` in it. {RETURN}",
        )
    build = getattr(module, function)
    if isinstance(build, nn.Module):
        return build
    if not callable(build):
        raise BadRequest(
            f"{place}:{function} is of type {type(build).__name__}, not a function.",
            param="target",
            hint=RETURN,
        )
    lacking = [
        p.name
        for p in inspect.signature(build).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if lacking:
        raise BadRequest(
            f"{place}:{function} wants arguments ({', '.join(lacking)}), and is called with none.",
            param="target",
            hint="Give them defaults, or name a function that takes nothing.",
        )
    if meta:
        with contextlib.suppress(BadRequest), torch.device("meta"):
            return failures.run(build, f"{place}:{function}", near=near)
    return failures.run(build, f"{place}:{function}", near=near)


def _parts(made: Any, spec: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """(module, args, kwargs) of whatever build returned."""
    kind = f"something of type {type(made).__name__}"
    if made is None:
        raise BadRequest(f"{spec} returned None.", param="target", hint=RETURN)
    if isinstance(made, nn.Module):
        return made, (), {}
    if not isinstance(made, tuple) or not made:
        raise BadRequest(f"{spec} returned {kind}, not a module.", param="target", hint=RETURN)
    root, *rest = cast("tuple[Any, ...]", made)
    if not isinstance(root, nn.Module):
        raise BadRequest(
            f"{spec} returned a tuple that starts with something of type {type(root).__name__}, not with a module.",
            param="target",
            hint=RETURN,
        )
    if len(rest) > 2:
        raise BadRequest(
            f"{spec} returned {len(rest) + 1} values; at most three are known: module, args, kwargs.",
            param="target",
            hint=RETURN,
        )
    args, kwargs = _inputs(rest[0] if rest else ())
    if len(rest) == 2:
        if not isinstance(rest[1], dict):
            raise BadRequest(
                f"{spec} returned something of type {type(rest[1]).__name__} where the named arguments stand.",
                param="target",
                hint="The third value is a dict: return module, (x,), {'mask': mask}. Two positional ones: return module, (x, y).",
            )
        kwargs = {**kwargs, **cast("dict[str, Any]", rest[1])}
    return root, args, kwargs


def _form(made: Any) -> str:
    """Of what ``build`` returned, which is known to be right; empty where what was given tells it."""
    rest: tuple[Any, ...] = cast("tuple[Any, ...]", made)[1:] if isinstance(made, tuple) else ()
    if len(rest) == 2:
        return "both"
    return "tensor" if rest and not isinstance(rest[0], tuple | list | dict) else ""


def _inputs(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(given, dict):
        return (), cast("dict[str, Any]", given)
    if isinstance(given, tuple | list):
        return tuple(cast("tuple[Any, ...] | list[Any]", given)), {}
    return (given,), {}


def _check_call(root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], spec: str) -> None:
    """The inputs fit ``forward``'s signature; found out before anything is timed."""
    try:
        inspect.signature(root.forward).bind(*args, **kwargs)
    except TypeError as error:
        forward = f"{type(root).__name__}.forward({', '.join(inspect.signature(root.forward).parameters)})"
        alone = not args and not kwargs
        raise BadRequest(
            f"{spec} returned {'a module alone' if alone else 'inputs'} that {forward} cannot be called with: {error}.",
            param="target",
            hint=RETURN,
        ) from error

"""One run of a workload, watched: how often each part is called, with what, what came out, and how long it took."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from penstock.engine.lab.probes.parts import Place, compiled_function, inside_of, is_autoencoder
from penstock.engine.lab.probes.patches import Patches
from penstock.engine.lab.probes.stopwatch import Stopwatch
from penstock.engine.lab.probes.tensors import equal, inside, live_bytes
from penstock.engine.measure.inside import Held, hold, storage_key
from penstock.engine.measure.seen import GuidedPair, Output
from penstock.engine.measure.traffic import has_storage
from penstock.engine.workloads.workload import Workload

SAMPLES = 8
"""At most so many looks at memory in one run: each walks all live objects on a CPU."""
Given = dict[str, Any]


class Calls:
    """The calls of one part's ``forward`` in one run."""

    def __init__(self) -> None:
        self.count = 0
        self.wall_ms = 0.0
        self.batch = 0
        self.pairs: list[tuple[Given, Given]] = []
        """Of pairs with the same latents: the last one only, for its names."""
        self.pair_count = 0
        self.last: Given | None = None
        self.gives_tensor = False
        self.depth = 0
        self.mains_changed = False
        """Between two pairs the main tensor was another: steps of a loop, not calls that feed each other."""
        self._paired = False
        self._gave: list[tuple[int, Held]] = []
        """Storages of what the last call gave, held weakly."""

    def came(self, given: Given) -> None:
        """Compare with the call before it: a pair when a condition is not the same and all else is. A call is in one pair."""
        before, self.last = self.last, given
        self.count += 1
        main = _main(given)
        self.batch = int(main.shape[0]) if main is not None and main.dim() else 0
        if before is None or self._paired or before.keys() != given.keys():
            self._paired = False
            return
        other = _main(before)
        self._paired = (
            main is not None
            and other is not None
            and equal(main, other)
            and _other_condition(before, given)
            and not self._fed_back(given)
        )
        if self._paired:
            if self.pairs:
                self.mains_changed |= not equal(main, _main(self.pairs[-1][1]))
            self.pair_count += 1
            self.pairs = [(before, given)]

    def gave(self, result: Any) -> None:
        """What the call returned: a next one that is given it depends on this one."""
        self._gave = [
            (storage_key(tensor), hold(tensor)) for tensor in inside(_fields(result)) if has_storage(tensor)
        ]

    def _fed_back(self, given: Given) -> bool:
        """Given what the call before gave, or a view of it. That one's result itself, so that sums of it are not seen here."""
        alive = {key for key, held in self._gave if not held.gone}
        return any(
            storage_key(tensor) in alive for tensor in inside(list(given.values())) if has_storage(tensor)
        )

    def guided(self, part: str, path: str) -> GuidedPair | None:
        """As evidence; None where it was never called so."""
        if not self.pair_count or (self.pair_count > 1 and not self.mains_changed):
            return None  # a main tensor that never changes is no latents: what changes are the steps
        one, other = self.pairs[-1]
        same: list[str] = []
        differing: list[str] = []
        dicts: list[str] = []
        shared: list[str] = []
        ragged: list[str] = []
        for name, value in other.items():
            tensors = list(inside(value))
            changed = bool(tensors) and not equal(value, one[name])
            if isinstance(value, Mapping) and changed:
                dicts.append(name)
            elif isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == self.batch:
                other_shape = value.shape != one[name].shape
                (ragged if other_shape else differing if changed else same).append(name)
            elif value is not None:
                shared.append(name)
        return GuidedPair(
            part=part,
            path=path,
            pairs=self.pair_count,
            calls=self.count,
            batch=self.batch,
            same=tuple(same),
            differing=tuple(differing),
            dicts=tuple(dicts),
            ragged=tuple(ragged),
            shared=tuple(shared),
            gives_tensor=self.gives_tensor,
            wall_ms=self.wall_ms,
        )


def _main(given: Given) -> torch.Tensor | None:
    """The first floating tensor argument with a batch: the latents. Token ids may repeat without being the same step."""
    return next(
        (
            value
            for value in given.values()
            if isinstance(value, torch.Tensor) and value.dim() > 1 and value.is_floating_point()
        ),
        None,
    )


def _other_condition(before: Given, given: Given) -> bool:
    """A floating tensor with a batch differs (or one in a dict), and nothing else does but masks: not the token ids, not
    the time step."""
    found = False
    for name, value in given.items():
        if equal(value, before[name]):
            continue
        tensors = list(inside(value))
        if not tensors:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return False  # a step's number
        elif all(tensor.is_floating_point() and tensor.dim() > 1 for tensor in tensors):
            found = True
        elif "mask" not in name:
            return False
    return found


def _fields(result: Any) -> Any:
    """An output object's values: transformers' and diffusers' are mappings, a dataclass is not."""
    return vars(result) if is_dataclass(result) and not isinstance(result, Mapping) else result


class Watch:
    """A run's observer. ``call()`` runs the workload once under it; what it saw is in its attributes afterwards."""

    def __init__(
        self,
        workload: Workload,
        compiled: Mapping[str, list[Place]],
        watch: Stopwatch,
        *,
        light: bool = False,
    ) -> None:
        self.parts: dict[str, Calls] = {name: Calls() for name in workload.modules()}
        self.methods: dict[str, Counter[str]] = {name: Counter() for name in workload.modules()}
        self.stages: dict[str, float] = {}
        """Stage → milliseconds of its first call in this run."""
        self.outputs: dict[str, Output] = {}
        self.decoded: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        """Autoencoder → the arguments of its last ``decode``."""
        self.tiles: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        """Compiled place → its calls."""
        self.steps_bytes: list[int] = []
        self.wall_ms = 0.0
        self._workload, self._compiled, self._watch, self._light = workload, compiled, watch, light
        self._largest: dict[str, float] = {}

    def call(self, *, denoiser: str = "", every: int = 1) -> Any:
        """Run it once; its output. ``denoiser``: the part before whose calls memory is looked at, each ``every`` calls."""
        with Patches() as patches:
            self._attach(patches, denoiser, every)
            start = self._watch.now_ms()
            result = self._workload.call()
            self.wall_ms = self._watch.now_ms() - start
        return result

    def holding_bytes(self) -> int:
        """Of the run's tensors that this observer keeps alive until ``forget``."""
        kept = [calls.last for calls in self.parts.values()]
        kept += [one for calls in self.parts.values() for pair in calls.pairs for one in pair]
        storages = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in inside([kept, list(self.decoded.values())], depth=8)
        }
        return sum(storages.values())

    def forget(self) -> None:
        """Let go of the run's tensors."""
        for calls in self.parts.values():
            calls.last, calls.pairs = None, []
        self.decoded.clear()

    def _attach(self, patches: Patches, denoiser: str, every: int) -> None:
        modules = self._workload.modules()
        covered = {
            id(child)
            for places in self._compiled.values()
            for place in places
            for child in inside_of(place.owner).modules()
            if child is not place.owner
        }
        points = [point for point in self._workload.stages() if id(point.owner) not in covered]
        for point in points:
            patches.wrap(point.owner, point.method, self._stage(point.stage))
        for name, module in modules.items():
            if id(module) in covered:
                continue
            if not self._light:
                self._attach_part(patches, name, module)
            patches.wrap(
                module,
                "forward",
                self._forward(name, module, every if name == denoiser and not self._light else 0),
            )
            others = {point.method for point in points if point.owner is module}
            others |= {"decode"} if is_autoencoder(module) else set()
            for method in sorted(others - {"forward", "__call__"}):
                patches.wrap(module, method, self._method(name, method, module))
        for places in self._compiled.values():
            for place in places:
                patches.wrap(place.owner, place.method, self._counted(self.places, place.path))

    def _attach_part(self, patches: Patches, name: str, module: Any) -> None:
        """Inside of an autoencoder: how many pieces it decodes in, and how close to overflowing."""
        inner = inside_of(module)
        decoder = getattr(inner, "decoder", None)
        if not is_autoencoder(inner) or self._compiled[name] or not isinstance(decoder, nn.Module):
            return
        patches.wrap(decoder, "forward", self._counted(self.tiles, name))
        if next((weight.dtype for weight in inner.parameters()), None) is torch.float16:
            for child in decoder.modules():
                if child is not decoder and not any(True for _ in child.children()):
                    patches.wrap(child, "forward", self._extreme(name))

    def _stage(self, stage: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any, **kwargs: Any) -> Any:
                if stage in self.stages:
                    return original(*args, **kwargs)
                start = self._watch.now_ms()
                result = original(*args, **kwargs)
                self.stages.setdefault(stage, self._watch.now_ms() - start)
                return result

            return timed

        return around

    def _forward(
        self, name: str, module: Any, every: int
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        calls = self.parts[name]
        names = _names(inside_of(module))

        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                if self._light:
                    calls.count += 1
                    return original(*args, **kwargs)
                look = every and calls.count % every == 0
                calls.came({**dict(zip(names, args, strict=False)), **kwargs})
                if look:  # after the comparison, which lets go of the call before
                    self.steps_bytes.append(live_bytes(self._workload.device))
                start = self._watch.now_ms()
                result = original(*args, **kwargs)
                calls.wall_ms += self._watch.now_ms() - start
                calls.gives_tensor = isinstance(result, torch.Tensor)
                calls.gave(result)
                return result

            return counted

        return around

    def _method(
        self, name: str, method: str, module: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                self.methods[name][method] += 1
                start = self._watch.now_ms()
                result = original(*args, **kwargs)
                self.parts[name].wall_ms += self._watch.now_ms() - start
                if method == "decode" and not self._light and is_autoencoder(module):
                    self.decoded[name] = (args, kwargs)
                    output = _output(inside_of(module), (args, kwargs), result, self._largest.get(name))
                    if output is not None:
                        self.outputs[name] = output
                return result

            return counted

        return around

    def _counted(
        self, counter: "Counter[str]", key: str
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                counter[key] += 1
                return original(*args, **kwargs)

            return counted

        return around

    def _extreme(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def measured(*args: Any, **kwargs: Any) -> Any:
                result = original(*args, **kwargs)
                for tensor in inside(result):
                    finite = tensor[torch.isfinite(tensor)]
                    if finite.numel():
                        most = float(finite.abs().max())
                        self._largest[name] = max(self._largest.get(name, 0.0), most)
                return result

            return measured

        return around


def _names(module: nn.Module) -> list[str]:
    """Of forward's positional parameters."""
    code = getattr(getattr(type(module).forward, "__wrapped__", type(module).forward), "__code__", None)
    return list(code.co_varnames[1 : code.co_argcount]) if code is not None else []


def _output(module: nn.Module, given: Any, result: Any, largest: float | None) -> Output | None:
    tensor = next(inside(result), None)
    if tensor is None:
        return None
    finite = torch.isfinite(tensor)
    good = tensor[finite]
    return Output(
        elements=tensor.numel(),
        non_finite=int((~finite).sum()),
        low=float(good.min()) if good.numel() else None,
        high=float(good.max()) if good.numel() else None,
        input_non_finite=sum(
            int((~torch.isfinite(one)).sum()) for one in inside(given) if one.is_floating_point()
        ),
        dtype=str(next(module.parameters()).dtype).removeprefix("torch."),
        largest=largest,
    )


def bypassed(workload: Workload, place: Place) -> dict[str, int]:
    """Calls, in one more run, of a compiled module's other methods that took or gave tensors and are not compiled themselves.

    Asked only of a module whose compiled ``forward`` is never called, so that no graph is disturbed.
    """
    found: Counter[str] = Counter()
    depth = [0]
    inner = inside_of(place.owner)

    def counting(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                depth[0] += 1
                try:
                    result = original(*args, **kwargs)
                finally:
                    depth[0] -= 1
                if not depth[0] and any(True for _ in inside(((args, kwargs), result))):
                    found[name] += 1
                return result

            return counted

        return around

    names = {
        name
        for cls in type(inner).__mro__[: type(inner).__mro__.index(nn.Module)]
        for name, value in vars(cls).items()
        if callable(value) and not name.startswith("_")
    }
    with Patches() as patches:
        for name in sorted(names):
            if compiled_function(getattr(inner, name)):
                continue
            method = getattr(place.owner, name)
            patches.put(place.owner, name, functools.update_wrapper(counting(name)(method), method))
        workload.call()
    return dict(found)


def black(result: Any) -> bool:
    """The images of a run's result are black throughout (NaN becomes black where it is made an integer). False without images."""
    images = getattr(result, "images", result)
    if isinstance(images, torch.Tensor):
        values = torch.nan_to_num(images.float())
        return bool(values.numel()) and float(values.max()) <= min(0.0, float(values.min()))
    if isinstance(images, np.ndarray):
        values = torch.nan_to_num(torch.from_numpy(images).float())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        return bool(values.numel()) and float(values.max()) <= 0
    if not isinstance(images, list | tuple):
        return False
    extremes = [
        band
        for image in cast("list[Any]", images)
        if hasattr(image, "getextrema")
        for band in _bands(image.getextrema())
    ]
    return bool(extremes) and max(high for _, high in extremes) <= 0


def _bands(extrema: Any) -> list[tuple[int, int]]:
    """One (low, high) a band; a grey image's is given bare."""
    return [extrema] if isinstance(extrema[0], int) else list(extrema)

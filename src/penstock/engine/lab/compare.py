"""``--compare``: one thing in several ways, under the same conditions, each held against the first.

Theory: a variant that must be prepared (compiled) pays that once for every shape of the traffic, and gains the difference of
the medians with every call. It has paid for itself after

    prepare seconds x shapes / (first variant's median - its own)

calls; never, where it is not faster. It is faster, or slower, where the quartiles of the two lie apart; else there is no
difference within the noise, whatever the medians say. What is expected is written before anything is run: a difference from what is observed
is the finding.

Rules
- Pure but for its ports. A variant that cannot be run is refused with a reason, and the others go on.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from penstock.base.errors import PenstockError
from penstock.engine.measure.records import KernelRow, Timing, Variant
from penstock.engine.workloads.failures import said

TOLERANCE = 0.02
"""An error above this part of the output's largest number is said. Rounding of bf16 and fp16 stays below it, another function does not."""
T = TypeVar("T")
Tell = Callable[..., None]


class Side(Struct, frozen=True, kw_only=True):
    """One way to run the thing. ``call`` times it, ``output`` gives what is compared."""

    name: str
    call: Callable[[], Any]
    output: Callable[[], Any]
    prepared: bool = False
    """It must be prepared: its first call is timed as such."""
    compiled: tuple[str, ...] = ()
    """What of it is compiled, in words."""
    expected: tuple[str, ...] = ()
    least_kernels: int | None = None
    most_kernels: int | None = None
    """What ``expected`` says of how many there are; None where it says nothing."""
    refused: str = ""
    """Why it is not run; empty where it is."""


class Ports(Struct, frozen=True, kw_only=True):
    """What a machine answers."""

    interleave: Callable[[Mapping[str, Callable[[], Any]]], Mapping[str, Timing]]
    max_error: Callable[[Any, Any], float | None]
    kernels: Callable[[str, Callable[[], Any]], tuple[KernelRow, ...]]
    """Of one call of the variant of that name."""
    graphs: Callable[[], int | None]
    """How many graphs this process has compiled."""
    compiled: Callable[[Callable[[], Any]], bool] = lambda call: False
    """Whether a call runs anything compiled: asked where no graph was made for it, for it may have been made before."""
    recompiles: Callable[[], Callable[[], tuple[str, ...]]] = lambda: tuple
    """Begins to watch; what it gives tells what has been compiled again since, a sentence each."""
    scale: Callable[[Any], float] = lambda _: math.inf
    """The largest number of an output, which its error is held against."""
    random: Callable[[Any], bool] = lambda _: False
    """Whether the output was drawn at random."""
    seconds: Callable[[], float] = time.perf_counter


def compare(sides: Sequence[Side], ports: Ports, *, shapes: int = 1, tell: Tell) -> tuple[Variant, ...]:
    """The variants in their order; the first that runs is what the others are held against."""
    bench = _Bench(sides, ports, tell)
    bench.prepare()
    bench.time()
    bench.settle()
    shown = {side.name: bench.tried(side, partial(bench.look, side, shapes)) for side in bench.running()}
    return tuple(
        shown.get(side.name)
        or Variant(
            name=side.name,
            expected=side.expected,
            compiled=side.compiled,
            graphs=bench.graphs(side.name),
            refused=bench.refused[side.name],
        )
        for side in sides
    )


class _Bench:
    """A comparison under way: which sides still run, and why the others do not."""

    def __init__(self, sides: Sequence[Side], ports: Ports, tell: Tell) -> None:
        self._sides = sides
        self._ports = ports
        self._tell = tell
        self.refused: dict[str, str] = {side.name: side.refused for side in sides if side.refused}
        self._prepared: dict[str, tuple[float, int | None]] = {}
        self._timings: Mapping[str, Timing] = {}
        self._again: tuple[str, ...] = ()
        self._base = ""
        self._wanted: Any = None
        self._own_error: float | None = None

    def graphs(self, name: str) -> int | None:
        """How many were made for it; None where it came to none."""
        return self._prepared.get(name, (0.0, None))[1]

    def running(self) -> list[Side]:
        """Those that nothing has gone wrong with."""
        return [side for side in self._sides if side.name not in self.refused]

    def tried(self, side: Side, act: Callable[[], T]) -> T | None:
        """What it gives; None where it raises, and the side is then refused: the others go on."""
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - a compiler's, the user's or PyTorch's: of any type
            self.refused.setdefault(side.name, reason(error))
            return None

    def prepare(self) -> None:
        """The first call of each, timed."""
        for side in self.running():
            self._tell(f"comparing: preparing {side.name}")
            graphs, began_s = self._ports.graphs(), self._ports.seconds()
            self.tried(side, side.call)
            took_s, made = self._ports.seconds() - began_s, self._ports.graphs()
            count = None if graphs is None or made is None or not side.prepared else made - graphs
            self._prepared[side.name] = (took_s if side.prepared else 0.0, count)
            if count == 0 and side.name not in self.refused and not self._ports.compiled(side.call):
                self.refused[side.name] = _graphless(side)

    def time(self) -> None:
        """All in turn; anew without a side that raises meanwhile."""
        while running := self.running():
            self._tell("comparing: timing in turn")
            before, told = self._ports.graphs(), self._ports.recompiles()
            try:
                self._timings = self._ports.interleave({side.name: self._watched(side) for side in running})
            except Exception:
                if len(self.running()) == len(running):  # not a side's: the clock's, or a mistake of ours
                    raise
                continue
            after = self._ports.graphs()
            if before is not None and after is not None and after > before:
                self._again = told() or (f"{after - before} more graphs were made while it was timed",)
            return

    def _watched(self, side: Side) -> Callable[[], Any]:
        """Its call; where that raises it is known whose it was."""

        def call() -> Any:
            try:
                return side.call()
            except Exception as error:
                self.refused.setdefault(side.name, reason(error))
                raise

        return call

    def settle(self) -> None:
        """What the others' outputs are held against: the first side's, called twice to see whether it agrees with itself."""
        while running := self.running():
            base = running[0]
            pair = self.tried(base, lambda one=base: (one.output(), one.output()))
            if pair is not None:
                self._base, self._wanted = base.name, pair[0]
                self._own_error = self._ports.max_error(*pair)
                return

    def look(self, side: Side, shapes: int) -> Variant:
        """Its figures. May raise what the side's own code does."""
        self._tell(f"comparing: looking at {side.name}")
        base = self._base
        first, timing = side.name == base, self._timings[side.name]
        took_s, count = self._prepared[side.name]
        prepare_s = max(0.0, took_s - timing.median_ms / 1000) if side.prepared else 0.0
        kernels = self._ports.kernels(side.name, side.call)
        error, told = (None, ()) if first else self._compared(side)
        base_timing = self._timings[base]
        said = "" if first else verdict(base_timing, timing)
        low, high = (None, None) if first else gain_range(base_timing, timing)
        return Variant(
            name=side.name,
            timing=timing,
            prepare_s=prepare_s,
            compiled=side.compiled,
            graphs=count,
            kernels=kernels,
            expected=side.expected,
            differences=(*told, *_made_before(count), *differences(side, kernels)),
            gain=None if first else gain(base_timing, timing),
            gain_low=low,
            gain_high=high,
            verdict=said,
            break_even_calls=break_even(prepare_s, base_timing.median_ms, timing.median_ms, shapes)
            if said == FASTER
            else None,
            max_error=error,
            recompiles=self._again if side.prepared else (),
        )

    def _compared(self, side: Side) -> tuple[float | None, tuple[str, ...]]:
        """Its largest error, and what must be said about it."""
        if side.prepared and self._ports.random(self._wanted):
            return None, (
                "the output is drawn at random, and a compiled graph draws other numbers: no error can be told",
            )
        error = self._ports.max_error(self._wanted, side.output())
        if error is None:
            return None, ()
        if self._own_error:
            return error, (
                f"{self._base} differs from itself by up to {self._own_error:.2g} from call to call: the error says little",
            )
        scale = self._ports.scale(self._wanted)
        if error <= TOLERANCE * scale:
            return error, ()
        return error, (
            f"does not compute the same as {self._base}: off by up to {error:.2g}, where the largest number is {scale:.2g}",
        )


def reason(error: Exception) -> str:
    """Why a side is refused: our own sentence, or the type and first words of another's error."""
    return error.message if isinstance(error, PenstockError) else said(error)


def differences(side: Side, kernels: Sequence[KernelRow]) -> tuple[str, ...]:
    """What of the expectation does not hold. Nothing is said where nothing was observed."""
    seen = sum(row.count for row in kernels)
    least, most = side.least_kernels, side.most_kernels
    if not seen or least is None or most is None or least <= seen <= most:
        return ()
    wanted = f"{most}" if least == most else f"at most {most}"
    more = (
        "more ran than the ops that were counted need"
        if seen > most
        else "some were fused, folded or not needed"
    )
    return (f"{seen} kernels were observed where {wanted} were expected: {more}",)


def _graphless(side: Side) -> str:
    """Why a side whose point is being compiled is none: whatever it gains is not the compiler's doing."""
    named = f" ({', '.join(side.compiled)})" if side.compiled else ""
    return f"no graph was made for it{named}, and nothing compiled runs in it: it is the first side once more"


def _made_before(graphs: int | None) -> tuple[str, ...]:
    """That the graphs which ran were there already."""
    if graphs != 0:
        return ()
    return ("its graphs were made before, in this process: what compiling takes was not seen",)


FASTER, SLOWER, SAME = "faster", "slower", "same"


def verdict(base: Timing, own: Timing) -> str:
    """Against the first side: apart are two whose quartiles do not touch."""
    if own.high_ms < base.low_ms:
        return FASTER
    return SLOWER if own.low_ms > base.high_ms else SAME


def gain_range(base: Timing, own: Timing) -> tuple[float | None, float | None]:
    """The least and the most that the quartiles allow the gain to be."""
    return (
        base.low_ms / own.high_ms if own.high_ms > 0 else None,
        base.high_ms / own.low_ms if own.low_ms > 0 else None,
    )


def gain(base: Timing, own: Timing) -> float | None:
    """The base's median over its own; above 1 is faster."""
    return base.median_ms / own.median_ms if own.median_ms > 0 else None


def break_even(prepare_s: float, base_ms: float, own_ms: float, shapes: int) -> float | None:
    """Calls after which preparing has paid for itself; None where it never does, 0 where nothing was to be prepared."""
    gained_ms = base_ms - own_ms
    if gained_ms <= 0:
        return None
    return prepare_s * 1000 * shapes / gained_ms

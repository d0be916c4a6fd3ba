"""``torch.compile`` that had no effect, was paid more than once, fell back to Python, or made things slower."""

import ast
import math
import re
import textwrap
from collections.abc import Iterable

from msgspec.structs import replace

from penstock.engine.measure.findings.tried import FUSED, fused, saving
from penstock.engine.measure.records import Finding, Timing, Variant
from penstock.engine.measure.seen import Compilation, CompiledPlace, GraphBreak, Recompile, Seen

MOST = 8
"""Findings of one id that are told: the most frequent."""
_SIZE = re.compile(
    r"tensor '(?P<name>[^']+)' (?P<what>size|stride) mismatch at index (?P<dim>\d+)\. "
    r"expected (?P<expected>\S+), actual (?P<actual>\S+?)\.?(?:\s|$)"
)
_VALUE = re.compile(r"^(?P<name>[\w.\[\]'\"()]+) == (?P<value>[^#\s]+)")


def find(seen: Seen) -> list[Finding]:
    """All of this family."""
    places = [place for part in seen.parts for place in part.compiled]
    found = [nothing(place, seen) for place in places if _idle(place)]
    found += [_stepped(place, seen) for place in places if _stepped_over(place)]
    done = seen.compilation
    if done is not None:
        found += _most(
            [recompiled(again, seen.wall_ms) for again in sorted(done.recompiles, key=lambda r: -r.count)]
        )
        found += _most(
            [broken(gap, seen, tried=done.tried) for gap in sorted(done.breaks, key=lambda gap: -gap.count)]
        )
        found += _slower(seen, done)
    return found


def _idle(place: CompiledPlace) -> bool:
    """Compiled, never called, and bypassed: an object that this run simply did not use is not at fault."""
    return place.forward_calls == 0 and bool(place.others)


def to_no_effect(place: CompiledPlace) -> bool:
    """Meant to be compiled, and what runs is not."""
    return _idle(place) or _stepped_over(place)


def nothing(place: CompiledPlace, seen: Seen) -> Finding:
    """``compiled-nothing``: the wrapped ``forward`` is never called; the object is used through other methods."""
    used = sorted(place.others, key=lambda name: -place.others[name])
    calls = ", ".join(f"{name} ({times(place.others[name])})" for name in used)
    told = saving(place.tried, f"with {', '.join(used)} compiled", seen.wall_ms, most=fused(seen, place.path))
    return Finding(
        id="compiled-nothing",
        title=f"{place.path} is compiled, but what is called is not",
        evidence=(
            f"torch.compile wraps the forward of {place.path} ({place.class_name}); one run calls it 0 times, and "
            f"instead {calls}: 0 graphs run. {told.told}"
        ),
        saves_ms=told.saves_ms,
        bound=told.bound,
        fix="Compile the method that is called.\n"
        + "\n".join(f"{place.path}.{name} = torch.compile({place.path}.{name})" for name in used),
        proof=(
            f"torch._dynamo.utils.counters['stats']['unique_graphs'] rises with the first {place.path}.{used[0]}(...); "
            "this finding is gone."
        ),
        facts={"forward_calls": 0.0, "other_calls": float(sum(place.others.values())), "graphs": 0.0},
        where=place.path,
    )


def _stepped_over(place: CompiledPlace) -> bool:
    return place.stepped_over and bool(place.forward_calls)


def _stepped(place: CompiledPlace, seen: Seen) -> Finding:
    """``compiled-nothing``: called, but its code is not the user's, and Dynamo steps over it."""
    told = saving(place.tried, "compiled", seen.wall_ms, most=fused(seen, place.path))
    return Finding(
        id="compiled-nothing",
        title=f"{place.path}.compile() has compiled nothing",
        evidence=(
            f"One run calls {place.path} {times(place.forward_calls or 0)}, and 0 graphs run: it is made of torch.nn's own classes, whose code "
            f"Dynamo steps over when they are compiled in place. torch.compile(module) wraps them. {told.told}"
        ),
        saves_ms=told.saves_ms,
        bound=told.bound,
        fix=f"Wrap it instead.\n{place.path}._compiled_call_impl = None\n{place.path} = torch.compile({place.path})",
        proof="torch._dynamo.utils.counters['stats']['unique_graphs'] rises with the first call; this finding is gone.",
        facts={"forward_calls": float(place.forward_calls or 0), "graphs": 0.0},
        where=place.path,
    )


def recompiled(again: Recompile, wall_ms: float | None = None) -> Finding:
    """``recompiles``: a function compiled once more for each shape or value, with the guard that failed."""
    size, value = _SIZE.search(again.guard), _VALUE.search(again.guard)
    facts = {"recompiles": float(again.count), "compile_s": again.compile_s, "run_compile_s": again.run_s}
    every_run = again.run_s > 0
    paid = (
        f"{again.run_s:.2f} s of it in one run that was not the first: every run pays that, until Dynamo gives up"
        if every_run
        else "it is paid once for each new shape or value and not in a run like the last"
    )
    if size:
        why = f"the {size['what']} of {size['name']} in dimension {size['dim']} was {size['expected']}, now {size['actual']}"
        fix = _dynamic(again, size["name"], int(size["dim"]))
    elif value:
        why = f"{value['name']} was {value['value']}, and is part of the graph"
        fix = (
            "A Python number is a constant of the graph; as a tensor it is an input.\n"
            f"{_last(value['name'])} = torch.as_tensor({_last(value['name'])})"
        )
    else:
        why = again.guard
        fix = (
            "Make what the guard names the same in every call. A number that changes: pass it as a tensor "
            "(torch.as_tensor(number)), and do not branch on it. A size that changes: leave it open.\n"
            "torch._dynamo.mark_dynamic(x, 0)"
        )
    return Finding(
        id="recompiles",
        title=f"{again.function} is compiled again: {why}",
        evidence=(
            f"{again.function} ({again.where}) was compiled {again.count + 1} times; the guard that failed: {again.guard}; "
            f"{again.compile_s:.2f} s went into compiling it again; {paid}."
        ),
        saves_ms=min(again.run_s * 1e3, wall_ms or math.inf) if every_run else again.compile_s * 1e3,
        once=not every_run,
        bound=(
            "The seconds that Dynamo measured of the second and later compilations"
            + (
                " in one run."
                if every_run
                else ", once for each new shape or value: not of a run of known ones."
            )
        ),
        fix=fix,
        proof='torch.compiler.set_stance("fail_on_recompile") raises nothing; this finding is gone.',
        facts=facts,
        where=again.where,
    )


def _dynamic(again: Recompile, name: str, dim: int) -> str:
    options = "Keep your other options; recompile with the dimension left open"
    if again.kind == "module":
        return f"{options}.\n{again.path} = torch.compile({again.path}._orig_mod, dynamic=True)"
    if again.kind == "in-place":
        return f"{options}.\n{again.path}.compile(dynamic=True)"
    if again.kind == "method":
        original = f"{again.path}._torchdynamo_orig_callable"
        return f"{options}.\n{again.path} = torch.compile({original}, dynamic=True)"
    return f"Before the call, leave the dimension open.\ntorch._dynamo.mark_dynamic({_last(name)}, {dim})"


def _last(name: str) -> str:
    """``L['x']`` and ``x`` alike as the user's name."""
    quoted = re.findall(r"\['(\w+)'\]", name)
    return quoted[-1] if quoted else name


def broken(gap: GraphBreak, seen: Seen, *, tried: bool) -> Finding:
    """``graph-breaks``: a line at which a compiled function goes back to Python."""
    told = f"{gap.where}: {gap.line}" if gap.line else gap.where
    most = None if tried else fused(seen, gap.path)
    if tried:
        bound = "Nothing is compiled yet, so that nothing of this run is lost by it."
    else:
        bound = FUSED if most is not None else "Where the time goes was not captured: nothing bounds it."
    return Finding(
        id="graph-breaks",
        title=f"The graph {'would break' if tried else 'breaks'} at {told}",
        evidence=(
            f"{gap.reason} at {told}, {times(gap.count)}"
            + (
                "; nothing is compiled yet: the part was traced to see what would break."
                if tried
                else ". Each break is two graphs, a return to Python, and nothing fused across it."
            )
        ),
        saves_ms=None if most is None else most.saves_ms,
        bound=bound,
        fix=_mended(gap),
        proof="torch.compile(..., fullgraph=True) raises nothing; this finding is gone.",
        facts={"breaks": float(gap.count)},
        where=gap.where,
    )


def _mended(gap: GraphBreak) -> str:
    if gap.kind == "branch":
        name = branched(gap.line)
        if name:
            return (
                "The branch reads a tensor's value. Give a number: it becomes a guard, not a break.\n"
                f"{name} = float({name})"
            )
        return (
            "Compute both sides and choose on the device.\ny = torch.where(condition, when_true, when_false)"
        )
    if gap.kind == "item":
        return (
            "Keep the value a tensor; where a number is needed, let the graph carry it.\n"
            "torch._dynamo.config.capture_scalar_outputs = True"
        )
    return (
        "Take the line out of the compiled function; a break is then an error.\n"
        f"{gap.path or 'model'}.compile(fullgraph=True)"
    )


def branched(line: str) -> str:
    """The one name or attribute that an ``if`` compares with constants: ``guidance_scale``; empty where it is more than that."""
    text = textwrap.dedent(line).strip()
    try:
        tree = ast.parse(f"{text}\n    pass" if text.endswith(":") else text)
    except SyntaxError:
        return ""
    test = next(
        (node.test for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.While)), None
    )
    if test is None:
        return ""
    sides = [test.left, *test.comparators] if isinstance(test, ast.Compare) else [test]
    names = {ast.unparse(side) for side in sides if isinstance(side, ast.Name | ast.Attribute)}
    plain = all(isinstance(side, ast.Name | ast.Attribute | ast.Constant) for side in sides)
    return names.pop() if plain and len(names) == 1 else ""


def _slower(seen: Seen, done: Compilation) -> list[Finding]:
    if done.eager is None or done.compiled is None:
        return []
    places = tuple(place for part in seen.parts for place in part.compiled if place.forward_calls != 0)
    found = slowed(done.eager, done.compiled, places, tuple(place.path for place in places))
    run_ms = seen.wall_ms
    if run_ms is None:
        return found
    # timed apart from the run: no more can be saved than the run takes
    return [replace(one, saves_ms=min(one.saves_ms or 0.0, run_ms)) for one in found]


def slowed(
    eager: Timing, compiled: Timing, places: tuple[CompiledPlace, ...] = (), named: tuple[str, ...] = ()
) -> list[Finding]:
    """``slowed-by-compile``: eager is faster, and the quartiles do not overlap. Empty where it is not, or cannot be told.

    ``places``: what the fix leaves eager; ``named``: what was compiled, in words.
    """
    if compiled.median_ms <= eager.median_ms or compiled.low_ms <= eager.high_ms:
        return []
    lost = compiled.median_ms - eager.median_ms
    undo = {
        "module": "{0} = {0}._orig_mod",
        "in-place": "{0}._compiled_call_impl = None",
        "method": "del {0}",
    }
    code = [undo[place.kind].format(place.path) for place in places if place.kind in undo]
    return [
        Finding(
            id="slowed-by-compile",
            title="Compiled, it is slower than eager",
            evidence=(
                (f"Compiled: {', '.join(named)}. " if named else "")
                + f"Eager {eager.median_ms:.3f} ms a call, compiled {compiled.median_ms:.3f} ms "
                f"({eager.median_ms / compiled.median_ms:.2f} times eager's speed): guards and the graph's prologue "
                "cost more than what it fuses."
            ),
            saves_ms=lost,
            bound="Eager against compiled, timed in turn.",
            fix="Leave it eager." + "".join(f"\n{line}" for line in code),
            proof="Timed in turn, eager against compiled (--compare eager,compile): the ratio is below 1.",
            facts={
                "eager_ms": eager.median_ms,
                "compiled_ms": compiled.median_ms,
                "ratio": eager.median_ms / compiled.median_ms,
            },
            where=places[0].path if places else "",
        )
    ]


def of_variants(variants: Iterable[Variant]) -> list[Finding]:
    """``slowed-by-compile`` of ``--compare``: the side ``compile`` against ``eager``; ``recompiles`` where it was compiled again and
    again while it was timed, for its time is then the compiler's. Empty where either was not timed.

    Neither saves anything: the user's own run is not the compiled one.
    """
    timed = {variant.name: variant for variant in variants if variant.timing is not None}
    compiled = timed.get("compile")
    if compiled is None or compiled.timing is None:
        return []
    if compiled.recompiles:
        return [_again(compiled.recompiles, compiled.compiled)]
    eager = timed.get("eager")
    if eager is None or eager.timing is None:
        return []
    told = slowed(eager.timing, compiled.timing, named=compiled.compiled)
    return [replace(one, saves_ms=None, bound=_EAGER_RUN) for one in told]


_EAGER_RUN = "The run itself is the eager one: nothing of it is lost."


def _again(sentences: tuple[str, ...], named: tuple[str, ...]) -> Finding:
    """``recompiles`` of ``--compare``, whose calls are all the same."""
    return Finding(
        id="recompiles",
        title="Compiled, it would be compiled again by calls that are all the same",
        evidence=(f"Compiled: {', '.join(named)}. " if named else "")
        + f"While it was timed: {'; '.join(sentences)}. The compiled side's time holds the compiler's; the run itself "
        "is the eager one, so that nothing of it is saved.",
        bound=_EAGER_RUN,
        fix=(
            "Make what the guard names the same in every call (a counter is no part of a forward); a call that would compile "
            'again is then an error.\ntorch.compiler.set_stance("fail_on_recompile")'
        ),
        proof="--compare eager,compile: this finding is gone.",
    )


def times(count: int) -> str:
    """``once``, ``3 times``."""
    return "once" if count == 1 else f"{count} times"


def _most(found: list[Finding]) -> list[Finding]:
    return found[:MOST]

"""Quantised weights that run uncompiled: every linear unpacks, scales and multiplies in kernels of its own."""

from penstock.engine.measure.findings.tried import FUSED, fused
from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import Part, Seen


def find(seen: Seen) -> list[Finding]:
    """``quantised-without-compile`` for each part that holds quantised weights outside every compiled region."""
    return [_eager(part, seen) for part in seen.parts if part.quantised.uncompiled]


def _eager(part: Part, run: Seen) -> Finding:
    seen, most = part.quantised, fused(run, part.path)
    return Finding(
        id="quantised-without-compile",
        title=f"{part.path} is quantised and not compiled",
        evidence=(
            f"{seen.uncompiled} of {seen.weights} quantised weights ({seen.type_name}) of {part.path} run in no compiled region. "
            "Eager, each is quantised and scaled by kernels of its own: Flux on an H100 took 130.5 s so, 6.57 s in bf16 "
            "(diffusers-torchao)." + (f" {most.told}" if most is not None else "")
        ),
        saves_ms=None if most is None else most.saves_ms,
        bound=FUSED if most is not None else "Where the time goes was not captured: nothing bounds it.",
        fix=f"Compile what holds them.\n{_code(part)}",
        proof=(
            "torch._dynamo.utils.counters['stats']['unique_graphs'] rises with the next call; in a trace the scaling is inside "
            "triton_ or cpp_fused_ kernels."
        ),
        facts={"quantised_weights": float(seen.weights), "uncompiled": float(seen.uncompiled)},
        where=part.path,
    )


def _code(part: Part) -> str:
    if part.repeated_blocks and part.quantised.uncompiled == part.quantised.weights:
        return f"{part.path}.compile_repeated_blocks(fullgraph=True)"
    if part.autoencoder and not part.forward_calls:
        return f"{part.path}.decode = torch.compile({part.path}.decode)"
    if part.built_in:
        return f"{part.path} = torch.compile({part.path})"
    return f"{part.path}.compile()"

"""Classifier-free guidance that runs the denoiser twice a step instead of once with both conditions."""

from penstock.engine.measure.records import Finding
from penstock.engine.measure.seen import GuidedPair, Seen


def find(seen: Seen) -> list[Finding]:
    """``sequential-guidance`` for each denoiser that was called in such pairs."""
    return [_sequential(pair, seen.steps) for pair in seen.guided if pair.pairs]


def _sequential(pair: GuidedPair, steps: int) -> Finding:
    saves, how = None, ""
    bound = "The time of its calls is not known."
    if pair.twice_ms is not None and pair.once_ms is not None:
        saves, how = max(0.0, (pair.twice_ms - pair.once_ms) * pair.pairs), "measured"
        bound = "Two calls against one with both conditions, timed in turn, for each pair."
    elif pair.wall_ms is not None and pair.calls:
        saves, how = (
            pair.wall_ms * pair.pairs / pair.calls,
            "at most, where the second half of a batch is free",
        )
        bound = "The time of one call of each pair: all of it, were the second half of a batch free."
    return Finding(
        id="sequential-guidance",
        title=f"{pair.path} runs twice a step for guidance",
        evidence=(
            f"{pair.calls} calls of {pair.path} in {steps} steps; {pair.pairs} times two follow each other with the same "
            f"{', '.join(pair.same) or 'latents'} and batch {pair.batch}, and differ in {', '.join(pair.differing + pair.ragged + pair.dicts)} only"
            + (f"; {saves:.1f} ms, {how}." if saves is not None else ".")
        ),
        saves_ms=saves,
        bound=bound,
        fix=f"Call it once with both conditions, batch {2 * pair.batch}.\n{code(pair)}",
        proof=f"{pair.calls - pair.pairs} calls of {pair.path} a run, batch {2 * pair.batch}; the output is equal to rounding.",
        facts={
            "calls": float(pair.calls),
            "pairs": float(pair.pairs),
            "batch": float(pair.batch),
            "steps": float(steps),
        },
        where=pair.path,
    )


def code(pair: GuidedPair) -> str:
    """The one call, with the denoiser's own parameter names; ``…_first`` and ``…_second`` are the two conditions as they were.

    Conditions of other lengths are padded: the padding must be masked.
    """
    given = [f"{name}=torch.cat([{name}] * 2)" for name in pair.same]
    given += [f"{name}=torch.cat([{name}_first, {name}_second])" for name in pair.differing]
    given += [
        f"{name}=torch.nn.utils.rnn.pad_sequence([*{name}_first, *{name}_second], batch_first=True)"
        for name in pair.ragged
    ]
    given += [
        f"{name}={{key: torch.cat([{name}_first[key], {name}_second[key]]) for key in {name}_first}}"
        for name in pair.dicts
    ]
    given += [f"{name}={name}" for name in pair.shared]
    arguments = "".join(f"    {one},\n" for one in given)
    return f"first, second = {pair.path}(\n{arguments}){'' if pair.gives_tensor else '[0]'}.chunk(2)"

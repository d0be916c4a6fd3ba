"""``--gpu NAME``: the target on meta tensors against a card's data sheet. Imports torch, runs no kernel and reads no weight."""

from typing import Any

from penstock.base.errors import BadRequest
from penstock.engine.lab import preflight
from penstock.engine.measure import datasheets
from penstock.engine.measure.records import Profile
from penstock.engine.workloads import generator, noise, on_meta, tour
from penstock.engine.workloads.on_meta import Plan
from penstock.engine_wiring.asked import Asked
from penstock.engine_wiring.inputs import nothing_else, pipeline_arguments

_RUN = ("compare", "capture", "device", "stacks", "seconds", "quick", "deep")


def profile_foreseen(asked: Asked, tell: Any) -> Profile:
    """The pre-flight. Raises BadRequest for an unknown card, and for a target that needs values."""
    peaks = datasheets.sheet(asked.gpu)
    nothing_else(asked, "with --gpu nothing is run", *_RUN)
    tell(f"running {asked.target} on meta tensors")
    with noise.without_noise():
        return preflight.profile(plan(asked), peaks)


def plan(asked: Asked) -> Plan:
    """The target without values."""
    if asked.kind == "module":
        nothing_else(asked, "build() makes the module's inputs", "shape", "batch")
        return on_meta.of_module(asked.target, dtype=asked.dtype or None)
    if asked.kind == "pipeline":
        return on_meta.of_pipeline(
            asked.target,
            dtype=asked.dtype or None,
            steps=asked.steps or None,
            batch=asked.batch or 1,
            arguments=pipeline_arguments(asked),
        )
    if asked.kind == "generator":
        nothing_else(asked, "a prompt's length is all that counts here", "shape", "prompt")
        given: dict[str, Any] = {"dtype": asked.dtype} if asked.dtype else {}
        return on_meta.of_generator(
            asked.target, tokens=asked.tokens or generator.TOKENS, batch=asked.batch or 1, **given
        )
    if asked.kind == "tour":
        nothing_else(asked, "the tour's sizes are its --shape", "batch", "steps", "tokens", "prompt")
        shape = asked.shape or tour.SHAPE_GPU
        step = tour.load(asked.target, shape=shape, dtype=asked.dtype or "bf16", device="meta")
        return on_meta.of_call(asked.target, step.root, (step.x_BSD,), kind="tour")
    raise BadRequest(
        f"There is no pre-flight of {asked.target}.",
        param="--gpu",
        hint="Name linear, mlp, geglu, a module, a pipeline's folder or a generator's folder.",
    )

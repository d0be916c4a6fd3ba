"""How our own ranges are named in a trace, so that what reads it knows stages from modules and from the user's own annotations.

``ranges`` writes them (``record_function``), the reader of a trace takes them apart again. Needs no torch.
"""

STAGE = "stage: "
"""``stage: unet``: a named part of the run."""
MODULE = "module: "
"""``module: unet.down_blocks.0``: a call of an ``nn.Module``, by its dotted name."""
RUN = "run: "
"""``run: <label>``: one whole call of the workload; what its stages do not cover is the residual."""

TRACE = "penstock.trace:"
"""``penstock.trace:<id>``: the request that a run served, by the id that the gateway's ledger has (``x-penstock-trace``)."""


def stage_of(annotation: str) -> str | None:
    """The stage that an annotation names; None where it is none of ours."""
    return annotation.removeprefix(STAGE) if annotation.startswith(STAGE) else None


def module_of(annotation: str) -> str | None:
    """The module that an annotation names; None where it is none of ours."""
    return annotation.removeprefix(MODULE) if annotation.startswith(MODULE) else None


def run_of(annotation: str) -> str | None:
    """The run that an annotation names; None where it is none of ours."""
    return annotation.removeprefix(RUN) if annotation.startswith(RUN) else None


def trace_of(annotation: str) -> str | None:
    """The request's trace id that an annotation names; None where it is none of ours."""
    return annotation.removeprefix(TRACE) if annotation.startswith(TRACE) else None

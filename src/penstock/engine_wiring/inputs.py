"""Options that become a target's own arguments, and those that mean nothing for it: told, not ignored. Needs no torch."""

from typing import Any

from penstock.base.errors import BadRequest
from penstock.engine_wiring.asked import Asked


def pipeline_arguments(asked: Asked) -> dict[str, Any]:
    """A pipeline's own: the prompt, and height and width in pixels."""
    given: dict[str, Any] = {"prompt": asked.prompt} if asked.prompt else {}
    if asked.shape:
        if len(asked.shape) not in (1, 2):
            raise BadRequest(
                f"A pipeline's --shape is its height and width, not {len(asked.shape)} numbers.",
                param="--shape",
                hint="Write --shape 1024,1024.",
            )
        given |= {"height": asked.shape[0], "width": asked.shape[-1]}
    return given


def nothing_else(asked: Asked, why: str, *options: str) -> None:
    """Refuse what would change nothing, so that nobody believes that it did."""
    given = [name for name in options if getattr(asked, name)]
    if given:
        raise BadRequest(
            f"--{given[0]} changes nothing here: {why}.", param=f"--{given[0]}", hint="Leave it out."
        )

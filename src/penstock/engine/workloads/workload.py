"""What a profile run needs of a thing: how to call it, what its parts are called, how its inputs are made."""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct


class StagePoint(Struct, frozen=True):
    """A bound method of a live object that is a stage of its own: ``StagePoint(pipe.vae, "decode", "vae")``.

    Wrapped for the time of a run, put back after it; no source is changed. Several points may share one stage's name.
    """

    owner: Any
    method: str
    stage: str
    not_within: str = ""
    """A stage whose own work the method's calls are while it runs: they are then no calls of this one."""


class Workload(Protocol):
    """Any loaded thing, ready to be called again and again."""

    name: str
    kind: str
    """``module``, ``pipeline``, ``generator`` or ``tour``."""
    device: str
    """``cpu`` or ``cuda:0``."""
    root: Any
    """The ``nn.Module`` or pipeline itself, for inspection."""
    steps: int
    """Denoising steps or tokens of one call; 1 where there are none."""
    batch: int

    def call(self) -> Any:
        """Run it once, as a user would; the output, for comparison."""
        ...

    def stages(self) -> tuple[StagePoint, ...]:
        """Its stages, outermost first. Empty: the module's own children are shown instead."""
        ...

    def modules(self) -> dict[str, Any]:
        """Its ``nn.Module`` parts by name (``unet``, ``vae``; ``model`` for a plain module)."""
        ...

    def with_batch(self, batch: int) -> Callable[[], Any] | None:
        """A call with another batch size, for the scaling probe; None where that cannot be."""
        ...

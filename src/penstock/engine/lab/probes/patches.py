"""Wrapping methods of live objects for the time of a run, and putting everything back, also after an error."""

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from torch import nn
from torch._dynamo.eval_frame import OptimizedModule

from penstock.engine.lab.probes.parts import in_place, own

_MISSING: Any = object()

Around = Callable[[Callable[..., Any]], Callable[..., Any]]
"""From what is called to what is called instead."""


class Patches:
    """Instance attributes that are set now and put back at the end, the last first.

    They are written into the object's own ``__dict__``: no class is touched, and ``OptimizedModule`` does not pass them on to
    what it wraps, so that a compiled graph's guards still hold.
    """

    def __init__(self) -> None:
        self._undo: list[tuple[dict[str, Any], str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._undo:
            held, name, before = self._undo.pop()
            if before is _MISSING:
                held.pop(name, None)  # the run itself may have removed it
            else:
                held[name] = before

    def put(self, owner: Any, name: str, value: Any) -> None:
        """Set one attribute of one object. TypeError for an object without a ``__dict__``."""
        held = own(owner)
        self._undo.append((held, name, held.get(name, _MISSING)))
        held[name] = value

    def wrap(self, owner: Any, method: str, around: Around) -> None:
        """Call ``around``'s in place of the method. A module's ``forward`` is taken where a call of the module enters it, compiled
        or not: hooks would make a module that was compiled in place compile again."""
        name = method
        if isinstance(owner, nn.Module) and method in ("forward", "__call__"):
            name = (
                "_compiled_call_impl"
                if not isinstance(owner, OptimizedModule) and in_place(owner)
                else "forward"
            )
        original = getattr(owner, name)
        # diffusers asks a scheduler's set_timesteps for its signature: the wrapper answers as the original
        self.put(owner, name, functools.update_wrapper(around(original), original))

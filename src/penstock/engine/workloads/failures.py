"""What goes wrong in code that is not ours, told as the user's mistake: the error's own words, and the line it came from."""

import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from penstock.base.errors import BadRequest
from penstock.engine.workloads import noise

EXTRAS = {
    "diffusers": "diffusion",
    "transformers": "diffusion",
    "accelerate": "diffusion",
    "safetensors": "diffusion",
    "PIL": "diffusion",
    "torch": "engine",
    "torchao": "quant",
}
"""Package -> the extra of Penstock that brings it."""
_MOST_CHARACTERS = 400
OWN_CODE = (
    "It brings code of its own, which is not run from here. Read that code; if you trust it, load the model with it in a file "
    "of yours and profile that: my_module.py:build"
)
"""What to do with a directory whose configuration names classes of its own (transformers' ``auto_map``)."""


def named(package: ModuleType, name: str) -> Any:
    """An attribute of a package that imports its parts when they are first named; None where it has none."""
    try:
        with noise.hushed():
            return getattr(package, name, None)
    except (ImportError, RuntimeError, OSError) as error:
        raise BadRequest(
            f"{package.__name__}.{name} cannot be imported: {said(error)}",
            param="target",
            hint=_broken(str(error)),
        ) from error


def needed(package: str, what: str) -> ModuleType:
    """Import an optional package, loaded only when its kind of target is chosen; BadRequest says how to install it."""
    try:
        with noise.hushed():
            return import_module(package)
    except ModuleNotFoundError as error:
        missing = (error.name or package).split(".")[0]
        extra = EXTRAS.get(missing)
        line = f"penstock[{extra}]" if extra else missing
        raise BadRequest(
            f"{what} needs {missing}, which is not installed.",
            param="target",
            hint=f"Install it: pip install '{line}'",
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise BadRequest(
            f"{what} needs {package}, which is installed and cannot be imported: {said(error)}",
            param="target",
            hint=_broken(str(error)),
        ) from error


def _broken(text: str) -> str:
    if "torchvision" in text:
        return (
            "torchvision and torch are of different builds. Take it out (pip uninstall torchvision; nothing here needs it), "
            "or install the one that was built for this torch."
        )
    return "Its versions must fit each other: pip check."


def said(error: BaseException) -> str:
    """An error's type and first words, on one line: the end of a sentence."""
    text = " ".join(str(error).split())
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS] + " …"
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return told if told.endswith((".", "!", "?", "…")) else f"{told}."


def place(error: BaseException, near: Path | None = None) -> str:
    """``file.py:12 in forward``: the innermost frame in the user's own folder, else the innermost of all; empty if none."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if near is not None and Path(frame.filename).is_relative_to(near)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def run(call: Callable[[], Any], what: str, *, near: Path | None = None, hint: str = "") -> Any:
    """Run a user's code; whatever it raises becomes a BadRequest with the line that raised. Our own errors pass.

    ``hint``: what to do about it, where it is not that the code fails by itself too.
    """
    try:
        return call()
    except BadRequest:
        raise
    except SystemExit as error:  # a script's own command line, run by being imported
        raise BadRequest(
            f"{what} ended the program (sys.exit({error.code!r})).",
            param="target",
            hint='Put what the file does when run itself under `if __name__ == "__main__":`.',
        ) from error
    except Exception as error:
        at = place(error, near)
        raise BadRequest(
            f"{what} failed{f' at {at}' if at else ''}: {said(error)}",
            param="target",
            hint=hint or _hint(error),
        ) from error


def _hint(error: Exception) -> str:
    text = str(error)
    if (
        type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
    ):
        return "It does not fit the device's memory: take a smaller batch or shape, or see --gpu NAME for what would fit."
    if "Expected all tensors to be on the same device" in text:
        return "Module and inputs are on different devices: move both, or neither."
    if "must have the same dtype" in text or "expected m1 and m2 to have the same dtype" in text:
        return "Module and inputs differ in dtype: make both the same."
    if "trust_remote_code" in text:
        return OWN_CODE
    if "Unrecognized model identifier" in text:
        return "A newer transformers may know the model. Code that its folder brings is not run from here: my_module.py:build"
    return "Run it once by itself: it fails there too."

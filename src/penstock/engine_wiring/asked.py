"""What ``penstock profile`` was asked, and what kind of thing its target is. Needs no torch."""

from pathlib import Path

from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.base.money import Price
from penstock.engine.measure import datasheets

TOUR = ("linear", "mlp", "geglu")
"""The guided tour's three steps."""
VARIANTS = ("eager", "compile", "kernels")
DTYPES = {
    "fp32": "fp32",
    "float32": "fp32",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "fp16": "fp16",
    "float16": "fp16",
}
"""As written -> as the workloads know it."""
_TRACES = (".json", ".json.gz", ".pt.trace.json", ".gz")


class Asked(Struct, frozen=True, kw_only=True):
    """One call of the command. None and 0: the default of what is run."""

    target: str
    kind: str
    """``tour``, ``trace``, ``module``, ``pipeline``, ``generator``."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    """``fp32``, ``bf16`` or ``fp16``."""
    device: str = ""
    compare: tuple[str, ...] = ()
    gpu: str = ""
    prompt: str = ""
    steps: int = 0
    tokens: int = 0
    batch: int = 0
    shapes: int = 1
    """Of how many shapes the traffic is: each is compiled once."""
    seconds: float = 0.0
    """Calls are timed for at most this long."""
    quick: bool = False
    deep: bool = False
    """Probes that run it many times more."""
    capture: Path | None = None
    stacks: bool = False
    per_hour: Price | None = None
    """Of the device, in dollars."""
    trace_id: str = ""
    ledger: str = ""


def kind_of(target: str, *, generate: bool) -> str:
    """What a target is. Raises BadRequest, with what to write, for what is nothing of the kind."""
    path = Path(target)
    if path.is_dir():
        return _folder(path, target, generate=generate)
    if generate:
        raise BadRequest(
            f"{target!r} is no folder of a text generator.",
            param="--generate",
            hint="Name the folder that save_pretrained wrote: penstock profile model_dir --generate.",
        )
    if path.is_file():
        if target.endswith(_TRACES):
            return "trace"
        if target.endswith(".py"):
            raise BadRequest(
                f"{target!r} does not say which function builds the module.",
                param="TARGET",
                hint=f"Write {target}:build; build() returns the module, or (module, inputs).",
            )
        raise BadRequest(
            f"{target!r} is a file of no kind that can be profiled.",
            param="TARGET",
            hint="A trace ends in .json or .json.gz; a module is named file.py:function.",
        )
    if target in TOUR:
        return "tour"
    place, colon, function = target.rpartition(":")
    if colon and place.endswith(".py") and not Path(place).is_file():  # before PyTorch's seconds, not after
        raise BadRequest(
            f"There is no file {place}.", param="TARGET", hint=f"Relative paths start in {Path.cwd()}."
        )
    if colon and function.isidentifier() and place and not place.endswith(_TRACES):
        return "module"
    raise BadRequest(
        f"There is nothing to profile at {target!r}.",
        param="TARGET",
        hint=(
            f"Name one of {', '.join(TOUR)}, my_module.py:build, a pipeline's folder, "
            f"a model's folder with --generate, or a trace.json[.gz]. Relative paths start in {Path.cwd()}."
        ),
    )


def _folder(path: Path, target: str, *, generate: bool) -> str:
    if (path / "model_index.json").exists():
        if generate:
            raise BadRequest(
                f"{target!r} holds a diffusers pipeline, which generates no text.",
                param="--generate",
                hint=f"Leave --generate out: penstock profile {target}.",
            )
        return "pipeline"
    if (path / "config.json").exists():
        if generate:
            return "generator"
        raise BadRequest(
            f"{target!r} holds a single model.",
            param="TARGET",
            hint="Add --generate for a text generator, or write file.py:build for any other module.",
        )
    traces = sorted(one.name for one in path.iterdir() if one.name.endswith((".pt.trace.json", ".json.gz")))
    if traces:
        raise BadRequest(
            f"{target!r} holds neither a pipeline nor a model, but traces.",
            param="TARGET",
            hint=f"Name one of them: penstock profile {path / traces[-1]}.",
        )
    raise BadRequest(
        f"{target!r} holds neither a pipeline nor a model.",
        param="TARGET",
        hint="A pipeline's folder has a model_index.json, a model's a config.json, as save_pretrained writes them.",
    )


def sizes(text: str) -> tuple[int, ...]:
    """ "64,128,768" or "64x128x768" -> its numbers. Raises BadRequest."""
    parts = text.lower().replace("x", ",").split(",")
    try:
        found = tuple(int(part) for part in parts)
    except ValueError:
        found = ()
    if not found or any(size < 1 for size in found):
        raise BadRequest(
            f"--shape does not understand {text!r}.",
            param="--shape",
            hint="Write whole numbers above 0: --shape 64,128,768.",
        )
    return found


def dtype_named(text: str) -> str:
    """The short name of a dtype. Raises BadRequest."""
    if text.lower() not in DTYPES:
        raise BadRequest(
            f"There is no dtype {text!r} here.", param="--dtype", hint="Write fp32, bf16 or fp16."
        )
    return DTYPES[text.lower()]


def gpu_named(text: str) -> str:
    """A card whose data sheet is known, in small letters. Raises BadRequest."""
    datasheets.sheet(text)
    return text.strip().lower()


def variants_named(text: str) -> tuple[str, ...]:
    """ "eager,compile" -> names in order, eager first: the others are held against it. Raises BadRequest."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [name for name in names if name not in VARIANTS]
    if wrong or not names:
        raise BadRequest(
            f"--compare does not know {', '.join(repr(name) for name in wrong) or 'an empty list'}.",
            param="--compare",
            hint=f"Write some of {','.join(VARIANTS)}.",
        )
    return tuple(dict.fromkeys(["eager", *names]))

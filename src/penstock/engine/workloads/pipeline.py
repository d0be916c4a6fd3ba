"""Any diffusers pipeline, loaded from its directory by ``from_pretrained``, without a network.

Its parts are stages: ``encode_prompt``, the denoiser's forward, the scheduler's steps, ``vae.decode``, the postprocessing. The
package ``diffusers`` is imported when a pipeline is loaded, and not before.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from penstock.base.errors import BadRequest
from penstock.engine.workloads import failures, noise, saved
from penstock.engine.workloads.workload import StagePoint

PROMPT = "a red lamp on the desk"
SIDE = 64
"""Of the grey image that a pipeline is given that works on one, where no size is asked for."""
_METHODS = (
    ("encode_prompt", "encode_prompt"),
    ("encode_image", "encode_image"),
    ("prepare_latents", "prepare_latents"),
)
"""Methods of the pipeline itself that are stages where it has them."""
_IMAGES = ("image", "mask_image", "control_image", "original_image")
_TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")


class PipelineWorkload:
    """A pipeline and one set of arguments. Every call starts from the same noise."""

    kind = "pipeline"

    def __init__(self, name: str, root: Any, arguments: dict[str, Any], *, seed: int = 0) -> None:
        self.name = name
        self.root = root
        self.arguments = arguments
        """What ``call`` gives the pipeline, but the generator, which is made anew each time."""
        self.seed = seed
        self.device = str(root.device)
        self.steps = int(arguments.get("num_inference_steps") or 1)
        self.batch = _batch(arguments)

    def call(self) -> Any:
        """Run it once as a user would, images as Pillow's; the list of images, or whatever the pipeline makes."""
        return self._run(self.arguments)

    def numbers(self) -> Any:
        """The same call with its result as tensors and not as images of 8 bits, for comparison."""
        takes = inspect.signature(type(self.root).__call__).parameters
        kind = {"output_type": "pt"} if "output_type" in takes else {}
        return self._run({**self.arguments, **kind})

    def _run(self, arguments: dict[str, Any]) -> Any:
        given = dict(arguments)
        if "generator" in inspect.signature(type(self.root).__call__).parameters:
            given["generator"] = torch.Generator(self.root.device).manual_seed(self.seed)
        made = failures.run(lambda: self.root(**given), self.name)
        if isinstance(made, Mapping):  # diffusers' outputs are; their first field is what was made
            return next(iter(cast("Mapping[str, Any]", made).values()))
        return made

    def stages(self) -> tuple[StagePoint, ...]:
        """The pipeline's own methods, then its parts in the order of its components."""
        return stage_points(self.root)

    def modules(self) -> dict[str, Any]:
        """``unet``, ``vae``, ``text_encoder``, … : whatever of its components is a module."""
        return {name: part for name, part in self.root.components.items() if isinstance(part, nn.Module)}

    def with_batch(self, batch: int) -> Callable[[], Any] | None:
        """A call that makes ``batch`` images at once; None for a pipeline that takes neither prompts nor a batch size."""
        arguments = dict(self.arguments)
        if "batch_size" in arguments:
            arguments["batch_size"] = batch
        elif "class_labels" in arguments:
            arguments["class_labels"] = (arguments["class_labels"] * batch)[:batch]
        elif isinstance(arguments.get("prompt"), list):
            arguments["prompt"] = (arguments["prompt"] * batch)[:batch]
        else:
            return None
        for name in _IMAGES:
            held = arguments.get(name)
            if held is not None:
                many = cast("list[Any]", held) if isinstance(held, list) else [held]
                arguments[name] = (many * batch)[:batch]  # an image for each prompt
        return lambda: self._run(arguments)


def _batch(arguments: dict[str, Any]) -> int:
    if "batch_size" in arguments:
        return int(arguments["batch_size"])
    many = arguments.get("prompt", arguments.get("class_labels"))
    per_prompt = int(arguments.get("num_images_per_prompt") or 1)
    return (len(cast("list[Any]", many)) if isinstance(many, list) else 1) * per_prompt


def stage_points(pipe: Any) -> tuple[StagePoint, ...]:
    """What of a live pipeline is a stage. Only what it has: a pipeline without text has no ``encode_prompt``."""
    points = [
        StagePoint(pipe, method, stage) for method, stage in _METHODS if callable(getattr(pipe, method, None))
    ]
    own_text = any(point.method == "encode_prompt" for point in points)
    for name, part in pipe.components.items():
        points += _of_part(name, part, own_text=own_text)
    processor = getattr(pipe, "image_processor", None) or getattr(pipe, "video_processor", None)
    for method in ("postprocess", "postprocess_video"):
        if callable(getattr(processor, method, None)):
            points.append(StagePoint(processor, method, "postprocess"))
    return tuple(points)


def _of_part(name: str, part: Any, *, own_text: bool) -> list[StagePoint]:
    if name == "scheduler":
        return [
            StagePoint(part, method, name) for method in ("set_timesteps", "step") if hasattr(part, method)
        ]
    if not isinstance(part, nn.Module) or (own_text and name in _TEXT_PARTS):
        return []  # encode_prompt is their stage
    if callable(getattr(part, "decode", None)):  # an autoencoder: its forward is never called
        encodes = [StagePoint(part, "encode", f"{name}_encode")] if hasattr(part, "encode") else []
        return [StagePoint(part, "decode", name), *encodes]
    return [StagePoint(part, "forward", name)]


def load(
    path: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    steps: int | None = None,
    batch: int = 1,
    arguments: dict[str, Any] | None = None,
    seed: int = 0,
) -> PipelineWorkload:
    """The workload of a pipeline's directory. ``dtype``: fp32, bf16, fp16; None loads it as diffusers does.

    ``arguments`` are the pipeline's own (``prompt``, ``height``, ``guidance_scale``). BadRequest says what is missing.
    """
    folder = Path(path)
    kind = class_name(folder)
    weights = None if dtype is None else saved.dtype_of(dtype)
    diffusers: Any = failures.needed("diffusers", "A pipeline")
    if failures.named(diffusers, kind) is None:
        raise BadRequest(
            f"diffusers {diffusers.__version__} has no {kind}, which {folder / 'model_index.json'} names.",
            param="target",
            hint="A newer diffusers may have it; a pipeline of your own code is profiled as my_module.py:build.",
        )
    for part, (_, kind) in components(folder).items():
        refuse_own_code(folder / part, kind)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, **left_out(folder)}
    if weights is not None:
        options["dtype"] = weights
    where = saved.device_of(device)
    pipe = _loaded(diffusers, folder, options)
    pipe.set_progress_bar_config(disable=True)
    failures.run(lambda: pipe.to(where), f"Moving {folder} to {where}")
    return PipelineWorkload(str(path), pipe, arguments_of(pipe, steps, batch, arguments or {}), seed=seed)


def class_name(folder: Path) -> str:
    """What ``model_index.json`` says the pipeline is: ``StableDiffusionXLPipeline``."""
    index = folder / "model_index.json"
    saved.directory(
        folder,
        "a pipeline",
        "Name the directory that save_pretrained wrote. A checkpoint of one file is first converted: "
        "StableDiffusionXLPipeline.from_single_file(…).save_pretrained(directory)",
    )
    if not index.exists():
        raise BadRequest(
            f"{folder} holds no model_index.json: it is no pipeline's directory.",
            param="target",
            hint=_what_else(folder),
        )
    name = saved.read_json(index).get("_class_name")
    if isinstance(name, list):
        raise BadRequest(
            f"{index} names a pipeline of its own code ({cast('list[Any]', name)[0]}.py), which is not run from here.",
            param="target",
            hint="Import it in a file of yours and profile that: my_module.py:build",
        )
    if not isinstance(name, str):
        raise BadRequest(f"{index} has no _class_name.", param="target", hint="save_pretrained writes one.")
    return name


def left_out(folder: Path) -> dict[str, None]:
    """Components that the index says are none: some pipelines must be told so again."""
    index = saved.read_json(folder / "model_index.json")
    return {name: None for name, value in index.items() if isinstance(value, list) and value == [None, None]}


def components(folder: Path) -> dict[str, tuple[str, str]]:
    """Name -> (library, class) of each component that the index says there is."""
    told: dict[str, tuple[str, str]] = {}
    for name, value in saved.read_json(folder / "model_index.json").items():
        if isinstance(value, list) and len(pair := cast("list[Any]", value)) == 2 and all(pair):
            told[name] = (str(pair[0]), str(pair[1]))
    return told


def refuse_own_code(part: Path, kind: str) -> None:
    """A component that transformers would load with code of its own (``auto_map``): diffusers does not hand it ``trust_remote_code``,
    and transformers would then ask on the terminal, and run it. Classes that are named outright read no ``auto_map``.

    Raises:
        BadRequest: its files name such code, and ``kind`` is a class that looks for it.
    """
    if not kind.startswith("Auto") and not kind.endswith("Processor"):
        return
    for path in sorted(part.glob("*config.json")):
        if saved.read_json(path).get("auto_map"):
            raise BadRequest(
                f"{path} names code of its own, which is not run from here.",
                param="target",
                hint=failures.OWN_CODE,
            )


def _what_else(folder: Path) -> str:
    """What the directory is, if it is no pipeline's."""
    if (folder / "config.json").exists():
        config = saved.read_json(folder / "config.json")
        if any("CausalLM" in str(name) for name in config.get("architectures") or ()):
            return f"It is a text generator's: penstock profile {folder} --generate"
        part = config.get("_class_name") or (config.get("architectures") or ["one model"])[0]
        return f"It is {part}'s alone: name the pipeline's directory, one further up."
    inner = sorted(str(found.parent) for found in folder.glob("*/model_index.json"))
    inner += sorted(str(found.parent) for found in folder.glob("snapshots/*/model_index.json"))
    if inner:
        return f"There is one below it: {inner[0]}"
    return "Name the directory that save_pretrained wrote; it is not downloaded from here."


def _loaded(diffusers: Any, folder: Path, options: dict[str, Any]) -> Any:
    try:
        with noise.without_bars():
            return diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    except Exception as error:
        raise BadRequest(
            f"{folder} cannot be loaded: {failures.said(error)}",
            param="target",
            hint=_loading_hint(folder, str(error)),
        ) from error


def _loading_hint(folder: Path, text: str) -> str:
    index = saved.read_json(folder / "model_index.json")
    parts = [name for name, value in index.items() if isinstance(value, list) and cast("list[Any]", value)[0]]
    absent = [name for name in parts if not (folder / name).is_dir()]
    if absent:
        return f"The directory lacks {', '.join(absent)}/. Nothing is downloaded from here: fetch the whole pipeline first."
    if "no file named" in text or "Error no file" in text:
        return (
            "Weights are missing. Without them it can be judged beforehand: "
            f"penstock profile {folder} --gpu h100"
        )
    if "trust_remote_code" in text:
        return failures.OWN_CODE
    return (
        "It must load by itself first: DiffusionPipeline.from_pretrained(directory, local_files_only=True)."
    )


def arguments_of(pipe: Any, steps: int | None, batch: int, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one call: the user's, and for what is required and not given something that fits."""
    takes = inspect.signature(type(pipe).__call__).parameters
    unknown = sorted(set(given) - set(takes))
    if unknown:
        raise BadRequest(
            f"{type(pipe).__name__} takes no {', '.join(unknown)}.",
            param="arguments",
            hint=f"It takes: {', '.join(name for name in takes if name not in ('self', 'kwargs'))}.",
        )
    made: dict[str, Any] = {}
    if "prompt" in takes and "prompt_embeds" not in given:
        made["prompt"] = [PROMPT] * batch
    if "batch_size" in takes:
        made["batch_size"] = batch
    if "num_inference_steps" in takes:
        default = takes["num_inference_steps"].default
        made["num_inference_steps"] = steps or (default if isinstance(default, int) else 50)
    elif steps is not None:
        raise BadRequest(
            f"{type(pipe).__name__} has no steps.", param="steps", hint="Leave the number of steps out."
        )
    for name, parameter in takes.items():
        if parameter.default is inspect.Parameter.empty and name not in ("self", "prompt", "args", "kwargs"):
            made.setdefault(name, _stand_in(name, batch, pipe, given))
    for name in _IMAGES:  # optional by signature, and needed by most that know it
        if name in takes and name not in given:
            picture = _picture(name, given)
            made[name] = picture if batch == 1 else [picture] * batch
    prompt = given.get("prompt")
    if isinstance(prompt, str):
        given = {**given, "prompt": [prompt] * batch}
    return {**made, **given}


def _stand_in(name: str, batch: int, pipe: Any, given: dict[str, Any]) -> Any:
    """A value for a required argument that the user has not given."""
    if name in given:
        return given[name]
    if name == "class_labels":
        return [0] * batch
    if name in _IMAGES:
        return _picture(name, given)
    raise BadRequest(
        f"{type(pipe).__name__} cannot be called without {name}.",
        param="arguments",
        hint=f"Give it: arguments={{{name!r}: …}}, or profile a function of yours: my_module.py:build",
    )


def _picture(name: str, given: dict[str, Any]) -> Any:
    """A grey one, of the size that was asked for."""
    size = (int(given.get("width") or SIDE), int(given.get("height") or SIDE))
    return failures.needed("PIL.Image", "An image").new("L" if name.startswith("mask") else "RGB", size, 128)

"""Any workload without its weights: built on PyTorch's meta device, where tensors have shapes and nothing else.

A pipeline is assembled from its configuration files and really run, so that the number of calls, the batching of guidance and
the latents' shapes are the pipeline's own. Its denoiser is computed once, and gives the same shapes back at every further step.
What comes out is a plan: stages, each counted once, and how often it runs.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from msgspec import Struct, field, structs
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from penstock.base.errors import BadRequest
from penstock.engine.measure import preflight
from penstock.engine.measure.preflight import Part
from penstock.engine.workloads import failures, generator, module, pipeline, saved
from penstock.engine.workloads.workload import StagePoint

PROMPT_TOKENS = 77
"""What a tokenizer that was not saved beside its configuration is taken for: CLIP's."""
WITHOUT_VALUES = "There are shapes here, and no values: what the line needs cannot be known before it runs. Without --gpu it may well run."
UNTOLD = "bf16"
"""The dtype of weights that are not there."""
_META = torch.device("meta")
_ATEN: Any = torch.ops.aten
_READS = (_ATEN._local_scalar_dense.default, _ATEN.equal.default, _ATEN.is_nonzero.default)  # noqa: SLF001 - what item() is


class Plan(Struct, frozen=True, kw_only=True):
    """A workload as it would run, without a weight."""

    name: str
    kind: str
    dtype: str
    parts: tuple[Part, ...]
    """Its stages, counted, in the order of their first calls."""
    modules: dict[str, nn.Module]
    """Everything that has to be in memory."""
    steps: int = 1
    batch: int = 1
    embedding_bytes: dict[str, int] = field(default_factory=dict)
    """What a cache of prompts would hold: by name, bytes for one prompt. For a text generator: keys and values of one call."""
    notes: tuple[str, ...] = ()
    """What had to be assumed."""
    told: tuple[str, ...] = ()
    """What was changed about it, and is no reason for doubt."""


def of_module(spec: str, *, dtype: str | None = None) -> Plan:
    """The plan of ``file.py:build``. ``build`` runs with meta as the default device; where it cannot, it runs as it is."""
    loaded = module.load(spec, meta=True)
    made = of_call(spec, loaded.root, loaded.args, loaded.kwargs, dtype=dtype, near=loaded.near)
    return structs.replace(made, told=loaded.notes)


def of_call(
    name: str,
    root: nn.Module,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    dtype: str | None = None,
    kind: str = "module",
    near: Path | None = None,
) -> Plan:
    """The plan of a module and its inputs; the module itself is moved to meta, and is of no use after that.

    Numbers that it reads out of tensors are taken for 1, as a pipeline's are. BadRequest where it cannot go on from there, with
    the line: the innermost in ``near``, the user's folder.
    """
    wanted = saved.dtype_of(dtype) if dtype else None
    _to_meta(root.eval(), wanted)
    given, named = _moved((args, kwargs or {}), wanted)

    def call() -> Any:
        with torch.no_grad():
            return root(*given, **named)

    unknown = _Unknown()
    with unknown:
        part = failures.run(
            lambda: preflight.count("model", call, {"model": root}),
            f"{name} without values",
            near=near,
            hint=WITHOUT_VALUES,
        )
    return Plan(
        name=name,
        kind=kind,
        dtype=_dtype_name(root, (given, named)),
        parts=(part,),
        modules={"model": root},
        batch=module.batch_of((*given, *named.values())) or 1,
        notes=unknown.notes(),
    )


def _to_meta(root: nn.Module, dtype: torch.dtype | None) -> None:
    """In place, and what is shared stays shared: ``Module.to("meta")`` would make a tied weight two."""
    moved: dict[int, Any] = {}
    for inner in list(root.modules()):
        for name, weight in inner.named_parameters(recurse=False, remove_duplicate=False):
            if id(weight) not in moved:
                moved[id(weight)] = weight, nn.Parameter(_moved(weight.detach(), dtype), requires_grad=False)
            setattr(inner, name, moved[id(weight)][1])
        for name, buffer in inner.named_buffers(recurse=False, remove_duplicate=False):
            setattr(inner, name, _moved(buffer, dtype))


def _moved(tree: Any, dtype: torch.dtype | None) -> Any:
    def move(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(_META, dtype if dtype is not None and value.is_floating_point() else value.dtype)

    return tree_map(move, tree)


def _dtype_name(root: nn.Module, tree: Any) -> str:
    leaves = [*root.parameters(), *(leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor))]
    for leaf in leaves:
        if leaf.is_floating_point():
            known = {dtype: name for name, dtype in saved.DTYPES.items()}
            return known.get(leaf.dtype, str(leaf.dtype).removeprefix("torch."))
    return ""


def of_pipeline(
    path: str | Path,
    *,
    dtype: str | None = None,
    steps: int | None = None,
    batch: int = 1,
    arguments: dict[str, Any] | None = None,
) -> Plan:
    """The plan of a pipeline's directory, of which only ``model_index.json`` and the configurations are read.

    Each part in ``dtype``; by default in that of its weights, where they are there, else in bf16. BadRequest where it cannot be
    run without values.
    """
    folder = Path(path)
    kind = pipeline.class_name(folder)
    diffusers = failures.needed("diffusers", "A pipeline")
    dtypes = saved.weights_dtypes(folder, dtype)
    parts, notes = _components(folder, kind, diffusers, dtypes)
    if dtype is None and not dtypes:
        notes.append(f"there are no weights to tell their dtype: {UNTOLD} is assumed")
    pipe = failures.run(lambda: getattr(diffusers, kind)(**parts), f"Assembling {kind}")
    pipe.set_progress_bar_config(disable=True)
    given = pipeline.arguments_of(pipe, steps, batch, arguments or {})
    takes = inspect.signature(type(pipe).__call__).parameters
    if "output_type" in takes:
        given["output_type"] = "pt"  # pictures have values
    recorder = _Recorder(pipe)
    unknown = _Unknown()
    with recorder, unknown, torch.no_grad():
        failures.run(lambda: pipe(**given), f"{kind} without values")
    notes += unknown.notes()
    held = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    return Plan(
        name=str(path),
        kind="pipeline",
        dtype=dtype or ", ".join(dict.fromkeys(dtypes.values())) or UNTOLD,
        parts=recorder.parts(),
        modules=held,
        steps=int(given.get("num_inference_steps") or 1),
        batch=batch,
        embedding_bytes=_embeddings(recorder.embeddings, batch),
        notes=tuple(notes),
    )


def _components(
    folder: Path, kind: str, diffusers: Any, dtypes: dict[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Each component that ``model_index.json`` names, from its configuration alone."""
    if failures.named(diffusers, kind) is None:
        raise BadRequest(
            f"diffusers {diffusers.__version__} has no {kind}, which {folder / 'model_index.json'} names.",
            param="target",
            hint="A newer diffusers may have it.",
        )
    takes = inspect.signature(getattr(diffusers, kind).__init__).parameters
    parts: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in saved.read_json(folder / "model_index.json").items():
        if name.startswith("_") or name not in takes:
            continue
        if not isinstance(value, list):
            parts[name] = value
            continue
        library, part = cast("list[str | None]", value)[:2]
        if (
            library is None
            or part is None
            or name in ("safety_checker", "feature_extractor", "image_encoder")
        ):
            parts[name] = None
            if part is not None:
                notes.append(f"{name} is left out: it looks at values")
            continue
        parts[name] = _component(
            folder / name, library, part, saved.dtype_of(dtypes.get(name, UNTOLD)), notes
        )
    for name in ("requires_safety_checker", "add_watermarker"):
        if name in takes:
            parts[name] = False
    return parts, notes


def _component(folder: Path, library: str, part: str, dtype: torch.dtype, notes: list[str]) -> Any:
    source = failures.needed(library, f"{folder.name}/") if library in ("diffusers", "transformers") else None
    if source is None:
        source = _of_diffusers(library, folder.name)
    pipeline.refuse_own_code(folder, part)
    kind = failures.named(source, part)
    if kind is None:
        raise BadRequest(
            f"{library} has no {part}, which {folder.parent} names.", param="target", hint="A newer one may."
        )
    if not inspect.isclass(kind) or not issubclass(kind, nn.Module):
        return _lesser(folder, kind, notes)
    config = saved.read_json(folder / "config.json")
    with _META:
        if library == "transformers":
            own: Any = kind
            made = own(own.config_class.from_dict(config))
        else:
            made = cast("Any", kind).from_config(config)
    return nn.Module.to(made.eval(), dtype)  # not diffusers' own, which warns of parts that it keeps in fp32


def _of_diffusers(library: str, name: str) -> Any:
    """Some components are named by the pipeline's own package: ``stable_diffusion``."""
    try:
        return importlib.import_module(f"diffusers.pipelines.{library}")
    except ModuleNotFoundError as error:
        raise BadRequest(
            f"{name} is of {library}, which is not known here.",
            param="target",
            hint="A pipeline with code of its own is profiled as my_module.py:build.",
        ) from error


def _lesser(folder: Path, kind: Any, notes: list[str]) -> Any:
    """A scheduler, tokenizer or processor: really loaded where it was saved, else a tokenizer is stood in for."""
    if folder.is_dir() and any(folder.iterdir()):
        return failures.run(
            lambda: kind.from_pretrained(folder, local_files_only=True), f"{folder.name} of {folder.parent}"
        )
    if "Tokenizer" in kind.__name__:
        notes.append(f"{folder.name} is not there: prompts of {PROMPT_TOKENS} tokens are assumed")
        return _Words()
    if hasattr(kind, "from_config"):
        notes.append(f"{folder.name} is not there: its defaults are taken")
        return kind()
    raise BadRequest(
        f"{folder} is not there.", param="target", hint="Fetch it: it is small, and its settings count."
    )


class _Words:
    """A tokenizer that was not saved: as many tokens as asked for, or CLIP's 77. They have no values either."""

    model_max_length = PROMPT_TOKENS
    pad_token_id = 0
    eos_token_id = 0
    added_tokens_encoder: ClassVar[dict[str, int]] = {}

    def tokenize(self, text: str) -> list[str]:
        """For pipelines that look for learned words in the prompt: there are none."""
        return text.split()

    def __call__(self, text: str | list[str], *, max_length: int | None = None, **more: Any) -> Any:
        rows = 1 if isinstance(text, str) else len(text)
        ids_BT = torch.zeros(rows, max_length or self.model_max_length, dtype=torch.int64)
        return _Encoded(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))


class _Encoded(dict[str, Tensor]):
    """What a tokenizer gives back: by name and by attribute."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


class _Recorder:
    """Watches a pipeline's stages while it runs: arguments of the first call of each shape, and how many there were.

    Further calls of one shape are answered with the first's output: shapes are all there is. The scheduler is kept on the CPU,
    since it looks for its step by value.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._undo = ExitStack()
        self._seen: dict[tuple[str, str, Any], tuple[Part, Any]] = {}
        self._counts: dict[tuple[str, str, Any], int] = {}
        self.embeddings: Any = None

    def __enter__(self) -> Self:
        for point in pipeline.stage_points(self._pipe):
            if point.stage == "scheduler":
                self._scheduler(point)
            elif isinstance(point.owner, nn.Module) or point.method == "encode_prompt":
                self._record(point)
        return self

    def __exit__(self, *failed: object) -> None:
        self._undo.close()

    def _put(self, point: StagePoint, wrapper: Callable[..., Any]) -> None:
        object.__setattr__(point.owner, point.method, wrapper)
        self._undo.callback(object.__delattr__, point.owner, point.method)

    def _scheduler(self, point: StagePoint) -> None:
        original = getattr(point.owner, point.method)

        def on_cpu(*args: Any, **kwargs: Any) -> Any:
            if "device" in kwargs:
                kwargs["device"] = "cpu"
            return original(*args, **kwargs)

        if point.method == "set_timesteps":
            self._put(point, _looking_like(on_cpu, original))

    def _record(self, point: StagePoint) -> None:
        original = getattr(point.owner, point.method)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            key = (point.stage, point.method, _shapes((args, kwargs)))
            self._counts[key] = self._counts.get(key, 0) + 1
            if key not in self._seen:
                outputs: list[Any] = []

                given, named = (args, kwargs)
                if isinstance(point.owner, nn.Module):  # timesteps come from the scheduler, on the CPU
                    given, named = _moved((args, kwargs), None)

                def run() -> Any:
                    outputs.append(original(*given, **named))
                    return outputs[0]

                part = preflight.count(point.stage, run, self._modules(point))
                self._seen[key] = part, outputs[0]
                if point.method == "encode_prompt":
                    self.embeddings = outputs[0]
            return self._seen[key][1]

        self._put(point, _looking_like(recorded, original))

    def _modules(self, point: StagePoint) -> dict[str, nn.Module]:
        """The parts that a stage runs."""
        held = {name: part for name, part in self._pipe.components.items() if isinstance(part, nn.Module)}
        if point.method == "encode_prompt":
            return {name: part for name, part in held.items() if name.startswith("text_encoder")}
        return {name: part for name, part in held.items() if part is point.owner}

    def parts(self) -> tuple[Part, ...]:
        """In the order of their first calls."""
        return tuple(
            structs.replace(part, calls=self._counts[key]) for key, (part, _out) in self._seen.items()
        )


class _Unknown(TorchDispatchMode):
    """Answers a module's or a pipeline's questions for a value: 1, and equal. It asks how long a prompt is, or whether a mask is needed."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - torch leaves a parameter untyped
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every op; all but reads of meta tensors go through."""
        if func in _READS and args[0].device.type == "meta":
            self.reads += 1
            if func is not _READS[0] or args[0].dtype == torch.bool:
                return True
            return 1.0 if args[0].is_floating_point() else 1
        return func(*args, **(kwargs or {}))

    def notes(self) -> tuple[str, ...]:
        """What was assumed."""
        many = "a number" if self.reads == 1 else f"{self.reads} numbers"
        return (f"its code reads {many} out of tensors: taken for 1 each",) if self.reads else ()


def _looking_like(wrapper: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """With the original's signature: pipelines ask a scheduler whether it takes ``timesteps``."""
    cast("Any", wrapper).__signature__ = inspect.signature(original)
    return wrapper


def _shapes(tree: Any) -> Any:
    """What tells calls of one stage apart: tensors' shapes and dtypes; numbers do not (a timestep is one)."""
    return tuple(
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else type(leaf).__name__
        for leaf in tree_flatten(tree)[0]
    )


def _embeddings(returned: Any, batch: int) -> dict[str, int]:
    """Bytes for one prompt of what ``encode_prompt`` returned: sequences of vectors first, then vectors; masks and positions not."""
    many = cast("Sequence[Any]", returned if isinstance(returned, tuple | list) else (returned,))
    own = [t for t in many if isinstance(t, Tensor) and t.is_floating_point() and t.shape[0] == batch]
    sequences = [t for t in own if t.dim() == 3]
    vectors = [t for t in own if t.dim() == 2]
    named = [
        *zip(("prompt_embedding", "negative_embedding"), sequences, strict=False),
        *zip(("pooled_embedding", "negative_pooled_embedding"), vectors, strict=False),
    ]
    return {name: value.numel() * value.itemsize // batch for name, value in named}


def of_generator(
    path: str | Path,
    *,
    dtype: str | None = None,
    prompt_tokens: int = 128,
    tokens: int = generator.TOKENS,
    batch: int = 1,
) -> Plan:
    """The plan of a text generator's directory, of which only ``config.json`` is read: prefill once, decode for each further token.

    A decode is counted in the middle: with the keys and values of the prompt and of half the new tokens, its own among them.
    """
    folder = Path(path)
    config = generator.check(folder)
    transformers = failures.needed("transformers", "A text generator")
    made: Any = failures.run(
        lambda: transformers.AutoConfig.for_model(**config), f"The configuration of {folder}"
    )
    name = dtype or {"float32": "fp32", "float16": "fp16"}.get(
        str(config.get("dtype", config.get("torch_dtype"))), "bf16"
    )
    with _META:
        model: Any = failures.run(
            lambda: transformers.AutoModelForCausalLM.from_config(made, trust_remote_code=False),
            f"The model of {folder}",
        )
    model = model.eval().to(saved.dtype_of(name))

    def run(width: int, cache: tuple[str, Any] | None = None) -> Any:
        ids_BT = torch.empty(batch, width, dtype=torch.int64, device=_META)
        past = {} if cache is None else dict([cache])
        with torch.no_grad():
            return model(input_ids=ids_BT, use_cache=True, logits_to_keep=1, **past)

    def filled(width: int) -> tuple[str, Any]:
        return _cache(failures.run(lambda: run(width), f"{folder} without values"), folder)

    middle = filled(prompt_tokens + tokens // 2 - 1)
    held = {"model": cast("nn.Module", model)}
    prefill = preflight.count("prefill", lambda: run(prompt_tokens), held)
    decode = failures.run(
        lambda: preflight.count("decode", lambda: run(1, middle), held, calls=tokens - 1),
        f"A decode of {folder} without values",
    )
    return Plan(
        name=str(path),
        kind="generator",
        dtype=name,
        parts=(prefill, decode),
        modules=held,
        steps=tokens,
        batch=batch,
        embedding_bytes={"key_value_cache": _cache_bytes(filled(prompt_tokens + tokens - 1)[1])},
        notes=(f"a prompt of {prompt_tokens} tokens and {tokens} new ones are assumed",),
    )


def _cache(made: Any, folder: Path) -> tuple[str, Any]:
    """What a model hands on to its next token, with the argument that takes it: keys and values, or a state."""
    for name in ("past_key_values", "cache_params"):
        if getattr(made, name, None) is not None:
            return name, getattr(made, name)
    raise BadRequest(
        f"{folder} hands nothing on from token to token.",
        param="target",
        hint="Its forward is profiled as a module: my_module.py:build",
    )


def _cache_bytes(cache: Any) -> int:
    """Of its layers' keys and values, or states; not of the odd number that some keep beside them."""
    layers = getattr(cache, "layers", [cache])
    held = [value for layer in layers for value in tree_flatten(vars(layer))[0] if isinstance(value, Tensor)]
    return sum(value.numel() * value.itemsize for value in held if value.dim() >= 3)

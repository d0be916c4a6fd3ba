"""A diffusers pipeline's ``encode_prompt``, answered from a cache where it has been asked before.

Theory
------
What text encoders make of a prompt depends on their weights, the tokenizers, the arguments and the way the machine computes.
All of that is in the key, so a hit is bit by bit what the encoders would have made. The weights are read once and hashed; from
then on a cheap look tells whether they may have changed: which tensors they are, where they lie, how often they were written
(torch counts in-place writes), and which adapters are merged or active. Then they are read again.

Not answered from the cache, and not kept: a call with embeddings or other tensors among its arguments; a LoRA scale of its own
(diffusers sets the pipeline's state by it); encoders in training mode; gradients that would flow into them.

Rules
- Weights written through ``tensor.data`` are not counted by torch: whoever does that calls ``changed``.
- Only one thread encodes at a time: tokenizers keep state while they pad.
- What is answered is the caller's own: a tensor changed in place changes nothing here.
"""

import inspect
import json
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self, cast

import torch
from torch import nn

from penstock.blobs.tensors import ITEM_BYTES, Tensor, TensorCache, content_key

_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3", "tokenizer_4")
_ADAPTERS = ("merged_adapters", "active_adapters", "disable_adapters", "scaling")
"""What peft's layers say of themselves (peft.tuners.tuners_utils.BaseTunerLayer)."""
_STATE = ("padding", "truncation")
"""Of a tokenizer: what it keeps from call to call, each of which sets it."""
_BACKENDS = ("torch", "transformers", "diffusers", "tokenizers", "peft")
_ON_DEVICE, _ON_CPU, _NONE = b"DC-"
_CHUNK_BYTES = 64 * 1024 * 1024


class _NotPlain(Exception):
    """An argument that no key can be made of."""


class TextEmbeddings:
    """The pipeline's own method, and the cache before it. ``with TextEmbeddings(pipe, cache): pipe(...)``, or ``install``."""

    def __init__(self, pipe: Any, cache: TensorCache) -> None:
        self.bypassed = 0
        """Calls that could not be answered from a cache."""
        self._pipe = pipe
        self._cache = cache
        self._encode: Callable[..., Any] = pipe.encode_prompt
        self._signature = inspect.signature(self._encode)
        self._lock = threading.Lock()
        self._seen: object = None
        self._alive: list[weakref.ref[torch.Tensor]] = []
        """The tensors that were seen: what has another's number is another where that one is gone."""
        self._identity = b""

    def install(self) -> None:
        """From here on ``pipe.encode_prompt`` is answered from the cache."""
        self._pipe.encode_prompt = self

    def undo(self) -> None:
        """The pipeline is as it was."""
        with suppress(AttributeError):
            del self._pipe.encode_prompt

    def changed(self) -> None:
        """The weights were written in a way that torch does not count."""
        self._seen = None

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """As ``encode_prompt``."""
        with self._lock:
            bound = self._signature.bind(*arguments, **named)
            bound.apply_defaults()
            given = bound.arguments
            device = torch.device(given.get("device") or self._pipe._execution_device)  # noqa: SLF001 - as encode_prompt does
            key = self._key(given, device)
            if key is None:
                self.bypassed += 1
                return self._encode(*arguments, **named)
            kept = self._cache.get(key)
            if kept is not None and (found := _returned(kept, device)) is not None:
                return found
            made = self._encode(*arguments, **named)
            tensors = _kept(made, device)
            if tensors is not None:
                self._cache.put(key, tensors)
            return made

    def _key(self, given: dict[str, Any], device: torch.device) -> bytes | None:
        encoders = [
            (name, part) for name, part in _parts(self._pipe, _ENCODERS) if isinstance(part, nn.Module)
        ]
        if not encoders or given.get("lora_scale") is not None or any(part.training for _, part in encoders):
            return None
        if torch.is_grad_enabled() and any(
            one.requires_grad for _, part in encoders for one in part.parameters()
        ):
            return None
        try:
            words = _plain({name: value for name, value in given.items() if name != "device"})
        except _NotPlain:
            return None
        return content_key(self._who(encoders), words, _computing(device))

    def _who(self, encoders: Sequence[tuple[str, nn.Module]]) -> bytes:
        """Hash of all that the pipeline brings along; read again when it may have changed."""
        tokenizers = list(_parts(self._pipe, _TOKENIZERS))
        tensors: list[torch.Tensor] = []
        adapters: list[str] = []
        for _, part in encoders:
            _walk(part, tensors, adapters)
        seen = (
            [(name, id(part), _settings(part)) for name, part in encoders],
            list(map(_trace, tensors)),
            adapters,
            [(name, id(part), _tokenizer_words(part)) for name, part in tokenizers],
            _pipe_words(self._pipe),
        )
        if seen == self._seen and all(one() is not None for one in self._alive):
            return self._identity
        parts: list[bytes | str] = [_pipe_words(self._pipe), _versions(), repr(adapters)]
        for name, part in encoders:
            parts += [
                name,
                _class(part),
                _config(part),
                _weights(part),
            ]
        for name, part in tokenizers:
            parts += [name, _class(part), _tokenizer_words(part), _tokenizer(part)]
        self._identity = content_key(*parts)
        self._seen, self._alive = seen, [weakref.ref(one) for one in tensors]
        return self._identity


def _parts(pipe: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        part = getattr(pipe, name, None)
        if part is not None:
            yield name, part


def _walk(part: nn.Module, tensors: list[torch.Tensor], adapters: list[str]) -> None:
    """Its parameters and buffers, and what its adapters say of themselves. By hand: ten times as quick as ``modules()``."""
    stack: list[Any] = [part]
    while stack:
        module = stack.pop()
        held = cast("dict[str, Any]", vars(module))
        tensors += [one for one in held["_parameters"].values() if one is not None]
        tensors += [one for one in held["_buffers"].values() if one is not None]
        if "merged_adapters" in held:
            adapters.append(repr([len(tensors), *(getattr(module, word, None) for word in _ADAPTERS)]))
        stack += [one for one in held["_modules"].values() if one is not None]


def _trace(one: torch.Tensor) -> tuple[Any, ...]:
    """What differs when a tensor was replaced, moved or written."""
    counted = 0 if one.is_inference() else one._version  # noqa: SLF001 - torch's own count of writes
    return id(one), one.data_ptr(), counted, one.dtype, one.device


def _settings(part: nn.Module) -> str:
    """What may be set on a live encoder, the kind of attention for one."""
    config: Any = getattr(part, "config", None)
    return "" if config is None else str(sorted(cast("dict[str, Any]", vars(config)).items(), key=str))


def _config(part: nn.Module) -> str:
    """The same for other processes: nothing that is a number of an object here."""
    config = getattr(part, "config", None)
    return repr((config, getattr(config, "_attn_implementation", None)))


def _weights(part: nn.Module) -> bytes:
    """Hash of every parameter and buffer, bit by bit."""
    digest = blake2b(digest_size=32)
    for name, one in (*part.named_parameters(), *part.named_buffers()):
        digest.update(content_key(name, str(one.dtype), repr(tuple(one.shape))))
        flat = one.detach().reshape(-1)
        step = max(1, _CHUNK_BYTES // max(1, one.element_size()))
        for start in range(0, flat.numel(), step):
            digest.update(_bytes(flat[start : start + step]))
    return digest.digest()


def _tokenizer_words(part: Any) -> str:
    """What can be seen of a tokenizer without reading its vocabulary."""
    names = (
        "model_max_length",
        "padding_side",
        "truncation_side",
        "special_tokens_map",
        "clean_up_tokenization_spaces",
    )
    return repr([len(part), *(getattr(part, name, None) for name in names)])


def _tokenizer(part: Any) -> str:
    backend = getattr(part, "backend_tokenizer", None)
    if backend is not None:
        words = json.loads(backend.to_str())
        return repr([(name, one) for name, one in words.items() if name not in _STATE])
    return repr((sorted(part.get_vocab().items()), sorted(part.init_kwargs.items(), key=repr)))


def _pipe_words(pipe: Any) -> str:
    config = {name: value for name, value in dict(pipe.config).items() if name != "_name_or_path"}
    denoisers = [str(part.dtype) for _, part in _parts(pipe, ("unet", "transformer"))]
    return repr((_class(pipe), sorted(config.items(), key=repr), denoisers))


def _computing(device: torch.device) -> str:
    """What else decides on bits: the device, and how sums may be rounded there."""
    kind = device.type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else kind
    cast_to = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    words = (
        name,
        cast_to,
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )
    return repr((*words, torch.get_num_threads() if kind == "cpu" else 0, torch.backends.cudnn.allow_tf32))


def _versions() -> str:
    found: list[str] = []
    for name in _BACKENDS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return repr(found)


def _class(part: Any) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def _plain(value: Any) -> str:
    """An argument as words, with its type. Raises _NotPlain."""
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.device | torch.dtype):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return f"{kind}:[{','.join(map(_plain, cast('Sequence[Any]', value)))}]"
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return f"dict:{{{','.join(sorted(f'{_plain(name)}={_plain(one)}' for name, one in pairs))}}}"
    raise _NotPlain


def _bytes(one: torch.Tensor) -> bytes:
    return one.detach().reshape(-1).contiguous().cpu().view(torch.uint8).numpy().tobytes()


def _kept(made: Any, device: torch.device) -> list[Tensor] | None:
    """What ``encode_prompt`` returned, as tensors to keep: where they lay comes first. None: it is nothing of that kind."""
    if not isinstance(made, tuple):
        return None
    places = bytearray()
    tensors: list[Tensor] = []
    for one in cast("tuple[Any, ...]", made):
        if one is None:
            places.append(_NONE)
            continue
        dtype = str(one.dtype).removeprefix("torch.") if isinstance(one, torch.Tensor) else ""
        if dtype not in ITEM_BYTES or one.layout != torch.strided or one.requires_grad:
            return None
        if one.device.type == "cpu" and device.type != "cpu":
            places.append(_ON_CPU)
        elif one.device.type == device.type:
            places.append(_ON_DEVICE)
        else:
            return None
        tensors.append(Tensor(dtype, tuple(one.shape), _bytes(one)))
    return [Tensor("uint8", (len(places),), bytes(places)), *tensors]


def _returned(kept: Sequence[Tensor], device: torch.device) -> tuple[torch.Tensor | None, ...] | None:
    """The same again, each tensor new. None: it does not fit."""
    places, rest = kept[0].data if kept else b"", iter(kept[1:])
    found: list[torch.Tensor | None] = []
    for place in places:
        one = None if place == _NONE else next(rest, None)
        if place == _NONE:
            found.append(None)
        elif one is None:
            return None
        else:
            flat = (
                torch.frombuffer(bytearray(one.data), dtype=torch.uint8)
                if one.data
                else torch.empty(0, dtype=torch.uint8)
            )
            whole = flat.view(getattr(torch, one.dtype)).reshape(one.shape)
            found.append(whole if place == _ON_CPU else whole.to(device))
    return tuple(found) if found else None

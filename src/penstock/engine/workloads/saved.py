"""Directories that ``save_pretrained`` wrote: whether one is there, its JSON, and the dtypes it can be loaded in."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import torch

from penstock.base.errors import BadRequest

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""By the names that the command line takes."""

SAVED = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}
"""As safetensors names them."""


def dtype_of(name: str) -> torch.dtype:
    """The dtype of a name; BadRequest lists the names."""
    if name not in DTYPES:
        raise BadRequest(f"{name!r} is no dtype.", param="dtype", hint=f"Write one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def weights_dtype(folder: Path) -> str | None:
    """``fp32``: what most bytes of a component's weights are, by the head of its safetensors file; None where there is none.

    Of several files the shortest name is taken: a variant's (``….fp16.safetensors``) is longer.
    """
    files = sorted(folder.glob("*.safetensors"), key=lambda path: (len(path.name), path.name))
    if not files:
        return None
    sizes: Counter[str] = Counter()
    try:
        with files[0].open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > files[0].stat().st_size:
                raise ValueError("its head is said to be longer than the file")
            head = json.loads(file.read(size))
        for name, held in head.items():
            if name != "__metadata__" and held["dtype"] in SAVED:
                begins, ends = held["data_offsets"]
                sizes[SAVED[held["dtype"]]] += ends - begins
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadRequest(
            f"{files[0]} cannot be read as safetensors: {error}.", param="target", hint="Fetch it again."
        ) from error
    return sizes.most_common(1)[0][0] if sizes else None


def weights_dtypes(folder: Path, dtype: str | None) -> dict[str, str]:
    """By component of a pipeline: the dtype asked for, or its weights' own where there are any."""
    if dtype is not None:
        dtype_of(dtype)
    told = {one.name: dtype or weights_dtype(one) for one in sorted(folder.iterdir()) if one.is_dir()}
    return {name: one for name, one in told.items() if one is not None}


def device_of(name: str | None) -> torch.device:
    """The device of a name; by default a GPU where there is one. BadRequest for what is none, or is not here."""
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadRequest(
            f"{name!r} is no device.", param="device", hint="Write cpu, cuda or cuda:1."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadRequest(
            f"PyTorch sees {torch.cuda.device_count() or 'no'} GPUs here, and {name} is none of them.",
            param="device",
            hint="Write cpu; what a card would do is told by --gpu h100.",
        )
    return device


def directory(folder: Path, what: str, hint: str) -> None:
    """BadRequest unless it is a directory. ``what``: "a pipeline"; ``hint``: what to name instead of a file."""
    if not folder.exists():
        raise BadRequest(
            f"There is no {folder}.", param="target", hint=f"Relative paths start in {Path.cwd()}."
        )
    if not folder.is_dir():
        raise BadRequest(f"{folder} is a file, and {what} is a directory.", param="target", hint=hint)


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file as a dict; BadRequest where it is none."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadRequest(
            f"{path} cannot be read as JSON: {error}.", param="target", hint="Fetch it again."
        ) from error
    if not isinstance(read, dict):
        raise BadRequest(f"{path} is no JSON object.", param="target", hint="Fetch it again.")
    return cast("dict[str, Any]", read)

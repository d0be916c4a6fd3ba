"""Reads the weights of a safetensors file with numpy alone: eight bytes of length, a JSON head, then the numbers.

Only what BERT's weights come in is read: float32 and float16.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.base.errors import ConfigFault
from penstock.cache.embed.weights import WHERE

Weights = dict[str, NDArray[np.float32]]
_KINDS = {"F32": "<f4", "F16": "<f2"}
_MOST_HEAD_BYTES = 8 * 1024 * 1024


def read_weights(path: Path) -> Weights:
    """Every floating tensor by its name, without the prefix "bert.". Views of the file: nothing is read before it is used."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= _MOST_HEAD_BYTES:
            raise ConfigFault(f"{path} is no safetensors file.", path=WHERE)
        head: dict[str, Any] = msgspec.json.decode(file.read(size))
    data = np.memmap(path, np.uint8, "r", offset=8 + size)
    found: Weights = {}
    for name, about in head.items():
        if name == "__metadata__" or about["dtype"].startswith(("I", "U")):
            continue
        kind = _KINDS.get(about["dtype"])
        if kind is None:
            raise ConfigFault(
                f"{path}: the tensor {name} is {about['dtype']}, and only F32 and F16 are read.",
                path=WHERE,
            )
        start, end = about["data_offsets"]
        flat = data[start:end].view(kind).astype(np.float32, copy=False)
        found[name.removeprefix("bert.")] = flat.reshape(about["shape"])
    return found

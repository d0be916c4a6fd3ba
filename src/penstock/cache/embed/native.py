"""The same model computed by our own code (``_bert``), where the processor has AVX2: in three quarters of onnxruntime's time.

Theory
- onnxruntime's dynamic products widen every pair of products of bytes by an instruction of its own, and each node goes over
  its input once more. Here one widening does for two pairs wherever the weights are so small that nothing can overflow (96 %
  of them), and what lies between two products is one pass.
- The arithmetic is ``graph``'s: the int8 weights out of the same pinned file, and the same quantisation of what is multiplied
  with them, integers exactly. Between the products 32-bit floats are added in another order. Mostly that changes nothing (half
  of all vectors are onnxruntime's to seven digits), but a float that falls to the other side of a half moves everything after
  it by a quantum: of 214 texts the median cosine to onnxruntime's is 1.0000000, the least 0.995. An error of 1e-7 put into
  the same arithmetic in double precision does the same (0.996). To the model in 32-bit floats both are as near: 0.9936.

Rules
- So it is another build of the embedder (``NATIVE`` in its id), whose vectors are not compared with onnxruntime's.
- Whatever it cannot do (another processor, no compiler at the installation, a model of another form) onnxruntime does.
- A text's vector depends on nothing but the text: one thread, one order of every sum, no contraction of sums by the compiler.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penstock.base.native import load_native
from penstock.cache.embed import onnx_file
from penstock.cache.embed.weights import Form

if TYPE_CHECKING:
    from penstock.cache.embed._bert import Bert

native, missing = load_native("penstock.cache.embed", "_bert", Path(__file__).parent)
"""``missing``: why there is none; "" where there is."""

NATIVE = "avx2-v1"
"""Its number rises with every change of ``_bert`` that could change a vector."""
COLUMNS, GROUP, STEP, LANE = 16, 8, 4, 2
"""Of a panel; numbers that are added before they are widened, in registers of four, two to a lane of 16 bits."""
_MOST_BYTE, _MOST_LANE = 255, 32767
_ALIGNED = 64
Constants = dict[str, NDArray[np.generic]]


def open_native(model: Path | bytes, form: Form) -> "Bert | None":
    """The graph's file as native code computes it; None: it does not. Raises KeyError for a file that is not ``graph``'s."""
    if native is None or not native.able():
        return None
    constants = onnx_file.constants(model if isinstance(model, bytes) else model.read_bytes())
    wide = constants["encoder.layer.0.intermediate.dense.weight"].shape[1]
    if form.hidden % 32 or wide % 32 or form.hidden // form.heads % 32:
        return None
    sizes = (form.layers, form.heads, form.hidden, wide, form.pieces, form.window)
    return native.Bert(sizes, form.epsilon, _laid(list(_parts(constants, form))))


def _parts(constants: Constants, form: Form) -> Iterator[NDArray[np.generic]]:
    """In the order of ``_bert.Bert``."""
    yield constants["words"]
    yield constants["words.scale"]
    yield constants["places"]
    yield from _norm(constants, "embeddings.LayerNorm")
    for number in range(form.layers):
        name = f"encoder.layer.{number}"
        yield from _product(constants, f"{name}.attention.self.value")
        yield from _product(constants, f"{name}.attention.output.dense")
        yield from _norm(constants, f"{name}.attention.output.LayerNorm")
        yield from _product(constants, f"{name}.intermediate.dense")
        yield from _product(constants, f"{name}.output.dense")
        yield from _norm(constants, f"{name}.output.LayerNorm")


def _norm(constants: Constants, name: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    return constants[f"{name}.weight"], constants[f"{name}.bias"]


def _product(constants: Constants, name: str) -> Iterator[NDArray[np.generic]]:
    matrix = constants[f"{name}.weight"].astype(np.int8, copy=False)
    order = ordered(matrix)
    yield packed(matrix, order)
    yield told(order)
    yield matrix.sum(axis=0, dtype=np.int32)
    yield constants[f"{name}.scale"]
    yield constants[f"{name}.bias"]


def ordered(matrix: NDArray[np.int8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """By panel: its groups, those first of which four products of a lane stay within 16 bits, whatever bytes they are with; and
    how many these are."""
    rows, columns = matrix.shape
    lanes = matrix.reshape(rows // GROUP, GROUP // STEP, STEP // LANE, LANE, columns).astype(np.int16)
    reach = np.maximum(  # all the positive ones, or all the negative ones, by the greatest byte
        np.maximum(lanes, 0).sum(axis=(1, 3), dtype=np.int32),
        -np.minimum(lanes, 0).sum(axis=(1, 3), dtype=np.int32),
    )
    most = reach.max(axis=1).reshape(rows // GROUP, columns // COLUMNS, COLUMNS).max(axis=2)
    far = (most * _MOST_BYTE > _MOST_LANE).T
    return far.argsort(axis=1, kind="stable"), (~far).sum(axis=1)


def packed(matrix: NDArray[np.int8], order: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[np.int8]:
    """By panel, group, four rows, column: each four rows of a column stand together."""
    rows, columns = matrix.shape
    parts = matrix.reshape(rows // GROUP, GROUP // STEP, STEP, columns // COLUMNS, COLUMNS)
    panels = parts.transpose(3, 0, 1, 4, 2)
    return panels[np.arange(columns // COLUMNS)[:, None], order[0]]


def told(order: tuple[NDArray[np.intp], NDArray[np.intp]]) -> NDArray[np.int32]:
    """By panel: how many groups come first, and where each begins."""
    return np.concatenate((order[1][:, None], order[0] * GROUP), axis=1).astype(np.int32)


def _laid(parts: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """Copies, each beginning where a cache line does, in one piece of memory: so large, numpy asks the system for it in large
    pages, of which the processor can keep in mind where they are."""
    room = np.empty(sum(part.nbytes + _ALIGNED for part in parts), np.uint8)
    laid: list[NDArray[np.generic]] = []
    end = room.ctypes.data
    for part in parts:
        start = end + -end % _ALIGNED
        end = start + part.nbytes
        out = room[start - room.ctypes.data : end - room.ctypes.data].view(part.dtype).reshape(part.shape)
        out[...] = part
        laid.append(out)
    return laid

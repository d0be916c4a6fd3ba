"""Writes a model in ONNX's file format, which is protobuf: the few messages that ``graph`` needs, and no more.

Theory
Field numbers are those of onnx.proto (ONNX IR version 10). The package ``onnx`` would do the same, and costs 90 MB of
installation for it: here are some sixty lines. onnxruntime reads the result, and refuses what is malformed.

Messages are bytes: a field is its key (number and wire type), then a varint, four bytes, or a length and so many bytes.
"""

import struct
from collections.abc import Iterable
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 10
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_FLOAT, _UINT8, _INT8, _INT64 = 1, 2, 3, 7
INT64, FLOAT = _INT64, _FLOAT
_TYPES = {"float32": _FLOAT, "uint8": _UINT8, "int8": _INT8, "int64": _INT64}
Attribute = int | float | str | tuple[int, ...]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are two's complement of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _data(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | _BYTES) + _varint(len(raw)) + raw


def node(
    kind: str, inputs: Iterable[str], outputs: Iterable[str], domain: str = "", **attributes: Attribute
) -> bytes:
    """NodeProto: one operation. An input named "" is left out."""
    return (
        b"".join(_data(1, name) for name in inputs)
        + b"".join(_data(2, name) for name in outputs)
        + _data(4, kind)
        + b"".join(_data(5, one) for one in starmap(_attribute, attributes.items()))
        + (_data(7, domain) if domain else b"")
    )


def _attribute(name: str, value: Attribute) -> bytes:
    """AttributeProto; its field 20 says which kind of value it has."""
    if isinstance(value, float):
        said = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value) + _number(20, 1)
    elif isinstance(value, int):
        said = _number(3, value) + _number(20, 2)
    elif isinstance(value, str):
        said = _data(4, value) + _number(20, 3)
    else:
        said = b"".join(_number(8, one) for one in value) + _number(20, 7)
    return _data(1, name) + said


def tensor(name: str, values: NDArray[np.generic]) -> bytes:
    """TensorProto: a constant, as raw little-endian bytes."""
    dims = b"".join(_number(1, size) for size in values.shape)
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return dims + _number(2, _TYPES[values.dtype.name]) + _data(8, name) + _data(9, little.tobytes())


def value(name: str, kind: int, shape: Iterable[int | str]) -> bytes:
    """ValueInfoProto: an input or output; a size that is a word is any."""
    dims = b"".join(_data(1, _number(1, size) if isinstance(size, int) else _data(2, size)) for size in shape)
    return _data(1, name) + _data(2, _data(1, _number(1, kind) + _data(2, dims)))


def model(
    nodes: Iterable[bytes],
    constants: Iterable[bytes],
    *,
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    opsets: dict[str, int],
) -> bytes:
    """ModelProto: the whole file."""
    graph = (
        b"".join(_data(1, one) for one in nodes)
        + _data(2, "embedder")
        + b"".join(_data(5, one) for one in constants)
        + b"".join(_data(11, one) for one in inputs)
        + b"".join(_data(12, one) for one in outputs)
    )
    known = b"".join(
        _data(8, (_data(1, domain) if domain else b"") + _number(2, version))
        for domain, version in opsets.items()
    )
    return _number(1, IR_VERSION) + _data(2, "penstock") + _data(7, graph) + known

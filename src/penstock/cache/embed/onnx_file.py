"""Writes a model in ONNX's file format, which is protobuf: the few messages that ``graph`` needs, and no more.

Theory
Field numbers are those of onnx.proto (ONNX IR version 10). The package ``onnx`` would do the same, and costs 90 MB of
installation for it: here are some sixty lines. onnxruntime reads the result, and refuses what is malformed.

Messages are bytes: a field is its key (number and wire type), then a varint, four bytes, or a length and so many bytes.
"""

import struct
from collections.abc import Iterable, Iterator
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


def constants(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The constants of a file that ``model`` has written, by name: views of ``data``. Raises ValueError for what is none."""
    whole = memoryview(data)
    found: dict[str, NDArray[np.generic]] = {}
    for field, graph in _fields(whole):
        if field != 7 or isinstance(graph, int):
            continue
        for inner, each in _fields(graph):
            if inner == 5 and not isinstance(each, int):
                name, values = _constant(each)
                found[name] = values
    return found


def _constant(message: memoryview) -> tuple[str, NDArray[np.generic]]:
    shape: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for field, value in _fields(message):
        if isinstance(value, int):
            shape += [value] if field == 1 else []
            kind = value if field == 2 else kind
        elif field == 8:
            name = str(value, "utf-8")
        elif field == 9:
            raw = value
    word = next((word for word, number in _TYPES.items() if number == kind), None)
    if word is None:
        raise ValueError(f"The constant {name} is of kind {kind}, which is not read.")
    return name, np.frombuffer(raw, np.dtype(word).newbyteorder("<")).reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each: varints and bytes, which is all that is written here outside of nodes."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        size, at = _read_varint(message, at)
        if key & 7 == _VARINT:
            yield key >> 3, size
        elif key & 7 == _BYTES and at + size <= len(message):
            yield key >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError("This is no file of ours.")


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("This is no file of ours.")

"""A cache for tensors: text embeddings of an image pipeline, or any other result that is dear to make and small to keep.

Theory
------
A tensor is a name of its dtype, a shape and bytes: nothing here knows numpy or torch. Several of them are one blob, under a key
made of everything that they depend on (``content_key``). It is for programs without an event loop: a look-up is a call.

The format: magic, checksum, length of the head, head, payloads. All is little-endian. Of what lies there nothing is taken on
trust: whatever is odd about it is a miss.

Rules
- The key is the caller's promise: two computations with the same key give the same bits.
- A store that fails is a miss.
"""

import struct
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import prod
from typing import Protocol
from zlib import crc32

import msgspec
from msgspec import Struct

from penstock.blobs.blob import Blob, Place, StoreFault

KIND = "tensor"
"""base.Place.kind of cached tensors."""
ITEM_BYTES: dict[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
}  # fmt: skip
"""By the names that torch gives dtypes."""
_MAGIC = b"PENT\x01"
_FRONT = struct.Struct("<5sII")
_HEAD = msgspec.msgpack.Decoder(tuple[tuple[str, tuple[int, ...], int], ...], strict=True).decode
_encode = msgspec.msgpack.encode


class Tensor(Struct, frozen=True, gc=False):
    """``data`` is dense, row by row, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Shelf(Protocol):
    """Of a store what is needed here."""

    def get(self, place: Place, key: bytes, now_ms: int) -> Blob | None:
        """The blob, unless it is over."""
        ...

    def put(self, blob: Blob) -> None:
        """Keep it."""
        ...


class TensorCache:
    """Tensors by content key, in one namespace of a store. As many threads may ask as the store allows."""

    def __init__(
        self,
        store: Shelf,
        namespace: str,
        ttl_s: float,
        *,
        tenant: str = "",
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.hits = 0
        self.misses = 0
        self.faults = 0
        self._store = store
        self._place = Place(KIND, tenant, namespace)
        self._ttl_ms = int(ttl_s * 1000)
        self._now_ms = now_ms or _unix_ms

    def get(self, key: bytes) -> list[Tensor] | None:
        """What was put, bit by bit. None: nothing, or nothing that can be relied on."""
        try:
            blob = self._store.get(self._place, key, self._now_ms())
        except StoreFault:
            self.faults += 1
            blob = None
        tensors = None if blob is None else unpacked(blob.value)
        if tensors is None:
            self.misses += 1
        else:
            self.hits += 1
        return tensors

    def put(self, key: bytes, tensors: Sequence[Tensor], *, worth_nusd: int = 0) -> None:
        """Keep them. Raises ValueError for what is no tensor: an unknown dtype, or bytes that do not fit the shape."""
        value = packed(tensors)
        now_ms = self._now_ms()
        try:
            self._store.put(Blob(self._place, key, value, now_ms, now_ms + self._ttl_ms, worth_nusd))
        except StoreFault:
            self.faults += 1


def content_key(*parts: bytes | str | float | None) -> bytes:
    """32 bytes that no other parts have, in whatever way they are cut."""
    digest = blake2b(digest_size=32, person=b"penstock-tensor")
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<cQ", type(part).__name__[:1].encode(), len(data)))
        digest.update(data)
    return digest.digest()


def packed(tensors: Sequence[Tensor]) -> bytes:
    """As one value. Raises ValueError."""
    for tensor in tensors:
        if not _fits(tensor.dtype, tensor.shape, len(tensor.data)):
            raise ValueError(f"{len(tensor.data)} bytes are no {tensor.dtype} of shape {tensor.shape}")
    head = _encode([(tensor.dtype, tensor.shape, len(tensor.data)) for tensor in tensors])
    rest = b"".join((head, *(tensor.data for tensor in tensors)))
    return _FRONT.pack(_MAGIC, crc32(rest), len(head)) + rest


def unpacked(value: bytes) -> list[Tensor] | None:
    """What ``packed`` was given; None for everything else."""
    if len(value) < _FRONT.size:
        return None
    magic, checksum, head_bytes = _FRONT.unpack_from(value)
    at = _FRONT.size + head_bytes
    if magic != _MAGIC or at > len(value) or crc32(memoryview(value)[_FRONT.size :]) != checksum:
        return None
    try:
        head = _HEAD(memoryview(value)[_FRONT.size : at])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    tensors: list[Tensor] = []
    for dtype, shape, size in head:
        if not _fits(dtype, shape, size) or at + size > len(value):
            return None
        tensors.append(Tensor(dtype, shape, value[at : at + size]))
        at += size
    return tensors if at == len(value) else None


def _fits(dtype: str, shape: tuple[int, ...], size: int) -> bool:
    return (
        all(n >= 0 for n in shape) and size == prod(shape) * ITEM_BYTES.get(dtype, -1) and dtype in ITEM_BYTES
    )


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000

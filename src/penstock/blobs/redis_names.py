"""How keys are named in Redis, and how a blob without its value is written there."""

from hashlib import blake2b

import msgspec

from penstock.blobs.blob import Blob, Place
from penstock.blobs.far import Which

_encode = msgspec.msgpack.Encoder().encode
_Meta = tuple[str, str, str, bytes, int, int, int, tuple[str, ...], bytes]
_meta = msgspec.msgpack.Decoder(_Meta).decode


class Names:
    """Under one prefix, and in one slot of a cluster. Words appear as hashes only."""

    def __init__(self, prefix: str) -> None:
        self._blobs = f"{{{prefix}}}:blob"
        self.state = f"{self._blobs}s:state"
        self.log = f"{self._blobs}s:log"
        self.secret = f"{self._blobs}s:secret"
        self.every = f"{self._blobs}:*"

    def blob(self, place: Place, key: bytes) -> str:
        """Of a blob."""
        return f"{self._blobs}:{_hash(place.kind)}:{_hash(place.tenant)}:{_hash(place.namespace)}:{key.hex()}"

    def of(self, which: Which) -> str:
        """Of all blobs at the places that are meant, as a pattern."""
        words = ("*" if word is None else _hash(word) for word in (which.kind, which.tenant, which.namespace))
        return f"{self._blobs}:{':'.join(words)}:*"

    def abouts(self, kind: str) -> str:
        """Of the index of those that have an ``about``."""
        return f"{self._blobs}s:abouts:{_hash(kind)}"

    def abouts_of(self, blob: str) -> str:
        """The same, by the name of a blob."""
        return f"{self._blobs}s:abouts:{blob.removeprefix(self._blobs + ':').partition(':')[0]}"

    def tag(self, tag: str) -> str:
        """Of the set of blobs with this tag."""
        return f"{self._blobs}s:tag:{_hash(tag)}"


def meta_of(blob: Blob) -> bytes:
    """All of it but the value."""
    place = blob.place
    times = (blob.created_ms, blob.expires_ms, blob.worth_nusd)
    return _encode((place.kind, place.tenant, place.namespace, blob.key, *times, blob.tags, blob.about))


def of_meta(meta: bytes, value: bytes, seq: int) -> Blob:
    """Raises msgspec.DecodeError."""
    kind, tenant, namespace, key, created_ms, expires_ms, worth_nusd, tags, about = _meta(meta)
    return Blob(
        Place(kind, tenant, namespace), key, value, created_ms, expires_ms, worth_nusd, tags, about, seq
    )


def _hash(word: str) -> str:
    return blake2b(
        word.encode("utf-8", "surrogatepass"), digest_size=16, person=b"penstock-blobs"
    ).hexdigest()

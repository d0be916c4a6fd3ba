"""Vectors on the wire: float32, little-endian, as numbers or as base64.

Providers write numbers, OpenAI's clients ask for base64 of the same bytes; what is between the two is bytes.
"""

import base64
import binascii
import math
from array import array
from collections.abc import Sequence
from sys import byteorder

from penstock.base.errors import UpstreamMalformed


def floats(vector: bytes) -> list[float]:
    """The numbers of a vector."""
    values = array("f", vector)
    if byteorder == "big":
        values.byteswap()
    return values.tolist()


def packed(embedding: Sequence[float] | str) -> bytes:
    """Numbers or base64 as bytes. Raises UpstreamMalformed for what is neither."""
    if isinstance(embedding, str):
        try:
            vector = base64.b64decode(embedding, validate=True)
        except (binascii.Error, ValueError):
            raise UpstreamMalformed("The upstream sent a vector that is no base64.") from None
        if len(vector) % 4:
            raise UpstreamMalformed("The upstream sent a vector that is no float32.")
        return vector
    try:
        values = array("f", embedding)
    except (OverflowError, TypeError):
        raise UpstreamMalformed("The upstream sent a vector with a number beyond float32.") from None
    if byteorder == "big":
        values.byteswap()
    return values.tobytes()


def normalised(embedding: Sequence[float]) -> list[float]:
    """Of length 1; a vector of zeros stays one. What is of length 1 already does not change but in its last bits."""
    length = math.sqrt(math.fsum(value * value for value in embedding))
    return list(embedding) if not length else [value / length for value in embedding]

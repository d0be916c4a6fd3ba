"""Vectors of unit length: at random, near one another, or of a text's own."""

import hashlib

import numpy as np

from penstock.cache.semantic.index import Vectors

DIMENSIONS = 384


def some(count: int, seed: int, *, dimensions: int = DIMENSIONS) -> Vectors:
    """``count`` directions without any order."""
    made = np.random.default_rng(seed).standard_normal((count, dimensions), dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def near(vector: Vectors, cosine: float, seed: int) -> Vectors:
    """At exactly this cosine from it (f32)."""
    other = some(1, seed, dimensions=len(vector))[0]
    across = other - (other @ vector) * vector
    across /= np.linalg.norm(across)
    made = cosine * vector + np.sqrt(1.0 - cosine * cosine) * across
    return (made / np.linalg.norm(made)).astype(np.float32)


def of(text: str) -> Vectors:
    """The same for the same text, far from any other's."""
    return some(1, int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()))[0]


def topics(count: int, seed: int, *, dimensions: int = DIMENSIONS) -> Vectors:
    """Like texts: a thousand topics, and about each of them many that lie near one another."""
    rng = np.random.default_rng(seed)
    centres = some(max(count // 20, 1), seed + 1, dimensions=dimensions)
    made = centres[rng.integers(0, len(centres), count)] + 0.8 * some(count, seed + 2, dimensions=dimensions)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

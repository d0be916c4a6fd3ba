"""What answers mean, by the embedder on this machine: beside the loop, in a thread that look-ups do not wait for."""

import asyncio
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import mul

from penstock.cache.ports import Embedder

MAX_TOKENS = 240
"""MiniLM reads 256, two of them its own: beyond, texts with one beginning have a cosine of 1 (reference 2.3)."""


class EmbeddedSense:
    """Answers by their vectors (gateway.caching.comparing.Sense). ``vetoes``: cache.semantic.guards."""

    def __init__(self, embedder: Embedder, vetoes: Callable[[str, str], tuple[str, ...]]) -> None:
        self._embedder = embedder
        self._vetoes = vetoes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="penstock-audit-sense")

    async def similarity(self, one: str, other: str) -> float | None:
        """Cosine; None for what is longer than the embedder reads."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._similarity, one, other)

    def vetoes(self, one: str, other: str) -> tuple[str, ...]:
        """What differs that must not."""
        return self._vetoes(one, other)

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _similarity(self, one: str, other: str) -> float | None:
        embedder = self._embedder
        if not one or not other or max(embedder.tokens(one), embedder.tokens(other)) > MAX_TOKENS:
            return None
        return cosine(embedder.embed(one), embedder.embed(other))


def cosine(one: bytes, other: bytes) -> float | None:
    """Of two unit vectors, float32, little-endian; None: they cannot be compared."""
    if len(one) != len(other) or not one or len(one) % 4:
        return None
    shape = f"<{len(one) // 4}f"
    return sum(map(mul, struct.unpack(shape, one), struct.unpack(shape, other)))

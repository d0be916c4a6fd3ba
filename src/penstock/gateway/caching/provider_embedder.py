"""An embedder that is a provider's model (``semantic_cache.embedder: provider/model``), asked by a call of our own.

Theory
------
A vector from elsewhere takes 50 to 500 ms where one of ours takes two, and a look-up must not cost what it saves. So a look-up
waits so long and no longer: what comes later is a miss. The question goes on all the same: the answer to that miss is kept by
its vector, and whoever asks for the same text meanwhile waits for the one call.

Rules
- Never an error: what fails, is late, or finds too many ahead of it, is None, and counted.
- It is paid by the gateway: entries of class ``embedding``, on no virtual key's budgets.
- The build is the model's name: what a provider serves under one name it may change, and then only a purge helps.
"""

import asyncio
import math
import struct
from collections import OrderedDict
from hashlib import blake2b
from typing import Protocol

import msgspec

from penstock.base.errors import PenstockError
from penstock.base.events import VectorMade
from penstock.dialects.openai_chat.vectors import EMBEDDINGS
from penstock.gateway.caching.asking import OURSELVES, Inner, Question, told_inside

WITHIN_MS = 150.0
AT_ONCE = 64
KEPT = 1024
"""Vectors that are remembered: a miss wants its own again, to be kept by."""


class AsyncEmbedder(Protocol):
    """Text to a unit vector, by somebody who must be waited for."""

    build_id: str
    english_only: bool

    async def embed(self, text: str, within_ms: float) -> bytes | None:
        """float32 little-endian, unit length; None: not in time, or not at all."""
        ...


class ProviderEmbedder:
    """``model`` is asked as ``inner`` makes calls. Belongs to one event loop."""

    english_only = False

    def __init__(self, model: str, inner: Inner) -> None:
        self.build_id = f"provider:{model}"
        self.late = 0
        """Look-ups that did not wait any longer."""
        self.failed = 0
        self.crowded = 0
        """Texts that were not asked for: too many were."""
        self._model = model
        self._inner = inner
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[bytes | None]] = {}

    async def embed(self, text: str, within_ms: float = WITHIN_MS) -> bytes | None:
        """The vector, if it is there in time."""
        name = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._known.get(name)
        if known is not None:
            self._known.move_to_end(name)
            return known
        task = self._asked.get(name)
        if task is None:
            if len(self._asked) >= AT_ONCE:
                self.crowded += 1
                return None
            task = self._asked[name] = asyncio.ensure_future(self._ask(name, text))
            task.add_done_callback(lambda _task: self._asked.pop(name, None))
        done, _ = await asyncio.wait({task}, timeout=within_ms / 1000)
        if not done:
            self.late += 1
            return None
        return None if task.cancelled() else task.result()

    async def aclose(self) -> None:
        """What is asked is cut."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, name: bytes, text: str) -> bytes | None:
        body = msgspec.json.encode({"model": self._model, "input": text})
        told = told_inside({}, "embedding", "")
        told[b"x-penstock-priority"] = b"interactive"  # a caller waits for it
        try:
            fresh = await self._inner(Question(EMBEDDINGS, body, told, OURSELVES, "embedding"))
        except PenstockError:
            self.failed += 1
            return None
        made = [one for one in fresh.folded.made if isinstance(one, VectorMade)]
        vector = unit(made[0].vector) if fresh.error is None and len(made) == 1 else None
        if vector is None:
            self.failed += 1
            return None
        self._known[name] = vector
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return vector


def unit(vector: bytes) -> bytes | None:
    """The same direction, of length 1; None: it has none."""
    if not vector or len(vector) % 4:
        return None
    shape = f"<{len(vector) // 4}f"
    values = struct.unpack(shape, vector)
    length = math.hypot(*values)
    if not math.isfinite(length) or length == 0.0:
        return None
    return struct.pack(shape, *(value / length for value in values))

"""An embedder that is a provider's model (``semantic_cache.embedder: provider/model``), asked by a call of our own.

Theory
------
A vector from elsewhere takes 50 to 500 ms where one of ours takes two, and a look-up must not cost what it saves. So a look-up
waits so long and no longer: what comes later is a miss. The question goes on all the same: the answer to that miss is kept by
its vector, and whoever asks for the same text meanwhile waits for the one call.

Rules
- Never an error: what fails, or finds too many ahead of it, is a "no" with its reason.
- It is paid by the gateway: entries of class ``embedding``, on no virtual key's budgets.
- The build is the model's name: what a provider serves under one name it may change, and then only a purge helps.
"""

import asyncio
import math
import struct
from collections import OrderedDict
from hashlib import blake2b

import msgspec

from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError
from penstock.base.events import VectorMade
from penstock.dialects.openai_chat.vectors import EMBEDDINGS
from penstock.gateway.caching.asking import OURSELVES, Inner, Question, told_inside

WITHIN_S = 0.150
"""A vector that comes later is of no use to the look-up that asked for it."""
AT_ONCE = 64
KEPT = 1024
"""Vectors that are remembered: a miss wants its own again, to be kept by."""


_CROWDED = Rejected("embedder-busy", f"{AT_ONCE} texts are with the embedding model already.")


class ProviderEmbedder:
    """``model`` is asked as ``inner`` makes calls (gateway.caching.semantic.RemoteEmbedder). Belongs to one event loop."""

    english_only = False

    def __init__(self, model: str, inner: Inner, within_s: float = WITHIN_S) -> None:
        self.build_id = f"provider:{model}"
        self.within_s = within_s
        self.failed = 0
        self.crowded = 0
        """Texts that were not asked for: too many were."""
        self._model = model
        self._inner = inner
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[bytes | Rejected]] = {}

    async def vector(self, text: str) -> bytes | Rejected:
        """float32 little-endian, unit length. Who stops waiting does not stop the call."""
        name = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._known.get(name)
        if known is not None:
            self._known.move_to_end(name)
            return known
        task = self._asked.get(name)
        if task is None:
            if len(self._asked) >= AT_ONCE:
                self.crowded += 1
                return _CROWDED
            task = self._asked[name] = asyncio.ensure_future(self._ask(name, text))
            task.add_done_callback(lambda _task: self._asked.pop(name, None))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """What is asked is cut."""
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, name: bytes, text: str) -> bytes | Rejected:
        body = msgspec.json.encode({"model": self._model, "input": text})
        told = told_inside({}, "embedding", "")
        told[b"x-penstock-priority"] = b"interactive"  # a caller waits for it
        try:
            fresh = await self._inner(Question(EMBEDDINGS, body, told, OURSELVES, "embedding"))
        except PenstockError as error:
            return self._no(error)
        if fresh.error is not None:
            return self._no(fresh.error)
        made = [one for one in fresh.folded.made if isinstance(one, VectorMade)]
        vector = unit(made[0].vector) if len(made) == 1 else None
        if vector is None:
            self.failed += 1
            return Rejected("bad-vector", f"{self._model} gave no vector that can be compared.")
        self._known[name] = vector
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return vector

    def _no(self, error: PenstockError) -> Rejected:
        self.failed += 1
        return Rejected("embedder-failed", f"{self._model} did not answer: {error.message}")


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

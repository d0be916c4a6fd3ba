"""What is kept for a call: by its key, or by its meaning; in life, and of a target that its caller may use."""

import msgspec

from penstock.base.decisions import Rejected
from penstock.blobs.blob import Place
from penstock.cache.answer import Answer, read_answer
from penstock.cache.ports import PARTIAL
from penstock.gateway.caching.lookup import Hit, Wanted
from penstock.gateway.caching.means import Call, Meaning, Means
from penstock.gateway.planning import Planned
from penstock.observe.names import CACHE_UNREAD
from penstock.routing.allow import may_use

FIND_S = 0.05
"""A far store that takes longer has not got it."""
_IN_PART = " The graph of this partition is still being built, and only its newest entries were compared."


class Finding:
    """Looks for one process's calls."""

    __slots__ = ("_means",)

    def __init__(self, means: Means) -> None:
        self._means = means

    async def exact(self, call: Call, wanted: Wanted, planned: Planned) -> Hit | None:
        """The answer to this very request."""
        if not wanted.exact or not wanted.reads:
            return None
        try:
            return await self._exact(call, wanted, planned)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            return self._failed(call, error)

    async def _exact(self, call: Call, wanted: Wanted, planned: Planned) -> Hit | None:
        read = await self.read(wanted.place, wanted.key)
        now_ms = self._means.now_ms()
        if read is None:
            self._unread(call)
            return None
        answer, value = read
        if answer.exact_until_ms <= now_ms or self._too_old(answer, wanted, now_ms):
            return None
        return self._allowed(call, planned, Hit(answer, None, value))

    def _unread(self, call: Call) -> None:
        """It may be there all the same."""
        no = self._means.blobs.left_alone()
        if no is not None:
            call.facts.note("cache", reason=no.reason, code=no.code)
            self._means.metrics.add(CACHE_UNREAD, 1, no.code)

    async def read(self, place: Place, key: bytes) -> tuple[Answer, bytes] | None:
        """What lies there, and its bytes."""
        now_ms = self._means.now_ms()
        blob = self._means.blobs.near(place, key, now_ms)
        if blob is None:
            blob = await self._means.blobs.find(place, key, now_ms, within_s=FIND_S)
        if blob is None:
            return None
        try:
            return read_answer(blob.value), blob.value
        except msgspec.MsgspecError:  # of another version: it is overwritten by the next answer
            return None

    def _too_old(self, answer: Answer, wanted: Wanted, now_ms: int) -> bool:
        ttl_s = wanted.controls.ttl_s
        return ttl_s is not None and now_ms - answer.created_ms > ttl_s * 1000

    def _allowed(self, call: Call, planned: Planned, hit: Hit) -> Hit | None:
        name = f"{hit.answer.provider}/{hit.answer.model}"
        if any(step.target.name == name for step in planned.steps):
            return hit
        if may_use(name, call.facts.explain.route, call.facts.principal.patterns):
            return hit
        call.facts.note(
            "cache", reason=f"the kept answer is of {name}, which this key may not use", code="not-allowed"
        )
        return None

    async def by_meaning(self, call: Call, wanted: Wanted, planned: Planned) -> Hit | None:
        """The answer to one that means the same."""
        if self._means.meaning is None or not wanted.semantic:
            if wanted.semantic_no is not None and self._means.semantic_settings is not None:
                call.facts.note("cache", reason=wanted.semantic_no.reason, code=wanted.semantic_no.code)
            return None
        try:
            return await self._by_meaning(self._means.meaning, call, wanted, planned)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            return self._failed(call, error)

    def _failed(self, call: Call, error: Exception) -> None:
        self._means.failed("looking up", error)
        call.facts.note("cache", reason=f"the look-up failed ({type(error).__name__})", code="cache-failed")

    async def _by_meaning(self, meaning: Meaning, call: Call, wanted: Wanted, planned: Planned) -> Hit | None:
        facts = call.facts
        asked = "" if facts.ask is None else facts.ask.model
        looked = await meaning.look(wanted, virtual_key=facts.principal.name, route=asked)
        if isinstance(looked, Rejected):
            wanted.semantic_no = looked
            facts.note("cache", reason=f"not looked for by meaning: {looked.reason}", code=looked.code)
            return None
        wanted.vectored = looked
        found = looked.found
        if found is None or not wanted.reads:
            return None
        if found.refused is not None:
            part = _IN_PART if PARTIAL in found.flags else ""
            facts.note(
                "cache",
                reason=f"no hit by meaning: {found.refused.reason}{part}",
                code=found.refused.code,
            )
            return None
        place = Place(wanted.place.kind, wanted.place.tenant, found.namespace)
        read = await self.read(place, found.entry_key)
        now_ms = self._means.now_ms()
        answer = None if read is None else read[0]
        if answer is None or answer.semantic_until_ms <= now_ms or self._too_old(answer, wanted, now_ms):
            facts.note("cache", reason="the nearest kept answer is gone", code="expired")
            return None
        return self._allowed(call, planned, Hit(answer, found))

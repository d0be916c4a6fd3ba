"""A batch whose creation may have arrived at a provider: looked for, until it is sure that nothing needs to be sent again, or must.

Theory
------
No provider takes a key that makes a repeated creation harmless. What is there instead: our id in what is created (OpenAI's
metadata, Gemini's display name), a file that is of this batch alone, and each line's name, which is ours in the results. The
intent is written down before a creation is sent, so that whoever goes on after a kill knows that it must look first. A provider
may list a new batch late: nothing is sent again before ``batches.resubmit_after_s`` have passed in which none was found.

Anthropic's batches carry nothing of ours until they have ended. One that fits by its time and its number of requests is a
candidate only: it is waited for, and its results tell whose it is. Nothing is sent again while there is one, and nobody's
batch is taken for ours, or cancelled as ours.

Rule: the remaining window is a batch that a provider lists later than that: where it has a name, it is found while the second
one runs, and cancelled.
"""

from typing import Literal

from msgspec import structs

from penstock.base.errors import UpstreamError
from penstock.gateway.native_desk import NativeDesk, is_no
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_choice import Way, way_of
from penstock.server.batch_lines import lines_of
from penstock.server.later import Held
from penstock.wire.batches import BatchState, Sought

CLOCKS_APART_S = 120
"""A provider's clock may be so far from ours."""
MOST_PAGES = 20


class Seeker:
    """Of one batch of ``total`` lines."""

    def __init__(self, app: App, held: Held, total: int) -> None:
        self._app = app
        self._held = held
        self._total = total

    async def look(self, desk: NativeDesk, way: Way) -> Way | Literal["none"]:
        """One look. "none": nothing has arrived. A way that runs: that is ours; another: look again later."""
        settled = unix_ms() >= way.unsure_ms + self._app.house.config.batches.resubmit_after_s * 1000
        if not way.maybe or not settled:
            found = [one.id for one in await self._found(desk, way)]
            if found and desk.service.named:
                return structs.replace(way, phase="running", batch=found[0], maybe=())
            known = {*way.cleared, *way.maybe, *await self._others()}
            way = structs.replace(way, maybe=(*way.maybe, *(one for one in found if one not in known)))
        for one in way.maybe:
            ours = await self._is_ours(desk, one)
            if ours:
                return structs.replace(way, phase="running", batch=one, maybe=())
            if ours is False:
                maybe = tuple(other for other in way.maybe if other != one)
                way = structs.replace(way, maybe=maybe, cleared=(*way.cleared, one))
        return "none" if settled and not way.maybe else way

    async def twins(self, desk: NativeDesk, way: Way) -> Way | None:
        """After a second submission: cancel what has turned up beside the one that runs. None: nothing has."""
        if not way.again or not desk.service.named:
            return None
        more = [
            one for one in await self._found(desk, way) if one.id != way.batch and one.id not in way.cleared
        ]
        for one in more:
            if one.status == "running":
                await _cancelled(desk, one.id)
        if not more:
            return None
        names = tuple(one.id for one in more)
        said = f"{way.provider} listed an earlier submission too late: {', '.join(names)} was cancelled"
        await self._held.change(lambda meta: {**meta, "road_reason": said[:500]})
        return structs.replace(way, cleared=(*way.cleared, *names))

    async def _found(self, desk: NativeDesk, way: Way) -> list[BatchState]:
        since_s = way.at_ms // 1000 - CLOCKS_APART_S
        sought = Sought(self._held.stored.id, way.file, self._total, since_s)
        found: list[BatchState] = []
        after = ""
        for _ in range(MOST_PAGES):
            body = await desk.ask(desk.service.search(after))
            found += desk.service.found(body, sought)
            after = desk.service.more(body, since_s)
            if not after:
                break
        return found

    async def _is_ours(self, desk: NativeDesk, batch: str) -> bool | None:
        """What a batch's results say of it; None: it has none yet."""
        try:
            state = await desk.state(desk.service.ask(batch))
        except UpstreamError as error:
            if is_no(error) and error.upstream_status == 404:
                return False
            raise
        if state.status == "running":
            return None
        ours = f"{self._held.stored.id}-"
        for path in state.results:
            for line in lines_of(await desk.ask(desk.service.fetch(path))):
                return desk.service.read_line(line).name.startswith(ours)
        return False

    async def _others(self) -> set[str]:
        """Batches at providers that other batches of this key are."""
        one = self._held.stored
        others = await self._held.keeper.listed(one.kind, one.owner, limit=1000)
        ways = [way_of(other.meta) for other in others if other.id != one.id]
        return {str(way["batch"]) for way in ways if way.get("batch")}


async def _cancelled(desk: NativeDesk, batch: str) -> None:
    try:
        await desk.ask(desk.service.cancel(batch))
    except UpstreamError as error:
        if not is_no(error) and error.upstream_status != 409:  # a "no" is: it has ended meanwhile
            raise

"""A batch that goes to a provider's own batch service: chosen, left there, polled, cancelled, and its results taken in.

Theory
------
What was decided and done is written into the batch's own row before the next thing is done: which provider, that a creation
is about to be sent, the batch's name there. Another process goes on from there. Between "about to be sent" and its answer
nobody knows whether the provider has made a batch: then it is looked for first (server.batch_seek).

Rules
- Native is taken whole: one line that cannot go sends all lines to our own runner, with the reason shown.
- Once the provider has said that it has the batch, nothing is ever sent a second time, whatever happens.
- What stays at the provider is removed once all results are kept here (server.batch_leftovers).
"""

import asyncio
import time
from typing import Literal

import msgspec

from penstock.base.errors import OurFault, PenstockError, UpstreamError
from penstock.gateway.native_desk import NativeDesk, is_no
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_choice import Choice, Ready, Way, desk_of
from penstock.server.batch_leftovers import leaving
from penstock.server.batch_lines import Line
from penstock.server.batch_results import Results
from penstock.server.batch_seek import Seeker
from penstock.server.later import Held
from penstock.wire.batches import BatchState, Missing

Outcome = Literal["own", "done", "stopped"]
FIRST_POLL_S, LAST_LOOK_S, LAST_POLL_S = 0.25, 10.0, 60.0
GRACE_MS = 2 * 3_600_000
"""After its window, for a provider that is late; then its lines are given up."""
HOLD_AGAIN_S = 300.0
TRIES = 5


class NativeRun:
    """One claim of one batch, as far as a provider's own service has to do with it."""

    def __init__(self, app: App, held: Held, lines: list[Line]) -> None:
        self._app = app
        self._held = held
        self._lines = lines
        self._choice = Choice(app, held, lines)
        self._holds = self._choice.holds
        self._results = Results(app, held, lines, self._choice)
        self._seeker = Seeker(app, held, len(lines))
        self._held_at_s = time.monotonic()

    async def run(self) -> Outcome:
        """``own``: our own runner's. ``done``: each line has its result. ``stopped``: this process ends; another goes on."""
        meta = self._held.meta
        if meta.get("road") == "own" or (
            meta.get("road") is None and await self._held.keeper.counts(self._held.stored)
        ):
            return "own"
        try:
            if meta.get("road") is None:
                ready = await self._choice.chosen()
                if isinstance(ready, str):
                    return await self._own(ready)
                await self._write(ready.way)
            else:
                ready = None
            return await self._go_on(ready)
        finally:
            for hold in self._holds.values():
                hold.settle(0)

    async def _given_up(self, why: Missing, files: tuple[str, ...] = ()) -> Outcome:
        """No further line will have a result."""
        await self._results.rest(why)
        await self._leave((self._way.file, *files))
        return "done"

    async def _own(self, reason: str, files: tuple[str, ...] = ()) -> Outcome:
        for hold in self._holds.values():
            hold.settle(0)
        self._holds.clear()
        if self._held.meta.get("native"):
            await self._leave((self._way.file, *files))
        await self._held.change(
            lambda meta: {**meta, "road": "own", "road_reason": reason[:500], "native": None}
        )
        return "own"

    # The way there.

    async def _go_on(self, ready: Ready | None) -> Outcome:
        way = self._way
        maybe_sent = ready is None and way.phase == "creating"
        if way.phase != "running":
            if ready is None:  # another process had begun: the same lines for the same provider
                again = await self._choice.again(way.provider)
                if isinstance(again, str) and not maybe_sent:
                    return await self._own(again)
                ready = None if isinstance(again, str) else again
            answer = await self._submitted(ready, maybe_sent=maybe_sent)
            if answer is not None:
                return answer
        elif ready is None:
            await self._choice.hold_again()
        state = await self._awaited()
        if state == "stopped":
            return "stopped"
        if isinstance(state, BatchState) and state.status == "failed":
            if self._held.cancelled.is_set():
                return await self._given_up("cancelled", state.files)
            return await self._own(f"{self._way.provider} refused the batch: {state.why}", state.files)
        if isinstance(state, BatchState):
            if not await self._taken_in(state):
                return "stopped"
            await self._leave((self._way.file, *state.files))
        else:
            return await self._given_up("expired")
        return "done"

    async def _submitted(self, ready: Ready | None, *, maybe_sent: bool) -> Outcome | None:
        """None: the provider has it."""
        failures, looks = 0, 0
        while True:
            if self._app.draining:
                return "stopped"
            if _late(self._held):
                return await self._given_up("expired")
            if not maybe_sent and self._held.cancelled.is_set():
                return await self._given_up("cancelled")
            try:
                if maybe_sent:
                    looked = await self._looked()
                    if looked == "ours":
                        return None
                    if looked == "wait":
                        looks += 1
                        most_s = min(LAST_LOOK_S, self._app.house.config.batches.resubmit_after_s / 4)
                        await self._pause(min(FIRST_POLL_S * 1.5**looks, most_s))
                        continue
                    maybe_sent = False
                    if ready is None or failures >= TRIES:
                        return await self._own(f"it does not reach {self._way.provider}: {self._way.trouble}")
                    continue
                assert ready is not None
                if await self._uploaded(ready):
                    maybe_sent = True
                    await self._created(ready)
                    return None
            except OurFault as error:
                await self._troubled(error)
                return await self._given_up("")
            except UpstreamError as error:
                failures += 1
                if maybe_sent and self._way.unsure_ms:  # a look that failed says nothing: it is looked again
                    await self._troubled(error)
                elif is_no(error) or (failures >= TRIES and not maybe_sent):
                    return await self._own(f"{self._way.provider} does not take it: {error.public()}")
                elif error.upstream_status == 429:
                    maybe_sent = False
                await self._pause(min(0.5 * 2**failures, 30.0))

    async def _looked(self) -> Literal["ours", "none", "wait"]:
        """Whether a creation that may have arrived has."""
        if not self._way.unsure_ms:
            await self._write(msgspec.structs.replace(self._way, unsure_ms=unix_ms()))
        way = self._way
        seen = await self._seeker.look(self._desk(), way)
        if seen == "none":
            await self._write(msgspec.structs.replace(way, unsure_ms=0, maybe=(), again=way.again + 1))
            return "none"
        if seen.maybe:
            waits = f"{way.provider}: {', '.join(seen.maybe)} may be this batch; nothing is sent again before that is known"
            seen = msgspec.structs.replace(seen, trouble=waits)
        if seen != way:
            await self._write(seen)
        return "ours" if seen.phase == "running" else "wait"

    async def _uploaded(self, ready: Ready) -> bool:
        way, desk = self._way, self._desk()
        if way.phase == "uploading":
            request = await asyncio.to_thread(desk.service.upload, self._held.stored.id, ready.items)
            file = "" if request is None else desk.service.read_upload(await desk.ask(request))
            await self._write(msgspec.structs.replace(way, phase="creating", file=file, at_ms=unix_ms()))
        return not self._held.cancelled.is_set()

    async def _created(self, ready: Ready) -> None:
        way, desk = self._way, self._desk()
        request = await asyncio.to_thread(desk.service.create, self._held.stored.id, ready.items, way.file)
        state = await desk.state(request)
        await self._write(msgspec.structs.replace(way, phase="running", batch=state.id))

    # The wait.

    async def _awaited(self) -> BatchState | Literal["stopped", "late"]:
        wait_s = FIRST_POLL_S
        while True:
            if self._app.draining:
                return "stopped"
            way, cancelled = self._way, self._held.cancelled
            if _late(self._held):
                return "late"
            try:
                desk = self._desk()
                if cancelled.is_set() and not way.cancel_sent:
                    await self._stop(desk, way)
                    wait_s = FIRST_POLL_S
                    continue
                state = await desk.state(desk.service.ask(way.batch))
                if (state.good, state.bad, "") != (way.good, way.bad, way.trouble):
                    await self._write(
                        msgspec.structs.replace(way, good=state.good, bad=state.bad, trouble="")
                    )
                if state.status != "running":
                    return state
                seen = await self._seeker.twins(desk, way)
                if seen is not None:
                    await self._write(seen)
            except PenstockError as error:
                await self._troubled(error)
            await self._pause(wait_s)
            wait_s = min(wait_s * 1.5, LAST_POLL_S)

    async def _leave(self, names: tuple[str, ...]) -> None:
        """These are of no use at the provider any more, once the batch has ended here."""
        way = self._way
        await self._held.change(lambda meta: leaving(self._app, meta, way, names))

    async def _stop(self, desk: NativeDesk, way: Way) -> None:
        try:
            await desk.ask(desk.service.cancel(way.batch))
        except UpstreamError as error:
            if not is_no(error) and error.upstream_status != 409:  # a "no" is: it has ended meanwhile
                raise
        await self._write(msgspec.structs.replace(way, cancel_sent=True))

    async def _troubled(self, error: PenstockError) -> None:
        said = f"{self._way.provider}: {error.public()}"[:500]
        if said != self._way.trouble:
            await self._write(msgspec.structs.replace(self._way, trouble=said))

    async def _pause(self, wait_s: float) -> None:
        """Until then, or until the batch is cancelled, or this process stops; what is held stays held."""
        until_s = time.monotonic() + wait_s
        woken = self._held.cancelled.is_set()
        while not self._app.draining and (left_s := until_s - time.monotonic()) > 0:
            if not woken and self._held.cancelled.is_set():
                return
            await asyncio.sleep(min(left_s, 0.2))
            if time.monotonic() - self._held_at_s > HOLD_AGAIN_S:
                self._held_at_s = time.monotonic()
                for hold in self._holds.values():
                    hold.treasury.extend(hold.reservation.id, 0, self._app.house.clock.unix_s())

    # The way back.

    async def _taken_in(self, state: BatchState) -> bool:
        """Every line's result is kept. False: this process stops."""
        for path in state.results:
            body = await self._fetched(path)
            if body is None:
                return False
            await self._results.take(body, self._desk().service, self._way)
        await self._results.rest(state.missing or ("cancelled" if self._way.cancel_sent else ""))
        return True

    async def _fetched(self, path: str) -> bytes | None:
        wait_s = FIRST_POLL_S
        while not self._app.draining:
            try:
                desk = self._desk()
                return await desk.ask(desk.service.fetch(path))
            except PenstockError as error:
                await self._troubled(error)
            await self._pause(wait_s)
            wait_s = min(wait_s * 2, LAST_POLL_S)
        return None

    # What it stands on.

    @property
    def _way(self) -> Way:
        return msgspec.convert(self._held.meta["native"], Way)

    async def _write(self, way: Way) -> None:
        kept = msgspec.to_builtins(way)
        await self._held.change(lambda meta: {**meta, "road": "native", "native": kept})

    def _desk(self) -> NativeDesk:
        return desk_of(self._app.house, self._way.provider, self._way.key)


def _late(held: Held) -> bool:
    return unix_ms() > held.meta["window_ends_ms"] + GRACE_MS

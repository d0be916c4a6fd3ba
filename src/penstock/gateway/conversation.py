"""A Responses call: the conversation before it is fetched from our own store, and its answer is kept before it leaves.

Theory
------
A caller that has read ``response.completed`` may name that response in its next call at once, on another connection and
at another worker. So the bytes that hold the answer's end are held back until it is stored; all before them has left as
it came. What was stored belongs to the virtual key: to any other it does not exist.

Rules
- ``store: false`` keeps nothing. An answer that cannot be kept is delivered all the same, and the operator is told.
- Fetching is for whom the key admits; whether it may use the model is asked after.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from penstock.base.errors import BadRequest, CallerGone, NotFound, OurFault, PenstockError
from penstock.dialects.openai_responses import ResponsesCaller
from penstock.dialects.openai_responses.envelope import ResponsesAsk, with_history
from penstock.dialects.openai_responses.kept import KIND, Turn, conversation, read_turn, turn_of
from penstock.gateway.call import ChatCall
from penstock.gateway.house import House
from penstock.gateway.large import envelope, lighten, thicken
from penstock.gateway.own_files import inline_files
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.remote import Attempted
from penstock.gateway.room import RESPONSES, check_room
from penstock.gateway.settle import CallFacts, settle
from penstock.objects.store import ObjectStore

KEPT_MS = 30 * 24 * 3600 * 1000
"""As long as OpenAI keeps its own (API reference, store; read 2026-11)."""
MAX_TURNS = 10_000


class Chain:
    """A kept response, and those before it, the oldest first."""

    def __init__(self, turns: list[Turn], made_at: str) -> None:
        self.turns = turns
        self.made_at = made_at


def fetch_chain(store: ObjectStore, name: str, owner: str, max_bytes: int) -> Chain | str:
    """Read a chain from its end; the id of what is missing, where something is. Blocks. Raises BadRequest if it is too long."""
    turns: list[Turn] = []
    made_at, size, at = "", 0, name
    while at:
        stored = store.get(KIND, at, owner)
        body = None if stored is None else store.body(KIND, at, owner)
        if stored is None or body is None:
            return at
        if not turns:
            made_at = str(stored.meta.get("made_at", ""))
        size += len(body)
        if size > max_bytes or len(turns) >= MAX_TURNS:
            raise BadRequest(
                f"The conversation that {name!r} ends is over {max_bytes} bytes.",
                param="previous_response_id",
                hint="Send what of it still matters as input.",
            )
        turns.append(read_turn(body))
        at = str(stored.meta.get("previous", ""))
    return Chain(turns[::-1], made_at)


class ResponseCall(ChatCall):
    """A call whose conversation may be ours to remember."""

    __slots__ = ("_caller", "_lost")

    def __init__(
        self,
        house: House,
        inbound: Inbound,
        reply: Reply,
        facts: CallFacts,
        lost: Callable[[PenstockError], None],
    ) -> None:
        super().__init__(house, inbound, reply, facts)
        self._caller = cast("ResponsesCaller", inbound.caller)
        self._lost = lost
        """Is told why an answer could not be kept."""

    async def run(self, made: Attempted | None = None) -> None:
        """Serve the call; its answer is kept before its end leaves."""
        try:
            ask, owner = await self._recalled()
        except asyncio.CancelledError:
            settle(self.house, self.facts, CallerGone("The caller hung up."))
            raise
        except PenstockError as error:
            settle(self.house, self.facts, error)
            raise
        except Exception:
            settle(self.house, self.facts, OurFault("The gateway failed to serve this request."))
            raise
        if not ask.store:
            await super().run(made)
            return
        reply = self.reply
        held = HeldReply(reply, ask)
        self.reply = cast("Reply", held)
        await super().run(made)
        if ask.final:
            try:
                await self._keep(ask, owner)
            except PenstockError as error:
                self._lost(error)
        held.release()

    async def _recalled(self) -> tuple[ResponsesAsk, str]:
        """The ask with the conversation before it, and whose it is."""
        house, inbound = self.house, self.inbound
        principal = house.doors.admit(inbound.told, inbound.known, self.facts.at_ms / 1000)
        self.facts.principal = principal
        await inline_files(house, inbound, self.facts)
        envelope(inbound)
        ask = self._caller.ask
        assert ask is not None
        self.facts.ask = inbound.ask = ask
        if ask.background:
            raise BadRequest(
                "Responses are not made in the background here.",
                param="background",
                hint="Send the header x-penstock-async: true, and fetch the answer at /v1/jobs.",
            )
        if ask.store:
            await check_room(
                house.keeper, KIND, principal.name, house.config.responses.max_total_bytes, RESPONSES
            )
        if ask.previous:
            most = house.config.server.max_body_bytes
            found = await house.keeper.do(
                lambda store: fetch_chain(store, ask.previous, principal.name, most)
            )
            if isinstance(found, str):
                raise _not_found(ask.previous, found)
            ask.native = found.made_at
            with_history(ask, conversation(found.turns))
        return ask, principal.name

    async def _keep(self, ask: ResponsesAsk, owner: str) -> None:
        name, meta, body = turn_of(ask)
        if ask.bulk is not None:
            body = await asyncio.to_thread(ask.bulk.restore, body)
        await self.house.keeper.put(
            KIND, name, owner, meta=meta, body=body, expires_ms=self.facts.at_ms + KEPT_MS
        )


def call_of(
    house: House,
    inbound: Inbound,
    reply: Reply,
    facts: CallFacts,
    tell: Callable[[str, PenstockError], None],
) -> ChatCall:
    """The call that is asked for; ``tell`` is the operator's log of failures."""
    if isinstance(inbound.caller, ResponsesCaller):
        return ResponseCall(house, inbound, reply, facts, partial(tell, "response.unkept"))
    return ChatCall(house, inbound, reply, facts)


async def in_background(inbound: Inbound) -> ResponsesAsk | None:
    """The ask, where it is for a Response that is made in the background. Raises BadRequest."""
    if not isinstance(inbound.caller, ResponsesCaller):
        return None
    await lighten(inbound)
    body = inbound.body if inbound.bulk is None else inbound.bulk.slim
    if body.find(b'"background"') < 0:
        return None
    envelope(inbound)
    ask = inbound.caller.ask
    if ask is None or not ask.background:
        return None
    await asyncio.to_thread(thicken, ask)  # it is kept, not served
    return ask


def _not_found(asked: str, missing: str) -> BadRequest:
    """In OpenAI's words; where a turn further back was deleted, that is said."""
    why = "" if asked == missing else f" Its conversation goes back to {missing!r}, which is gone."
    return BadRequest(
        f"Previous response with id {asked!r} not found.{why}",
        code="previous_response_not_found",
        param="previous_response_id",
        hint="A response is kept where it was asked for with store: true (the default), for this key and 30 days. "
        "Else send the conversation itself as input.",
    )


def no_response(name: str) -> NotFound:
    """The 404 for a response that is not this key's, in OpenAI's words."""
    return NotFound(f"Response with id {name!r} not found.")


class HeldReply:
    """A reply whose last bytes wait (gateway.ports.Reply): from the answer's end on, ``release`` lets them go."""

    def __init__(self, reply: Reply, ask: ResponsesAsk) -> None:
        self._reply = reply
        self._ask = ask
        self._whole: tuple[int, bytes, bytes] | None = None
        self._start: tuple[int, bytes] | None = None
        self._held: list[bytes] = []
        self._ended = False

    @property
    def on_pause(self) -> Callable[[], None] | None:
        """The caller's pause is the reply's."""
        return self._reply.on_pause

    @on_pause.setter
    def on_pause(self, call: Callable[[], None] | None) -> None:
        self._reply.on_pause = call

    @property
    def on_resume(self) -> Callable[[], None] | None:
        """The same for going on."""
        return self._reply.on_resume

    @on_resume.setter
    def on_resume(self, call: Callable[[], None] | None) -> None:
        self._reply.on_resume = call

    @property
    def started(self) -> bool:
        """The status is decided."""
        return self._reply.started or self._whole is not None or self._start is not None

    @property
    def ended(self) -> bool:
        """Nothing more will be said."""
        return self._ended or self._reply.ended

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole reply."""
        self._ended = True
        if self._ask.final:
            self._whole = (status, head, body)
        else:
            self._reply.send(status, head, body)

    def start(self, status: int, head: bytes, first: bytes) -> None:
        """Begin a stream; one that is whole at once waits."""
        if self._ask.final:
            self._start = (status, head)
            self._held.append(first)
        else:
            self._reply.start(status, head, first)

    def write(self, data: bytes) -> None:
        """One piece."""
        if self._ask.final:
            self._held.append(data)
        else:
            self._reply.write(data)

    def forwarder(self) -> Callable[[bytes], None] | None:
        """No piece goes past us."""
        return None

    def end(self, last: bytes = b"") -> None:
        """The stream's end."""
        self._ended = True
        if self._ask.final:
            self._held.append(last)
        else:
            self._reply.end(last)

    def release(self) -> None:
        """Let go of what is held."""
        reply, held = self._reply, b"".join(self._held)
        self._held = []
        if self._whole is not None:
            reply.send(*self._whole)
        elif self._start is not None:
            reply.start(*self._start, held)
            reply.end()
        elif self._ended and not reply.ended:
            reply.end(held)

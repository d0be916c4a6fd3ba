"""Before an attempt: what must be looked for elsewhere so that this target can take the call.

A dialect decides, and has no sockets. What it cannot take as it stands may be fetched (gateway.media), what its maker wants
back may be in our store (gateway.reasoning). Both change the neutral request for one target, and are told.
"""

import msgspec

from penstock.base.chat import ChatRequest, Message, Text, ToolCall
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, UpstreamError
from penstock.base.media_size import MEDIA
from penstock.gateway.beside import Placed
from penstock.gateway.house import House, Provider
from penstock.gateway.media import Media, not_base64
from penstock.gateway.pictures import check_room_for_links
from penstock.gateway.reasoning import restored
from penstock.gateway.remote import Translator
from penstock.gateway.settle import CallFacts, Listen
from penstock.gateway.structured import CODE, Judge, judge_of, repairing
from penstock.gateway.uploads import Uploads
from penstock.routing.plan import Step
from penstock.routing.schedule import Try
from penstock.wire.http import WireRequest
from penstock.wire.ports import NeutralRequest, ReasoningDialect

RESTORED = "reasoning-restored"
FETCHED = "image-fetched"
REPAIRED = "output-repaired"


class Preparing:
    """Of one call."""

    __slots__ = ("_facts", "_house", "_judge", "_media", "_repaired", "_translator", "_uploads")

    def __init__(self, house: House, facts: CallFacts, translator: Translator) -> None:
        self._house = house
        self._facts = facts
        self._translator = translator
        self._media: Media | None = None
        self._judge: Judge | None = None
        self._repaired = False
        self._uploads: Uploads | None = None

    @property
    def listen(self) -> Listen | None:
        """Who hears what the provider says (gateway.caching)."""
        return self._facts.record

    async def placed(
        self, provider: Provider, credential: str, request: WireRequest, until_s: float
    ) -> Placed | None:
        """The written request with its large files at the provider; None: it goes as it is. Raises UpstreamError."""
        if self._uploads is None:
            self._uploads = Uploads(self._house, self._facts)
        return await self._uploads.placed(provider, credential, request, until_s)

    def judge(self, request: NeutralRequest) -> Judge | None:
        """Who judges the next attempt's answer, where it was asked for in a strict schema."""
        settings, ask = self._house.config.structured_output, self._facts.ask
        if not settings.validate or ask is None or ask.n > 1 or not isinstance(request, ChatRequest):
            return None
        self._judge = judge_of(request.response_format, ask.dialect, hold=settings.repair)
        return self._judge

    @property
    def _may_repair(self) -> bool:
        return self._house.config.structured_output.repair and not self._repaired

    def repairable(self, error: UpstreamError) -> bool:
        """A second attempt may tell the model of its fault: nothing of the answer has left."""
        return error.code == CODE and self._may_repair and self._judge is not None

    def repair(self, attempt: Try, provider: Provider, error: UpstreamError) -> Try | None:
        """The next attempt at this target, which names the fault, once a call. None: there is none to make."""
        judge, step = self._judge, attempt.step
        if judge is None or not self.repairable(error):
            return None
        if step.pass_through:  # what is added can only be written by a translation
            if self._translator.slim or self._translator.refuse(provider, step.target) is not None:
                return None
            step = msgspec.structs.replace(step, pass_through=False)
            attempt = msgspec.structs.replace(attempt, step=step)
        request = self._translator.request(provider, step.target)
        if not isinstance(request, ChatRequest):
            return None
        self._repaired = True
        said = Message("assistant", (Text(judge.text),))
        told = Message("user", (Text(repairing(error)),))
        words = tuple(word for word in (RESTORED, FETCHED) if word in request.adjusted)
        self._translator.prepared(step.target.name, (*request.messages, said, told), (*words, REPAIRED))
        self._facts.note("repair", target=step.target.name, reason=error.message, code=error.code)
        return msgspec.structs.replace(attempt, attempt=attempt.attempt + 1, reason="repair")

    async def prepare(self, step: Step, provider: Provider) -> None:
        """The translator knows afterwards what this target gets, or why it gets nothing."""
        ask = self._facts.ask
        if ask is not None and ask.operation == "images":
            await check_room_for_links(self._house, self._facts)
        if step.pass_through or ask is None or ask.operation != "chat":
            return
        name = step.target.name
        if self._translator.is_prepared(name):
            return
        await self._prepare(name, step, provider)
        if self._translator.slim and not self._keeps_all(step, provider):
            await self._translator.whole()
            await self._prepare(name, step, provider)

    def _keeps_all(self, step: Step, provider: Provider) -> bool:
        try:
            return self._translator.keeps_all(provider, step.target)
        except BadRequest:
            return False

    async def _prepare(self, name: str, step: Step, provider: Provider) -> None:
        await self._translator.aside()
        try:
            request = self._translator.neutral()
        except BadRequest:
            return  # who asks the translator next is told
        ask = self._facts.ask
        if ask is None or not isinstance(request, ChatRequest):
            return
        ready, words = request, list[str]()
        if ask.needs & MEDIA:
            found = not_base64(request) or await self._fetched(request, step, provider)
            if isinstance(found, Rejected):
                self._translator.prevented(name, found)
                return
            if found is not None:
                ready = found
                words.append(FETCHED)
        messages = await self._restored(ready.messages, step, provider)
        if messages is not None:
            ready = msgspec.structs.replace(ready, messages=messages)
            words.append(RESTORED)
        self._translator.prepared(name, ready.messages, tuple(words))

    async def _fetched(
        self, request: ChatRequest, step: Step, provider: Provider
    ) -> ChatRequest | Rejected | None:
        if self._media is None:
            self._media = Media(self._house.config.media)
        found = await self._media.fetched(request, step.target, provider.spoken["chat"])
        if isinstance(found, ChatRequest):
            self._facts.note(
                "fetched", target=step.target.name, reason="what the provider cannot fetch itself"
            )
        return found

    async def _restored(
        self, messages: tuple[Message, ...], step: Step, provider: Provider
    ) -> tuple[Message, ...] | None:
        dialect = provider.spoken["chat"]
        if not hasattr(dialect, "proof_of") or not _calls(messages):
            return None
        wanting: ReasoningDialect = dialect  # type: ignore[assignment] - it has it
        made_by = wanting.proof_of(step.target)
        if not made_by:
            return None
        found = await restored(self._house, self._facts.principal.name, messages, made_by)
        if found is not None:
            self._facts.note(
                "restored", target=step.target.name, reason="the reasoning behind its tool calls"
            )
        return found


def _calls(messages: tuple[Message, ...]) -> bool:
    return any(isinstance(part, ToolCall) for message in messages for part in message.parts)

"""One attempt's way out: write the request in the target's dialect, send it, read the head of the answer.

Does not own: which target, which key, whether to try again.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import msgspec
from msgspec import Struct

from penstock.base.chat import Ask, ChatRequest, Message
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.errors import BadRequest, OurFault, UpstreamAuthFailed, UpstreamError, UpstreamTimeout
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.dialects.openai_chat import OPENAI
from penstock.gateway.beside import Beside, Placed
from penstock.gateway.dialogue import Conversation, Finishing, Told
from penstock.gateway.house import House, Provider, Sign
from penstock.gateway.large import filled, thicken
from penstock.gateway.oversight import Overseen
from penstock.gateway.planning import Planned
from penstock.gateway.replacing import replaced
from penstock.gateway.settle import CallFacts, Outcome, end_attempt
from penstock.gateway.structured import Judge
from penstock.gateway.translate import Translation
from penstock.net.google_token import GoogleTokens
from penstock.net.transport import Exchange
from penstock.routing.plan import Step
from penstock.wire.finish import Finish
from penstock.wire.http import WireRequest
from penstock.wire.large import LARGE_BYTES
from penstock.wire.ports import (
    CallerDialect,
    ConversingDialect,
    DressingDialect,
    Identity,
    NeutralRequest,
    PassThroughDialect,
    Relay,
    ReplyReader,
)

MAX_ERROR_BYTES = 1024 * 1024
MAX_REPLY_BYTES = 512 * 1024 * 1024
_SAME_S = 1e-6
"""A call's first attempt begins after the call: where both may take equally long, it is the call's time that runs out."""
SIGNED_ASIDE_BYTES = 1024 * 1024
"""A signature covers a hash of the body (some 3 ms a megabyte): a larger one is hashed beside the loop, which holds up nobody."""
ASIDE_BYTES = 1024 * 1024
"""A larger body is translated or spliced beside the loop: each decoding, copy or encoding of it takes some ms a megabyte."""
MIN_SECRET_CHARS = 8
"""Shorter ones are words that local servers take for a key ("ollama", "EMPTY"), and may stand in any sentence."""
_OK = 200
_REDIRECT = 300


class Translator:
    """The neutral form of one ask, made at most once, however many targets need it."""

    __slots__ = ("_ask", "_caller", "_neutral", "_no", "_ready")

    def __init__(self, caller: CallerDialect, ask: Ask) -> None:
        self._caller = caller
        self._ask = ask
        self._neutral: NeutralRequest | None = None
        self._ready: dict[str, tuple[tuple[Message, ...], tuple[str, ...]]] = {}
        self._no: dict[str, Rejected] = {}

    def neutral(self) -> NeutralRequest:
        """As the caller sent it, for no target in particular. Raises BadRequest."""
        if self._neutral is None:
            try:
                self._neutral = self._caller.expand(self._ask)
            except BadRequest:
                if self._ask.bulk is None:
                    raise
                self._thicken()
                self._neutral = self._caller.expand(self._ask)
        return self._neutral

    @property
    def slim(self) -> bool:
        """Its long strings are set apart."""
        return self._ask.bulk is not None

    async def whole(self) -> None:
        """From here on with the whole body, whatever was made of the slim one."""
        await asyncio.to_thread(self._thicken)
        await self.aside()

    def _thicken(self) -> None:
        thicken(self._ask)
        self._neutral = None
        self._ready.clear()
        self._no.clear()

    def keeps_all(self, provider: Provider, target: Target) -> bool:
        """What is written of a slim ask for ``target`` has all of its long strings in it."""
        dialect = provider.spoken[self._ask.operation]
        if hasattr(dialect, "converse") or self._refuse(provider, target) is not None:
            return False
        return filled(dialect.write_request(self.request(provider, target), target, ""), self._ask)

    async def aside(self) -> None:
        """Expand a large ask beside the loop, which gets its turns between the steps; what is wrong with it is found later."""
        if self._neutral is None and len(self._ask.body) > ASIDE_BYTES:
            with suppress(BadRequest):
                self._neutral = await asyncio.to_thread(self._caller.expand, self._ask)

    def prepared(self, target: str, messages: tuple[Message, ...], words: tuple[str, ...]) -> None:
        """What ``target`` gets instead of the caller's own messages, and the words that tell of it."""
        self._ready[target] = (messages, words)

    def prevented(self, target: str, no: Rejected) -> None:
        """``target`` cannot be given what it needs."""
        self._no[target] = no

    def is_prepared(self, target: str) -> bool:
        """It was looked after."""
        return target in self._ready or target in self._no

    def request(self, provider: Provider, target: Target) -> NeutralRequest:
        """The neutral request with the target's overrides in place. Raises BadRequest."""
        neutral = self.neutral()
        if self._ready and isinstance(neutral, ChatRequest) and target.name in self._ready:
            messages, words = self._ready[target.name]
            neutral = msgspec.structs.replace(
                neutral, messages=messages, adjusted=(*neutral.adjusted, *words)
            )
        if isinstance(neutral, EmbeddingsRequest) and provider.detokenize is not None:
            neutral = in_words(neutral, provider.detokenize)
        if not target.overrides:
            return neutral
        if isinstance(neutral, ChatRequest):
            return overridden(neutral, target.overrides)
        return replaced(neutral, target.overrides)

    @property
    def has_tokens(self) -> bool:
        """Something to embed came as tokens."""
        neutral = self._neutral
        return isinstance(neutral, EmbeddingsRequest) and any(
            isinstance(one, tuple) for one in neutral.inputs
        )

    def refuse(self, provider: Provider, target: Target) -> Rejected | None:
        """Why the target's dialect cannot take this ask, or None. A slim one is not refused before it was whole."""
        no = self._refuse(provider, target)
        if no is None or not self.slim:
            return no
        self._thicken()
        return self._refuse(provider, target)

    def _refuse(self, provider: Provider, target: Target) -> Rejected | None:
        if target.name in self._no:
            return self._no[target.name]
        try:
            request = self.request(provider, target)
        except BadRequest as error:
            return Rejected(error.code, error.public(), param=error.param, caller_fault=True)
        if isinstance(request, ChatRequest) and (request.n or 1) > 1 and self._ask.n == 1:
            why = f"{target.name} is configured to give {request.n} answers; one was asked for."
            return Rejected("n-unsupported", why, param="n")
        only = request.only_at if isinstance(request, ChatRequest) else None
        if only is not None and target.dialect not in only.dialects:
            return Rejected("only-elsewhere", only.reason, param=only.param, caller_fault=True)
        no = provider.spoken[self._ask.operation].refuse(request, target)
        own = None if no is None else _OWN_NAMES.get((self._caller.name, no.param or ""))
        return no if no is None or own is None else msgspec.structs.replace(no, param=own)


_FIELD_OF: dict[str, str] = {
    "max_completion_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
    "include_reasoning": "reasoning",
    "functions": "tools",
    "function_call": "tool_choice",
}
"""OpenAI's names whose neutral field is called otherwise."""
_OWN_NAMES = {
    ("gemini", "n"): "generationConfig.candidateCount",
    ("gemini", "stop"): "generationConfig.stopSequences",
    ("anthropic", "stop"): "stop_sequences",
}
"""What a refused field is called by the caller who sent it."""
_FIELDS = frozenset(ChatRequest.__struct_fields__) - {"model", "messages", "stream", "extras"}
_PROBE: dict[str, Any] = {"model": "-", "messages": [{"role": "user", "content": "-"}]}


def overridden(request: ChatRequest, overrides: dict[str, Any]) -> ChatRequest:
    """The request with a target's own parameters, which OpenAI's dialect reads: they are written by its names.

    null takes the caller's own away. What the neutral form has no word for goes to the extras.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        said = OPENAI.expand(OPENAI.read_request(msgspec.json.encode({**given, **_PROBE})))
    except BadRequest as error:
        raise BadRequest(
            f"The parameters configured for this target cannot be used: {error.message}", param=error.param
        ) from error
    fields = {_FIELD_OF.get(name, name) for name in overrides} & _FIELDS
    extras = {
        name: value for name, value in request.extras.get("openai", {}).items() if name not in overrides
    }
    extras |= said.extras.get("openai", {})
    return msgspec.structs.replace(
        request,
        **{field: getattr(said, field) for field in fields},
        extras={**request.extras, "openai": extras},
    )


def in_words(request: EmbeddingsRequest, detokenize: Callable[[tuple[int, ...]], str]) -> EmbeddingsRequest:
    """Tokens as the words that they stand for, by the provider's configured tokenizer."""
    if not any(isinstance(one, tuple) for one in request.inputs):
        return request
    inputs = tuple(detokenize(one) if isinstance(one, tuple) else one for one in request.inputs)
    return msgspec.structs.replace(request, inputs=inputs)


class Sent:
    """An attempt on the wire: its exchange, the relay for its bytes, and when what happened (monotonic s)."""

    __slots__ = ("adjusted", "exchange", "head_s", "relay", "sent_s")

    def __init__(
        self,
        exchange: Exchange | Conversation,
        relay: Relay,
        adjusted: tuple[str, ...],
        sent_s: float,
        head_s: float,
    ) -> None:
        self.exchange = exchange
        self.relay = relay
        self.adjusted = adjusted
        self.sent_s = sent_s
        self.head_s = head_s


class Attempted(Struct):
    """A call's first attempt, made on the short lane (gateway.lane), which the long way shall go on from."""

    planned: Planned
    outcome: Outcome
    secret: str
    exchange: Exchange | None
    error: BaseException | None
    """None: the reply's status is the error."""
    operation: Operation = "chat"

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Attempted({self.outcome.target.name})"

    async def failure(self, provider: Provider) -> UpstreamError:
        """What went wrong. What is nobody upstream's fault is raised."""
        if self.error is None:
            assert self.exchange is not None
            return await refusal(provider, self.exchange, self.operation)
        if not isinstance(self.error, UpstreamError):
            raise self.error
        return self.error


class Remote:
    """How one ask goes to any step's provider."""

    __slots__ = (
        "_ask",
        "_beside",
        "_caller",
        "_finishing",
        "_identify",
        "_identity",
        "_keep",
        "_translator",
    )

    def __init__(
        self,
        caller: CallerDialect,
        ask: Ask,
        identity: Identity,
        translator: Translator,
        finishing: Callable[[Finish], Finishing | None],
        identify: Callable[[Target], Identity] | None = None,
        keep: Callable[[ReplyReader], ReplyReader] | None = None,
        *,
        beside: Beside | None = None,
    ) -> None:
        """``beside``: what is done beside an attempt (gateway.preparing). ``keep``: reads a reply's events beside the translation. ``finishing``: what is to be done to a picture that was made. ``identify``: who a reply of each target says it
        is, to callers who are told more."""
        self._finishing = finishing
        self._keep = keep
        self._beside = beside
        self._identify = identify if hasattr(caller, "dress") else None
        self._caller = caller
        self._ask = ask
        self._identity = identity
        self._translator = translator

    def write(self, provider: Provider, step: Step, credential: str) -> tuple[WireRequest, Relay]:
        """The request for this step, and the relay that will read its answer."""
        ask, target = self._ask, step.target
        dialect = provider.spoken[ask.operation]
        if step.pass_through:
            passing: PassThroughDialect = dialect  # type: ignore[assignment] - the plan checked the family
            spliced = passing.splice_request(ask, target, credential)
            relay = passing.relay(ask, stream=ask.stream)
            if self._identify is not None:
                dressing: DressingDialect = self._caller  # type: ignore[assignment] - it dresses
                relay = dressing.dress(relay, ask, self._identify(target))
            if "json_schema" in ask.needs and self._beside is not None:
                relay = self._overseen(relay, provider, target, self._beside.judge)
            return spliced, relay
        neutral = self._translator.request(provider, target)
        request = dialect.write_request(neutral, target, credential)
        if provider.detokenize is not None and self._translator.has_tokens:
            request.adjusted = (*request.adjusted, "tokens-as-text")
        if isinstance(neutral, ChatRequest) and neutral.adjusted:
            request.adjusted = tuple(dict.fromkeys(neutral.adjusted + request.adjusted))
        reader = dialect.reader(target, stream=ask.stream)
        if self._keep is not None:
            reader = self._keep(reader)
        identity = self._identity if self._identify is None else self._identify(target)
        writer = self._caller.writer(ask, identity)
        judge = None if self._beside is None else self._beside.judge(neutral)
        return request, Translation(reader, writer, stream=ask.stream, judge=judge)

    def _overseen(
        self,
        relay: Relay,
        provider: Provider,
        target: Target,
        judge_of: Callable[[NeutralRequest], Judge | None],
    ) -> Relay:
        """The same relay, and who judges a strict answer beside it. What has no neutral form is left unjudged."""
        try:
            judge = judge_of(self._translator.request(provider, target))
        except BadRequest:
            return relay
        if judge is None:
            return relay
        reader = provider.spoken[self._ask.operation].reader(target, stream=self._ask.stream)
        return cast("Relay", Overseen(relay, reader, judge, stream=self._ask.stream))

    async def send(self, provider: Provider, step: Step, credential: str, left_s: float) -> Sent:
        """Send and wait for the head. Raises UpstreamError for anything but a 2xx. A dialogue only begins."""
        dialect = provider.spoken[self._ask.operation]
        if not step.pass_through and hasattr(dialect, "converse"):
            return self._converse(provider, dialect, step, credential, left_s)  # type: ignore[arg-type] - it has it
        until_s = time.monotonic() + left_s
        request, relay, placed = await self._ready(provider, step, credential, until_s)
        if self._beside is not None and self._beside.listen is not None:
            relay = self._beside.listen(relay, provider, step.target)
        if provider.sign is not None:
            request = await _signed(provider.sign, request, credential)
        while True:
            sent_s = time.monotonic()
            left_s = until_s - sent_s
            deadlines = (
                provider.drawing(left_s)
                if self._ask.operation == "images"
                else provider.deadlines(left_s, stream=self._ask.stream)
            )
            exchange = await provider.transport.send(request, deadlines)
            head_s = time.monotonic()
            if _OK <= exchange.status < _REDIRECT:
                return Sent(exchange, relay, request.adjusted, sent_s, head_s)
            error = await refusal(provider, exchange, self._ask.operation)
            placed = None if placed is None else await placed.again(error, until_s)
            if placed is None:
                raise error
            request = placed.request

    async def _ready(
        self, provider: Provider, step: Step, credential: str, until_s: float
    ) -> tuple[WireRequest, Relay, Placed | None]:
        """What is sent: the request with all of its strings, or with its large files at the provider."""
        request, relay = await self._written(provider, step, credential)
        large = self._ask.bulk is not None or len(request.body) > LARGE_BYTES
        if large and self._beside is not None:
            placed = await self._beside.placed(provider, credential, request, until_s)
            if placed is not None:
                return placed.request, relay, placed
        if self._ask.bulk is not None and not filled(request, self._ask):
            if not step.pass_through:  # it was tried before (gateway.preparing)
                raise OurFault("A part of the request got lost in its translation.")
            await self._translator.whole()
            request, relay = await self._written(provider, step, credential)
        return request, relay, None

    async def _written(self, provider: Provider, step: Step, credential: str) -> tuple[WireRequest, Relay]:
        if len(self._ask.body) > ASIDE_BYTES:
            return await asyncio.to_thread(self.write, provider, step, credential)
        return self.write(provider, step, credential)

    def _converse(
        self, provider: Provider, dialect: ConversingDialect, step: Step, credential: str, left_s: float
    ) -> Sent:
        """A reply that takes several exchanges: the relay hears of it from the dialogue."""
        ask, told = self._ask, Told()
        request = self._translator.request(provider, step.target)
        dialogue = dialect.converse(request, step.target, credential)
        relay = Translation(told, self._caller.writer(ask, self._identity), stream=ask.stream)
        conversation = Conversation(
            provider,
            dialogue,
            told,
            provider.drawing(left_s),
            self._finishing(dialogue.finish),
        )
        conversation.hear(relay.feed)
        now_s = time.monotonic()
        return Sent(conversation, relay, dialogue.adjusted, now_s, now_s)


async def _signed(sign: Sign, request: WireRequest, credential: str) -> WireRequest:
    aside = request.size > SIGNED_ASIDE_BYTES
    if request.pieces:
        request.body, request.pieces = await asyncio.to_thread(b"".join, request.pieces), ()
    return await asyncio.to_thread(sign, request, credential) if aside else sign(request, credential)


async def access_token(tokens: GoogleTokens, left_s: float) -> str:
    """A token within what is left of the call: asking for one has deadlines of its own, which may be longer."""
    try:
        async with asyncio.timeout(left_s):
            return await tokens.token()
    except TimeoutError:
        raise UpstreamTimeout(
            "The call's deadline passed before Google gave an access token.", phase="total"
        ) from None


def attempt_failed(
    house: House,
    facts: CallFacts,
    provider: Provider,
    outcome: Outcome,
    error: UpstreamError,
    credential: str,
    deadline_s: float,
) -> None:
    """Write down what went wrong, without secrets; health, keys and prices learn of it."""
    if provider.tokens is not None and isinstance(error, UpstreamAuthFailed):
        provider.tokens.forget(credential)
    hide_secrets(error, provider, credential)
    error.provider = outcome.target.provider
    outcome.error = error
    outcome.cut_short = deadline_s - outcome.start_s < provider.whole.total_s + _SAME_S
    outcome.status = outcome.status or error.upstream_status or 0
    end_attempt(house, provider, outcome, facts.ask)
    facts.note("failed", outcome, reason=error.message, code=error.code)


def secrets_of(provider: Provider, credential: str) -> list[str]:
    """All that must not be quoted of a provider's credentials."""
    secrets = [credential, *(key.secret for key in provider.keys.keys)]
    # A credential may be a name and a secret with a colon between them: each may be quoted alone.
    secrets += [part for secret in secrets if ":" in secret for part in secret.split(":")]
    return [secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS]


def hide_secrets(error: UpstreamError, provider: Provider, credential: str) -> None:
    """Mask the provider's credentials where it quoted one: the dialects know keys by their shape only."""
    for secret in secrets_of(provider, credential):
        error.message = error.message.replace(secret, "***")
        error.code = error.code.replace(secret, "***")
        if error.param is not None:
            error.param = error.param.replace(secret, "***")
    error.args = (error.message,)


async def refusal(provider: Provider, exchange: Exchange, operation: Operation = "chat") -> UpstreamError:
    """What a reply that is no 2xx says, as our error."""
    try:
        body = await exchange.read(MAX_ERROR_BYTES)
    except UpstreamError:
        body = b""  # the status alone is an answer; a cut error page must not hide it
    error = provider.spoken[operation].read_error(exchange.status, exchange.headers, body)
    error.upstream_status = exchange.status
    return error

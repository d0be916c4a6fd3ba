"""OpenAI's legacy completions, spoken by callers: one text goes on, as a chat where the provider has nothing older.

Rules
- Over a chat model the prompt is one user's message (``prompt-as-chat`` is told); ``echo`` puts it before the answer again.
- What only the old models do is refused: several prompts, tokens as a prompt, a suffix, the best of several.
- A provider that has ``/completions`` itself gets the caller's bytes (``completions_relay``).
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from penstock.base.chat import Ask, ChatRequest, Message, Text
from penstock.base.errors import BadRequest, PenstockError, UpstreamFault
from penstock.base.events import (
    Aside,
    Event,
    Finished,
    RefusalDelta,
    Started,
    Stopped,
    TextDelta,
    UsageSeen,
    fold,
)
from penstock.base.operations import Operation
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.envelope import GATEWAY_FIELDS, StreamOptions, read_envelope
from penstock.dialects.openai_chat.errors import write_error
from penstock.dialects.openai_chat.usage import write_usage
from penstock.wire.ports import Identity, ReplyWriter
from penstock.wire.sse import sse
from penstock.wire.unreadable import unreadable

FAMILY = "completions"
MAX_STOPS = 4
_NONE = Raw(b"")
_LONGEST_NULL = 4
_encode = msgspec.json.Encoder().encode
_DONE = b"data: [DONE]\n\n"
_PROBE: dict[str, Any] = {"messages": [{"role": "user", "content": "-"}]}
_OF_CHAT = ("logit_bias", "seed", "frequency_penalty", "presence_penalty")


class _Body(Struct, gc=False):
    model: str | None = None
    prompt: str | list[Any] | None = None
    suffix: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    best_of: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: int | None = None
    echo: bool | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    seed: int | None = None
    metadata: Raw = _NONE
    models: Any | UnsetType = UNSET
    fallbacks: Any | UnsetType = UNSET
    provider: Any | UnsetType = UNSET


_KNOWN = frozenset(_Body.__struct_fields__)
_decode = msgspec.json.Decoder(_Body).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


class CompletionsAsk(Ask):
    """The envelope, and what the writer must know: the text to repeat where ``echo`` is asked for."""

    echoed: str = ""


class CompletionsCaller:
    """CallerDialect of wire.ports."""

    name = FAMILY
    family = FAMILY
    operation: Operation = "chat"
    heartbeat = b": penstock is waiting for the provider\n\n"

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        found = _read(body)
        if found.prompt is None:
            raise BadRequest("The field prompt is missing.", param="prompt", hint="Send a string.")
        if found.n is not None and found.n < 1:
            raise BadRequest(f"The field n is {found.n}.", param="n", hint="Send at least 1.")
        said = read_envelope(_encode(_probe(found)), self.name)
        cap = found.max_tokens
        return CompletionsAsk(
            self.name,
            body,
            said.model,
            found.stream is True,
            found.stream_options is not None and found.stream_options.include_usage is True,
            models=said.models,
            fallbacks=said.fallbacks,
            provider=said.provider,
            max_tokens=cap if cap is not None and cap > 0 else None,
            n=found.n or 1,
            input_bytes=len(body),
            metadata=said.metadata,
            user=said.user,
            gateway_fields=tuple(name for name in GATEWAY_FIELDS if name in _decode_fields(body)),
            echoed=_only(found.prompt) if found.echo else "",
        )

    def expand(self, ask: Ask) -> ChatRequest:
        """The neutral request: the prompt as a user's message. Raises BadRequest for what no chat can do."""
        body = _read(ask.body)
        _refuse_old(body)
        stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
        if len(stop) > MAX_STOPS:
            raise BadRequest(
                f"The field stop holds {len(stop)} sequences.", param="stop", hint="Send at most 4."
            )
        adjusted = ["prompt-as-chat"]
        if body.logprobs is not None:
            adjusted.append("logprobs-dropped")
        if body.echo:
            adjusted.append("echo-approximated")
        extras: dict[str, Any] = {"logit_bias": body.logit_bias} if body.logit_bias else {}
        extras |= _unknown(ask.body)
        return ChatRequest(
            model=ask.model,
            messages=(Message("user", (Text(_only(body.prompt)),)),),
            stream=ask.stream,
            max_tokens=ask.max_tokens,
            temperature=body.temperature,
            top_p=body.top_p,
            n=body.n,
            seed=body.seed,
            stop=stop,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            user=ask.user or None,
            extras={"openai": extras} if extras else {},
            adjusted=tuple(adjusted),
        )

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return CompletionWriter(ask, identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return _encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error frame that ends a stream already begun."""
        return sse(self.write_error(error, request_id))


class CompletionWriter:
    """Events -> text completions. Thoughts are no part of the text."""

    __slots__ = ("_asides", "_echoed", "_facts", "_include_usage", "_request_id", "_usage")
    content_type = b""

    def __init__(self, ask: Ask, identity: Identity) -> None:
        self._request_id = identity.id
        self._include_usage = ask.include_usage
        self._echoed = ask.echoed if isinstance(ask, CompletionsAsk) else ""
        self._usage: Usage | None = None
        self._asides: set[int] = set()
        """Other answers that are not over."""
        self._facts: dict[str, Any] = {
            "id": f"cmpl-{identity.id.removeprefix('gen-').removeprefix('cmpl-')}",
            "object": "text_completion",
            "created": identity.created_s,
            "model": identity.model,
            "system_fingerprint": None,
        }

    def write(self, events: list[Event]) -> bytes:
        """Chunks for these events."""
        return b"".join([self._one(event) for event in events])

    def fail(self, error: PenstockError) -> bytes:
        """The frame that ends a failed stream."""
        return sse(_encode(write_error(error, self._request_id)))

    def whole(self, events: list[Event]) -> bytes:
        """The non-streaming body."""
        folded = fold(events)
        choices = [
            _choice(self._echoed + one.text + one.refusal, _reason(one.stopped or Stopped("stop")), index)
            for index, one in {0: folded, **folded.asides}.items()
        ]
        body = {**self._facts, "choices": choices}
        if folded.usage is not None:
            body["usage"] = write_usage(folded.usage)
        return _encode(body)

    def _one(self, event: Event) -> bytes:
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                return self._chunk([_choice(text, None)]) if text else b""
            case Started():
                return self._chunk([_choice(self._echoed, None)]) if self._echoed else b""
            case UsageSeen(usage=usage):
                self._usage = usage
                return b""
            case Stopped():
                return self._chunk([_choice("", _reason(event))])
            case Aside(index=index, event=said):
                return self._aside(index, said)
            case Finished() if self._asides:  # the reply was cut: they end with it
                cut = [_choice("", "length", index) for index in sorted(self._asides)]
                self._asides = set()
                return self._chunk(cut) + self._one(event)
            case Finished():
                if self._include_usage and self._usage is not None:
                    return self._chunk([], write_usage(self._usage)) + _DONE
                return _DONE
            case _:
                return b""

    def _aside(self, index: int, event: Event) -> bytes:
        opening = b""
        if index not in self._asides:
            self._asides.add(index)
            opening = self._chunk([_choice(self._echoed, None, index)]) if self._echoed else b""
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text) if text:
                return opening + self._chunk([_choice(text, None, index)])
            case Stopped():
                self._asides.discard(index)
                return opening + self._chunk([_choice("", _reason(event), index)])
            case _:
                return opening

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        body = {**self._facts, "choices": choices}
        if self._include_usage:
            body["usage"] = usage
        return sse(_encode(body))


def _read(body: bytes) -> _Body:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(
            error, body, {"prompt": "Send a string, or a list of strings or of tokens."}
        ) from None


def _probe(body: _Body) -> dict[str, Any]:
    """A chat that says the same of everything but the prompt: its reader knows what a gateway reads."""
    probe: dict[str, Any] = {"model": body.model, **_PROBE}
    for name in ("models", "fallbacks", "provider"):
        value = getattr(body, name)
        if value is not UNSET:
            probe[name] = value
    if len(body.metadata) > _LONGEST_NULL:
        probe["metadata"] = body.metadata
    if body.user is not None:
        probe["user"] = body.user
    return probe


def _only(prompt: str | list[Any] | None) -> str:
    """The only text of a prompt; "" where there is not one."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0] if isinstance(prompt[0], str) else None
    return prompt if isinstance(prompt, str) else ""


def _unknown(body: bytes) -> dict[str, Any]:
    """Fields that no one here reads: for who knows them, and said to be dropped by who does not. ``penstock`` is ours."""
    return {
        name: msgspec.json.decode(raw)
        for name, raw in _decode_fields(body).items()
        if name not in _KNOWN and name != "penstock" and bytes(raw) != b"null"
    }


def _refuse_old(body: _Body) -> None:
    prompt, needs = body.prompt, "this needs a provider that has /completions itself (completions: true)."
    if isinstance(prompt, list) and not (len(prompt) == 1 and isinstance(prompt[0], str)):
        texts = bool(prompt) and isinstance(prompt[0], str)
        what = "Several prompts in one call" if texts else "A prompt of tokens"
        raise BadRequest(f"{what}: {needs}", param="prompt", hint="Send one string.")
    if not _only(prompt):
        raise BadRequest("The prompt is empty.", param="prompt", hint="Send a string.")
    if body.suffix:
        raise BadRequest(f"Text that ends before a suffix: {needs}", param="suffix", hint="Leave suffix out.")
    if body.best_of is not None and body.best_of > 1:
        raise BadRequest(f"The best of several answers: {needs}", param="best_of", hint="Leave best_of out.")


def _choice(text: str, reason: str | None, index: int = 0) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _reason(stopped: Stopped) -> str:
    """Old clients know three reasons. Raises UpstreamFault where the model itself ended in an error."""
    if stopped.why == "error":
        raise UpstreamFault("The model ended its reply in an error.", code="model_output_error")
    return stopped.why if stopped.why in ("length", "content_filter") else "stop"


COMPLETIONS = CompletionsCaller()

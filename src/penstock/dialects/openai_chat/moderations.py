"""OpenAI's moderations: spoken by callers, to providers, and passed through between the two."""

from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from penstock.base.chat import Ask, Image, Text
from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, PenstockError, UpstreamError
from penstock.base.events import Event, Finished, Judged, Started, Stopped
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.base.ranking import ModerationsRequest
from penstock.dialects.openai_chat.errors import read_error, read_page_in_200, write_error
from penstock.dialects.openai_chat.plain import PlainRelay, splice_model
from penstock.dialects.openai_chat.rules import headers
from penstock.wire.gathered import Gathered
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity, Relay
from penstock.wire.preferences import ChainFields
from penstock.wire.unreadable import unreadable

PATH = b"/moderations"
DEFAULT_MODEL = "omni-moderation-latest"
"""OpenAI's own default where the caller names none (API reference, moderations, 2026-11)."""
_encode = msgspec.json.Encoder().encode
_REMEDIES = {
    "input": 'Send a string, a list of strings, or a list of parts such as {"type": "text", "text": "..."}.',
    "model": 'Send a string such as "openai/omni-moderation-latest".',
}


class _Url(Struct, gc=False):
    url: str


class _Part(Struct, gc=False):
    type: str
    text: str = ""
    image_url: _Url | None = None


class _Body(ChainFields, gc=False):
    model: str | None = None
    input: str | list[str | _Part] | None = None


class _Result(Struct, gc=False):
    flagged: bool
    categories: dict[str, bool | None] = field(default_factory=dict[str, bool | None])
    category_scores: dict[str, float | None] = field(default_factory=dict[str, float | None])
    category_applied_input_types: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


class _Answer(Struct, gc=False):
    results: list[_Result]
    id: str | None = None
    model: str | None = None
    error: Raw = Raw(b"")


_decode = msgspec.json.Decoder(_Body).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def _parts(given: list[_Part]) -> tuple[Text | Image, ...]:
    made: list[Text | Image] = []
    for index, part in enumerate(given):
        if part.type == "text":
            made.append(Text(part.text))
        elif part.type == "image_url" and part.image_url is not None:
            made.append(Image(url=part.image_url.url))
        else:
            raise BadRequest(
                f"The field input[{index}] is neither text nor image_url.", param=f"input[{index}]"
            )
    return tuple(made)


class ModerationsWriter:
    """The moderation object: whole only."""

    content_type = b""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def write(self, events: list[Event]) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def fail(self, error: PenstockError) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def whole(self, events: list[Event]) -> bytes:
        """The body, its results in the order of the inputs."""
        judged = sorted((one for one in events if isinstance(one, Judged)), key=lambda one: one.index)
        model = next((one.model for one in events if isinstance(one, Started)), "")
        results = [
            {
                "flagged": one.flagged,
                "categories": one.categories,
                "category_scores": one.scores,
                "category_applied_input_types": one.applied or {name: ["text"] for name in one.categories},
            }
            for one in judged
        ]
        return _encode({"id": self._identity.id, "model": model or self._identity.model, "results": results})


class ModerationsReader(Gathered):
    """A whole reply -> events."""

    def read(self, body: bytes) -> list[Event]:
        """All of it. Raises UpstreamFault for an error inside a 200, UpstreamMalformed."""
        try:
            answer = _decode_answer(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise read_page_in_200(body) from None
        events: list[Event] = [Started(answer.model or "", answer.id or "")]
        for index, result in enumerate(answer.results):
            categories = {name: value is True for name, value in result.categories.items()}
            scores = {name: value or 0.0 for name, value in result.category_scores.items()}
            applied = result.category_applied_input_types
            events.append(Judged(index, result.flagged, categories, scores, applied))
        return [*events, Stopped("stop"), Finished()]


class OpenAIModerations:
    """CallerDialect, UpstreamDialect and PassThroughDialect of wire.ports, for moderations."""

    name = "openai"
    family = "openai"
    operation: Operation = "moderations"
    heartbeat = b""
    default_base_url = "https://api.openai.com/v1"

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field."""
        read = self._read(body)
        if read.input is None:
            raise BadRequest("The field input is missing.", param="input", hint=_REMEDIES["input"])
        ask = Ask("openai", body, read.model or DEFAULT_MODEL, input_bytes=len(body), operation="moderations")
        read.read_into(ask)
        return ask

    def _read(self, body: bytes) -> _Body:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error, body, _REMEDIES) from None

    def expand(self, ask: Ask) -> ModerationsRequest:
        """The neutral request. Raises BadRequest naming the field."""
        given = self._read(ask.body).input
        if isinstance(given, str):
            return ModerationsRequest(ask.model, ((Text(given),),))
        given = given or []
        if not given:
            raise BadRequest("The field input is empty.", param="input", hint=_REMEDIES["input"])
        texts = [one for one in given if isinstance(one, str)]
        if len(texts) == len(given):
            return ModerationsRequest(ask.model, tuple((Text(one),) for one in texts))
        if texts:
            raise BadRequest(
                "The field input mixes strings and parts.", param="input", hint=_REMEDIES["input"]
            )
        # Parts are one input: they are judged together.
        return ModerationsRequest(ask.model, (_parts([one for one in given if isinstance(one, _Part)]),))

    def writer(self, ask: Ask, identity: Identity) -> ModerationsWriter:
        """A writer for one reply."""
        return ModerationsWriter(identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return _encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """Never asked: there is no stream."""
        return self.write_error(error, request_id)

    # Spoken to a provider.

    def refuse(self, request: ModerationsRequest, target: Target) -> Rejected | None:
        """Nothing: what it takes is what callers of it send."""
        return None

    def write_request(self, request: ModerationsRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        body = {"model": target.model, "input": _written(request)}
        return WireRequest(b"POST", PATH, headers(credential, stream=False), _encode(body))

    def reader(self, target: Target, *, stream: bool) -> ModerationsReader:
        """A reader for one reply."""
        return ModerationsReader()

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the model's name in place."""
        return splice_model(PATH, ask, target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes."""
        return PlainRelay()


def _written(request: ModerationsRequest) -> Any:
    texts = [parts[0].text for parts in request.inputs if len(parts) == 1 and isinstance(parts[0], Text)]
    if len(texts) == len(request.inputs):
        return texts
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {"type": "image_url", "image_url": {"url": part.url or f"data:{part.mime};base64,{part.data}"}}
        for parts in request.inputs
        for part in parts
    ]


MODERATIONS = OpenAIModerations()

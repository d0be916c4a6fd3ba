"""OpenAI's Responses API: spoken by callers, to providers, and passed through between the two.

``RESPONSES`` is the upstream dialect. A caller gets a ``ResponsesCaller`` of its own for each call, for the end of a
stream that failed counts on from its last event. Both are of the family "responses".

    envelope    body -> ResponsesAsk                 relay    pass-through of a reply
    expand      ask -> ChatRequest                   reply    a provider's reply -> events
    forward     pass-through of a request            output   events -> items and stream events
    request     ChatRequest -> a provider's request  writer   events -> a caller's reply
    kept        what our own store keeps of a call   proof    thinking <-> encrypted reasoning items

One vendor's two APIs share what is the same in both: errors, usage, key shapes (openai_chat; test_floors, KIN).
"""

import msgspec

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.dialects.openai_chat.errors import read_error, write_error
from penstock.dialects.openai_responses.envelope import NAME, ResponsesAsk, read_envelope
from penstock.dialects.openai_responses.expand import expand
from penstock.dialects.openai_responses.forward import splice_request
from penstock.dialects.openai_responses.proof import FORMAT
from penstock.dialects.openai_responses.relay import StreamRelay, WholeRelay
from penstock.dialects.openai_responses.reply import StreamReader, WholeReader
from penstock.dialects.openai_responses.request import refuse, write_request
from penstock.dialects.openai_responses.writer import ResponseWriter, error_event
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity, Relay, ReplyReader, ReplyWriter


def own(ask: Ask) -> ResponsesAsk:
    """The ask as this dialect made it."""
    assert isinstance(ask, ResponsesAsk)
    return ask


class ResponsesCaller:
    """CallerDialect of wire.ports, for one call."""

    name = NAME
    family = NAME
    operation: Operation = "chat"
    heartbeat = b": penstock is waiting for the provider\n\n"
    long_field = b"input"

    def __init__(self) -> None:
        self.ask: ResponsesAsk | None = None
        self._writer: ResponseWriter | None = None

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        self.ask = read_envelope(body)
        return self.ask

    def expand(self, ask: Ask) -> ChatRequest:
        """The neutral request. Raises BadRequest naming the field."""
        return expand(own(ask))

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply; an attempt before it has told the caller nothing."""
        own(ask).sequence, own(ask).translated = -1, True
        self._writer = ResponseWriter(own(ask), identity)
        return self._writer

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return msgspec.json.encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The end of a stream already begun: ``response.failed`` where we write it, and ``error``."""
        if self._writer is not None and self.ask is not None and self.ask.translated:
            return self._writer.fail(error)
        return error_event(error, 0 if self.ask is None else self.ask.sequence + 1)


class Responses:
    """UpstreamDialect and PassThroughDialect of wire.ports."""

    name = NAME
    default_base_url = "https://api.openai.com/v1"

    def proof_of(self, target: Target) -> str:
        """Whose reasoning goes back to it."""
        del target
        return FORMAT

    def refuse(self, request: ChatRequest, target: Target) -> Rejected | None:
        """Why the request cannot be translated for ``target``, or None."""
        return refuse(request, target)

    def write_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request. Overrides of the target are already in ``request``."""
        return write_request(request, target, credential)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        return StreamReader() if stream else WholeReader()

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the few edits that are ours. Raises BadRequest for a repeated key."""
        own(ask).sequence, own(ask).translated = -1, False
        return splice_request(own(ask), target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        return StreamRelay(own(ask)) if stream else WholeRelay(own(ask))


RESPONSES = Responses()

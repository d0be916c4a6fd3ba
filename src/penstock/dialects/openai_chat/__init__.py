"""OpenAI's chat completions: spoken by callers, to providers, and passed through between the two.

``OPENAI`` is all three roles. ``OPENROUTER`` is the same for callers who expect OpenRouter's replies: usage always,
its error shape. Both are of the family "openai": their bytes may go through to an upstream of that dialect.

    envelope    body -> Ask                          relay    pass-through of a reply
    expand      Ask -> ChatRequest                   reply    a provider's reply -> events
    forward     pass-through of a request            writer   events -> a caller's reply
    request     ChatRequest -> a provider's request  errors   both ways
    completions the API before chat: its callers     completions_relay   its pass-through, completions_reply its events
"""

import time

import msgspec

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.dialects.openai_chat.completions import COMPLETIONS
from penstock.dialects.openai_chat.completions_relay import completion_relay, splice_completion
from penstock.dialects.openai_chat.envelope import read_envelope
from penstock.dialects.openai_chat.errors import read_error, write_error, write_openrouter_error
from penstock.dialects.openai_chat.expand import expand
from penstock.dialects.openai_chat.forward import against_pass_through, splice_request
from penstock.dialects.openai_chat.openrouter import Dressed
from penstock.dialects.openai_chat.relay import StreamRelay, WholeRelay
from penstock.dialects.openai_chat.reply import StreamReader, WholeReader
from penstock.dialects.openai_chat.request import refuse, write_request
from penstock.dialects.openai_chat.rules import wants_usage
from penstock.dialects.openai_chat.writer import ChatWriter, openrouter_failure
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity, Relay, ReplyReader, ReplyWriter
from penstock.wire.splice import edit, spans
from penstock.wire.sse import sse

_encode = msgspec.json.encode


class OpenAIChat:
    """CallerDialect, UpstreamDialect and PassThroughDialect of wire.ports."""

    name = "openai"
    family = "openai"
    operation: Operation = "chat"
    heartbeat = b": penstock is waiting for the provider\n\n"
    long_field = b"messages"
    default_base_url = "https://api.openai.com/v1"

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        return read_envelope(body, self.name)

    def expand(self, ask: Ask) -> ChatRequest:
        """The neutral request. Raises BadRequest naming the field."""
        return expand(ask)

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply. ``whole`` raises UpstreamFault where the model itself ended in an error."""
        return ChatWriter(ask, identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return _encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error frame that ends a stream already begun: the official client raises on it."""
        return sse(self.write_error(error, request_id))

    def refuse(self, request: ChatRequest, target: Target) -> Rejected | None:
        """Why the request cannot be translated for ``target``, or None."""
        return refuse(request, target)

    def against_pass_through(self, ask: Ask, target: Target) -> str | None:
        """Why the caller's own bytes cannot go to ``target``, or None."""
        return against_pass_through(ask, target)

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
        if ask.dialect == COMPLETIONS.name:
            return splice_completion(ask, target, credential)
        return splice_request(ask, target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        if ask.dialect == COMPLETIONS.name:
            return completion_relay(ask, stream=stream)
        return StreamRelay(keep_usage=wants_usage(ask)) if stream else WholeRelay()


class OpenRouterChat(OpenAIChat):
    """What callers of /api/v1 expect: the same requests; usage always; OpenRouter's errors."""

    name = "openrouter"

    def read_request(self, body: bytes) -> Ask:
        """The envelope. ``:thinking`` asks for reasoning, where the body says nothing of it."""
        ask = read_envelope(body, self.name)
        if ask.model.endswith(":thinking") and ask.reasoning is None:
            found = spans(body)
            if "reasoning" not in found:
                return read_envelope(edit(body, found, add={"reasoning": b'{"enabled":true}'}), self.name)
        return ask

    def dress(self, relay: Relay, ask: Ask, identity: Identity) -> Relay:
        """A provider's own bytes with OpenRouter's fields."""
        return Dressed(relay, ask, identity)

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return ChatWriter(ask, identity, openrouter=True)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body, with an integer code."""
        return _encode(write_openrouter_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """A chunk with an error and a choice whose finish_reason is "error"."""
        facts = {
            "id": request_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": "",
            "system_fingerprint": None,
        }
        return openrouter_failure(error, request_id, b"data: " + _encode(facts)[:-1])


OPENAI = OpenAIChat()
OPENROUTER = OpenRouterChat()

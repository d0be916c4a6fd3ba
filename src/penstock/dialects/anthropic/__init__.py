"""Anthropic's Messages dialect: spoken by callers, to providers, and passed through between the two.

``ANTHROPIC`` speaks to providers: the request (``request``, ``history``, ``media``, ``schema``, ``thinking``), what each
model takes (``models``), the reply (``reply``, ``shapes``), its errors (``errors``), a prompt's count (``counting``).
``AnthropicCaller`` is what a caller speaks, at one API version:

    envelope    body -> Ask                          relay     pass-through of a reply
    expand      Ask -> ChatRequest                   writer    events -> a caller's reply (its order: ``blocks``)
    forward     pass-through of a request            failures  our errors as it reads them
    carried     other makers' signatures, in its own

Does not own: sockets, keys, retries.
"""

from functools import lru_cache
from typing import cast

import msgspec

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.dialects.anthropic import counting
from penstock.dialects.anthropic.envelope import MessagesAsk, read_envelope
from penstock.dialects.anthropic.errors import read_error
from penstock.dialects.anthropic.expand import expand
from penstock.dialects.anthropic.failures import status_of, write_error
from penstock.dialects.anthropic.forward import splice_request
from penstock.dialects.anthropic.relay import StreamRelay, WholeRelay
from penstock.dialects.anthropic.reply import StreamReader, WholeReader
from penstock.dialects.anthropic.request import refuse, write_request
from penstock.dialects.anthropic.shapes import FORMAT
from penstock.dialects.anthropic.writer import PING, MessagesWriter
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity, Relay, ReplyReader, ReplyWriter
from penstock.wire.sse import sse

__all__ = ["ANTHROPIC", "Anthropic", "AnthropicCaller", "anthropic_caller"]

_encode = msgspec.json.encode


class Anthropic:
    """The Messages API as an upstream, and passed through. Stateless."""

    name = "anthropic"
    default_base_url = "https://api.anthropic.com"

    def proof_of(self, target: Target) -> str:
        """Whose reasoning goes back to it."""
        del target
        return FORMAT

    def refuse(self, request: ChatRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        return refuse(request, target)

    def write_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        return write_request(request, target, credential)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        return StreamReader() if stream else WholeReader()

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the few edits that are ours. Raises BadRequest for a repeated key."""
        return splice_request(cast("MessagesAsk", ask), target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        return StreamRelay() if stream else WholeRelay()

    def count_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """Asks how many tokens the prompt is."""
        return counting.count_request(request, target, credential)

    def read_count(self, body: bytes) -> int:
        """The answer to that."""
        return counting.read_count(body)


class AnthropicCaller:
    """A CallerDialect, bound to what this caller's headers say."""

    name = "anthropic"
    family = "anthropic"
    operation: Operation = "chat"
    heartbeat = PING
    long_field = b"messages"

    def __init__(self, version: str = "", betas: str = "", *, counting: bool = False) -> None:
        self._version = version
        self._betas = betas
        self._counting = counting

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        return read_envelope(body, self._version, self._betas, counting=self._counting)

    def expand(self, ask: Ask) -> ChatRequest:
        """The neutral request. Raises BadRequest naming the field."""
        return expand(cast("MessagesAsk", ask))

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply. ``whole`` raises UpstreamFault where the model itself ended in an error."""
        return MessagesWriter(ask, identity)

    def status_of(self, error: PenstockError) -> int:
        """Anthropic's status for one of our errors."""
        return status_of(error)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return _encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The event that ends a stream already begun: the official client raises on it."""
        return sse(self.write_error(error, request_id), b"error")


@lru_cache(maxsize=256)
def anthropic_caller(version: bytes = b"", betas: bytes = b"", *, counting: bool = False) -> AnthropicCaller:
    """The caller dialect of a request with these headers (``anthropic-version``, ``anthropic-beta``)."""
    return AnthropicCaller(
        version.decode("latin-1").strip(), betas.decode("latin-1").strip(), counting=counting
    )


ANTHROPIC = Anthropic()

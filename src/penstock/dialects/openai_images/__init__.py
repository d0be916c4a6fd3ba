"""OpenAI's images API: spoken by callers, to providers, and passed through between the two.

A caller gets an ``ImagesCaller`` of its own for each call: its path says whether pictures are made or edited, its headers say
how a form is divided and where a link to us leads. ``IMAGES`` is the upstream dialect.

    envelope   body -> ImagesAsk -> ImagesRequest    relay      pass-through of a reply
    forward    pass-through of a request             upstream   ImagesRequest -> a provider's request, reply -> events
    writer     events -> a caller's reply            usage      tokens, or what a picture costs

One vendor's two APIs share what is the same in both: errors and their shapes (openai_chat; test_floors, KIN).
"""

from functools import partial

import msgspec

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.dialects.openai_chat.errors import read_error, write_error
from penstock.dialects.openai_images import upstream
from penstock.dialects.openai_images.envelope import ImagesAsk, Kind, expand, read_envelope
from penstock.dialects.openai_images.forward import splice_request
from penstock.dialects.openai_images.relay import StreamRelay, WholeRelay
from penstock.dialects.openai_images.writer import ImagesWriter
from penstock.wire.conversing import Conversing
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Dialogue, Identity, Relay, ReplyWriter
from penstock.wire.sse import sse
from penstock.wire.strands import Strands

__all__ = ["IMAGES", "ImagesAsk", "ImagesCaller", "Kind", "OpenAIImages"]


def own(ask: Ask) -> ImagesAsk:
    """The ask as this dialect made it."""
    assert isinstance(ask, ImagesAsk)
    return ask


class ImagesCaller:
    """CallerDialect of wire.ports, for one call."""

    name = "openai"
    operation: Operation = "images"
    heartbeat = b": penstock is waiting for the provider\n\n"

    def __init__(self, kind: Kind, content_type: bytes, link_base: str) -> None:
        self.family = "openai"
        """"" once it is known that the pictures are served by us: then no bytes go through."""
        self._kind: Kind = kind
        self._content_type = content_type
        self._link_base = link_base

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        ask = read_envelope(self._kind, self._content_type, body, self._link_base)
        if ask.fields.response_format == "url":
            self.family = ""
        return ask

    def expand(self, ask: Ask) -> ImagesRequest:
        """The neutral request. Raises BadRequest naming the field."""
        return expand(own(ask))

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return ImagesWriter(own(ask), identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return msgspec.json.encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error frame that ends a stream already begun: the official client raises on it."""
        return sse(self.write_error(error, request_id), b"error")


class OpenAIImages(Conversing):
    """UpstreamDialect, PassThroughDialect and ConversingDialect of wire.ports."""

    name = "openai"
    default_base_url = "https://api.openai.com/v1"

    def refuse(self, request: ImagesRequest, target: Target) -> Rejected | None:
        """Why the request cannot be translated for ``target``, or None."""
        return upstream.refuse(request, target)

    def converse(self, request: ImagesRequest, target: Target, credential: str) -> Dialogue:
        """One call, and the pictures that it tells by their address."""
        maker = partial(upstream.strand, request, target, credential)
        return Strands([maker], upstream.adjusted(request, target))

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's fields with the few edits that are ours."""
        return splice_request(own(ask), target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        one = own(ask)
        facts = (one.row, one.n, one.fields.size, one.fields.quality)
        return StreamRelay(*facts) if stream else WholeRelay(*facts)


IMAGES = OpenAIImages()

"""Cohere's v2 chat, as it is spoken to a provider.

Owns: the request (``request``, ``history``), the reply (``reply``) and its errors (``errors``). Does not own: sockets,
keys, retries.
"""

from penstock.base.chat import ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.base.models import Target
from penstock.dialects.cohere.errors import read_error
from penstock.dialects.cohere.reply import StreamReader, WholeReader
from penstock.dialects.cohere.request import refuse, write_request
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import ReplyReader

__all__ = ["COHERE", "Cohere"]


class Cohere:
    """v2 chat as an upstream. Stateless."""

    name = "cohere"
    default_base_url = "https://api.cohere.com"

    def refuse(self, request: ChatRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        return refuse(request, target)

    def write_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        return write_request(request, target, credential)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        price = target.facts.price
        priced = price is not None and "cache_read" in price.units
        return StreamReader(cache_priced=priced) if stream else WholeReader(cache_priced=priced)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return read_error(status, headers, body)


COHERE = Cohere()

"""Anthropic's Messages dialect, as it is spoken to a provider.

Owns: the request (``request``, ``history``, ``media``, ``schema``, ``thinking``), what each model takes
(``models``), the reply (``reply``) and its errors (``errors``). Does not own: sockets, keys, retries.
"""

from penstock.base.chat import ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.base.models import Target
from penstock.dialects.anthropic.errors import read_error
from penstock.dialects.anthropic.reply import StreamReader, WholeReader
from penstock.dialects.anthropic.request import refuse, write_request
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import ReplyReader

__all__ = ["ANTHROPIC", "Anthropic"]


class Anthropic:
    """The Messages API as an upstream. Stateless."""

    name = "anthropic"
    default_base_url = "https://api.anthropic.com"

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


ANTHROPIC = Anthropic()

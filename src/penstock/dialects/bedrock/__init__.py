"""Amazon Bedrock's Converse and ConverseStream, as they are spoken to a provider.

Owns: the request (``request``, ``history``, ``media``, ``thinking``), what each model takes (``models``), the reply
(``reply``) and its errors (``errors``). Does not own: the signature (net.aws_sign), sockets, keys, retries.
"""

from penstock.base.chat import ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.base.models import Target
from penstock.dialects.bedrock.errors import read_error
from penstock.dialects.bedrock.models import rules_for
from penstock.dialects.bedrock.reply import CLAUDE_FORMAT, FORMAT, StreamReader, WholeReader
from penstock.dialects.bedrock.request import is_key_pair, refuse, write_request
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import ReplyReader

__all__ = ["BEDROCK", "Bedrock", "bedrock_base_url", "is_key_pair"]


def bedrock_base_url(region: str) -> str:
    """Bedrock's runtime in a region; China has a domain of its own."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{domain}"


class Bedrock:
    """Converse as an upstream. Stateless."""

    name = "bedrock"
    default_base_url = bedrock_base_url("us-east-1")

    def proof_of(self, target: Target) -> str:
        """Whose reasoning goes back to it: its models are of several makers."""
        return CLAUDE_FORMAT if rules_for(target).family == "claude" else FORMAT

    def refuse(self, request: ChatRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        return refuse(request, target)

    def write_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request, unsigned where ``credential`` is a pair of keys."""
        return write_request(request, target, credential)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        return StreamReader(target.model) if stream else WholeReader(target.model)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return read_error(status, headers, body)


BEDROCK = Bedrock()

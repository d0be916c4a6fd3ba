"""``POST /v1/messages/count_tokens``: what a prompt would be, by Anthropic's own count (free of charge there)."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.chat import ChatRequest
from penstock.base.errors import UpstreamMalformed
from penstock.base.models import Target
from penstock.dialects.anthropic.forward import COUNT_PATH, NOT_COUNTED
from penstock.dialects.anthropic.request import write_request
from penstock.wire.http import WireRequest

_fields = msgspec.json.Decoder(dict[str, Raw])


class _Counted(Struct):
    input_tokens: int


_counted = msgspec.json.Decoder(_Counted)


def count_request(request: ChatRequest, target: Target, credential: str) -> WireRequest:
    """The request whose tokens are asked for: as it would be sent, less what does not count."""
    wire = write_request(request, target, credential)
    body: dict[str, Any] = {
        name: value for name, value in _fields.decode(wire.body).items() if name not in NOT_COUNTED
    }
    return WireRequest(b"POST", COUNT_PATH, wire.headers, msgspec.json.encode(body), wire.adjusted)


def read_count(body: bytes) -> int:
    """The tokens. Raises UpstreamMalformed."""
    try:
        return _counted.decode(body).input_tokens
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamMalformed(f"The provider's count is not readable: {error}") from error

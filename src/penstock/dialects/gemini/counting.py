"""``countTokens``: what a prompt would be, by Google's own count (free of charge there).

AI Studio takes the whole request in ``generateContentRequest``; Vertex takes its parts side by side (discovery files
generativelanguage v1beta and aiplatform v1, read 2026-11).
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.chat import ChatRequest
from penstock.base.errors import UpstreamMalformed
from penstock.base.models import Target
from penstock.dialects.gemini.models import bare_name
from penstock.dialects.gemini.request import write_request
from penstock.wire.http import WireRequest

_COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")
_fields = msgspec.json.Decoder(dict[str, Raw])


class _Total(Struct, rename={"tokens": "totalTokens"}):
    tokens: int


_total = msgspec.json.Decoder(_Total)


def count_request(request: ChatRequest, target: Target, credential: str, vertex: bool) -> WireRequest:
    """The request whose tokens are asked for."""
    wire = write_request(msgspec.structs.replace(request, stream=False), target, credential, vertex)
    body = count_body(_fields.decode(wire.body), target, vertex)
    path = wire.path.replace(b":generateContent", b":countTokens")
    return WireRequest(b"POST", path, wire.headers, body, wire.adjusted)


def count_body(found: dict[str, Raw], target: Target, vertex: bool) -> bytes:
    """The question about a ``generateContent`` body, of which these are the fields by camelCase name."""
    asked: dict[str, Any] = {name: found[name] for name in _COUNTED if name in found}
    if not vertex:
        asked = {"generateContentRequest": {"model": f"models/{bare_name(target.model)}", **asked}}
    return msgspec.json.encode(asked)


def read_count(body: bytes) -> int:
    """The tokens. Raises UpstreamMalformed."""
    try:
        return _total.decode(body).tokens
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamMalformed(f"The provider's count is not readable: {error}") from error

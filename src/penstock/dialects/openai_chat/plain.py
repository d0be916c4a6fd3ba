"""Pass-through of OpenAI's operations beside chat: one JSON object there, one back, its usage read beside it."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.chat import Ask
from penstock.base.models import Target
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.errors import read_error_in_200, read_page_in_200
from penstock.dialects.openai_chat.rules import headers
from penstock.dialects.openai_chat.shapes import present
from penstock.dialects.openai_chat.usage import UsageField, read_usage
from penstock.wire.http import WireRequest
from penstock.wire.splice import edit, spans
from penstock.wire.sse import Mould

_encode = msgspec.json.Encoder().encode


class _Seen(Struct, gc=False):
    model: str | None = None
    id: str | None = None
    usage: UsageField | None = None
    error: Raw = Raw(b"")
    data: Raw = Raw(b"")
    results: Raw = Raw(b"")


_decode = msgspec.json.Decoder(_Seen).decode


def splice_model(path: bytes, ask: Ask, target: Target, credential: str) -> WireRequest:
    """The caller's bytes with the target's name and its overrides. Raises BadRequest for a repeated key."""
    found = spans(ask.body)
    replace: dict[str, bytes] = {}
    add: dict[str, bytes] = {}
    values: dict[str, Any] = {name: value for name, value in target.overrides.items() if name != "stream"}
    values["model"] = target.model
    for name, value in values.items():
        (replace if name in found else add)[name] = _encode(value)
    remove = {"penstock", "provider", "models", "fallbacks"} & set(found)
    body = edit(ask.body, found, replace=replace, remove=remove, add=add)
    return WireRequest(b"POST", path, headers(credential, stream=False), body)


class PlainRelay:
    """A whole reply: forwarded as it came, once it is known to be one (wire.ports.Relay)."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.content_seen = False
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False
        self.content_type = b""
        self.mould: Mould | None = None
        self.content_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Nothing yet: a reply that turns out to be an error must not have been sent."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes. Raises UpstreamFault for an error inside a 200, UpstreamMalformed for no JSON object."""
        body = b"".join(self._pieces)
        try:
            seen = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise read_page_in_200(body) from None
        if present(seen.error):
            raise read_error_in_200(body)
        if not len(seen.data) and not len(seen.results):
            raise read_page_in_200(body)
        self.model, self.upstream_id = seen.model or "", seen.id or ""
        if seen.usage is not None:
            usage = seen.usage
            if usage.prompt_tokens is None and usage.total_tokens is not None:
                usage = msgspec.structs.replace(usage, prompt_tokens=usage.total_tokens)
            self.usage = read_usage(usage, "provider")
        self.content_seen = True
        self.stopped, self.finished = "stop", True
        return body

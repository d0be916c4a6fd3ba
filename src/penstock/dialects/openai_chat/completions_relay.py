"""Pass-through of legacy completions, for providers that have them: the request with our edits, the reply as it comes."""

import msgspec
from msgspec import Struct, field

from penstock.base.chat import Ask
from penstock.base.errors import UpstreamError
from penstock.base.models import Target
from penstock.base.usage import Usage, UsageSource
from penstock.dialects.openai_chat.completions_reply import (
    Chunk,
    CompletionReader,
    CompletionStreamReader,
    read_chunk,
)
from penstock.dialects.openai_chat.ends import Page, is_done, is_piece_of_done
from penstock.dialects.openai_chat.errors import read_page_in_200
from penstock.dialects.openai_chat.forward import provider_losses
from penstock.dialects.openai_chat.rules import headers, known_fields
from penstock.dialects.openai_chat.shapes import stop_reason
from penstock.dialects.openai_chat.stream_relaying import StreamRelaying
from penstock.dialects.openai_chat.usage import UsageField, read_usage
from penstock.wire.http import WireRequest
from penstock.wire.ports import Relay, ReplyReader
from penstock.wire.splice import edit, spans
from penstock.wire.sse import Mould, SseEvent, SseReader

PATH = b"/completions"
_NOT_OVERRIDDEN = frozenset({"model", "messages", "prompt", "stream", "stream_options"})
_REPORTED = frozenset({"transforms", "plugins", "cache_control"})


def splice_completion(ask: Ask, target: Target, credential: str) -> WireRequest:
    """The call to ``target``. Raises BadRequest for a repeated key."""
    found = ask.spans
    if found is None:
        found = ask.spans = spans(ask.body)
    known = known_fields(target)
    adjusted: list[str] = []
    put: dict[str, bytes | None] = {"model": msgspec.json.encode(target.model)}
    for name in ask.gateway_fields:
        if name in known:
            continue
        put[name] = None
        if name in _REPORTED:
            adjusted.append(f"{name}-dropped")
        elif name == "provider":
            adjusted.extend(provider_losses(ask.body[found[name][1] : found[name][2]]))
    for name, value in target.overrides.items():
        if name not in _NOT_OVERRIDDEN:
            here = "max_tokens" if name == "max_completion_tokens" else name
            put[here] = None if value is None else msgspec.json.encode(value)
    if ask.stream and not ask.include_usage:
        put["stream_options"] = b'{"include_usage":true}'
    body = edit(
        ask.body,
        found,
        replace={name: value for name, value in put.items() if value is not None and name in found},
        add={name: value for name, value in put.items() if value is not None and name not in found},
        remove={name for name, value in put.items() if value is None and name in found},
    )
    return WireRequest(b"POST", PATH, headers(credential, stream=ask.stream), body, tuple(adjusted))


def completion_relay(ask: Ask, *, stream: bool) -> Relay:
    """Forwards the provider's bytes and reads usage beside them."""
    return _StreamRelay(keep_usage=ask.include_usage) if stream else _WholeRelay()


class _Reading(Struct, eq=False):
    """What both relays learn of a reply: the attributes of wire.ports.Relay."""

    content_seen: bool = False
    content_bytes: int = 0
    usage: Usage | None = None
    stopped: str | None = None
    native_stop: str = ""
    model: str = ""
    upstream_id: str = ""
    finished: bool = False
    content_type: bytes = b""
    mould: Mould | None = None
    _open: dict[int, bool] = field(default_factory=dict[int, bool])

    def __repr__(self) -> str:
        """Without what it holds of the reply: people's words."""
        return f"<{type(self).__name__} {self.upstream_id}>"

    def _note(self, chunk: Chunk) -> None:
        self.model, self.upstream_id = self.model or chunk.model or "", self.upstream_id or chunk.id or ""
        for choice in chunk.choices or ():
            if choice.text:
                self.content_seen = True
                self.content_bytes += len(choice.text.encode("utf-8", "surrogatepass"))
            self._open[choice.index] = not choice.finish_reason
            if choice.finish_reason and (self.stopped is None or choice.index == 0):
                self.stopped, self.native_stop = stop_reason(choice.finish_reason), choice.finish_reason

    def _bill(self, seen: UsageField, source: UsageSource) -> None:
        self.usage = read_usage(seen, source)


class _WholeRelay(_Reading):
    _pieces: list[bytes] = field(default_factory=list[bytes])

    def reader(self) -> ReplyReader:
        """Of the same bytes, as events (gateway.caching)."""
        return CompletionReader()

    def feed(self, data: bytes) -> bytes:
        """Nothing yet: a reply that turns out to be an error must not have been sent."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        body = b"".join(self._pieces)
        if body.lstrip()[:1] != b"{":
            raise read_page_in_200(body)
        chunk = read_chunk(body)
        if chunk.choices is None:
            raise read_page_in_200(body)
        self._note(chunk)
        if chunk.usage is not None:
            self._bill(chunk.usage, "provider")
        self.finished = True
        return body


class _StreamRelay(_Reading, StreamRelaying):
    keep_usage: bool = True
    sse: SseReader = field(default_factory=SseReader)
    begun: bool = False
    page: Page | None = None
    failed: UpstreamError | None = None

    def reader(self) -> ReplyReader:
        """Of the same bytes, as events (gateway.caching)."""
        return CompletionStreamReader()

    def lost(self, event: SseEvent) -> bool:
        """A piece of the end marker."""
        return is_piece_of_done(event)

    def whole(self) -> bool:
        """Every choice has had its reason to stop."""
        return bool(self._open) and not any(self._open.values())

    def see(self, event: SseEvent) -> bool:
        """Read one event; False if it is not for the caller."""
        data = (event.data or b"").strip()
        if event.data is None or self.finished:
            return True
        if data[:1] != b"{":
            self.finished = is_done(event.name, data)
            return True
        chunk = read_chunk(data)
        self._note(chunk)
        if chunk.usage is not None:
            self._bill(chunk.usage, "stream")
        return bool(chunk.choices) or chunk.usage is None or self.keep_usage

"""``generateContent`` replies -> events; right for any split of the bytes.

Rules
- A stream is SSE without ``[DONE]``; without ``alt=sse`` (or through an odd proxy) it is one JSON array: both are read.
- ``content.parts`` may be missing (MAX_TOKENS while thinking, an extra last chunk): never indexed.
- STOP stands on the last chunk, old models set it on every chunk, and usage may follow it; so ``Stopped`` is told when
  the wire ends. No finish reason and no blocked prompt by then = truncated.
- ``usageMetadata`` is cumulative. ``promptTokenCount`` includes the cached; total = prompt + candidates + tool use +
  thoughts, and where the sum does not hold, the figures say so (``Usage.note``).
"""

from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import (
    Aside,
    Event,
    Finished,
    MediaMade,
    Started,
    Stopped,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
    is_content,
)
from penstock.base.usage import UsageSource
from penstock.dialects.gemini.errors import clean, read_inner_error
from penstock.dialects.gemini.grounding import Grounding
from penstock.dialects.gemini.history import FORMAT
from penstock.dialects.gemini.usage import Counts, read_usage
from penstock.wire.sse import SseReader

MAX_BODY_BYTES = 256 * 1024 * 1024


class _Call(Struct, rename="camel", gc=False):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")


class _Blob(Struct, rename="camel", gc=False):
    mime_type: str | None = None
    data: str | None = None
    file_uri: str | None = None


class _Part(Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None
    inline_data: _Blob | None = None
    file_data: _Blob | None = None
    executable_code: msgspec.Raw = msgspec.Raw(b"")


class _Content(Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel", gc=False):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    grounding_metadata: msgspec.Raw = msgspec.Raw(b"")
    url_context_metadata: msgspec.Raw = msgspec.Raw(b"")


class _Feedback(Struct, rename="camel", gc=False):
    block_reason: str | None = None


class _Reply(Struct, rename="camel", gc=False):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Counts | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_REPLY = msgspec.json.Decoder(_Reply)
_REPLIES = msgspec.json.Decoder(list[_Reply])

_WHY: dict[str, StopReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
}
"""All others (OTHER, LANGUAGE, NO_IMAGE, IMAGE_OTHER, what Google has yet to invent): stop if there is an answer."""
FAILED: frozenset[str] = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)
"""The model failed, not the answer: worth another attempt as long as nothing was delivered."""
_NO_REASON = frozenset({"BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})


class GeminiReader:
    """One reply. ``feed`` bytes, then ``close``."""

    __slots__ = (
        "_answered",
        "_asides",
        "_blocked",
        "_body",
        "_counts",
        "_failure",
        "_finish",
        "_grounding",
        "_label",
        "_mode",
        "_reply_id",
        "_size",
        "_source",
        "_sse",
        "_started",
        "_tools",
        "other_tools",
    )

    def __init__(self, label: str, *, stream: bool, reply_id: str = "") -> None:
        self._label = label
        self._mode: Literal["unknown", "sse", "json"] = "unknown" if stream else "json"
        self._source: UsageSource = "stream" if stream else "provider"
        self._sse = SseReader()
        self._body: list[bytes] = []
        self._size = 0
        self._started = False
        self._answered = False
        self._failure: UpstreamError | None = None
        self._finish = ""
        self._blocked = ""
        self._reply_id = reply_id
        self._tools = 0
        self._counts: Counts | None = None
        self._grounding: Grounding | None = None
        self.other_tools = False
        self._asides: dict[int, GeminiReader] = {}

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``. An error behind good events is raised by the next call: they are not lost."""
        if self._failure is not None:
            raise self._failure
        if self._mode == "unknown":
            data = self._recognise(data)
        if self._mode != "sse":
            self._hold(data)
            return []
        out: list[Event] = []
        # The usual piece is exactly one event as Google writes it; the reader of all SSE is needed for the rest.
        if data[-5:] == b"}\r\n\r\n" and data[:7] == b"data: {" and not self._sse.pending:
            end = len(data) - 4
            if data.find(b"\r") == end and data.find(b"\n") == end + 1:
                self._frame(data[6:end], out)
                return out
        for event in self._sse.feed(data):
            frame = event.data
            if frame is None:
                frame = _naked_json(event.raw)
            if not frame:
                continue
            try:
                self._frame(frame, out)
            except UpstreamError as failure:
                if not any(map(is_content, out)):
                    raise
                self._failure = failure
                break
        return out

    def close(self) -> list[Event]:
        """The wire has ended."""
        if self._failure is not None:
            raise self._failure
        out: list[Event] = []
        if self._mode == "sse":
            self._last_frames(out)
        elif self._mode == "json":
            self._whole_body(out)
        if not self._finish and not self._blocked:
            raise UpstreamTruncated(f"{self._label} closed before a finish reason.")
        self._end_asides(out)
        out.append(self._stopped())
        out.append(Finished())
        return out

    def frame(self, data: bytes) -> list[Event]:
        """Events of one event of a stream that is split elsewhere. Raises as ``feed`` does."""
        self._mode = "sse"
        out: list[Event] = []
        self._frame(data, out)
        return out

    @property
    def ended(self) -> tuple[StopReason, str] | None:
        """Why the model stopped, as far as it has said so by now, and its own word for it."""
        if not self._finish and not self._blocked:
            return None
        stopped = self._stopped()
        return stopped.why, stopped.native

    def _hold(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            raise UpstreamMalformed(f"{self._label}'s reply is over {MAX_BODY_BYTES} bytes.")
        self._body.append(data)

    def _recognise(self, data: bytes) -> bytes:
        """SSE, JSON or a proxy's page? Told by the first byte that is not blank."""
        data = data.lstrip(b" \t\r\n\xef\xbb\xbf")
        if not data:
            return data
        if data[:1] == b"<":
            raise UpstreamMalformed(f"{self._label} answered with an HTML page.")
        self._mode = "json" if data[:1] in b"[{" else "sse"
        return data

    def _last_frames(self, out: list[Event]) -> None:
        for event in self._sse.close():
            frame = event.data if event.data is not None else _naked_json(event.raw)
            if not frame:
                continue
            try:
                self._frame(frame, out)
            except UpstreamMalformed:
                # Half a frame at the end: a cut, unless the answer was complete before it.
                if not self._finish and not self._blocked:
                    raise UpstreamTruncated(f"{self._label} closed in the middle of an event.") from None

    def _whole_body(self, out: list[Event]) -> None:
        body = b"".join(self._body)
        self._body.clear()
        if not body.strip():
            return
        try:
            replies = _REPLIES.decode(body) if body.lstrip()[:1] == b"[" else [_REPLY.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unreadable(self._label, error) from error
        for reply in replies:
            self._reply(reply, out)

    def _frame(self, frame: bytes, out: list[Event]) -> None:
        try:
            reply = _REPLY.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if frame == b"[DONE]":  # OpenAI's habit, added by some proxies
                return
            if frame[:1] == b"[":
                self._replies(frame, out)
                return
            raise UpstreamMalformed(
                f"{self._label} sent an event that cannot be read: {clean(str(error))}"
            ) from error
        self._reply(reply, out)

    def _replies(self, frame: bytes, out: list[Event]) -> None:
        """A JSON list where an event should be: how Google tells errors on some paths."""
        try:
            replies = _REPLIES.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamMalformed(f"{self._label} sent an event that cannot be read.") from error
        for reply in replies:
            self._reply(reply, out)

    def _reply(self, reply: _Reply, out: list[Event]) -> None:
        if reply.error and bytes(reply.error) != b"null":
            raise read_inner_error(self._label, bytes(reply.error))
        if not self._started:
            self._started = True
            self._reply_id = reply.response_id or ""
            out.append(Started(reply.model_version or "", self._reply_id))
        finish, grounded = "", False
        for candidate in reply.candidates or ():
            if candidate.index:
                self._aside(candidate, out)
            elif candidate.content is not None and candidate.content.parts:
                for part in candidate.content.parts:
                    self._part(part, out)
                    self.other_tools = self.other_tools or bool(part.executable_code)
            finish = finish if candidate.index else candidate.finish_reason or ""
            self.other_tools = self.other_tools or bool(candidate.url_context_metadata)
            if candidate.grounding_metadata:
                grounded = True
                self._grounding = self._grounding or Grounding()
                self._grounding.see(bytes(candidate.grounding_metadata))
        counts = reply.usage_metadata
        # Vertex says the traffic type on every chunk and the counts on the last: no count is not a count of 0.
        counted = counts is not None and (counts.prompt_token_count is not None or counts.total_token_count)
        if counted:
            self._counts = counts
        if (counted or grounded) and self._counts is not None:
            fees = self._grounding.fees if self._grounding is not None else ()
            free = bool(fees) and not self.other_tools
            out.append(UsageSeen(read_usage(self._counts, self._source, fees, grounded_only=free)))
        if finish:
            self._finish = finish
            if finish in FAILED and not self._answered:
                told = reply.candidates[0].finish_message if reply.candidates else None
                why = f": {clean(told)}" if told else "."
                raise UpstreamFault(f"{self._label}'s model failed with {finish}{why}", code="model_failed")
        feedback = reply.prompt_feedback
        if feedback is not None and feedback.block_reason and feedback.block_reason not in _NO_REASON:
            self._blocked = feedback.block_reason

    def _aside(self, candidate: _Candidate, out: list[Event]) -> None:
        """Another answer than the first: read as the first one is."""
        index = candidate.index or 0
        reader = self._asides.get(index)
        if reader is None:
            reader = self._asides[index] = GeminiReader(
                self._label, stream=False, reply_id=f"{self._reply_id}/{index}"
            )
        out += [Aside(index, one) for one in reader.candidate(candidate)]  # type: ignore[arg-type] - content alone
        self.other_tools = self.other_tools or reader.other_tools

    def candidate(self, candidate: _Candidate) -> list[Event]:
        """A piece of the only answer that this reader is for."""
        said: list[Event] = []
        content = candidate.content
        for part in () if content is None else content.parts or ():
            self._part(part, said)
            self.other_tools = self.other_tools or bool(part.executable_code)
        self._finish = candidate.finish_reason or self._finish
        return said

    def _end_asides(self, out: list[Event]) -> None:
        """Why the others stopped. One that failed fails the reply: its caller asked for all of them."""
        for index, reader in sorted(self._asides.items()):
            ended = reader.ended
            if ended is None:
                raise UpstreamTruncated(f"{self._label} closed before the finish reason of answer {index}.")
            if ended[0] == "error":
                raise UpstreamFault(
                    f"{self._label}'s model failed with {ended[1]} in answer {index}.", code="model_failed"
                )
            out.append(Aside(index, Stopped(*ended)))

    def _part(self, part: _Part, out: list[Event]) -> None:
        text = part.text
        signature = part.thought_signature
        if part.thought:
            # Pictures in thoughts are drafts; only words and signatures are passed on.
            if text or signature:
                self._answered = self._answered or bool(text)
                out.append(ThinkingDelta(text or "", signature or "", FORMAT))
            return
        if part.function_call is not None:
            self._call(part.function_call, signature, out)
            return
        if signature:
            out.append(ThinkingDelta("", signature, FORMAT))
        if text:
            self._answered = True
            out.append(TextDelta(text))
        blob = part.inline_data or part.file_data
        if blob is not None:
            self._media(blob, out)

    def _call(self, call: _Call, signature: str | None, out: list[Event]) -> None:
        raw = bytes(call.args)
        try:
            args = "{}" if raw in (b"", b"null") else msgspec.json.format(raw, indent=-1).decode()
        except UnicodeDecodeError as error:  # what is kept raw nobody has looked at yet
            raise _unreadable(self._label, error) from error
        call_id = call.id or self._call_id(call.name or "", args)
        if signature:
            out.append(ThinkingDelta("", signature, FORMAT, "", call_id))
        out.append(ToolStarted(self._tools, call_id, call.name or ""))
        out.append(ToolArgs(self._tools, args))
        self._tools += 1
        self._answered = True

    def _call_id(self, name: str, args: str) -> str:
        """An id for a call that has none: the same for the same reply, however it was split."""
        seed = f"{self._reply_id}\n{self._tools}\n{name}\n{args}"
        return "call_" + blake2b(seed.encode("utf-8", "replace"), digest_size=12).hexdigest()

    def _media(self, blob: _Blob, out: list[Event]) -> None:
        mime = blob.mime_type or ""
        kind = mime.partition("/")[0]
        if kind == "image" or kind == "audio":
            self._answered = True
            out.append(MediaMade(kind, mime, blob.data or "", blob.file_uri or ""))

    def _stopped(self) -> Stopped:
        native = self._finish or self._blocked
        if not self._finish or (self._blocked and not self._answered):
            return Stopped("content_filter", self._blocked)
        if native in FAILED:
            return Stopped("error", native)
        why = _WHY.get(native)
        if why is None:
            why = "stop" if self._answered else "error"
        if why == "stop" and self._tools:
            why = "tool_calls"
        return Stopped(why, native)


def _naked_json(raw: bytes) -> bytes | None:
    """A block without ``data:`` that is JSON all the same: an error put into the stream by a front end."""
    text = raw.strip()
    return text if text[:1] in (b"{", b"[") else None


def _unreadable(label: str, error: Exception) -> UpstreamTruncated | UpstreamMalformed:
    if "truncated" in str(error):
        return UpstreamTruncated(f"{label} closed in the middle of its reply.")
    return UpstreamMalformed(f"{label}'s reply is not what was promised: {clean(str(error))}")

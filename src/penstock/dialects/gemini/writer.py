"""Events -> ``GenerateContentResponse``, streamed or whole, as a Gemini client reads it.

Theory
------
A Gemini stream has no beginning and no end of its own: each piece is a response, the last one has the finish reason and
the usage. So ``Stopped`` waits for ``Finished``, because usage may come between them. A function call is one whole part:
its arguments are gathered until the model stops (wire facts 6.8), and what is no JSON object is Google's own word for
that, MALFORMED_FUNCTION_CALL.

Thoughts are shown where ``includeThoughts`` asks for them. Another provider's proof of them goes along all the same
(``marks``): on the thought, or, where thoughts are not shown, on the next part that is.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.base.errors import PenstockError, UpstreamFault
from penstock.base.events import (
    Aside,
    Event,
    Finished,
    FoldedTool,
    MediaMade,
    RefusalDelta,
    Started,
    Stopped,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    UsageSeen,
)
from penstock.base.usage import Usage
from penstock.dialects.gemini.envelope import GeminiAsk
from penstock.dialects.gemini.failure import write_error
from penstock.dialects.gemini.framing import content_type, ending, frame
from penstock.dialects.gemini.history import FORMAT, as_object
from penstock.dialects.gemini.marks import mark
from penstock.wire.ports import Identity

Json = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_HEAD = b'{"candidates":[{"content":{"parts":[{"text":'
_MIDDLE = b'}],"role":"model"},"index":0}]'
_WHY: dict[StopReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "OTHER",
}
_NATIVE = frozenset(
    {
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "CONTINUATION",
        "MODEL_ARMOR",
    }
)
"""Google's finish reasons that say more than the neutral one; they come back where Google itself gave them."""
MALFORMED = "MALFORMED_FUNCTION_CALL"
_MAX_SHOWN = 200


class GeminiWriter:
    """One reply (wire.ports.ReplyWriter)."""

    def __init__(self, ask: GeminiAsk, identity: Identity, index: int = 0) -> None:
        """``index``: of the candidate; the others of a reply have writers beside the first one's."""
        self._ask = ask
        self._identity = identity
        self._model = identity.model
        self._tail = b""
        self._tools: dict[int, FoldedTool] = {}
        self._args: dict[int, list[str]] = {}
        self._thought: list[str] = []
        self._hidden: list[ThinkingDelta] = []
        self._signature = ""
        self._of_call: dict[str, str] = {}
        self._usage: Usage | None = None
        self.stopped: Stopped | None = None
        self._refused = False
        self._malformed = ""
        self._index = index
        self._asides: dict[int, tuple[GeminiWriter, list[Json]]] = {}
        """The other answers, and their parts that have not left."""
        self._learn(identity.model)

    @property
    def content_type(self) -> bytes:
        """An array is JSON; the rest is as usual."""
        return content_type(self._ask)

    def write(self, events: list[Event]) -> bytes:
        """Pieces of the stream for these events."""
        if len(events) == 1:
            event = events[0]
            if type(event) is TextDelta and not self._hidden and not self._signature:
                text = event.text
                return frame(self._ask, _HEAD + _encode(text) + self._tail) if text else b""
        out: list[bytes] = []
        parts: list[Json] = []
        for event in events:
            if type(event) is Started:
                self._ask.begun = False
            self.take(event, parts)
            if type(event) is Finished:
                out.append(frame(self._ask, _encode(self._body(_merged(parts) or [{"text": ""}], last=True))))
                out.append(ending(self._ask))
                parts = []
        if parts or any(waiting for _, waiting in self._asides.values()):
            out.append(frame(self._ask, _encode(self._body(_merged(parts), last=False))))
        return b"".join(out)

    def fail(self, error: PenstockError) -> bytes:
        """The honest end of a stream that failed after its start."""
        return frame(self._ask, _encode(write_error(error, self._identity.id))) + ending(self._ask)

    def whole(self, events: list[Event]) -> bytes:
        """The whole response. Raises UpstreamFault where the model itself ended in an error."""
        parts: list[Json] = []
        for event in events:
            self.take(event, parts)
        if self.stopped is not None and self.stopped.why == "error":
            native = f" ({self.stopped.native})" if self.stopped.native else ""
            raise UpstreamFault(f"The model ended its reply in an error{native}.", code="model_output_error")
        return _encode(self._body(_merged(parts), last=True))

    # -- events

    def take(self, event: Event, parts: list[Json]) -> None:
        """The parts that an event makes, added to ``parts``."""
        match event:
            case TextDelta(text=text):
                if text:
                    parts.append(self._signed({"text": text}))
            case ThinkingDelta():
                self._think(event, parts)
            case ToolStarted(index=index, id=call_id, name=name):
                self._tools[index], self._args[index] = FoldedTool(index, call_id, name), []
            case ToolArgs(index=index, json=fragment):
                self._args[index].append(fragment)
            case RefusalDelta(text=text):
                self._refused = True
                if text:
                    parts.append(self._signed({"text": text}))
            case MediaMade(partial=-1):
                parts.append(self._signed(_medium(event)))
            case UsageSeen(usage=usage):
                self._usage = usage
            case Stopped():
                self.stopped = event
                self._calls(parts)
                self._leftovers(parts)
            case Aside(index=index, event=said):
                self._aside(index, said)
            case Started(model=model):
                self._learn(model or self._identity.model)
            case _:
                pass

    def _aside(self, index: int, event: Event) -> None:
        if index not in self._asides:
            writer = GeminiWriter(self._ask, self._identity, index)
            self._asides[index] = writer, []
        writer, parts = self._asides[index]
        writer.take(event, parts)
        if writer.stopped is not None and writer.stopped.why == "error":
            raise UpstreamFault("The model ended one of its answers in an error.", code="model_output_error")

    def _learn(self, model: str) -> None:
        self._model = model
        self._tail = _MIDDLE + b"," + _encode(self._facts())[1:]

    def _think(self, event: ThinkingDelta, parts: list[Json]) -> None:
        shown = self._ask.thoughts
        if shown and event.text:
            parts.append({"text": event.text, "thought": True})
        if event.format == FORMAT:
            if event.tool_id and event.signature:
                self._of_call[event.tool_id] = event.signature
            elif event.signature:
                self._signature = event.signature
            return
        if event.text and not shown:
            self._thought.append(event.text)
        if not event.signature and not event.redacted:
            return
        block = ThinkingDelta(
            "".join(self._thought), event.signature, event.format, event.redacted, event.tool_id
        )
        self._thought = []
        if shown:
            parts.append({"text": "", "thought": True, "thoughtSignature": mark([block])})
        else:
            self._hidden.append(block)

    def _signed(self, part: Json) -> Json:
        """The part with what must come back with it."""
        if self._hidden:
            part["thoughtSignature"] = mark(self._hidden)
            self._hidden = []
        elif self._signature:
            part["thoughtSignature"], self._signature = self._signature, ""
        return part

    def _calls(self, parts: list[Json]) -> None:
        for index in sorted(self._tools):
            tool = self._tools[index]
            text = "".join(self._args[index])
            args = as_object(text)
            if args is None:
                self._malformed = f"Malformed function call: {tool.name}({text[:_MAX_SHOWN]})"
                continue
            part: Json = {"functionCall": {"id": tool.id, "name": tool.name, "args": args}}
            signature = self._of_call.pop(tool.id, "")
            parts.append({**part, "thoughtSignature": signature} if signature else self._signed(part))
        self._tools = {}

    def _leftovers(self, parts: list[Json]) -> None:
        """Proofs that no part came after: an empty text carries them, as Google does it."""
        if self._hidden or self._signature:
            parts.append(self._signed({"text": ""}))

    # -- responses

    def _facts(self) -> Json:
        facts: Json = {"modelVersion": self._model, "responseId": self._identity.id}
        if self._ask.vertex:
            facts["createTime"] = _rfc3339(self._identity.created_s)
        return facts

    def _body(self, parts: list[Json], *, last: bool) -> Json:
        candidates = [self.candidate(parts, last=last)] if parts or last or not self._asides else []
        for writer, waiting in self._asides.values():
            if last and writer.stopped is None:
                writer.stopped = self.stopped  # the reply was cut: it ends as the first one does
            if waiting or last:
                candidates.append(writer.candidate(_merged(waiting), last=last))
                waiting.clear()
        body: Json = {"candidates": candidates}
        if last and self._usage is not None:
            body["usageMetadata"] = write_usage(self._usage)
        return body | self._facts()

    def candidate(self, parts: list[Json], *, last: bool) -> Json:
        """One answer's share of a response."""
        content: Json = {"parts": parts, "role": "model"} if parts else {"role": "model"}
        candidate: Json = {"content": content}
        if last:
            candidate["finishReason"] = self._finish()
            if self._malformed:
                candidate["finishMessage"] = self._malformed
        candidate["index"] = self._index
        return candidate

    def _finish(self) -> str:
        if self._malformed:
            return MALFORMED
        stopped = self.stopped or Stopped("stop")
        if stopped.native in _NATIVE:
            return stopped.native
        return "SAFETY" if self._refused else _WHY[stopped.why]


def _merged(parts: list[Json]) -> list[Json]:
    """Words that follow one another as one part; a signature ends it."""
    merged: list[Json] = []
    for part in parts:
        last = merged[-1] if merged else None
        if (
            last is not None
            and "text" in part
            and "text" in last
            and part.get("thought") == last.get("thought")
            and "thoughtSignature" not in last
            and ("thoughtSignature" not in part or part.get("thought"))
        ):
            merged[-1] = {**part, "text": last["text"] + part["text"]}
        else:
            merged.append(part)
    return merged


def _medium(made: MediaMade) -> Json:
    if made.data:
        return {"inlineData": {"mimeType": made.mime, "data": made.data}}
    return {"fileData": {"mimeType": made.mime, "fileUri": made.url}}


def write_usage(usage: Usage) -> Json:
    """``usageMetadata``: inclusive counts of which the total is the sum (prompt + candidates + thoughts)."""
    candidates = usage.completion_tokens - usage.reasoning
    counts: Json = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": candidates,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.cache_read:
        counts["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    words = usage.prompt_tokens - usage.input_audio - usage.input_image
    counts["promptTokensDetails"] = _modalities(words, usage.input_image, usage.input_audio)
    counts["candidatesTokensDetails"] = _modalities(usage.output, usage.output_image, usage.output_audio)
    return counts


def _modalities(text: int, image: int, audio: int) -> list[Json]:
    counted = (("TEXT", text), ("IMAGE", image), ("AUDIO", audio))
    return [{"modality": name, "tokenCount": count} for name, count in counted if count]


def _rfc3339(created_s: int) -> str:
    return datetime.fromtimestamp(created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

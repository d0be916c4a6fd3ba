"""What a stream's events have in common: the bytes around the text of one, proved by reading another text between them.

Theory
------
Most events of a stream differ in nothing but a few words. ``learn`` finds those words in an event that was read, puts
other ones in their place and reads again: if that changed the words and nothing else, then any event with the same bytes
around its text (which must neither end nor escape a JSON string) says just that text. A reader of JSON sees the same
structure in it.

Rules
- Only an event with one choice that says one text and nothing else is learned: no finish reason, usage, error or tool.
- Of the rest only OpenAI's ``obfuscation`` may change: letters and digits that make all chunks equally long.
- A lesson costs one more reading. Where no event came of the last one, the next waits, each time twice as long.
- It is taken when the mould is asked for: then the event that it is about is with the caller, who waits for a stream's first.
"""

from msgspec import Raw

from penstock.dialects.openai_chat.shapes import Choice, Chunk, Piece, present, reread
from penstock.wire.sse import Mould, SseEvent

_HEAD = b"data: "
_BLANK_LINES = (b"\n\n", b"\r\n\r\n")
_FILLER = b'"obfuscation":"'
_TEXTS = ("content", "reasoning", "reasoning_content")
_MAX_WAIT = 256


class Repeats:
    """One stream's mould, learned anew when its events change."""

    __slots__ = ("_lesson", "_mould", "_next_wait", "_passed_bytes", "_wait", "past_bytes")

    def __init__(self) -> None:
        self._mould: Mould | None = None
        self._lesson: tuple[SseEvent, Chunk] | None = None
        self.past_bytes = 0
        """What passed in earlier moulds."""
        self._passed_bytes = 0
        self._wait = 0
        self._next_wait = 0

    @property
    def passed_bytes(self) -> int:
        """Of content, of events that passed in any mould."""
        return self.past_bytes + (0 if self._mould is None else self._mould.passed_bytes)

    @property
    def mould(self) -> Mould | None:
        """What the next event may be like."""
        if self._lesson is not None:
            event, chunk = self._lesson
            self._lesson = None
            learned = learn(event, chunk)
            if learned is not None:
                self.past_bytes = self.passed_bytes
                self._mould, self._passed_bytes = learned, 0
        return self._mould

    def see(self, event: SseEvent, chunk: Chunk) -> None:
        """An event with content that was read, because it did not pass."""
        raw, known = event.raw, self.mould
        if known is not None and known.passed_bytes > self._passed_bytes:  # the last lesson was of use
            self._passed_bytes = known.passed_bytes
            self._wait = self._next_wait = 0
        if known is not None and known.surrounds(raw):
            return  # it is as the others, only its text needed reading
        if self._wait:
            self._wait -= 1
            return
        self._wait, self._next_wait = self._next_wait, min(2 * self._next_wait + 1, _MAX_WAIT)
        self._lesson = event, chunk


def learn(event: SseEvent, chunk: Chunk) -> Mould | None:
    """The mould of an event that was read as ``chunk``, if it has one."""
    raw, data, choices = event.raw, event.data, chunk.choices
    if data is None or raw[:6] != _HEAD or raw[6 : 6 + len(data)] != data:
        return None
    if raw[6 + len(data) :] not in _BLANK_LINES or choices is None or len(choices) != 1:
        return None
    piece = choices[0].delta
    field = None if piece is None else _only_text(piece)
    if piece is None or field is None or not _only_delta(chunk, choices[0]):
        return None
    text: str = getattr(piece, field)
    start = raw.find(b'"%b"' % field.encode()) + len(field) + 2
    start = raw.find(b'"', start) + 1
    words = text.encode("utf-8", "surrogatepass")
    end = start + len(words)
    if raw[start:end] != words or raw[end : end + 1] != b'"':
        return None
    read = reread(raw[6:start] + words + b"x" + raw[end : 6 + len(data)])
    setattr(piece, field, text + "x")
    same = read == chunk
    setattr(piece, field, text)
    return _around(raw, start, end) if same else None


def _only_delta(chunk: Chunk, choice: Choice) -> bool:
    """Nothing stands beside the delta but names. Asked so that a field which is read some day is not forgotten here."""
    reason = choice.finish_reason
    plain = Choice(index=choice.index, delta=choice.delta, finish_reason=reason)
    return not reason and chunk == Chunk(
        [plain], model=chunk.model, id=chunk.id, service_tier=chunk.service_tier
    )


def _only_text(piece: Piece) -> str | None:
    """The field that says all that a delta says."""
    said: list[str] = []
    for name in piece.__struct_fields__:
        value: object = getattr(piece, name)
        if present(value) if isinstance(value, Raw) else value:
            said.append(name)
    return said[0] if len(said) == 1 and said[0] in _TEXTS else None


def _around(raw: bytes, start: int, end: int) -> Mould:
    opening, closing = raw[:start], raw[end:]
    at = closing.find(_FILLER) + len(_FILLER)
    stop = closing.find(b'"', at)
    if at >= len(_FILLER) and closing[at:stop].isalnum():
        return Mould(opening, closing[stop:], closing[:at])
    return Mould(opening, closing)

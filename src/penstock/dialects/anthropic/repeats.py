"""What the deltas of one block have in common: the bytes around the text of one (wire.sse.Mould), proved by reading another
text between them.

Theory: a block's deltas differ in nothing but their words. ``learn`` finds these in an event that was read, reads the event
once more with others in their place, and if that changed the words and nothing else, any event with the same bytes around
its text (which must neither end nor escape a JSON string) says just that text.
"""

import msgspec

from penstock.dialects.anthropic.shapes import Delta, Frame, decode_frame
from penstock.wire.sse import Mould, SseEvent

_FIELDS = {"text_delta": "text", "thinking_delta": "thinking"}
_BLANK_LINES = (b"\n\n", b"\r\n\r\n")


def learn(event: SseEvent, frame: Frame) -> Mould | None:
    """The mould of an event that was read as ``frame``, if it has one."""
    raw, data, delta = event.raw, event.data, frame.delta
    if data is None or delta is None or frame.type != "content_block_delta":
        return None
    name = _FIELDS.get(delta.type)
    if name is None:
        return None
    begin = raw.find(data)
    if begin < 0 or raw[begin + len(data) :] not in _BLANK_LINES:
        return None
    words = getattr(delta, name)
    if not words or frame != Frame(frame.type, frame.index, _only(delta.type, name, words)):
        return None
    at = data.find(b'"%b"' % name.encode()) + len(name) + 2
    start = data.find(b'"', at) + 1
    spelt = words.encode("utf-8", "surrogatepass")
    end = start + len(spelt)
    if data[start:end] != spelt or data[end : end + 1] != b'"':
        return None
    try:
        again = decode_frame(data[:start] + spelt + b"x" + data[end:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if again != Frame(frame.type, frame.index, _only(delta.type, name, words + "x")):
        return None
    return Mould(raw[: begin + start], raw[begin + end :])


def _only(kind: str, name: str, words: str) -> Delta:
    return Delta(kind, words) if name == "text" else Delta(kind, thinking=words)

"""How a reply ends or fails: what the relay and the reader must judge alike."""

from penstock.base.errors import UpstreamError, UpstreamMalformed
from penstock.dialects.openai_chat.errors import read_error_in_200, read_page_in_200
from penstock.dialects.openai_chat.shapes import Choice, Chunk, is_error, present, read_chunk
from penstock.wire.sse import SseEvent

MAX_PAGE_BYTES = 1024 * 1024
_DONE = b"[DONE]"
_DONE_LINE = b"data: [DONE]"


def is_page(start: bytes) -> bool:
    """True if a reply that begins so is a page or a JSON body, not a stream. ``start`` has no leading space."""
    return start[:1] in (b"{", b"[", b"<")


class Page:
    """A page or a JSON body that came where a stream was promised: kept for its error, up to a limit."""

    __slots__ = ("_pieces", "_room")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._room = MAX_PAGE_BYTES

    def keep(self, data: bytes) -> None:
        """Add what still fits."""
        if self._room > 0:
            self._pieces.append(data[: self._room])
            self._room -= len(data)

    def error(self) -> UpstreamError:
        """What it amounts to."""
        return read_page_in_200(b"".join(self._pieces))


def is_done(name: bytes, data: bytes) -> bool:
    """True for ``[DONE]``, False for empty data. Raises for all else that is no JSON object."""
    if data == _DONE:
        return True
    if name == b"error":
        raise read_page_in_200(data)
    if data:
        raise UpstreamMalformed("The upstream's stream holds an event that is not JSON.")
    return False


def is_piece_of_done(event: SseEvent) -> bool:
    """True for the beginning of the end marker, cut off by EOF: nothing is lost with it."""
    return event.data != _DONE and _DONE_LINE.startswith(event.raw.strip())


def check_choice(choice: Choice) -> None:
    """Raise for a choice that reports failure: OpenRouter's ``error`` or finish_reason "error"."""
    if present(choice.error):
        raise read_error_in_200(b'{"error":' + bytes(choice.error) + b"}")
    if choice.finish_reason == "error":
        raise read_error_in_200(b'{"error":"The reply ended in an error."}')


def read_whole(body: bytes) -> Chunk:
    """A whole reply. Raises what a 200 with an error in it, a page, or no choices amounts to."""
    if body[:1] != b"{" and body.lstrip()[:1] != b"{":
        raise read_page_in_200(body)
    chunk = read_chunk(body)
    if chunk.choices and not chunk.error:
        return chunk
    if present(chunk.error) or (not chunk.choices and is_error(body, b"")):
        raise read_error_in_200(body)
    if not chunk.choices:
        raise UpstreamMalformed("The upstream's reply has no choices.")
    return chunk

"""OpenAI's audio API: spoken by callers, to providers, and passed through between the two.

A caller gets an object of its own for each call: its path says whether a recording is written down or translated, its headers
how the form is divided. ``HEARING`` and ``SPEAKING`` are the upstream dialects.

    hearing    form -> HearingAsk -> TranscriptionRequest    relay      pass-through of a reply
    speaking   JSON -> SpeakingAsk -> SpeechRequest          upstream   neutral request -> a provider's, reply -> events
    forward    pass-through of a request                     writer     events -> a caller's reply
    replies    what the API answers    subtitles  srt, vtt   usage      tokens, seconds, characters

One vendor's APIs share what is the same in all: errors and their shapes (openai_chat; test_floors, KIN).
"""

import msgspec

from penstock.base.audio import SpeechRequest, TranscriptionRequest
from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.dialects.openai_audio import hearing, relay, speaking, upstream
from penstock.dialects.openai_audio.forward import splice_form, splice_json
from penstock.dialects.openai_audio.hearing import MOST_FILE_BYTES, HearingAsk, Task
from penstock.dialects.openai_audio.speaking import SpeakingAsk
from penstock.dialects.openai_audio.writer import HearingWriter, SpeakingWriter, failure
from penstock.dialects.openai_chat.errors import read_error, write_error
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity, Relay, ReplyReader, ReplyWriter

__all__ = ["HEARING", "SPEAKING", "HearingCaller", "SpeakingCaller", "Task"]


def _heard(ask: Ask) -> HearingAsk:
    assert isinstance(ask, HearingAsk)
    return ask


def _spoken(ask: Ask) -> SpeakingAsk:
    assert isinstance(ask, SpeakingAsk)
    return ask


class HearingCaller:
    """CallerDialect of wire.ports for a recording, for one call."""

    name = "openai"
    operation: Operation = "transcriptions"
    heartbeat = b": penstock is waiting for the provider\n\n"

    def __init__(self, task: Task, content_type: bytes) -> None:
        self.family = "openai"
        """"" once the file is over OpenAI's bound: then each target's dialect is asked first, and no bytes go through."""
        self._task: Task = task
        self._content_type = content_type

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field."""
        ask = hearing.read_envelope(self._task, self._content_type, body)
        if ask.file_bytes > MOST_FILE_BYTES:
            self.family = ""
        return ask

    def expand(self, ask: Ask) -> TranscriptionRequest:
        """The neutral request."""
        return hearing.expand(_heard(ask))

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return HearingWriter(_heard(ask), identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return msgspec.json.encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error frame that ends a stream already begun."""
        return failure(error, request_id)


class SpeakingCaller:
    """CallerDialect of wire.ports for words to be spoken, for one call."""

    name = "openai"
    family = "openai"
    operation: Operation = "speech"

    def __init__(self) -> None:
        self.heartbeat = b""
        self._events = False

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field."""
        ask = speaking.read_envelope(body)
        self._events = ask.events
        if ask.events:
            self.heartbeat = HearingCaller.heartbeat
        return ask

    def expand(self, ask: Ask) -> SpeechRequest:
        """The neutral request."""
        return speaking.expand(_spoken(ask))

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return SpeakingWriter(_spoken(ask), identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return msgspec.json.encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error frame; b"" for bare sound, whose connection is cut instead: nothing else would tell its reader."""
        return failure(error, request_id) if self._events else b""


class OpenAIHearing:
    """UpstreamDialect and PassThroughDialect of wire.ports, for recordings."""

    name = "openai"
    default_base_url = "https://api.openai.com/v1"

    def refuse(self, request: TranscriptionRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        return upstream.refuse_hearing(request, target)

    def write_request(self, request: TranscriptionRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        return upstream.write_hearing(request, target, credential)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        row = target.facts.price
        return upstream.StreamReader(row) if stream else upstream.WholeReader(row)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's form with the few edits that are ours."""
        return splice_form(_heard(ask), target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        return relay.HeardStream(_heard(ask)) if stream else relay.HeardWhole(_heard(ask))


class OpenAISpeaking:
    """UpstreamDialect and PassThroughDialect of wire.ports, for speech."""

    name = "openai"
    default_base_url = "https://api.openai.com/v1"

    def refuse(self, request: SpeechRequest, target: Target) -> Rejected | None:
        """Nothing: it is OpenAI's own form."""
        return None

    def write_request(self, request: SpeechRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        return upstream.write_speech(request, target, credential)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        return upstream.SpeechReader(target.facts.price)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error."""
        return read_error(status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the few edits that are ours."""
        return splice_json(_spoken(ask), target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        one = _spoken(ask)
        if one.events:
            return relay.SpokenStream(one)
        return relay.SpokenBytes(one)


HEARING = OpenAIHearing()
SPEAKING = OpenAISpeaking()

"""The ports of a dialect: what a file in ``dialects`` offers to the gateway.

A dialect file is sans-IO. A *caller dialect* is spoken by who calls us, an *upstream dialect* is spoken to a
provider; one file may be both. Readers take bytes and give events; writers take events and give bytes.
"""

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from penstock.base.audio import SpeechRequest, TranscriptionRequest
from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.events import Event
from penstock.base.images import ImagesRequest
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.base.ranking import ModerationsRequest, RerankRequest
from penstock.base.usage import Usage
from penstock.wire.finish import Finish
from penstock.wire.http import Headers, WireRequest
from penstock.wire.sse import Mould

NeutralRequest = (
    ChatRequest
    | EmbeddingsRequest
    | ImagesRequest
    | SpeechRequest
    | TranscriptionRequest
    | ModerationsRequest
    | RerankRequest
)
"""What an operation asks, in no vendor's words. An upstream dialect gets the one of its operation."""


class Charge(Struct, frozen=True):
    """What a reply cost in nano-dollars, and how much of it for what was read and for what was written."""

    total_nusd: int
    prompt_nusd: int
    completion_nusd: int


class Identity(Struct, frozen=True):
    """Who a translated reply says it is: our request id, the time, the model's name as the caller wrote it.

    For callers who are told more (OpenRouter's): ``provider`` is who served, ``charge`` prices the reply of the model that
    answered (None: not known), ``story`` tells how it was routed, where the caller asked for that.
    """

    id: str
    created_s: int
    model: str
    provider: str = ""
    charge: Callable[[Usage, str], Charge | None] | None = None
    story: Callable[[], dict[str, Any]] | None = None


class ReplyReader(Protocol):
    """Bytes of one reply -> events. Right for any split of the bytes."""

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``. Raises UpstreamFault for an error inside a 200, UpstreamMalformed."""
        ...

    def close(self) -> list[Event]:
        """The wire has ended: the last events, ``Finished`` among them; or raises UpstreamTruncated."""
        ...


class ReplyWriter(Protocol):
    """Events of one reply -> bytes in the caller's dialect."""

    @property
    def content_type(self) -> bytes:
        """Of the reply; b"" is the common one: JSON, or a stream of server-sent events. Asked for when the head leaves."""
        ...

    def write(self, events: list[Event]) -> bytes:
        """Stream frames for these events (b"" if none)."""
        ...

    def fail(self, error: PenstockError) -> bytes:
        """The honest end of a stream that failed after its start."""
        ...

    def whole(self, events: list[Event]) -> bytes:
        """The non-streaming body."""
        ...


class Relay(Protocol):
    """What stands between the provider's bytes and the caller's: pass-through or translation, one port.

    ``feed`` and ``close`` give the bytes for the caller. The attributes are what settle and hold-back read.
    """

    content_seen: bool
    """A content event has passed (behaviour 1): 200 may be sent."""
    usage: Usage | None
    stopped: str | None
    """The neutral StopReason, once known."""
    native_stop: str
    model: str
    """The model that the provider says it used."""
    upstream_id: str
    finished: bool

    @property
    def mould(self) -> Mould | None:
        """What is around the text of the event that this stream repeats, while ``feed`` holds nothing back. Such an event,
        its text without escapes, may go to the caller past ``feed`` once content was seen: nothing but ``content_bytes``
        would come of it, which counts it all the same."""
        ...

    @property
    def content_type(self) -> bytes:
        """Of the reply; b"" is JSON, or a stream of server-sent events."""
        ...

    @property
    def content_bytes(self) -> int:
        """UTF-8 bytes of text, thinking and tool arguments so far: for estimates when usage never came."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Bytes for the caller, possibly none. Raises UpstreamError when the reply itself reports failure."""
        ...

    def close(self) -> bytes:
        """The wire has ended: last bytes, or UpstreamTruncated."""
        ...


class CallerDialect(Protocol):
    """Spoken by who calls us."""

    name: str
    family: str
    """The upstream dialect whose bytes a caller of this one understands; "" none."""
    operation: Operation
    heartbeat: bytes
    """What keeps a stream alive that waits; b"" where the format has nothing that its clients pass over."""

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field (bad JSON: with its position)."""
        ...

    def expand(self, ask: Ask) -> NeutralRequest:
        """The neutral request of the operation. Raises BadRequest naming the field."""
        ...

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        ...

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        ...

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error frame that ends a stream already begun."""
        ...


class RoomyDialect(CallerDialect, Protocol):
    """A caller's dialect whose conversation may be large: it reads slim bodies, too (base.bulk)."""

    long_field: bytes
    """The top-level field that holds the conversation. Nothing else of a body is set apart."""


class DressingDialect(CallerDialect, Protocol):
    """A caller's dialect whose replies say more than the provider's bytes, where these go through."""

    def dress(self, relay: Relay, ask: Ask, identity: Identity) -> Relay:
        """``relay``, with what is missing put into the bytes that it gives."""
        ...


class UpstreamDialect(Protocol):
    """Spoken to a provider, for one operation: ``request`` is that operation's (typed Any: a union would fit none)."""

    name: str
    default_base_url: str

    def refuse(self, request: Any, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        ...

    def write_request(self, request: Any, target: Target, credential: str) -> WireRequest:
        """The provider's request. Overrides of the target are already in ``request``."""
        ...

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """A reader for one reply."""
        ...

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error: right class, cleaned sentence, retry hint parsed. Never raises."""
        ...


class ReasoningDialect(UpstreamDialect, Protocol):
    """One that takes back the proof of its models' reasoning."""

    def proof_of(self, target: Target) -> str:
        """Whose reasoning goes back to ``target``: a ``Thinking.format``; "" none."""
        ...


class PassThroughDialect(Protocol):
    """An upstream dialect whose bytes may go through from a caller of the same dialect."""

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the few edits that are ours."""
        ...

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """A Relay that forwards the provider's bytes and reads usage beside them."""
        ...


class CountingDialect(Protocol):
    """An upstream dialect whose provider counts a prompt's tokens without answering it."""

    def count_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """Asks for the count. (A caller's own count request goes through by ``splice_request``.)"""
        ...

    def read_count(self, body: bytes) -> int:
        """The tokens of a 2xx reply. Raises UpstreamMalformed."""
        ...


class Elsewhere(Struct, frozen=True, gc=False):
    """Something to fetch that a reply points at by a whole URL: a picture, a status. ``credential``: only where it is the
    provider's own host is the credential sent along."""

    url: str
    method: bytes = b"GET"


class Send(Struct, frozen=True, gc=False):
    """One exchange that a dialogue wants. ``tag`` comes back with its answer."""

    tag: str
    what: WireRequest | Elsewhere


class Moves(Struct, frozen=True):
    """What a dialogue wants next: exchanges (all at once), or a wait, and what it already has for the caller.

    ``wait_s`` above 0: call ``woke`` after so long. ``done``: nothing more will come; ``events`` end with Finished.
    """

    sends: tuple[Send, ...] = ()
    wait_s: float = 0.0
    events: tuple[Event, ...] = ()
    done: bool = False


class Dialogue(Protocol):
    """A reply that takes several exchanges: submit, poll, fetch; or one call for each of n pictures. Sans-IO: it decides,
    ``gateway.dialogue`` sends and waits. Failures are raised as UpstreamError, whatever was made before."""

    adjusted: tuple[str, ...]
    """As in WireRequest; known before ``begin``."""
    finish: Finish
    """What is still to be done to each picture that was made."""

    def begin(self) -> Moves:
        """The first moves."""
        ...

    def got(self, tag: str, status: int, headers: Headers, body: bytes) -> Moves:
        """An exchange has been answered, with whatever status."""
        ...

    def failed(self, tag: str, error: UpstreamError) -> Moves:
        """An exchange came to nothing: no answer at all, or something that is not fetched."""
        ...

    def woke(self) -> Moves:
        """The wait is over, or nearly."""
        ...

    def cancel(self) -> tuple[Send, ...]:
        """The caller has gone, or time has run out: what tells the provider to stop, if it can be told."""
        ...


class ConversingDialect(Protocol):
    """An upstream dialect whose replies are dialogues."""

    def converse(self, request: Any, target: Target, credential: str) -> Dialogue:
        """A dialogue for one attempt. ``write_request`` and ``reader`` of such a dialect are not asked."""
        ...

"""Google's Gemini: spoken to AI Studio, Vertex regional and Vertex global (one class, two flavours), and by callers.

Owns: ``generateContent`` and ``streamGenerateContent``, both ways. Does not own: Google's access tokens (``net``).
Inside, one file per question.

To providers: ``models`` (what a name tells), ``thinking`` (budget or level), ``history`` (messages), ``media``, ``schema``
(old models' subset), ``native`` (what only Google has), ``request``, ``reply``, ``usage``, ``errors``. By callers:
``caller``, ``fields`` (names and spellings), ``envelope``, ``expand``, ``turns`` (contents), ``declared`` (schemas),
``marks`` (other providers' proofs), ``writer``, ``framing``, ``failure``. Between the two: ``forward``, ``relay``.
"""

from typing import cast

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.base.models import Target
from penstock.dialects.gemini import counting, errors
from penstock.dialects.gemini import request as outgoing
from penstock.dialects.gemini.caller import GEMINI_CALLER, GeminiCall, GeminiCount, model_of
from penstock.dialects.gemini.embed import EmbedVerb, GeminiEmbed
from penstock.dialects.gemini.envelope import Framing, GeminiAsk
from penstock.dialects.gemini.forward import splice_request
from penstock.dialects.gemini.history import FORMAT
from penstock.dialects.gemini.images import GEMINI_IMAGES, VERTEX_IMAGES
from penstock.dialects.gemini.relay import StreamRelay, WholeRelay
from penstock.dialects.gemini.reply import GeminiReader
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Relay

__all__ = [
    "GEMINI",
    "GEMINI_CALLER",
    "GEMINI_IMAGES",
    "VERTEX",
    "VERTEX_IMAGES",
    "EmbedVerb",
    "Framing",
    "Gemini",
    "GeminiCall",
    "GeminiCount",
    "GeminiEmbed",
    "model_of",
    "vertex_base_url",
]


def vertex_base_url(location: str) -> str:
    """Vertex's host: global, one of the two multi-regions, or a region."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


class Gemini:
    """An UpstreamDialect. ``vertex`` says which of Google's two doors."""

    def __init__(self, name: str, label: str, default_base_url: str, *, vertex: bool) -> None:
        self.name = name
        self.default_base_url = default_base_url
        self._label = label
        self._vertex = vertex

    def proof_of(self, target: Target) -> str:
        """Whose reasoning goes back to it."""
        del target
        return FORMAT

    def refuse(self, request: ChatRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        return outgoing.refuse(request, target, self._vertex)

    def write_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request; ``credential`` is the API key, or Vertex's access token."""
        return outgoing.write_request(request, target, credential, self._vertex)

    def reader(self, target: Target, *, stream: bool) -> GeminiReader:
        """A reader for one reply."""
        del target  # Gemini's replies say all that is needed
        return GeminiReader(self._label, stream=stream)

    def count_request(self, request: ChatRequest, target: Target, credential: str) -> WireRequest:
        """Asks how many tokens the prompt is."""
        return counting.count_request(request, target, credential, self._vertex)

    def read_count(self, body: bytes) -> int:
        """The answer to that."""
        return counting.read_count(body)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return errors.read_error(self._label, status, headers, body)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the few edits that are ours. Raises BadRequest for a repeated key."""
        return splice_request(cast("GeminiAsk", ask), target, credential, self._vertex)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        wanted = cast("GeminiAsk", ask)
        return StreamRelay(wanted, self._label) if stream else WholeRelay(wanted, self._label)


GEMINI = Gemini("gemini", "Gemini", "https://generativelanguage.googleapis.com", vertex=False)
VERTEX = Gemini("vertex", "Vertex AI", vertex_base_url("global"), vertex=True)
"""Its base URL is the global one; a configured ``location`` gives its own by ``vertex_base_url``."""

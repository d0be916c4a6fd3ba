"""Which answers are kept: whole, good ones, that say nothing which nobody else should read.

Rules (reference 3.1)
- Never an error, a cut or a filtered answer, a refusal, or nothing at all. Peers kept error bodies and replayed them as 200
  (vLLM-SR #2130).
- Not the answer of a fallback: it was right for one bad minute. Not one for which a field that matters was dropped on the way:
  the next target may heed it, and a hit could not tell that it was dropped.
- Not what looks like a secret. A free reply that used nothing is nobody's answer; one of a model without a price is.
- Calls of tools may be told again to the very same request; by meaning only where the operator says so.
"""

import re
from collections.abc import Sequence
from typing import Final

from penstock.base.decisions import Rejected
from penstock.base.events import Folded, Judged, Scored, SegmentMade, TranscriptFacts, VectorMade
from penstock.cache.controls import Controls
from penstock.cache.keys import IDLE_EXTRAS
from penstock.config.schema_cache import SemanticCacheConfig

_DROPPED = "-dropped"
_IDLE_BEGINNINGS = ("metadata.", "provider.", "cache-ttl", "prompt_cache")
_SMALL_BYTES = 64
"""What an event without words of its own takes."""
_STOPS: Final[dict[str, tuple[str, str]]] = {
    "length": ("truncated", "The answer was cut at its cap."),
    "content_filter": ("filtered", "A content filter ended the answer."),
    "error": ("failed", "The answer ended in an error."),
}
_RUN = "[A-Za-z0-9_-]"


def _after(start: str, rest: str) -> re.Pattern[str]:
    """``start`` where no word is under way, and ``rest``. The letters stand first: they are what is searched for."""
    return re.compile(f"{start}(?<!{_RUN}{start}){rest}")


_SECRETS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("PRIVATE KEY", re.compile("-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")),
    *(
        (start, _after(start, f"(?={_RUN}{{0,200}}[0-9]){_RUN}{{16,}}"))
        for start in ("sk-", "sk_", "pk_", "rk_", "hf_", "npm_", "pypi-", "glpat-", "github_pat_")
    ),
    ("psk-", _after("psk-", f"{_RUN}{{12,}}")),
    *((start, _after(start, "[0-9A-Z]{16}(?![0-9A-Za-z])")) for start in ("AKIA", "ASIA")),
    ("AIza", _after("AIza", f"{_RUN}{{35}}")),
    ("ya29.", _after("ya29[.]", f"{_RUN}{{20}}")),
    *((start, _after(start, "[A-Za-z0-9]{30}")) for start in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    ("xox", _after("xox", "[abeoprs]-[A-Za-z0-9-]{10}")),
    ("eyJ", _after("eyJ", rf"{_RUN}{{10,}}\.eyJ{_RUN}{{10,}}\.{_RUN}{{10}}")),
    ("://", re.compile(r"://[^\s/:@]{1,80}:[^\s/@]{3,120}@")),
)
"""Forms that vendors publish for their keys (secret scanning patterns, 2026-11): letters that a text must hold, and the form.
Each reads a text once: an answer may have megabytes."""


def storable(
    folded: Folded,
    *,
    answered_by_fallback: bool,
    adjusted: Sequence[str],
    controls: Controls,
    cost_nusd: int | None,
    max_bytes: int,
) -> Rejected | None:
    """Why a whole reply is not kept; None: it may be. ``adjusted`` as told to the caller; ``cost_nusd`` None: not known."""
    if controls.no_store or controls.mode == "off":
        return Rejected("no-store", "The caller asked that nothing be kept.")
    refusal = _end_of(folded)
    if refusal is not None:
        return refusal
    if answered_by_fallback:
        return Rejected("answered-by-fallback", "A fallback answered in another's place.")
    for word in adjusted:
        if word.endswith(_DROPPED) and not _idle(word.removesuffix(_DROPPED)):
            return Rejected("field-dropped", f"The answer heeds less than was asked: {word}.")
    usage = folded.usage
    if cost_nusd == 0 and (usage is None or not usage.total_tokens):
        return Rejected("cost-nothing", "The reply used nothing and cost nothing.")
    size = size_bytes(folded)
    if size > max_bytes:
        return Rejected("too-large", f"The answer has {size} bytes, and at most {max_bytes} are kept.")
    if looks_secret(folded):
        return Rejected("looks-secret", "The answer holds what looks like a key.")
    return None


def cut(stopped: str | None) -> Rejected | None:
    """Why an answer that ended so is not kept, before it has been read; None: it is to be read."""
    return Rejected(*_STOPS[stopped]) if stopped in _STOPS else None


def semantic_storable(folded: Folded, settings: SemanticCacheConfig) -> Rejected | None:
    """Why a reply that ``storable`` lets pass is not offered by meaning."""
    if folded.tools and not settings.tools:
        return Rejected("tools-called", "The answer calls tools.")
    if folded.media or folded.made:
        return Rejected("not-text", "The answer is more than words.")
    return None


def _end_of(folded: Folded) -> Rejected | None:
    stopped = folded.stopped
    if stopped is None or not folded.finished:
        return Rejected("not-finished", "The answer did not come to its end.")
    no = cut(stopped.why)
    if no is not None:
        return no
    if folded.refusal:
        return Rejected("refused-by-model", "The model refused.")
    if stopped.why == "tool_calls" and not folded.tools:
        return Rejected("empty", "The answer stopped for a call of a tool, and there is none.")
    if not (folded.text.strip() or folded.tools or folded.media or folded.made):
        return Rejected("empty", "The answer says nothing.")
    if any(medium.url and not medium.data for medium in folded.media):
        return Rejected("elsewhere", "The answer points at something that may be gone by then.")
    return None


def _idle(field: str) -> bool:
    return field in IDLE_EXTRAS or field.startswith(_IDLE_BEGINNINGS)


def size_bytes(folded: Folded) -> int:
    """About what the answer takes."""
    size = len(folded.text.encode("utf-8", "surrogatepass"))
    size += sum(len(block.text) + len(block.signature) + len(block.redacted) for block in folded.thinking)
    size += sum(len(tool.name) + len(tool.arguments) for tool in folded.tools)
    size += sum(len(medium.data) + len(medium.url) for medium in folded.media)
    for made in folded.made:
        match made:
            case VectorMade(vector=vector):
                size += len(vector)
            case SegmentMade(text=text):
                size += len(text) + _SMALL_BYTES
            case Scored() | Judged() | TranscriptFacts():
                size += _SMALL_BYTES
    return size


def looks_secret(folded: Folded) -> bool:
    """Something in the answer has the form of a vendor's key, a private key, a token or a password in a URL."""
    said = (
        folded.text,
        *(tool.arguments for tool in folded.tools),
        *(block.text for block in folded.thinking),
    )
    return any(start in text and form.search(text) is not None for text in said for start, form in _SECRETS)

"""One file (or folder) per wire format, sans-IO: bytes in, events out, and the other way round.

Rules: no sockets, no asyncio, no retries, no prices; a dialect does not know its neighbours. The tables below are
literal: a new dialect is one file and one line.
"""

from penstock.base.operations import Operation
from penstock.dialects.anthropic import ANTHROPIC, anthropic_caller
from penstock.dialects.anthropic_batches import ANTHROPIC_BATCHES
from penstock.dialects.anthropic_files import ANTHROPIC_FILES
from penstock.dialects.bedrock import BEDROCK
from penstock.dialects.cohere import COHERE
from penstock.dialects.cohere_embed import COHERE_EMBEDDINGS
from penstock.dialects.fal import FAL
from penstock.dialects.gemini import GEMINI, GEMINI_CALLER, GEMINI_IMAGES, VERTEX, VERTEX_IMAGES
from penstock.dialects.gemini.embeddings import GEMINI_EMBEDDINGS, VERTEX_EMBEDDINGS
from penstock.dialects.gemini.hearing import GEMINI_HEARING, VERTEX_HEARING
from penstock.dialects.gemini.speaking import GEMINI_SPEAKING, VERTEX_SPEAKING
from penstock.dialects.gemini_batches import GEMINI_BATCHES
from penstock.dialects.gemini_files import GEMINI_FILES
from penstock.dialects.kserve import KSERVE_EMBEDDINGS, KSERVE_IMAGES, KSERVE_MODERATIONS
from penstock.dialects.openai_audio import HEARING, SPEAKING
from penstock.dialects.openai_batches import OPENAI_BATCHES
from penstock.dialects.openai_chat import OPENAI, OPENROUTER
from penstock.dialects.openai_chat.completions import COMPLETIONS
from penstock.dialects.openai_chat.moderations import MODERATIONS
from penstock.dialects.openai_chat.vectors import EMBEDDINGS
from penstock.dialects.openai_files import OPENAI_FILES
from penstock.dialects.openai_images import IMAGES
from penstock.dialects.openai_responses import RESPONSES, ResponsesCaller
from penstock.dialects.replicate import REPLICATE
from penstock.dialects.rerank import COHERE_RERANK, JINA_RERANK, OPENAI_RERANK, RERANK
from penstock.dialects.stability import STABILITY
from penstock.wire.batches import NativeBatches
from penstock.wire.ports import CallerDialect, UpstreamDialect
from penstock.wire.uploads import UploadService

CALLERS: dict[str, CallerDialect] = {
    "openai": OPENAI,
    "openrouter": OPENROUTER,
    "gemini": GEMINI_CALLER,
    "embeddings": EMBEDDINGS,
    "moderations": MODERATIONS,
    "rerank": RERANK,
    "completions": COMPLETIONS,
    "responses": ResponsesCaller(),
    "anthropic": anthropic_caller(),
}
"""Spoken by who calls us."""

UPSTREAMS: dict[str, UpstreamDialect] = {
    "openai": OPENAI,
    "responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "vertex": VERTEX,
    "bedrock": BEDROCK,
    "cohere": COHERE,
}
"""Spoken to providers: chat."""

OPERATIONS: dict[Operation, dict[str, UpstreamDialect]] = {
    "chat": UPSTREAMS,
    "embeddings": {
        "openai": EMBEDDINGS,
        "gemini": GEMINI_EMBEDDINGS,
        "vertex": VERTEX_EMBEDDINGS,
        "cohere": COHERE_EMBEDDINGS,
        "kserve": KSERVE_EMBEDDINGS,
    },
    "images": {
        "openai": IMAGES,
        "gemini": GEMINI_IMAGES,
        "vertex": VERTEX_IMAGES,
        "stability": STABILITY,
        "fal": FAL,
        "replicate": REPLICATE,
        "kserve": KSERVE_IMAGES,
    },
    "speech": {"openai": SPEAKING, "gemini": GEMINI_SPEAKING, "vertex": VERTEX_SPEAKING},
    "transcriptions": {"openai": HEARING, "gemini": GEMINI_HEARING, "vertex": VERTEX_HEARING},
    "moderations": {"openai": MODERATIONS, "kserve": KSERVE_MODERATIONS},
    "rerank": {"openai": OPENAI_RERANK, "cohere": COHERE_RERANK, "jina": JINA_RERANK},
}
"""Spoken to providers, by operation: a provider can what its dialect's name is listed under."""

NATIVE_BATCHES: dict[str, NativeBatches] = {
    "openai": OPENAI_BATCHES,
    "anthropic": ANTHROPIC_BATCHES,
    "gemini": GEMINI_BATCHES,
}
"""Batch services of providers, by their dialect."""

UPLOADS: dict[str, UploadService] = {
    "openai": OPENAI_FILES,
    "responses": OPENAI_FILES,
    "anthropic": ANTHROPIC_FILES,
    "gemini": GEMINI_FILES,
}
"""Files of providers, by the dialect that their chat is spoken in."""


def spoken(dialect: str) -> dict[Operation, UpstreamDialect]:
    """What a provider of this dialect can be asked for; empty: no such dialect."""
    return {operation: table[dialect] for operation, table in OPERATIONS.items() if dialect in table}

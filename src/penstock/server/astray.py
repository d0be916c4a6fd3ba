"""Paths that nothing is served at: what is said to who asked there, so that the next request finds its way.

The commonest mistake is a base URL that ends in a version which the client adds itself (``/v1/v1/messages``). Others ask for
what a provider has and the gateway has not, or misspell a path. Each is a 404; 405 is for paths that exist.
"""

import re
from difflib import get_close_matches

from penstock.base.errors import NotFound

_VERSION = r"/v(?:1|1beta|1beta1|1alpha|2)"
_TWICE = re.compile(
    rf"(?P<before>(?:/openai|/anthropic|/api)?)(?P<extra>(?:{_VERSION})+)(?P<path>{_VERSION}/.*)"
)
_VERB = re.compile(r"/[^/]+:(?P<verb>[A-Za-z]+)")
_WORDLESS = re.compile(r"[^a-z]+")
_VERBS = frozenset(
    {
        "generatecontent",
        "streamgeneratecontent",
        "counttokens",
        "embedcontent",
        "batchembedcontents",
        "predict",
    }
)
_MODEL = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models(?:/[^:]+)?")
_GEMINI = "Gemini's methods are at /v1beta/models/{model}:generateContent, :streamGenerateContent, :countTokens and :embedContent."
_NEAREST = {
    "messages": "Anthropic's Messages are at /v1/messages.",
    "responses": "OpenAI's Responses are at /v1/responses.",
    "embeddings": "Embeddings are at /v1/embeddings.",
    "embed": "Embeddings are at /v1/embeddings.",
    "rerank": "Reranking is at /v1/rerank and /v2/rerank.",
    "images": "Images are at /v1/images/generations and /v1/images/edits.",
    "audio": "Audio is at /v1/audio/transcriptions, /v1/audio/translations and /v1/audio/speech.",
    "transcriptions": "Transcriptions are at /v1/audio/transcriptions.",
    "translations": "Translations are at /v1/audio/translations.",
    "speech": "Speech is at /v1/audio/speech.",
    "moderations": "Moderations are at /v1/moderations.",
    "batches": "Batches are at /v1/batches.",
    "files": "Files are at /v1/files.",
    "completions": "Chat is at /v1/chat/completions.",
    "chat": "Chat is at /v1/chat/completions.",
    "generation": "A call's record is at /v1/generation?id={x-request-id}.",
    "models": "Models are listed at /v1/models.",
}
_ELSE = "Chat is at /v1/chat/completions, models at /v1/models."
_ALIKE = 0.75


def without_repeat(path: str) -> tuple[str, str] | None:
    """The path as it was meant, and what stands in it too much; None: no version stands there twice."""
    found = _TWICE.fullmatch(path)
    return None if found is None else (found["before"] + found["path"], found["extra"])


def lies_outside(path: str) -> bool:
    """Whether a path that some page's pattern matches is none of its: no page there takes any method."""
    if without_repeat(path) is not None:
        return True
    google = re.fullmatch(r"/v1(?:beta|beta1|alpha)/(?P<rest>.*)", path)
    if google is not None and _MODEL.fullmatch(google["rest"]) is None:
        verb = _VERB.search(google["rest"])
        return verb is None or verb["verb"].lower() not in _VERBS
    verb = _VERB.search(path) if path.startswith(("/v1/models/", "/v1/publishers/")) else None
    return (verb is not None and verb["verb"].lower() not in _VERBS) or path.endswith(
        ("/responses/input_tokens", "/responses/compact")
    )


def no_path(path: str) -> NotFound:
    """The 404 for ``path``."""
    twice = without_repeat(path)
    if twice is not None:
        return NotFound(
            f"There is no path {path}: its version stands there twice.",
            hint=f"Drop {twice[1]} from the end of the base URL; what is meant is {twice[0]}.",
        )
    if lies_outside(path):
        return NotFound(
            f"The gateway does not serve {path}.",
            hint=f"{_nearest(path)} Any path of a provider is reached unchanged at /raw/{{provider}}/..., "
            "where the operator allows it.",
        )
    return NotFound(f"There is no path {path}.", hint=_nearest(path))


def _nearest(path: str) -> str:
    if _VERB.search(path) is not None or "generatecontent" in path.lower():
        return _GEMINI
    words = [word for word in _WORDLESS.split(path.lower()) if word]
    for word in words[:12]:
        close = get_close_matches(word[:40], _NEAREST, 1, _ALIKE)
        if close and close[0] != "models":
            return _NEAREST[close[0]]
    return _ELSE

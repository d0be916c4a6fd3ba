"""What a target of this dialect wants to be told differently: the cap's name, reasoning, gateway fields, headers."""

import re
from functools import lru_cache

from penstock.base.chat import Ask, ChatRequest, Document, Effort, Image, Reasoning, Text
from penstock.base.models import CapName, Target
from penstock.wire.http import Headers

PATH = b"/chat/completions"
CAPS: tuple[CapName, ...] = ("max_completion_tokens", "max_tokens")
"""The two names of the cap; where both are given, the first one counts."""

# OpenAI's own providers, for whom the name of a model without facts says which cap it takes.
_OPENAI_OWN = frozenset({"openai", "azure"})
# o-series and gpt-5 and later refuse max_tokens (reference wire.md, 4.1).
_NEW_CAP = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d))")

# Models of OpenAI's own from before reasoning: reasoning_effort is a 400 there (reference wire.md, 4.1).
_NO_REASONING = re.compile(r"(?:ft:)?(?:gpt-[34]|chatgpt-4)")

JSON_WORD = "Answer in JSON."

# Gemini 2.5's published numbers, read backwards: the nearest effort of a budget.
_EFFORT_OF_BUDGET: tuple[tuple[int, Effort], ...] = ((1024, "low"), (8192, "medium"), (24_576, "high"))

_SHARED_HEADERS: Headers = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]
_STREAM_HEADERS: Headers = [*_SHARED_HEADERS, (b"accept", b"text/event-stream")]
_WHOLE_HEADERS: Headers = [*_SHARED_HEADERS, (b"accept", b"application/json")]


def headers(credential: str, *, stream: bool) -> Headers:
    """The headers of one call. An empty credential (a local server) sends no authorization."""
    return _headers(credential, stream).copy()


@lru_cache(maxsize=256)
def _headers(credential: str, stream: bool) -> Headers:
    """Made once per credential, as its holder keeps it anyway."""
    fixed = _STREAM_HEADERS if stream else _WHOLE_HEADERS
    if not credential:
        return fixed
    return [*fixed, (b"authorization", b"Bearer " + credential.encode())]


def wants_usage(ask: Ask) -> bool:
    """True if the caller expects a stream's usage: OpenRouter's callers always do."""
    return ask.include_usage or ask.dialect == "openrouter"


def cap_name(target: Target) -> CapName | None:
    """The cap's name at this target; None: not known, leave it as it is written."""
    facts = target.facts
    if facts.cap_name is not None:
        return facts.cap_name
    return "max_completion_tokens" if is_openai_own(target) and _NEW_CAP.match(target.model) else None


def is_openai_own(target: Target) -> bool:
    """True for OpenAI itself and Azure, as against the many who speak its dialect."""
    return target.provider in _OPENAI_OWN or target.facts.provider in _OPENAI_OWN


def known_fields(target: Target) -> frozenset[str]:
    """Gateway fields that this upstream understands itself, as configured."""
    text = target.options.get("passthrough_fields")
    return frozenset(name.strip() for name in text.split(",")) if text else frozenset()


def has_breakpoints(request: ChatRequest) -> bool:
    """The caller marked what shall be cached. OpenAI caches on its own, and takes no such marks."""
    return any(tool.cache for tool in request.tools) or any(
        isinstance(part, Text | Image | Document) and part.cache
        for message in request.messages
        for part in message.parts
    )


def wants_json_word(request: ChatRequest) -> bool:
    """``json_object`` is a 400 at OpenAI where no message says the word JSON ("'messages' must contain the word 'json'")."""
    form = request.response_format
    return (
        form is not None
        and form.kind == "json_object"
        and not any(
            isinstance(part, Text) and "json" in part.text.lower()
            for message in request.messages
            for part in message.parts
        )
    )


def _cannot_reason(target: Target) -> bool:
    facts = target.facts
    if facts.reasoning is None and facts.known:
        return is_openai_own(target) and _NO_REASONING.match(target.model) is not None
    return facts.reasoning == "none"


def effort_of(reasoning: Reasoning, target: Target) -> tuple[Effort | None, tuple[str, ...]]:
    """``reasoning_effort`` for an upstream that knows no other spelling, and what was lost on the way."""
    if reasoning.effort is None and reasoning.max_tokens is None and reasoning.enabled is None:
        return None, ("reasoning.exclude-dropped",) if reasoning.exclude else ()
    if _cannot_reason(target):
        return None, ("reasoning-dropped",)
    adjusted = ("reasoning.exclude-dropped",) if reasoning.exclude else ()
    if reasoning.effort is not None:
        return reasoning.effort, adjusted
    if reasoning.max_tokens is None:
        return "medium" if reasoning.enabled else "none", adjusted
    if reasoning.max_tokens == 0:
        return "none", adjusted
    adjusted = ("reasoning.max_tokens-approximated", *adjusted)
    if reasoning.max_tokens < 0:
        return "medium", adjusted
    budget = reasoning.max_tokens
    return min(_EFFORT_OF_BUDGET, key=lambda entry: abs(entry[0] - budget))[1], adjusted

"""Which requests may be served from the cache at all, and which of them by meaning. No language, no model is needed to say so.

Rules
- Exact: chat and embeddings whose neutral form holds the whole request, and whose answer the event alphabet holds whole. It has
  no word for a second choice, for log probabilities or for a search's sources: such an answer could not be told again.
- By meaning (reference 3.1): words only; no tools, unless the operator says so; nothing that asks for chance (temperature) or
  for one certain draw (seed); not what is mostly code, or too short to compare. The history need not be short: a partition
  holds it exactly, so that "tell me more" is compared only with what was asked after the very same words.
- ``x-penstock-cache: semantic`` is the caller's own word that the temperature may be passed over; nothing else is.
"""

import re
from typing import Final

from penstock.base.bulk import is_whole
from penstock.base.chat import ChatRequest, Text, Thinking, ToolCall, ToolResult
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsRequest
from penstock.cache.controls import Controls
from penstock.cache.keys import last_user, nfc
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.wire.ports import NeutralRequest

MAX_WORDS: Final = 200
"""Of what is embedded. Beyond its window an embedder sees nothing: behind 256 equal tokens the cosine is exactly 1 (2.3)."""
MAX_CHARACTERS: Final = 8 * MAX_WORDS
MIN_CONTENT_WORDS: Final = 3
MAX_USER_TURNS: Final = 10
"""A longer conversation is nobody else's: to embed it would only cost."""
MAX_MESSAGE_CHARACTERS: Final = 65_536
MAX_CODE_SHARE: Final = 0.3

_WHOLE_WORDS = frozenset({"prompt-as-chat", "cache_control-dropped", "transforms-dropped", "plugins-dropped"})
_WHOLE_BEGINNINGS = ("metadata.", "provider.")
"""What a caller's dialect may have dropped without a loss to the neutral form: it is in the form, or no answer hangs on it."""
_MARKS = frozenset({"messages.audio", "tools.grammar"})
"""Extras that say that something stood there, but not what."""
_MARK_BEGINNING = "input."
_LIVE = frozenset(
    {
        "background",
        "container",
        "mcp_servers",
        "plugins",
        "web_search_options",
        "tools.codeExecution",
        "tools.computerUse",
        "tools.fileSearch",
        "tools.googleMaps",
        "tools.googleSearch",
        "tools.googleSearchRetrieval",
        "tools.mcpServers",
        "tools.urlContext",
        "include.web_search_call.action.sources",
    }
)
"""Answers that are of the moment, or carry sources that events have no word for."""
_WORD = re.compile(r"\w+")
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f\uf900-\ufaff]")
"""Scripts that put no blanks between words."""
_IDLE_LIST = (
    "a about an and any are as at be been but by can could did do does for from had has have he her his how i if in into is it "
    "its me my of on or our please she so some tell than that the their them then there these they this to us was we were what "
    "when where which who why will with would you your"
)
_IDLE_WORDS = frozenset(_IDLE_LIST.split())
_FENCE = "```"
Judged = tuple[tuple[str, ...], re.Pattern[str]]
_INSTRUCTIONS: tuple[Judged, ...] = (
    (
        ("ignore", "disregard", "forget", "override"),
        re.compile(
            r"\b(?:ignore|disregard|forget|override)\b[^.\n]{0,80}\b(?:instructions?|prompts?|rules?|messages?|context)\b"
        ),
    ),
    (("prompt", "message"), re.compile(r"\b(?:system|developer)\s{1,3}(?:prompt|message)")),
    (("now",), re.compile(r"\byou\s{1,3}are\s{1,3}now\b")),
    (("instruction",), re.compile(r"\bnew\s{1,3}instruction")),
    (("jailbreak",), re.compile("jailbreak")),
)
_LINKS: tuple[Judged, ...] = (
    (("http:", "https:", "ftp:", "javascript:"), re.compile(r"\b(?:https?|ftp|javascript):\S")),
    (("data:", "file:"), re.compile(r"\b(?:data|file):\S")),
    (("www.",), re.compile(r"\bwww\.\w")),
    (("](",), re.compile(r"\]\(")),
)
_MARKUP: tuple[Judged, ...] = (
    (
        ("<",),
        re.compile(
            r"<\s{0,4}/?\s{0,4}(?:script|iframe|img|svg|object|embed|form|link|meta|style)\b|<\|\w{1,40}\|>"
        ),
    ),
    (("inst]",), re.compile(r"\[/?inst\]")),
    (
        ("system", "assistant", "developer", "human"),
        re.compile(
            r"^[ \t]{0,8}(?:#{1,4}[ \t]{0,4})?(?:system|assistant|developer|human)[ \t]{0,4}:", re.MULTILINE
        ),
    ),
)
"""Words that a text must hold, and the form: in lower case, bounded, and most texts hold none of the words."""


def exact_refusal(request: NeutralRequest, controls: Controls) -> Rejected | None:
    """Why the answer to ``request`` is neither looked up nor kept; None: it may be."""
    if controls.mode == "off":
        return Rejected("cache-off", "The caller switched the cache off for this call.")
    if isinstance(request, EmbeddingsRequest):
        return _unread((), request.extras)
    if not isinstance(request, ChatRequest):
        return Rejected("operation-not-cached", "Only chat and embeddings are cached.")
    if request.n is not None and request.n > 1:
        return Rejected("several-answers", f"{request.n} answers were asked for, and one is kept.", "n")
    if request.logprobs or request.top_logprobs or "logprobs-dropped" in request.adjusted:
        return Rejected(
            "logprobs-asked", "Log probabilities were asked for, and a kept answer has none.", "logprobs"
        )
    for fields in request.extras.values():
        for name, value in fields.items():
            if name in _LIVE and value not in (None, False, []):  # {} asks for a search as it comes
                return Rejected("live-tools", f"{name} makes an answer of the moment.", name)
            if name == "modalities" and isinstance(value, list) and "audio" in value:
                return Rejected("sound-asked", "A spoken answer cannot be told again whole.", name)
    return _unread(request.adjusted, request.extras)


def _unread(adjusted: tuple[str, ...], extras: dict[str, dict[str, object]]) -> Rejected | None:
    """Two requests that differ only in what a reader passed over would have one key."""
    for word in adjusted:
        if word not in _WHOLE_WORDS and not word.startswith(_WHOLE_BEGINNINGS):
            return Rejected("not-wholly-read", f"Part of the request has no place in its key: {word}.")
    for fields in extras.values():
        for name, value in fields.items():
            if value is None or name in _MARKS or (value is True and name.startswith(_MARK_BEGINNING)):
                return Rejected("not-wholly-read", f"Part of the request has no place in its key: {name}.")
    return None


def semantic_refusal(
    request: NeutralRequest, controls: Controls, settings: SemanticCacheConfig
) -> Rejected | None:
    """Why ``request`` is not served by meaning; None: it may be. What refuses the exact tier refuses this one.

    What is embedded has a length of its own: see ``length_refusal``.
    """
    refusal = exact_refusal(request, controls)
    if refusal is not None:
        return refusal
    if controls.mode == "exact":
        return Rejected("exact-only", "The caller asked for exact matches only.")
    if not isinstance(request, ChatRequest):
        return Rejected("not-chat", "Only chat has a meaning that could be compared.")
    return _of_parameters(request, controls, settings) or _of_history(request, settings) or _of_words(request)


def _of_parameters(
    request: ChatRequest, controls: Controls, settings: SemanticCacheConfig
) -> Rejected | None:
    offered = bool(request.tools) and (request.tool_choice is None or request.tool_choice.mode != "none")
    if offered and not settings.tools:
        return Rejected("tools-offered", "The model may call tools.", "tools")
    if request.seed is not None:
        return Rejected("seed-given", "A seed asks for one certain answer.", "seed")
    if request.store:
        return Rejected("kept-by-provider", "The provider is to keep this call.", "store")
    heat = request.temperature
    if heat is not None and heat > settings.max_temperature and controls.mode != "semantic":
        return Rejected(
            "temperature",
            f"The temperature is {heat:g}, and up to {settings.max_temperature:g} is served by meaning; "
            "x-penstock-cache: semantic passes over it.",
            "temperature",
        )
    return None


def _of_history(request: ChatRequest, settings: SemanticCacheConfig) -> Rejected | None:
    messages = request.messages
    if not messages or messages[-1].role != "user":
        return Rejected("not-a-users-words", "The last message is not a user's.", "messages")
    if sum(message.role == "user" for message in messages) > MAX_USER_TURNS:
        return Rejected("long-conversation", f"The user speaks more than {MAX_USER_TURNS} times.", "messages")
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall | ToolResult):
                if not settings.tools:
                    return Rejected("tools-in-history", "Tools were called in the conversation.", "messages")
            elif not isinstance(part, Text | Thinking):
                return Rejected("not-text", "The conversation holds more than words.", "messages")
    return None


def _of_words(request: ChatRequest) -> Rejected | None:
    text = last_user_text(request)
    if text is None:
        return Rejected("no-words", "The last message has no words.", "messages")
    if len(text) > MAX_MESSAGE_CHARACTERS or not is_whole(text):
        return Rejected("too-long", f"The last message has more than {MAX_MESSAGE_CHARACTERS} characters.")
    if code_share(text) > MAX_CODE_SHARE:
        return Rejected("mostly-code", "More than 30 % of the last message is code.")
    if content_words(text) < MIN_CONTENT_WORDS:
        return Rejected("too-short", f"The last message has fewer than {MIN_CONTENT_WORDS} words of content.")
    return None


def last_user_text(request: ChatRequest) -> str | None:
    """The words of the last user message, in NFC, which a partition leaves out; None: there are none."""
    index = last_user(request.messages)
    if index < 0:
        return None
    words = [part.text for part in request.messages[index].parts if isinstance(part, Text)]
    return nfc("\n".join(words)).strip() or None


def length_refusal(text: str) -> Rejected | None:
    """Why ``text``, what a template left of a message, is too long to embed. An embedder's own window is asked beside it."""
    if len(text) > MAX_CHARACTERS or len(text.split()) > MAX_WORDS:
        return Rejected(
            "too-long",
            f"What would be compared has more than {MAX_WORDS} words or {MAX_CHARACTERS} characters.",
        )
    return None


def shareable(text: str) -> Rejected | None:
    """Why ``text``, asked or answered, is not kept where several principals share entries: it could steer who reads it.

    Within one key's own entries nobody but the writer is served, and this is not asked.
    """
    if len(text) > MAX_MESSAGE_CHARACTERS or not is_whole(text):
        return Rejected("too-long", f"A text of more than {MAX_MESSAGE_CHARACTERS} characters is not judged.")
    low = text.lower()
    if _holds(low, _INSTRUCTIONS):
        return Rejected("instruction-like", "The text reads like instructions to a model.")
    if _holds(low, _LINKS):
        return Rejected("holds-links", "The text holds a link or a picture's address.")
    if _holds(low, _MARKUP):
        return Rejected("holds-markup", "The text holds markup, or speaks as a role of its own.")
    return None


def _holds(low: str, forms: tuple[Judged, ...]) -> bool:
    return any(any(word in low for word in words) and form.search(low) is not None for words, form in forms)


def code_share(text: str) -> float:
    """How much of ``text`` stands between code fences; one that is not closed lasts to the end."""
    if _FENCE not in text:
        return 0.0
    return sum(map(len, text.split(_FENCE)[1::2])) / len(text)


def content_words(text: str) -> int:
    """Words that say something, counted up to what matters here. Where there are no blanks, two characters are a word."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text[:MAX_CHARACTERS])) // 2
    if wide >= MIN_CONTENT_WORDS:
        return wide
    count = wide
    for match in _WORD.finditer(text):
        word = match.group()
        if (len(word) > 1 or word.isdigit()) and word.lower() not in _IDLE_WORDS:
            count += 1
            if count >= MIN_CONTENT_WORDS:
                break
    return count

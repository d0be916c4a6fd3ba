"""Which dialect a path speaks, and for which simulated provider."""

import re
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

from penstock.simulate.aws_signature import access_key_of
from penstock.wire.http import Headers, header

_VERTEX = re.compile(
    r"^/(?:v1|v1beta1)/projects/[^/]+/locations/[^/]+/publishers/google/models/(?P<model>[^/:]+)(?::(?P<verb>\w+))?$"
)
_GEMINI = re.compile(r"^/(?:v1|v1beta)/models/(?P<model>[^/:]+)(?::(?P<verb>\w+))?$")
_FAL = re.compile(r"^/(?:fal-ai|pictures)/|^/[^/]+/[^/]+/requests/[^/]+(?:/status|/cancel)?$")
_BEDROCK = re.compile(r"^/model/(?P<model>[^/]+)/converse(?:-stream)?$")
_BATCHES = re.compile(r"^.*/(?:files|batches)(?:/[^/]+(?:/(?:content|cancel))?)?$")
_GEMINI_FILES = re.compile(r"^/(?:(?:upload|download)/)?(?:v1|v1beta)/files(?:/[^/:]+)?(?::download)?$")
_GEMINI_BATCHES = re.compile(r"^/(?:v1|v1beta)/batches(?:/[^/:]+)?(?::cancel)?$")
_PREFIXED = re.compile(r"^/p/([^/]+)(/.*)$")
_MAX_KEPT = 4096
_PROVIDERS = {
    "responses": "openai",
    "openai_audio": "openai",
    "openai_batches": "openai",
    "anthropic_batches": "anthropic",
    "anthropic_files": "anthropic",
    "gemini_files": "gemini",
    "gemini_batches": "gemini",
}
"""Whose dialect it is, where that is not its name."""


class Route(Struct, frozen=True):
    """Where a target leads. ``model`` and ``verb`` are set where the path names them (Gemini)."""

    dialect: str
    provider: str
    path: str
    query: dict[str, str]
    model: str = ""


class Router:
    """Targets -> routes, remembered: callers repeat themselves."""

    def __init__(self) -> None:
        self._kept: dict[str, Route] = {}

    def route(self, target: str, headers: Headers) -> Route:
        """The route of a request. Unknown paths are OpenAI's to refuse."""
        kept = self._kept.get(target)
        if kept is not None:
            return kept
        path, _, query = target.partition("?")
        prefixed = _PREFIXED.match(path)
        name, rest = (unquote(prefixed[1]), prefixed[2]) if prefixed else ("", path)
        dialect, model = _dialect_of(rest)
        shared = rest.endswith("/models")
        if shared:
            dialect = _lister(rest, headers)
        elif dialect == "openai_batches":
            dialect, shared = _google(rest, headers) or _anthropic(rest, headers) or dialect, True
        found = Route(
            dialect,
            name or _PROVIDERS.get(dialect, dialect),
            rest,
            dict(parse_qsl(query, keep_blank_values=True)),
            unquote(model),
        )
        if not shared and len(self._kept) < _MAX_KEPT:
            self._kept[target] = found
        return found


def _dialect_of(path: str) -> tuple[str, str]:
    if path.endswith("/chat/completions"):
        return "openai", ""
    if path.endswith("/responses"):
        return "responses", ""
    if path == "/token":
        return "oauth", ""
    if path.startswith("/v1/messages/batches"):
        return "anthropic_batches", ""
    if path.startswith("/v1/messages"):
        return "anthropic", ""
    if path == "/v2/chat":
        return "cohere", ""
    if match := _BEDROCK.match(path):
        return "bedrock", match["model"]
    if path.startswith("/v2beta/"):
        return "stability", ""
    if path in ("/v2/rerank", "/v2/embed") or (path.startswith("/v2/models/") and path.endswith("/infer")):
        return "vectors", ""
    if _BATCHES.match(path):
        return "openai_batches", ""
    if path.endswith(("/images/generations", "/images/edits")):
        return "openai_images", ""
    if path.endswith(("/audio/transcriptions", "/audio/translations", "/audio/speech")):
        return "openai_audio", ""
    if path.startswith("/v1/predictions") or path.endswith("/predictions"):
        return "replicate", ""
    if _FAL.match(path):
        return "fal", ""
    for dialect, pattern in (("vertex", _VERTEX), ("gemini", _GEMINI)):
        match = pattern.match(path)
        if (
            match
            and dialect == "gemini"
            and match["verb"] in ("batchGenerateContent", "asyncBatchEmbedContent")
        ):
            return "gemini_batches", match["model"]
        if match and (match["verb"] or dialect == "vertex" or path.startswith("/v1beta/")):
            return dialect, match["model"]
    return "openai", ""


def _anthropic(path: str, headers: Headers) -> str:
    """``/v1/files`` is Anthropic's, too; its callers say which version they speak."""
    mine = path.startswith("/v1/files") and header(headers, b"anthropic-version") is not None
    return "anthropic_files" if mine else ""


def _lister(path: str, headers: Headers) -> str:
    """``GET .../models`` is the same path for three vendors; their headers differ."""
    if path.startswith("/v1beta/") or header(headers, b"x-goog-api-key") is not None:
        return "gemini"
    return "openai" if header(headers, b"anthropic-version") is None else "anthropic"


def _google(path: str, headers: Headers) -> str:
    """``/v1/files`` and ``/v1/batches`` are of two vendors; Google's callers have their own header. "": it is not Google's."""
    if (
        not path.startswith(("/v1beta/", "/upload/", "/download/"))
        and header(headers, b"x-goog-api-key") is None
    ):
        return ""
    if _GEMINI_FILES.match(path):
        return "gemini_files"
    return "gemini_batches" if _GEMINI_BATCHES.match(path) else ""


def key_of(dialect: str, headers: Headers, query: dict[str, str]) -> str:
    """The credential, from where the dialect's vendor looks for it."""
    if dialect == "bedrock":
        return access_key_of(headers)
    dialect = dialect.removesuffix("_batches").removesuffix("_files")
    names = {"anthropic": (b"x-api-key", b"authorization"), "gemini": (b"x-goog-api-key", b"authorization")}
    for name in names.get(dialect, (b"authorization",)):
        value = header(headers, name)
        if value is not None:
            text = value.decode("latin-1").strip()
            if name == b"authorization" and text[:4] == "Key ":  # fal's own scheme
                return text[4:].strip()
            return text[7:].strip() if name == b"authorization" and text[:7].lower() == "bearer " else text
    return query.get("key", "") if dialect == "gemini" else ""

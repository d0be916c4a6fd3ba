"""AI Studio's files, for large parts of a request: a resumable upload, and ``fileData`` in the part's place.

Facts (google-genai 3.4.0: files.py, _api_client.py, types.File; ai.google.dev, Files API and "File input methods"; read 2026-11): a
request is at most 100 MB since January 2026 (20 MB before), a file at most 2 GB, a PDF at most 50 MB either way; a file is
kept for 48 hours; it may be used once its state is ACTIVE, at once for documents, later for films. Its creator may name it, so
that one that was begun and never told of can be deleted by its name.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from penstock.base.errors import UpstreamBadRequest, UpstreamMalformed
from penstock.base.media_size import Medium
from penstock.wire.http import WireRequest, header
from penstock.wire.uploads import Answer, Ask, Inline, NewFile, Pause, Upload, Uploaded

Json = dict[str, Any]
_JSON = (b"content-type", b"application/json")
_IDENTITY = (b"accept-encoding", b"identity")
_FIRST_LOOK_S, _LAST_LOOK_S = 0.25, 4.0
_BLOBS = (
    ("inlineData", "fileData", "mimeType", "fileUri"),
    ("inline_data", "file_data", "mime_type", "file_uri"),
)
_KINDS: dict[str, Medium] = {"image": "image", "audio": "audio", "video": "video"}
_encode = msgspec.json.encode


class _Status(Struct):
    message: str = ""


class _File(Struct):
    name: str = ""
    uri: str = ""
    state: str = ""
    error: _Status = field(default_factory=_Status)


class _Made(Struct):
    file: _File


class GeminiFiles:
    """The service (wire.uploads.UploadService)."""

    fields: tuple[str, ...] = ("contents",)
    most_request_bytes: int | None = 100_000_000
    most_file_bytes = 2_000_000_000
    most_life_s = 47 * 3600
    """An hour less than the provider keeps it."""

    def inlines(self, value: Any) -> list[Inline]:
        """All that stands in ``inlineData``, in either spelling."""
        return [found for part in _parts(value) if (found := _inline(part)) is not None]

    def upload(self, new: NewFile) -> Upload:
        """Announced, brought, and waited for."""
        told = {"file": {"name": self.id_of(new.name), "display_name": (new.filename or new.name)[:512]}}
        start = [
            _JSON,
            _IDENTITY,
            (b"x-goog-upload-protocol", b"resumable"),
            (b"x-goog-upload-command", b"start"),
            (b"x-goog-upload-header-content-length", b"%d" % new.body.size),
            (b"x-goog-upload-header-content-type", new.mime.encode("latin-1", "replace")),
        ]
        answer = yield Ask(WireRequest(b"POST", b"/upload/v1beta/files", start, _encode(told)))
        place = b"" if answer is None else header(answer.headers, b"x-goog-upload-url") or b""
        # Its host is not asked for: a credential goes to the configured one (as google-genai does it, where one is set).
        parts = urlsplit(place.decode("latin-1"))
        if not parts.path.startswith("/"):
            raise UpstreamMalformed("The provider has told no address to bring the file to.")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        bring = [
            _IDENTITY,
            (b"x-goog-upload-offset", b"0"),
            (b"x-goog-upload-command", b"upload, finalize"),
        ]
        answer = yield Ask(
            WireRequest(b"POST", path.encode("latin-1"), bring, b"", poured=new.body), absolute=True
        )
        file = _read(answer, _Made).file
        wait_s = _FIRST_LOOK_S
        while file.state == "PROCESSING":
            yield Pause(wait_s)
            wait_s = min(2 * wait_s, _LAST_LOOK_S)
            answer = yield Ask(WireRequest(b"GET", b"/v1beta/" + file.name.encode(), [_IDENTITY], b""))
            file = _read(answer, _File)
        if file.state == "FAILED":
            raise UpstreamBadRequest(
                f"The provider could not read the file: {file.error.message[:200] or 'no reason told'}.",
                code="file_unreadable",
                upstream_status=200,
            )
        if not file.name or not file.uri:
            raise UpstreamMalformed("The provider has told no address of the file.")
        return Uploaded(file.name, file.uri)

    def id_of(self, name: str) -> str:
        """As we name it."""
        return f"files/{name}"

    def delete(self, file: str) -> WireRequest:
        """``DELETE /v1beta/files/{id}``."""
        return WireRequest(b"DELETE", b"/v1beta/" + file.encode(), [_IDENTITY], b"")

    def dress(self, request: WireRequest) -> None:
        """Nothing more is needed."""


_Kind = TypeVar("_Kind", _File, _Made)


def _read(answer: Answer | None, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(b"" if answer is None else answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise UpstreamMalformed(f"This is no file of Google's: {error}.") from error


def _parts(value: Any) -> Iterator[Json]:
    for content in _objects(value if isinstance(value, list) else [value]):
        parts = content.get("parts")
        yield from _objects(parts if isinstance(parts, list) else [parts])


def _objects(value: Any) -> Iterator[Json]:
    for one in cast("list[Any]", value):
        if isinstance(one, dict):
            yield cast("Json", one)


def _inline(part: Json) -> Inline | None:
    for inline, by_file, *names in _BLOBS:
        blob = part.get(inline)
        if not isinstance(blob, dict):
            continue
        facts = cast("Json", blob)
        data = facts.get("data")
        mime = facts.get("mimeType", facts.get("mime_type"))
        if not isinstance(data, str) or not isinstance(mime, str):
            return None
        name = facts.get("displayName", facts.get("display_name"))

        kind = _KINDS.get(mime.partition("/")[0].lower(), "document")
        put = partial(_put, part, inline, by_file, dict(zip(names, (mime, ""), strict=True)))
        return Inline(kind, data, mime, name if isinstance(name, str) else "", put)
    return None


def _put(part: Json, inline: str, by_file: str, facts: Json, file: Uploaded) -> None:
    part.pop(inline, None)
    part[by_file] = {**facts, list(facts)[-1]: file.uri}


GEMINI_FILES = GeminiFiles()

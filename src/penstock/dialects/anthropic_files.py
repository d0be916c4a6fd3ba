"""Anthropic's files, for large parts of a request: ``POST /v1/files``, and ``source: {type: file}`` in the part's place.

Facts (anthropic-python 2.11.0: types/beta/file_upload_params.py, file_metadata.py; platform.claude.com, Files API; read 2026-11): a
request is at most 32 MB, a file at most 500 MB; the header ``anthropic-beta: files-api-2025-04-14``; a file expires an hour after
its upload at the earliest, and only where that is asked for. Files are no part of zero data retention.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.wire.http import Headers, WireRequest, header
from penstock.wire.multipart import FormPart, write_form_around
from penstock.wire.poured import Around
from penstock.wire.uploads import MIN_EXPIRY_S, Ask, Inline, NewFile, Upload, Uploaded

Json = dict[str, Any]
BETA = b"files-api-2025-04-14"
_BETAS = b"anthropic-beta"
_HEADERS: Headers = [
    (b"anthropic-version", b"2023-06-01"),
    (_BETAS, BETA),
    (b"accept-encoding", b"identity"),
]
_ENDINGS = {
    "application/pdf": "pdf",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_NOT_IN_NAMES = re.compile(r'[<>:"|?*\\/\x00-\x1f]')
_MOST_NAME_CHARS = 255


class _File(Struct):
    id: str


class AnthropicFiles:
    """The service (wire.uploads.UploadService)."""

    fields: tuple[str, ...] = ("messages",)
    most_request_bytes: int | None = 32_000_000
    most_file_bytes = 500_000_000
    most_life_s = 7_776_000

    def inlines(self, value: Any) -> list[Inline]:
        """Documents and pictures, those of tools' results among them."""
        return [found for block in _blocks(value) if (found := _inline(block)) is not None]

    def upload(self, new: NewFile) -> Upload:
        """One form."""
        kind, before, behind = write_form_around(
            [FormPart("expires_in_seconds", b"%d" % max(MIN_EXPIRY_S, new.expires_s))],
            FormPart("file", b"", _filename(new), new.mime),
        )
        answer = yield Ask(
            WireRequest(
                b"POST",
                b"/v1/files",
                [(b"content-type", kind), *_HEADERS],
                b"",
                poured=Around(before, new.body, behind),
            )
        )
        try:
            made = msgspec.json.decode(b"" if answer is None else answer.body, type=_File)
        except msgspec.DecodeError as error:
            raise UpstreamMalformed(f"This is no file of Anthropic's: {error}.") from error
        return Uploaded(made.id)

    def id_of(self, name: str) -> str:
        """The provider gives ids."""
        del name
        return ""

    def delete(self, file: str) -> WireRequest:
        """``DELETE /v1/files/{id}``."""
        return WireRequest(b"DELETE", b"/v1/files/" + file.encode(), list(_HEADERS), b"")

    def dress(self, request: WireRequest) -> None:
        """The beta's header, beside those of the caller."""
        said = header(request.headers, _BETAS) or b""
        betas = [one.strip() for one in said.split(b",") if one.strip()]
        if BETA not in betas:
            others = [pair for pair in request.headers if pair[0] != _BETAS]
            request.headers = [*others, (_BETAS, b",".join([*betas, BETA]))]


def _filename(new: NewFile) -> str:
    name = _NOT_IN_NAMES.sub("_", new.filename).strip()[-_MOST_NAME_CHARS:]
    return name or f"file.{_ENDINGS.get(new.mime, 'bin')}"


def _blocks(value: Any) -> Iterator[Json]:
    for message in _objects(value):
        for block in _objects(message.get("content")):
            yield block
            if block.get("type") == "tool_result":
                yield from _objects(block.get("content"))


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            if isinstance(one, dict):
                yield cast("Json", one)


def _inline(block: Json) -> Inline | None:
    match block:
        case {
            "type": "document" | "image" as kind,
            "source": {"type": "base64", "data": str(data), "media_type": str(mime)},
        }:
            title = block.get("title")

            def put(file: Uploaded) -> None:
                block["source"] = {"type": "file", "file_id": file.id}

            return Inline(
                "image" if kind == "image" else "document",
                data,
                mime.lower(),
                title if isinstance(title, str) else "",
                put,
            )
        case _:
            return None


ANTHROPIC_FILES = AnthropicFiles()

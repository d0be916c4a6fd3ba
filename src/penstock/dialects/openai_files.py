"""OpenAI's files, for large parts of a request: ``POST /files`` with the purpose user_data, and ``file_id`` in the part's place.

Facts (openai-python 3.52.0: types/file_create_params.py, file_object.py; OpenAI, "File inputs"; read 2026-11): a file is at most
512 MB; all files of one request together at most 50 MB, uploaded or not, so that uploading lets nothing through that inline
would not go through: it spares sending it again. A file expires an hour after its creation at the earliest. Chat takes
uploaded documents, Responses documents and pictures; sounds go inline.
"""

import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.wire.http import WireRequest
from penstock.wire.multipart import FormPart, write_form_around
from penstock.wire.poured import Around
from penstock.wire.uploads import MIN_EXPIRY_S, Ask, Inline, NewFile, Upload, Uploaded

Json = dict[str, Any]
_DATA_URL = re.compile(r"data:([\w.+/-]*)(?:;[\w=.+-]+)*;base64,")
_IDENTITY = (b"accept-encoding", b"identity")
_ENDINGS = {"application/pdf": "pdf", "text/plain": "txt", "image/png": "png", "image/jpeg": "jpg"}


class _File(Struct):
    id: str


class OpenAIFiles:
    """The service (wire.uploads.UploadService)."""

    fields: tuple[str, ...] = ("messages", "input")
    most_request_bytes: int | None = None
    most_file_bytes = 512_000_000
    most_life_s = 2_592_000

    def inlines(self, value: Any) -> list[Inline]:
        """Documents of chat and of Responses, and pictures of Responses."""
        return [found for part in _parts(value) if (found := _inline(part)) is not None]

    def upload(self, new: NewFile) -> Upload:
        """One form."""
        kind, before, behind = write_form_around(
            [
                FormPart("purpose", b"user_data"),
                FormPart("expires_after[anchor]", b"created_at"),
                FormPart("expires_after[seconds]", b"%d" % max(MIN_EXPIRY_S, new.expires_s)),
            ],
            FormPart("file", b"", new.filename or f"file.{_ENDINGS.get(new.mime, 'bin')}", new.mime),
        )
        headers = [(b"content-type", kind), _IDENTITY]
        answer = yield Ask(
            WireRequest(b"POST", b"/files", headers, b"", poured=Around(before, new.body, behind))
        )
        try:
            made = msgspec.json.decode(b"" if answer is None else answer.body, type=_File)
        except msgspec.DecodeError as error:
            raise UpstreamMalformed(f"This is no file of OpenAI's: {error}.") from error
        return Uploaded(made.id)

    def id_of(self, name: str) -> str:
        """The provider gives ids."""
        del name
        return ""

    def delete(self, file: str) -> WireRequest:
        """``DELETE /files/{id}``."""
        return WireRequest(b"DELETE", b"/files/" + file.encode(), [_IDENTITY], b"")

    def dress(self, request: WireRequest) -> None:
        """Nothing more is needed."""


def _parts(value: Any) -> Iterator[Json]:
    """The parts of messages (chat), and of items and their outputs (Responses)."""
    for message in _objects(value):
        for name in ("content", "output"):
            yield from _objects(message.get(name))


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            if isinstance(one, dict):
                yield cast("Json", one)


def _inline(part: Json) -> Inline | None:
    match part:
        case {"type": "file", "file": {"file_data": str(url)} as file}:
            holder: Json = cast("Json", file)
        case {"type": "input_file", "file_data": str(url)} | {"type": "input_image", "image_url": str(url)}:
            holder = part
        case _:
            return None
    match = _DATA_URL.match(url)
    if match is None:
        return None
    name = holder.get("filename")

    def put(file: Uploaded) -> None:
        for field in ("file_data", "filename", "image_url"):
            holder.pop(field, None)
        holder["file_id"] = file.id

    picture = part["type"] == "input_image"
    return Inline(
        "image" if picture else "document",
        url[match.end() :],
        match[1].lower() or "application/octet-stream",
        name if isinstance(name, str) else "",
        put,
    )


OPENAI_FILES = OpenAIFiles()

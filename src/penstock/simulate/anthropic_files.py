"""Anthropic's files, as its servers keep them: uploads, looks, lists, deletions.

Sources: anthropic-python 2.11.0 (types/file_metadata.py, types/file_upload_params.py, types/beta/deleted_file.py, pagination.py),
read 2026-11. Both ways are served: with the header ``anthropic-beta: files-api-2025-04-14``, and without.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.simulate.reply import Call, Refused, Reply, Speaker
from penstock.wire.http import header
from penstock.wire.multipart import read_form

_PATH = re.compile(r"^/v1/files(?:/(?P<id>[^/]+)(?P<content>/content)?)?$")
_NAME = re.compile(r'[^<>:"|?*\\/\x00-\x1f]{1,255}')
_LEAST_S, _MOST_S = 3600, 7_776_000
_MOST_BYTES = 500 * 1024 * 1024
_encode = msgspec.json.Encoder().encode


class AnthropicFile(Struct):
    """One of them. ``expires_s`` 0: never."""

    provider: str
    key: str
    filename: str
    mime: str
    data: bytes
    at_s: int
    expires_s: int = 0


class AnthropicFiles:
    """``/v1/files``. ``unix_s`` tells when one has expired."""

    def __init__(self, dialect: Speaker, unix_s: Callable[[], float]) -> None:
        self._dialect = dialect
        self._unix_s = unix_s
        self.files: dict[str, AnthropicFile] = {}

    def find(self, name: str, call: Call) -> AnthropicFile:
        """This account's, or Refused."""
        found = self.files.get(name)
        if found is None or (found.provider, found.key) != (call.provider, call.key):
            raise Refused(404, f"File not found: {name}")
        if found.expires_s and self._unix_s() >= found.at_s + found.expires_s:
            raise Refused(404, f"File expired: {name}")
        return found

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(401, "x-api-key header is required")
        if header(call.headers, b"anthropic-version") is None:
            raise Refused(400, "anthropic-version: header is required")
        match = _PATH.match(call.path)
        if match is None:
            raise Refused(404, "Not Found")
        name = match["id"]
        if name is None:
            return self._upload(call) if call.method == "POST" else self._list(call)
        file = self.find(name, call)
        if match["content"] is not None:
            raise Refused(400, "This file is not downloadable.")
        if call.method == "DELETE":
            del self.files[name]
            return _json({"id": name, "type": "file_deleted"})
        return _json(_view(name, file))

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return self._dialect.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _upload(self, call: Call) -> Reply:
        try:
            parts = {
                part.name: part for part in read_form(header(call.headers, b"content-type") or b"", call.body)
            }
        except BadRequest as error:
            raise Refused(400, error.message) from error
        file = parts.pop("file", None)
        if file is None or file.filename is None:
            raise Refused(400, "file: Field required")
        told = parts.pop("expires_in_seconds", None)
        if parts:
            raise Refused(400, f"{min(parts)}: Extra inputs are not permitted")
        if _NAME.fullmatch(file.filename) is None:
            raise Refused(400, "Filename contains invalid characters")
        if len(file.data) > _MOST_BYTES:
            raise Refused(413, "")
        expires_s = 0 if told is None else int(told.data) if told.data.isdigit() else -1
        if told is not None and not _LEAST_S <= expires_s <= _MOST_S:
            raise Refused(400, f"expires_in_seconds: must be between {_LEAST_S} and {_MOST_S}")
        name = f"file_sim{call.serial}"
        self.files[name] = AnthropicFile(
            call.provider, call.key, file.filename, file.content_type, file.data, call.unix_s, expires_s
        )
        return _json(_view(name, self.files[name]))

    def _list(self, call: Call) -> Reply:
        whose = (call.provider, call.key)
        names = [name for name, one in reversed(self.files.items()) if (one.provider, one.key) == whose]
        start = names.index(call.query["page"].removeprefix("page_")) if "page" in call.query else 0
        limit = int(call.query.get("limit") or 20)
        page, rest = names[start : start + limit], names[start + limit :]
        return _json(
            {
                "data": [_view(name, self.files[name]) for name in page],
                "next_page": f"page_{rest[0]}" if rest else None,
                "has_more": bool(rest),
                "first_id": page[0] if page else None,
                "last_id": page[-1] if page else None,
            }
        )


def _view(name: str, file: AnthropicFile) -> dict[str, Any]:
    made = datetime.fromtimestamp(file.at_s, UTC)
    ends = datetime.fromtimestamp(file.at_s + file.expires_s, UTC).isoformat() if file.expires_s else None
    return {
        "id": name,
        "type": "file",
        "filename": file.filename,
        "mime_type": file.mime,
        "size_bytes": len(file.data),
        "created_at": made.isoformat(),
        "expires_at": ends,
        "downloadable": False,
    }


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, [(b"content-type", b"application/json")], _encode(value))

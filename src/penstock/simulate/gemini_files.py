"""Gemini's files as AI Studio keeps them: uploads, looks, lists, deletions, and downloads of what the service has made.

Sources: google-genai 3.4.0 (files.py, _api_client.py: resumable uploads in pieces) and the Files API reference, read 2026-11.
An upload may also come in one request of two parts (``uploadType=multipart``), as Google's media uploads all allow.
"""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.simulate.reply import Call, Refused, Reply, Speaker
from penstock.simulate.untyped import as_object, as_text
from penstock.wire.http import Headers, header

DAY_S = 86_400
KEPT_S = 2 * DAY_S
_PATH = re.compile(
    r"^/(?P<door>upload/|download/)?(?:v1|v1beta)/files(?:/(?P<id>[^/:]+))?(?::(?P<verb>download))?$"
)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_JSON: Headers = [(b"content-type", b"application/json; charset=UTF-8")]


class GeminiFile(Struct):
    """One of them. ``made``: by the service itself; only those can be downloaded."""

    provider: str
    name: str
    display_name: str
    mime: str
    data: bytes
    at_s: int
    made: bool = False
    key: str = ""
    """Whose it is; of one that the service has made: everybody's."""
    looks: int = 0
    """How many looks will still find it being processed."""


class _Upload(Struct):
    file: GeminiFile
    total: int
    pieces: bytearray


class GeminiFiles:
    """``/files``, with their uploads and downloads."""

    def __init__(self, dialect: Speaker, looks: int = 0) -> None:
        self._dialect = dialect
        self._looks = looks
        self._files: dict[str, GeminiFile] = {}
        self._uploads: dict[str, _Upload] = {}

    def keep(self, file: GeminiFile) -> None:
        """One more."""
        self._files[file.name] = file

    def find(self, name: str, call: Call) -> GeminiFile:
        """A provider's own (``files/x``), or Refused: Google does not say whether there is one of somebody else's."""
        found = self._files.get(name)
        if found is None or found.provider != call.provider or found.key not in ("", call.key):
            raise Refused(
                403,
                f"You do not have permission to access the File {name.partition('/')[2]} or it may not exist.",
            )
        return found

    def state(self, file: GeminiFile) -> str:
        """Whether it may be used by now."""
        return "PROCESSING" if file.looks else "ACTIVE"

    def forget(self) -> None:
        """All of them are gone."""
        self._files.clear()

    def named(self) -> list[GeminiFile]:
        """What is there."""
        return list(self._files.values())

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key and "upload_id" not in call.query:  # the address of an upload is its own credential
            raise Refused(403, "Method doesn't allow unregistered callers.")
        match = _PATH.match(call.path)
        if match is None:
            raise Refused(404, "Requested entity was not found.")
        if match["id"] is None:
            if call.method == "GET":
                return self._list(call)
            return self._upload(call) if match["door"] == "upload/" else self._bad_upload()
        file = self.find(f"files/{match['id']}", call)
        if match["verb"] == "download":
            if not file.made:
                raise Refused(400, "Only generated files can be downloaded.")
            return Reply(200, [(b"content-type", file.mime.encode())], file.data)
        if call.method == "DELETE":
            del self._files[file.name]
            return _json({})
        shown = self._view(file, call)
        file.looks = max(0, file.looks - 1)
        return _json(shown)

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return self._dialect.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _list(self, call: Call) -> Reply:
        found = [one for one in self._files.values() if one.provider == call.provider]
        return _json({"files": [self._view(one, call) for one in found]} if found else {})

    def _bad_upload(self) -> Reply:
        raise Refused(400, "Request contains an invalid argument.")

    def _upload(self, call: Call) -> Reply:
        if "upload_id" in call.query:
            return self._piece(call)
        if call.query.get("uploadType") == "multipart" or _told(call, b"protocol") == "multipart":
            return self._at_once(call)
        if _told(call, b"protocol") != "resumable" or _told(call, b"command") != "start":
            raise Refused(400, "X-Goog-Upload-Protocol is required.")
        asked = as_object(as_object(_read(call.body)).get("file"))
        file = self._new(call, asked, _told(call, b"header-content-type"), b"")
        name = f"sim{call.serial}"
        length = _told(call, b"header-content-length")
        self._uploads[name] = _Upload(file, int(length) if length.isdecimal() else -1, bytearray())
        url = f"{call.root}{call.path}?upload_id={name}&upload_protocol=resumable"
        headers: Headers = [(b"x-goog-upload-url", url.encode()), (b"x-goog-upload-status", b"active")]
        return Reply(200, [*headers, *_JSON], b"")

    def _piece(self, call: Call) -> Reply:
        upload = self._uploads.get(call.query["upload_id"])
        if upload is None or upload.file.provider != call.provider:
            raise Refused(404, "Upload not found.")
        if _told(call, b"offset") != str(len(upload.pieces)):
            raise Refused(400, "X-Goog-Upload-Offset is not where the upload stands.")
        upload.pieces += call.body
        if "finalize" not in _told(call, b"command"):
            return Reply(200, [(b"x-goog-upload-status", b"active"), *_JSON], b"")
        if upload.total >= 0 and upload.total != len(upload.pieces):
            raise Refused(400, "The upload has another length than was announced.")
        del self._uploads[call.query["upload_id"]]
        upload.file.data = bytes(upload.pieces)
        return self._done(upload.file, call)

    def _at_once(self, call: Call) -> Reply:
        try:
            described, media, mime = _related(header(call.headers, b"content-type") or b"", call.body)
        except BadRequest as error:
            raise Refused(400, error.message) from error
        return self._done(self._new(call, as_object(as_object(described).get("file")), mime, media), call)

    def _new(self, call: Call, asked: dict[str, Any], mime: str, data: bytes) -> GeminiFile:
        name = as_text(asked.get("name")).removeprefix("files/") or f"sim{call.serial}"
        if re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", name) is None:
            raise Refused(400, "* CreateFileRequest.file.name: The file name is invalid.")
        if f"files/{name}" in self._files:
            raise Refused(409, f"Entity files/{name} already exists.")
        mime = as_text(asked.get("mimeType", asked.get("mime_type"))) or mime
        shown = as_text(asked.get("displayName", asked.get("display_name")))
        return GeminiFile(
            call.provider, f"files/{name}", shown, mime, data, call.unix_s, key=call.key, looks=self._looks
        )

    def _view(self, file: GeminiFile, call: Call) -> dict[str, Any]:
        return {**view(file, call), "state": self.state(file)}

    def _done(self, file: GeminiFile, call: Call) -> Reply:
        self.keep(file)
        reply = _json({"file": self._view(file, call)})
        reply.headers = [(b"x-goog-upload-status", b"final"), *reply.headers]
        return reply


def view(file: GeminiFile, call: Call) -> dict[str, Any]:
    """Google's File."""
    root = call.root
    shown: dict[str, Any] = {
        "name": file.name,
        "mimeType": file.mime,
        "sizeBytes": str(len(file.data)),
        "createTime": rfc(file.at_s),
        "updateTime": rfc(file.at_s),
        "expirationTime": rfc(file.at_s + KEPT_S),
        "sha256Hash": sha256(file.data).hexdigest(),
        "uri": f"{root}/v1beta/{file.name}",
        "state": "ACTIVE",
        "source": "GENERATED" if file.made else "UPLOADED",
    }
    if file.display_name:
        shown["displayName"] = file.display_name
    if file.made:
        shown["downloadUri"] = f"{root}/download/v1beta/{file.name}:download?alt=media"
    return shown


def rfc(at_s: float) -> str:
    """A time as Google writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _told(call: Call, name: bytes) -> str:
    return (header(call.headers, b"x-goog-upload-" + name) or b"").decode("latin-1").strip().lower()


def _read(body: bytes) -> Any:
    try:
        return _decode(body) if body else {}
    except msgspec.DecodeError:
        raise Refused(400, "Invalid JSON payload received.") from None


def _related(content_type: bytes, body: bytes) -> tuple[Any, bytes, str]:
    """The two parts of a multipart/related body: what the file is, and its bytes with their type. Raises BadRequest."""
    match = re.search(rb'boundary="?([^";]+)"?', content_type)
    if match is None or not content_type.lower().startswith(b"multipart/related"):
        raise BadRequest("An upload in one request is multipart/related, with a boundary.")
    parts = body.split(b"--" + match[1])
    if len(parts) != 4 or parts[3].strip() != b"--":
        raise BadRequest("An upload in one request has two parts.")
    heads: list[bytes] = []
    bodies: list[bytes] = []
    for part in parts[1:3]:
        head, _, rest = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        heads.append(head)
        bodies.append(rest.removesuffix(b"\r\n"))
    mime = re.search(rb"(?im)^content-type:\s*([^\r\n;]+)", heads[1])
    return _read(bodies[0]), bodies[1], "" if mime is None else mime[1].decode("latin-1").strip()


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, list(_JSON), _encode(value))

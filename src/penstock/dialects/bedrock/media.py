"""Pictures, files, sounds and films as Converse's blocks, and which of them it cannot take.

Limits (API reference of Converse and its service model, read 2026-11): everything by its bytes or from ``s3://``; Bedrock
fetches no web address. Images png, jpeg, gif, webp; documents pdf, csv, doc, docx, xls, xlsx, html, txt, md with a name of
letters, digits, single blanks, hyphens, parentheses and brackets.
"""

import base64
import binascii
import re
from typing import Any

from penstock.base.chat import Audio, Document, Image, Part, Video
from penstock.base.decisions import Rejected

_IMAGES = frozenset({"png", "jpeg", "gif", "webp"})
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS = frozenset(
    "mp3 opus wav aac flac mp4 ogg mkv mka x-aac m4a mpeg mpga pcm webm".split()  # noqa: SIM905 - as it is documented
)
_FILMS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9\s\-()\[\]]+")
_BLANKS = re.compile(r"\s+")
_MAX_NAME_CHARS = 200
# Base64 characters that decode to enough bytes for every signature above and RIFF….WEBP.
_HEAD_CHARS = 24


def fault(part: Part, where: str) -> Rejected | None:
    """Why a part cannot go to Bedrock, or None. ``where`` is its path in the caller's body."""
    match part:
        case Image():
            return _fault("image", "an image", part.url, "", image_format(part), where)
        case Document():
            return _fault("document", "a document", part.url, part.file_id, document_format(part), where)
        case Audio():
            return _fault("audio", "a sound", part.url, part.file_id, _sound_format(part), where)
        case Video():
            if part.start_s is not None or part.end_s is not None or part.fps is not None:
                return _no("video-clip", where, "Bedrock takes a video whole", "Cut it before it is sent")
            return _fault("video", "a video", part.url, part.file_id, _film_format(part), where)
        case _:
            return None


def _fault(kind: str, what: str, url: str, file_id: str, form: str | None, where: str) -> Rejected | None:
    if file_id:
        return _no("file-id", where, "Bedrock does not know this file id", "Send the file's bytes instead")
    if url and not url.startswith(("data:", "s3://")):
        return _no(f"{kind}-url", where, f"Bedrock fetches {what} from s3:// only", "Send the bytes instead")
    if form is None:
        return _no(
            f"{kind}-format",
            where,
            f"Bedrock does not take {what} of this type",
            "Convert it to a common one",
        )
    return None


def _no(code: str, where: str, what: str, remedy: str) -> Rejected:
    return Rejected(code, f"{what} ({where}). {remedy}.", param=where, caller_fault=True)


def image_block(image: Image) -> dict[str, Any]:
    """The block of an image that has no fault."""
    data, _ = _bytes_of(image.data, image.url, image.mime)
    return {"image": {"format": image_format(image), "source": _source(data, image.url)}}


def document_block(document: Document, name: str) -> dict[str, Any]:
    """The block of a document that has no fault."""
    data, _ = _bytes_of(document.data, document.url, document.mime)
    source = _source(data, document.url)
    return {"document": {"format": document_format(document), "name": name, "source": source}}


def audio_block(audio: Audio) -> dict[str, Any]:
    """The block of a sound that has no fault."""
    data, _ = _bytes_of(audio.data, audio.url, "")
    return {"audio": {"format": _sound_format(audio), "source": _source(data, audio.url)}}


def video_block(video: Video) -> dict[str, Any]:
    """The block of a film that has no fault."""
    data, _ = _bytes_of(video.data, video.url, video.mime)
    return {"video": {"format": _film_format(video), "source": _source(data, video.url)}}


def document_name(filename: str, used: set[str]) -> str:
    """A name that Converse takes, once in a request: it refuses two equal ones."""
    stem = filename.rpartition("/")[2].rpartition(".")[0] or filename
    base = _BLANKS.sub(" ", _NOT_IN_A_NAME.sub("-", stem)).strip() or "document"
    name, count = base[: _MAX_NAME_CHARS - 8], 2
    while name in used:
        name, count = f"{base[: _MAX_NAME_CHARS - 8]} {count}", count + 1
    used.add(name)
    return name


def _source(data: str, url: str) -> dict[str, Any]:
    return {"s3Location": {"uri": url}} if url.startswith("s3://") and not data else {"bytes": data}


def image_format(image: Image) -> str | None:
    """What the bytes show, else what was declared: Bedrock refuses a wrong format."""
    data, mime = _bytes_of(image.data, image.url, image.mime)
    head = _head(data)
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    form = (mime.partition("/")[2] or image.url.rpartition(".")[2]).lower().replace("jpg", "jpeg")
    return form if form in _IMAGES else None


def document_format(document: Document) -> str | None:
    """What the bytes show, else the declared type, else the name's ending."""
    data, mime = _bytes_of(document.data, document.url, document.mime)
    if _head(data).startswith(b"%PDF"):
        return "pdf"
    known = _DOCUMENTS.get(mime)
    if known is not None:
        return known
    ending = (document.filename or document.url).rpartition(".")[2].lower()
    if ending in _DOCUMENTS.values():
        return ending
    return "txt" if mime.startswith("text/") or mime in ("application/json", "application/xml") else None


def _sound_format(audio: Audio) -> str | None:
    form = (audio.format or audio.url.rpartition(".")[2]).lower()
    return form if form in _SOUNDS else None


def _film_format(video: Video) -> str | None:
    _, mime = _bytes_of(video.data, video.url, video.mime)
    if mime in _FILMS:
        return _FILMS[mime]
    ending = video.url.rpartition(".")[2].lower()
    return ending if not mime and ending in _FILMS.values() else None


def _bytes_of(data: str, url: str, mime: str) -> tuple[str, str]:
    """(base64, declared type), also where a data URL was left in ``url``."""
    if not data and url.startswith("data:"):
        head, _, data = url.partition(",")
        mime = mime or head[5:]
    return data, mime.lower().partition(";")[0].strip()


def _head(data: str) -> bytes:
    try:
        return base64.b64decode(data[:_HEAD_CHARS], validate=False)
    except (binascii.Error, ValueError):
        return b""

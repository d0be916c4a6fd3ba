"""Pictures and files as Anthropic's content blocks, and which of them it cannot take.

Limits (platform.claude.com: vision, PDF support): images jpeg, png, gif, webp by base64 or https URL; documents
application/pdf by base64, https URL or text/plain; no audio, no video. A file id works only for a file that lives
at Anthropic ("file_…"): OpenAI's ("file-…") means nothing there.
"""

import base64
import binascii
from typing import Any

from penstock.base.chat import Audio, Document, Image, Part, Video
from penstock.base.decisions import Rejected

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF", "application/pdf"),
)
# Base64 characters that decode to enough bytes for every signature above and RIFF….WEBP.
_HEAD_CHARS = 24


def fault(part: Part, where: str) -> Rejected | None:
    """Why a part cannot go to Anthropic, or None. ``where`` is its path in the caller's body."""
    match part:
        case Audio():
            return _no("audio-unsupported", where, "Anthropic takes no audio", "Send a transcript as text")
        case Video():
            return _no("video-unsupported", where, "Anthropic takes no video", "Send pictures of it, or text")
        case Image():
            return _image_fault(part, where)
        case Document():
            return _document_fault(part, where)
        case _:
            return None


def _image_fault(image: Image, where: str) -> Rejected | None:
    if not image.data and not image.url.startswith("data:"):
        if image.url.startswith("https://"):
            return None
        return _no(
            "image-url",
            where,
            "Anthropic fetches images from https URLs only",
            "Use an https URL, or send the bytes as a data URL",
        )
    data, mime = _bytes_of(image)
    if _sniff(data, mime) in _IMAGES:
        return None
    return _no(
        "image-format",
        where,
        f"Anthropic takes no {mime or 'such image format'}",
        "Convert it to png, jpeg, gif or webp",
    )


def _document_fault(document: Document, where: str) -> Rejected | None:
    if document.file_id:
        if document.file_id.startswith("file_"):
            return None
        return _no(
            "file-id",
            where,
            "Anthropic does not know this file id",
            "Send the file's bytes (file_data) instead",
        )
    if document.url:
        if document.url.startswith("https://"):
            return None
        return _no(
            "document-url", where, "Anthropic fetches documents from https URLs only", "Send the file's bytes"
        )
    mime = _sniff(document.data, document.mime)
    if mime == "application/pdf" or _text_of(document, mime) is not None:
        return None
    return _no(
        "document-format",
        where,
        f"Anthropic takes PDF and plain text, not {mime or 'a file of unknown type'}",
        "Convert it to PDF, or send its text",
    )


def _no(code: str, where: str, what: str, remedy: str) -> Rejected:
    return Rejected(code, f"{what} ({where}). {remedy}.", param=where, caller_fault=True)


def image_block(image: Image) -> dict[str, Any]:
    """The block of an image that has no fault."""
    if image.data or image.url.startswith("data:"):
        data, mime = _bytes_of(image)
        source = {"type": "base64", "media_type": _sniff(data, mime), "data": data}
    else:
        source = {"type": "url", "url": image.url}
    return {"type": "image", "source": source}


def document_block(document: Document) -> tuple[dict[str, Any], bool]:
    """The block of a document that has no fault, and whether its type had to be called plain text."""
    approximated = False
    source: dict[str, Any]
    if document.file_id:
        source = {"type": "file", "file_id": document.file_id}
    elif document.url:
        source = {"type": "url", "url": document.url}
    elif (mime := _sniff(document.data, document.mime)) == "application/pdf":
        source = {"type": "base64", "media_type": mime, "data": document.data}
    else:
        source = {"type": "text", "media_type": "text/plain", "data": _text_of(document, mime) or ""}
        approximated = mime != "text/plain"
    block: dict[str, Any] = {"type": "document", "source": source}
    if document.filename:
        block["title"] = document.filename
    return block, approximated


def _bytes_of(image: Image) -> tuple[str, str]:
    """(base64, mime) of an image, also where a data URL was left in ``url``."""
    if image.data:
        return image.data, image.mime
    head, _, data = image.url.partition(",")
    return data, image.mime or head[5:].partition(";")[0]


def _sniff(data: str, mime: str) -> str:
    """The type that the bytes show, else the declared one: Anthropic refuses a wrong media_type."""
    try:
        head = base64.b64decode(data[:_HEAD_CHARS], validate=False)
    except (binascii.Error, ValueError):
        return mime.lower()
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    found = mime.lower().partition(";")[0].strip()
    return "image/jpeg" if found == "image/jpg" else found


def _text_of(document: Document, mime: str) -> str | None:
    """The words of a textual file, or None."""
    if not (mime.startswith("text/") or mime in ("application/json", "application/xml")):
        return None
    try:
        text = base64.b64decode(document.data, validate=False).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text if text.strip() else None

"""Pictures, sounds and documents -> ``inlineData`` or ``fileData``, or why not.

Rules
- Google reads png, jpeg, webp, heic and heif pictures (gif on AI Studio only); PDF and text/plain documents; sounds.
- An address is handed on, Google fetches it: AI Studio takes http(s) since January 2026 and guesses the type itself;
  Vertex takes https and gs://, and demands a type, so one that its name does not tell is refused.
- The gateway fetches nothing here: a dialect has no sockets.
"""

from typing import Any

from penstock.base.bulk import size_of
from penstock.base.chat import Audio, Document, Image, Video
from penstock.base.decisions import Accepted, Rejected

_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_IMAGES_AND_GIF = _IMAGES | {"image/gif"}
_DOCUMENTS = frozenset({"application/pdf", "text/plain"})
_MEBIBYTE = 1024 * 1024
_MOST_DOCUMENT_BYTES = 50 * _MEBIBYTE
_MOST_TEXT_BYTES_VERTEX = 7 * _MEBIBYTE
"""Google's limits for one file (Vertex "Document understanding": PDF 50 MB, text 7 MB; AI Studio "Files": PDF 50 MB; 2026-11)."""
_MIME_OF_ENDING = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "txt": "text/plain",
}
_MIME_OF_SOUND = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "m4a": "audio/m4a",
}
_MIME_OF_START = (
    ("iVBOR", "image/png"),
    ("/9j/", "image/jpeg"),
    ("UklGR", "image/webp"),
    ("R0lG", "image/gif"),
    ("JVBER", "application/pdf"),
)
"""How base64 of a well-known kind begins, for data that came without a type."""


_VIDEOS = {
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "mpg": "video/mpg",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "wmv": "video/wmv",
    "3gp": "video/3gpp",
    "flv": "video/x-flv",
}
"""What Google reads of films, by the ending of their names."""
_YOUTUBE = ("https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/")
"""Addresses that AI Studio reads without a type, and Vertex not at all (OpenRouter's documentation)."""


def media_part(part: Image | Document | Audio | Video, vertex: bool) -> Accepted[dict[str, Any]] | Rejected:
    """The Part to send, or why there is none."""
    if isinstance(part, Video):
        return _video(part, vertex)
    if isinstance(part, Audio) and not part.data:
        mime = _MIME_OF_SOUND.get(part.format.lower().removeprefix("audio/"), "")
        return _by_address("audio", part.url or part.file_id, mime, vertex)
    if isinstance(part, Audio):
        mime = _MIME_OF_SOUND.get(part.format.lower().removeprefix("audio/"))
        if mime is None:
            return _no("audio", f"audio of the format {part.format!r}; send {', '.join(_MIME_OF_SOUND)}")
        return Accepted(_inline(mime, part.data))
    kind = "image" if isinstance(part, Image) else "document"
    allowed = _DOCUMENTS if isinstance(part, Document) else (_IMAGES if vertex else _IMAGES_AND_GIF)
    url = part.url
    if isinstance(part, Document) and part.file_id and not part.data and not url:
        if not part.file_id.startswith(("https://", "gs://")):
            return _no(kind, "a file that was uploaded to another provider; send its data")
        url = part.file_id
    mime = _mime(part, url)
    if isinstance(part, Document) and (fault := document_fault(mime, size_of(part.data), vertex)) is not None:
        return fault
    if mime and mime not in allowed:
        return _no(kind, f"{kind}s of type {mime}; send {', '.join(sorted(allowed))}")
    if part.data:
        return Accepted(_inline(mime, part.data)) if mime else _no(kind, f"{kind} data without a type")
    return _by_address(kind, url, mime, vertex)


def document_fault(mime: str, chars: int, vertex: bool) -> Rejected | None:
    """Why a document of this type ("" unknown) and so many characters of base64 is refused, or None."""
    if mime and mime not in _DOCUMENTS:
        return Rejected(
            "document-type",
            f"Gemini takes documents of the types application/pdf and text/plain only, not {mime[:80]}. "
            "Convert it to PDF, or send its text.",
            caller_fault=True,
        )
    most = _MOST_TEXT_BYTES_VERTEX if vertex and mime == "text/plain" else _MOST_DOCUMENT_BYTES
    size = chars * 3 // 4
    if size <= most + 2:  # base64 pads up to two bytes
        return None
    return Rejected(
        "document-too-large",
        f"Gemini takes {'text' if most != _MOST_DOCUMENT_BYTES else 'documents'} of at most {most // _MEBIBYTE} MB; "
        f"this one has {size / _MEBIBYTE:.1f} MB. Split it.",
        caller_fault=True,
    )


def _video(video: Video, vertex: bool) -> Accepted[dict[str, Any]] | Rejected:
    """A film, and which stretch of it at how many pictures a second."""
    url = video.url or video.file_id
    mime = video.mime.lower() or _VIDEOS.get(url.partition("?")[0].rpartition(".")[2].lower(), "")
    if mime and mime not in _VIDEOS.values():
        return _no("video", f"videos of type {mime}; send {', '.join(sorted(set(_VIDEOS.values())))}")
    if video.data:
        found = Accepted(_inline(mime, video.data)) if mime else _no("video", "video data without a type")
    elif vertex and url.startswith(_YOUTUBE):
        found = _no("video", "YouTube addresses on Vertex; AI Studio does")
    else:
        found = _by_address("video", url, mime, vertex)
    facts: dict[str, Any] = {}
    if video.start_s is not None:
        facts["startOffset"] = f"{video.start_s:g}s"
    if video.end_s is not None:
        facts["endOffset"] = f"{video.end_s:g}s"
    if video.fps is not None:
        facts["fps"] = video.fps
    if facts and isinstance(found, Accepted):
        return Accepted({**found.value, "videoMetadata": facts})
    return found


def _by_address(kind: str, url: str, mime: str, vertex: bool) -> Accepted[dict[str, Any]] | Rejected:
    schemes = ("https://", "gs://") if vertex else ("https://", "http://", "gs://")
    if not url.startswith(schemes):
        return _no(kind, f"this {kind} address; it must begin with {' or '.join(schemes)}", f"{kind}-url")
    if not mime and vertex:
        return _no(
            kind, f"an {kind} address whose type its name does not tell; send the data instead", f"{kind}-url"
        )
    return Accepted({"fileData": {"mimeType": mime, "fileUri": url} if mime else {"fileUri": url}})


def _mime(part: Image | Document, url: str) -> str:
    mime = part.mime.partition(";")[0].strip().lower()
    if mime:
        return "image/jpeg" if mime == "image/jpg" else mime
    if part.data:
        for start, known in _MIME_OF_START:
            if part.data.startswith(start):
                return known
    path = url.partition("?")[0].partition("#")[0]
    name = part.filename if isinstance(part, Document) and part.filename else path
    return _MIME_OF_ENDING.get(name.rpartition(".")[2].lower(), "")


def _inline(mime: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": data}}


def _no(kind: str, what: str, code: str = "") -> Rejected:
    return Rejected(code or f"{kind}-unsupported", f"Gemini does not take {what}.", caller_fault=True)

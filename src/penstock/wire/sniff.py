"""What bytes are, by how they begin: for what was fetched from an address, whatever its server calls it."""

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mp3"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
)
_INSIDE = {
    (b"RIFF", b"WEBP"): "image/webp",
    (b"RIFF", b"WAVE"): "audio/wav",
    (b"FORM", b"AIFF"): "audio/aiff",
}
_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"avif": "image/avif",
    b"M4A ": "audio/m4a",
    b"qt  ": "video/quicktime",
}
_PAGES = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<?xml", b"<!--")
_HEAD_BYTES = 1024
_OFFICE = b"PK\x03\x04"
_OFFICE_TYPES = "application/vnd.openxmlformats-officedocument."


def kind_of_bytes(data: bytes, declared: str) -> str:
    """Its MIME type; "" for a page, or for what nothing tells. ``declared`` counts only for words and office files."""
    for start, mime in _STARTS:
        if data.startswith(start):
            return mime
    inside = _INSIDE.get((data[:4], data[8:12]))
    if inside is not None:
        return inside
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return _BRANDS.get(brand, "video/3gpp" if brand.startswith(b"3g") else "video/mp4")
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return "audio/aac" if data[1] & 0x06 == 0 else "audio/mp3"
    mime = declared.partition(";")[0].strip().lower()
    if data.startswith(_OFFICE) and mime.startswith(_OFFICE_TYPES):
        return mime
    if data[:_HEAD_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return ""
    return _words(data, mime)


def _words(data: bytes, mime: str) -> str:
    if not (mime.startswith("text/") or mime == "application/json") or mime == "text/html" or b"\0" in data:
        return ""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return mime

"""What msgspec says of a caller's body, as a sentence for who sent it: the field, or the line and column."""

import re
from collections.abc import Mapping

import msgspec

from penstock.base.errors import BadRequest

_NONE: Mapping[str, str] = {}
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How gzip's and Zstandard's bytes begin, and no JSON's."""
_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_AT_PATH = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")
# msgspec calls half a surrogate pair at the end of a string "truncated".
_LONE_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")


def unreadable(error: Exception, body: bytes, remedies: Mapping[str, str] = _NONE) -> BadRequest:
    """The error. ``remedies``: what to send instead, by the field's path or by its first name."""
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        found = _AT_PATH.search(text)
        path = found.group(1) if found else ""
        fault = (text[: found.start()] if found else text).replace("`", "")
        if not path:
            return BadRequest(f"The body is not a JSON object: {fault[:1].lower()}{fault[1:]}.")
        hint = remedies.get(path) or remedies.get(re.split(r"[.\[]", path, maxsplit=1)[0])
        return BadRequest(
            f"The field {path} is wrong: {fault[:1].lower()}{fault[1:]}.", param=path, hint=hint
        )
    if body.startswith(_COMPRESSED):
        return BadRequest(
            "The body is compressed.", code="invalid_json", hint="Send it as it is, without content-encoding."
        )
    if isinstance(error, RecursionError):
        return BadRequest("The body is nested too deeply to be read.", code="invalid_json")
    if isinstance(error, UnicodeDecodeError):
        position, what = _first_bad_utf8(body), "not valid UTF-8"
    else:
        found = _AT_BYTE.search(text)
        half = None if found else _LONE_HALF.search(body)
        position = int(found.group(1)) if found else half.start() if half else len(body)
        if "trailing" in text:
            position -= 1  # msgspec names the byte after the first one too many
        what = _AT_BYTE.sub("", text).removeprefix("JSON is malformed: ").strip().lower() or "malformed"
        what = "half of a surrogate pair" if half else what
    line = body.count(b"\n", 0, position) + 1
    column = position - (body.rfind(b"\n", 0, position) + 1) + 1
    return BadRequest(
        f"The body is not valid JSON: {what} at line {line}, column {column} (byte {position}).",
        code="invalid_json",
        hint="Send one JSON object, encoded as UTF-8.",
    )


def _first_bad_utf8(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)

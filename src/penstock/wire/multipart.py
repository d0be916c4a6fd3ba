"""multipart/form-data (RFC 7578) as values: read from a body that is all here, and written.

python-multipart finds the parts; nothing is put into files. A part keeps its name, its file's name and its type.
"""

import re
import secrets
from collections.abc import Iterable

from msgspec import Struct
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.base.errors import BadRequest

MOST_PARTS = 1_000
_QUOTED = re.compile(r'["\r\n]')
_ESCAPES = {'"': "%22", "\r": "%0D", "\n": "%0A"}
"""How browsers and clients write what would end a quoted name (WHATWG, multipart/form-data encoding)."""


class FormPart(Struct, frozen=True):
    """One field. ``filename`` None: it is text, not a file."""

    name: str
    data: bytes
    filename: str | None = None
    content_type: str = ""

    def __repr__(self) -> str:
        """Without the data: people's words and pictures."""
        return f"FormPart({self.name!r}, {len(self.data)} bytes)"


def is_form(content_type: bytes) -> bool:
    """Whether a body of this type is a form with parts."""
    return content_type.strip().lower().startswith(b"multipart/form-data")


def read_form(content_type: bytes, body: bytes) -> list[FormPart]:
    """The parts in order. Raises BadRequest."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise BadRequest(
            "The content-type names no boundary.",
            param="content-type",
            hint="Let the HTTP client write the header of a multipart form.",
        )
    found = _Collector()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": found.begin,
                "on_part_data": found.data,
                "on_part_end": found.end,
                "on_header_field": found.field,
                "on_header_value": found.value,
                "on_header_end": found.header,
                "on_end": found.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise _broken(str(error)) from None
    if not found.whole:
        raise _broken("its last boundary is missing")
    return found.parts


def _broken(why: str) -> BadRequest:
    return BadRequest(
        f"The body is not a readable multipart form: {why[:200]}.",
        code="invalid_multipart",
        hint="Let the HTTP client write the form, its boundaries included.",
    )


class _Collector:
    """What the parser calls back with."""

    def __init__(self) -> None:
        self.parts: list[FormPart] = []
        self.whole = False
        self._pieces: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._field = b""
        self._value = b""

    def begin(self) -> None:
        if len(self.parts) >= MOST_PARTS:
            raise BadRequest(f"The form has more than {MOST_PARTS} parts.", code="invalid_multipart")
        self._pieces, self._headers = [], {}

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise _broken("a part has no name")
        filename = options.get(b"filename")
        self.parts.append(
            FormPart(
                name.decode("utf-8", "replace"),
                b"".join(self._pieces),
                None if filename is None else filename.decode("utf-8", "replace"),
                self._headers.get(b"content-type", b"").decode("latin-1"),
            )
        )

    def finish(self) -> None:
        self.whole = True


def write_form(parts: Iterable[FormPart]) -> tuple[bytes, bytes]:
    """The content-type and the body."""
    boundary = b"penstock-" + secrets.token_hex(16).encode()
    out: list[bytes] = []
    for part in parts:
        head = f'content-disposition: form-data; name="{_escaped(part.name)}"'
        if part.filename is not None:
            head += f'; filename="{_escaped(part.filename)}"'
        if part.content_type:
            head += f"\r\ncontent-type: {part.content_type}"
        out += [b"--", boundary, b"\r\n", head.encode(), b"\r\n\r\n", part.data, b"\r\n"]
    out += [b"--", boundary, b"--\r\n"]
    return b"multipart/form-data; boundary=" + boundary, b"".join(out)


def write_form_around(parts: Iterable[FormPart], file: FormPart) -> tuple[bytes, bytes, bytes]:
    """The content-type, and what stands before and behind the content of the last part, ``file``, which is not written."""
    kind, body = write_form([*parts, file])
    behind = b"\r\n--" + kind.rpartition(b"boundary=")[2] + b"--\r\n"
    return kind, body.removesuffix(behind), behind


def _escaped(name: str) -> str:
    return _QUOTED.sub(lambda match: _ESCAPES[match.group()], name)

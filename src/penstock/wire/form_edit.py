"""Edit a multipart form as bytes: what is not edited stays as it came, order, boundary and headers included.

Theory: a part lies between two delimiters (RFC 2046 5.1.1). Parts that are replaced are cut out, the new ones come first.
A form whose delimiters do not lie where its reader found them is written anew.
"""

import re
from collections.abc import Callable, Sequence

from python_multipart.multipart import parse_options_header

from penstock.wire.multipart import FormPart, read_form, write_form

_NAME = re.compile(rb'content-disposition:[^\r\n]*?;\s*name="([^"\r\n]*)"', re.IGNORECASE)


def edit_form(
    content_type: bytes,
    body: bytes,
    names: Sequence[str],
    drop: Callable[[str], bool],
    add: Sequence[FormPart],
) -> tuple[bytes, bytes]:
    """The content-type and the body, without the parts that are to ``drop``, with ``add`` before all others.

    ``names``: of all its parts in their order, as its reader found them.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    spans = _spans(body, b"--" + boundary)
    if [name for name, _, _ in spans] != list(names) or any(boundary in part.data for part in add):
        kept = [part for part in read_form(content_type, body) if not drop(part.name)]
        return write_form([*add, *kept])
    view = memoryview(body)
    out: list[bytes | memoryview] = []
    for part in add:
        head = b'content-disposition: form-data; name="%b"' % part.name.encode()
        out.append(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, part.data))
    out += [view[start:end] for name, start, end in spans if not drop(name)]
    out.append(b"--%b--\r\n" % boundary)
    return content_type, b"".join(out)


def _spans(body: bytes, delimiter: bytes) -> list[tuple[str, int, int]]:
    """Each part with its name, from its delimiter to the next; none where that is not certain."""
    found: list[tuple[str, int, int]] = []
    start = 0 if body.startswith(delimiter + b"\r\n") else -1
    while start >= 0:
        end = body.find(b"\r\n" + delimiter, start)
        if end < 0:
            return []
        blank = body.find(b"\r\n\r\n", start, end)
        name = _NAME.search(body, start, blank) if blank >= 0 else None
        if name is None:
            return []
        found.append((name[1].decode("utf-8", "replace"), start, end + 2))
        start = end + 2
        after = body[start + len(delimiter) : start + len(delimiter) + 2]
        if after == b"--":
            return found
        if after != b"\r\n":
            return []
    return []

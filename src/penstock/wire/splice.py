"""Edit the top level of a JSON object as bytes: what is not edited keeps its order, spacing and spelling.

Theory
------
``spans`` lets msgspec find each value's length and walks the keys itself; every step is checked against the bytes,
so that a repeated key (which readers understand differently) is found and refused. ``edit`` cuts and joins.
"""

import re
from collections.abc import Collection, Mapping

import msgspec
from msgspec import Raw

from penstock.base.errors import BadRequest

Span = tuple[int, int, int]
"""Start of the key (its quote), start and end of the value."""

_NOTHING: Mapping[str, bytes] = {}
_NO_NAMES: Mapping[str, str] = {}
_DECODE = msgspec.json.Decoder(dict[str, Raw]).decode
_KEY = re.compile(rb'[ \t\n\r]*([{,])[ \t\n\r]*("(?:[^"\\]|\\.)*")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*\}[ \t\n\r]*\Z")
_KEY_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_EMPTY = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*\}[ \t\n\r]*\Z")


def spans(body: bytes) -> dict[str, Span]:
    """Where each top-level field of the object in ``body`` stands, in order.

    Raises BadRequest naming the field for a key that stands there twice. ``body`` must be valid JSON of an object
    (its reader has said so); anything else raises msgspec.DecodeError.
    """
    fields = _DECODE(body)
    found: dict[str, Span] = {}
    # A repeated key, a space or an escape in a key can only make the body longer than its fields written tightly
    # once. So equal length (what the official clients send) proves that there is none of them: just count.
    if sum(map(len, fields)) + sum(map(len, fields.values())) + 4 * len(fields) + 1 == len(body):
        position = 1
        for key, raw in fields.items():
            start = position + len(key) + 3
            end = start + len(raw)
            found[key] = (position, start, end)
            position = end + 1
        return found
    return _walk(body, fields)


def _walk(body: bytes, fields: dict[str, Raw]) -> dict[str, Span]:
    """The spans of a body with spaces, key by key."""
    found: dict[str, Span] = {}
    position = 0
    for key, raw in fields.items():
        match = _KEY.match(body, position)
        if match is None:
            raise _repeated(body)
        start = match.end()
        position = start + len(raw)
        # A number may be the beginning of a longer one, all other values end themselves; and the next step checks
        # that a comma or the end follows. So equal bytes at every step leave no room for a second key.
        if Raw(body[start:position]) != raw:
            raise _repeated(body)
        found[key] = (match.start(2), start, position)
    if not (_END.match(body, position) if found else _EMPTY.match(body)):
        raise _repeated(body)
    return found


def edit(
    body: bytes,
    found: Mapping[str, Span],
    *,
    replace: Mapping[str, bytes] = _NOTHING,
    remove: Collection[str] = (),
    add: Mapping[str, bytes] = _NOTHING,
    rename: Mapping[str, str] = _NO_NAMES,
) -> bytes:
    """``body`` with values replaced, fields removed or renamed, and new fields added at the end.

    ``found`` is ``spans(body)``; ``replace``, ``remove`` and ``rename`` name fields in it. Values are JSON bytes.
    """
    cuts: list[tuple[int, int, bytes]] = []
    kept_end = -1
    names = list(found)
    for place, name in enumerate(names):
        key_start, value_start, value_end = found[name]
        if name in remove:
            if kept_end >= 0:
                cuts.append((found[names[place - 1]][2], value_end, b""))
            elif place + 1 < len(names):
                cuts.append((key_start, found[names[place + 1]][0], b""))
            else:
                cuts.append((key_start, value_end, b""))
            continue
        kept_end = value_end
        if name in rename:
            text = _KEY_TEXT.match(body, key_start)
            assert text is not None
            cuts.append((key_start, text.end(), msgspec.json.encode(rename[name])))
        if name in replace:
            cuts.append((value_start, value_end, replace[name]))
    if add:
        members = b",".join(msgspec.json.encode(name) + b":" + value for name, value in add.items())
        at = found[names[-1]][2] if names else body.index(b"{") + 1
        cuts.append((at, at, b"," + members if kept_end >= 0 else members))
    return _join(body, cuts)


def _join(body: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for start, end, text in cuts:
        pieces.append(body[position:start])
        pieces.append(text)
        position = end
    pieces.append(body[position:])
    return b"".join(pieces)


def _repeated(body: bytes) -> BadRequest:
    """The error for a repeated key, which it names."""
    name = _first_repeated(body)
    return BadRequest(
        f"The field {name!r} stands in the body more than once.",
        code="duplicate_field",
        param=name,
        hint="Send it once: readers disagree about which one counts.",
    )


def _first_repeated(body: bytes) -> str:
    """Walk the object value by value. Only for the error message: speed does not matter here."""
    seen: set[str] = set()
    position = 0
    while (match := _KEY.match(body, position)) is not None:
        name: str = msgspec.json.decode(match.group(2))
        if name in seen:
            return name
        seen.add(name)
        position = _value_end(body, match.end())
    return "?"


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


def _value_end(body: bytes, position: int) -> int:
    depth = 0
    while (match := _TOKEN.search(body, position)) is not None:
        token = match.group()
        if token in b"[{":
            depth += 1
        elif token in b"]}":
            if depth == 0:
                return match.start()
            depth -= 1
        elif token == b"," and depth == 0:
            return match.start()
        position = match.end()
    return len(body)

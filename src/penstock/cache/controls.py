"""What a caller says of the cache, call by call: ``x-penstock-cache-*`` headers, or the body's ``penstock: {cache: ...}``.

Rules
- A header wins over the body, field by field. What is not understood is refused: a misspelt "off" that is passed over would
  serve an answer that the caller has just refused.
- A caller may only tighten: a shorter life, a higher score (``tightened``).
- The body's block is cut out of the bytes before anything is sent on; all other bytes stay as they are.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, cast, get_args

import msgspec
from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.wire.splice import edit, spans

Mode = Literal["default", "off", "exact", "semantic", "refresh", "only"]

HEADER = b"x-penstock-cache"
MAX_NAMESPACE = 128
MAX_TAGS = 16
MAX_TAG = 128
_NAMES = tuple(
    f"x-penstock-cache{end}" for end in ("", "-ttl", "-min-score", "-namespace", "-tags", "-no-store")
)
_MODES: frozenset[str] = frozenset(get_args(Mode))
_HINT_MODE = "Send off, exact, semantic, refresh, only or default."
_HINT_BLOCK = "Send an object, or a mode: off, exact, semantic, refresh, only or default."
_HINT_TTL = "Send whole seconds, at least 1."
_HINT_SCORE = "Send a number from 0 to 1."
_HINT_NO_STORE = "Send true or false."
_HINT_TAGS = f"Send at most {MAX_TAGS} tags of 1 to {MAX_TAG} printable characters, without commas."
_HINT_NAMESPACE = f"Send at most {MAX_NAMESPACE} printable characters."
_WHOLE = re.compile(r"[0-9]{1,12}")
_DECIMAL = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_MAX_SECONDS = 10**12
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MEMBER = "penstock"
_QUOTED = b'"penstock"'
_value = msgspec.json.Decoder().decode


class Controls(Struct, frozen=True):
    """What was asked. ``mode`` refresh: no look-up, but the answer is kept; only: from the cache or not at all.

    ``ttl_s`` and ``min_score`` None: as configured.
    """

    mode: Mode = "default"
    ttl_s: int | None = None
    min_score: float | None = None
    namespace: str = ""
    tags: tuple[str, ...] = ()
    no_store: bool = False


DEFAULT = Controls()
_BLOCK = frozenset({"mode", "ttl", "min_score", "namespace", "tags", "no_store"})


def controls_of(told: Mapping[bytes, bytes], body_block: object | None) -> Controls:
    """The controls of a call. ``told``: its headers, names in lower case. Raises BadRequest naming header or field."""
    fields: dict[str, Any] = {}
    if body_block is not None:
        _read_block(body_block, fields)
    for name, raw in told.items():
        if name.startswith(HEADER):
            _read_header(name, raw, fields)
    cache_control = told.get(b"cache-control")
    if cache_control is not None and b"no-store" in _words(cache_control):
        fields.setdefault("no_store", True)
    return Controls(**fields) if fields else DEFAULT


def tightened(controls: Controls, ttl_s: int, threshold: float) -> tuple[int, float]:
    """Life and least score that hold, where ``ttl_s`` and ``threshold`` are configured."""
    return (
        ttl_s if controls.ttl_s is None else min(ttl_s, controls.ttl_s),
        threshold if controls.min_score is None else max(threshold, controls.min_score),
    )


def block_of(body: bytes) -> tuple[object | None, bytes]:
    """The body's ``penstock.cache`` (None: nothing said), and the body without it.

    A body that says nothing is given back as the very same object. Other members of ``penstock`` stay; the member goes with
    its last one. A body that is no JSON object is for its reader to refuse. Raises BadRequest.
    """
    if _QUOTED not in body:
        return None, body
    try:
        found = spans(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, body
    if _MEMBER not in found:
        return None, body
    _, start, end = found[_MEMBER]
    raw = body[start:end]
    if raw == b"null":
        return None, body
    try:
        inner = spans(raw)
    except msgspec.DecodeError:
        raise BadRequest(
            "The field penstock is not an object.", param=_MEMBER, hint='Send {"cache": {...}} in it.'
        ) from None
    if "cache" not in inner:
        return None, body
    _, block_start, block_end = inner["cache"]
    try:
        block: object = _value(raw[block_start:block_end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "The field penstock.cache cannot be read.", param="penstock.cache", hint=_HINT_BLOCK
        ) from None
    if len(inner) == 1:
        return block, edit(body, found, remove=(_MEMBER,))
    return block, edit(body, found, replace={_MEMBER: edit(raw, inner, remove=("cache",))})


def _read_header(name: bytes, raw: bytes, fields: dict[str, Any]) -> None:
    param = name.decode("latin-1")
    text = _text(raw, param).strip(" \t")
    match name[len(HEADER) :]:
        case b"":
            fields["mode"] = _mode(text, param)
        case b"-ttl":
            if _WHOLE.fullmatch(text) is None or not int(text):
                raise _wrong(param, text, _HINT_TTL)
            fields["ttl_s"] = int(text)
        case b"-min-score":
            fields["min_score"] = _score_of(text, param)
        case b"-namespace":
            fields["namespace"] = _namespace(text, param)
        case b"-tags":
            fields["tags"] = _tags([tag.strip(" \t") for tag in text.split(",")] if text else [], param)
        case b"-no-store":
            if text not in _TRUTH:
                raise _wrong(param, text, _HINT_NO_STORE)
            fields["no_store"] = _TRUTH[text]
        case b"-?":
            raise _unknown(text)
        case _:
            raise _unknown(param)


def _unknown(name: str) -> BadRequest:
    """A header that begins like one of these, and is none. In the place of its name's end "?" may be told, with its name."""
    close = get_close_matches(name[:60], _NAMES, n=1, cutoff=0.6)
    near = f"Did you mean {close[0]}? " if close else ""
    return BadRequest(
        f"The header {_shown(name)} is not known.",
        param=_shown(name),
        hint=f"{near}There are x-penstock-cache, and with -ttl, -min-score, -namespace, -tags and -no-store.",
    )


def _read_block(block: object, fields: dict[str, Any]) -> None:
    """``{"mode": ...}``; a string alone is the mode."""
    here = f"{_MEMBER}.cache"
    if isinstance(block, str):
        fields["mode"] = _mode(block, here)
        return
    if not isinstance(block, dict):
        raise _wrong(here, block, _HINT_BLOCK)
    said = cast("dict[str, object]", block)
    for name, value in said.items():
        param = f"{here}.{name}"
        if name not in _BLOCK:
            raise BadRequest(
                f"The field {_shown(param)} is not known.",
                param=_shown(param),
                hint="There are mode, ttl, min_score, namespace, tags and no_store.",
            )
        if value is not None:
            _read_field(name, value, param, fields)


def _read_field(name: str, value: object, param: str, fields: dict[str, Any]) -> None:
    match name:
        case "mode":
            fields["mode"] = _mode(value, param)
        case "ttl":
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _MAX_SECONDS:
                raise _wrong(param, value, _HINT_TTL)
            fields["ttl_s"] = value
        case "min_score":
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
                raise _wrong(param, value, _HINT_SCORE)
            fields["min_score"] = float(value)
        case "namespace":
            fields["namespace"] = _namespace(value, param)
        case "tags":
            if not isinstance(value, list):
                raise _wrong(param, value, _HINT_TAGS)
            fields["tags"] = _tags(cast("list[object]", value), param)
        case _:
            if not isinstance(value, bool):
                raise _wrong(param, value, _HINT_NO_STORE)
            fields["no_store"] = value


def _mode(value: object, param: str) -> Mode:
    if not isinstance(value, str) or value not in _MODES:
        raise _wrong(param, value, _HINT_MODE)
    return cast("Mode", value)


def _score_of(text: str, param: str) -> float:
    if _DECIMAL.fullmatch(text) is None or float(text) > 1:
        raise _wrong(param, text, _HINT_SCORE)
    return float(text)


def _namespace(value: object, param: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAMESPACE or _CONTROL.search(value):
        raise _wrong(param, value, _HINT_NAMESPACE)
    return value


def _tags(given: list[object] | list[str], param: str) -> tuple[str, ...]:
    """Each once, in the caller's order."""
    tags: dict[str, None] = {}
    for tag in given:
        if not isinstance(tag, str) or not 0 < len(tag) <= MAX_TAG or "," in tag or _CONTROL.search(tag):
            raise _wrong(param, tag, _HINT_TAGS)
        tags[tag] = None
    if len(given) > MAX_TAGS:
        raise BadRequest(f"{param} holds {len(given)} tags.", param=param, hint=_HINT_TAGS)
    return tuple(tags)


def _text(raw: bytes, param: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{param} is not UTF-8.", param=param, hint="Send it in UTF-8.") from None


def _words(raw: bytes) -> set[bytes]:
    return {word.strip(b" \t").lower() for word in raw.split(b",")}


def _wrong(param: str, value: object, hint: str) -> BadRequest:
    return BadRequest(f"{param} is {_shown(value)}.", param=param, hint=hint)


def _shown(value: object) -> str:
    """What was sent, cut, and fit for a line."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8", "replace")
    return ascii(text[:40])[1:-1] if text else "empty"

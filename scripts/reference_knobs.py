"""The knobs of the configuration, read from ``config/schema.py``: dotted name, type, default, bounds, meaning."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from penstock.config.schema import Config, TargetConfig


class Knob(NamedTuple):
    """One line of the reference."""

    name: str
    kind: str
    default: str
    meaning: str


class Section(NamedTuple):
    """A struct of the schema, where it first stands."""

    name: str
    purpose: str
    knobs: list[Knob]


SHARED: dict[type, str] = {TargetConfig: "TARGET"}
"""Structs that stand in many places are described once, under this name."""
SAME: dict[str, str] = {"mcp[]": "routes[]"}
"""Places that hold the same struct as another one."""


def sections() -> list[Section]:
    """Every struct of the configuration, in the order of the schema."""
    found: list[Section] = []
    _walk(Config, "", found)
    _walk(TargetConfig, SHARED[TargetConfig], found)
    return found


def knobs() -> list[Knob]:
    """Every knob, by dotted name."""
    return [knob for section in sections() for knob in section.knobs]


def _walk(struct: type[msgspec.Struct], place: str, found: list[Section]) -> None:
    section = Section(place, _purpose(struct), [])
    found.append(section)
    inner: list[tuple[type[msgspec.Struct], str]] = []
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        name = f"{place}.{field.encode_name}" if place else field.encode_name
        bare, metas = _unwrap(hints[field.name])
        meaning = " ".join(meta.description for meta in metas if meta.description)
        section.knobs.append(Knob(name, _kind(bare, metas), _default(field), meaning))
        for nested, suffix in _structs(bare):
            if nested not in SHARED and name + suffix not in SAME:
                inner.append((nested, name + suffix))
    for nested, where in inner:
        _walk(nested, where, found)


def _purpose(struct: type[msgspec.Struct]) -> str:
    return " ".join((struct.__doc__ or "").split())


def _unwrap(hint: Any) -> tuple[Any, list[msgspec.Meta]]:
    metas: list[msgspec.Meta] = []
    while get_origin(hint) is Annotated:
        hint, *extra = get_args(hint)
        metas += [meta for meta in extra if isinstance(meta, msgspec.Meta)]
    return hint, metas


def _structs(hint: Any) -> list[tuple[type[msgspec.Struct], str]]:
    """Structs inside a type, with what is written after the knob's name to reach them."""
    hint, _ = _unwrap(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [(hint, "")]
    suffix = {dict: ".NAME", tuple: "[]"}.get(get_origin(hint), "")
    inner = [one for one in get_args(hint) if one not in (str, NoneType, Ellipsis)]
    return [(struct, suffix + rest) for one in inner for struct, rest in _structs(one)]


def _kind(hint: Any, metas: list[msgspec.Meta]) -> str:
    hint, inner = _unwrap(hint)
    bounds = _bounds([*metas, *inner])
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        said = [_kind(one, []) for one in args if one is not NoneType]
        own = [meta for one in args for meta in _unwrap(one)[1]]
        return " or ".join(said) + (_bounds(metas) if own else bounds)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in args)
    if origin is dict:
        return f"map of name to {_kind(args[1], [])}"
    if origin is tuple:
        return f"list of {_kind(args[0], [])}"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"`{SHARED[hint]}`" if hint in SHARED else "block"
    if hint is Any:
        return "anything"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[hint] + bounds


def _bounds(metas: list[msgspec.Meta]) -> str:
    said: list[str] = []
    for meta in metas:
        for sign, value in (("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt)):
            if value is not None:
                said.append(f"{sign} {value}")
    return f" ({', '.join(said)})" if said else ""


def _default(field: Any) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "empty"
    value = field.default
    if value is msgspec.NODEFAULT:
        return "required"
    if value is None or isinstance(value, msgspec.Struct):
        return "-"
    if value == ():
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return ", ".join(f"`{one}`" for one in value) if isinstance(value, tuple) else f"`{value}`"

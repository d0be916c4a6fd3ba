"""All structural faults of a decoded document at once, each with its path.

``msgspec.convert`` stops at the first fault; a person who edits a file wants them all. This walks the same types.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any, cast

from msgspec import inspect

from penstock.config.fault import Fault, shown


def shape_faults(value: Any, kind: Any, path: str = "$") -> list[Fault]:
    """Faults of ``value`` against a Struct class (or any type msgspec can inspect)."""
    info = inspect.type_info(kind) if isinstance(kind, type) else kind
    return _check(value, info, path)


def nearest(word: str, known: list[str]) -> str | None:
    """The nearest known name, or None."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return close[0] if close else None


def _check(value: Any, info: inspect.Type, path: str) -> list[Fault]:
    if isinstance(info, inspect.Metadata):
        return _check(value, info.type, path)
    if isinstance(info, inspect.StructType):
        return _check_struct(value, info, path)
    if isinstance(info, inspect.DictType):
        return _check_dict(value, info, path)
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        if not isinstance(value, list):
            return [Fault(path, f"Expected a list, got {_kind(value)}.", "Write it as a YAML list: [a, b].")]
        items = cast("list[Any]", value)
        return [f for i, item in enumerate(items) for f in _check(item, info.item_type, f"{path}[{i}]")]
    if isinstance(info, inspect.UnionType):
        return _check_union(value, info, path)
    return _check_plain(value, info, path)


def _check_struct(value: Any, info: inspect.StructType, path: str) -> list[Fault]:
    if not isinstance(value, dict):
        names = ", ".join(field.encode_name for field in info.fields[:4])
        first = next((f"{{{field.encode_name}: …}}, with " for field in info.fields if field.required), "")
        return [Fault(path, f"Expected fields, got {_kind(value)}.", f"Write {first}fields such as {names}.")]
    document = cast("dict[Any, Any]", value)
    fields = {field.encode_name: field for field in info.fields}
    faults: list[Fault] = []
    misspelt: set[str] = set()  # one fault says it: the same field is not missed as well
    for name, item in document.items():
        field = fields.get(name) if isinstance(name, str) else None
        if field is None:
            faults.append(
                Fault(_below(path, name), f"There is no field {shown(name)}.", _meant(name, fields))
            )
            close = nearest(str(name), list(fields))
            if close is not None and not _check(item, fields[close].type, path):
                misspelt.add(close)
        else:
            faults += _check(item, field.type, f"{path}.{name}")
    faults += [
        Fault(f"{path}.{name}", f"The field {name!r} is missing.", f"Add {name}: …")
        for name, field in fields.items()
        if field.required and name not in document and name not in misspelt
    ]
    return faults


def _meant(name: object, fields: Mapping[str, inspect.Field]) -> str:
    """What to write for a field that is not there."""
    if name in _KEY_WORDS and "keys" in fields:
        return "Write keys: [{value: env.NAME}]."
    close = nearest(str(name), list(fields))
    return f"Did you mean {close!r}?" if close else f"Known fields: {', '.join(fields)}."


def _check_dict(value: Any, info: inspect.DictType, path: str) -> list[Fault]:
    if not isinstance(value, dict):
        return [Fault(path, f"Expected names with values, got {_kind(value)}.", "Write it as name: value.")]
    entries = cast("dict[Any, Any]", value)
    known = (
        [str(one) for one in info.key_type.values] if isinstance(info.key_type, inspect.LiteralType) else None
    )
    faults: list[Fault] = []
    for name, item in entries.items():
        if not isinstance(name, str):
            faults.append(
                Fault(_below(path, name), f"The name {shown(name)} is not text.", "Put it in quotes.")
            )
        elif known is not None and name not in known:
            close = nearest(name, known)
            hint = f"Did you mean {close!r}?" if close else f"Known names: {', '.join(known)}."
            faults.append(Fault(_below(path, name), f"There is no name {shown(name)} here.", hint))
        faults += _check(item, info.value_type, _below(path, name))
    return faults


def _below(path: str, name: object) -> str:
    """The path of a field; a name of no known kind is shortened (see ``shown``)."""
    return f"{path}.{name}" if shown(name).startswith(repr(name)) else f"{path}.…"


def _check_union(value: Any, info: inspect.UnionType, path: str) -> list[Fault]:
    options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
    if value is None and len(options) < len(info.types):
        return []
    found = [(option, _check(value, option, path)) for option in options]
    if any(not faults for _, faults in found):
        return []
    # Of several, the faults of the kind that was meant: fields where there are fields, else the plain one.
    meant = isinstance(value, dict)
    return next(
        (faults for option, faults in found if isinstance(option, inspect.StructType) is meant), found[0][1]
    )


def _check_plain(value: Any, info: inspect.Type, path: str) -> list[Fault]:
    """Scalars: msgspec itself says what is wrong."""
    if isinstance(info, inspect.AnyType):
        return []
    if isinstance(info, inspect.LiteralType):
        options = [str(option) for option in info.values]
        if value in info.values:
            return []
        close = nearest(str(value), options)
        hint = f"Did you mean {close!r}? " if close else ""
        return [
            Fault(
                path,
                f"{shown(value)} is not one of the choices.",
                f"{hint}Choose one of: {', '.join(options)}.",
            )
        ]
    wanted = _KINDS.get(type(info))
    if wanted is None:
        return []
    fits = type(value) is wanted or (wanted is float and type(value) is int)
    if not fits:
        return [Fault(path, f"Expected {_WORDS[wanted]}, got {_kind(value)}.", _remedy(wanted, value))]
    return _check_bounds(value, info, path)


def _check_bounds(value: Any, info: Any, path: str) -> list[Fault]:
    if not isinstance(info, inspect.IntType | inspect.FloatType):
        return []
    number = cast("float", value)
    if not (math.isfinite(number) if isinstance(number, float) else -_HUGE < number < _HUGE):
        return [Fault(path, "The number is out of range.", "Write a number that a person would.")]
    for bound, fits, word in (
        (info.ge, info.ge is None or number >= info.ge, "at least"),
        (info.gt, info.gt is None or number > info.gt, "more than"),
        (info.le, info.le is None or number <= info.le, "at most"),
        (info.lt, info.lt is None or number < info.lt, "less than"),
    ):
        if not fits:
            return [Fault(path, f"{value} is out of range.", f"Write a number that is {word} {bound:g}.")]
    return []


_HUGE = 2**63
_KEY_WORDS = frozenset({"api_key", "api_keys", "apikey", "apiKey", "token", "secret"})
"""What other programs call ``keys``."""
_KINDS: dict[type[inspect.Type], type] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
}
_WORDS: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list):
        return "a list"
    return next((word for kind, word in _WORDS.items() if type(value) is kind), "something else")


def _remedy(wanted: type, value: Any) -> str:
    if wanted is str and isinstance(value, int | float | bool):
        return "Put it in quotes."  # not repeated: it may be a secret
    if wanted in (int, float):
        return "Write digits, without quotes or a unit."
    return f"Write {_WORDS[wanted]}."

"""What is left of a document when its structural faults are taken out, so that its meaning can be checked in the same run.

A person who mends a file wants every fault at once, not the second half after the first is gone. Nothing is ever served
from a mended document: it only finds further faults.

Rules
- Lists keep their length and maps their names, so that a path means the same place before and after.
- A misspelt field is taken for the known one it resembles, if that is not there and the value would fit.
- What cannot be kept falls back on its default, or on empty text where it must be there; faults that only follow from
  that are left out by ``follows``.
"""

from collections.abc import Iterable
from typing import Any, cast

from msgspec import inspect

from penstock.config.fault import Fault
from penstock.config.shape import nearest, shape_faults

_GONE: Any = object()


def mended(document: Any, kind: type) -> Any:
    """``document`` without its structural faults; for a Struct class always a mapping."""
    return _mend(document, inspect.type_info(kind))


def follows(fault: Fault, structural: Iterable[Fault]) -> bool:
    """Would ``fault`` perhaps not be there without one of the structural ones?"""
    for one in structural:
        if _at_or_below(fault.path, one.path) or _at_or_below(one.path, "$.providers", exact=True):
            return True
        if one.path.rpartition(".")[0] == fault.path:
            return True
        if ".provider_keys[" in fault.path and one.path.startswith("$.providers.") and ".keys" in one.path:
            return True
    return False


def _at_or_below(path: str, place: str, *, exact: bool = False) -> bool:
    return path == place or (not exact and path.startswith((f"{place}.", f"{place}[")))


def _mend(value: Any, info: inspect.Type) -> Any:
    """The value, what is left of it, or ``_GONE``."""
    if isinstance(info, inspect.Metadata):
        return _mend(value, info.type)
    if isinstance(info, inspect.StructType):
        return _mend_struct(value, info)
    if isinstance(info, inspect.DictType):
        if not isinstance(value, dict):
            return _GONE
        entries = cast("dict[Any, Any]", value)
        return {n: _kept(v, info.value_type) for n, v in entries.items() if isinstance(n, str)}
    if isinstance(info, inspect.VarTupleType | inspect.ListType):
        if not isinstance(value, list):
            return _GONE
        return [_kept(item, info.item_type) for item in cast("list[Any]", value)]
    if isinstance(info, inspect.UnionType):
        struct = next((option for option in info.types if isinstance(option, inspect.StructType)), None)
        if isinstance(value, dict) and struct is not None:
            return _mend_struct(cast("dict[Any, Any]", value), struct)
    return _GONE if shape_faults(value, info) else cast("Any", value)


def _mend_struct(value: Any, info: inspect.StructType) -> dict[str, Any]:
    fields = {field.encode_name: field for field in info.fields}
    given = _guessed(cast("dict[Any, Any]", value), fields) if isinstance(value, dict) else {}
    kept = {name: _mend(given[name], field.type) for name, field in fields.items() if name in given}
    for name, field in fields.items():
        if kept.get(name, _GONE) is _GONE:
            kept.pop(name, None)
            if field.required:
                kept[name] = _empty(field.type)
    return kept


def _guessed(given: dict[Any, Any], fields: dict[str, inspect.Field]) -> dict[str, Any]:
    """The known fields, and misspelt ones under the name that was meant."""
    known = {name: item for name, item in given.items() if name in fields}
    for name, item in given.items():
        meant = None if name in fields else nearest(str(name), list(fields))
        if meant is not None and meant not in known and _mend(item, fields[meant].type) is not _GONE:
            known[meant] = item
    return known


def _kept(value: Any, info: inspect.Type) -> Any:
    """An element's place is kept: what cannot be mended becomes empty."""
    left = _mend(value, info)
    return _empty(info) if left is _GONE else left


def _empty(info: inspect.Type) -> Any:
    """Something of the kind, with nothing in it."""
    if isinstance(info, inspect.Metadata):
        return _empty(info.type)
    if isinstance(info, inspect.StructType):
        return _mend_struct({}, info)
    if isinstance(info, inspect.DictType):
        return {}
    if isinstance(info, inspect.IntType):
        return info.ge or 0
    return [] if isinstance(info, inspect.VarTupleType | inspect.ListType) else ""

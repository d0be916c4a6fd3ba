"""Is this JSON what an official SDK's types say a request is? Key names, required keys and the types of all values.

The SDKs publish their vendors' specifications as typed dictionaries and models; none of them refuses a key that it does not
know. ``faults`` does: it returns where a value departs, and how; nothing is a request that the types allow.
"""

import functools
import inspect
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel

_OPEN = (typing.Any, object, inspect.Parameter.empty)
_LISTS = (list, Sequence, Iterable, tuple)
_REQUIRED = (typing.Required, typing_extensions.Required)
_NOT_REQUIRED = (typing.NotRequired, typing_extensions.NotRequired)
_WRAPPERS = (Annotated, *_REQUIRED, *_NOT_REQUIRED)


def faults(value: Any, kind: Any, at: str = "") -> list[str]:
    """Where ``value`` is not of ``kind``; empty where it is."""
    origin = get_origin(kind)
    if kind in _OPEN:
        return []
    if origin in _WRAPPERS:
        return faults(value, get_args(kind)[0], at)
    if origin in (Union, types.UnionType):
        return _any_of(value, kind, at)
    if origin is Literal:
        return [] if value in get_args(kind) else [f"{at}: {value!r} is none of {get_args(kind)}"]
    if typing_extensions.is_typeddict(kind):
        return _fields(value, kind, at)
    if _is_model(kind):
        return _fields(value, kind, at)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            return [f"{at}: {value!r} is no object"]
        return [
            one for name, item in value.items() for one in faults(item, get_args(kind)[1], f"{at}.{name}")
        ]
    if origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return [f"{at}: {value!r} is no list"]
        return [one for n, item in enumerate(value) for one in faults(item, get_args(kind)[0], f"{at}[{n}]")]
    return _plain(value, kind, at)


def _plain(value: Any, kind: Any, at: str) -> list[str]:
    if kind is None or kind is type(None):
        return [] if value is None else [f"{at}: {value!r} is not null"]
    if kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind in (str, bool):
        fits = isinstance(value, kind)
    elif kind is dict:
        fits = isinstance(value, dict)
    else:
        fits = False  # a file, or a type that no request of JSON has
    return [] if fits else [f"{at}: {value!r} is no {getattr(kind, '__name__', kind)}"]


def _any_of(value: Any, kind: Any, at: str) -> list[str]:
    """The faults by the choice that comes nearest; an open choice beside named ones ("or whatever comes") says nothing."""
    choices = [one for one in get_args(kind) if one not in _OPEN] or list(get_args(kind))
    if any(typing_extensions.is_typeddict(one) for one in choices):
        choices = [
            one for one in choices if not _is_model(one)
        ]  # what a reply is read into may be given back, as an object
    wanted = value.get("type", value.get("role")) if isinstance(value, dict) else None
    if wanted is not None and any(_says(one, wanted) for one in choices):
        choices = [one for one in choices if _says(one, wanted) or get_origin(one) in (dict, Mapping)]
    nearest: list[str] | None = None
    for one in choices:
        found = faults(value, one, at)
        if not found:
            return []
        nearest = found if nearest is None or len(found) < len(nearest) else nearest
    return nearest or []


def _is_model(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _says(kind: Any, wanted: object) -> bool:
    while get_origin(kind) in _WRAPPERS:
        kind = get_args(kind)[0]
    hints = _hints(kind)[0] if typing_extensions.is_typeddict(kind) or _is_model(kind) else {}
    said = hints.get("type", hints.get("role"))
    while get_origin(said) in _WRAPPERS:
        said = get_args(said)[0]
    return get_origin(said) is Literal and wanted in get_args(said)


@functools.cache
def _hints(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The keys of an object with their types, and which of them it must have."""
    if typing_extensions.is_typeddict(kind):
        hints = typing_extensions.get_type_hints(kind, include_extras=True)
        # Where a module's annotations are strings, ``Required`` is not in ``__required_keys__``; it is in the hints.
        said = {name: get_origin(hint) for name, hint in hints.items()}
        needed = {name for name, one in said.items() if one in _REQUIRED}
        return hints, frozenset(
            needed | {name for name in kind.__required_keys__ if said[name] not in _NOT_REQUIRED}
        )
    kind.model_rebuild()
    named = {field.alias or name: field for name, field in kind.model_fields.items()}
    must = frozenset(name for name, field in named.items() if field.is_required())
    return {name: field.annotation for name, field in named.items()}, must


def _fields(value: Any, kind: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no {kind.__name__}"]
    hints, needed = _hints(kind)
    if typing_extensions.is_typeddict(kind) and not hints:
        return []  # an object of any keys
    found = [f"{at}.{name}: unknown to {kind.__name__}" for name in value if name not in hints]
    found += [f"{at}.{name}: missing in {kind.__name__}" for name in sorted(needed - set(value))]
    return found + [
        one
        for name, item in value.items()
        if name in hints
        for one in faults(item, hints[name], f"{at}.{name}")
    ]


def call_faults(body: dict[str, Any], method: Any, *more: str) -> list[str]:
    """Where ``body`` is not what a client's method takes by keyword; ``more`` keys are the client's own to send."""
    hints = typing_extensions.get_type_hints(method, include_extras=True)
    known = inspect.signature(method).parameters
    found = [f".{name}: no keyword of {method.__name__}" for name in body if name not in {*known, *more}]
    needed = {name for name, one in known.items() if one.default is inspect.Parameter.empty} - {"self"}
    found += [f".{name}: missing" for name in sorted(needed - set(body))]
    return found + [
        one for name, item in body.items() if name in hints for one in faults(item, hints[name], f".{name}")
    ]

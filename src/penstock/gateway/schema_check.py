"""Whether a JSON document is what a schema says, of a schema and a document that may be hostile.

Rules
- Nothing a schema points at is fetched, no pattern of its is run (a pattern may take for ever), and what would take more
  than ``MOST_STEPS`` steps, or ``MOST_S``, is left unjudged.
- jsonschema takes a tenth of a start to load, so this module is loaded behind it, or at the first schema (structured).
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema.validators
import msgspec
from jsonschema.exceptions import UnknownType, ValidationError
from msgspec import Struct
from referencing import Registry
from referencing.exceptions import Unresolvable

MOST_STEPS = 20_000
MOST_S = 0.1
"""Of judging, which holds up everybody else."""
_MOST_TOLD = 200
_UNCHECKED = ("pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "uniqueItems")
Check = Callable[[Any, Any, Any, dict[str, Any]], Iterator[ValidationError] | None]


class Fault(Struct, frozen=True):
    """What is wrong, and where in the answer ($.items[2].price)."""

    path: str
    reason: str


class _TooLong(Exception):
    """The schema would take too many steps."""


class _Steps:
    __slots__ = ("left", "until_s")

    def __init__(self) -> None:
        self.left = MOST_STEPS
        self.until_s = 0.0


_STEPS = _Steps()


def _counted(check: Check) -> Check:
    def counting(
        validator: Any, value: Any, instance: Any, schema: dict[str, Any]
    ) -> Iterator[ValidationError]:
        _STEPS.left -= 1
        if _STEPS.left <= 0 or time.perf_counter() > _STEPS.until_s:
            raise _TooLong
        yield from check(validator, value, instance, schema) or ()

    return counting


def _unchecked(
    _validator: Any, _value: Any, _instance: Any, _schema: dict[str, Any]
) -> Iterator[ValidationError]:
    return iter(())


def _closed(check: Check) -> Check:
    """additionalProperties, which would run the patterns of a schema that has some."""

    def closed(
        validator: Any, value: Any, instance: Any, schema: dict[str, Any]
    ) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from check(validator, value, instance, schema) or ()

    return closed


def _validator() -> Any:
    library: Any = jsonschema.validators
    base = library.Draft202012Validator
    known: dict[str, Check] = dict(base.VALIDATORS)
    known["additionalProperties"] = _closed(known["additionalProperties"])
    checks = {name: _counted(check) for name, check in known.items()}
    checks.update(dict.fromkeys(_UNCHECKED, _unchecked))
    return library.extend(base, checks)


_Validator = _validator()
_NOTHING_ELSE: Any = Registry  # resolves what the schema itself holds, and fetches nothing


def fault_of(text: str, schema: dict[str, Any]) -> Fault | None:
    """What is wrong with an answer; None: nothing, or nothing that can be judged."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return Fault("$", f"it is not JSON: {error}")
    _STEPS.left, _STEPS.until_s = MOST_STEPS, time.perf_counter() + MOST_S
    try:
        found: Any = next(iter(_Validator(schema, registry=_NOTHING_ELSE()).iter_errors(value)), None)
    except (_TooLong, RecursionError, Unresolvable):
        return None
    except (UnknownType, TypeError, ValueError, AttributeError, KeyError):
        return None  # no schema at all: what its values must be is not checked before
    if found is None:
        return None
    return Fault(str(found.json_path), str(found.message)[:_MOST_TOLD])

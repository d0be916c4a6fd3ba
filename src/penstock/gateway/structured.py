"""Whether an answer that was asked for in a strict schema is one: judged as its events pass.

Rules
- Judged is a schema that binds: OpenAI's ``strict``, and any schema of Anthropic's or Gemini's callers, who know no other.
- Judged is an answer that its model has ended itself. One that was cut, filtered, refused, or calls a tool, is no claim.
- The schema is a caller's, so it may be hostile: nothing it points at is fetched, no pattern of its is run (a pattern may
  take for ever), and what would take more than ``MOST_STEPS`` steps, or ``MOST_S``, is left unjudged.
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

from penstock.base.chat import ResponseFormat
from penstock.base.errors import UpstreamError
from penstock.base.events import Event, RefusalDelta, Stopped, TextDelta, ToolStarted

CODE = "structured_output_invalid"
MOST_STEPS = 20_000
MOST_S = 0.1
"""Of judging, which holds up everybody else."""
MOST_CHARS = 1024 * 1024
"""Of an answer: a longer one is left unjudged."""
_MOST_TOLD = 200
_BINDING = frozenset({"anthropic", "gemini"})
"""Callers' dialects in which a schema is never a mere wish."""
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
    if len(text) > MOST_CHARS:
        return None
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


class Judge:
    """Sees one reply. ``hold``: nothing of it may leave before the verdict."""

    __slots__ = ("_ended", "_schema", "_text", "hold")

    def __init__(self, schema: dict[str, Any], *, hold: bool) -> None:
        self._schema = schema
        self._text: list[str] = []
        self._ended: bool | None = None
        self.hold = hold

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._text)

    def see(self, event: Event) -> None:
        """One event."""
        match event:
            case TextDelta(text=text):
                self._text.append(text)
            case RefusalDelta() | ToolStarted():
                self._ended = False
            case Stopped(why=why) if self._ended is None:
                self._ended = why == "stop"
            case _:
                pass

    def verdict(self) -> UpstreamError | None:
        """What the whole answer comes to."""
        fault = fault_of(self.text, self._schema) if self._ended else None
        if fault is None:
            return None
        return UpstreamError(
            f"The model's answer does not fit the schema that was asked for: at {fault.path}, {fault.reason}",
            code=CODE,
            param=fault.path,
            falls_back=False,
        )


def judge_of(wanted: ResponseFormat | None, dialect: str, *, hold: bool) -> Judge | None:
    """Who judges the answer to this wish; None: it is no strict one."""
    if wanted is None or wanted.kind != "json_schema" or wanted.schema is None:
        return None
    strict = wanted.strict if wanted.strict is not None else dialect in _BINDING
    return Judge(wanted.schema, hold=hold) if strict else None


def repairing(error: UpstreamError) -> str:
    """What the model is told of its fault."""
    return (
        f"Your answer is not valid: {error.message} Answer again with the whole corrected JSON document, "
        "and with nothing else."
    )

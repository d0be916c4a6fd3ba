"""Whether an answer that was asked for in a strict schema is one: judged as its events pass.

Rules
- Judged is a schema that binds: OpenAI's ``strict``, and any schema of Anthropic's or Gemini's callers, who know no other.
- Judged is an answer that its model has ended itself. One that was cut, filtered, refused, or calls a tool, is no claim.
- The schema is a caller's, so it may be hostile: see gateway.schema_check.
"""

from typing import TYPE_CHECKING, Any

from penstock.base.chat import ResponseFormat
from penstock.base.errors import UpstreamError
from penstock.base.events import Event, RefusalDelta, Stopped, TextDelta, ToolStarted

if TYPE_CHECKING:
    from penstock.gateway.schema_check import Fault

CODE = "structured_output_invalid"
MOST_CHARS = 1024 * 1024
"""Of an answer: a longer one is left unjudged."""
_BINDING = frozenset({"anthropic", "gemini"})
"""Callers' dialects in which a schema is never a mere wish."""


def fault_of(text: str, schema: dict[str, Any]) -> "Fault | None":
    """What is wrong with an answer; None: nothing, or nothing that can be judged."""
    if len(text) > MOST_CHARS:
        return None
    from penstock.gateway import schema_check  # noqa: PLC0415 - see tests/house/test_floors.py

    return schema_check.fault_of(text, schema)


def load_judge() -> None:
    """What judging takes, loaded now: the first answer in a schema shall not wait for it."""
    fault_of("", {})


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

"""The operator's log: one line per event on stderr, as text or as JSON.

Rules
- For people who run the gateway: starts, reloads, faults, warnings. Never per call: that is the ledger's.
- Facts are short scalars. Never a body, a header or a credential; what looks like a key is masked all the same.
- ``once`` says a thing once per key and period, with how often it was left unsaid.
- What callers or providers wrote stays on its line: control characters become spaces.
"""

import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

import msgspec

Level = Literal["info", "warning", "error"]
Fact = str | int | float | bool | None

MAX_FACT_CHARS = 500
MAX_FRAMES = 6
_ENCODE = msgspec.json.encode
_MAX_KEYS = 1000
# The shapes of credentials that providers hand out, and "Bearer ..." (as of 2026-11).
_SECRET = re.compile(
    r"\b(?:sk-[\w-]{6,}|AIza[\w-]{10,}|gsk_\w{6,}|xai-\w{6,}|ya29\.[\w.-]+|Bearer\s+[^\s,;]+|Basic\s+[\w+/=]{6,})"
)


class OperatorLog:
    """Where events go, one line each."""

    def __init__(
        self,
        *,
        json_lines: bool = False,
        stream: TextIO | None = None,
        unix_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
        always: dict[str, Fact] | None = None,
    ) -> None:
        """``stream`` None is whatever stderr is at the time of writing. ``always``: facts that every line has."""
        self._always = always or {}
        self._json_lines = json_lines
        self._stream = stream
        self._unix_s = unix_s
        self._monotonic_s = monotonic_s
        self._said: dict[str, list[float]] = {}

    def event(self, name: str, /, **facts: Fact) -> None:
        """Something happened. ``name`` is dotted and stable: "reload.done"."""
        self._write("info", name, "", facts)

    def warn(self, name: str, /, **facts: Fact) -> None:
        """Something that a person should know in time: a budget that runs out."""
        self._write("warning", name, "", facts)

    def fault(self, name: str, /, **facts: Fact) -> None:
        """Something that a person must mend, and nobody's bug: a faulty configuration, a busy port."""
        self._write("error", name, "", facts)

    def failure(self, name: str, error: BaseException, /, **facts: Fact) -> None:
        """A bug or a broken machine: the error's class and sentence, and where it was raised."""
        self._write("error", name, f"{type(error).__name__}: {error}", {**facts, "where": _where(error)})

    def failure_of_words(self, name: str, error: BaseException, /, **facts: Fact) -> None:
        """The same where callers' words were at hand: an error's sentence may quote them, so its class and place alone."""
        self._write("error", name, type(error).__name__, {**facts, "where": _where(error)})

    def once(self, key: str, message: str, *, period_s: float = 3600.0) -> bool:
        """Warn, unless that was done for ``key`` within ``period_s``; True if it was said now."""
        now_s = self._monotonic_s()
        record = self._said.get(key)
        if record is not None and now_s - record[0] < period_s:
            record[1] += 1
            return False
        facts: dict[str, Fact] = {}
        if record is not None and record[1]:
            facts["left_unsaid"] = int(record[1])
        elif record is None and len(self._said) >= _MAX_KEYS:
            # Forget the oldest: to repeat a line is better than to grow.
            self._said.pop(next(iter(self._said)))
        self._said.pop(key, None)
        self._said[key] = [now_s, 0]
        self._write("warning", "notice", message, facts)
        return True

    def _write(self, level: Level, event: str, message: str, facts: dict[str, Fact]) -> None:
        at = datetime.fromtimestamp(self._unix_s(), UTC).isoformat(timespec="milliseconds")
        at = at.replace("+00:00", "Z")
        clean = {name: _clean(value) for name, value in {**self._always, **facts}.items()}
        message = str(_clean(message))
        if self._json_lines:
            said = {"message": message} if message else {}
            line = _ENCODE({"at": at, "level": level, "event": event, **said, **clean}).decode()
        else:
            parts = [at, level.upper(), event, message]
            parts += [f"{name}={_word(value)}" for name, value in clean.items()]
            line = " ".join(filter(None, parts))
        stream = self._stream or sys.stderr
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            # stderr is gone (closed pipe): a log must not take the gateway with it.
            return


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))


def _clean(value: Fact) -> Fact:
    if not isinstance(value, str):
        return value
    text = _SECRET.sub("***", value)
    if len(text) > MAX_FACT_CHARS:
        text = text[:MAX_FACT_CHARS] + "..."
    text = "".join(char if char.isprintable() else " " for char in text)
    return text.encode("utf-8", "replace").decode("utf-8")


def _word(value: Fact) -> str:
    text = value if isinstance(value, str) else _ENCODE(value).decode()
    return _ENCODE(text).decode() if not text or " " in text or '"' in text else text

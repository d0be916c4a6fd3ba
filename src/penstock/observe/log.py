"""The operator's log: one line per event on stderr, as text or as JSON.

Rules
- For people who run the gateway: starts, reloads, faults, warnings. Never per call: that is the ledger's.
- Facts are short scalars. Never a body, a header or a credential; what looks like a key is masked all the same.
- ``once`` says a thing once per key and period, with how often it was left unsaid.
"""

import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

Level = Literal["info", "warning", "error"]
Fact = str | int | float | bool | None

MAX_FACT_CHARS = 500
_MAX_KEYS = 1000
# The shapes of credentials that providers hand out, and "Bearer ..." (as of 2026-11).
_SECRET = re.compile(
    r"\b(?:sk-[\w-]{6,}|AIza[\w-]{10,}|gsk_\w{6,}|xai-\w{6,}|ya29\.[\w.-]+|Bearer\s+[^\s,;]+|Basic\s+[\w+/=]{6,})"
)


class Log:
    """Where events go. ``write`` takes one whole line."""

    def __init__(
        self,
        *,
        json: bool = False,
        stream: TextIO | None = None,
        unix_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``stream`` None is whatever stderr is at the time of writing."""
        self._json = json
        self._stream = stream
        self._unix_s = unix_s
        self._monotonic_s = monotonic_s
        self._said: dict[str, list[float]] = {}

    def info(self, event: str, message: str = "", **facts: Fact) -> None:
        """Something happened as it should. ``event`` is dotted and stable: "config.reloaded"."""
        self._write("info", event, message, facts)

    def warning(self, event: str, message: str = "", **facts: Fact) -> None:
        """Something to look at; the gateway goes on."""
        self._write("warning", event, message, facts)

    def error(self, event: str, message: str = "", **facts: Fact) -> None:
        """Something does not work."""
        self._write("error", event, message, facts)

    def once(
        self,
        key: str,
        level: Level,
        event: str,
        message: str = "",
        *,
        period_s: float = 3600.0,
        **facts: Fact,
    ) -> bool:
        """Say it unless it was said for ``key`` within ``period_s``; True if it was said."""
        now_s = self._monotonic_s()
        record = self._said.get(key)
        if record is not None and now_s - record[0] < period_s:
            record[1] += 1
            return False
        if record is not None and record[1]:
            facts = {**facts, "left_unsaid": int(record[1])}
        elif len(self._said) >= _MAX_KEYS:
            # Forget the oldest: to repeat a line is better than to grow.
            self._said.pop(next(iter(self._said)))
        self._said.pop(key, None)
        self._said[key] = [now_s, 0]
        self._write(level, event, message, facts)
        return True

    def _write(self, level: Level, event: str, message: str, facts: dict[str, Fact]) -> None:
        at = datetime.fromtimestamp(self._unix_s(), UTC).isoformat(timespec="milliseconds")
        at = at.replace("+00:00", "Z")
        clean = {name: _clean(value) for name, value in facts.items()}
        message = str(_clean(message))
        if self._json:
            line = msgspec.json.encode(
                {"at": at, "level": level, "event": event, "message": message, **clean}
            ).decode()
        else:
            parts = [at, level.upper(), event]
            if message:
                parts.append(message)
            parts += [f"{name}={_word(value)}" for name, value in clean.items()]
            line = " ".join(parts)
        stream = self._stream or sys.stderr
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            # stderr is gone (closed pipe): a log must not take the gateway with it.
            return


def _clean(value: Fact) -> Fact:
    if not isinstance(value, str):
        return value
    text = _SECRET.sub("***", value)
    if len(text) > MAX_FACT_CHARS:
        text = text[:MAX_FACT_CHARS] + "..."
    text = "".join(char if char.isprintable() else " " for char in text)
    return text.encode("utf-8", "replace").decode("utf-8")


def _word(value: Fact) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return msgspec.json.encode(text).decode() if not text or " " in text or '"' in text else text

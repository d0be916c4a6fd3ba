"""The queue and the one daemon thread that sends it, in batches.

Rules
- ``add`` is an append and, at most, the waking of a thread: it never waits, and never raises for what the gateway does.
- An event gets its id when it is added, and keeps it through all retries: the gateway counts it once.
- A gateway that is away, slow, or refuses the key is tried again with back-off, while events gather up to ``max_queue``;
  the newest beyond it are dropped and counted. What the gateway calls faulty is dropped alone, and said once.
- A forked child begins with an empty queue and its own ids: what was waiting is the parent's to send.
- At exit what is left is sent within ``exit_timeout_s``; a process that is killed loses what was not yet sent.
"""

import atexit
import itertools
import logging
import os
import threading
import time
from collections import deque
from typing import Any

from penstock.meter.energy import energy
from penstock.meter.sender import Sender, Target, target_of

_log = logging.getLogger("penstock.meter")
BATCH = 500
_BACK_OFF_S = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Reporter:
    """What the process has to report. One for each process: ``reporter``."""

    def __init__(self) -> None:
        self.max_queue = 10_000
        self.gather_s = 0.25
        self.exit_timeout_s = 2.0
        self.sent = 0
        self.dropped = 0
        self._target: Target | None = None
        self._asked_environment = False
        self._reset()

    def _reset(self) -> None:
        """As in a new process."""
        self._queue: deque[dict[str, Any]] = deque()
        self._sending: list[dict[str, Any]] = []
        self._ids = itertools.count()
        self._prefix = os.urandom(16).hex()
        self._bell = threading.Event()
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()
        self.last_error: str | None = None

    def after_fork(self) -> None:
        """In the child: threads do not survive a fork, and locks may be held for ever."""
        self._reset()
        self.sent = self.dropped = 0

    def aim(self, target: Target) -> None:
        """Send there from now on."""
        self._target = target
        self._told.clear()
        self._bell.set()
        self._hurry.set()

    def add(self, event: dict[str, Any]) -> None:
        """Take an event. It is the caller's no more."""
        if len(self._queue) >= self.max_queue:
            self._drop(1, "full", f"{self.max_queue} events wait to be sent: new ones are dropped")
            return
        if "id" not in event:
            event["id"] = f"{self._prefix}-{next(self._ids)}"
        self._queue.append(event)
        if self._thread is None:
            self._start()
        if not self._bell.is_set():
            self._bell.set()

    def trouble(self, kind: str, said: str) -> None:
        """Say it, once of its kind until it works again."""
        self.last_error = said
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("%s", said)

    @property
    def waiting(self) -> int:
        """Events that are neither sent nor dropped."""
        return len(self._queue) + len(self._sending)

    def flush(self, timeout_s: float) -> bool:
        """Send now; False where something is left after ``timeout_s``."""
        until_s = time.monotonic() + timeout_s
        self._hurry.set()
        self._bell.set()
        while self.waiting and time.monotonic() < until_s:
            time.sleep(0.005)
        return not self.waiting

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="penstock-meter", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads, or the interpreter ends
                    self._thread = None
                    self.trouble("thread", f"nothing can be sent: {error}")

    def _run(self) -> None:
        energy.open()
        sender = Sender()
        while True:
            self._bell.wait()
            self._bell.clear()
            self._hurry.wait(self.gather_s)
            self._hurry.clear()
            while self._queue:
                # Seen in one place or both, never in none: ``flush`` counts what waits.
                self._sending = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
                for _ in self._sending:
                    self._queue.popleft()
                try:
                    self._send(sender)
                except Exception as error:  # noqa: BLE001 - a shield: named in tests/house/test_swallow.py
                    self._drop(len(self._sending), "batch", f"a batch could not be sent: {error!r}")
                self._sending = []

    def _send(self, sender: Sender) -> None:
        """Send what is in ``_sending`` until none of it is left."""
        failures = 0
        while self._sending:
            target = self._where()
            if target is None:
                self.trouble(
                    "url", "no gateway is named: call penstock.meter.configure(url=...) or set PENSTOCK_URL"
                )
                self._hurry.wait(_BACK_OFF_S[-1])
                self._hurry.clear()
                continue
            part = self._sending
            said = sender.post(target, part)
            if said.taken or said.faulty:
                self.sent += said.taken
                self._sending = said.left
                failures = 0
                self._told.difference_update(("away", "full", "url"))
                if said.faulty:
                    self._drop(
                        said.faulty, "faulty", f"the gateway does not take {said.faulty} events: {said.why}"
                    )
                continue
            if said.halve:
                half = len(part) // 2
                self._queue.extendleft(reversed(part[half:]))
                self._sending = part[:half]
                continue
            self.trouble(
                "away", f"the gateway does not take what is reported, and is tried again: {said.why}"
            )
            self._hurry.wait(max(said.retry_after_s, _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]))
            self._hurry.clear()
            failures += 1

    def _drop(self, count: int, kind: str, said: str) -> None:
        with self._counting:
            self.dropped += count
        self.trouble(kind, said)

    def _where(self) -> Target | None:
        if self._target is None and not self._asked_environment:
            self._asked_environment = True
            url, key = os.environ.get("PENSTOCK_URL"), os.environ.get("PENSTOCK_KEY")
            if url:
                try:
                    self._target = target_of(url, key)
                except ValueError as error:
                    self.trouble("url", f"PENSTOCK_URL is refused: {error}")
        return self._target


reporter = Reporter()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=reporter.after_fork)


@atexit.register
def _at_exit() -> None:
    if reporter.waiting and not reporter.flush(reporter.exit_timeout_s):
        _log.warning("%d events could not be sent before the end", reporter.waiting)


def configure(
    url: str | None = None,
    key: str | None = None,
    *,
    max_queue: int | None = None,
    gather_s: float | None = None,
    exit_timeout_s: float | None = None,
) -> None:
    """Name the gateway (else: PENSTOCK_URL) and the virtual key (else: PENSTOCK_KEY). Raises ValueError for a URL that is none.

    ``max_queue`` events are kept while the gateway is away; ``gather_s`` is how long a batch may gather.
    """
    if url is not None:
        reporter.aim(target_of(url, key if key is not None else os.environ.get("PENSTOCK_KEY")))
    elif key is not None:
        reporter.aim(target_of(os.environ.get("PENSTOCK_URL", ""), key))
    if max_queue is not None:
        reporter.max_queue = max_queue
    if gather_s is not None:
        reporter.gather_s = gather_s
    if exit_timeout_s is not None:
        reporter.exit_timeout_s = exit_timeout_s


def flush(timeout_s: float = 5.0) -> bool:
    """Send what waits now, and wait for it; False where something is left."""
    return reporter.flush(timeout_s)


def status() -> dict[str, Any]:
    """How many events were sent, dropped and wait, and what went wrong last."""
    return {
        "sent": reporter.sent,
        "dropped": reporter.dropped,
        "waiting": reporter.waiting,
        "last_error": reporter.last_error,
    }

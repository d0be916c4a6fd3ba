"""What libraries say on stderr while they load, that is neither the user's fault nor of use: silenced by name, told at debug.

Rules
- A record is known by its logger and its first words; everything else those loggers say is said. Everything is put back.
"""

import logging
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_log = logging.getLogger("penstock.engine")
KNOWN: tuple[tuple[str, str], ...] = (
    # torchao 0.18 tries every binary of its package, those for other Pythons and cards too, and warns of each.
    ("torchao", "Failed to load "),
    # torch 2.13 of enums that torchao registers.
    ("torch.utils._pytree", "%s is an Enum subclass and is now natively supported by torch.compile"),
)
"""Logger, and how the message begins (before its arguments are put in)."""
BARS = ("diffusers", "transformers")
KEPT: ContextVar[bool] = ContextVar("penstock_noise_kept", default=False)
"""Whoever runs us keeps what libraries say, to tell it where the run fails: then nothing of it is silenced here."""


class _Known(logging.Filter):
    """Lets everything through but what begins with these words, which is told at debug."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(self._words):
            return True
        _log.debug("%s: %s", record.name, record.getMessage())
        return False


@contextmanager
def without_noise() -> Generator[None]:
    """What is known to be said of nothing is not said."""
    if KEPT.get():
        yield
        return
    filters = [(logging.getLogger(name), _Known(words)) for name, words in KNOWN]
    for logger, known in filters:
        logger.addFilter(known)
    try:
        yield
    finally:
        for logger, known in filters:
            logger.removeFilter(known)


@contextmanager
def hushed() -> Generator[None]:
    """What libraries log while they are imported (optional parts that are not there) is not the user's to read; errors are."""
    if KEPT.get():
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def without_bars() -> Generator[None]:
    """Loading shows no bars: each library's own would be drawn over the profile's progress."""
    with ExitStack() as shown_again:
        for name in () if KEPT.get() else BARS:
            told = _logging_of(name)
            if told is not None and told.is_progress_bar_enabled():
                told.disable_progress_bar()
                shown_again.callback(told.enable_progress_bar)
        yield


def _logging_of(name: str) -> Any:
    """``diffusers.utils.logging``; None where the package is not there, or cannot be imported, which its user will say."""
    if find_spec(name) is None:
        return None
    try:
        return import_module(f"{name}.utils.logging")
    except (ImportError, RuntimeError, OSError):
        return None

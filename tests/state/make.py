"""Async tests without a plugin."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def running(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test on an event loop of its own."""

    @wraps(test)
    def run(*args: Any, **words: Any) -> None:
        asyncio.run(test(*args, **words))

    return run

"""Tests of what belongs to an event loop: each in a fresh one, which must be left without tasks."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any


def looped(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test, run to its end."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def whole() -> None:
            await test(*args, **kwargs)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left: {left}"

        asyncio.run(whole())

    return run


async def until(happened: Callable[[], object]) -> None:
    """Wait for it; the test's own timeout ends it otherwise."""
    while not happened():  # noqa: ASYNC110 - what is waited for is another party's doing, and has no event
        await asyncio.sleep(0.002)

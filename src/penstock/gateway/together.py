"""What several calls ask of a store goes out together: one message is on its way at a time, and what gathers meanwhile goes
with the next."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """``send`` asks the store and learns what it answers; it must not raise for a store that is gone. Of one event loop."""

    __slots__ = ("_asked", "_asking", "_send", "_tasks")

    def __init__(self, send: Callable[[list[T]], Awaitable[None]]) -> None:
        self._send = send
        self._asked: list[tuple[list[T], asyncio.Future[None]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """A message is on its way."""
        return self._asking is not None

    async def ask(self, claims: list[T]) -> None:
        """Send ``claims``, and return once they are answered."""
        if not claims:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append((claims, done))
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
        await done

    def tell(self, claims: list[T]) -> None:
        """Send ``claims``; nobody waits for the answer."""
        if claims:
            task = asyncio.ensure_future(self.ask(claims))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                try:
                    await self._send([one for claims, _ in asked for one in claims])
                finally:
                    for _, done in asked:
                        if not done.done():
                            done.set_result(None)
        finally:
            self._asking = None

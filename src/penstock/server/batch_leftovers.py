"""What a native batch leaves at its provider: its lines' file, its results' files, the batch itself; removed once all is kept here.

Theory
------
Removing must not hold up a result, and must not be forgotten by a kill. So what is to be removed is written into the batch's
row by the change that ends the batch, and the row is due again at once: whoever claims it then removes one after the other,
and gives the row back until later where the provider fails.

Rules
- Only what has no use any more: each line's result is kept, or will never be there.
- Best effort: after ``MOST_TRIES`` it is left to the provider's own expiry, and who looks at the batch sees what and why.
"""

import contextlib
from typing import Any

from msgspec import Struct, convert, structs, to_builtins

from penstock.base.errors import PenstockError, UpstreamError
from penstock.gateway.native_desk import NativeDesk
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_choice import Way, desk_of
from penstock.server.later import Held

ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
FIRST_WAIT_MS, LAST_WAIT_MS = 1_000, 3_600_000
MOST_TRIES = 30
"""With these waits, about a day."""


class Leftovers(Struct, frozen=True):
    """What is still there. ``tries``: how often that did not change."""

    provider: str
    key: str
    names: tuple[str, ...]
    tries: int = 0
    trouble: str = ""


def leaving(app: App, meta: dict[str, Any], way: Way, names: tuple[str, ...]) -> dict[str, Any]:
    """The meta of a batch that leaves these there, where the configuration says that they are to go."""
    names = tuple(name for name in dict.fromkeys(names) if name)
    if not names or app.house.config.batches.provider_files == "keep":
        return meta
    return {**meta, "left": to_builtins(Leftovers(way.provider, way.key, names))}


def still_there(meta: dict[str, Any]) -> Leftovers | None:
    """What is to be removed; None: nothing (more)."""
    left = None if not meta.get("left") else convert(meta["left"], Leftovers)
    return left if left is not None and left.names and left.tries < MOST_TRIES else None


def due_ms(meta: dict[str, Any]) -> int | None:
    """When an ended batch is to be claimed again; None: never."""
    return None if still_there(meta) is None else unix_ms()


async def sweep(app: App, held: Held) -> None:
    """Remove what is left of an ended batch, or say why it is there still, and when it is tried again."""
    left = still_there(held.stored.meta)
    if left is None:
        await held.change(lambda meta: meta, due_ms=None)
        return
    names, trouble, last = list(left.names), "", False
    for name in left.names:
        if app.draining:
            await held.release()
            return
        try:
            desk = desk_of(app.house, left.provider, left.key)
            await _removed(desk, name)
            names.remove(name)
        except PenstockError as error:
            trouble = f"{left.provider}: {error.public()}"[:500]
            last = last or not isinstance(error, UpstreamError)
    tries = 0 if len(names) < len(left.names) else left.tries + 1
    kept = structs.replace(left, names=tuple(names), trouble=trouble, tries=MOST_TRIES if last else tries)
    again = names and kept.tries < MOST_TRIES
    wait_ms = min(FIRST_WAIT_MS * 2**kept.tries, LAST_WAIT_MS)
    await held.change(
        lambda meta: {**meta, "left": to_builtins(kept)}, due_ms=unix_ms() + wait_ms if again else None
    )


async def remove_now(app: App, meta: dict[str, Any]) -> None:
    """Once, without a second try: the batch's own row is about to go, and with it what is known of them."""
    left = still_there(meta)
    for name in () if left is None else left.names:
        with contextlib.suppress(PenstockError):
            assert left is not None
            await _removed(desk_of(app.house, left.provider, left.key), name)


async def _removed(desk: NativeDesk, name: str) -> None:
    try:
        await desk.ask(desk.service.remove(name))
    except UpstreamError as error:
        if error.upstream_status not in desk.service.gone:
            raise


def leftovers_view(meta: dict[str, Any]) -> str | None:
    """For whoever looks at the batch; None: there never was anything."""
    if not meta.get("left"):
        return None
    left = convert(meta["left"], Leftovers)
    if not left.names:
        return "removed"
    why = f"; {left.trouble}" if left.trouble else ""
    more = "left to the provider's own expiry" if left.tries >= MOST_TRIES else "to be removed"
    return f"{', '.join(left.names)}: {more}{why}"

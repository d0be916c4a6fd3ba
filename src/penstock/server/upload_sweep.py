"""Deletes at the providers what was uploaded to them, when its time is over (gateway.upload_shelf).

Rules
- A deletion that fails is tried again, later each time, until the provider has deleted the file by itself.
- What the provider does not know any more is deleted. So is one that never got a name there.
- A provider or a key that is gone from the configuration leaves nothing that could be asked with: then the file lies until
  the provider deletes it, and the operator is told.
"""

import time
from collections.abc import Callable

from penstock.base.errors import UpstreamError
from penstock.gateway.house import House
from penstock.gateway.upload_desk import UploadDesk, desk_of
from penstock.gateway.upload_shelf import KIND
from penstock.objects.times import unix_ms
from penstock.observe.names import UPLOADS
from penstock.server.later import Held
from penstock.wire.uploads import Ask, Uploaded, says_gone

MOST_AT_ONCE = 4
FIRST_WAIT_MS, LAST_WAIT_MS = 30_000, 3_600_000
TIMEOUT_S = 30.0


class UploadSweeper:
    """A worker (server.later)."""

    kind = KIND
    most = MOST_AT_ONCE

    def __init__(self, house: Callable[[], House]) -> None:
        self._house = house

    async def work(self, held: Held) -> None:
        """Delete one file there, and then here."""
        meta, house = held.meta, self._house()
        file = str(meta["file"])
        if not file or await self._deleted(house, str(meta["provider"]), str(meta["key"]), file):
            await held.keeper.delete(held.stored.kind, held.stored.id, held.stored.owner)
            return
        if unix_ms() >= int(meta["gone_ms"]):
            house.log_once(
                f"upload {meta['provider']}",
                f"A file at {meta['provider']} could not be deleted; by now it has expired there.",
            )
            await held.keeper.delete(held.stored.kind, held.stored.id, held.stored.owner)
            return
        tries = int(meta["tries"])
        wait_ms = min(LAST_WAIT_MS, FIRST_WAIT_MS << min(tries, 10))
        await held.change(lambda now: {**now, "tries": tries + 1}, due_ms=unix_ms() + wait_ms)

    async def _deleted(self, house: House, provider: str, key: str, file: str) -> bool:
        found = desk_of(house, provider, key)
        if found is None:
            house.log_once(
                f"upload {provider}.{key}",
                f"A file uploaded to {provider} with the key {key} cannot be deleted: they are no longer configured.",
            )
            return False
        service, secret = found
        try:
            desk = UploadDesk(house.providers[provider], secret, time.monotonic() + TIMEOUT_S)
            await desk.ask(Ask(service.delete(file)))
        except UpstreamError as error:
            if says_gone(error.upstream_status, error.message, Uploaded(file)):
                return True
            house.metrics.add(UPLOADS, 1, provider, "undeleted")
            house.log_once(
                f"upload {provider}", f"A file at {provider} could not be deleted: {error.message}"
            )
            return False
        house.metrics.add(UPLOADS, 1, provider, "deleted")
        return True

"""``POST /v1/ledger/entries``: own costs, acknowledged when they are stored.

Rules
- 200 means committed: what was acknowledged survives kill -9. Anything else means: send it again, with the same ids.
- Nobody waits for the disk but who posted. A big batch is read in another thread, so that streams do not stall.
- The configuration in force when the post came prices all of it.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from penstock.base.errors import BadRequest, BodyTooLarge, OurFault
from penstock.config.fault import Fault
from penstock.config.schema import Config
from penstock.gateway.house import House
from penstock.gateway.principal import Principal
from penstock.ledger.entry import Entry
from penstock.ledger.journal import Journal
from penstock.ledger.own_costs import POSTED, UNITS, Above, decode, rates_of, read_entries
from penstock.observe.metrics import Metrics
from penstock.observe.names import OWN_COST_NUSD

MAX_BODY_BYTES = 4 * 1024 * 1024
COMMIT_WAIT_S = 6.0
"""Longer than SQLite itself waits for another program's lock: the answer then says why."""
_INLINE_BYTES = 4096
"""Some ten entries, a fraction of a millisecond: less than going to another thread and back."""
_TOLD_FAULTS = 5
_KINDS = {unit: kind for kind, (unit, _, _) in UNITS.items()}


class BadEntries(BadRequest):
    """Entries that cannot be taken; ``faults`` are all that is wrong with the batch."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        more = f" And {len(faults) - _TOLD_FAULTS} more." if len(faults) > _TOLD_FAULTS else ""
        said = " | ".join(str(fault) for fault in faults[:_TOLD_FAULTS])
        super().__init__(
            f"Nothing was stored: {said}{more}",
            code="invalid_entries",
            param=faults[0].path.removeprefix("$."),
        )


async def post(house: House, body: bytes, principal: Principal) -> dict[str, int]:
    """Read, store, wait for the commit. Raises BadEntries, BodyTooLarge, or OurFault (503) where it is not stored."""
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(
            f"The body is longer than {MAX_BODY_BYTES:,} bytes.", hint="Send fewer entries at once."
        )
    journal = house.journal
    if journal.full or journal.fault is not None:
        raise _not_stored(journal)
    loop = asyncio.get_running_loop()
    committed: asyncio.Future[int] = loop.create_future()

    def settle(new: int) -> None:
        if not committed.done():
            committed.set_result(new)

    def stored(new: int) -> None:
        _soon(loop, settle, new)

    def counted(fresh: list[Entry]) -> None:
        _soon(loop, _count, house.metrics, fresh)

    if len(body) <= _INLINE_BYTES:
        count = _take(house, body, principal, stored, counted)
    else:
        count = await asyncio.to_thread(_take, house, body, principal, stored, counted)
    try:
        new = await asyncio.wait_for(committed, COMMIT_WAIT_S)
    except TimeoutError as error:
        raise _not_stored(journal) from error
    return {"accepted": new, "duplicates": count - new}


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *given: object) -> None:
    """From the writer's thread."""
    try:
        loop.call_soon_threadsafe(call, *given)
    except RuntimeError:  # the loop has ended, and with it who waited
        return


def _count(metrics: Metrics, fresh: list[Entry]) -> None:
    for entry in fresh:
        for line in entry.lines:
            kind = "unit" if line.price_version == POSTED else _KINDS.get(line.unit, "unit")
            metrics.add(OWN_COST_NUSD, line.cost_nusd or 0, kind, entry.model)


def expect_own_costs(metrics: Metrics, config: Config) -> None:
    """The operator's own names have their series before callers can fill the room with theirs."""
    for kind, names in (("compute", config.compute), ("storage", config.storage), ("egress", config.egress)):
        for name in names:
            metrics.add(OWN_COST_NUSD, 0, kind, name)


def _take(
    house: House,
    body: bytes,
    principal: Principal,
    stored: Callable[[int], object],
    counted: Callable[[list[Entry]], object],
) -> int:
    """Hand a batch to the journal; how many there are."""
    try:
        document = decode(body)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, msgspec.DecodeError) else "nested too deep"
        raise BadRequest(f"The body is not JSON: {said}.", hint="Send an entry as JSON.") from error
    rates = rates_of(house.config, house.version)
    above = Above(principal.organisation, principal.team, principal.tags or {})
    entries, faults = read_entries(
        document, rates, virtual_key=principal.name, now_ms=int(time.time() * 1000), above=above
    )
    if faults:
        raise BadEntries(faults)
    house.journal.add_entries(tuple(entries), stored, counted)
    return len(entries)


def _not_stored(journal: Journal) -> OurFault:
    why = journal.fault or "The ledger cannot keep up."
    return OurFault(
        f"It is not yet stored: {why}",
        code="ledger_not_ready",
        hint="Send it again with the same ids: what is there already is not counted twice.",
        status=503,
        retry_after_s=1,
    )

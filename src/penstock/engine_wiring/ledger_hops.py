"""The ledger's entries of one trace as hops: HTTP with its queue and its attempts, and what services metered themselves."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, cast

from msgspec.structs import replace

from penstock.base.errors import NotFound
from penstock.engine.measure.intervals import length, union
from penstock.engine.measure.records import UNATTRIBUTED, Hop
from penstock.ledger.entry import Record
from penstock.ledger.opening import open_ledger
from penstock.ledger.rows import read_record
from penstock.ledger.sql import Reading
from penstock.ledger.waterfall import Step, waterfall

GATEWAY = "gateway"
"""The row of the gateway's own share of a call."""
LEAST_MS = 0.001
"""Below it, what is left over is rounding."""


def hops_of(place: str, trace_id: str) -> list[Hop]:
    """In order of time, parts after what they are a part of. Raises NotFound where the ledger has no such trace."""
    with closing(open_ledger(place)) as connection:
        steps = waterfall(connection, trace_id, (None, None), {})
        if not steps:
            raise NotFound(
                f"The ledger has no trace {trace_id!r}.",
                param="--trace",
                hint="`penstock cost --by trace` lists them; --db names another ledger.",
            )
        return _told(connection, steps)


def _told(connection: Reading, steps: Sequence[Step]) -> list[Hop]:
    first_ms = steps[0].at_ms
    told: list[Hop] = []
    seen: set[str] = set()
    for step in steps:
        request_id = step.id.rpartition("/")[0]
        if request_id in seen:
            continue
        record = read_record(connection, request_id) if step.klass != "own_cost" else None
        if record is None:
            told.append(_own(step))
            continue
        seen.add(request_id)
        told += _call(record, step.stage, record.call.at_ms - first_ms)
    # A call begins before its first entry does: the way begins with whatever was first.
    begins_ms = min(hop.start_ms for hop in told)
    return [replace(hop, start_ms=hop.start_ms - begins_ms) for hop in told]


def _own(step: Step) -> Hop:
    return Hop(
        key=step.id,
        name=step.stage or step.model or "(no stage)",
        start_ms=float(step.start_ms),
        wall_ms=step.wall_ms,
        source="ledger",
        cost_nusd=step.cost_nusd,
        target=f"{step.provider}/{step.model}",
        klass=step.klass,
    )


def _call(record: Record, stage: str, start_ms: float) -> list[Hop]:
    """A call through the gateway: HTTP as its caller saw it, and in it the gateway's own time, the queue and the attempts."""
    call = record.call
    name = f"HTTP {stage}".strip()
    told = [
        Hop(
            key=call.request_id,
            name=name,
            start_ms=start_ms,
            wall_ms=call.latency_ms,
            source="gateway",
            cost_nusd=record.cost_nusd,
            target=call.asked_model,
            klass=record.entries[-1].klass if record.entries else "",
        ),
        Hop(
            key=f"{call.request_id}#gateway",
            parent=call.request_id,
            name=GATEWAY,
            start_ms=start_ms,
            wall_ms=call.gateway_us / 1000,
            source="gateway",
            cost_nusd=0,
        ),
    ]
    happenings = _happenings(call.explain)
    told += _queues(happenings, call.request_id, start_ms)
    told += _backoffs(happenings, call.request_id, start_ms, call.latency_ms)
    tries = {int(one.get("attempt", 0)): float(one["at_ms"]) for one in happenings if one["what"] == "try"}
    told += [
        Hop(
            key=entry.id,
            parent=call.request_id,
            name=f"{entry.provider}/{entry.model}",
            start_ms=start_ms + tries.get(entry.attempt, 0.0),
            wall_ms=entry.latency_ms,
            source="ledger",
            cost_nusd=entry.cost_nusd,
            target=f"{entry.provider}/{entry.model}",
            klass=entry.klass,
        )
        for entry in record.entries
    ]
    return [told[0], *sorted([*told[1:], *_rest(told[0], told[1:])], key=lambda hop: hop.start_ms)]


def _rest(call: Hop, parts: Sequence[Hop]) -> list[Hop]:
    """What no part of a call covers, so that they sum to it; attempts beside each other count once. The gateway's own share lies
    all over the call, and is no interval.
    """
    own_ms = sum(part.wall_ms for part in parts if part.name == GATEWAY)
    ends_ms = call.start_ms + call.wall_ms
    covered = union(
        (max(part.start_ms, call.start_ms), min(part.start_ms + part.wall_ms, ends_ms))
        for part in parts
        if part.name != GATEWAY and part.start_ms < ends_ms and part.start_ms + part.wall_ms > call.start_ms
    )
    rest_ms = call.wall_ms - own_ms - length(covered)
    if rest_ms < LEAST_MS:
        return []
    first_ms = covered[0][1] if covered and covered[0][0] - call.start_ms < LEAST_MS else call.start_ms
    return [
        Hop(
            key=f"{call.key}#{UNATTRIBUTED}",
            parent=call.key,
            name=UNATTRIBUTED,
            start_ms=first_ms,
            wall_ms=rest_ms,
            source="gateway",
            cost_nusd=0,
        )
    ]


def _happenings(explain: Any) -> list[dict[str, Any]]:
    """What was written down of the call, as it went; older ledgers may have none of it."""
    if not isinstance(explain, dict):
        return []
    found = cast("dict[str, Any]", explain).get("happenings")
    if not isinstance(found, list):
        return []
    return [
        cast("dict[str, Any]", one)
        for one in cast("list[Any]", found)
        if isinstance(one, dict) and "what" in one and "at_ms" in one
    ]


def _queues(happenings: Sequence[dict[str, Any]], request_id: str, start_ms: float) -> list[Hop]:
    """From ``queued`` to the turn, or to the refusal, at the same target."""
    told: list[Hop] = []
    for index, one in enumerate(happenings):
        if one["what"] != "queued":
            continue
        ends = (
            later
            for later in happenings[index + 1 :]
            if later["what"] in ("turn", "refused") and later.get("target") == one.get("target")
        )
        end = next(ends, None)
        if end is None:
            continue
        at_ms = float(one["at_ms"])
        told.append(
            Hop(
                key=f"{request_id}#queue{len(told) + 1}",
                parent=request_id,
                name="queue",
                start_ms=start_ms + at_ms,
                wall_ms=max(0.0, float(end["at_ms"]) - at_ms),
                source="gateway",
                cost_nusd=0,
                target=str(one.get("target", "")),
            )
        )
    return told


def _backoffs(
    happenings: Sequence[dict[str, Any]], request_id: str, start_ms: float, wall_ms: float
) -> list[Hop]:
    """From ``wait`` to whatever came next; to the call's end where nothing did, for then its caller had gone."""
    waits = [index for index, one in enumerate(happenings) if one["what"] == "wait"]
    told: list[Hop] = []
    for number, index in enumerate(waits, 1):
        at_ms = float(happenings[index]["at_ms"])
        after = happenings[index + 1 : index + 2]
        ends_ms = float(after[0]["at_ms"]) if after else wall_ms
        told.append(
            Hop(
                key=f"{request_id}#back-off{number}",
                parent=request_id,
                name="back-off",
                start_ms=start_ms + at_ms,
                wall_ms=max(0.0, ends_ms - at_ms),
                source="gateway",
                cost_nusd=0,
            )
        )
    return told

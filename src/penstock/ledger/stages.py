"""The table of a render pipeline: what each stage costs, one more render beside all that a render carries.

Definitions, exact (docs/explanation/ledger.md says the same in words)
- A *render* is a trace; an entry without a trace is a render of its own call. It is *delivered* if it has at least
  one entry of a class in WORK: work that served somebody. Whether a picture came out in the end, the ledger cannot know.
- ``cost`` of a stage: all its entries, whatever their class.
- ``marginal`` of a stage: its entries of a class in WORK. What one more delivered render would itself consume.
- ``loaded`` of a stage: ``cost`` plus its share of the idle time of owned compute. So it is the marginal, and failures,
  and what was billed and not delivered, and idle time.
- ``idle`` of a pool: owned x hours of the window x price per hour, minus what was used of it in that window; not below 0.
  It is spread over the stages by their share of the pool's use, in whole nano-dollars. Idle time of a pool that nobody
  used has no stage, and stands in a row of its own.
- A figure *per render* is that sum divided by the delivered renders of the whole table (one denominator, so that the
  stages add up), rounded half-even once; None where nothing was delivered.

Rules
- Pure: facts in, table out. Sums of the rows are the total, to the nano-dollar; ``loaded >= marginal`` while costs are not
  negative. A price that is not known is counted beside the sum, never added as 0.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from penstock.base.money import Price, div_half_even

WORK: frozenset[str] = frozenset({"delivered", "cache_hit", "embedding", "own_cost"})
"""Classes of entries that are work for a render. The others are what went wrong, or what we spent to watch ourselves."""
OWN = "own"
"""The provider of what runs on compute of one's own; its model is the pool's name."""
_MS_PER_HOUR = 3_600_000


class Cell(Struct, frozen=True, gc=False):
    """Sums over entries of one stage, class, provider and model. ``calls``: first attempts; ``wall_us``: their wall time."""

    stage: str
    klass: str
    provider: str
    model: str
    entries: int
    calls: int
    unpriced: int
    cost_nusd: int
    wall_us: int


class Facts(Struct, frozen=True):
    """What the ledger knows of a window: sums, and how many traces are in each stage, in all, and delivered."""

    cells: tuple[Cell, ...]
    traces: dict[str, int]
    traces_all: int
    delivered: int


class Pool(Struct, frozen=True):
    """Compute of one's own: ``owned`` machines at a price per hour."""

    name: str
    per_hour: Price
    owned: int


class PoolIdle(Struct, frozen=True):
    """What a pool cost in the window, and what of that nobody used."""

    name: str
    owned: int
    window_ms: int
    paid_nusd: int
    used_nusd: int
    idle_nusd: int


class StageRow(Struct, frozen=True):
    """One stage; "" is no stage, None is idle time that belongs to none."""

    stage: str | None
    entries: int
    calls: int
    traces: int
    unpriced: int
    wall_us: int
    cost_nusd: int
    marginal_nusd: int
    idle_nusd: int

    @property
    def loaded_nusd(self) -> int:
        """Everything, idle time included."""
        return self.cost_nusd + self.idle_nusd


class StageTable(Struct, frozen=True):
    """The rows, the dearest first, and their sum. ``pools`` is empty where no owned compute is known."""

    rows: tuple[StageRow, ...]
    total: StageRow
    delivered: int
    pools: tuple[PoolIdle, ...]

    def per_render(self, nusd: int) -> int | None:
        """This sum over one delivered render; None where none was delivered."""
        return div_half_even(nusd, self.delivered) if self.delivered else None


def stage_table(
    facts: Facts,
    pools: Sequence[Pool] = (),
    window_ms: int = 0,
    used_by_all: Mapping[str, int] | None = None,
) -> StageTable:
    """The table of these facts; what its columns mean stands at the head of this file.

    ``window_ms`` is the length of the window. ``used_by_all`` is each pool's use in the whole window, where ``facts`` are
    only a part of it: a part bears only its share of the idle time.
    """
    every = used_by_all is None
    used_by_all = pool_use(facts.cells) if used_by_all is None else used_by_all
    idle = tuple(_idle(pool, window_ms, used_by_all.get(pool.name, 0)) for pool in pools if pool.owned)
    borne: dict[str, int] = {}
    nobody = 0
    for pool in idle:
        shares = _uses(facts.cells, pool.name)
        if pool.used_nusd:
            rest = pool.used_nusd - sum(shares.values())
            for stage, part in _spread(pool.idle_nusd, {**shares, None: max(0, rest)}).items():
                if stage is not None:
                    borne[stage] = borne.get(stage, 0) + part
        elif every:
            nobody += pool.idle_nusd
    rows = [_row(stage, facts, borne.get(stage, 0)) for stage in sorted({cell.stage for cell in facts.cells})]
    rows.sort(key=lambda row: -row.loaded_nusd)
    if nobody:
        rows.append(StageRow(None, 0, 0, 0, 0, 0, 0, 0, nobody))
    total = StageRow(
        "total",
        sum(row.entries for row in rows),
        sum(row.calls for row in rows),
        facts.traces_all,
        sum(row.unpriced for row in rows),
        sum(row.wall_us for row in rows),
        sum(row.cost_nusd for row in rows),
        sum(row.marginal_nusd for row in rows),
        sum(row.idle_nusd for row in rows),
    )
    return StageTable(tuple(rows), total, facts.delivered, idle)


def pool_use(cells: Iterable[Cell]) -> dict[str, int]:
    """Pool -> nano-dollars of it that were used."""
    used: dict[str, int] = {}
    for cell in cells:
        if cell.provider == OWN:
            used[cell.model] = used.get(cell.model, 0) + cell.cost_nusd
    return used


def _row(stage: str, facts: Facts, idle_nusd: int) -> StageRow:
    cells = [cell for cell in facts.cells if cell.stage == stage]
    return StageRow(
        stage,
        sum(cell.entries for cell in cells),
        sum(cell.calls for cell in cells),
        facts.traces.get(stage, 0),
        sum(cell.unpriced for cell in cells),
        sum(cell.wall_us for cell in cells),
        sum(cell.cost_nusd for cell in cells),
        sum(cell.cost_nusd for cell in cells if cell.klass in WORK),
        idle_nusd,
    )


def _idle(pool: Pool, window_ms: int, used_nusd: int) -> PoolIdle:
    price = pool.per_hour
    pico_ms = pool.owned * max(0, window_ms) * price.pico_usd
    paid_nusd = div_half_even(pico_ms, price.per * 1000 * _MS_PER_HOUR)
    return PoolIdle(
        pool.name, pool.owned, window_ms, paid_nusd, used_nusd, max(0, paid_nusd - max(0, used_nusd))
    )


def _uses(cells: Iterable[Cell], pool: str) -> dict[str | None, int]:
    used: dict[str | None, int] = {}
    for cell in cells:
        if cell.provider == OWN and cell.model == pool and cell.cost_nusd > 0:
            used[cell.stage] = used.get(cell.stage, 0) + cell.cost_nusd
    return used


def _spread(amount: int, shares: Mapping[str | None, int]) -> dict[str | None, int]:
    """``amount`` by shares, in whole units that sum to it: each gets the step of the rounded running sum."""
    whole = sum(shares.values())
    if not whole:
        return {}
    parts: dict[str | None, int] = {}
    seen = given = 0
    for name in sorted(shares, key=lambda one: (one is None, one or "")):
        seen += shares[name]
        upto = div_half_even(amount * seen, whole)
        parts[name] = upto - given
        given = upto
    return parts

"""The table of a pipeline adds up: rows to the total, idle time to its pool, and marginal never above fully loaded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.money import price_from_usd_text
from penstock.ledger.currency import DOLLARS, Rate
from penstock.ledger.stages import WORK, Cell, Facts, Pool, pool_use, stage_table

HOUR_MS = 3_600_000
H100 = Pool("h100", price_from_usd_text("2.49"), 4)
CELLS = st.lists(
    st.builds(
        Cell,
        stage=st.sampled_from(["", "plan", "denoise", "encode"]),
        klass=st.sampled_from(["delivered", "failed", "billed_not_delivered", "own_cost", "shadow", "cache_hit"]),
        provider=st.sampled_from(["openai", "own"]),
        model=st.sampled_from(["h100", "l40s", "m"]),
        entries=st.integers(1, 9),
        calls=st.integers(0, 9),
        unpriced=st.integers(0, 1),
        cost_nusd=st.integers(0, 10**13),
        wall_us=st.integers(0, 10**9),
    ),
    max_size=12,
)  # fmt: skip
POOLS = st.lists(
    st.builds(
        Pool,
        name=st.sampled_from(["h100", "l40s", "unused"]),
        per_hour=st.sampled_from(["2.49", "0.79", "0.0000001"]).map(price_from_usd_text),
        owned=st.integers(0, 8),
    ),
    max_size=3,
    unique_by=lambda pool: pool.name,
)


def facts(cells, delivered=7):
    """Facts with one trace in every stage."""
    return Facts(tuple(cells), {cell.stage: 1 for cell in cells}, delivered, delivered)


@given(CELLS, POOLS, st.integers(0, 10**10))
def test_rows_sum_to_the_total_and_idle_to_its_pools(cells, pools, window_ms):
    """To the nano-dollar, whatever was used of what."""
    table = stage_table(facts(cells), pools, window_ms)
    for name in (
        "entries",
        "calls",
        "unpriced",
        "wall_us",
        "cost_nusd",
        "marginal_nusd",
        "idle_nusd",
        "loaded_nusd",
    ):
        assert sum(getattr(row, name) for row in table.rows) == getattr(table.total, name)
    assert table.total.cost_nusd == sum(cell.cost_nusd for cell in cells)
    assert table.total.marginal_nusd == sum(cell.cost_nusd for cell in cells if cell.klass in WORK)
    assert table.total.idle_nusd == sum(pool.idle_nusd for pool in table.pools)
    assert all(0 <= row.marginal_nusd <= row.cost_nusd <= row.loaded_nusd for row in table.rows)
    assert all(pool.idle_nusd == max(0, pool.paid_nusd - pool.used_nusd) for pool in table.pools)


@given(CELLS, POOLS, st.integers(0, 10**10), st.sampled_from(["own_cost", "delivered"]))
def test_a_part_bears_no_more_idle_time_than_the_whole(cells, pools, window_ms, klass):
    """Tables of two halves bear at most what the whole does, give or take the halves' rounding."""
    used = pool_use(cells)
    whole = stage_table(facts(cells), pools, window_ms)
    halves = [
        stage_table(facts([c for c in cells if (c.klass == klass) is is_it]), pools, window_ms, used)
        for is_it in (True, False)
    ]
    unborne = sum(pool.idle_nusd for pool in whole.pools if not pool.used_nusd)
    borne = sum(half.total.idle_nusd for half in halves)
    assert abs(borne - (whole.total.idle_nusd - unborne)) <= len(pools)


def test_a_pipeline_by_hand():
    """Two renders: four H100 for an hour cost $9.96, $1.20 of it used; the idle $8.76 goes 3:1, as the use."""
    cells = [
        Cell("plan", "delivered", "openai", "m", 2, 2, 0, 400_000_000, 3_000_000),
        Cell("plan", "billed_not_delivered", "openai", "m", 1, 0, 0, 100_000_000, 500_000),
        Cell("denoise", "own_cost", "own", "h100", 2, 2, 0, 900_000_000, 9_000_000),
        Cell("decode", "own_cost", "own", "h100", 2, 2, 0, 300_000_000, 2_000_000),
    ]
    table = stage_table(facts(cells, 2), [H100], HOUR_MS)
    assert [
        (row.stage, row.cost_nusd, row.marginal_nusd, row.idle_nusd, table.per_render(row.loaded_nusd))
        for row in (*table.rows, table.total)
    ] == [
        ("denoise", 900_000_000, 900_000_000, 6_570_000_000, 3_735_000_000),
        ("decode", 300_000_000, 300_000_000, 2_190_000_000, 1_245_000_000),
        ("plan", 500_000_000, 400_000_000, 0, 250_000_000),
        ("total", 1_700_000_000, 1_600_000_000, 8_760_000_000, 5_230_000_000),
    ]
    (pool,) = table.pools
    assert (pool.paid_nusd, pool.used_nusd, pool.idle_nusd) == (9_960_000_000, 1_200_000_000, 8_760_000_000)


def test_idle_time_of_what_nobody_used_stands_alone():
    """It has no stage; a table of a part does not have it at all."""
    plan = Cell("plan", "delivered", "openai", "m", 1, 1, 0, 5, 5)
    table = stage_table(facts([plan]), [H100], HOUR_MS)
    assert [(row.stage, row.loaded_nusd) for row in table.rows] == [("plan", 5), (None, 9_960_000_000)]
    assert [row.stage for row in stage_table(facts([plan]), [H100], HOUR_MS, {}).rows] == ["plan"]


def test_more_used_than_owned_is_no_negative_idle_time():
    """Rented on top of what is owned."""
    cell = Cell("denoise", "own_cost", "own", "h100", 1, 1, 0, 99_000_000_000, 5)
    assert stage_table(facts([cell]), [H100], HOUR_MS).total.idle_nusd == 0


def test_nothing_delivered_is_no_cost_per_render():
    """Not known, rather than a division by one."""
    cell = Cell("plan", "failed", "openai", "m", 1, 1, 0, 5, 5)
    table = stage_table(facts([cell], 0))
    assert (table.per_render(5), table.total.marginal_nusd) == (None, 0)


@pytest.mark.parametrize(
    ("usd", "nusd", "text"),
    [
        ("1.08", 1_080_000_000, "1"),
        ("1.08", 1_000_000_000, "0.925925926"),
        ("0.0064", 1, "0.000000156"),
        ("1.5", 3, "0.000000002"),
        ("2", 1, "0"),
        ("2", 3, "0.000000002"),
    ],
)
def test_a_currency_is_exact_and_rounded_once(usd, nusd, text):
    """Half-even at the ninth decimal."""
    assert Rate("XXX", usd, "2026-11-20").text(nusd) == text


@given(st.integers(-(10**18), 10**18))
def test_dollars_stay_dollars(nusd):
    """The rate of 1 changes nothing."""
    assert DOLLARS.nano(nusd) == nusd

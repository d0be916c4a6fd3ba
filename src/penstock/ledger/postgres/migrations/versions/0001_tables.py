"""The tables of SQLite's second migration, by month; text is compared byte by byte, as SQLite does."""

from alembic import op

revision = "0001"
down_revision = None

CALLS = """
CREATE TABLE penstock.calls (
    request_id text COLLATE "C" NOT NULL,
    at_ms bigint NOT NULL,
    virtual_key text COLLATE "C",
    asked_model text COLLATE "C",
    status bigint,
    error_code text COLLATE "C",
    stream bigint,
    attempts bigint,
    latency_ms double precision,
    gateway_us bigint,
    client_request_id text COLLATE "C",
    body_id text COLLATE "C",
    adjusted text COLLATE "C",
    explain text COLLATE "C",
    config_version text COLLATE "C",
    PRIMARY KEY (request_id, at_ms)
) PARTITION BY RANGE (at_ms)
"""
ENTRIES = """
CREATE TABLE penstock.entries (
    id text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    trace_id text COLLATE "C",
    stage text COLLATE "C",
    attempt bigint,
    at_ms bigint NOT NULL,
    class text COLLATE "C" NOT NULL,
    provider text COLLATE "C",
    model text COLLATE "C",
    model_served text COLLATE "C",
    provider_key text COLLATE "C",
    virtual_key text COLLATE "C",
    route text COLLATE "C",
    dialect text COLLATE "C",
    stream bigint,
    status bigint,
    error_code text COLLATE "C",
    error text COLLATE "C",
    finish_reason text COLLATE "C",
    native_finish_reason text COLLATE "C",
    upstream_id text COLLATE "C",
    input bigint,
    cache_read bigint,
    cache_write_5m bigint,
    cache_write_1h bigint,
    input_audio bigint,
    input_image bigint,
    output bigint,
    reasoning bigint,
    output_audio bigint,
    output_image bigint,
    usage_source text COLLATE "C",
    lines text COLLATE "C",
    cost_nusd bigint,
    price_version text COLLATE "C",
    latency_ms double precision,
    ttft_ms double precision,
    tokens_per_s double precision,
    connect_ms double precision,
    meta text COLLATE "C",
    service_tier text COLLATE "C",
    PRIMARY KEY (id, at_ms)
) PARTITION BY RANGE (at_ms)
"""
OWN_IDS = """
CREATE TABLE penstock.own_ids (
    id text COLLATE "C" PRIMARY KEY,
    at_ms bigint NOT NULL
)
"""
LINES = """
CREATE VIEW penstock.lines AS
SELECT
    e.id AS entry_id,
    e.request_id AS request_id,
    e.at_ms AS at_ms,
    l.value ->> 0 AS unit,
    (l.value ->> 1)::bigint AS quantity,
    (l.value ->> 2)::bigint AS price_pico_usd,
    (l.value ->> 3)::bigint AS per,
    l.value ->> 4 AS price_version,
    l.value ->> 5 AS usage_source,
    (l.value ->> 6)::bigint AS cost_nusd
FROM penstock.entries e, json_array_elements(e.lines::json) AS l (value)
"""


def upgrade() -> None:
    """Make them. ``*_other`` takes what no month's partition does."""
    for statement in (
        CALLS,
        "CREATE TABLE penstock.calls_other PARTITION OF penstock.calls DEFAULT",
        "CREATE INDEX calls_at ON penstock.calls USING brin (at_ms) WITH (pages_per_range = 32, autosummarize = on)",
        "CREATE INDEX calls_body ON penstock.calls (body_id) WHERE body_id <> '' AND body_id <> request_id",
        ENTRIES,
        "CREATE TABLE penstock.entries_other PARTITION OF penstock.entries DEFAULT",
        "CREATE INDEX entries_at ON penstock.entries USING brin (at_ms) WITH (pages_per_range = 32, autosummarize = on)",
        "CREATE INDEX entries_trace ON penstock.entries (trace_id) WHERE trace_id <> request_id",
        OWN_IDS,
        LINES,
    ):
        op.execute(statement)

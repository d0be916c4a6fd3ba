"""The one table of metrics: name, type, labels, help. The reference page is generated from here.

Rules
- Prometheus naming: base units (seconds), ``_total`` for counters. The one exception is nano-dollars, because
  money is an integer here; ``penstock_cost_usd_total`` is the same figure in dollars.
- A label's values are bounded: past ``limit`` distinct series of a metric, the rest are counted as "other"; and a name
  that only callers know is "other" until a provider has delivered under it (observe.metrics).
"""

from typing import Literal

from msgspec import Struct

Kind = Literal["counter", "gauge", "histogram"]

DURATION_S: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
FIRST_TOKEN_S: tuple[float, ...] = (
    0.025,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    1.5,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
OVERHEAD_S: tuple[float, ...] = (
    25e-6,
    50e-6,
    75e-6,
    100e-6,
    150e-6,
    200e-6,
    300e-6,
    500e-6,
    1e-3,
    2e-3,
    5e-3,
    10e-3,
)


class Metric(Struct, frozen=True):
    """One metric, as it is declared to Prometheus."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    across: Literal["sum", "max", "min"] | None = None
    """How the figures of several workers are one; None: the sum of counters and histograms, the highest of gauges."""


REQUESTS = Metric(
    "penstock_requests_total",
    "counter",
    ("route", "provider", "model", "status", "class"),
    "Calls answered. Provider and model are those of the last attempt, empty where none was made; status is ours.",
)
ATTEMPTS = Metric(
    "penstock_attempts_total",
    "counter",
    ("provider", "model", "outcome"),
    "Attempts at targets. The outcome is the error's code, or the entry's class where there was no error.",
)
TOKENS = Metric(
    "penstock_tokens_total",
    "counter",
    ("provider", "model", "unit"),
    "Tokens, as a disjoint vector of units.",
)
CACHE_CALLS = Metric(
    "penstock_cache_calls_total",
    "counter",
    ("result",),
    "Calls that the cache was asked about: hit-exact, hit-semantic, coalesced, miss, bypass.",
)
CACHE_UNREAD = Metric(
    "penstock_cache_store_unread_total",
    "counter",
    ("reason",),
    "Look-ups for which a store of the cache was left alone: store-slow (its answers took too long), store-away.",
)
CACHE_SAVED_NUSD = Metric(
    "penstock_cache_saved_nusd_total",
    "counter",
    (),
    "Nano-dollars that answers from the cache had cost when they were made.",
)
UPLOADS = Metric(
    "penstock_uploads_total",
    "counter",
    ("provider", "result"),
    "Large files of calls at a provider's own store: uploaded, reused, failed, deleted, undeleted (tried again later).",
)
COST_NUSD = Metric(
    "penstock_cost_nusd_total",
    "counter",
    ("provider", "model"),
    "Known cost in integer nano-dollars. Attempts without a known price are not in it: see penstock_unpriced_attempts_total.",
)
COST_USD = Metric(
    "penstock_cost_usd_total", "counter", ("provider", "model"), "Known cost in dollars: nano-dollars / 1e9."
)
UNPRICED = Metric(
    "penstock_unpriced_attempts_total",
    "counter",
    ("provider", "model"),
    "Attempts whose price, and so whose cost, is not known.",
)
MODEL_DRIFT = Metric(
    "penstock_model_drift_total",
    "counter",
    ("provider", "model", "served"),
    "Replies that another model made than was asked for. They are priced as the model that answered.",
)
OWN_COST_NUSD = Metric(
    "penstock_own_cost_nusd_total",
    "counter",
    ("kind", "name"),
    "Costs of your own in integer nano-dollars, as posted to this gateway and counted once: kind is compute, storage, egress "
    "or unit, name what the configuration or the poster calls it.",
)
OWN_COST_USD = Metric(
    "penstock_own_cost_usd_total", "counter", ("kind", "name"), "The same in dollars: nano-dollars / 1e9."
)
DURATION = Metric(
    "penstock_request_duration_seconds",
    "histogram",
    ("provider", "model"),
    "From the first byte read to the last byte written.",
    DURATION_S,
)
FIRST_TOKEN = Metric(
    "penstock_time_to_first_token_seconds",
    "histogram",
    ("provider", "model"),
    "From the start of the attempt that answered to its first content event.",
    FIRST_TOKEN_S,
)
OVERHEAD = Metric(
    "penstock_gateway_overhead_seconds",
    "histogram",
    (),
    "The gateway's own share of a call, queueing included.",
    OVERHEAD_S,
)
INFLIGHT = Metric("penstock_inflight_requests", "gauge", (), "Calls being served now.", across="sum")
CONNECTIONS = Metric("penstock_connections", "gauge", (), "Callers' connections open now.", across="sum")
TURNED_AWAY = Metric(
    "penstock_connections_refused_total",
    "counter",
    (),
    "Connections answered 503 because server.max_connections were open.",
)
LEDGER_QUEUE = Metric(
    "penstock_ledger_queue", "gauge", (), "Calls that are not yet written to the ledger.", across="sum"
)
LEDGER_FAULT = Metric(
    "penstock_ledger_fault", "gauge", (), "1 while the ledger cannot be written, else 0. /ready says why."
)
BREAKER = Metric(
    "penstock_breaker_state", "gauge", ("target",), "A target's breaker: 0 closed, 1 half-open, 2 open."
)
KEY_UP = Metric(
    "penstock_provider_key_up",
    "gauge",
    ("provider", "key"),
    "1 if the key may be used, 0 while it cools down.",
    across="min",
)
QUEUE_RUNNING = Metric(
    "penstock_queue_running", "gauge", ("provider",), "Calls that run at a provider with a queue."
)
QUEUE_WAITING = Metric("penstock_queue_waiting", "gauge", ("provider",), "Calls that wait for a provider.")
QUEUE_CALLS = Metric(
    "penstock_queue_calls_total",
    "counter",
    ("provider", "outcome"),
    "Attempts at a provider with a queue: at-once, waited, refused (it was full), gave-up (hung up or out of time).",
)
QUEUE_WAIT = Metric(
    "penstock_queue_wait_seconds_total",
    "counter",
    ("provider",),
    "How long those that waited, and then had their turn, have waited in all.",
)
BUDGET_RATIO = Metric(
    "penstock_budget_spent_ratio",
    "gauge",
    ("holder", "budget"),
    "What is spent of a budget in its window of now, by all processes, beside its limit: 1 is all of it.",
)
BUDGET_SPENT_USD = Metric(
    "penstock_budget_spent_usd",
    "gauge",
    ("holder", "budget"),
    "The same in dollars; what running calls hold is not in it.",
)
BUDGET_LIMIT_USD = Metric(
    "penstock_budget_limit_usd", "gauge", ("holder", "budget"), "A budget's limit in dollars."
)
BUDGET_FORECAST = Metric(
    "penstock_budget_forecast_exhausted_seconds",
    "gauge",
    ("holder", "budget"),
    "Until a budget is spent, at the rate of the last hour. Absent where that is not before its window ends.",
)
BUDGET_ALERTS = Metric(
    "penstock_budget_alerts_total",
    "counter",
    ("holder", "budget", "percent"),
    "Thresholds that were reached and told, each once a window, by one of all processes. `refusing`: the first call was "
    "refused because the budget had too little left.",
)
BUDGET_REFUSALS = Metric(
    "penstock_budget_refusals_total",
    "counter",
    ("holder", "budget", "code"),
    "Calls that a budget has refused: budget-exhausted, budget-held or budget-too-small.",
)
WEBHOOKS = Metric(
    "penstock_webhooks_total",
    "counter",
    ("host", "outcome"),
    "Alerts posted: delivered, retried (once more for each try), failed (given up) or dropped (the queue was full, or the "
    "gateway stopped).",
)
COST_PER_RENDER = Metric(
    "penstock_cost_per_render",
    "gauge",
    ("currency", "stage"),
    "Cost of the last hour's entries of a stage, failures included, per delivered render (trace) of that hour. Read from "
    "the ledger at most every 30 s; idle time of owned compute is not in it.",
)
RELOADS = Metric(
    "penstock_config_reloads_total",
    "counter",
    ("outcome",),
    "Reloads of the configuration: applied or refused.",
    across="max",
)
INFO = Metric("penstock_build_info", "gauge", ("version",), "Always 1; the version is the label.")

METRICS: tuple[Metric, ...] = (
    REQUESTS,
    ATTEMPTS,
    TOKENS,
    COST_NUSD,
    COST_USD,
    UNPRICED,
    MODEL_DRIFT,
    CACHE_CALLS,
    CACHE_UNREAD,
    CACHE_SAVED_NUSD,
    UPLOADS,
    OWN_COST_NUSD,
    OWN_COST_USD,
    DURATION,
    FIRST_TOKEN,
    OVERHEAD,
    INFLIGHT,
    CONNECTIONS,
    TURNED_AWAY,
    LEDGER_QUEUE,
    LEDGER_FAULT,
    BREAKER,
    KEY_UP,
    QUEUE_RUNNING,
    QUEUE_WAITING,
    QUEUE_CALLS,
    QUEUE_WAIT,
    BUDGET_RATIO,
    BUDGET_SPENT_USD,
    BUDGET_LIMIT_USD,
    BUDGET_FORECAST,
    BUDGET_ALERTS,
    BUDGET_REFUSALS,
    WEBHOOKS,
    COST_PER_RENDER,
    RELOADS,
    INFO,
)

BREAKER_STATES: dict[str, int] = {"closed": 0, "half-open": 1, "half_open": 1, "open": 2, "dropped": 3}

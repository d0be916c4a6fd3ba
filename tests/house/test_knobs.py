"""Knobs are frozen until argued for: a new one is a visible line here, with a meaning and a place in the reference."""

from tests.house.reference import first_cells, page, reference_knobs

FROZEN = [
    "providers",
    "fallbacks",
    "routes",
    "mcp",
    "virtual_keys",
    "semantic_cache",
    "prices",
    "compute",
    "storage",
    "egress",
    "server",
    "ledger",
    "currencies",
    "providers.NAME.keys",
    "providers.NAME.dialect",
    "providers.NAME.models",
    "providers.NAME.network",
    "providers.NAME.project",
    "providers.NAME.location",
    "providers.NAME.credentials",
    "providers.NAME.api_version",
    "providers.NAME.passthrough_fields",
    "providers.NAME.keys[].value",
    "providers.NAME.keys[].name",
    "providers.NAME.keys[].weight",
    "providers.NAME.keys[].models",
    "providers.NAME.network.base_url",
    "providers.NAME.network.connect_timeout_ms",
    "providers.NAME.network.first_byte_timeout_ms",
    "providers.NAME.network.idle_timeout_ms",
    "providers.NAME.network.total_timeout_ms",
    "providers.NAME.network.proxy",
    "providers.NAME.network.ca_file",
    "providers.NAME.network.max_connections",
    "providers.NAME.network.retry",
    "providers.NAME.network.retry.max_retries",
    "providers.NAME.network.retry.backoff_initial_ms",
    "providers.NAME.network.retry.backoff_max_ms",
    "fallbacks[].primary",
    "fallbacks[].secondary",
    "fallbacks[].tertiary",
    "fallbacks[].fallbacks",
    "routes[].id",
    "routes[].primary",
    "routes[].fallbacks",
    "routes[].max_attempts",
    "virtual_keys[].name",
    "virtual_keys[].key",
    "virtual_keys[].models",
    "virtual_keys[].provider_keys",
    "virtual_keys[].rate_limit",
    "virtual_keys[].expires",
    "virtual_keys[].rate_limit.requests_per_minute",
    "virtual_keys[].rate_limit.tokens_per_minute",
    "virtual_keys[].rate_limit.burst",
    "semantic_cache.enabled",
    "semantic_cache.similarity_threshold",
    "semantic_cache.ttl_seconds",
    "prices[].model",
    "prices[].usd_per_million",
    "prices[].from",
    "compute.NAME.usd_per_hour",
    "compute.NAME.owned",
    "storage.NAME.usd_per_gb_month",
    "egress.NAME.usd_per_gb",
    "server.host",
    "server.port",
    "server.admin_key",
    "server.max_body_bytes",
    "server.hold_back_ms",
    "server.drain_timeout_ms",
    "server.total_timeout_ms",
    "server.max_attempts",
    "server.keep_alive_ms",
    "server.max_connections",
    "ledger.path",
    "ledger.url",
    "ledger.flush_ms",
    "ledger.max_queue",
    "currencies.NAME.usd",
    "currencies.NAME.date",
    "TARGET.model",
    "TARGET.params",
]
"""Every knob by dotted name. Adding a line is a decision: why can the default not be right for everyone?"""


def test_no_knob_appears_or_goes_unseen():
    """The schema's knobs are the frozen list, in its order."""
    assert [knob.name for knob in reference_knobs.knobs()] == FROZEN


def test_every_knob_says_what_it_means():
    """A description of more than its own name, and a unit in the name of every duration."""
    for knob in reference_knobs.knobs():
        assert len(knob.meaning) >= 8 or knob.meaning == "Own prices.", knob
        if "timeout" in knob.name or "backoff" in knob.name:
            assert knob.name.endswith("_ms"), knob


def test_every_knob_is_in_the_reference():
    """Under its dotted name, in a row of its own, with its meaning."""
    assert set(FROZEN) <= first_cells("configuration.md")
    text = page("configuration.md")
    assert all(knob.meaning.replace("|", "\\|") in text for knob in reference_knobs.knobs())


def test_a_planted_knob_is_caught():
    """The test can fail: one knob more is a difference."""
    planted = [
        *reference_knobs.knobs(),
        reference_knobs.Knob("server.turbo", "true or false", "false", "Faster."),
    ]
    assert [knob.name for knob in planted] != FROZEN

"""Prometheus reads what we count, and what we count is what happened."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.base.usage import TOKEN_UNITS, Usage
from penstock.observe import names
from penstock.observe.metrics import Metrics
from tests.ledger.make import entry, record


def read(metrics):
    """Samples as Prometheus's own parser reads them: (name, labels) -> value."""
    samples = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{key} twice"
            samples[key] = sample.value
    return samples


def value(samples, name, **labels):
    """One sample, or None."""
    return samples.get((name, frozenset(labels.items())))


def test_an_empty_process_already_says_what_it_counts():
    """Every metric of the table is declared, with its type and help, before anything happened."""
    families = {family.name: family for family in text_string_to_metric_families(Metrics().render().decode())}
    for metric in names.METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
    assert len(families) == len(names.METRICS)


def test_a_call_with_a_fallback_is_counted_once_and_its_attempts_each():
    """One request, two attempts, tokens and cost where they were spent."""
    metrics = Metrics()
    metrics.expect(frozenset({"fast", "openai/gpt-4o-mini"}), frozenset())
    failed = entry(
        "r1", 1, klass="failed", error_code="upstream_fault", usage=Usage(), usage_source=None, ttft_ms=None
    )
    usage = Usage(input=1, cache_read=2, cache_write_5m=3, cache_write_1h=4, input_audio=5, input_image=6, output=7,
                  reasoning=8, output_audio=9, output_image=10)  # fmt: skip
    served = entry("r1", 2, provider="anthropic", model="claude", usage=usage, cost_nusd=1_500)
    metrics.observe(record("r1", failed, served, latency_ms=260.0, gateway_us=85))
    samples = read(metrics)
    labels = {
        "route": "fast",
        "provider": "anthropic",
        "model": "claude",
        "status": "200",
        "class": "delivered",
    }
    assert value(samples, "penstock_requests_total", **labels) == 1
    assert sum(v for (name, _), v in samples.items() if name == "penstock_requests_total") == 1
    openai, claude = (
        {"provider": "openai", "model": "gpt-4o-mini"},
        {"provider": "anthropic", "model": "claude"},
    )
    assert value(samples, "penstock_attempts_total", **openai, outcome="upstream_fault") == 1
    assert value(samples, "penstock_attempts_total", **claude, outcome="delivered") == 1
    counted = [value(samples, "penstock_tokens_total", **claude, unit=unit) for unit in TOKEN_UNITS]
    assert counted == [getattr(usage, unit) for unit in TOKEN_UNITS]
    assert value(samples, "penstock_cost_nusd_total", **claude) == 1500
    assert value(samples, "penstock_cost_usd_total", **claude) == 0.0000015
    assert value(samples, "penstock_request_duration_seconds_bucket", **claude, le="0.25") == 0
    assert value(samples, "penstock_request_duration_seconds_bucket", **claude, le="0.5") == 1
    assert value(samples, "penstock_time_to_first_token_seconds_count", **claude) == 1
    assert value(samples, "penstock_time_to_first_token_seconds_count", **openai) == 0
    assert value(samples, "penstock_gateway_overhead_seconds_bucket", le="7.5e-05") == 0
    assert value(samples, "penstock_gateway_overhead_seconds_bucket", le="0.0001") == 1
    assert value(samples, "penstock_gateway_overhead_seconds_sum") == pytest.approx(85e-6)


def test_an_unknown_price_is_counted_not_added():
    """Cost leaves it out, and says how many it left out."""
    metrics = Metrics()
    metrics.observe(record("r1", entry("r1", row=None)))
    samples = read(metrics)
    labels = {"provider": "openai", "model": "gpt-4o-mini"}
    assert value(samples, "penstock_unpriced_attempts_total", **labels) == 1
    assert value(samples, "penstock_cost_nusd_total", **labels) == 0


def test_histograms_are_cumulative_and_bounds_are_included():
    """A value on a bound belongs to it, as Prometheus has it; the last bucket holds everything."""
    metrics = Metrics()
    for overhead_us in (25, 26, 100_000):
        metrics.observe(record("r", gateway_us=overhead_us))
    samples = read(metrics)
    assert value(samples, "penstock_gateway_overhead_seconds_bucket", le="2.5e-05") == 1
    assert value(samples, "penstock_gateway_overhead_seconds_bucket", le="0.01") == 2
    assert value(samples, "penstock_gateway_overhead_seconds_bucket", le="+Inf") == 3
    assert value(samples, "penstock_gateway_overhead_seconds_count") == 3


def test_a_call_without_attempts_has_no_route_label():
    """What never reached a target does not make series out of callers' words."""
    metrics = Metrics()
    for number in range(5):
        whole = record(
            f"r{number}", status=404, error_code="model_not_found", asked_model=f"made-up-{number}"
        )
        whole.entries = ()
        metrics.observe(whole)
    empty = {"route": "", "provider": "", "model": "", "class": ""}
    assert value(read(metrics), "penstock_requests_total", **empty, status="404") == 5


def test_series_are_bounded_and_nothing_goes_uncounted():
    """Past the limit the rest is counted as other; the sums stay true, and series that were there go on."""
    metrics = Metrics(limit=10)
    for _ in range(2):
        for number in range(50):
            metrics.observe(record("r", entry("r", model=f"m{number}", route=f"m{number}", cost_nusd=1)))
    samples = read(metrics)
    assert value(samples, "penstock_attempts_total", provider="openai", model="m3", outcome="delivered") == 2
    assert value(samples, "penstock_attempts_total", provider="other", model="other", outcome="other") == 80
    for name, total in (
        ("penstock_requests_total", 100),
        ("penstock_attempts_total", 100),
        ("penstock_cost_nusd_total", 100),
    ):
        found = [v for (sample, _), v in samples.items() if sample == name]
        assert sum(found) == total
        assert len(found) == 11


def failed(model, route=None, **fields):
    """A call whose one attempt the provider refused."""
    no = {"klass": "failed", "error_code": "upstream_not_found", "usage_source": None, "ttft_ms": None}
    one = entry("r", model=model, route=route or model, cost_nusd=0, **(no | fields))
    return record("r", one, status=404)


def series(metrics, name):
    """Label values of one metric's series -> value; without those of a histogram's bounds."""
    return {frozenset(labels): n for (sample, labels), n in read(metrics).items() if sample == name}


def test_invented_names_take_no_room():
    """What no provider ever delivered under, and nobody but the caller knows, has one series; others keep theirs."""
    metrics = Metrics(limit=10)
    metrics.expect(frozenset({"fast", "openai/own"}), frozenset({"openai/listed"}))
    for number in range(1000):
        metrics.observe(failed(f"made-up-{number}"))
        metrics.observe(failed(f"cut-{number}", klass="billed_not_delivered"))
        metrics.set_breaker(f"openai/made-up-{number}", "dropped")
    metrics.set_breaker("openai/own", "dropped")
    metrics.set_breaker("openai/made-up-0", "open")
    metrics.observe(failed("own", route="fast"))
    metrics.observe(failed("listed", route="openai/listed"))
    metrics.observe(failed("served", route="openai/made-up-1"))
    metrics.observe(record("r", entry("r", model="served", route="served")))
    metrics.observe(failed("served"))
    attempts = series(metrics, "penstock_attempts_total")
    found = {(dict(labels)["model"], dict(labels)["outcome"]): n for labels, n in attempts.items()}
    assert found == {
        ("other", "upstream_not_found"): 2001,
        ("own", "upstream_not_found"): 1,
        ("listed", "upstream_not_found"): 1,
        ("served", "delivered"): 1,
        ("served", "upstream_not_found"): 1,
    }
    requests = series(metrics, "penstock_requests_total")
    routes = {(dict(labels)["route"], dict(labels)["model"], dict(labels)["status"]) for labels in requests}
    assert routes == {
        ("other", "other", "404"),
        ("fast", "own", "404"),
        ("openai/listed", "listed", "404"),
        ("served", "served", "200"),
        ("served", "served", "404"),
    }
    assert sum(requests.values()) == 2005
    models = {dict(labels)["model"] for labels in series(metrics, "penstock_cost_nusd_total")}
    assert models == {"other", "own", "listed", "served"}
    breakers = {dict(labels)["target"] for labels in series(metrics, "penstock_breaker_state")}
    assert breakers == {"openai/own", "openai/made-up-0"}


def test_a_made_up_name_that_fell_back_is_no_route():
    """The caller appended a model that works: it is counted there, and the invented name nowhere."""
    metrics = Metrics()
    first = entry("r", 1, model="made-up", route="made-up", klass="failed", error_code="upstream_not_found")
    metrics.observe(record("r", first, entry("r", 2, model="real", route="made-up")))
    (labels,) = series(metrics, "penstock_requests_total")
    assert (dict(labels)["route"], dict(labels)["model"]) == ("other", "real")
    assert "made-up" not in metrics.render().decode()


def test_the_operator_s_names_have_room_past_the_limit():
    """However many names were filled up by others before."""
    metrics = Metrics(limit=5)
    metrics.expect(frozenset({"fast", "openai/own"}), frozenset())
    for number in range(20):
        metrics.observe(record("r", entry("r", model=f"m{number}", route=f"m{number}")))
    metrics.observe(record("r", entry("r", model="own", route="fast")))
    refused = record("r", status=401)
    refused.entries = ()
    metrics.observe(refused)
    samples = read(metrics)
    own = {"provider": "openai", "model": "own"}
    assert (
        value(samples, "penstock_requests_total", **own, route="fast", status="200", **{"class": "delivered"})
        == 1
    )
    assert value(samples, "penstock_attempts_total", **own, outcome="delivered") == 1
    assert value(samples, "penstock_tokens_total", **own, unit="input") == 1000
    assert (
        value(samples, "penstock_attempts_total", provider="openai", model="m9", outcome="delivered") is None
    )
    empty = {"route": "", "provider": "", "model": "", "class": ""}
    assert value(samples, "penstock_requests_total", **empty, status="401") == 1


def test_labels_survive_any_words():
    """Quotes, backslashes, line breaks and broken characters in names do not break the format."""
    metrics = Metrics()
    name = 'a "quoted" \\ back\nslash'
    metrics.observe(record("r", entry("r", model=name)))
    metrics.observe(record("r", entry("r", model="half \ud83d")))
    samples = read(metrics)
    assert value(samples, "penstock_attempts_total", provider="openai", model=name, outcome="delivered") == 1
    assert (
        value(samples, "penstock_attempts_total", provider="openai", model="half ?", outcome="delivered") == 1
    )


def test_gauges_are_set_collected_and_cleared():
    """In-flight, queue, breakers and keys are what they were last told to be."""
    metrics = Metrics(version="0.1.0")
    metrics.inflight += 2
    metrics.before_render(lambda m: m.set(names.LEDGER_QUEUE, 17))
    metrics.set_breaker("openai/gpt-4o-mini", "open")
    metrics.set_key("openai", "K", up=False)
    metrics.add(names.RELOADS, 1, "applied")
    metrics.add(names.RELOADS, 1, "applied")
    samples = read(metrics)
    assert value(samples, "penstock_inflight_requests") == 2
    assert value(samples, "penstock_ledger_queue") == 17
    assert value(samples, "penstock_breaker_state", target="openai/gpt-4o-mini") == 2
    assert value(samples, "penstock_provider_key_up", provider="openai", key="K") == 0
    assert value(samples, "penstock_config_reloads_total", outcome="applied") == 2
    assert value(samples, "penstock_build_info", version="0.1.0") == 1
    metrics.clear(names.BREAKER)
    assert value(read(metrics), "penstock_breaker_state", target="openai/gpt-4o-mini") is None


def test_a_wrong_number_of_labels_is_a_bug_that_speaks():
    """A slip at a call site is an error there, not a broken page later."""
    with pytest.raises(ValueError, match="penstock_breaker_state"):
        Metrics().set(names.BREAKER, 1)

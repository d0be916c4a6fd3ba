"""Behaviours 33 to 36: who may call what, how often, and what it cost."""

import time
from typing import Any

import msgspec
import pytest

from penstock.config.catalogue import Catalogue
from penstock.ledger.entry import Entry
from tests.behaviours.gateway import SECRETS, Gateway, running_gateway

HELLO = [{"role": "user", "content": "hello"}]
FOUR_HUNDRED = "word" * 100
"""A hundred tokens, as the simulator counts: four characters each. Its OpenAI adds three for a message's frame."""
FRAME = {"openai": 3}
KEYS = {
    **SECRETS,
    "WIDE_KEY": "vk-wide-00000000000000000001",
    "NARROW_KEY": "vk-narrow-000000000000000002",
    "DENIED_KEY": "vk-denied-000000000000000003",
    "ROUTE_KEY": "vk-route-0000000000000000004",
    "OLD_KEY": "vk-old-000000000000000000005",
    "SLOW_KEY": "vk-slow-00000000000000000006",
    "MINUTE_KEY": "vk-minute-000000000000000007",
    "TOKENS_KEY": "vk-tokens-000000000000000008",
    "RESEARCH_KEY": "vk-research-0000000000000009",
    "SPLIT_KEY": "vk-split-0000000000000010",
    "BRIEF_KEY": "vk-brief-0000000000000011",
}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY, name: production}, {value: env.SECOND_KEY, name: research}]
    models: {small: gpt-4o-mini, big: gpt-4o}
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  local:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/local/v1", retry: {max_retries: 0}}
routes:
  - {id: house-blend, primary: openai/gpt-4o, fallbacks: [anthropic/claude-haiku-4-5]}
prices:
  - {model: openai/gpt-4o-mini-cached, usd_per_million: {input: "0.15", cache_read: "0.075", output: "0.60"}}
  - {model: openai/gpt-audio, usd_per_million: {input: "2.50", input_audio: "40", output: "10"}}
  - {model: gemini/gemini-2.5-flash-cached, usd_per_million: {input: "0.30", cache_read: "0.03", output: "2.50"}}
virtual_keys:
  - {name: wide, key: env.WIDE_KEY}
  - {name: narrow, key: env.NARROW_KEY, models: ["openai/gpt-4o-mini", "gemini/*"]}
  - {name: denied, key: env.DENIED_KEY, models: ["*", "!openai/gpt-4o", "!anthropic/*"]}
  - {name: routed, key: env.ROUTE_KEY, models: [house-blend]}
  - {name: old, key: env.OLD_KEY, expires: 2020-01-01}
  - {name: slow, key: env.SLOW_KEY, rate_limit: {requests_per_minute: 60, burst: 5}}
  - {name: brief, key: env.BRIEF_KEY, rate_limit: {requests_per_minute: 1}}
  - {name: minute, key: env.MINUTE_KEY, rate_limit: {requests_per_minute: 600}}
  - {name: tokens, key: env.TOKENS_KEY, rate_limit: {tokens_per_minute: 1000}}
  - {name: research, key: env.RESEARCH_KEY, provider_keys: [openai.research]}
  - {name: split, key: env.SPLIT_KEY, models: ["openai/*", gemini/gemini-2.5-flash, house-blend], provider_keys: [openai.research]}
"""
CATALOGUE = Catalogue.load()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One gateway with virtual keys."""
    with running_gateway(tmp_path_factory.mktemp("keys"), CONFIG, secrets=KEYS) as gateway:
        yield gateway


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}"}


def call(gateway: Gateway, key: str, model: str, **fields: Any):
    return gateway.post({"model": model, "messages": HELLO, **fields}, headers=bearer(key))


# 33. Allow-lists.


@pytest.mark.parametrize(
    ("key", "model", "status"),
    [
        ("WIDE_KEY", "openai/gpt-4o", 200),
        ("WIDE_KEY", "anthropic/claude-haiku-4-5", 200),
        ("NARROW_KEY", "openai/gpt-4o-mini", 200),
        ("NARROW_KEY", "gpt-4o-mini", 200),
        ("NARROW_KEY", "small", 200),
        ("NARROW_KEY", "openai/small", 200),
        ("NARROW_KEY", "gemini/gemini-2.5-flash", 200),
        ("NARROW_KEY", "openai/gpt-4o", 403),
        ("NARROW_KEY", "big", 403),
        ("NARROW_KEY", "openai/big", 403),
        ("NARROW_KEY", "house-blend", 403),
        ("NARROW_KEY", "anthropic/claude-haiku-4-5", 403),
        ("DENIED_KEY", "openai/gpt-4o-mini", 200),
        ("DENIED_KEY", "openai/gpt-4o", 403),
        ("DENIED_KEY", "big", 403),
        ("DENIED_KEY", "gpt-4o", 403),
        ("DENIED_KEY", "anthropic/claude-haiku-4-5", 403),
        ("DENIED_KEY", "house-blend", 403),
        ("ROUTE_KEY", "house-blend", 200),
        ("ROUTE_KEY", "openai/gpt-4o", 403),
    ],
)
def test_behaviour_33_a_key_calls_what_its_list_allows(gateway, key, model, status):
    """Aliases and bare names are resolved first; a denial wins over every allowance; a route is a name of its own."""
    answer = call(gateway, key, model)
    assert answer.status == status
    if status == 403:
        assert answer.error["code"] == "model_not_allowed"
        assert gateway.sim.requests == []


def test_behaviour_33_a_fallback_outside_the_list_is_no_back_door(gateway):
    """Neither the caller's own chain nor a route's reaches what the key may not use."""
    gateway.faults({"kind": "status", "status": 503, "when": {"providers": ["openai"]}})
    answer = call(gateway, "NARROW_KEY", "openai/gpt-4o-mini", fallbacks=["anthropic/claude-haiku-4-5"])
    assert answer.status >= 500
    answer = call(gateway, "ROUTE_KEY", "house-blend", fallbacks=["gemini/gemini-2.5-flash"])
    assert answer.headers["x-penstock-provider"] == "anthropic"
    assert {one.provider for one in gateway.sim.requests} == {"openai", "anthropic"}
    assert gateway.refused(answer.request_id) == [("gemini/gemini-2.5-flash", "not-allowed")]


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/openai/v1/models"])
def test_behaviour_33_the_list_of_models_matches(gateway, path):
    """What is listed can be called, and nothing else is listed; other keys' models are not even named singly."""
    listed = {
        key: {row["id"] for row in gateway.get(path, bearer(key)).json()["data"]}
        for key in ("WIDE_KEY", "NARROW_KEY", "DENIED_KEY", "ROUTE_KEY")
    }
    assert {"house-blend", "openai/small", "openai/gpt-4o", "anthropic/claude-haiku-4-5"} <= listed[
        "WIDE_KEY"
    ]
    assert "openai/gpt-4o-mini" in listed["NARROW_KEY"]
    assert "gemini/gemini-2.5-flash" in listed["NARROW_KEY"]
    assert "openai/small" in listed["NARROW_KEY"]
    assert "openai/big" not in listed["NARROW_KEY"]
    assert not any(name.startswith("anthropic/") or name == "openai/gpt-4o" for name in listed["DENIED_KEY"])
    assert "openai/big" not in listed["DENIED_KEY"]
    assert listed["ROUTE_KEY"] == {"house-blend"}
    for key in ("NARROW_KEY", "DENIED_KEY", "ROUTE_KEY"):
        for name in sorted(listed[key])[:5]:
            assert gateway.get(f"{path}/{name}", bearer(key)).json()["id"] == name
    assert gateway.get(f"{path}/openai/gpt-4o", bearer("NARROW_KEY")).status == 404


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key"])
def test_a_virtual_key_is_taken_from_any_of_three_headers(gateway, header):
    """The word Bearer in any case; and it never goes upstream."""
    for text in (
        (f"Bearer {KEYS['WIDE_KEY']}", f"bearer {KEYS['WIDE_KEY']}")
        if header == "authorization"
        else (KEYS["WIDE_KEY"],)
    ):
        answer = gateway.post({"model": "openai/gpt-4o", "messages": HELLO}, headers={header: text})
        assert answer.status == 200
        assert gateway.ledger(answer.request_id).call.virtual_key == "wide"
    for received in gateway.sim.requests:
        assert KEYS["WIDE_KEY"] not in str(received.raw_headers)
        assert received.key in (KEYS["OPENAI_KEY"], KEYS["SECOND_KEY"])


def test_duplicate_credentials_the_first_known_one_counts(gateway):
    """Authorization beside x-api-key, as some SDKs send: a placeholder in one does not hide the key in the other."""
    body = {"model": "openai/gpt-4o-mini", "messages": HELLO}
    wide, narrow = KEYS["WIDE_KEY"], KEYS["NARROW_KEY"]
    for headers, name in (
        ({"authorization": "Bearer placeholder", "x-api-key": wide}, "wide"),
        ({"x-api-key": wide, "authorization": "Bearer placeholder"}, "wide"),
        ({"x-api-key": "placeholder", "x-goog-api-key": wide}, "wide"),
        ({"authorization": f"Bearer {wide}", "x-api-key": narrow}, "wide"),
        ({"x-api-key": narrow, "authorization": f"Bearer {wide}"}, "narrow"),
    ):
        answer = gateway.post(body, headers=headers)
        assert answer.status == 200
        assert gateway.ledger(answer.request_id).call.virtual_key == name
        sent = gateway.sim.requests[-1]
        assert [key for key, _ in sent.raw_headers].count(b"authorization") == 1
        assert b"x-api-key" not in dict(sent.raw_headers)


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer nobody's"}, {"authorization": "Basic dXNlcjpwYXNz"}, {"x-api-key": ""}],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/generation?id=x"])
def test_no_known_key_is_401_and_asks_nobody(gateway, headers, path):
    """Said in the caller's dialect, with what to send; nothing is recorded or sent."""
    answer = (
        gateway.post({"model": "openai/gpt-4o", "messages": HELLO}, headers=headers)
        if "chat" in path
        else gateway.get(path, headers)
    )
    assert answer.status == 401
    assert answer.error["code"] in ("invalid_api_key", "missing_api_key")
    assert answer.error["type"] == "invalid_request_error"
    assert gateway.sim.requests == []


def test_an_expired_key_is_refused(gateway):
    """From its date on."""
    answer = call(gateway, "OLD_KEY", "openai/gpt-4o")
    assert (answer.status, answer.error["code"]) == (403, "key_expired")
    assert gateway.get("/v1/models", bearer("OLD_KEY")).status == 403


def test_provider_keys_bind_a_virtual_key_to_its_accounts(gateway):
    """research spends on research's key, and on nothing of the other providers."""
    for _ in range(12):
        answer = call(gateway, "RESEARCH_KEY", "openai/gpt-4o")
        assert gateway.entry(answer.request_id).provider_key == "research"
    assert {one.key for one in gateway.sim.requests} == {KEYS["SECOND_KEY"]}
    refused = call(gateway, "RESEARCH_KEY", "anthropic/claude-haiku-4-5")
    assert (refused.status, refused.error["code"]) == (403, "key_not_allowed")
    gateway.faults({"kind": "status", "status": 401, "when": {"keys": [KEYS["SECOND_KEY"]]}})
    answer = call(gateway, "RESEARCH_KEY", "openai/gpt-4o")
    assert (answer.status, answer.error["code"]) == (502, "upstream_credentials_exhausted")
    assert {one.key for one in gateway.sim.requests} == {KEYS["SECOND_KEY"]}


def test_why_a_call_was_refused_without_an_attempt_is_recorded(gateway):
    """``explain`` says it, in the words that the caller was given: no such model, no request left in this minute."""
    refused = call(gateway, "WIDE_KEY", "nobody/gpt-4o")
    happenings = gateway.story(refused.request_id)["happenings"]
    assert [(one["what"], one.get("code")) for one in happenings] == [("refused", "model_not_found")]
    assert happenings[0]["reason"] == refused.error["message"]
    assert call(gateway, "BRIEF_KEY", "openai/gpt-4o").status == 200
    limited = call(gateway, "BRIEF_KEY", "openai/gpt-4o")
    happenings = gateway.story(limited.request_id)["happenings"]
    assert [one["what"] for one in happenings] == ["refused"]
    assert happenings[0]["reason"] == limited.error["message"]
    forbidden = call(gateway, "NARROW_KEY", "openai/gpt-4o")
    assert "happenings" not in gateway.story(forbidden.request_id), "the plan's refusal says it"


def test_provider_keys_leave_open_the_providers_that_models_name(gateway):
    """As the issue's example has it: one account at OpenAI, any at Gemini, whose model is named; and no other's."""
    for _ in range(6):
        answer = call(gateway, "SPLIT_KEY", "openai/gpt-4o")
        assert gateway.entry(answer.request_id).provider_key == "research"
    assert call(gateway, "SPLIT_KEY", "gemini/gemini-2.5-flash").status == 200
    gateway.faults({"kind": "status", "status": 400, "when": {"providers": ["gemini"]}})
    assert call(gateway, "SPLIT_KEY", "gemini/gemini-2.5-flash").status == 400
    gateway.faults({"kind": "status", "status": 500, "when": {"providers": ["openai"]}})
    assert call(gateway, "SPLIT_KEY", "house-blend").status != 200, (
        "its second target is Anthropic's, of whom it has no key"
    )
    assert "anthropic" not in {one.provider for one in gateway.sim.requests}


def test_without_virtual_keys_any_credential_is_accepted_ignored_and_never_forwarded(tmp_path):
    """Clients that insist on a key may send any."""
    config = (
        'providers: {openai: {keys: [{value: env.OPENAI_KEY}], network: {base_url: "{sim}/p/openai/v1"}}}'
    )
    with running_gateway(tmp_path, config) as gateway:
        body = {"model": "openai/gpt-4o-mini", "messages": HELLO}
        for headers in (
            {},
            {"authorization": "Bearer anything"},
            {"x-api-key": "at all"},
            {"x-goog-api-key": "k"},
        ):
            assert gateway.post(body, headers=headers).status == 200
        for received in gateway.sim.requests:
            assert received.headers["authorization"] == f"Bearer {SECRETS['OPENAI_KEY']}"
            assert not {"x-api-key", "x-goog-api-key"} & set(received.headers)


# Rate limits.


def test_from_idle_the_burst_passes_and_the_next_one_waits(gateway):
    """Five at once, the sixth is told how long; after that long it passes."""
    assert [call(gateway, "SLOW_KEY", "local/m").status for _ in range(5)] == [200] * 5
    refused = call(gateway, "SLOW_KEY", "local/m")
    assert (refused.status, refused.error["code"], refused.error["type"]) == (
        429, "rate_limit_exceeded", "rate_limit_error")  # fmt: skip
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-ratelimit-limit-requests"] == "5"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    wait_ms = int(refused.headers["retry-after-ms"])
    assert 0 < wait_ms <= 1000
    time.sleep(wait_ms / 1000)
    assert call(gateway, "SLOW_KEY", "local/m").status == 200
    assert len(gateway.sim.requests) == 6


def test_600_a_minute_pass_at_once_and_the_601st_does_not(gateway):
    """The issue's own figures."""
    began_s = time.monotonic()
    statuses = [call(gateway, "MINUTE_KEY", "local/m").status for _ in range(601)]
    refilled = int((time.monotonic() - began_s) * 10)
    while (refused := call(gateway, "MINUTE_KEY", "local/m")).status == 200:
        statuses.append(200)
        assert len(statuses) <= 603 + refilled + 10
    assert statuses[:600] == [200] * 600
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"


def test_tokens_per_minute_are_estimated_and_then_corrected(gateway):
    """One call that used far more than was foreseen delays the next; the refusal says which limit it was."""
    assert (
        call(
            gateway,
            "TOKENS_KEY",
            "local/m",
            max_tokens=1500,
            messages=[{"role": "user", "content": "SAY_TOKENS 1500"}],
        ).status
        == 200
    )
    refused = call(gateway, "TOKENS_KEY", "local/m")
    assert refused.status == 429
    assert "1000 tokens per minute" in refused.error["message"]
    assert 5 <= int(refused.headers["retry-after"]) <= 60


def test_a_refused_call_does_not_use_up_the_limit_of_others(gateway):
    """Limits are each key's own."""
    while call(gateway, "SLOW_KEY", "local/m").status == 200:
        pass
    assert call(gateway, "WIDE_KEY", "local/m").status == 200


# 34. Money.


def by_hand(provider: str, model: str, **tokens: int) -> int:
    """Nano-dollars: each quantity times the catalogue's price, rounded half to even, then added."""
    row = CATALOGUE.facts(provider, model).price
    assert row is not None
    total = 0
    for unit, quantity in tokens.items():
        price = row.units[{"reasoning": "output"}.get(unit, unit)]
        assert price.per == 1
        whole, rest = divmod(quantity * price.pico_usd, 1000)
        total += whole + (rest > 500 or (rest == 500 and whole % 2 == 1))
    return total


def vector(entry: Entry) -> dict[str, int]:
    units = (
        "input",
        "cache_read",
        "cache_write_5m",
        "cache_write_1h",
        "input_audio",
        "input_image",
        "output",
        "reasoning",
    )
    return {unit: getattr(entry, unit) for unit in units if getattr(entry, unit)}


def priced(gateway: Gateway, body: dict[str, Any], *, stream: bool) -> Entry:
    answer = gateway.post({**body, "stream": stream}, headers=bearer("WIDE_KEY"))
    assert answer.status == 200, answer
    entry = gateway.entry(answer.request_id)
    assert entry.usage_source == ("stream" if stream else "provider")
    assert sum(line.cost_nusd or 0 for line in entry.lines) == entry.cost_nusd
    stored = gateway.stored(answer.request_id).entries[0]
    assert (stored.cost_nusd, vector(stored)) == (entry.cost_nusd, vector(entry))
    if not stream:
        shown = answer.headers["x-penstock-cost-usd"]
        assert entry.cost_nusd is not None
        assert round(float(shown) * 1e9) == entry.cost_nusd
        assert "e" not in shown
    data = gateway.get(f"/v1/generation?id={answer.request_id}", bearer("WIDE_KEY")).json()["data"]
    assert round(data["total_cost"] * 1e9) == entry.cost_nusd
    return entry


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text, **fields}]}


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
)
def test_behaviour_34_plain_tokens(gateway, model, stream):
    """A hundred in, ten out."""
    entry = priced(gateway, {"model": model, **said(FOUR_HUNDRED), "max_tokens": 10}, stream=stream)
    provider, _, name = model.partition("/")
    prompt = 100 + FRAME.get(provider, 0)
    assert vector(entry) == {"input": prompt, "output": 10}
    assert entry.cost_nusd == by_hand(provider, name, input=prompt, output=10)
    assert (provider != "openai") or entry.cost_nusd == 103 * 150 + 10 * 600


@both
@pytest.mark.parametrize(
    ("model", "tier", "prices"),
    [
        ("openai/gpt-4o-mini", "priority", (250, 1000)),
        ("openai/gpt-4o-mini", "default", (150, 600)),
        ("openai/gpt-4o-mini", "auto", (150, 600)),
        ("openai/gpt-4o-mini", "flex", None),
    ],
)
def test_behaviour_34_a_service_tier_has_its_own_price(gateway, model, tier, prices, stream):
    """What the provider says it served is billed: priority at priority's price, a tier without one as unknown."""
    body = {"model": model, "service_tier": tier, **said(FOUR_HUNDRED), "max_tokens": 10, "stream": stream}
    answer = gateway.post(body, headers=bearer("WIDE_KEY"))
    assert answer.status == 200, answer
    entry = gateway.entry(answer.request_id)
    assert vector(entry) == {"input": 103, "output": 10}
    assert entry.cost_nusd == (None if prices is None else 103 * prices[0] + 10 * prices[1])


@both
@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "gemini/gemini-2.5-flash"])
def test_behaviour_34_figures_that_contradict_themselves_are_said(gateway, model, stream):
    """A provider's total that is not the sum of its parts stands in the call's story."""
    gateway.faults({"kind": "bad_usage", "mode": "inconsistent"})
    answer = gateway.post(
        {"model": model, **said(FOUR_HUNDRED), "stream": stream}, headers=bearer("WIDE_KEY")
    )
    assert answer.status == 200, answer
    told = [one for one in gateway.story(answer.request_id)["happenings"] if one["what"] == "usage"]
    assert [one["attempt"] for one in told] == [1]
    assert "is not" in told[0]["reason"]
    gateway.faults()
    answer = gateway.post(
        {"model": model, **said(FOUR_HUNDRED), "stream": stream}, headers=bearer("WIDE_KEY")
    )
    assert "usage" not in {one["what"] for one in gateway.story(answer.request_id)["happenings"]}


@both
def test_behaviour_34_cached_input_is_a_part_of_openai_s_prompt(gateway, stream):
    """Inclusive: three quarters are read from the cache and leave the rest at the full price."""
    entry = priced(
        gateway, {"model": "openai/gpt-4o-mini-cached", **said(FOUR_HUNDRED), "max_tokens": 10}, stream=stream
    )
    assert vector(entry) == {"input": 26, "cache_read": 77, "output": 10}
    assert entry.cost_nusd == 26 * 150 + 77 * 75 + 10 * 600


@both
def test_behaviour_34_cached_input_is_a_part_of_gemini_s_prompt(gateway, stream):
    """Inclusive as well."""
    entry = priced(
        gateway,
        {"model": "gemini/gemini-2.5-flash-cached", **said(FOUR_HUNDRED), "max_tokens": 10},
        stream=stream,
    )
    assert vector(entry) == {"input": 25, "cache_read": 75, "output": 10}
    assert entry.cost_nusd == 25 * 300 + 75 * 30 + 10 * 2500


@both
@pytest.mark.parametrize(("ttl", "unit"), [("5m", "cache_write_5m"), ("1h", "cache_write_1h")])
def test_behaviour_34_anthropic_s_cache_is_beside_its_input(gateway, ttl, unit, stream):
    """Additive: written at 1.25 or 2 times the price, read at a tenth, and never counted twice, streamed or not."""
    control = {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": "1h"}
    part = {"type": "text", "text": FOUR_HUNDRED, "cache_control": control}
    body = {
        "model": "anthropic/claude-haiku-4-5", "max_tokens": 10,
        "messages": [{"role": "system", "content": [part]}, {"role": "user", "content": "word" * 20}],
    }  # fmt: skip
    first = priced(gateway, body, stream=stream)
    assert vector(first) == {"input": 20, unit: 100, "output": 10}
    assert first.cost_nusd == by_hand(
        "anthropic", "claude-haiku-4-5", **{"input": 20, unit: 100, "output": 10}
    )
    assert first.cost_nusd == 20 * 1000 + 100 * (1250 if ttl == "5m" else 2000) + 10 * 5000
    second = priced(gateway, body, stream=stream)
    assert vector(second) == {"input": 20, "cache_read": 100, "output": 10}
    assert second.cost_nusd == 20 * 1000 + 100 * 100 + 10 * 5000


@both
@pytest.mark.parametrize(
    "model", ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
)
def test_behaviour_34_thinking_is_billed_at_the_output_rate(gateway, model, stream):
    """Whether the provider counts it inside its output (OpenAI, Anthropic) or beside it (Gemini)."""
    body = {"model": model, **said(FOUR_HUNDRED + " SAY_TOKENS 10"), "reasoning_effort": "low"}
    entry = priced(gateway, body, stream=stream)
    tokens = vector(entry)
    assert tokens["output"] == 10
    assert tokens["reasoning"] > 0
    assert set(tokens) == {"input", "output", "reasoning"}
    provider, _, name = model.partition("/")
    assert entry.cost_nusd == by_hand(provider, name, **tokens)


@both
def test_behaviour_34_audio_has_its_own_price(gateway, stream):
    """OpenAI's by our own price row, Gemini's by the catalogue's."""
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    content = [{"type": "text", "text": FOUR_HUNDRED}, sound]
    openai = priced(gateway, {"model": "openai/gpt-audio", **said(content), "max_tokens": 10}, stream=stream)
    assert vector(openai) == {"input": 103, "input_audio": 50, "output": 10}
    assert openai.cost_nusd == 103 * 2500 + 50 * 40_000 + 10 * 10_000
    gemini = priced(
        gateway, {"model": "gemini/gemini-2.5-flash", **said(content), "max_tokens": 10}, stream=stream
    )
    assert vector(gemini) == {"input": 100, "input_audio": 64, "output": 10}
    assert gemini.cost_nusd == by_hand("gemini", "gemini-2.5-flash", input=100, input_audio=64, output=10)


@both
def test_behaviour_34_the_long_context_tier_holds_for_the_whole_call(gateway, stream):
    """Above its threshold every token has the tier's price, at the threshold none has."""
    row = CATALOGUE.facts("gemini", "gemini-2.5-pro").price
    assert row is not None
    (tier,) = row.tiers
    for tokens, units in (
        (tier.above_tokens, row.units),
        (tier.above_tokens + 1, {**row.units, **tier.prices}),
    ):
        body = {"model": "gemini/gemini-2.5-pro", **said("word" * tokens), "max_tokens": 10}
        entry = priced(gateway, body, stream=stream)
        assert (entry.input, entry.output) == (tokens, 10)
        assert entry.cost_nusd == (tokens * units["input"].pico_usd + 10 * units["output"].pico_usd) // 1000


def test_behaviour_34_each_line_shows_quantity_price_version_and_source(gateway):
    """An entry can be checked by who pays it."""
    entry = priced(
        gateway, {"model": "openai/gpt-4o-mini", **said(FOUR_HUNDRED), "max_tokens": 10}, stream=False
    )
    row = CATALOGUE.facts("openai", "gpt-4o-mini").price
    assert row is not None
    assert [msgspec.to_builtins(line) for line in entry.lines] == [
        ["input", 103, 150_000, 1, row.version, "provider", 15_450],
        ["output", 10, 600_000, 1, row.version, "provider", 6_000],
    ]
    assert entry.price_version == row.version


# 35. Unknown prices.


def test_behaviour_35_an_unknown_price_is_null_and_said(gateway):
    """Never 0: not in the ledger, not in a header, not in the generation, not in a sum."""
    answer = call(gateway, "WIDE_KEY", "local/some-model-of-mine")
    assert "x-penstock-cost-usd" not in answer.headers
    entry = gateway.entry(answer.request_id)
    assert (entry.cost_nusd, entry.price_version, entry.input > 0) == (None, None, True)
    assert {(line.cost_nusd, line.price_version) for line in entry.lines} == {(None, "unknown")}
    data = gateway.get(f"/v1/generation?id={answer.request_id}", bearer("WIDE_KEY")).json()["data"]
    assert data["total_cost"] is None
    assert data["tokens_prompt"] == entry.input


def test_behaviour_35_one_unknown_attempt_makes_the_call_s_sum_unknown(gateway):
    """A sum that leaves out what it does not know would be too low."""
    gateway.faults({"kind": "close_mid_stream", "after": 0, "when": {"providers": ["local"]}})
    answer = call(gateway, "WIDE_KEY", "local/unknown", stream=True, fallbacks=["openai/gpt-4o-mini"])
    first, second = gateway.ledger(answer.request_id).entries
    assert (first.cost_nusd, first.klass) == (None, "billed_not_delivered")
    assert (second.cost_nusd or 0) > 0
    data = gateway.get(f"/v1/generation?id={answer.request_id}", bearer("WIDE_KEY")).json()["data"]
    assert data["total_cost"] is None


# 36. What is billed although it did not arrive.


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
)
@pytest.mark.parametrize("kind", ["close_mid_stream", "error_mid_stream", "malformed", "reset"])
def test_behaviour_36_a_broken_stream_is_billed_for_what_was_seen(gateway, model, kind):
    """Input and output by estimate, flagged; the class says that it was not delivered."""
    gateway.faults({"kind": kind, "after": 20}, {"kind": "split", "bytes": 100, "ms": 1})
    body = {"model": model, **said(FOUR_HUNDRED + " SAY_TOKENS 40"), "stream": True}
    answer = gateway.post(body, headers=bearer("WIDE_KEY"))
    assert answer.stream_error() is not None
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.usage_source) == ("billed_not_delivered", "estimated")
    assert 50 <= entry.input <= 200
    assert 10 <= entry.output <= 60
    provider, _, name = model.partition("/")
    assert entry.cost_nusd == by_hand(provider, name, **vector(entry))
    assert {line.source for line in entry.lines} == {"estimated"}


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"]
)
def test_behaviour_36_a_cancelled_stream_is_billed_for_what_was_seen(gateway, model):
    """The caller hung up after some words; the provider charges for them."""
    gateway.faults({"kind": "stall", "after": 20})
    body = {"model": model, **said(FOUR_HUNDRED + " SAY_TOKENS 40")}
    stream = gateway.stream(body, headers=bearer("WIDE_KEY"))
    request_id = stream.headers["x-request-id"]
    words = 0
    for piece in stream:
        words += piece.data.count(b'"content":"')
        if words >= 20:
            break
    stream.close()
    entry = gateway.entry(request_id)
    assert (entry.klass, entry.usage_source, entry.error_code) == (
        "billed_not_delivered",
        "estimated",
        "caller_gone",
    )
    assert 10 <= entry.output <= 60
    assert entry.cost_nusd is not None
    assert entry.cost_nusd > 0
    data = gateway.get(f"/v1/generation?id={request_id}", bearer("WIDE_KEY")).json()["data"]
    assert data["cancelled"] is True
    assert round(data["total_cost"] * 1e9) == entry.cost_nusd


def test_behaviour_36_a_refused_attempt_is_known_to_cost_nothing(gateway):
    """A status, or no connection: 0, and not null."""
    gateway.faults({"kind": "status", "status": 500, "when": {"providers": ["openai"]}})
    answer = call(gateway, "WIDE_KEY", "openai/gpt-4o", fallbacks=["anthropic/claude-haiku-4-5"])
    first, second = gateway.ledger(answer.request_id).entries
    assert (first.klass, first.cost_nusd, first.usage_source, first.lines) == ("failed", 0, None, ())
    assert second.klass == "delivered"
    data = gateway.get(f"/v1/generation?id={answer.request_id}", bearer("WIDE_KEY")).json()["data"]
    assert round(data["total_cost"] * 1e9) == second.cost_nusd


@pytest.mark.parametrize("mode", ["missing", "zero", "negative", "inconsistent"])
def test_behaviour_36_a_provider_that_does_not_say_is_estimated(gateway, mode):
    """No usage at all is an estimate; impossible figures never make money."""
    gateway.faults({"kind": "bad_usage", "mode": mode})
    body = {"model": "openai/gpt-4o-mini", **said(FOUR_HUNDRED + " SAY_TOKENS 40"), "stream": True}
    entry = gateway.entry(gateway.post(body, headers=bearer("WIDE_KEY")).request_id)
    assert entry.klass == "delivered"
    assert entry.cost_nusd is not None
    assert entry.cost_nusd >= 0
    assert min(vector(entry).values(), default=0) >= 0
    if mode == "missing":
        assert entry.usage_source == "estimated"
        assert 10 <= entry.output <= 60


# The generation.


def test_generation_is_readable_from_the_last_byte_and_only_by_its_key(gateway):
    """Streamed or not, by either id; for any other key it does not exist."""
    for stream in (False, True) * 5:
        answer = call(gateway, "WIDE_KEY", "openai/gpt-4o-mini", stream=stream)
        body_id = answer.frames()[0]["id"] if stream else answer.json()["id"]
        for one in (answer.request_id, body_id):
            found = gateway.get(f"/v1/generation?id={one}", bearer("WIDE_KEY"))
            assert found.status == 200
            assert found.json()["data"]["request_id"] == answer.request_id
            assert gateway.get(f"/v1/generation?id={one}", bearer("DENIED_KEY")).status == 404
            assert gateway.get(f"/v1/generation?id={one}").status == 401
    data = found.json()["data"]
    assert data["streamed"] is True
    assert data["finish_reason"] == "stop"
    assert data["total_cost"] > 0


def test_metadata_is_kept_on_every_entry(gateway):
    """From the header and from the body's metadata, on each attempt."""
    gateway.faults({"kind": "status", "status": 500, "when": {"providers": ["openai"]}})
    answer = gateway.post(
        {"model": "openai/gpt-4o", "messages": HELLO, "metadata": {"team": "x", "sku": "1"}, "fallbacks": ["local/m"]},
        headers={**bearer("WIDE_KEY"), "x-penstock-meta": "sku=12, campaign=spring,broken, =x", "x-penstock-stage": "draft",
                 "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    )  # fmt: skip
    entries = gateway.stored(answer.request_id).entries
    assert len(entries) == 2
    for entry in entries:
        assert {**(entry.meta or {})} == {"team": "x", "sku": "12", "campaign": "spring", "broken": ""}
        assert (entry.stage, entry.trace_id) == ("draft", "4bf92f3577b34da6a3ce929d0e0e4736")

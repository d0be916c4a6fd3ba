"""Budgets in force, for calls that are not streamed: through real sockets, the short lane and the long way."""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.gateway import lane
from penstock.gateway.purse import DEFAULT_MOST_TOKENS, LEAST_TOKENS
from penstock.ledger.budgets import Bucket
from tests.behaviours.gateway import Gateway, at, running_gateway

SPARE = "vk-spare-000000000009"
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  own:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/own/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "3", output: "15"}}
  - {model: own/priced, usd_per_million: {input: "3", output: "15"}}
  - {model: own/dear, usd_per_million: {input: "3", output: "150"}}
fallbacks: [{primary: own/priced, secondary: own/dear}]
organisations: [{name: acme, budgets: [{limit_usd: 1, period: month}], tags: {cost_centre: "7"}}]
teams:
  - {name: design, organisation: acme, budgets: [{limit_usd: "0.1", period: week, name: sprint}], tags: {team_tag: x}}
virtual_keys:
  - name: small
    key: env.CALLER_KEY
    team: design
    budgets: [{limit_usd: "0.01", period: day, timezone: Europe/Berlin}]
    users: [{name: ann, budgets: [{limit_usd: "0.004", period: day}]}, {name: "*", max_concurrent: 1}]
  - {name: wide, key: env.OTHER_CALLER_KEY, team: design, tags: {team_tag: own}}
  - {name: hashed, key: "sha256:HASH"}
""".replace("HASH", hashlib.sha256(SPARE.encode()).hexdigest())
SMALL = {"authorization": "Bearer vk-caller-000000000006"}
WIDE = {"authorization": "Bearer vk-other-000000000007"}
HELLO = [{"role": "user", "content": "hello there, how are you today?"}]


@pytest.fixture
def gateway(tmp_path) -> Iterator[Gateway]:
    with running_gateway(tmp_path, CONFIG) as gateway:
        yield gateway


def ask(model: str = "openai/gpt-4o-mini", **more):
    return {"model": model, "messages": HELLO, **more}


def bucket_of(gateway: Gateway, node: str, budget: str) -> Bucket:
    treasury = gateway.running.shared.kept.treasury
    assert treasury is not None
    return treasury.budgets.accounts[node, budget].at(gateway.house.clock.unix_s())


def spent(gateway: Gateway, node: str, budget: str) -> tuple[int, int]:
    """Spent and held now, in nano-dollars."""

    def look() -> tuple[int, int]:
        bucket = bucket_of(gateway, node, budget)
        return bucket.spent, bucket.reserved

    return gateway.inside(look)


PLACES = [("key small", "day"), ("team design", "sprint"), ("organisation acme", "month")]


def test_every_budget_on_the_path_counts_what_the_ledger_counts(gateway):
    """The sum of the entries is what each of them has spent, and nothing is held when the call is over."""
    total = 0
    for _ in range(3):
        answer = gateway.post(ask(max_tokens=50), headers=SMALL)
        assert answer.status == 200
        total += gateway.entry(answer.request_id).cost_nusd
    assert total > 0
    assert [spent(gateway, *place) for place in PLACES] == [(total, 0)] * 3


def test_the_first_call_waits_for_its_slice_and_the_next_takes_the_short_lane(gateway, monkeypatch):
    """What this process has leased needs no task."""
    taken: list[bool] = []

    def take(*args: Any) -> Any:
        call = lane.take(*args)
        taken.append(call is not None)
        return call

    monkeypatch.setattr("penstock.server.app.take", take)
    for _ in range(5):
        assert gateway.post(ask(max_tokens=10), headers=WIDE).status == 200
    assert taken[0] is False
    assert True in taken


def test_a_call_that_could_cost_more_is_lowered_and_says_so(gateway):
    """4,096 tokens of $15 a million are six cents, and the budget has one: as many as it covers are asked for."""
    answer = gateway.post(ask(max_tokens=4096), headers=SMALL)
    assert answer.status == 200
    assert answer.headers["x-penstock-adjusted"] == "max_tokens-lowered"
    body = json.dumps(ask(max_tokens=4096)).encode()
    covered = (10_000_000 - 3_000 * len(body)) // 15_000
    assert gateway.sent()["max_completion_tokens"] == covered
    told = gateway.story(answer.request_id)["happenings"]
    assert any(one["what"] == "lowered" and str(covered) in one["reason"] for one in told)


def test_a_spent_budget_refuses_with_its_name_and_what_is_left(gateway):
    """402, for asking again soon is no use; Retry-After is the end of the window."""
    refused = None
    for _ in range(60):
        answer = gateway.post(ask(max_tokens=400), headers=SMALL)
        if answer.status != 200:
            refused = answer
            break
    assert refused is not None
    assert refused.status == 402
    assert refused.error["code"] == "budget-exhausted"
    assert "Budget day of key small has $0.0" in refused.error["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    ends = gateway.inside(lambda: bucket_of(gateway, *PLACES[0]).end_s)
    iso = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert f"Its window ends at {iso}" in refused.error["message"]
    assert "max_tokens" in refused.error["message"]
    count = 'penstock_budget_refusals_total{holder="key small",budget="day",code="budget-exhausted"} 1\n'
    assert count in gateway.get("/metrics").body.decode()
    used, held = spent(gateway, *PLACES[0])
    assert held == 0
    dearest = 3_000 * len(json.dumps(ask(max_tokens=400))) + LEAST_TOKENS * 15_000
    assert 10_000_000 - dearest < used <= 10_000_000
    record = gateway.ledger(refused.request_id)
    assert (record.call.status, record.call.error_code, record.entries) == (402, "budget-exhausted", ())


def test_a_prompt_that_can_never_fit_is_told_so(gateway):
    """No Retry-After: no moment would be better."""
    answer = gateway.post(
        {
            "model": "openai/gpt-4o-mini",
            "messages": [{"role": "user", "content": "x" * 4000}],
            "max_tokens": 5,
        },
        headers=SMALL,
    )
    assert (answer.status, answer.error["code"]) == (402, "budget-too-small")
    assert "retry-after" not in answer.headers
    assert "window ends" not in answer.error["message"]
    assert gateway.sim.requests == []


def test_without_a_price_there_is_no_call(gateway):
    """A budget that could not count it would not be one. Without a budget it goes on as before."""
    answer = gateway.post(ask("own/unpriced"), headers=WIDE)
    assert (answer.status, answer.error["code"]) == (403, "price-unknown")
    assert "own/unpriced" in answer.error["message"]
    assert gateway.sim.requests == []
    assert gateway.post(ask("own/unpriced"), headers={"x-api-key": SPARE}).status == 200


def test_a_model_without_a_known_maximum_gets_one(gateway):
    """It cannot be held otherwise; it is said."""
    answer = gateway.post(ask("own/priced"), headers={**WIDE, "x-penstock-meta": "a=b"})
    assert answer.status == 200
    assert answer.headers["x-penstock-adjusted"] == "max_tokens-lowered"
    sent = gateway.sent()["max_tokens"]
    assert 64 <= sent <= DEFAULT_MOST_TOKENS


def test_a_fallback_holds_its_own_price(gateway):
    """The dearer target is held for anew, and both attempts' costs are in the budget."""
    gateway.faults(at("own", "status", status=500, count=1))
    answer = gateway.post(ask("own/priced", max_tokens=30), headers=WIDE)
    assert answer.status == 200
    record = gateway.ledger(answer.request_id)
    assert [entry.model for entry in record.entries] == ["priced", "dear"]
    assert spent(gateway, "team design", "sprint") == (record.cost_nusd, 0)


def test_a_user_has_limits_of_his_own(gateway):
    """Named in a header or in the body; a call that names nobody is the key's."""
    for _ in range(40):
        answer = gateway.post(ask(max_tokens=100, user="ann"), headers=SMALL)
        if answer.status != 200:
            break
    assert answer.status == 402
    assert "user ann of key small" in answer.error["message"]
    used, held = spent(gateway, "user ann of key small", "day")
    assert 0 < used <= 4_000_000
    assert held == 0
    other = gateway.post(ask(max_tokens=50), headers={**SMALL, "x-penstock-user": "bob"})
    assert other.status == 200
    record = gateway.ledger(other.request_id)
    assert (record.call.user, record.call.team, record.call.organisation) == ("bob", "design", "acme")
    assert (record.entries[0].user, record.entries[0].team) == ("bob", "design")


def test_tags_stand_on_every_entry_and_the_nearest_wins(gateway):
    """Organisation, then team, then key; the caller's own words do not replace them."""
    answer = gateway.post(ask(), headers={**WIDE, "x-penstock-meta": "cost_centre=mine,sku=1"})
    assert gateway.entry(answer.request_id).meta == {"cost_centre": "7", "team_tag": "own", "sku": "1"}


def test_a_refused_call_has_taken_nothing(gateway):
    """A provider that fails costs nothing; what was held comes back."""
    gateway.faults(at("openai", "status", status=500, count=1))
    answer = gateway.post(ask(max_tokens=50), headers=SMALL)
    assert answer.status >= 500
    assert [spent(gateway, *place) for place in PLACES] == [(0, 0)] * 3


def test_places_are_for_as_many_calls_as_run_at_once(gateway):
    """Refused at once, with whose they are; the place comes back however its call ends."""
    gateway.faults(at("openai", "stall", after=1, forever=True))
    bob = {**SMALL, "x-penstock-user": "bob"}
    with gateway.stream(ask(max_tokens=20), headers=bob) as stream:
        stream.until(b"delta")
        refused = gateway.post(ask(max_tokens=20), headers=bob)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert "User bob of key small: 1 calls run already" in refused.error["message"]
        gateway.faults()
        other = gateway.post(ask(max_tokens=20), headers={**SMALL, "x-penstock-user": "eve"})
        assert other.status == 200
    until_s = time.monotonic() + 10
    while gateway.post(ask(max_tokens=20), headers=bob).status != 200:
        assert time.monotonic() < until_s
    assert spent(gateway, *PLACES[0])[1] == 0


def test_a_list_above_a_key_holds_for_it(gateway):
    """The organisation allows a provider, the team denies a model; a key's own list cannot undo it."""
    lists = CONFIG.replace("- {name: design,", "- {name: design, models: ['*', '!own/*'],")
    lists = lists.replace("[{name: acme,", "[{name: acme, providers: ['*', '!anthropic'],")
    assert gateway.reload(lists) == []
    assert gateway.post(ask(), headers=WIDE).status == 200
    for model in ("own/priced", "anthropic/claude-haiku-4-5"):
        refused = gateway.post(ask(model), headers=WIDE)
        assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    names = [row["id"] for row in gateway.get("/v1/models", WIDE).json()["data"]]
    assert names
    assert not [name for name in names if name.startswith(("own/", "anthropic/"))]


def test_a_rotated_secret_is_taken_until_its_grace_period_ends(gateway):
    """And its calls are the same key's."""
    for until, status in (("2099-01-01", 200), ("2020-01-01", 403)):
        previous = f"{{name: wide, previous: [{{key: env.ADMIN_KEY, until: {until}}}],"
        assert gateway.reload(CONFIG.replace("{name: wide,", previous)) == []
        answer = gateway.post(ask(), headers={"authorization": "Bearer admin-000000000008"})
        assert answer.status == status
        if status == 200:
            assert gateway.ledger(answer.request_id).call.virtual_key == "wide"
        else:
            assert answer.error["code"] == "key_rotated"

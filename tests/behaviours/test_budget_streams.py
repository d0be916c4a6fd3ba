"""Streams under budgets: held for less than they may cost, extended while they go on, and ended well where there is no more."""

import json
from collections.abc import Iterator

import pytest

from penstock.gateway.purse import PRIOR_TOKENS
from tests.behaviours.gateway import Answer, Gateway, at, chat, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "3", output: "15"}}
  - {model: openai/o3, usd_per_million: {input: "3", output: "15"}}
  - {model: anthropic/claude-haiku-4-5, usd_per_million: {input: "3", output: "15"}}
virtual_keys:
  - {name: hard, key: env.CALLER_KEY, budgets: [{limit_usd: "0.05", period: day}]}
  - name: soft
    key: env.OTHER_CALLER_KEY
    budgets: [{limit_usd: "0.05", period: day, mode: soft, overdraft_percent: 50}]
"""
HARD = {"authorization": "Bearer vk-caller-000000000006"}
SOFT = {"authorization": "Bearer vk-other-000000000007"}
LIMIT_NUSD = 50_000_000
LONG = 4_000
"""Tokens of a reply that costs six cents, of a budget that has five."""
MODELS = ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"]


@pytest.fixture(params=[1, 16], ids=["token by token", "in gulps"])
def gateway(tmp_path, request) -> Iterator[Gateway]:
    profile = {"output_tokens": LONG, "tokens_per_s": 5_000, "tokens_per_event": request.param}
    with running_gateway(tmp_path, CONFIG, scenario={"profiles": {"*": profile}}) as gateway:
        yield gateway


def figures(gateway: Gateway, key: str = "hard") -> tuple[int, int]:
    """Spent and held now."""

    def look() -> tuple[int, int]:
        treasury = gateway.running.shared.kept.treasury
        bucket = treasury.budgets.accounts[f"key {key}", "day"].at(gateway.house.clock.unix_s())
        return bucket.spent, bucket.reserved

    return gateway.inside(look)


def streamed(gateway: Gateway, model: str = MODELS[0], key: dict[str, str] = HARD, **more: object) -> Answer:
    answer = gateway.stream(chat(model, **more), headers=key).rest()
    assert answer.ended == "complete"
    return answer


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_without_room_is_ended_as_if_it_had_come_to_its_limit(gateway, model):
    """Finish reason length, the proper end, no error; the budget is kept and the provider hears no more of it."""
    answer = streamed(gateway, model, stream_options={"include_usage": True})
    assert answer.status == 200
    assert answer.finish() == "length"
    assert answer.done
    assert answer.stream_error() is None
    usage = answer.usage()
    assert usage is not None
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.finish_reason, entry.usage_source) == ("delivered", "length", "estimated")
    assert entry.native_finish_reason == "budget"
    assert usage["completion_tokens"] == entry.output > 0
    assert figures(gateway) == (entry.cost_nusd, 0)
    assert 0 < entry.cost_nusd <= LIMIT_NUSD
    told = [one for one in gateway.story(answer.request_id)["happenings"] if one["what"] == "cut"]
    assert len(told) == 1
    assert "Budget day of key hard" in told[0]["reason"]
    ids = {frame["id"] for frame in answer.frames() if isinstance(frame, dict)}
    assert len(ids) == 1
    gateway.sim.wait_for(lambda request: request.disconnected_unix_s is not None)


def test_what_passed_before_the_end_is_whole(gateway):
    """Every event can be read, and the text is the beginning of what the model would have said."""
    answer = streamed(gateway)
    free = gateway.reload(CONFIG.replace(', budgets: [{limit_usd: "0.05", period: day}]', ""))
    assert free == []
    whole = streamed(gateway)
    assert whole.finish() == "stop"
    assert len(answer.text()) > 1000
    assert whole.text().startswith(answer.text())


def test_a_stream_that_fits_is_not_touched(gateway):
    """More is held while it goes on than at its beginning, and all but what it cost comes back."""
    answer = streamed(gateway, max_tokens=600)
    assert answer.done
    entry = gateway.entry(answer.request_id)
    assert (entry.usage_source, entry.output) == ("stream", 600)
    assert figures(gateway) == (entry.cost_nusd, 0)


def test_the_overdraft_is_for_running_calls(gateway):
    """A soft budget lets them go on beyond the limit, to the stated bound; new ones are refused."""
    answers = []
    while True:
        stream = gateway.stream(chat(MODELS[0]), headers=SOFT)
        if stream.status != 200:
            break
        answers.append(stream)
        assert len(answers) < 50
    refused = stream.rest()
    assert refused.error["code"] in ("budget-held", "budget-exhausted")
    for one in answers:
        assert one.rest().done
    spent, held = figures(gateway, "soft")
    assert held == 0
    assert spent <= LIMIT_NUSD * 3 // 2


def test_what_thinks_unseen_holds_its_maximum(gateway):
    """No bytes tell what it has cost so far: its maximum is lowered to what the budget covers."""
    answer = streamed(gateway, "openai/o3")
    assert answer.headers["x-penstock-adjusted"] == "max_tokens-lowered"
    most = gateway.sent()["max_completion_tokens"]
    body = json.dumps({**chat("openai/o3"), "stream": True}).encode()
    assert most == (LIMIT_NUSD - 3_000 * len(body)) // 15_000
    spent, held = figures(gateway)
    assert held == 0
    assert 0 < spent <= LIMIT_NUSD


def test_replies_teach_what_to_hold(gateway):
    """After twenty short ones a reply of their kind holds little more than they took."""
    assert gateway.reload(CONFIG.replace('"0.05"', '"5"')) == []
    for _ in range(20):
        assert streamed(gateway, max_tokens=40).done
    treasury = gateway.running.shared.kept.treasury
    who = (MODELS[0], "gpt-4o-mini", "hard")
    expected = gateway.inside(lambda: treasury.sizes.expect(who, 16_384, PRIOR_TOKENS))
    assert 40 <= expected <= 40 * 16


def test_a_caller_who_hangs_up_pays_what_passed(gateway):
    """Settled at an estimate, and nothing stays held."""
    stream = gateway.stream(chat(MODELS[0], max_tokens=2000), headers=HARD)
    stream.until(b"delta")
    stream.close()
    gateway.sim.wait_for(lambda request: request.disconnected_unix_s is not None)
    record = gateway.last_record()
    assert record.call.status == 499
    assert figures(gateway) == (record.cost_nusd, 0)


def test_a_stream_that_breaks_pays_what_passed(gateway):
    """The provider goes away in the middle."""
    gateway.faults(at("openai", "close_mid_stream", after=20))
    answer = gateway.stream(chat(MODELS[0]), headers=HARD).rest()
    assert answer.stream_error() is not None
    entry = gateway.entry(answer.request_id)
    assert entry.klass == "billed_not_delivered"
    assert figures(gateway) == (entry.cost_nusd, 0)


SHORT = 16
LONE = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "2.5", output: "10"}}
virtual_keys:
  - {name: hard, key: env.CALLER_KEY, budgets: [{limit_usd: "0.02", period: day}]}
"""


@pytest.fixture(params=[100, 2_000], ids=["as models write", "at once"])
def lone(tmp_path, request) -> Iterator[Gateway]:
    profile = {"output_tokens": 1200, "tokens_per_s": request.param * 10}
    with running_gateway(tmp_path, LONE, scenario={"profiles": {"*": profile}}) as gateway:
        yield gateway


def test_a_lone_stream_that_fits_is_never_cut(lone):
    """Short ones before it have taught to hold little: all the rest it is given while it goes on."""
    for _ in range(22):
        assert streamed(lone, max_tokens=SHORT).finish() == "length"
    answer = streamed(lone, max_tokens=1500)
    assert [one for one in lone.story(answer.request_id)["happenings"] if one["what"] == "cut"] == []
    assert answer.finish() == "stop"
    entry = lone.entry(answer.request_id)
    assert (entry.usage_source, entry.output) == ("stream", 1200)
    assert figures(lone)[1] == 0


def test_a_stream_that_is_cut_is_told_what_is_really_left(lone):
    """It has used all that there was but what may be on its way; and that nobody else holds any of it."""
    for _ in range(22):
        streamed(lone, max_tokens=SHORT)
    before, _ = figures(lone)
    answer = streamed(lone)
    assert answer.finish() == "length"
    (told,) = [one for one in lone.story(answer.request_id)["happenings"] if one["what"] == "cut"]
    assert told["code"] == "budget-exhausted"
    assert "running calls" not in told["reason"]
    spent, held = figures(lone)
    assert held == 0
    assert spent <= 20_000_000
    passed_nusd = len(answer.text().encode()) * 10_000
    assert before + passed_nusd > 20_000_000 - 2 * 256 * 10_000

"""A budget that runs out is told in time: by log, metric and webhook, once, by one of all who could."""

import base64
import json
from collections.abc import Iterator

import pytest

from tests.behaviours.gateway import SECRETS, Answer, Gateway, running_gateway
from tests.behaviours.receiver import Receiver

KEY = b"a secret of more than sixteen bytes"
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "1", output: "10"}}
teams:
  - {name: design, budgets: [{limit_usd: "0.001", period: month, name: sprint}]}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY, team: design, budgets: [{limit_usd: "100", period: day}]}
alerts:
  at_percent: [10, 20]
  webhooks:
    - {url: env.HOOK_URL, secret: env.HOOK_SECRET}
"""
PATH = "/services/T0000-token-of-the-address?channel=ops&x=a%20b"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def secrets(receiver: Receiver, path: str = PATH) -> dict[str, str]:
    encoded = "whsec_" + base64.b64encode(KEY).decode()
    return {**SECRETS, "HOOK_URL": receiver.url + path, "HOOK_SECRET": encoded}


def spend(gateway: Gateway, calls: int = 1) -> Answer:
    """Each costs 10 tokens of output and about a dozen of input: some 11 % of the team's budget."""
    body = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "hello there, how are you today?"}],
        "max_tokens": 10,
    }
    answers = [
        gateway.post(body, headers={"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}) for _ in range(calls)
    ]
    assert [answer.status for answer in answers] == [200] * calls
    return answers[-1]


def budgets(gateway: Gateway) -> dict[str, str]:
    text = gateway.get("/metrics").body.decode()
    return dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("penstock_budget"))


def test_thresholds_are_told_once_by_log_metric_and_webhook(tmp_path, receiver, capfd):
    """In order, signed, with what is spent, of what, until when; and nobody is shown address or secret."""
    with running_gateway(tmp_path, CONFIG, secrets=secrets(receiver)) as gateway:
        spend(gateway)
        receiver.until(lambda: len(receiver.posted) == 1)
        spend(gateway, 4)
        receiver.until(lambda: len(receiver.posted) == 2)
        spend(gateway)
        found = budgets(gateway)
        text = gateway.get("/metrics").body.decode()
    assert [one.told["percent"] for one in receiver.posted] == [10, 20]
    first, second = receiver.posted
    assert first.path == PATH
    assert first.is_signed_by(KEY)
    assert second.is_signed_by(KEY)
    assert not first.is_signed_by(KEY + b"x")
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    told = first.told
    assert (told["type"], told["holder"], told["budget"]) == ("budget.threshold", "team design", "sprint")
    assert (told["limit_usd"], told["mode"], told["period"]) == ("0.001", "hard", "month")
    assert 0.0001 <= float(told["spent_usd"]) < 0.0002
    assert told["window_start"] < told["timestamp"] < told["window_end"]
    team = '{holder="team design",budget="sprint"}'
    assert found[f"penstock_budget_limit_usd{team}"] == "0.001"
    ratio = float(found[f"penstock_budget_spent_ratio{team}"])
    assert 0.6 < ratio < 1
    assert float(found[f"penstock_budget_spent_usd{team}"]) == pytest.approx(ratio * 0.001)
    for percent in (10, 20):
        alert = f'penstock_budget_alerts_total{{holder="team design",budget="sprint",percent="{percent}"}}'
        assert found[alert] == "1"
    assert float(found['penstock_budget_spent_ratio{holder="key caller",budget="day"}']) < 0.0001
    log = capfd.readouterr().err
    lines = [line for line in log.splitlines() if "budget.alert" in line]
    assert len(lines) == 2
    assert 'holder="team design" budget=sprint percent=10' in lines[0]
    assert "WARNING" in lines[0]
    for hidden in ("T0000-token", SECRETS["CALLER_KEY"], secrets(receiver)["HOOK_SECRET"], KEY.decode()):
        assert hidden not in log + text


def test_what_was_told_is_not_told_again_after_a_restart(tmp_path, receiver):
    """The right to tell it was claimed for good; the next threshold is told."""
    with running_gateway(tmp_path, CONFIG, secrets=secrets(receiver)) as gateway:
        spend(gateway)
        receiver.until(lambda: len(receiver.posted) == 1)
    with running_gateway(tmp_path, CONFIG, secrets=secrets(receiver)) as gateway:
        spend(gateway)
        receiver.until(lambda: len(receiver.posted) == 2)
    assert [one.told["percent"] for one in receiver.posted] == [10, 20]


def test_what_is_not_taken_is_sent_again(tmp_path, receiver, capfd):
    """The same message under the same id, signed anew; and calls do not notice."""
    receiver.statuses = [500]
    with running_gateway(tmp_path, CONFIG, secrets=secrets(receiver)) as gateway:
        spend(gateway)
        receiver.until(lambda: len(receiver.posted) == 2)
        spend(gateway)
        text = gateway.get("/metrics").body.decode()
    refused, taken = receiver.posted[:2]
    assert (refused.status, taken.status) == (500, 204)
    assert (refused.body, refused.headers["webhook-id"]) == (taken.body, taken.headers["webhook-id"])
    assert taken.is_signed_by(KEY)
    assert 'outcome="retried"} 1' in text
    log = capfd.readouterr().err
    assert "took no alert (status 500)" in log
    assert "T0000-token" not in log


def test_a_receiver_that_hangs_is_in_nobodys_way(tmp_path, receiver):
    """Neither in a call's, nor in a stop's."""
    receiver.hold.clear()
    with running_gateway(tmp_path, CONFIG, secrets=secrets(receiver)) as gateway:
        spend(gateway, 3)
        gateway.get("/metrics")
        spend(gateway)
    assert receiver.posted == []


@pytest.mark.parametrize(
    ("hook", "faults"),
    [
        ('{url: "ftp://x", secret: env.HOOK_SECRET}', ["$.alerts.webhooks[0].url"]),
        ('{url: "https://me:pass@x/", secret: env.HOOK_SECRET}', ["$.alerts.webhooks[0].url"]),
        ('{url: "https://x/", secret: env.CALLER_SHORT}', ["$.alerts.webhooks[0].secret"]),
        ('{url: "https://x/", secret: in-plain-words}', ["$.alerts.webhooks[0].secret"]),
        (
            "{url: env.NOWHERE, secret: env.NOTHING}",
            ["$.alerts.webhooks[0].url", "$.alerts.webhooks[0].secret"],
        ),
    ],
)
def test_a_faulty_webhook_is_refused_without_repeating_it(tmp_path, receiver, hook, faults):
    """All of its faults, each with its place; the running configuration stays."""
    known = {**secrets(receiver), "CALLER_SHORT": "too-short"}
    with running_gateway(tmp_path, CONFIG, secrets=known) as gateway:
        said = gateway.reload(CONFIG.replace("{url: env.HOOK_URL, secret: env.HOOK_SECRET}", hook))
        assert [fault.partition(":")[0] for fault in said] == faults
        assert not any(word in json.dumps(said) for word in ("me:pass", "too-short", "in-plain-words"))
        spend(gateway)
        receiver.until(lambda: len(receiver.posted) == 1)


def test_a_reload_changes_thresholds_and_addresses(tmp_path, receiver):
    """From the next look on."""
    other = Receiver()
    try:
        with running_gateway(tmp_path, CONFIG, secrets={**secrets(receiver), "OTHER": other.url}) as gateway:
            config = CONFIG.replace("[10, 20]", "[5]").replace("url: env.HOOK_URL", "url: env.OTHER")
            assert gateway.reload(config) == []
            spend(gateway)
            other.until(lambda: len(other.posted) == 1)
        assert (other.posted[0].path, other.posted[0].told["percent"]) == ("/", 5)
        assert receiver.posted == []
    finally:
        other.close()

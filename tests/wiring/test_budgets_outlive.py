"""What budgets have counted outlives a restart, a reload and the loss of their state; a new budget begins with the ledger."""

import asyncio
from pathlib import Path
from typing import Any

from penstock.observe.log import OperatorLog
from penstock.wiring.serve import Running, ServeOptions
from tests.behaviours.gateway import SECRETS, Gateway, chat, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
prices: [{model: openai/gpt-4o-mini, usd_per_million: {input: "3", output: "15"}}]
virtual_keys: [{name: caller, key: env.CALLER_KEY, budgets: [BUDGETS], users: [USERS]}]
"""
KEY = {"authorization": "Bearer vk-caller-000000000006"}
DAY = '{limit_usd: "0.01", period: day}'
ASK = chat("openai/gpt-4o-mini", max_tokens=100)


def config(budgets: str = DAY, users: str = "") -> str:
    return CONFIG.replace("BUDGETS", budgets).replace("USERS", users)


def total(gateway: Gateway, node: str = "key caller", budget: str = "day") -> int:
    """Spent in the window of now, by all runs."""
    treasury = gateway.running.shared.kept.treasury
    account = treasury.budgets.accounts[node, budget]
    return gateway.inside(lambda: treasury.total_nusd(account.at(gateway.house.clock.unix_s())))


def served(gateway: Gateway, times: int = 3, **more: Any) -> int:
    """Calls that are served, and what they cost together."""
    cost = 0
    for _ in range(times):
        answer = gateway.post({**ASK, **more}, headers=KEY)
        assert answer.status == 200, answer.body
        cost += gateway.stored(answer.request_id).cost_nusd or 0
    return cost


def test_a_restart_goes_on_where_it_stopped(tmp_path):
    """A clean stop gives back what was leased, and nothing of what was spent."""
    with running_gateway(tmp_path, config()) as gateway:
        before = served(gateway)
    with running_gateway(tmp_path, config()) as gateway:
        more = served(gateway, 1)
        assert total(gateway) == before + more


def test_lost_state_is_found_in_the_ledger(tmp_path):
    """Somebody deleted the file: what stands in the ledger counts."""
    with running_gateway(tmp_path, config()) as gateway:
        before = served(gateway)
    for path in Path(tmp_path).glob("ledger.db.state*"):
        path.unlink()
    with running_gateway(tmp_path, config()) as gateway:
        assert total(gateway) == before
        more = served(gateway, 1)
        assert total(gateway) == before + more


def test_a_budget_that_a_reload_brings_begins_with_the_ledger(tmp_path):
    """Also one that is full at once."""
    with running_gateway(tmp_path, config("")) as gateway:
        before = served(gateway)
        assert gateway.reload(config()) == []
        assert total(gateway) == before
        assert gateway.reload(config('{limit_usd: "0.000001", period: day}')) == []
        refused = gateway.post(ASK, headers=KEY)
        assert refused.status == 402


def test_a_reload_changes_a_limit_and_forgets_nothing(tmp_path):
    """More room for the same budget, and what was spent in it stays."""
    with running_gateway(tmp_path, config()) as gateway:
        before = served(gateway)
        assert gateway.reload(config('{limit_usd: "0.5", period: day}')) == []
        more = served(gateway, 1)
        assert total(gateway) == before + more
        assert gateway.reload(config("")) == []
        served(gateway, 1)
        assert gateway.reload(config()) == []
        assert total(gateway) == before + more


def test_everybody_elses_budgets_begin_with_the_ledger_too(tmp_path):
    """A user who is not named has his own, and what he spent before it was configured counts."""
    with running_gateway(tmp_path, config("")) as gateway:
        before = served(gateway, 2, user="bob")
        users = f'{{name: "*", budgets: [{DAY}]}}'
        assert gateway.reload(config("", users)) == []
        more = served(gateway, 1, user="bob")
        assert total(gateway, "user bob of key caller") == before + more
        other = served(gateway, 1, user="eve")
        assert total(gateway, "user eve of key caller") == other


def test_two_gateways_do_not_hold_one_state(tmp_path):
    """Each would grant the same money."""
    with running_gateway(tmp_path, config()) as gateway:
        options = ServeOptions(config=gateway.config, port=0, db=str(tmp_path / "ledger.db"))
        faults = asyncio.run(Running(options, SECRETS, OperatorLog()).start())
        assert len(faults) == 1
        assert "Another gateway holds the budgets' state" in faults[0]
        served(gateway, 1)

"""Alerts of several processes: what all of them spend is one budget, and each threshold of it is told once."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from penstock.simulate import running_simulator
from tests.behaviours.receiver import Receiver
from tests.server.process import GatewayProcess

PERCENTS = tuple(range(5, 100, 5))
SECRET = b"a secret of more than sixteen bytes"
ENV = {
    "OPENAI_KEY": "plainsecretprimary4711",
    "CALLER_KEY": "vk-caller-000000000006",
    "HOOK_SECRET": SECRET.decode(),
}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "SIM/p/openai/v1"}
prices:
  - {model: openai/gpt-4o-mini, usd_per_million: {input: "1", output: "10"}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY, budgets: [{limit_usd: "0.02", period: month}]}
alerts:
  at_percent: PERCENTS
  webhooks: [{url: "HOOK/x", secret: env.HOOK_SECRET}]
"""
BODY = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "hello there, how are you today?"}],
    "max_tokens": 10,
}
SERIES = re.compile(
    r'^(penstock_budget_\w+)\{holder="key caller",budget="month"(?:,percent="(\d+)")?\} (.+)$', re.MULTILINE
)


def test_each_threshold_is_told_once_by_one_of_three(tmp_path):
    """Whoever crosses it; and the figures are of all of them, not three times the same."""
    receiver = Receiver()
    try:
        with running_simulator() as sim:
            text = (
                CONFIG.replace("SIM", sim.url)
                .replace("HOOK", receiver.url, 1)
                .replace("PERCENTS", str(list(PERCENTS)))
            )
            with GatewayProcess(tmp_path, text, ENV, "--workers", "3") as gateway:
                headers = {"authorization": f"Bearer {ENV['CALLER_KEY']}"}

                def spend(_: int) -> int:
                    # Who is refused comes again: the last cents are with another worker until it gives them back.
                    for _ in range(40):
                        status = gateway.ask("/v1/chat/completions", BODY, headers=headers).status
                        if status != 429:
                            return status
                        time.sleep(0.05)
                    return 429

                with ThreadPoolExecutor(12) as callers:
                    served = Counter(callers.map(spend, range(190)))
                assert served[200] > 100
                refused = 1 if served[402] else 0  # which is told by an alert of its own
                receiver.until(lambda: len(receiver.posted) >= len(PERCENTS) + refused)
                found: dict[str, str] = {}
                for name, percent, value in SERIES.findall(gateway.ask("/metrics").body.decode()):
                    found[name + percent] = value
                assert gateway.terminate() == 0
        told = Counter((one.told["type"], one.told["percent"]) for one in receiver.posted)
        refusing = told.pop(("budget.exhausted", 100), 0)
        assert told == {("budget.threshold", percent): 1 for percent in PERCENTS}
        assert refusing == refused
        assert all(one.is_signed_by(SECRET) for one in receiver.posted)
        assert {found[f"penstock_budget_alerts_total{percent}"] for percent in PERCENTS} == {"1"}
        assert found["penstock_budget_limit_usd"] == "0.02"
        assert 0.95 <= float(found["penstock_budget_spent_ratio"]) <= 1.0
    finally:
        receiver.close()

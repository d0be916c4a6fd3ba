"""A retried call through the real gateway, as ``penstock profile --trace`` tells it: each attempt and each back-off has its row."""

import json
from pathlib import Path

import pytest

from penstock.cli.main import run
from penstock.engine.measure.records import UNATTRIBUTED
from tests.behaviours.gateway import Gateway, chat, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 2, backoff_initial_ms: 40, backoff_max_ms: 40}}
"""


def told(
    gateway: Gateway, folder: Path, trace: str, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, object]]:
    """One call of that trace, and its hops from the command line."""
    answer = gateway.post(chat("openai/gpt-4o-mini"), headers={"x-penstock-trace": trace})
    assert answer.status == 200
    gateway.stored(answer.request_id)
    assert run(["profile", "--trace", trace, "--db", str(folder / "ledger.db"), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["hops"]


def test_a_back_off_between_two_attempts_has_its_own_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The simulator fails once: two attempts, one back-off between them; healthy, one attempt and none."""
    with running_gateway(tmp_path, CONFIG) as gateway:
        gateway.faults({"kind": "status", "status": 503, "when": {"providers": ["openai"], "first": 1}})
        call, *parts = told(gateway, tmp_path, "retried", capsys)
        names = [part["name"] for part in parts if part["name"] not in (UNATTRIBUTED, "gateway")]
        assert names == ["openai/gpt-4o-mini", "back-off", "openai/gpt-4o-mini"]
        (waited,) = (part for part in parts if part["name"] == "back-off")
        assert waited["parent"] == call["key"]
        assert waited["cost_nusd"] == 0
        first, second = (part for part in parts if part["name"] == "openai/gpt-4o-mini")
        assert first["start_ms"] <= waited["start_ms"] <= second["start_ms"]
        gateway.fresh()
        _, *parts = told(gateway, tmp_path, "healthy", capsys)
        assert [part["name"] for part in parts].count("openai/gpt-4o-mini") == 1
        assert "back-off" not in [part["name"] for part in parts]

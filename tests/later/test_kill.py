"""kill -9 of a real gateway in the middle of a batch and of jobs; the next process goes on."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest

from penstock.simulate import Simulator, running_simulator
from tests.server.process import GatewayProcess

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "%s/p/openai/v1", retry: {max_retries: 0}}
batches: {max_concurrent: 4, native: never}
jobs: {max_concurrent: 1}
%s
"""
KEYS = {"OPENAI_KEY": "sk-openai-test-000000000001"}
CHAT = "/v1/chat/completions"
LINES = 60
ASYNC = {"x-penstock-async": "true", "content-type": "application/json"}


def started(folder: Path, sim: Simulator, ledger: str, *options: str) -> GatewayProcess:
    gateway = GatewayProcess(folder, CONFIG % (sim.url, ledger), KEYS, *options)
    if ledger:
        gateway.db = None
    return gateway


def until(holds: Any, wait_s: float = 40.0) -> Any:
    until_s = time.monotonic() + wait_s
    while not (found := holds()):
        assert time.monotonic() < until_s
        time.sleep(0.03)
    return found


def asked(sim: Simulator) -> Counter[str]:
    """How often each text was asked for."""
    texts = [json.loads(one.body)["messages"][0]["content"] for one in list(sim.requests)]
    return Counter(texts)


def left(gateway: GatewayProcess, text: str) -> str:
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    answer = gateway.ask(CHAT, body, headers=ASYNC)
    assert answer.status == 202
    return json.loads(answer.body)["id"]


def job(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    return json.loads(gateway.ask(f"/v1/jobs/{name}").body)


@pytest.mark.parametrize("where", ["file", "postgres"])
def test_a_killed_gateway_loses_no_line_and_no_job(
    tmp_path: Path, request: pytest.FixtureRequest, where: str
):
    """What was answered is not asked again; what was at the provider as a job fails; what waited is run."""
    ledger = "" if where == "file" else f'ledger: {{url: "{request.getfixturevalue("postgres_url")}"}}'
    if ledger:
        KEYS["LEDGER_URL"] = request.getfixturevalue("postgres_url")
        ledger = "ledger: {url: env.LEDGER_URL}"
    with running_simulator() as sim:
        sim.set_faults([{"kind": "slow_head", "ms": 60}])
        with started(tmp_path, sim, ledger) as gateway:
            client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
            lines = [
                {
                    "custom_id": f"c{n}", "method": "POST", "url": CHAT,
                    "body": {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": f"line {n}"}]},
                }
                for n in range(LINES)
            ]  # fmt: skip
            file = client.files.create(
                file=("lines.jsonl", b"\n".join(json.dumps(one).encode() for one in lines)), purpose="batch"
            )
            batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            until(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 8)
            sim.set_faults([{"kind": "slow_head", "ms": 5_000}])
            at_provider, waiting = left(gateway, "running job"), left(gateway, "waiting job")
            until(lambda: asked(sim)["running job"])
            acknowledged = client.batches.retrieve(batch.id).request_counts.completed
            gateway.signal(signal.SIGKILL)
            gateway.join()
            client.close()
        before = asked(sim)
        sim.set_faults([])
        with started(tmp_path, sim, ledger) as gateway:
            client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
            done = until(lambda: (one := client.batches.retrieve(batch.id)).status == "completed" and one)
            assert (done.request_counts.completed, done.request_counts.failed) == (LINES, 0)
            results = [json.loads(one) for one in client.files.content(done.output_file_id).text.splitlines()]
            assert [one["custom_id"] for one in results] == [f"c{n}" for n in range(LINES)]
            failed = until(lambda: (one := job(gateway, at_provider))["status"] == "failed" and one)
            assert failed["error"]["code"] == "interrupted"
            ended = until(lambda: (one := job(gateway, waiting))["status"] == "completed" and one)
            assert ended["result"]["status"] == 200
            client.close()
        after = asked(sim)
        twice = [text for text, count in after.items() if text.startswith("line") and count > 1]
        assert 8 <= acknowledged <= LINES - 4
        assert len(twice) <= 4  # what was at the provider when the process died: batches.max_concurrent
        assert sum(before[f"line {n}"] for n in range(LINES)) < LINES
        assert (after["running job"], after["waiting job"]) == (1, 1)


def test_a_gateway_that_is_stopped_gives_its_batch_to_the_next_at_once(tmp_path: Path):
    """SIGTERM: lines that run end, the lease is given back, nothing is asked twice."""
    with running_simulator() as sim:
        sim.set_faults([{"kind": "slow_head", "ms": 50}])
        names = []
        with (
            started(tmp_path, sim, "") as gateway,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
        ):
            for _ in range(2):
                lines = [
                    {
                        "custom_id": f"c{n}", "method": "POST", "url": CHAT,
                        "body": {
                            "model": "openai/gpt-4o-mini",
                            "messages": [{"role": "user", "content": f"{len(names)} line {n}"}],
                        },
                    }
                    for n in range(20)
                ]  # fmt: skip
                text = b"\n".join(json.dumps(one).encode() for one in lines)
                file = client.files.create(file=("lines.jsonl", text), purpose="batch")
                batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
                names.append(batch.id)
            until(lambda: client.batches.retrieve(names[0]).request_counts.completed >= 4)
            assert gateway.terminate() == 0
        sim.set_faults([])
        with (
            started(tmp_path, sim, "") as gateway,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
        ):
            for name in names:
                until(lambda name=name: client.batches.retrieve(name).status == "completed", 8.0)
        assert set(asked(sim).values()) == {1}
        assert len(asked(sim)) == 40

"""kill -9 of a real gateway while providers have its batches; the next process takes their results, and sends nothing again."""

import json
import signal
from pathlib import Path
from typing import Any

import anthropic
import openai

from penstock.simulate import Scenario, Simulator, running_simulator
from tests.later.test_kill import until
from tests.server.process import GatewayProcess

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "%s/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "%s/p/anthropic", retry: {max_retries: 0}}
batches: {resubmit_after_s: 1}
"""
KEYS = {"OPENAI_KEY": "sk-openai-test-000000000001", "ANTHROPIC_KEY": "sk-ant-test-000000000003"}
CHAT = "/v1/chat/completions"
LINES = 20


def started(folder: Path, sim: Simulator) -> GatewayProcess:
    return GatewayProcess(folder, CONFIG % (sim.url, sim.url), KEYS)


def creations(sim: Simulator, provider: str) -> int:
    made = [one for one in sim.requests if one.method == "POST" and one.path.endswith("/batches")]
    return sum(one.provider == provider for one in made)


def begun(client: openai.OpenAI, word: str) -> Any:
    lines = [
        {
            "custom_id": f"{word}{n}", "method": "POST", "url": CHAT,
            "body": {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": f"{word} {n}"}]},
        }
        for n in range(LINES)
    ]  # fmt: skip
    text = b"\n".join(json.dumps(one).encode() for one in lines)
    file = client.files.create(file=("lines.jsonl", text), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


def test_a_killed_gateway_submits_no_batch_twice(tmp_path: Path):
    """One that was polled, and two whose creation had arrived and was not answered: found by name, and by time and size."""
    with running_simulator(Scenario(batch_delay_s=1.0)) as sim:
        with started(tmp_path, sim) as gateway:
            client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)
            polled = begun(client, "polled")
            until(lambda: [one for one in sim.requests if "/batches/batch_sim" in one.path])
            sim.set_faults([{"kind": "slow_head", "ms": 20_000}])
            messages = anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0)
            requests: Any = [
                {
                    "custom_id": f"m{n}",
                    "params": {"model": "anthropic/claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
                }
                for n in range(3)
            ]  # fmt: skip
            unsure = messages.messages.batches.create(requests=requests)
            until(lambda: creations(sim, "anthropic") == 1)
            sim.set_faults([])
            sim.set_faults([{"kind": "slow_head", "ms": 300}])
            unanswered = begun(client, "unanswered")
            until(lambda: creations(sim, "openai") == 2)
            gateway.signal(signal.SIGKILL)
            gateway.join()
            client.close()
            messages.close()
        sim.set_faults([])
        with (
            started(tmp_path, sim) as gateway,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
            anthropic.Anthropic(base_url=gateway.url, api_key="any", max_retries=0) as messages,
        ):
            ids: list[str] = []
            for name, word in ((polled.id, "polled"), (unanswered.id, "unanswered")):
                done = until(
                    lambda name=name: (one := client.batches.retrieve(name)).status == "completed" and one
                )
                rows = [
                    json.loads(one) for one in client.files.content(done.output_file_id).text.splitlines()
                ]
                assert [one["custom_id"] for one in rows] == [f"{word}{n}" for n in range(LINES)]
                assert done.penstock_road == "native"
                ids += [one["response"]["request_id"] for one in rows]
            ended = until(
                lambda: (
                    (one := messages.messages.batches.retrieve(unsure.id)).processing_status == "ended"
                    and one
                )
            )
            assert ended.request_counts.succeeded == 3
            assert len(set(ids)) == 2 * LINES
        assert (creations(sim, "openai"), creations(sim, "anthropic")) == (2, 1)
        assert [one for one in sim.requests if one.path.endswith(("/completions", "/messages"))] == []

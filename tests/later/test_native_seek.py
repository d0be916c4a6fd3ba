"""A batch whose creation may have arrived: found late, told from another's, sent once more, and its twin cancelled."""

import json
import time
from pathlib import Path
from typing import Any

import anthropic
import openai

from penstock.simulate import Scenario, Simulator, running_simulator
from tests.behaviours.gateway import MODELS, SECRETS, Gateway, running_gateway
from tests.later.test_files_batches import begun, client_of, ended, line, results
from tests.later.test_kill import until
from tests.later.test_native_batches import CONFIG, asked, messages_done

SHORT = CONFIG.replace("retry: {max_retries: 0}", "first_byte_timeout_ms: 500, retry: {max_retries: 0}")
LOST = {"kind": "slow_head", "ms": 3000, "count": 1}
"""The provider does it, and nobody hears of it."""
CUT = {"kind": "early_close", "count": 1}
"""The provider never sees it."""


def creations(gateway: Gateway) -> int:
    return sum(
        len(asked(gateway, path)) for path in ("/v1/batches", "/messages/batches", ":batchGenerateContent")
    )


def fails(gateway: Gateway, provider: str, fault: dict[str, Any], after: int) -> None:
    gateway.faults({**fault, "when": {"providers": [provider], "after": after}})


def made_of(gateway: Gateway, count: int, model: str) -> Any:
    with client_of(gateway) as client:
        done = ended(
            client, begun(client, [line(f"c{n}", model, f"say {n}", max_tokens=40) for n in range(count)]).id
        )
        assert (done.status, done.penstock_road) == ("completed", "native")
        assert [one["custom_id"] for one in results(client, done.output_file_id)] == [
            f"c{n}" for n in range(count)
        ]
        return done


def test_a_batch_that_is_listed_late_is_waited_for(tmp_path: Path):
    """Found by its name within the time that is waited: nothing is sent again."""
    scenario = Scenario(batch_delay_s=0.2, batch_listed_after_s=1.0)
    with running_gateway(tmp_path, SHORT.replace("after_s: 1,", "after_s: 4,"), scenario=scenario) as gateway:
        for provider in ("openai", "gemini"):
            gateway.fresh()
            fails(gateway, provider, LOST, 1)
            made_of(gateway, 3, MODELS[provider])
            assert creations(gateway) == 1


def test_a_batch_that_is_listed_too_late_is_cancelled_beside_its_twin(tmp_path: Path):
    """The one that runs is answered; what is told names the other, which costs no more than what it had done."""
    scenario = Scenario(batch_delay_s=6.0, batch_listed_after_s=4.0)
    with running_gateway(tmp_path, SHORT, scenario=scenario) as gateway:
        fails(gateway, "openai", LOST, 1)
        done = made_of(gateway, 3, MODELS["openai"])
        assert creations(gateway) == 2
        stopped = asked(gateway, "/cancel")
        assert len(stopped) == 1
        name = stopped[0].path.split("/")[-2]
        assert "too late" in done.penstock_reason
        assert name in done.penstock_reason


def test_a_look_that_fails_decides_nothing(tmp_path: Path):
    """A list that is refused for a while is neither a reason to send again, nor one to run the lines here."""
    with running_gateway(tmp_path, SHORT, scenario=Scenario(batch_delay_s=0.2)) as gateway:
        gateway.faults(
            {**LOST, "when": {"providers": ["openai"], "after": 1}},
            {"kind": "status", "status": 403, "count": 2, "when": {"providers": ["openai"], "after": 2}},
        )
        made_of(gateway, 2, MODELS["openai"])
        assert creations(gateway) == 1


def foreign(sim: Simulator, count: int) -> str:
    """Somebody else's batch at Anthropic, of as many requests, made now with the same key."""
    requests: Any = [
        {
            "custom_id": f"theirs-{n}",
            "params": {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
        }
        for n in range(count)
    ]  # fmt: skip
    url, key = f"{sim.url}/p/anthropic", SECRETS["ANTHROPIC_KEY"]
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        return client.messages.batches.create(requests=requests).id


def test_a_batch_without_a_name_is_told_from_anothers_by_its_results(tmp_path: Path):
    """Ours had arrived, or had not: the other is neither taken, nor cancelled, nor removed."""
    with running_gateway(tmp_path, SHORT, scenario=Scenario(batch_delay_s=1.5)) as gateway:
        for fault, sent in ((LOST, 1), (CUT, 2)):
            gateway.fresh()
            theirs = foreign(gateway.sim, 3)
            before = creations(gateway)
            fails(gateway, "anthropic", fault, 0)
            done = made_of(gateway, 3, MODELS["anthropic"])
            assert creations(gateway) - before == sent
            assert done.request_counts.completed == 3
            until_s = time.monotonic() + 10
            while not [one for one in gateway.sim.requests if one.method == "DELETE"]:
                assert time.monotonic() < until_s
                time.sleep(0.01)
            touched = [one.path for one in gateway.sim.requests if one.method in ("POST", "DELETE")]
            assert not any(theirs in path for path in touched)


def test_the_simulator_lists_late_and_in_pages():
    """OpenAI's and Anthropic's clients see it so."""
    with running_simulator(Scenario(batch_listed_after_s=1.5)) as sim:
        names = [foreign(sim, 1) for _ in range(3)]
        with anthropic.Anthropic(base_url=f"{sim.url}/p/anthropic", api_key="any", max_retries=0) as client:
            newest = foreign(sim, 1)
            assert newest not in [one.id for one in client.messages.batches.list(limit=2)]
            assert messages_done(client, newest).id == newest
            names = [newest, *names[::-1]]
            until(lambda: [one.id for one in client.messages.batches.list(limit=2)] == names)
            client.messages.batches.delete(names[1])
            assert [one.id for one in client.messages.batches.list(limit=1)] == [names[0], *names[2:]]
        with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="any", max_retries=0) as other:
            made = [begun(other, [line("a", "gpt-4o-mini")]).id for _ in range(3)]
            until(lambda: [one.id for one in other.batches.list(limit=2)] == made[::-1])
            file = other.files.create(file=("x.jsonl", json.dumps({}).encode()), purpose="batch")
            assert other.files.delete(file.id).deleted

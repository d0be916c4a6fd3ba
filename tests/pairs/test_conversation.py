"""Ten turns with two parallel tools in each, through every inlet to every provider's dialect, whole and streamed."""

import json

import pytest

from tests.behaviours.gateway import Gateway
from tests.pairs.drivers import DRIVERS, TOOLS
from tests.pairs.received import exchange, signatures
from tests.pairs.world import PLAIN, SIGNERS, ask

TURNS = 10
SIGNING = ("responses", "anthropic", "gemini", "vertex", "bedrock")
"""Makers of signatures."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("door", SIGNERS)
@pytest.mark.parametrize("inlet", DRIVERS)
def test_ten_turns_with_two_parallel_tools(gateway: Gateway, inlet: str, door: str, *, stream: bool) -> None:
    """Every turn is answered, results meet their calls in order, and a maker gets its signatures back."""
    driver = DRIVERS[inlet](inlet)
    for number in range(TURNS):
        driver.user(f"CALL_TOOLS 2 round {number}")
        answer = ask(gateway, inlet, SIGNERS[door], driver.body(), stream=stream)
        assert answer.status == 200, answer.body
        made = driver.read(answer, stream=stream)
        assert [(call.name, call.arguments) for call in made.calls] == [
            (TOOLS[0], {"city": "value-0"}),
            (TOOLS[1], {"city": "value-1"}),
        ]
        driver.results(made.calls, [f"sunny {number}a", f"high {number}b"])
        answer = ask(gateway, inlet, SIGNERS[door], driver.body(), stream=stream)
        assert answer.status == 200, answer.body
        said = driver.read(answer, stream=stream)
        assert said.calls == []
        assert 0 < said.text.index(f"sunny {number}a") < said.text.index(f"high {number}b")
    sent = [one for one in gateway.sim.requests if one.provider == door]
    assert len(sent) == 2 * TURNS
    last = json.loads(sent[-1].body)
    seen = exchange(door, last)
    assert [name for _, name in seen.calls] == list(TOOLS) * TURNS
    assert [one for one, _ in seen.results] == [one for one, _ in seen.calls]
    assert len({one for one, _ in seen.calls} - {""}) in (0, 2 * TURNS)
    assert [words for _, words in seen.results] == [
        words for number in range(TURNS) for words in (f"sunny {number}a", f"high {number}b")
    ]
    if door in SIGNING:
        assert signatures(last)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("door", PLAIN)
def test_ten_texts_by_completions(gateway: Gateway, door: str, *, stream: bool) -> None:
    """The oldest inlet has no turns and no tools: its prompt grows."""
    prompt = ""
    for number in range(TURNS):
        prompt += f"\nturn {number}"
        answer = ask(gateway, "completions", PLAIN[door], {"prompt": "ECHO" + prompt}, stream=stream)
        assert answer.status == 200, answer.body
        if stream:
            assert answer.done
            said = "".join(
                one["choices"][0]["text"]
                for one in answer.frames()
                if isinstance(one, dict) and one["choices"]
            )
        else:
            said = answer.json()["choices"][0]["text"]
        assert said.split() == prompt.split()

"""The gateway's own share of a call is its own: what it waited for, or a stream's own pace, is not counted in.

No figure of speed is asserted: a slow provider (half a second and more) is told apart from the gateway.
"""

import re
import time

import pytest

from penstock.simulate import Profile, Scenario
from tests.behaviours.gateway import WAIT_S, Gateway, chat

SCENARIO = Scenario(profiles={"*": Profile(ttft_ms=500, tokens_per_s=40, output_tokens=20)})
CHAIN = ["openai/gpt-4o-mini", "backup/gpt-4o-mini"]


def own_ms(headers: dict[str, str]) -> float:
    found = re.search(r"gateway;dur=([\d.]+), upstream;dur=([\d.]+)", headers["server-timing"])
    assert found is not None
    assert float(found[2]) >= 490, "the provider's half second is the upstream's"
    return float(found[1])


@pytest.mark.parametrize("stream", [False, True])
def test_a_slow_provider_is_not_our_share(gateway: Gateway, stream: bool):
    """Neither in ``server-timing`` nor in the ledger: not the wait for the head, not the pace of the stream."""
    answer = gateway.post(chat("openai/gpt-4o-mini", stream=stream))
    assert answer.status == 200
    call = gateway.ledger(answer.request_id).call
    assert call.latency_ms > 500
    assert own_ms(answer.headers) < 250
    assert 0 <= call.gateway_us < 250_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_attempt_is_waiting_too(gateway: Gateway, stream: bool):
    """What a provider took to fail is not the gateway's time."""
    gateway.faults({"kind": "early_close", "when": {"providers": ["openai"]}})
    answer = gateway.post(chat(CHAIN[0], stream=stream, fallbacks=CHAIN[1:]))
    assert answer.status == 200
    call = gateway.ledger(answer.request_id).call
    assert call.attempts == 2
    assert call.latency_ms > 700
    assert own_ms(answer.headers) < 400
    assert call.gateway_us < 400_000


def test_a_hang_up_while_waiting_is_not_our_share(gateway: Gateway):
    """A caller that gives up on a silent provider is recorded with the wait as a wait."""
    gateway.faults({"kind": "hang", "when": {"providers": ["openai"]}})
    stream = gateway.stream(chat("openai/gpt-4o-mini"))
    gateway.sim.wait_for(lambda received: received.provider == "openai")
    stream._sock.settimeout(0.6)
    with pytest.raises(TimeoutError):
        stream._more()
    stream.close()
    until_s = time.monotonic() + WAIT_S
    while (call := gateway.last_record().call).status != 499 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert call.status == 499
    assert call.latency_ms > 500
    assert call.gateway_us < 400_000

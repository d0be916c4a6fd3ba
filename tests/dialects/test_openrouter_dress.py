"""A provider's own bytes with OpenRouter's fields: nothing of them is lost, for any split of the stream."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.usage import Usage
from penstock.dialects.openai_chat import OPENAI, OPENROUTER
from penstock.wire.ports import Charge, Identity, Relay

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]%b}'
ASK = OPENROUTER.read_request(BODY % b"")
STREAM = OPENROUTER.read_request(BODY % b',"stream":true')


def charge(usage: Usage, served: str) -> Charge | None:
    return (
        Charge(usage.total_tokens * 1000, usage.prompt_tokens * 1000, usage.completion_tokens * 1000)
        if served
        else None
    )


IDENTITY = Identity("gen-1", 1, "m", "openai", charge, lambda: {"requested": "m"})
WHOLE = """{
 "id": "c1", "object": "chat.completion", "created": 1, "model": "m-1", "odd_field": [1.0, 1e3, "\\u00e9"],
 "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "reasoning_content": "hm"}, "finish_reason": "stop"}],
 "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "queue_time": 0.10}
}"""
CHUNKS: list[dict[str, Any]] = [
    {
        "id": "c1",
        "model": "m-1",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
    },
    {
        "id": "c1",
        "model": "m-1",
        "x": {"y": 1},
        "choices": [{"index": 0, "delta": {"content": "hé"}, "finish_reason": None}],
    },
    {"id": "c1", "model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {
        "id": "c1",
        "model": "m-1",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    },
]
WIRE = (
    b": waiting\n\n"
    + b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in CHUNKS)
    + b"data: [DONE]\n\n"
)


def dressed(*, stream: bool) -> Relay:
    ask = STREAM if stream else ASK
    return OPENROUTER.dress(OPENAI.relay(ask, stream=stream), ask, IDENTITY)


def test_a_whole_reply_keeps_every_field_and_the_spelling_of_numbers():
    relay = dressed(stream=False)
    relay.feed(WHOLE.encode())
    out = relay.close()
    assert b"[1.0, 1e3, " in out
    assert b'"queue_time":0.10' in out
    said = json.loads(out)
    assert {word: said[word] for word in ("id", "model", "odd_field", "provider", "system_fingerprint")} == {
        "id": "c1",
        "model": "m-1",
        "odd_field": [1.0, 1000.0, "é"],
        "provider": "openai",
        "system_fingerprint": None,
    }
    choice = said["choices"][0]
    assert choice["native_finish_reason"] == "stop"
    assert choice["message"]["reasoning"] == "hm"
    assert choice["message"]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0}
    ]
    assert said["usage"]["cost"] == 7e-6
    assert said["usage"]["cost_details"] == {
        "upstream_inference_cost": 7e-6,
        "upstream_inference_prompt_cost": 3e-6,
        "upstream_inference_completions_cost": 4e-6,
    }
    assert said["openrouter_metadata"] == {"requested": "m"}
    assert (relay.model, relay.stopped, relay.finished, relay.usage is not None) == (
        "m-1",
        "stop",
        True,
        True,
    )


def test_openrouters_own_fields_stay_and_its_cost_becomes_the_upstreams():
    body = json.loads(WHOLE)
    body |= {"provider": "Google"}
    body["choices"][0]["native_finish_reason"] = "STOP"
    body["usage"]["cost"] = 0.5
    relay = dressed(stream=False)
    relay.feed(json.dumps(body).encode())
    said = json.loads(relay.close())
    assert (said["provider"], said["choices"][0]["native_finish_reason"]) == ("Google", "STOP")
    assert (said["usage"]["cost"], said["usage"]["cost_details"]["upstream_inference_cost"]) == (7e-6, 0.5)


@given(st.lists(st.integers(0, len(WIRE)), max_size=12))
def test_any_split_of_a_stream_gives_the_same_bytes(cuts: list[int]):
    def fed(places: list[int]) -> bytes:
        relay = dressed(stream=True)
        edges = [0, *sorted(places), len(WIRE)]
        out = b"".join(relay.feed(WIRE[a:b]) for a, b in pairwise(edges))
        assert relay.content_seen
        return out + relay.close()

    out = fed(cuts)
    assert out == fed([])
    assert out.endswith(b"data: [DONE]\n\n")
    said = [json.loads(line[6:]) for line in out.split(b"\n") if line.startswith(b"data: {")]
    assert [one["provider"] for one in said] == ["openai"] * 4
    assert said[1]["x"] == {"y": 1}
    assert said[1]["choices"][0]["delta"] == {"content": "hé"}
    assert [c.get("native_finish_reason") for one in said for c in one["choices"]] == [None, None, "stop"]
    assert said[3]["usage"]["cost"] == 7e-6
    assert said[3]["openrouter_metadata"] == {"requested": "m"}


@pytest.mark.parametrize("served", ["", "m-1"])
def test_a_cost_that_is_not_known_is_left_out(served: str):
    body = {**json.loads(WHOLE), "model": served}
    relay = dressed(stream=False)
    relay.feed(json.dumps(body).encode())
    assert ("cost" in json.loads(relay.close())["usage"]) == bool(served)

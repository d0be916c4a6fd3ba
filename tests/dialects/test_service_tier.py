"""A provider's word for the class of service that it served reaches the usage, whole and streamed."""

import json

import pytest

from penstock.base.chat import Ask
from penstock.base.events import UsageSeen
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage, service_tier_of
from penstock.dialects.anthropic import ANTHROPIC
from penstock.dialects.gemini import GEMINI, VERTEX
from penstock.dialects.openai_chat import OPENAI

TARGET = Target("p", "m", "openai", ModelFacts("p", "m"))


def body(**fields) -> bytes:
    return json.dumps(fields).encode()


def last_usage(dialect, data: bytes, *, stream: bool) -> Usage:
    reader = dialect.reader(TARGET, stream=stream)
    seen = [event for event in [*reader.feed(data), *reader.close()] if isinstance(event, UsageSeen)]
    return seen[-1].usage


def test_the_list_price_has_many_names_and_one_spelling():
    """Standard, default and on demand are the list; what is not known stays itself, and so has no price."""
    words = (None, "", "auto", "default", "standard", "ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED", "unspecified")
    assert {service_tier_of(word) for word in words} == {""}
    assert service_tier_of("FLEX") == "flex"
    assert service_tier_of("PROVISIONED_THROUGHPUT") == "provisioned_throughput"


OPENAI_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@pytest.mark.parametrize("details", [{}, {"completion_tokens_details": {"reasoning_tokens": 1}}])
@pytest.mark.parametrize(("word", "tier"), [("flex", "flex"), ("default", ""), (None, "")])
def test_openai_says_it_beside_the_usage(word, tier, details):
    """On the reply, or on the chunks of a stream; relay and reader agree."""
    usage = OPENAI_USAGE | details
    message = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    whole = body(id="c", model="m", choices=[message], usage=usage, service_tier=word)
    delta = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    stream = b"".join(
        b"data: %b\n\n" % chunk
        for chunk in (
            body(id="c", model="m", choices=[delta], service_tier=word),
            body(id="c", model="m", choices=[], usage=usage),
            b"[DONE]",
        )
    )
    for data, streamed in ((whole, False), (stream, True)):
        relay = OPENAI.relay(Ask("openai", b"", "m", stream=streamed), stream=streamed)
        relay.feed(data)
        relay.close()
        assert relay.usage is not None
        assert relay.usage.service_tier == tier
        assert last_usage(OPENAI, data, stream=streamed) == relay.usage


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({"service_tier": "standard"}, ""),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
        ({"service_tier": "priority", "speed": "standard"}, "priority"),
        ({}, ""),
    ],
)
def test_anthropic_says_it_in_the_usage(said, tier):
    """At the start of a stream, where message_delta does not repeat it; fast mode is a class of its own."""
    usage = {"input_tokens": 3, "output_tokens": 2, **said}
    message = {"type": "message", "id": "i", "model": "m", "content": [{"type": "text", "text": "Hi"}]}
    whole = body(**message, stop_reason="end_turn", usage=usage)
    assert last_usage(ANTHROPIC, whole, stream=False).service_tier == tier
    start = {**message, "content": [], "usage": usage}
    frames = (
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    stream = b"".join(
        b"event: %b\ndata: %b\n\n" % (str(frame["type"]).encode(), body(**frame)) for frame in frames
    )
    assert last_usage(ANTHROPIC, stream, stream=True).service_tier == tier


@pytest.mark.parametrize(
    ("dialect", "said", "tier"),
    [
        (GEMINI, {"serviceTier": "priority"}, "priority"),
        (GEMINI, {"serviceTier": "standard"}, ""),
        (GEMINI, {}, ""),
        (VERTEX, {"trafficType": "ON_DEMAND"}, ""),
        (VERTEX, {"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        (VERTEX, {"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        (VERTEX, {"trafficType": "ON_DEMAND_OFFPEAK"}, "off_peak"),
        (VERTEX, {"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
    ],
)
def test_google_says_it_in_the_usage(dialect, said, tier):
    """AI Studio by its tier, Vertex by its kind of traffic."""
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5, **said}
    candidate = {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}
    reply = body(candidates=[candidate], usageMetadata=counts)
    assert last_usage(dialect, reply, stream=False).service_tier == tier
    assert last_usage(dialect, b"data: %b\r\n\r\n" % reply, stream=True).service_tier == tier

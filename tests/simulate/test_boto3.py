"""boto3's ``bedrock-runtime`` client, pointed straight at the simulator, understands all it says; its signature is checked."""

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import ClientError, EventStreamError

from penstock.simulate import Scenario, Simulator, running_simulator

MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkAAIAAAoAAv/lxKUAAAAASUVORK5CYII="
)
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "weather",
                "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
            }
        },
        {"toolSpec": {"name": "now", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
    ]
}
KEY, SECRET, TOKEN = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "session/token+with=marks",
)
LOCKED = {"locked": [f"{KEY}:{SECRET}", f"ASIAIOSFODNN7EXAMPLE:{SECRET}:{TOKEN}", "ABSKexample-api-key"]}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator(Scenario(keys=LOCKED)) as sim:
        yield sim


def client(sim: Simulator, name: str = "alpha", **more: Any) -> Any:
    given = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET} | more
    return boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=sim.provider_url(name),
        config=Config(retries={"total_max_attempts": 1}),
        **given,
    )


@pytest.fixture
def bedrock(sim: Simulator) -> Iterator[Any]:
    sim.clear()
    made = client(sim)
    yield made
    made.close()


def say(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


def ask(bedrock: Any, text: str = "hi", **more: Any) -> dict[str, Any]:
    return bedrock.converse(**({"modelId": MODEL, "messages": say(text)} | more))


def refused(bedrock: Any, **more: Any) -> str:
    with pytest.raises(bedrock.exceptions.ValidationException) as caught:
        ask(bedrock, **more)
    return caught.value.response["Error"]["Message"]


def test_a_message_and_what_the_client_sent(sim: Simulator, bedrock: Any) -> None:
    """Text, stop reason, usage that adds up; the model's id comes out of the escaped path."""
    reply = ask(bedrock, "ECHO hi there", inferenceConfig={"maxTokens": 100})
    assert reply["output"]["message"] == {"role": "assistant", "content": [{"text": "hi there"}]}
    assert reply["stopReason"] == "end_turn"
    usage = reply["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    received = sim.requests[0]
    assert (received.dialect, received.model, received.key) == ("bedrock", MODEL, KEY)


def test_a_stream_with_thinking_and_tools(bedrock: Any) -> None:
    """Every frame passes botocore's own check sums; the blocks come in order, the usage last."""
    stream = bedrock.converse_stream(
        modelId=MODEL,
        messages=say("CALL_TOOLS 2"),
        toolConfig=TOOLS,
        inferenceConfig={"maxTokens": 4000},
        additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 1024}},
    )["stream"]
    with closing(stream):
        events = list(stream)
    kinds = [next(iter(event)) for event in events]
    assert (kinds[0], kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
    deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
    thoughts = [d["delta"]["reasoningContent"] for d in deltas if "reasoningContent" in d["delta"]]
    assert "".join(thought.get("text", "") for thought in thoughts)
    assert thoughts[-1]["signature"]
    starts = [
        event["contentBlockStart"]["start"]["toolUse"]["name"]
        for event in events
        if "contentBlockStart" in event
    ]
    assert starts == ["weather", "now"]
    first = "".join(d["delta"]["toolUse"]["input"] for d in deltas if d["contentBlockIndex"] == 1)
    assert first == '{"city":"value-0"}'
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"
    assert events[-1]["metadata"]["usage"]["totalTokens"] > 0


def test_a_tool_loop_with_thinking_needs_the_block_unchanged(bedrock: Any) -> None:
    """The turn goes on with the signed block; changed it is refused."""
    more = {
        "toolConfig": TOOLS,
        "inferenceConfig": {"maxTokens": 4000},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }
    first = ask(bedrock, "CALL_TOOLS 2", **more)["output"]["message"]
    ids = [block["toolUse"]["toolUseId"] for block in first["content"] if "toolUse" in block]
    results = [
        {"toolResult": {"toolUseId": one, "content": [{"text": f"r{i}"}]}} for i, one in enumerate(ids)
    ]
    turns = [*say("CALL_TOOLS 2"), first, {"role": "user", "content": results}]
    reply = ask(bedrock, messages=turns, **more)
    assert reply["output"]["message"]["content"][-1]["text"] == "The tools said: r0 | r1"
    first["content"][0]["reasoningContent"]["reasoningText"]["text"] += "!"
    assert "signature" in refused(bedrock, messages=turns, **more)
    assert "Expected toolResult blocks" in refused(
        bedrock, messages=[*turns[:2], {"role": "user", "content": results[:1]}], **more
    )


def test_pictures_files_and_cache_points(bedrock: Any) -> None:
    """Blobs travel as base64; a marked prompt is written the first time and read the second."""
    content = [
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"document": {"format": "pdf", "name": "a report", "source": {"bytes": b"%PDF-1.4"}}},
        {"text": "ECHO seen"},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
    ]
    turns = [{"role": "user", "content": content}]
    first, second = (ask(bedrock, messages=turns)["usage"] for _ in range(2))
    assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 0
    assert first["cacheDetails"] == [{"ttl": "1h", "inputTokens": first["cacheWriteInputTokens"]}]
    assert (
        second["totalTokens"]
        == second["inputTokens"] + second["outputTokens"] + second["cacheReadInputTokens"]
    )
    content[1]["document"]["name"] = "bad_name.pdf"
    assert "file name" in refused(bedrock, messages=turns)


def test_structured_output_and_refusals(bedrock: Any) -> None:
    """A schema as JSON text; what Converse does not take is a ValidationException."""
    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
    form = {
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "a"}}}
    }
    assert ask(bedrock, outputConfig=form)["output"]["message"]["content"][0]["text"].startswith('{"n":')
    assert "alternate" in refused(bedrock, messages=[*say("a"), *say("b")])
    assert "blank" in refused(bedrock, messages=say(" "))
    assert "toolConfig" in refused(
        bedrock,
        messages=[
            *say("a"),
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "x", "name": "y", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "x", "content": [{"text": "z"}]}}]},
        ],
    )


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (429, "ThrottlingException"),
        (503, "ServiceUnavailableException"),
        (404, "ResourceNotFoundException"),
        (403, "AccessDeniedException"),
        (500, "InternalServerException"),
    ],
)
def test_errors_are_boto3s_own_exceptions(sim: Simulator, bedrock: Any, status: int, name: str) -> None:
    """By their type's header and status."""
    sim.set_faults([{"kind": "status", "status": status}])
    with pytest.raises(getattr(bedrock.exceptions, name)) as caught:
        ask(bedrock)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def streamed(bedrock: Any) -> Any:
    return bedrock.converse_stream(modelId=MODEL, messages=say("hi"))["stream"]


def test_an_exception_in_a_stream_and_a_broken_frame(sim: Simulator, bedrock: Any) -> None:
    """The client raises both."""
    sim.set_faults([{"kind": "error_mid_stream", "status": 429, "after": 2}])
    with closing(streamed(bedrock)) as stream, pytest.raises(EventStreamError, match="throttlingException"):
        list(stream)
    sim.set_faults([{"kind": "malformed", "after": 1}])
    with closing(streamed(bedrock)) as stream, pytest.raises(ChecksumMismatch):
        list(stream)


def served(sim: Simulator, **more: Any) -> bool:
    """Whether the provider with listed keys answers a client of its own."""
    with closing(client(sim, "locked", **more)) as locked:
        return ask(locked)["stopReason"] == "end_turn"


def test_the_signature_is_checked(sim: Simulator) -> None:
    """Right pair, right session token, right API key: served. Anything else: refused by name."""
    sim.clear()
    assert served(sim)
    temporary = {"aws_access_key_id": "ASIAIOSFODNN7EXAMPLE", "aws_session_token": TOKEN}
    assert served(sim, **temporary)
    for wrong, code in (
        ({"aws_secret_access_key": SECRET.lower()}, "InvalidSignatureException"),
        ({"aws_access_key_id": "AKIAUNKNOWN000000000"}, "UnrecognizedClientException"),
        ({**temporary, "aws_session_token": "old"}, "UnrecognizedClientException"),
    ):
        with pytest.raises(ClientError) as caught:
            served(sim, **wrong)
        assert caught.value.response["Error"]["Code"] == code


def test_an_api_key_is_a_bearer(sim: Simulator) -> None:
    """AWS_BEARER_TOKEN_BEDROCK as boto3 would send it, were this HTTPS (over HTTP it refuses to)."""
    url = f"{sim.provider_url('locked')}/model/{quote(MODEL, safe='')}/converse"
    for key, status in (("ABSKexample-api-key", 200), ("wrong", 403)):
        with httpx.Client() as http:
            reply = http.post(url, json={"messages": say("hi")}, headers={"authorization": f"Bearer {key}"})
        assert reply.status_code == status
        assert sim.requests[-1].key == key
    assert reply.headers["x-amzn-errortype"] == "UnrecognizedClientException"
    with httpx.Client() as http:
        reply = http.post(url, json={"messages": say("hi")})
    assert reply.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"

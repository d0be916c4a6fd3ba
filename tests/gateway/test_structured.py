"""Answers in a strict schema are judged, repaired where that is configured, and else refused; the judge cannot be hung."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.behaviours.gateway import Gateway, Scripted, chat, running_gateway

from penstock.base.errors import UpstreamError
from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_chat import OPENAI
from penstock.gateway.oversight import Overseen
from penstock.gateway.structured import Judge, fault_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "integer"}}},
    "required": ["a"],
    "additionalProperties": False,
}
RIGHT, WRONG = '{"a": [1, 2]}', '{"a": [1, "two"]}'
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}
CONFIG = """
providers:
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{scripted}", retry: {max_retries: 2}}
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", retry: {max_retries: 2}}
"""
PASSED = "openai/gpt-4o-mini"
MODEL = "anthropic/claude-haiku-4-5"


class InTurn(Scripted):
    """Says one thing for each request."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[list[bytes | float | None]] = []

    def _request(self, sock: Any) -> None:
        super()._request(sock)
        self.says = self.turns.pop(0)

    def answers(self, *texts: str, stream: bool, stop: str = "end_turn") -> None:
        self.turns.clear()
        self.bodies.clear()
        for text in texts:
            usage = {"input_tokens": 100, "output_tokens": 10}
            message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5"}
            if not stream:
                block = {"type": "text", "text": text}
                self.whole({**message, "content": [block], "stop_reason": stop, "usage": usage})
            else:
                frames: list[dict[str, Any]] = [
                    {"type": "message_start", "message": {**message, "content": [], "usage": usage}},
                    {
                        "type": "content_block_start",
                        "index": 0,
                        "content_block": {"type": "text", "text": ""},
                    },
                    *(
                        {
                            "type": "content_block_delta",
                            "index": 0,
                            "delta": {"type": "text_delta", "text": piece},
                        }
                        for piece in (text[:4], text[4:])
                    ),
                    {"type": "content_block_stop", "index": 0},
                    {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage},
                    {"type": "message_stop"},
                ]
                events = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in frames]
                self.sse(*events)
            self.turns.append(self.says)

    def chats(self, *texts: str, stream: bool, stop: str = "stop", joined: bool = False) -> None:
        """The same in OpenAI's own words; ``joined``: the end comes in one piece with the rest."""
        self.turns.clear()
        self.bodies.clear()
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        head = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
        for text in texts:
            if not stream:
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": stop,
                }
                self.whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
            else:
                deltas: list[dict[str, Any]] = [
                    *({"delta": {"content": piece}, "finish_reason": None} for piece in (text[:4], text[4:])),
                    {"delta": {}, "finish_reason": stop},
                ]
                chunk = {**head, "object": "chat.completion.chunk"}
                frames: list[dict[str, Any]] = [{**chunk, "choices": [{"index": 0, **one}]} for one in deltas]
                last: dict[str, Any] = {**chunk, "choices": [], "usage": usage}
                said = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in [*frames, last]]
                said.append(b"data: [DONE]\n\n")
                self.sse(*([b"".join(said)] if joined else said))
            self.turns.append(self.says)


@pytest.fixture(scope="module")
def scripted() -> Iterator[InTurn]:
    upstream = InTurn()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory, scripted: InTurn) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("judging"), CONFIG, scripted=scripted.url) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def repairing(tmp_path_factory: pytest.TempPathFactory, scripted: InTurn) -> Iterator[Gateway]:
    config = CONFIG + "structured_output: {repair: true}\n"
    with running_gateway(tmp_path_factory.mktemp("repairing"), config, scripted=scripted.url) as gateway:
        yield gateway


either = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def _asked(stream: bool, **more: Any) -> dict[str, Any]:
    return chat(MODEL, "numbers", response_format=FORMAT, stream=stream, **more)


@either
def test_a_right_answer_goes_through(judging: Gateway, scripted: InTurn, stream: bool) -> None:
    scripted.answers(RIGHT, stream=stream)
    answer = judging.post(_asked(stream))
    assert answer.status == 200, answer.body
    assert answer.text() == RIGHT


def test_a_wrong_answer_is_an_honest_error_and_paid(judging: Gateway, scripted: InTurn) -> None:
    scripted.answers(WRONG, stream=False)
    answer = judging.post(_asked(stream=False))
    assert answer.status == 502
    assert answer.error["code"] == "structured_output_invalid"
    assert "$.a[1]" in answer.error["message"]
    assert len(scripted.bodies) == 1
    entry = judging.entry(answer.request_id)
    assert (entry.input, entry.output) == (100, 10)
    assert entry.cost_nusd


def test_a_wrong_stream_ends_in_the_error(judging: Gateway, scripted: InTurn) -> None:
    scripted.answers(WRONG, stream=True)
    answer = judging.post(_asked(stream=True))
    assert answer.status == 200
    assert answer.text() == WRONG
    assert not answer.done
    error = answer.stream_error()
    assert error is not None
    assert error["code"] == "structured_output_invalid"


@either
def test_it_is_repaired_once_as_an_attempt_of_its_own(
    repairing: Gateway, scripted: InTurn, stream: bool
) -> None:
    scripted.answers(WRONG, RIGHT, stream=stream)
    answer = repairing.post(_asked(stream))
    assert answer.status == 200, answer.body
    assert answer.text() == RIGHT
    assert "output-repaired" in answer.headers["x-penstock-adjusted"]
    record = repairing.ledger(answer.request_id)
    assert [entry.output for entry in record.entries] == [10, 10]
    said = json.loads(scripted.bodies[1])["messages"]
    assert [turn["role"] for turn in said] == ["user", "assistant", "user"]
    assert WRONG in json.dumps(said[1]).replace('\\"', '"')
    assert "$.a[1]" in json.dumps(said[2])


@either
def test_and_not_twice(repairing: Gateway, scripted: InTurn, stream: bool) -> None:
    scripted.answers(WRONG, WRONG, stream=stream)
    answer = repairing.post(_asked(stream))
    assert answer.status == 502
    assert answer.error["code"] == "structured_output_invalid"
    assert len(scripted.bodies) == 2


@either
def test_what_was_cut_is_no_claim(judging: Gateway, scripted: InTurn, stream: bool) -> None:
    scripted.answers(WRONG[:8], stream=stream, stop="max_tokens")
    answer = judging.post(_asked(stream))
    assert answer.status == 200, answer.body
    assert answer.finish() == "length"


def _passing(stream: bool, **more: Any) -> dict[str, Any]:
    return chat(PASSED, "numbers", **{"response_format": FORMAT, "stream": stream, **more})


@either
def test_what_is_passed_through_is_judged_and_left_as_it_is(
    judging: Gateway, scripted: InTurn, stream: bool
) -> None:
    """A right answer leaves byte for byte; the request does, too."""
    scripted.chats(RIGHT, stream=stream)
    sent = b"".join(part for part in scripted.turns[0] if isinstance(part, bytes)).partition(b"\r\n\r\n")[2]
    answer = judging.post(_passing(stream, odd_field=1) if not stream else _passing(stream))
    assert answer.status == 200, answer.body
    if stream:
        assert answer.done
        assert answer.text() == RIGHT
        assert answer.finish() == "stop"
    else:
        assert answer.body == sent
    entry = judging.entry(answer.request_id)
    assert (entry.input, entry.output) == (100, 10)


@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_a_wrong_stream_that_is_passed_through_has_no_end(
    judging: Gateway, scripted: InTurn, joined: bool
) -> None:
    """What was said has left; neither its finish reason nor the mark of success has."""
    scripted.chats(WRONG, stream=True, joined=joined)
    answer = judging.post(_passing(stream=True))
    assert not answer.done
    if joined and answer.status != 200:
        assert answer.error["code"] == "structured_output_invalid"
        return
    assert answer.text() == WRONG
    assert answer.finish() is None
    error = answer.stream_error()
    assert error is not None
    assert error["code"] == "structured_output_invalid"


def test_a_wrong_answer_that_is_passed_through_is_an_honest_error_and_paid(
    judging: Gateway, scripted: InTurn
) -> None:
    scripted.chats(WRONG, stream=False)
    answer = judging.post(_passing(stream=False))
    assert (answer.status, answer.error["code"]) == (502, "structured_output_invalid")
    assert len(scripted.bodies) == 1
    entry = judging.entry(answer.request_id)
    assert (entry.input, entry.output) == (100, 10)
    assert entry.cost_nusd


@either
def test_what_is_passed_through_is_repaired_by_a_translation(
    repairing: Gateway, scripted: InTurn, stream: bool
) -> None:
    scripted.chats(WRONG, RIGHT, stream=stream)
    answer = repairing.post(_passing(stream))
    assert answer.status == 200, answer.body
    assert answer.text() == RIGHT
    assert "output-repaired" in answer.headers["x-penstock-adjusted"]
    assert [entry.output for entry in repairing.ledger(answer.request_id).entries] == [10, 10]
    said = json.loads(scripted.bodies[1])
    assert said["response_format"] == FORMAT
    assert [turn["role"] for turn in said["messages"]] == ["user", "assistant", "user"]
    scripted.chats(WRONG, WRONG, stream=stream)
    answer = repairing.post(_passing(stream))
    assert (answer.status, answer.error["code"]) == (502, "structured_output_invalid")


@pytest.mark.parametrize(
    "more",
    [{"n": 2}, {"response_format": {"type": "json_object"}}, {"response_format": None}],
    ids=["several", "any", "none"],
)
def test_what_is_not_asked_for_is_not_judged(
    judging: Gateway, scripted: InTurn, more: dict[str, Any]
) -> None:
    """Of several answers none is; the others are no strict ones."""
    scripted.chats(WRONG, stream=False)
    assert judging.post(_passing(stream=False, **more)).status == 200


@either
def test_what_was_cut_is_passed_through(repairing: Gateway, scripted: InTurn, stream: bool) -> None:
    """Also where all of it was held."""
    scripted.chats(WRONG[:8], stream=stream, stop="length")
    answer = repairing.post(_passing(stream))
    assert answer.status == 200, answer.body
    assert (answer.text(), answer.finish()) == (WRONG[:8], "length")


def test_anthropics_own_answers_are_judged_too(judging: Gateway, scripted: InTurn) -> None:
    """Its callers mean every schema."""
    body = {
        "model": MODEL,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "numbers"}],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    for text, status in ((RIGHT, 200), (WRONG, 502)):
        scripted.answers(text, stream=False)
        answer = judging.post(body, "/v1/messages", {"anthropic-version": "2026-10-21"})
        assert answer.status == status, answer.body
    assert "$.a[1]" in answer.json()["error"]["message"]


def test_a_mere_wish_is_not_judged(judging: Gateway, scripted: InTurn) -> None:
    scripted.answers(WRONG, stream=False)
    loose = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    assert judging.post(chat(MODEL, "x", response_format=loose)).status == 200


def test_switched_off(tmp_path: Path, scripted: InTurn) -> None:
    config = CONFIG + "structured_output: {validate: false}\n"
    with running_gateway(tmp_path, config, scripted=scripted.url) as gateway:
        scripted.answers(WRONG, stream=False)
        assert gateway.post(_asked(stream=False)).status == 200


def test_geminis_callers_mean_every_schema(judging: Gateway, scripted: InTurn) -> None:
    scripted.answers(WRONG, stream=False)
    body = {
        "contents": [{"role": "user", "parts": [{"text": "numbers"}]}],
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
    }
    answer = judging.post(body, f"/v1beta/models/{MODEL}:generateContent")
    assert answer.status == 502, answer.body
    assert "$.a[1]" in answer.json()["error"]["message"]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(_json)
def test_the_judge_agrees_with_the_library(value: Any) -> None:
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert (fault_of(json.dumps(value), SCHEMA) is None) == valid


BOMB = {
    "$defs": {**{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}, "d40": {}},
    "$ref": "#/$defs/d0",
}


@pytest.mark.parametrize(
    "schema",
    [
        BOMB,
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"type": "nonsense"},
        {"required": 5},
        {"pattern": "^(a+)+$"},
        {"patternProperties": {"^(a+)+$": False}, "additionalProperties": False},
        {"unevaluatedProperties": False, "patternProperties": {"^(a+)+$": True}},
    ],
    ids=["bomb", "loop", "elsewhere", "nonsense", "odd", "pattern", "names", "rest"],
)
def test_no_schema_hangs_the_judge(schema: dict[str, Any]) -> None:
    """Left unjudged: what is odd, what points elsewhere, and what would take for ever."""
    hostile = "a" * 64 + "!"
    assert fault_of(json.dumps(hostile), schema) is None
    assert fault_of(json.dumps({hostile: 1}), schema) is None


@given(st.text(max_size=40))
def test_any_text_has_a_verdict(text: str) -> None:
    fault = fault_of(text, SCHEMA)
    assert fault is None or fault.path.startswith("$")


@given(st.lists(st.integers(0, 600), max_size=8), st.booleans(), st.sampled_from([RIGHT, WRONG]))
def test_any_split_of_a_stream_has_the_same_verdict(cuts: list[int], hold: bool, text: str) -> None:
    """A right answer leaves whole, byte for byte; of a wrong one never its end."""
    model = Target("openai", "gpt-4o-mini", "openai", ModelFacts("openai", "gpt-4o-mini"))
    chunk = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[%s]}'
    deltas = [json.dumps({"index": 0, "delta": {"content": piece}, "finish_reason": None}) for piece in text]
    end = json.dumps({"index": 0, "delta": {}, "finish_reason": "stop"})
    wire = "".join(f"data: {chunk % one}\n\n" for one in (*deltas, end)).encode() + b"data: [DONE]\n\n"
    ask = OPENAI.read_request(json.dumps({**chat("gpt-4o-mini", "x"), "stream": True}).encode())
    relay = Overseen(
        OPENAI.relay(ask, stream=True),
        OPENAI.reader(model, stream=True),
        Judge(SCHEMA, hold=hold),
        stream=True,
    )
    places = sorted({0, len(wire), *(cut * len(wire) // 600 for cut in cuts)})
    out, error = b"", None
    try:
        for start, stop in pairwise(places):
            out += relay.feed(wire[start:stop])
            assert not (hold and out and not relay.finished)
        out += relay.close()
    except UpstreamError as failed:
        error = failed
    if text == RIGHT:
        assert error is None
        assert out.count(b'finish_reason": "stop') == 1
        assert out.endswith(b"[DONE]\n\n")
        assert relay.finished
    else:
        assert error is not None
        assert error.code == "structured_output_invalid"
        assert b"[DONE]" not in out
        assert b'"stop"' not in out
        assert not relay.finished

"""Anthropic's callers against their golden files: requests for every dialect, replies as stream and as whole message."""

import json

import msgspec
import pytest

from penstock.base.chat import ChatRequest
from penstock.dialects import UPSTREAMS
from penstock.wire.http import WireRequest
from tests.dialects import harness
from tests.dialects import messages_kit as kit

CASES = harness.cases("messages")
REQUESTS = [case for case in CASES if "caller" in case.parts]
REPLIES = [case for case in CASES if "events" in case.parts]
each_request = pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
each_reply = pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)


def ordered(text: bytes) -> object:
    """JSON whose comparison sees the order of keys, and every digit of a number."""
    return json.loads(text, object_pairs_hook=list, parse_float=str)


def check(case: harness.Case, part: str, wire: WireRequest, adjusted: tuple[str, ...]) -> None:
    head, _, body = case.parts[part].partition(b"\n\n")
    lines = [wire.method + b" " + wire.path, *(name + b": " + value for name, value in wire.headers)]
    assert b"\n".join(lines) == head
    assert ordered(wire.body) == ordered(body)
    assert adjusted == case.options[part]


@each_request
def test_a_callers_request_is_read_as_its_golden_file_says(case: harness.Case) -> None:
    """The neutral request, every field of it."""
    wanted = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    assert kit.expanded(kit.case_ask(case)) == wanted


@each_request
@pytest.mark.parametrize("dialect", kit.MODELS)
def test_each_provider_gets_it_in_its_own_words(case: harness.Case, dialect: str) -> None:
    """Method, path, headers, body with the order of its keys, and the words of what was changed."""
    ask = kit.case_ask(case)
    wire = kit.written(ask, dialect)
    words = tuple(dict.fromkeys(kit.expanded(ask).adjusted + wire.adjusted))
    check(case, dialect, wire, words)


@each_request
def test_anthropic_gets_the_callers_own_bytes(case: harness.Case) -> None:
    """Only the model's name differs, and thoughts that another provider signed."""
    ask = kit.case_ask(case)
    wire = UPSTREAMS["anthropic"].splice_request(ask, kit.target("anthropic"), "KEY")  # type: ignore[attr-defined]
    check(case, "spliced", wire, wire.adjusted)
    if not wire.adjusted:
        assert wire.body == ask.body.replace(b'"model":"m"', b'"model":"claude-sonnet-4-6"')


@each_reply
def test_a_reply_is_written_as_its_golden_file_says(case: harness.Case) -> None:
    """In one go, and event by event; and the whole message."""
    events = case.events
    stream = case.parts["stream"]
    assert kit.writer().write(events) == stream
    assert kit.frames(stream)[-1] == {"type": "message_stop"}
    assert ordered(kit.writer().whole(events)) == ordered(case.parts["whole"])


@each_reply
def test_the_official_client_makes_the_whole_message_of_the_stream(case: harness.Case) -> None:
    """Its accumulator and the non-streamed body agree, but for what only message_start says."""
    streamed = kit.accumulated(case.parts["stream"]).to_dict()
    whole = json.loads(case.parts["whole"])
    for message in (streamed, whole):
        message["usage"].pop("output_tokens_details")
    assert streamed == whole

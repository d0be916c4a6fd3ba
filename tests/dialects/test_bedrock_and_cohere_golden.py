"""Bedrock and Cohere against their golden files: requests as written, whole replies and Cohere's streams as read.

(Bedrock's streams are binary: their frames are made in test_bedrock_reply.)
"""

import json

import msgspec
import pytest

from penstock.base.chat import ChatRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects import UPSTREAMS
from penstock.wire.ports import ReplyReader
from tests.dialects import harness

CASES = [(dialect, case) for dialect in ("bedrock", "cohere") for case in harness.cases(dialect)]
REQUESTS = [pair for pair in CASES if "neutral" in pair[1].parts]
REPLIES = [pair for pair in CASES if "wire-reply" in pair[1].parts]


def target(dialect: str, model: str) -> Target:
    return Target(dialect, model, dialect, ModelFacts(dialect, model))


def ordered(text: bytes) -> object:
    """JSON whose comparison sees the order of keys, and every digit of a number."""
    return json.loads(text, object_pairs_hook=list, parse_float=str)


def named(pair: object) -> str:
    return f"{pair[0]}-{pair[1].name}" if isinstance(pair, tuple) else ""


@pytest.mark.parametrize("pair", REQUESTS, ids=named)
def test_a_neutral_request_is_written_as_its_golden_file_says(pair: tuple[str, harness.Case]) -> None:
    """Method, path, headers, body with the order of its keys, and the words of ``adjusted``."""
    name, case = pair
    dialect = UPSTREAMS[name]
    request = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    goal = target(name, request.model)
    assert dialect.refuse(request, goal) is None
    wire = dialect.write_request(request, goal, "KEY")
    head, _, body = case.parts["wire-request"].partition(b"\n\n")
    lines = [wire.method + b" " + wire.path, *(key + b": " + value for key, value in wire.headers)]
    assert b"\n".join(lines) == head
    assert ordered(wire.body) == ordered(body)
    assert wire.adjusted == case.options["wire-request"]


@pytest.mark.parametrize("pair", REPLIES, ids=named)
def test_behaviour_02_a_reply_gives_the_same_events_in_any_split(pair: tuple[str, harness.Case]) -> None:
    """Whole, byte by byte, in random cuts; and no cut of it passes for a whole one."""
    name, case = pair

    def reader() -> ReplyReader:
        return UPSTREAMS[name].reader(target(name, "anthropic.claude-haiku-4-5"), stream=case.stream)

    harness.check_any_split(reader, case.reply, case.events)
    end = case.reply.rfind(b"data: [DONE]") if case.stream else -1
    harness.check_truncation(
        reader, case.reply, len(case.reply[:end].rstrip() if end > 0 else case.reply.rstrip())
    )

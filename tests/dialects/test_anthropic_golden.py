"""Anthropic's dialect against its golden files: requests as written, replies in any split and cut at every byte."""

import json

import msgspec
import pytest

from penstock.base.chat import ChatRequest
from penstock.base.errors import UpstreamError
from penstock.base.events import Event, Lawful, fold
from penstock.base.models import ModelFacts, Target
from penstock.dialects.anthropic import ANTHROPIC
from penstock.wire.ports import ReplyReader
from tests.dialects import harness

CASES = harness.cases("anthropic")
REQUESTS = [case for case in CASES if "neutral" in case.parts]
REPLIES = [case for case in CASES if "wire-reply" in case.parts and "raises" not in case.parts]
FAILURES = [case for case in CASES if "raises" in case.parts]


def target(model: str) -> Target:
    return Target(
        provider="anthropic", model=model, dialect="anthropic", facts=ModelFacts("anthropic", model)
    )


def reader(case: harness.Case) -> ReplyReader:
    return ANTHROPIC.reader(target("claude-haiku-4-5"), stream=case.stream)


def ordered(text: bytes) -> object:
    """JSON whose comparison sees the order of keys, and every digit of a number."""
    return json.loads(text, object_pairs_hook=list, parse_float=str)


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_a_neutral_request_is_written_as_its_golden_file_says(case: harness.Case) -> None:
    """Method, path, headers, body with the order of its keys, and the words of ``adjusted``."""
    request = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    goal = target(request.model)
    assert ANTHROPIC.refuse(request, goal) is None
    wire = ANTHROPIC.write_request(request, goal, "KEY")
    head, _, body = case.parts["wire-request"].partition(b"\n\n")
    lines = [wire.method + b" " + wire.path, *(name + b": " + value for name, value in wire.headers)]
    assert b"\n".join(lines) == head
    assert ordered(wire.body) == ordered(body)
    assert wire.adjusted == case.options["wire-request"]


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)
def test_behaviour_02_a_reply_gives_the_same_events_in_any_split(case: harness.Case) -> None:
    """Whole, byte by byte (inside UTF-8 characters too), and in random cuts."""
    harness.check_any_split(lambda: reader(case), case.reply, case.events)


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)
def test_behaviour_05_a_cut_reply_is_never_taken_for_a_whole_one(case: harness.Case) -> None:
    """Every cut before the last byte of the terminal frame's data is an error; the blank line may be missing."""
    complete = len(case.reply.rstrip(b"\r\n"))
    harness.check_truncation(lambda: reader(case), case.reply, complete)


def _play_failing(case: harness.Case, chunks: list[bytes]) -> tuple[list[Event], UpstreamError]:
    player, law, seen = reader(case), Lawful(), []
    steps = [*(lambda chunk=chunk: player.feed(chunk) for chunk in chunks), player.close]
    try:
        for step in steps:
            for event in step():
                law.see(event)
                seen.append(event)
    except UpstreamError as error:
        return seen, error
    raise AssertionError("the failure was not noticed")


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.name)
def test_behaviour_09_an_error_inside_a_200_is_raised_and_loses_no_event(case: harness.Case) -> None:
    """Whole or byte by byte: the events before it, then the right class, status and code."""
    name, status, code = json.loads(case.parts["raises"])
    for chunks in ([case.reply], [case.reply[i : i + 1] for i in range(len(case.reply))]):
        events, error = _play_failing(case, chunks)
        assert harness.squash(events) == harness.squash(case.events)
        assert (type(error).__name__, error.status, error.code) == (name, status, code)


def test_stream_and_whole_reply_of_the_same_message_say_the_same() -> None:
    """The twins differ only in where the usage comes from and how fragments are cut."""
    by_name = {case.name: case for case in REPLIES}
    for name in ("text", "refusal", "cache-usage"):
        one, two = fold(by_name[name].events), fold(by_name[f"{name}-whole"].events)
        assert one.stopped == two.stopped
        assert one.refusal == two.refusal
        assert one.usage is not None
        assert two.usage is not None
        assert one.usage.total_tokens == two.usage.total_tokens

"""Gemini against its golden files: requests byte for byte, replies in any split, truncated at every byte."""

import msgspec
import pytest

from penstock.base.chat import ChatRequest
from penstock.base.events import fold
from penstock.base.models import ModelFacts, Target
from penstock.dialects.gemini import GEMINI, VERTEX, Gemini
from penstock.dialects.gemini.reply import GeminiReader
from penstock.wire.http import WireRequest
from tests.dialects.harness import Case, cases, check_any_split, check_truncation, play

ALL = cases("gemini")
REQUESTS = [case for case in ALL if "wire-request" in case.parts]
REPLIES = [case for case in ALL if "wire-reply" in case.parts]


def spoken(case: Case) -> tuple[Gemini, Target]:
    """Who the case is for: ``--- neutral vertex model=...``; AI Studio and 2.5 Flash if it does not say."""
    options = case.options.get("neutral", ())
    model = next((o.removeprefix("model=") for o in options if o.startswith("model=")), "gemini-2.5-flash")
    dialect = VERTEX if "vertex" in options else GEMINI
    place = {"project": "my-project", "location": "us-east5"} if "vertex" in options else {}
    return dialect, Target(dialect.name, model, dialect.name, ModelFacts(dialect.name, model), options=place)


def shown(wire: WireRequest) -> bytes:
    """A request as golden files show it."""
    lines = [wire.method + b" " + wire.path, *(name + b": " + value for name, value in wire.headers)]
    lines.append(b"adjusted: " + ", ".join(wire.adjusted).encode())
    return b"\n".join([*lines, b"", msgspec.json.format(wire.body, indent=2)])


def complete_from(case: Case) -> int:
    """The byte from which on a cut body is whole: its last brace, or the end of the frame with the finish."""
    body = case.reply
    if not body.startswith(b"data:"):
        return len(body.rstrip())
    mark = min(at for at in (body.find(b'"finishReason"'), body.find(b'"blockReason"')) if at >= 0)
    return body.find(b"\r" if "crlf" in case.options["wire-reply"] else b"\n", mark)


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_request_is_written_as_recorded(case: Case):
    """Path, headers and body, key order included (behaviour 19)."""
    request = msgspec.json.decode(case.parts["neutral"], type=ChatRequest)
    dialect, target = spoken(case)
    assert dialect.refuse(request, target) is None
    wire = dialect.write_request(request, target, "KEY")
    assert shown(wire).decode() == case.parts["wire-request"].decode().rstrip("\n")


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)
def test_behaviour_02_reply_is_the_same_in_any_split(case: Case):
    """Whole, byte by byte, in random cuts."""
    check_any_split(lambda: GeminiReader("Gemini", stream=case.stream), case.reply, case.events)


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)
def test_behaviour_05_truncated_reply_is_said_to_be_broken(case: Case):
    """A cut at every byte: an error before the finish reason, a proper end after it; never an invented end."""
    check_truncation(lambda: GeminiReader("Gemini", stream=case.stream), case.reply, complete_from(case))


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.name)
def test_behaviour_03_last_event_without_its_blank_line_counts(case: Case):
    """A body that ends at its last brace gives the same events, usage included."""
    whole = play(GeminiReader("Gemini", stream=case.stream), [case.reply])
    cut = play(GeminiReader("Gemini", stream=case.stream), [case.reply.rstrip()])
    assert cut == whole


def test_streamed_and_whole_twins_say_the_same():
    """The same reply, streamed and not, folds to the same text, tools and usage."""
    by_name = {case.name: case for case in REPLIES}
    twins = [name for name in by_name if name.endswith("-stream") and name[:-7] + "-whole" in by_name]
    assert len(twins) >= 3
    for name in twins:
        stream, whole = fold(by_name[name].events), fold(by_name[name[:-7] + "-whole"].events)
        assert (stream.text, stream.tools, stream.media) == (whole.text, whole.tools, whole.media), name
        assert stream.stopped == whole.stopped, name
        assert msgspec.structs.replace(stream.usage, source="provider") == whole.usage, name

"""Several answers to one request, between the two formats that have them: each keeps its own words, calls and end."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import ChatRequest, Message, Text
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamFault, UpstreamTruncated
from penstock.base.events import Aside, Event, Finished, Folded, Stopped, TextDelta, UsageSeen, fold
from penstock.base.models import ModelFacts, Target
from penstock.dialects import CALLERS
from penstock.dialects.gemini import GEMINI, GeminiCall
from penstock.dialects.openai_chat import OPENAI
from penstock.wire.ports import Identity, ReplyReader
from tests.dialects.harness import play

IDENTITY = Identity("gen-1", 1_700_000_000, "a/model")
OPENAI_MODEL = Target("openai", "gpt-4o-mini", "openai", ModelFacts("openai", "gpt-4o-mini"))
USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
COUNTS = {"promptTokenCount": 7, "candidatesTokenCount": 9, "totalTokenCount": 16}


def gemini_model(name: str = "gemini-2.5-flash") -> Target:
    return Target("gemini", name, "gemini", ModelFacts("gemini", name))


def openai_reader(*, stream: bool = True) -> ReplyReader:
    return OPENAI.reader(OPENAI_MODEL, stream=stream)


def gemini_reader(*, stream: bool = True) -> ReplyReader:
    return GEMINI.reader(gemini_model(), stream=stream)


def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def openai_wire(said: list[tuple[int, str]], count: int) -> bytes:
    """Words of each choice in this order; each ends after its last one, in the order of the list."""
    last = {index: place for place, (index, _) in enumerate(said)}
    out = [chunk(index, {"role": "assistant", "content": ""}) for index in range(count)]
    for place, (index, text) in enumerate(said):
        out.append(chunk(index, {"content": text}))
        if last[index] == place:
            out.append(chunk(index, {}, "stop"))
    out += [chunk(index, {}, "length") for index in range(count) if index not in last]
    out.append(
        b"data: " + json.dumps({"id": "c", "model": "m", "choices": [], "usage": USAGE}).encode() + b"\n\n"
    )
    return b"".join([*out, b"data: [DONE]\n\n"])


def gemini_wire(said: list[tuple[int, str]], count: int) -> bytes:
    rows: list[list[dict[str, Any]]] = [
        [{"content": {"parts": [{"text": text}]}, "index": index}] for index, text in said
    ]
    rows.append([{"finishReason": "STOP", "index": index} for index in range(count)])
    bodies: list[dict[str, Any]] = [
        {"candidates": row, "modelVersion": "m", "responseId": "r"} for row in rows
    ]
    bodies[-1]["usageMetadata"] = COUNTS
    return b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(wire), *(place * len(wire) // 1000 for place in places)})
    return [wire[start:end] for start, end in pairwise(edges)]


def answers(folded: Folded) -> dict[int, str]:
    return {0: folded.text, **{index: one.text for index, one in folded.asides.items()}}


def openai_writer(*, n: int = 2, stream: bool = True) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "n": n, "stream": stream}
    body |= {"stream_options": {"include_usage": True}} if stream else {}
    return OPENAI.writer(OPENAI.read_request(json.dumps(body).encode()), IDENTITY)


def gemini_writer() -> Any:
    call = GeminiCall("a/model", "sse")
    ask = call.read_request(b'{"contents":"x","generationConfig":{"candidateCount":2}}')
    return call.writer(ask, IDENTITY)


SAID = st.lists(st.tuples(st.integers(0, 2), st.text('ab \n"\\é', min_size=1, max_size=4)), max_size=12)


@pytest.mark.parametrize("source", ["openai", "gemini"])
@given(said=SAID, places=st.lists(st.integers(0, 1000), max_size=6))
def test_any_split_keeps_each_answer_its_own(
    source: str, said: list[tuple[int, str]], places: list[int]
) -> None:
    """Read, written in both formats, read again: the same words, the same ends, the same usage."""
    want = {index: "".join(text for at, text in said if at == index) for index in range(3)}
    if source == "openai":
        events = play(openai_reader(), cut(openai_wire(said, 3), places))
    else:
        events = play(gemini_reader(), cut(gemini_wire(said, 3), places))
    folded = fold(events)
    assert {**dict.fromkeys(range(3), ""), **answers(folded)} == want
    assert folded.usage is not None
    assert (folded.usage.prompt_tokens, folded.usage.completion_tokens) == (7, 9)
    assert all(one.stopped is not None for one in (folded, *folded.asides.values()))
    for writer, make in ((openai_writer(), openai_reader), (gemini_writer(), gemini_reader)):
        wire = b"".join(writer.write([event]) for event in events)
        again = fold(play(make(), [wire]))
        assert {**dict.fromkeys(range(3), ""), **answers(again)} == want
        assert again.usage is not None
        assert again.usage.total_tokens == 16
        assert {index: one.stopped and one.stopped.why for index, one in again.asides.items()} == {
            index: one.stopped and one.stopped.why for index, one in folded.asides.items()
        }


@given(SAID, st.integers(0, 999))
def test_a_cut_stream_is_never_a_whole_one(said: list[tuple[int, str]], place: int) -> None:
    """Before all answers have ended there is no end."""
    for wire, make, end in (
        (openai_wire(said, 3), openai_reader, b'"finish_reason": "'),
        (gemini_wire(said, 3), gemini_reader, b"finishReason"),
    ):
        part = wire[: place * len(wire) // 1000]
        try:
            events = play(make(), [part])
        except UpstreamError:
            continue
        assert part.count(end) >= (3 if make is openai_reader else 1)
        assert events[-1] == Finished()


def test_a_whole_reply_of_openais_is_one_of_geminis():
    """Tool calls have their own ids in each answer; the reasons for the ends are each answer's."""
    call = {"id": "", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "one"}, "finish_reason": "stop"},
        {
            "index": 1,
            "message": {"role": "assistant", "content": None, "tool_calls": [call]},
            "finish_reason": "tool_calls",
        },
        {"index": 2, "message": {"role": "assistant", "content": "th"}, "finish_reason": "length"},
    ]
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": USAGE,
    }
    events = play(openai_reader(stream=False), [json.dumps(body).encode()])
    shown = json.loads(gemini_writer().whole(events))
    assert [one["index"] for one in shown["candidates"]] == [0, 1, 2]
    assert [one["finishReason"] for one in shown["candidates"]] == ["STOP", "STOP", "MAX_TOKENS"]
    assert shown["candidates"][0]["content"]["parts"] == [{"text": "one"}]
    made = shown["candidates"][1]["content"]["parts"][0]["functionCall"]
    assert (made["name"], made["args"]) == ("f", {"a": 1})
    assert made["id"]
    assert shown["usageMetadata"]["totalTokenCount"] == 16


def test_a_whole_reply_of_geminis_is_one_of_openais():
    candidates: list[dict[str, Any]] = [
        {"content": {"parts": [{"text": "one"}]}, "finishReason": "STOP"},
        {
            "content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]},
            "finishReason": "STOP",
            "index": 1,
        },
        {
            "content": {"parts": [{"text": "t", "thought": True}, {"text": "no"}]},
            "finishReason": "SAFETY",
            "index": 2,
        },
    ]
    body = {"candidates": candidates, "usageMetadata": COUNTS, "modelVersion": "m", "responseId": "r"}
    events = play(gemini_reader(stream=False), [json.dumps(body).encode()])
    shown = json.loads(openai_writer(stream=False).whole(events))
    assert [one["finish_reason"] for one in shown["choices"]] == ["stop", "tool_calls", "content_filter"]
    assert [one["message"]["content"] for one in shown["choices"]] == ["one", None, "no"]
    assert shown["choices"][2]["message"]["reasoning"] == "t"
    assert shown["choices"][1]["message"]["tool_calls"][0]["function"]["name"] == "f"
    assert shown["usage"]["total_tokens"] == 16


def test_one_answer_that_fails_fails_the_reply():
    """All of them were asked for; an answer without an end is a broken wire."""
    failed = {"finishReason": "MALFORMED_FUNCTION_CALL", "index": 1}
    good = {"content": {"parts": [{"text": "one"}]}, "finishReason": "STOP"}
    with pytest.raises(UpstreamFault, match="answer 1"):
        play(gemini_reader(stream=False), [json.dumps({"candidates": [good, failed]}).encode()])
    open_ended = {"content": {"parts": [{"text": "two"}]}, "index": 1}
    with pytest.raises(UpstreamTruncated, match="answer 1"):
        play(gemini_reader(stream=False), [json.dumps({"candidates": [good, open_ended]}).encode()])
    with pytest.raises(UpstreamError, match="error"):
        play(openai_reader(), [chunk(0, {"content": "a"}) + chunk(1, {}, "error") + b"data: [DONE]\n\n"])


def test_a_reply_that_is_cut_ends_all_answers():
    """As a budget does it: the events of the end are the first answer's alone."""
    begun: list[Event] = [*play(openai_reader(), [openai_wire([(0, "a"), (1, "b")], 2)])]
    begun = [one for one in begun if not isinstance(one, Stopped | Finished | UsageSeen)]
    begun = [one for one in begun if not (isinstance(one, Aside) and isinstance(one.event, Stopped))]
    end: list[Event] = [Stopped("length", "budget"), Finished()]
    for writer, make in ((openai_writer(), openai_reader), (gemini_writer(), gemini_reader)):
        folded = fold(play(make(), [writer.write(begun) + writer.write(end)]))
        assert folded.stopped is not None
        assert folded.asides[1].stopped is not None
        assert (folded.stopped.why, folded.asides[1].stopped.why) == ("length", "length")
    caller = CALLERS["completions"]
    ask = caller.read_request(b'{"model":"m","prompt":"say ","n":2,"stream":true,"echo":true}')
    shown = caller.writer(ask, IDENTITY).write([*begun, *end]).decode()
    rows = [json.loads(row[6:]) for row in shown.split("\n\n") if row.startswith("data: {")]
    texts = {0: "", 1: ""}
    for row in rows:
        texts[row["choices"][0]["index"]] += row["choices"][0]["text"]
    assert texts == {0: "say a", 1: "say b"}
    assert sum(one["choices"][0]["finish_reason"] == "length" for one in rows) == 2
    whole = json.loads(caller.writer(ask, IDENTITY).whole([*begun, Aside(1, TextDelta("!")), *end]))
    assert [one["text"] for one in whole["choices"]] == ["say a", "say b!"]


@pytest.mark.parametrize(
    ("model", "n", "refused"),
    [
        ("gemini-2.5-flash", 8, False),
        ("gemini-2.5-flash", 9, True),
        ("gemini-3.8-flash", 2, True),
        ("gemini-3.5-flash-lite", 2, True),
        ("gemini-3.5-pro", 2, False),
    ],
)
def test_how_many_google_gives(model: str, n: int, refused: bool) -> None:
    request = ChatRequest("m", (Message("user", (Text("x"),)),), n=n)
    no = GEMINI.refuse(request, gemini_model(model))
    assert (isinstance(no, Rejected) and no.code == "n-unsupported") == refused
    if not refused:
        wire = GEMINI.write_request(request, gemini_model(model), "k")
        assert json.loads(wire.body)["generationConfig"]["candidateCount"] == n

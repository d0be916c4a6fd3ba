"""A Responses caller's request: read, expanded, passed through, and kept."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from penstock.base.chat import Audio, Document, Image, Message, Text, Thinking, ToolCall, ToolResult
from penstock.base.errors import BadRequest
from penstock.base.events import (
    Event,
    Finished,
    Started,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolStarted,
    fold,
)
from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_responses import RESPONSES, ResponsesCaller
from penstock.dialects.openai_responses.envelope import ResponsesAsk, read_envelope, with_history
from penstock.dialects.openai_responses.expand import expand
from penstock.dialects.openai_responses.forward import place_of
from penstock.dialects.openai_responses.kept import conversation, read_turn, turn_of
from penstock.dialects.openai_responses.proof import MARK, seal
from penstock.wire.ports import Identity

TARGET = Target("openai", "gpt-5", "responses", ModelFacts("openai", "gpt-5"))
ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)


def ask(given_input: Any = "hi", **more: Any) -> ResponsesAsk:
    return read_envelope(json.dumps({"model": "m", "input": given_input, **more}).encode())


def messages(given_input: Any) -> tuple[Message, ...]:
    return expand(ask(given_input)).messages


def test_every_kind_of_item_has_its_place() -> None:
    """Easy forms and whole ones; what one assistant did in a row is one message; results know their tool's name."""
    sound = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
    found = messages(
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Look"}, sound]},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_file", "file_url": "https://x/a.pdf"}],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "c1", "name": "see", "arguments": '{"a":1}'},
            {"type": "custom_tool_call", "call_id": "c2", "name": "shell", "input": "ls"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {
                "type": "custom_tool_call_output",
                "call_id": "c2",
                "output": [
                    {"type": "input_text", "text": "two"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBO"},
                ],
            },
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ]
    )
    assert found == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Look"), Audio("UklG", "wav"))),
        Message("user", (Document(url="https://x/a.pdf"),)),
        Message(
            "assistant",
            (
                Thinking("Hm."),
                Text("I look."),
                ToolCall("c1", "see", '{"a":1}'),
                ToolCall("c2", "shell", '{"input":"ls"}'),
            ),
        ),
        Message("tool", (ToolResult("c1", "see", "one"),)),
        Message("tool", (ToolResult("c2", "shell", "two", images=(Image(data="iVBO", mime="image/png"),)),)),
        Message("assistant", (Text("No."),)),
    )


words = st.text(min_size=1, max_size=6)
blocks = st.one_of(
    st.builds(lambda text: [TextDelta(text)], words),
    st.builds(
        lambda text, proof: [
            ThinkingDelta(text),
            ThinkingDelta(signature=proof, format="anthropic-claude-v1"),
        ],
        words,
        words,
    ),
    st.builds(lambda data: [ThinkingDelta(redacted=data, format="anthropic-claude-v1")], words),
    st.builds(
        lambda proof: [ThinkingDelta(signature=proof, format="google-gemini-v1", tool_id="call_0")], words
    ),
    st.builds(
        lambda text, data: [
            ThinkingDelta(text, format="openai-responses-v1"),
            ThinkingDelta(redacted=data, format="openai-responses-v1", tool_id="rs_77"),
        ],
        words,
        words,
    ),
)


@settings(deadline=None, max_examples=80)
@given(st.lists(blocks, max_size=4), st.integers(0, 3), st.booleans())
def test_what_was_answered_comes_back_as_it_was(made: list[list[Event]], calls: int, summary: bool) -> None:
    """Thoughts with their maker's proof, words and calls survive the way through the caller's items."""
    content = [event for block in made for event in block]
    for index in range(calls):
        content += [ToolStarted(index, f"call_{index}", "see"), ToolArgs(index, f'{{"n":{index}}}')]
    events: list[Event] = [Started("m"), *content, Stopped("stop"), Finished()]
    caller = ResponsesCaller()
    wish = {"reasoning": {"summary": "auto"}} if summary else {}
    caller.read_request(json.dumps({"model": "m", "input": "hi", **wish}).encode())
    assert caller.ask is not None
    whole = json.loads(caller.writer(caller.ask, Identity("gen-1", 0, "m")).whole(events))
    results = [{"type": "function_call_output", "call_id": f"call_{n}", "output": "x"} for n in range(calls)]
    back = messages([{"role": "user", "content": "hi"}, *whole["output"], *results])
    said = [part for message in back if message.role == "assistant" for part in message.parts]
    folded = fold(events)
    assert "".join(part.text for part in said if isinstance(part, Text)) == folded.text
    assert [(part.id, part.arguments) for part in said if isinstance(part, ToolCall)] == [
        (tool.id, tool.arguments) for tool in folded.tools
    ]
    proofs = [
        (block.format, block.signature, block.redacted, block.tool_id)
        for block in content
        if isinstance(block, ThinkingDelta) and (block.signature or block.redacted)
    ]
    kept = [part for part in said if isinstance(part, Thinking)]
    assert [
        (part.format, part.signature, part.redacted, part.tool_id)
        for part in kept
        if part.signature or part.redacted
    ] == proofs
    thought = "".join(event.text for event in content if isinstance(event, ThinkingDelta))
    assert "".join(part.text for part in kept) == thought


def test_what_goes_through_keeps_its_bytes() -> None:
    """Order, spaces, spelling of numbers and unknown fields; ours are taken out, and said."""
    body = b'{ "tools":[{"type":"web_search"}], "x_new": 1.50, "model": "a/b" ,"input":"hi","transforms":[]}'
    one = read_envelope(body)
    wire = RESPONSES.splice_request(one, TARGET, "KEY")
    assert wire.body == b'{ "tools":[{"type":"web_search"}], "x_new": 1.50, "model": "gpt-5" ,"input":"hi"}'
    assert (wire.path, wire.adjusted) == (b"/responses", ("transforms-dropped",))
    with pytest.raises(BadRequest) as refused:
        RESPONSES.splice_request(read_envelope(b'{"model":"a","model":"b","input":"x"}'), TARGET, "KEY")
    assert refused.value.code == "duplicate_field"


def test_a_targets_own_parameters_have_this_apis_names() -> None:
    """They are written by the names of OpenAI's chat; null takes the caller's away."""
    own = msgspec.structs.replace(
        TARGET, overrides={"max_tokens": 50, "reasoning_effort": "low", "temperature": None, "model": "no"}
    )
    wire = RESPONSES.splice_request(ask("hi", temperature=1, max_output_tokens=9), own, "KEY")
    assert json.loads(wire.body) == {
        "model": "gpt-5",
        "input": "hi",
        "max_output_tokens": 50,
        "reasoning": {"effort": "low"},
    }


def test_a_kept_conversation_goes_to_openai_without_what_it_cannot_know() -> None:
    """No ids, no thoughts of other makers; its own encrypted ones stay. ``previous_response_id`` is not passed on."""
    sealed = seal(ThinkingDelta(redacted="gBBBB", format="openai-responses-v1", tool_id="rs_77"))
    kept = [
        {"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": "one"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": f"{MARK}e30="},
        {"type": "reasoning", "id": "rs_3", "summary": []},
        {"type": "reasoning", "id": "rs_4", "summary": [], "encrypted_content": sealed},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "see", "arguments": "{}"},
    ]
    new = [{"type": "function_call_output", "call_id": "c", "output": "x"}]
    one = ask(new, previous_response_id="resp_1")
    with_history(one, [json.dumps(item).encode() for item in kept])
    sent = json.loads(RESPONSES.splice_request(one, TARGET, "KEY").body)
    assert "previous_response_id" not in sent
    assert sent["input"] == [
        {"type": "message", "role": "user", "content": "one"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "reasoning", "id": "rs_77", "summary": [], "encrypted_content": "gBBBB"},
        {"type": "function_call", "call_id": "c", "name": "see", "arguments": "{}"},
        *new,
    ]
    one.native = place_of(TARGET, "KEY")
    at_home = json.loads(RESPONSES.splice_request(one, TARGET, "KEY").body)
    assert (at_home["previous_response_id"], at_home["input"]) == ("resp_1", new)
    elsewhere = json.loads(RESPONSES.splice_request(one, TARGET, "OTHER").body)
    assert elsewhere == sent
    assert "KEY" not in place_of(TARGET, "KEY")


def test_foreign_thoughts_that_a_caller_gives_back_do_not_reach_openai() -> None:
    """They could not be decrypted there; it is told."""
    items = [{"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": f"{MARK}e30="}]
    wire = RESPONSES.splice_request(ask([*items, {"role": "user", "content": "x"}]), TARGET, "KEY")
    assert json.loads(wire.body)["input"] == [{"role": "user", "content": "x"}]
    assert wire.adjusted == ("thinking-dropped",)


def test_half_a_conversation_is_refused() -> None:
    """Where nobody has fetched what came before, nothing is sent."""
    one = ask("go on", previous_response_id="resp_1")
    with pytest.raises(BadRequest, match="resp_1"):
        expand(one)
    with pytest.raises(BadRequest, match="resp_1"):
        RESPONSES.splice_request(one, TARGET, "KEY")


def test_a_turn_is_kept_and_listed_by_the_clients_type() -> None:
    """Every item gets a type, an id and a status; the conversation is input and output, in order."""
    items: list[Any] = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/a.png"}]},
        {"type": "function_call", "call_id": "c", "name": "see", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"type": "reasoning", "id": "rs_1"},
    ]
    one = ask(items, previous_response_id="resp_0")
    one.final = b'{"id":"resp_9","status":"completed","output":[{"type":"message","id":"msg_9"}]}'
    name, meta, body = turn_of(one)
    turn = read_turn(body)
    listed = [json.loads(bytes(item)) for item in turn.input]
    for item in listed:
        ITEM.validate_python(item)
    assert len({item["id"] for item in listed}) == len(items)
    assert (name, meta["previous"], meta["status"]) == ("resp_9", "resp_0", "completed")
    assert bytes(turn.response) == one.final
    assert [json.loads(item)["id"] for item in conversation([turn])] == [*(i["id"] for i in listed), "msg_9"]
    text = ask("just words")
    text.final = one.final
    [only] = read_turn(turn_of(text)[2]).input
    assert json.loads(bytes(only))["content"] == [{"type": "input_text", "text": "just words"}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[1]", None),
        (b'{"model":"m"}', "input"),
        (b'{"input":"hi"}', "model"),
        (b'{"model":"m","input":7}', "input"),
        (b'{"model":"m","input":"hi","tools":{}}', "tools"),
        (b'{"model":"m","input":"hi","reasoning":{"effort":"huge"}}', "reasoning.effort"),
        (b'{"model":"m","input":"hi","max_output_tokens":0}', "max_output_tokens"),
        (b'{"model":"m","input":"hi","metadata":{"a":"' + b"x" * 600 + b'"}}', "metadata"),
    ],
)
def test_a_body_that_cannot_be_read_names_its_field(body: bytes, param: str | None) -> None:
    """At the door, before anything is asked of anybody."""
    with pytest.raises(BadRequest) as refused:
        read_envelope(body)
    assert refused.value.param == param


def test_the_envelope_knows_what_the_target_needs() -> None:
    """Senses, tools, a schema; a picture's base64 is not what the model reads, a kept conversation is."""
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 50_000}
    one = ask(
        [{"role": "user", "content": [picture]}],
        tools=[{"type": "function", "name": "f"}],
        text={"format": {"type": "json_schema", "name": "x", "schema": {}}},
        models=["a/b"],
        provider={"only": ["a"]},
        user="ann",
        metadata={"sku": "12"},
    )
    assert one.needs == {"image", "tools", "json_schema"}
    assert one.input_bytes < 3000
    assert (one.models, one.provider.only if one.provider else ()) == (("a/b",), ("a",))
    assert (one.user, one.metadata) == ("ann", {"sku": "12"})
    before = one.input_bytes
    with_history(one, [b'{"role":"user","content":"' + b"x" * 1000 + b'"}'])
    assert one.input_bytes - before > 1000

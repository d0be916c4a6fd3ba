"""A caller's request as the neutral form."""

from typing import Any

import msgspec
import pytest

from penstock.base.chat import (
    Ask,
    Audio,
    Document,
    Image,
    Message,
    ResponseFormat,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from penstock.base.errors import BadRequest
from penstock.dialects.openai_chat import OPENAI

USER = {"role": "user", "content": "Hello, how are you today?"}


def ask_of(**fields: Any) -> Ask:
    """The envelope of a small request with these fields."""
    return OPENAI.read_request(
        msgspec.json.encode({"model": "openai/gpt-4o-mini", "messages": [USER], **fields})
    )


def refused(**fields: Any) -> BadRequest:
    """The refusal of such a request."""
    with pytest.raises(BadRequest) as caught:
        OPENAI.expand(ask_of(**fields))
    assert caught.value.status == 400
    return caught.value


def parts_of(*content: Any, role: str = "user") -> tuple[Any, ...]:
    """The neutral parts of one message."""
    return OPENAI.expand(ask_of(messages=[{"role": role, "content": list(content)}])).messages[0].parts


def test_roles_and_system_by_either_name() -> None:
    messages = [
        {"role": "system", "content": "S"},
        {"role": "developer", "content": [{"type": "text", "text": "D"}], "name": "boss"},
        {"role": "user", "content": "U", "name": "ann"},
        {"role": "assistant", "content": "A"},
    ]
    assert OPENAI.expand(ask_of(messages=messages)).messages == (
        Message("system", (Text("S"),)),
        Message("system", (Text("D"),), "boss"),
        Message("user", (Text("U"),), "ann"),
        Message("assistant", (Text("A"),)),
    )


def test_parts_of_every_kind() -> None:
    assert parts_of(
        {"type": "text", "text": "T", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "H", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "P", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}},
        {"type": "image_url", "image_url": "https://x.example/2.png"},
        {"type": "input_audio", "input_audio": {"data": "BB==", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,CC==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "DD==", "filename": "b.PDF"}},
        {"type": "file", "file": {"file_data": "https://x.example/c.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ) == (
        Text("T", "5m"),
        Text("H", "1h"),
        Text("P", "5m"),
        Image(data="AA==", mime="image/webp", detail="low"),
        Image(url="https://x.example/1.png"),
        Image(url="https://x.example/2.png"),
        Audio("BB==", "mp3"),
        Document(data="CC==", mime="application/pdf", filename="a.pdf"),
        Document(data="DD==", mime="application/pdf", filename="b.PDF"),
        Document(url="https://x.example/c.pdf"),
        Document(file_id="file-1"),
    )


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ([{"type": "video_url", "video_url": {}}], "messages[0].content[0].type"),
        ([{"type": "text"}], "messages[0].content[0]"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": 1}], "messages[0].content[1].text"),
        (
            [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
            "messages[0].content[0].image_url",
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png,raw"}}],
            "messages[0].content[0].image_url",
        ),
        ([{"type": "file", "file": {}}], "messages[0].content[0].file"),
        (5, "messages[0].content"),
    ],
)
def test_a_wrong_part_is_named_by_its_place(content: Any, param: str) -> None:
    assert refused(messages=[{"role": "user", "content": content}]).param == param


def test_a_system_message_with_a_picture_is_refused() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}}
    assert refused(messages=[{"role": "system", "content": [picture]}]).param == "messages[0].content[0]"


def test_a_tool_loop_knows_the_names_of_its_results() -> None:
    calls = [
        {
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": '{"n":12345678901234567890123}'},
        },
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/1.png"}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "A"}, picture]},
    ]
    assert OPENAI.expand(ask_of(messages=messages)).messages[1:] == (
        Message("assistant", (ToolCall("a", "f", '{"n":12345678901234567890123}'), ToolCall("b", "g", ""))),
        Message("tool", (ToolResult("b", "g", "B"),)),
        Message("tool", (ToolResult("a", "f", "A", images=(Image(url="https://x.example/1.png"),)),)),
    )
    unknown = [*messages, {"role": "tool", "tool_call_id": "zz", "content": "?"}]
    assert refused(messages=unknown).param == "messages[4].tool_call_id"


def test_legacy_functions() -> None:
    request = OPENAI.expand(
        ask_of(
            messages=[
                USER,
                {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "function", "name": "f", "content": "42"},
            ],
            functions=[{"name": "f", "parameters": {"type": "object"}}],
            function_call={"name": "f"},
        )
    )
    assert request.messages[1:] == (
        Message("assistant", (ToolCall("call_1", "f", "{}"),)),
        Message("tool", (ToolResult("call_1", "f", "42"),)),
    )
    assert [tool.name for tool in request.tools] == ["f"]
    assert request.tool_choice == ToolChoice("named", ("f",))
    orphan = [USER, {"role": "function", "name": "f", "content": "42"}]
    assert refused(messages=orphan).param == "messages[1].name"


def test_behaviour_16_reasoning_echoed_back_becomes_thinking_in_front() -> None:
    details = [
        {"type": "reasoning.text", "text": "one ", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "text": "two", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "signature": "S", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "R", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.encrypted", "data": "G", "id": "a", "format": "google-gemini-v1", "index": 2},
        {"type": "reasoning.summary", "summary": "sum", "format": "openai-responses-v1", "index": 3},
    ]
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Hi", "tool_calls": [call], "reasoning": "one two"}
    expanded = OPENAI.expand(ask_of(messages=[USER, message | {"reasoning_details": details}]))
    assert expanded.messages[1].parts == (
        Thinking("one two", "S", "anthropic-claude-v1"),
        Thinking(redacted="R", format="anthropic-claude-v1"),
        Thinking(signature="G", format="google-gemini-v1", tool_id="a"),
        Thinking("sum", format="openai-responses-v1"),
        Text("Hi"),
        ToolCall("a", "f", "{}"),
    )
    for field in ("reasoning", "reasoning_content"):
        plain = {"role": "assistant", "content": "Hi", field: "hm"}
        assert OPENAI.expand(ask_of(messages=[USER, plain])).messages[1].parts == (Thinking("hm"), Text("Hi"))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", ("f",))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "function", "name": "g"},
                    ],
                },
            },
            ToolChoice("named", ("f", "g")),
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]},
            },
            ToolChoice("auto", ("f",)),
        ),
    ],
)
def test_behaviour_18_every_form_of_tool_choice(choice: Any, expected: ToolChoice) -> None:
    assert OPENAI.expand(ask_of(tool_choice=choice)).tool_choice == expected


def test_tools_only_openai_has_are_refused_where_they_cannot_go() -> None:
    assert refused(tools=[{"type": "custom", "custom": {"name": "x"}}]).param == "tools[0].type"
    assert refused(tool_choice={"type": "custom", "custom": {"name": "x"}}).param == "tool_choice.type"
    call = {"id": "a", "type": "custom", "custom": {"name": "x", "input": "y"}}
    turns = [USER, {"role": "assistant", "tool_calls": [call]}]
    assert refused(messages=turns).param == "messages[1].tool_calls[0]"


def test_behaviour_19_a_tool_s_schema_keeps_its_order_and_its_big_numbers() -> None:
    schema = {"zeta": {"b": 1, "a": 2}, "type": "object", "maximum": 123456789012345678901234567890}
    function = {"name": "f", "description": "D", "parameters": schema, "strict": True}
    tool = OPENAI.expand(ask_of(tools=[{"type": "function", "function": function}])).tools[0]
    assert msgspec.json.encode(tool.parameters) == msgspec.json.encode(schema)
    assert (tool.name, tool.description, tool.strict) == ("f", "D", True)


def test_parameters_and_extras() -> None:
    request = OPENAI.expand(
        ask_of(
            temperature=0,
            stop="END",
            seed=7,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"a": 1}, "strict": True},
            },
            logit_bias={"50256": -100},
            verbosity="low",
            plugins=[{"id": "web"}],
            provider={"options": {}, "sort": "price", "order": ["x"]},
            models=["y"],
            max_tokens=3,
            max_completion_tokens=4,
        )
    )
    assert (request.temperature, request.stop, request.seed, request.max_tokens) == (0.0, ("END",), 7, 4)
    assert request.response_format == ResponseFormat("json_schema", {"a": 1}, "n", True)
    assert request.extras == {
        "openai": {
            "logit_bias": {"50256": -100},
            "verbosity": "low",
            "plugins": [{"id": "web"}],
            "provider.options": True,
        }
    }


def test_limits_of_the_neutral_form() -> None:
    assert refused(stop=["a", "b", "c", "d", "e"]).param == "stop"
    assert refused(max_tokens=0).param == "max_tokens"
    assert refused(response_format={"type": "json_schema"}).param == "response_format.json_schema"
    assert refused(response_format={"type": "grammar"}).param == "response_format.type"


def test_words_that_are_not_utf_8_are_refused_not_crashed_on() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe and more"}]}'
    with pytest.raises(BadRequest, match="not valid UTF-8"):
        OPENAI.expand(OPENAI.read_request(body))


def test_reading_never_changes_the_caller_s_bytes() -> None:
    body = b' { "model" : "m" , "messages" : [ {"role":"user","content":"hi there, you"} ] , "temperature" : 1.10 } '
    ask = OPENAI.read_request(body)
    OPENAI.expand(ask)
    assert ask.body is body

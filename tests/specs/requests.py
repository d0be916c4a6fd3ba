"""Chat requests of every kind that the neutral form has, for the tests of this folder."""

from hypothesis import strategies as st

from penstock.base.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
PDF = "JVBERi0xLjQK"
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "minLength": 2, "description": "a word"},
        "b": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    },
    "required": ["a"],
    "additionalProperties": False,
}
TEXTS = st.one_of(st.sampled_from(["", " ", "\n"]), st.text(min_size=1, max_size=8))
CACHE = st.sampled_from([None, None, "5m", "1h"])
text_parts = st.builds(Text, TEXTS, CACHE)
media: st.SearchStrategy[Part] = st.sampled_from(
    [
        Image(data=PNG, mime="image/png", detail="low"),
        Image(url="https://pictures.example/a.png"),
        Image(data=PNG, mime="image/png", cache="5m"),
        Document(data=PDF, mime="application/pdf", filename="a.pdf"),
        Document(data=PDF, mime="application/pdf"),
        Document(data="aGVsbG8=", mime="text/plain", filename="a.txt"),
        Document(url="https://papers.example/a.pdf", mime="application/pdf"),
        Audio(data="UklGRg==", format="wav"),
        Video(data="AAAA", mime="video/mp4", start_s=1.0, end_s=2.5, fps=1.0),
        Video(url="https://films.example/a.mp4", mime="video/mp4"),
    ]
)
thinking: st.SearchStrategy[Part] = st.sampled_from(
    [
        Thinking("hm", "c2ln", "anthropic-claude-v1"),
        Thinking(redacted="xx", format="anthropic-claude-v1"),
        Thinking("hm", "c2ln", "google-gemini-v1"),
        Thinking("hm", "c2ln", "openai-responses-v1"),
        Thinking("hm"),
    ]
)
IDS = st.sampled_from(["a", "call_1", "c.d:0", ""])
calls = st.builds(
    ToolCall, IDS, st.sampled_from(["f", "g"]), st.sampled_from(["", "{}", '{"x": 1}', "{bad", "null", "[1]"])
)
results = st.builds(
    ToolResult,
    IDS,
    st.just("f"),
    TEXTS,
    st.booleans(),
    st.sampled_from([(), (Image(data=PNG, mime="image/png"),)]),
)


def _parts(*kinds: st.SearchStrategy[Part]) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(st.one_of(*kinds), max_size=3).map(tuple)


MESSAGES = st.one_of(
    st.builds(Message, st.just("system"), _parts(text_parts)),
    st.builds(Message, st.just("user"), _parts(text_parts), st.sampled_from(["", "", "ann"])),
    st.builds(Message, st.just("user"), _parts(text_parts, media)),
    st.builds(Message, st.just("assistant"), _parts(text_parts, thinking, calls)),
    st.builds(Message, st.just("tool"), results.map(lambda result: (result,))),
)
TOOLS = st.sampled_from(
    [
        (),
        (Tool("f", "does f", SCHEMA, strict=True), Tool("g", cache="5m")),
        (Tool("f", parameters={"properties": {"x": {"type": "integer"}}}), Tool("g", strict=False)),
    ]
)
REASONING = st.one_of(
    st.none(),
    st.builds(
        Reasoning, effort=st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])
    ),
    st.builds(Reasoning, max_tokens=st.sampled_from([-1, 0, 1, 2000, 500_000]), exclude=st.booleans()),
    st.builds(Reasoning, enabled=st.sampled_from([None, True, False]), exclude=st.booleans()),
)


def requests(*models: str) -> st.SearchStrategy[ChatRequest]:
    """Any request for one of ``models``."""
    return st.builds(
        ChatRequest,
        model=st.sampled_from(models),
        messages=st.lists(MESSAGES, min_size=1, max_size=5).map(tuple),
        stream=st.booleans(),
        max_tokens=st.sampled_from([None, 1, 300, 5000]),
        temperature=st.sampled_from([None, None, 0.0, 1.0, 1.5]),
        top_p=st.sampled_from([None, None, 0.5]),
        top_k=st.sampled_from([None, None, 5]),
        n=st.sampled_from([None, None, 1, 2]),
        seed=st.sampled_from([None, 7]),
        stop=st.sampled_from([(), ("x", " ")]),
        presence_penalty=st.sampled_from([None, None, 0.5]),
        frequency_penalty=st.sampled_from([None, None, 0.5]),
        logprobs=st.sampled_from([None, None, True]),
        top_logprobs=st.sampled_from([None, None, 2]),
        tools=TOOLS,
        tool_choice=st.sampled_from(
            [
                None,
                ToolChoice("auto"),
                ToolChoice("none"),
                ToolChoice("required"),
                ToolChoice("named", ("f",)),
                ToolChoice("named", ("f", "g")),
            ]
        ),
        parallel_tool_calls=st.sampled_from([None, True, False]),
        response_format=st.sampled_from(
            [
                None,
                None,
                ResponseFormat("text"),
                ResponseFormat("json_object"),
                ResponseFormat("json_schema", SCHEMA, "a", strict=True),
                ResponseFormat("json_schema", SCHEMA),
            ]
        ),
        reasoning=REASONING,
        user=st.sampled_from([None, "u"]),
        service_tier=st.sampled_from([None, None, "auto", "default", "flex", "priority"]),
        store=st.sampled_from([None, None, True, False]),
    )

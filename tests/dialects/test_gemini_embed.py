"""Embeddings as Gemini's callers ask for them: three verbs, one neutral request; three shapes of the answer."""

import json
import struct
from typing import Any

import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Image
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.errors import BadRequest, PenstockError
from penstock.base.events import Finished, Started, Stopped, UsageSeen, VectorMade
from penstock.base.usage import Usage
from penstock.dialects.gemini import EmbedVerb, GeminiEmbed
from penstock.wire.ports import Identity

SETTINGS = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 64, "title": "t"}


def neutral(verb: EmbedVerb, body: Any) -> EmbeddingsRequest:
    call = GeminiEmbed("m/x", verb)
    ask = call.read_request(json.dumps(body).encode())
    assert ask.operation == "embeddings"
    assert ask.model == "m/x"
    assert ask.input_bytes > 0
    return call.expand(ask)


def content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("batchEmbedContents", {"requests": [{"model": "models/m", "content": content("a"), **SETTINGS}]}),
        ("batchEmbedContents", {"requests": {"content": "a", "embed_content_config": SETTINGS}}),
        (
            "batchEmbedContents",
            {
                "requests": [
                    {
                        "content": content("a"),
                        "task_type": "retrieval_query",
                        "output_dimensionality": 64,
                        "title": "t",
                    }
                ]
            },
        ),
        ("embedContent", {"content": content("a"), **SETTINGS}),
        (
            "predict",
            {
                "instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY", "title": "t"}],
                "parameters": {"outputDimensionality": 64},
            },
        ),
    ],
)
def test_every_verb_asks_the_same(verb: EmbedVerb, body: Any) -> None:
    """Inputs, dimensions, task and title."""
    found = neutral(verb, body)
    assert (found.inputs, found.dimensions, found.task, found.title) == (("a",), 64, "RETRIEVAL_QUERY", "t")
    assert found.extras == {}


def test_several_texts_are_lines_and_a_picture_is_an_input() -> None:
    """One content, one vector."""
    requests = [
        {"content": {"parts": [{"text": "a"}, {"text": "b"}]}},
        {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "_-8_"}}]}},
    ]
    found = neutral("batchEmbedContents", {"requests": requests})
    assert found.inputs[0] == "a\nb"
    assert found.inputs[1] == Image(data="/+8/", mime="image/png")


@pytest.mark.parametrize(
    ("verb", "body", "param"),
    [
        ("embedContent", {}, "content"),
        ("embedContent", {"content": content("")}, "contents[0]"),
        ("batchEmbedContents", {"requests": []}, "requests"),
        (
            "batchEmbedContents",
            {"requests": [{"content": content("a"), "taskType": "X"}, {"content": content("b")}]},
            "requests",
        ),
        ("predict", {"instances": [{"prompt": "a mill"}]}, "instances[0].content"),
        ("predict", {}, "instances"),
        (
            "embedContent",
            {"content": {"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}]}},
            "contents[0]",
        ),
    ],
)
def test_what_is_wrong_is_named(verb: EmbedVerb, body: Any, param: str) -> None:
    """By its place."""
    with pytest.raises(BadRequest) as caught:
        neutral(verb, body)
    assert caught.value.param == param


@given(st.sampled_from(["embedContent", "batchEmbedContents", "predict"]), st.recursive(
    st.none() | st.text(max_size=4) | st.integers(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["content", "requests", "instances", "parts", "text", "parameters", "taskType"]), inner, max_size=3
    ),
    max_leaves=8,
))  # fmt: skip
def test_no_body_brings_the_reader_down(verb: EmbedVerb, body: Any) -> None:
    """Read, or refused with a sentence."""
    try:
        neutral(verb, body)
    except PenstockError as error:
        assert error.status == 400


@pytest.mark.parametrize("verb", ["embedContent", "batchEmbedContents", "predict"])
def test_the_answer_has_each_verbs_shape(verb: EmbedVerb) -> None:
    """Vectors in the order of the inputs, as the client's types read them."""
    vectors = [(0.5, -0.25), (1.0, 2.0)][: 1 if verb == "embedContent" else 2]
    call = GeminiEmbed("m/x", verb)
    ask = call.read_request(b'{"content":"a","requests":[{"content":"a"}],"instances":[{"content":"a"}]}')
    made = [VectorMade(index, struct.pack("<2f", *one)) for index, one in enumerate(vectors)]
    events = [Started(), *reversed(made), UsageSeen(Usage(input=8)), Stopped("stop"), Finished()]
    body = json.loads(call.writer(ask, Identity("id", 0, "m")).whole(events))
    match verb:
        case "embedContent":
            found = [body["embedding"]]
        case "batchEmbedContents":
            found = body["embeddings"]
        case _:
            found = [one["embeddings"] for one in body["predictions"]]
            assert found[0]["statistics"] == {"truncated": False, "token_count": 4}
    assert [tuple(types.ContentEmbedding.model_validate(one).values or ()) for one in found] == vectors
    if verb != "predict":
        assert body["usageMetadata"]["promptTokenCount"] == 8

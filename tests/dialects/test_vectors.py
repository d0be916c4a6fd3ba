"""What decides of embeddings, moderations and rankings: inputs in all their spellings, replies in any pieces."""

import base64
import json
import math
import struct
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import Image
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.errors import BadRequest, PenstockError, UpstreamError
from penstock.base.events import Event, Finished, Judged, Lawful, Scored, UsageSeen, VectorMade
from penstock.base.images import ImagesRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects import OPERATIONS
from penstock.dialects.kserve import KSERVE_IMAGES, KSERVE_MODERATIONS, png
from penstock.dialects.openai_chat.plain import PlainRelay
from penstock.dialects.openai_chat.vectors import EMBEDDINGS, read_inputs
from penstock.simulate.picture import png as simulated_png
from penstock.wire.floats import floats, normalised, packed

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40)
WORDS = st.text(min_size=1, max_size=20)


def target(dialect: str, **options: str) -> Target:
    return Target("any", "model", dialect, ModelFacts("any", "model"), options={"project": "p", **options})


@given(FLOATS)
def test_floats_survive_both_spellings(numbers: list[float]):
    """float32 is kept to the bit, as numbers and as base64."""
    vector = packed(numbers)
    assert floats(vector) == numbers
    assert packed(base64.b64encode(vector).decode()) == vector == struct.pack(f"<{len(numbers)}f", *numbers)


@given(FLOATS)
def test_normalised_is_of_length_one_and_idempotent(numbers: list[float]):
    made = normalised(numbers)
    length = math.sqrt(math.fsum(value * value for value in made))
    assert length == pytest.approx(1) or not any(numbers)
    assert normalised(made) == pytest.approx(made)


@given(
    st.one_of(
        WORDS, st.lists(WORDS, min_size=1), st.lists(st.lists(st.integers(0, 10**6), min_size=1), min_size=1)
    )
)
def test_inputs_are_read_as_they_were_meant(given_input: Any):
    inputs = read_inputs(msgspec.Raw(json.dumps(given_input).encode()))
    if isinstance(given_input, str):
        assert inputs == (given_input,)
    else:
        assert inputs == tuple(tuple(one) if isinstance(one, list) else one for one in given_input)


@pytest.mark.parametrize(
    "bad", ["null", "{}", "3", "[]", '[""]', "[[]]", '["x", 3]', "[[1.5]]", "[null]", '[{"type":"x"}]']
)
def test_bad_inputs_name_the_field(bad: str):
    with pytest.raises(BadRequest) as caught:
        read_inputs(msgspec.Raw(bad.encode()))
    assert (caught.value.param or "").startswith("input")


REPLIES: dict[tuple[str, str], dict[str, Any]] = {
    ("embeddings", "openai"): {
        "object": "list",
        "data": [{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": "AAAAPwAAgD8="}],
        "model": "m",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    },
    ("embeddings", "gemini"): {
        "embeddings": [{"values": [3, 4]}, {"values": [0.6, 0.8]}],
        "usageMetadata": {"promptTokenCount": 7},
    },
    ("embeddings", "vertex"): {
        "predictions": [
            {"embeddings": {"values": [3, 4], "statistics": {"token_count": 3}}},
            {"embeddings": {"values": [1, 0], "statistics": {"token_count": 4.0}}},
        ]
    },
    ("embeddings", "cohere"): {
        "id": "x",
        "embeddings": {"float": [[1, 2], [3, 4]]},
        "meta": {"billed_units": {"input_tokens": 7}},
    },
    ("embeddings", "kserve"): {
        "model_name": "m",
        "outputs": [{"name": "E", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}],
    },
    ("moderations", "openai"): {
        "id": "x",
        "model": "m",
        "results": [
            {"flagged": True, "categories": {"a": True, "b": None}, "category_scores": {"a": 0.9, "b": None}}
        ],
    },
    ("moderations", "kserve"): {
        "outputs": [{"name": "S", "datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.1]}]
    },
    ("rerank", "cohere"): {
        "results": [{"index": 0, "relevance_score": 0.1}, {"index": 2, "relevance_score": 0.9}],
        "meta": {"billed_units": {"search_units": 2}},
    },
    ("rerank", "jina"): {
        "results": [{"index": 2, "relevance_score": 0.9, "document": {"text": "x"}}],
        "usage": {"total_tokens": 7},
    },
    ("images", "kserve"): {
        "outputs": [{"name": "I", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [255, 0, 0, 0, 0, 255]}]
    },
}


def read(operation: str, dialect: str, body: bytes, cuts: list[int]) -> list[Event]:
    reader = OPERATIONS[operation][dialect].reader(
        target(dialect, **{"tensors.labels": "a, b"}), stream=False
    )
    events: list[Event] = []
    edges = sorted({0, *(cut % (len(body) + 1) for cut in cuts), len(body)})
    for start, end in pairwise(edges):
        events += reader.feed(body[start:end])
    events += reader.close()
    law = Lawful()
    for event in events:
        law.see(event)
    assert isinstance(events[-1], Finished)
    return events


@pytest.mark.parametrize(("operation", "dialect"), REPLIES)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_any_split_is_one_reply(operation: str, dialect: str, cuts: list[int]):
    body = json.dumps(REPLIES[operation, dialect]).encode()
    assert read(operation, dialect, body, cuts) == read(operation, dialect, body, [])


@pytest.mark.parametrize(("operation", "dialect"), REPLIES)
@given(data=st.data())
def test_a_cut_reply_is_an_error_with_blame(operation: str, dialect: str, data: st.DataObject):
    body = json.dumps(REPLIES[operation, dialect]).encode()
    end = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(UpstreamError):
        read(operation, dialect, body[:end], [])


def made(operation: str, dialect: str) -> list[Event]:
    return read(operation, dialect, json.dumps(REPLIES[operation, dialect]).encode(), [])


@pytest.mark.parametrize("dialect", ["openai", "gemini", "vertex", "cohere"])
def test_tokens_are_counted_exactly(dialect: str):
    [seen] = [event for event in made("embeddings", dialect) if isinstance(event, UsageSeen)]
    assert (seen.usage.input, seen.usage.total_tokens) == (7, 7)


def test_vectors_say_which_input_they_are():
    vectors = {
        event.index: floats(event.vector)
        for event in made("embeddings", "openai")
        if isinstance(event, VectorMade)
    }
    assert vectors == {0: [0.5, 1.0], 1: [0.5, 1.0]}
    shortened = [
        floats(event.vector) for event in made("embeddings", "gemini") if isinstance(event, VectorMade)
    ]
    assert shortened[0] == pytest.approx([0.6, 0.8])


def test_the_best_document_comes_first():
    assert [event.index for event in made("rerank", "cohere") if isinstance(event, Scored)] == [2, 0]


def test_verdicts():
    assert [event for event in made("moderations", "openai") if isinstance(event, Judged)] == [
        Judged(0, True, {"a": True, "b": False}, {"a": 0.9, "b": 0.0})
    ]
    assert [event for event in made("moderations", "kserve") if isinstance(event, Judged)] == [
        Judged(0, True, {"a": True, "b": False}, {"a": 0.9, "b": 0.1})
    ]


def test_pixels_become_a_picture():
    """The same file as the simulator's own writer makes of the same pixels, but for how hard it was squeezed."""
    pixels = bytes([1 ^ 0, 2 ^ 0, 3, 1 ^ 1, 2 ^ 0, 3])
    assert png(pixels, 2, 1)[:33] == simulated_png(2, 1, 1 | 2 << 8 | 3 << 16)[:33]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([], "none"),
        ([{"name": "E", "datatype": "INT64", "shape": [1, 2], "data": [1, 2]}], "INT64"),
        ([{"name": "E", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3]}], "shape"),
        ([{"name": "E", "datatype": "FP32", "shape": [1, 1], "data": ["x"]}], "number"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(outputs: list[Any], words: str):
    with pytest.raises(UpstreamError, match=words):
        read("embeddings", "kserve", json.dumps({"outputs": outputs}).encode(), [])


def test_a_classifier_without_labels_is_refused():
    rejected = KSERVE_MODERATIONS.refuse(None, target("kserve"))  # pyright: ignore[reportArgumentType]
    assert rejected is not None
    assert "tensors.labels" in rejected.reason


@given(
    inputs=st.lists(
        st.one_of(WORDS, st.tuples(st.integers(0, 99)), st.just(Image(url="https://x/y.png"))),
        min_size=1,
        max_size=5,
    )
)
@pytest.mark.parametrize("dialect", ["openai", "gemini", "vertex", "cohere", "kserve"])
def test_what_is_not_refused_can_be_written(dialect: str, inputs: list[Any]):
    """A dialect says no, or writes JSON with every input in its order: never both, never an error of its own."""
    spoken = OPERATIONS["embeddings"][dialect]
    request = EmbeddingsRequest("m", tuple(inputs))
    if spoken.refuse(request, target(dialect)) is not None:
        return
    body = spoken.write_request(request, target(dialect), "key").body
    places = [
        body.find(json.dumps(one, ensure_ascii=False).encode()) for one in inputs if isinstance(one, str)
    ]
    assert -1 not in places


@pytest.mark.parametrize(
    "body", [b"", b"<html>down</html>", b'{"error": {"message": "no"}}', b"{}", b"[1]", b'{"data": 1']
)
def test_a_reply_that_is_none_is_not_passed_on(body: bytes):
    relay = PlainRelay()
    relay.feed(body)
    with pytest.raises(PenstockError):
        relay.close()


def test_pass_through_keeps_the_callers_bytes():
    """Only the model's name changes: spaces, order, unknown fields and the spelling of numbers stay."""
    body = b'{ "input":"x",  "model" : "openai/m", "odd":1.50, "encoding_format":"base64"}'
    request = EMBEDDINGS.splice_request(EMBEDDINGS.read_request(body), target("openai"), "key")
    assert request.body == body.replace(b"openai/m", b"model")


def test_images_of_kserve_send_what_has_a_tensor():
    asked = ImagesRequest("m", "a heron", 2, size="64x32", seed=7, steps=3, quality="high")
    wire = KSERVE_IMAGES.write_request(asked, target("kserve", **{"tensors.seed": "SEED"}), "")
    sent = json.loads(wire.body)["inputs"]
    assert [one["name"] for one in sent] == ["TEXT", "SEED"]
    assert sent[0]["data"] == ["a heron", "a heron"]
    assert set(wire.adjusted) == {"size-dropped", "steps-dropped", "quality-dropped"}

"""The other operations' requests by the vendors' own types: vectors, moderations, rankings, pictures, speech.

Google's embedding calls have no model of their own in google-genai: their fields are those of its converters (3.4.0), their
contents its ``Content``.
"""

import email
import email.policy
from typing import Any

import msgspec
import pytest
from cohere.v2.client import V2Client
from google.genai import types as google
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from openai.types import (
    embedding_create_params,
    image_edit_params,
    image_generate_params,
    moderation_create_params,
)
from openai.types.audio import speech_create_params, transcription_create_params

from penstock.base.audio import SpeechRequest, TranscriptionRequest
from penstock.base.chat import Image, Text
from penstock.base.embeddings import EmbeddingsRequest
from penstock.base.images import ImagesRequest
from penstock.base.models import ModelFacts, Target
from penstock.base.operations import Operation
from penstock.base.ranking import ModerationsRequest, RerankRequest
from penstock.dialects import OPERATIONS
from penstock.dialects.openai_images import upstream as openai_images
from penstock.wire.http import WireRequest, header
from tests.specs.requests import PNG
from tests.specs.typed import call_faults, faults

PICTURE = Image(data=PNG, mime="image/png")
EMBEDDINGS = st.builds(
    EmbeddingsRequest,
    model=st.just("m"),
    inputs=st.one_of(
        st.lists(st.one_of(st.text(min_size=1, max_size=5), st.just(PICTURE)), min_size=1, max_size=3),
        st.lists(st.lists(st.integers(0, 9), min_size=1).map(tuple), min_size=1, max_size=3),
    ).map(tuple),
    dimensions=st.sampled_from([None, 256]),
    encoding=st.sampled_from(["float", "base64"]),
    task=st.sampled_from(["", "RETRIEVAL_QUERY", "search_document", "elsewhere"]),
    title=st.sampled_from(["", "t"]),
    truncate=st.sampled_from(["", "END"]),
    user=st.sampled_from([None, "u"]),
)
MODERATIONS = st.builds(
    ModerationsRequest,
    model=st.just("omni-moderation-latest"),
    inputs=st.lists(
        st.lists(
            st.one_of(
                st.builds(Text, st.text(min_size=1, max_size=5)),
                st.just(PICTURE),
                st.just(Image(url="https://a.example/b")),
            ),
            min_size=1,
            max_size=2,
        ).map(tuple),
        min_size=1,
        max_size=2,
    ).map(tuple),
)
RERANK = st.builds(
    RerankRequest,
    model=st.just("rerank-v4"),
    query=st.text(min_size=1, max_size=5),
    documents=st.lists(
        st.one_of(st.text(max_size=5), st.just({"title": "a", "n": 7})), min_size=1, max_size=3
    ).map(tuple),
    top_n=st.sampled_from([None, 1]),
    return_documents=st.sampled_from([None, True, False]),
    max_tokens_per_doc=st.sampled_from([None, 100]),
    rank_fields=st.sampled_from([(), ("title",)]),
)
IMAGES = st.builds(
    ImagesRequest,
    model=st.sampled_from(["gpt-image-1", "gpt-image-1-mini"]),
    prompt=st.just("a mill"),
    n=st.integers(1, 3),
    size=st.sampled_from([None, "1024x1024", "auto"]),
    quality=st.sampled_from([None, "high"]),
    background=st.sampled_from([None, "transparent"]),
    output_format=st.sampled_from([None, "webp"]),
    output_compression=st.sampled_from([None, 80]),
    response_format=st.sampled_from([None, "b64_json", "url"]),
    moderation=st.sampled_from([None, "low"]),
    style=st.sampled_from([None, None, "vivid"]),
    images=st.sampled_from([(), (PICTURE,), (PICTURE, PICTURE)]),
    mask=st.sampled_from([None, PICTURE]),
    negative_prompt=st.sampled_from([None, "rain"]),
    seed=st.sampled_from([None, 7]),
    user=st.sampled_from([None, "u"]),
)
SPEECH = st.builds(
    SpeechRequest,
    model=st.just("gpt-4o-mini-tts"),
    text=st.text(min_size=1, max_size=5),
    voice=st.just("alloy"),
    instructions=st.sampled_from([None, "slowly"]),
    format=st.sampled_from([None, "wav"]),
    speed=st.sampled_from([None, 1.5]),
    stream=st.sampled_from([None, "audio", "sse"]),
)
TRANSCRIPTIONS = st.builds(
    TranscriptionRequest,
    model=st.sampled_from(["gpt-4o-transcribe", "whisper-1"]),
    audio=st.just(b"RIFF"),
    filename=st.just("a.wav"),
    mime=st.just("audio/wav"),
    language=st.sampled_from([None, "en"]),
    prompt=st.sampled_from([None, "p"]),
    temperature=st.sampled_from([None, 0.5]),
    granularities=st.sampled_from([(), ("word", "segment")]),
    stream=st.booleans(),
)


def target(dialect: str, model: str) -> Target:
    return Target(dialect, model, dialect, ModelFacts(dialect, model), options={"project": "p"})


def json_of(wire: WireRequest) -> dict[str, Any]:
    return msgspec.json.decode(wire.body)


def form_names(wire: WireRequest) -> set[str]:
    """The names of a form's fields, lists without their brackets."""
    head = b"content-type: " + (header(wire.headers, b"content-type") or b"") + b"\r\n\r\n"
    parts = email.message_from_bytes(head + wire.body, policy=email.policy.HTTP).iter_parts()
    return {part.get_param("name", header="content-disposition").removesuffix("[]") for part in parts}


def form_faults(wire: WireRequest, kind: Any) -> list[str]:
    return [f".{name}: unknown to {kind.__name__}" for name in form_names(wire) - set(kind.__annotations__)]


def check_google(body: dict[str, Any]) -> list[str]:
    found = [f".{name}" for name in body if name != "requests"]
    for one in body["requests"]:
        google.Content.model_validate(one["content"])
        found += [
            name
            for name in one
            if name not in {"model", "content", "taskType", "title", "outputDimensionality"}
        ]
    return found


def check_vertex(body: dict[str, Any]) -> list[str]:
    found = [f".{name}" for name in body if name not in {"instances", "parameters"}]
    found += [
        name for name in body.get("parameters", ()) if name not in {"outputDimensionality", "autoTruncate"}
    ]
    return found + [
        name for one in body["instances"] for name in one if name not in {"content", "task_type", "title"}
    ]


CASES: dict[tuple[Operation, str], tuple[st.SearchStrategy[Any], Any]] = {
    ("embeddings", "openai"): (
        EMBEDDINGS,
        lambda wire: faults(json_of(wire), embedding_create_params.EmbeddingCreateParams),
    ),
    ("embeddings", "gemini"): (EMBEDDINGS, lambda wire: check_google(json_of(wire))),
    ("embeddings", "vertex"): (EMBEDDINGS, lambda wire: check_vertex(json_of(wire))),
    ("embeddings", "cohere"): (EMBEDDINGS, lambda wire: call_faults(json_of(wire), V2Client.embed)),
    ("moderations", "openai"): (
        MODERATIONS,
        lambda wire: faults(json_of(wire), moderation_create_params.ModerationCreateParams),
    ),
    ("rerank", "cohere"): (RERANK, lambda wire: call_faults(json_of(wire), V2Client.rerank)),
    ("speech", "openai"): (
        SPEECH,
        lambda wire: faults(json_of(wire), speech_create_params.SpeechCreateParams),
    ),
    ("transcriptions", "openai"): (
        TRANSCRIPTIONS,
        lambda wire: form_faults(wire, _Transcription),
    ),
}
SPOKEN = [case for case in CASES if case[1] in OPERATIONS[case[0]]]


class _Transcription(transcription_create_params.TranscriptionCreateParamsBase, total=False):
    stream: bool


@pytest.mark.parametrize(("operation", "dialect"), SPOKEN)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_any_request_is_of_the_vendors_types(operation: Operation, dialect: str, data: st.DataObject) -> None:
    """Whatever is not refused."""
    requests, check = CASES[operation, dialect]
    request = data.draw(requests)
    upstream, goal = OPERATIONS[operation][dialect], target(dialect, request.model)
    assume(upstream.refuse(request, goal) is None)
    assert check(upstream.write_request(request, goal, "KEY")) == []


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(IMAGES)
def test_pictures_are_asked_for_by_openais_types(request: ImagesRequest) -> None:
    """Generations are JSON, edits a form of the same names and a file for each picture."""
    assume(request.images or request.mask is None)
    goal = target("openai", request.model)
    assume(openai_images.refuse(request, goal) is None)
    wire = openai_images.write(request, goal, "KEY")
    if request.images:
        assert form_faults(wire, image_edit_params.ImageEditParamsBase) == []
        assert {"image", "prompt"} <= form_names(wire)
        told = openai_images.adjusted(request, goal)
        assert ("moderation-dropped" in told) == (request.moderation is not None)
    else:
        assert faults(json_of(wire), image_generate_params.ImageGenerateParamsNonStreaming) == []


def test_the_checks_can_fail() -> None:
    """A name or a value that is wrong is named."""
    embedding = embedding_create_params.EmbeddingCreateParams
    assert faults({"model": "m", "input": "x", "dims": 7}, embedding) == [
        ".dims: unknown to EmbeddingCreateParams"
    ]
    assert faults({"model": "m", "input": [1.5]}, embedding)
    assert call_faults({"model": "m", "query": "q", "documents": [{"text": "x"}]}, V2Client.rerank)
    assert call_faults({"model": "m"}, V2Client.rerank) == [".documents: missing", ".query: missing"]

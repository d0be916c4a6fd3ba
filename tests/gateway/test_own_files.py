"""Media that a provider cannot take as they were sent: our own files, addresses that it does not read, data that is none."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.behaviours.gateway import SECRETS, Gateway, running_gateway

from penstock.base.chat import Audio, ChatRequest, Document, Image, Message
from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_chat.request import refuse
from penstock.dialects.openai_responses.request import refuse as refuse_responses
from penstock.gateway.media import not_base64
from penstock.gateway.own_files import with_files
from penstock.simulate.picture import png

PNG = png(4, 4, 1)
PDF = b"%PDF-1.7\n%%EOF\n"
TARGET = Target(
    provider="openai", model="gpt-4o", dialect="openai", facts=ModelFacts(provider="openai", model="gpt-4o")
)
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
virtual_keys:
  - {name: alice, key: env.CALLER_KEY}
  - {name: bob, key: env.OTHER_CALLER_KEY}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("own-files"), CONFIG) as running:
        yield running


def uploaded(gateway: Gateway, name: str, data: bytes) -> str:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRETS["CALLER_KEY"], max_retries=0) as client:
        return client.files.create(file=(name, data), purpose="user_data").id


def key(name: str = "CALLER_KEY") -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[name]}"}


def chat(model: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}, *parts]}],
    }


def test_a_file_of_ours_goes_as_its_bytes(gateway: Gateway) -> None:
    document, picture = uploaded(gateway, "a.pdf", PDF), uploaded(gateway, "a.png", PNG)
    in_base64 = base64.b64encode(PDF).decode()
    part = {"type": "file", "file": {"file_id": document}}

    answer = gateway.post(chat("openai/gpt-4o", part), headers=key())
    assert answer.status == 200, answer.body
    assert "file-inlined" in answer.headers["x-penstock-adjusted"]
    sent = gateway.sent()["messages"][0]["content"][1]
    assert sent == {
        "type": "file",
        "file": {"file_data": f"data:application/pdf;base64,{in_base64}", "filename": "a.pdf"},
    }

    answer = gateway.post(chat("anthropic/claude-haiku-4-5", part), headers=key())
    assert answer.status == 200, answer.body
    assert gateway.sent()["messages"][0]["content"][1]["source"]["data"] == in_base64

    answer = gateway.post(chat("gemini/gemini-2.5-flash", part), headers=key())
    assert answer.status == 200, answer.body
    assert gateway.sent()["contents"][0]["parts"][1]["inlineData"]["data"] == in_base64

    block = {"type": "image", "source": {"type": "file", "file_id": picture}}
    body = {
        "model": "anthropic/claude-haiku-4-5",
        "max_tokens": 20,
        "messages": [{"role": "user", "content": [block]}],
    }
    answer = gateway.post(body, "/v1/messages", key())
    assert answer.status == 200, answer.body
    assert gateway.sent()["messages"][0]["content"][0]["source"]["media_type"] == "image/png"

    items = [{"role": "user", "content": [{"type": "input_image", "file_id": picture}]}]
    answer = gateway.post({"model": "openai/gpt-4o", "input": items}, "/v1/responses", key())
    assert answer.status == 200, answer.body
    assert "file-inlined" in answer.headers["x-penstock-adjusted"]
    assert base64.b64encode(PNG).decode() in json.dumps(gateway.sent())


def test_a_picture_of_ours_is_edited(gateway: Gateway) -> None:
    picture = uploaded(gateway, "a.png", PNG)
    body = {"model": "openai/gpt-image-1", "prompt": "a hat", "images": [{"file_id": picture}]}
    answer = gateway.post(body, "/v1/images/edits", key())
    assert answer.status == 200, answer.body
    assert "file-inlined" in answer.headers["x-penstock-adjusted"]
    assert base64.b64encode(PNG) in gateway.sim.requests[-1].body


def test_anothers_file_is_none(gateway: Gateway) -> None:
    part = {"type": "file", "file": {"file_id": uploaded(gateway, "a.pdf", PDF)}}
    before = len(gateway.sim.requests)
    answer = gateway.post(chat("anthropic/claude-haiku-4-5", part), headers=key("OTHER_CALLER_KEY"))
    assert answer.status == 400
    assert len(gateway.sim.requests) == before


def test_a_files_address_is_not_left_to_openai(gateway: Gateway) -> None:
    before = len(gateway.sim.requests)
    for facts in ({"file_url": "https://127.0.0.1:1/a.pdf"}, {"file_data": "gs://b/a.pdf"}):
        answer = gateway.post(chat("openai/gpt-4o", {"type": "file", "file": facts}), headers=key())
        assert answer.status == 400
        assert answer.error["param"] == "messages[0].content[1]"
    assert len(gateway.sim.requests) == before


def test_a_file_that_is_none_says_what_is_read(gateway: Gateway) -> None:
    answer = gateway.post(chat("anthropic/claude-haiku-4-5", {"type": "file", "file": {}}), headers=key())
    assert answer.status == 400
    assert "messages[0].content[1].file" in answer.error["message"]
    assert "file_url" in answer.error["message"]


def test_data_that_is_no_base64_is_named(gateway: Gateway) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}
    answer = gateway.post(chat("gemini/gemini-2.5-flash", part), headers=key())
    assert answer.status == 400
    assert answer.error["param"] == "messages[0].content[1]"


def test_the_field_that_gemini_callers_sent_is_named(gateway: Gateway) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"candidateCount": 2},
    }
    answer = gateway.post(body, "/v1beta/models/anthropic/claude-haiku-4-5:generateContent", key())
    assert answer.status == 400
    assert "generationConfig.candidateCount" in answer.body.decode()


def of(part: Any) -> ChatRequest:
    return ChatRequest("m", (Message("user", (part,)),))


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (Image(url="gs://b/x.png"), "gs-unsupported"),
        (Document(url="gs://b/x.pdf"), "gs-unsupported"),
        (Audio("", "", url="https://example.com/a.mp3"), "audio-url"),
        (Audio("", "mp3", file_id="files/1"), "audio-unsupported"),
        (Audio("AAAA", "ogg"), "audio-format"),
        (Audio("AAAA", "mp3"), None),
        (Image(url="https://example.com/a.png"), None),
    ],
)
def test_what_openai_takes_of_a_medium(part: Any, code: str | None) -> None:
    no = refuse(of(part), TARGET)
    assert (None if no is None else no.code) == code
    if code == "gs-unsupported":
        other = refuse_responses(of(part), TARGET)
        assert other is not None
        assert other.code == code


@pytest.mark.parametrize("data", ["AAAA", "AAA=", "AA", "A-_A", "AA\nAA", "A" * 2_000_000])
def test_base64_in_every_shape_it_is_sent_in(data: str) -> None:
    assert not_base64(of(Image(data=data, mime="image/png"))) is None


@pytest.mark.parametrize("data", ["%%%", "A=A", "/tmp/cat.png!", "A" * 2_000_000 + "%"])
def test_what_is_no_base64(data: str) -> None:
    assert not_base64(of(Image(data=data, mime="image/png"))) is not None


def test_only_a_parts_own_place_is_filled() -> None:
    name = "file-" + "a" * 24
    files = {name: ("a.txt", "text/plain", b"words")}
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"file_id": name}}
    words = {"type": "text", "text": json.dumps({"type": "file", "file": {"file_id": name}})}
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "assistant", "content": [call, words]}]}
    assert with_files(json.dumps(body).encode(), files) is None
    source = {"type": "file", "file_id": name}
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "document", "source": source}]}
    body["messages"].append({"role": "user", "content": [result]})
    made = with_files(json.dumps(body).encode(), files)
    assert made is not None
    read = json.loads(made)
    assert read["messages"][0] == body["messages"][0]
    filled = read["messages"][1]["content"][0]["content"][0]["source"]
    assert filled == {"type": "text", "media_type": "text/plain", "data": "words"}
    edited = json.dumps({"model": "m", "images": [{"file_id": name}], "mask": {"file_id": name}}).encode()
    pictures = json.loads(with_files(edited, files) or b"")
    assert pictures["images"] == [{"image_url": "data:text/plain;base64,d29yZHM="}]
    assert "file_id" not in pictures["mask"]

"""The simulated makers of pictures, asked by their vendors' own clients straight; fal and Replicate by the facts of their APIs."""

import base64
import io
import time
from collections.abc import Iterator

import httpx
import openai
import pytest
from google import genai
from google.genai import types
from PIL import Image

from penstock.simulate import Simulator, running_simulator

WAIT_S = 10.0


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def client(sim: Simulator) -> Iterator[openai.OpenAI]:
    sim.clear()
    with openai.OpenAI(base_url=f"{sim.provider_url('openai')}/v1", api_key="k", max_retries=0) as made:
        yield made


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def png(mode: str = "RGBA") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (4, 4)).save(out, "PNG")
    return out.getvalue()


def test_openai_generates(client: openai.OpenAI):
    """Pictures, what they are, and what they took."""
    reply = client.images.generate(model="gpt-image-2", prompt="a mill", n=2, size="1536x1024", quality="low")
    assert reply.data is not None
    assert reply.usage is not None
    assert [opened(base64.b64decode(one.b64_json or "")).size for one in reply.data] == [(96, 64)] * 2
    assert (reply.size, reply.quality, reply.output_format) == ("1536x1024", "low", "png")
    assert (reply.usage.output_tokens, reply.usage.total_tokens) == (544, 546)


def test_openai_edits_and_streams(client: openai.OpenAI):
    """Files in a form; events as their types have them."""
    reply = client.images.edit(
        model="gpt-image-2", image=("a.png", png()), mask=("m.png", png()), prompt="a mill"
    )
    assert reply.usage is not None
    assert reply.usage.input_tokens_details.image_tokens == 323
    events = list(
        client.images.edit(
            model="gpt-image-2", image=("a.png", png()), prompt="a mill", stream=True, partial_images=1
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_openai_refuses(client: openai.OpenAI):
    """With the field, or the code of its filter."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="gpt-image-2", prompt="a mill", extra_body={"seed": 1})
    assert caught.value.param == "seed"
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="gpt-image-2", prompt="BLOCK_PROMPT")
    assert caught.value.code == "moderation_blocked"


def test_gemini_draws(sim: Simulator):
    """responseModalities IMAGE: a picture of that shape, and its tokens by modality."""
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=sim.provider_url("gemini")))
    reply = client.models.generate_content(
        model="gemini-2.5-flash-image",
        contents="a mill",
        config=types.GenerateContentConfig(
            response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="16:9")
        ),
    )
    assert reply.parts is not None
    (part,) = reply.parts
    assert part.inline_data is not None
    assert opened(part.inline_data.data or b"").size == (128, 72)
    usage = reply.usage_metadata
    assert usage is not None
    assert usage.candidates_token_count == 1290
    assert usage.total_token_count == (usage.prompt_token_count or 0) + 1290


def test_fals_queue(sim: Simulator):
    """IN_QUEUE, IN_PROGRESS, COMPLETED; then the result, whose picture lies on another host."""
    root, key = sim.provider_url("fal"), {"authorization": "Key k"}
    queued = httpx.post(
        f"{root}/fal-ai/flux/dev", headers=key, json={"prompt": "a mill", "num_images": 2}
    ).json()
    assert queued["status"] == "IN_QUEUE"
    assert "/fal-ai/flux/requests/" in queued["status_url"]
    told = [httpx.get(queued["status_url"], headers=key) for _ in range(3)]
    assert [(one.status_code, one.json()["status"]) for one in told] == [
        (202, "IN_QUEUE"),
        (202, "IN_PROGRESS"),
        (200, "COMPLETED"),
    ]
    images = httpx.get(queued["response_url"], headers=key).json()["images"]
    assert len(images) == 2
    assert opened(httpx.get(images[0]["url"]).content).format == "JPEG"
    refused = httpx.post(f"{root}/fal-ai/flux/dev", headers=key, json={"prompt": "p", "n": 2})
    assert (refused.status_code, refused.json()["detail"][0]["type"]) == (422, "extra_forbidden")


def test_replicates_predictions(sim: Simulator):
    """201 or 202, then processing, then an output to fetch; or failed, or canceled."""
    root, key = f"{sim.provider_url('replicate')}/v1", {"authorization": "Bearer k"}
    path = f"{root}/models/black-forest-labs/flux-dev/predictions"
    made = httpx.post(path, headers=key, json={"input": {"prompt": "a mill", "num_outputs": 2}})
    assert (made.status_code, made.json()["status"]) == (202, "starting")
    place = made.json()["urls"]["get"]
    until_s, one = time.monotonic() + WAIT_S, made.json()
    while one["status"] not in ("succeeded", "failed") and time.monotonic() < until_s:
        one = httpx.get(place, headers=key).json()
    assert len(one["output"]) == 2
    assert opened(httpx.get(one["output"][0]).content).size == (4, 4)
    slow = httpx.post(path, headers=key, json={"input": {"prompt": "SLOW_JOB"}}).json()
    stopped = httpx.post(slow["urls"]["cancel"], headers=key).json()
    assert stopped["status"] == "canceled"
    refused = httpx.post(path, headers=key, json={"input": {"prompt": "p", "size": "1"}})
    assert refused.json()["title"] == "Input validation failed"

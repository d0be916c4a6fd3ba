"""Pictures through the gateway, as OpenAI's own client asks for them, over every provider that the simulator plays."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import openai
import pytest
from PIL import Image

from penstock.simulate.log import Received
from penstock.simulate.stability import read_multipart
from penstock.wire.http import header
from penstock.wire.pictures import look
from tests.behaviours.gateway import Gateway, at, running_gateway

PROVIDERS = """
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
  stability:
    keys: [{value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/stability", retry: {max_retries: 0}}
  fal:
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/fal", retry: {max_retries: 0}}
  replicate:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/replicate/v1", retry: {max_retries: 0}}
  hasty:
    dialect: fal
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/hasty", total_timeout_ms: 700, retry: {max_retries: 0}}
  root:
    dialect: fal
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}", retry: {max_retries: 0}}
  root-too:
    dialect: replicate
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/v1", retry: {max_retries: 0}}
prices:
  - {model: replicate/black-forest-labs/flux-dev, usd_per_million: {second: "1000"}}
"""
MODELS = {
    "openai": "openai/gpt-image-2",
    "gemini": "gemini/gemini-2.5-flash-image",
    "stability": "stability/stable-image-core",
    "fal": "fal/fal-ai/flux/dev",
    "replicate": "replicate/black-forest-labs/flux-dev",
}
PATH = "/v1/images/generations"
COSTS_NUSD = {
    "openai": 5 * 5_000 + 4 * 1056 * 30_000,
    "gemini": 4 * (5 * 300 + 1290 * 30_000),
    "stability": 4 * 30_000_000,
    "fal": 390_625,
    "replicate": 3 * 1_000_000,
}
"""Of four pictures for "a mill at a river", by the catalogue."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("images"), PROVIDERS) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    gateway.fresh()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as made:
        yield made


def png_of(
    mode: str, size: tuple[int, int], colour: Any, hole: tuple[int, int, int, int] | None = None
) -> bytes:
    image = Image.new(mode, size, colour)
    if hole is not None:
        image.paste((0, 0, 0, 0), hole)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def asked(gateway: Gateway, method: str = "POST") -> list[Received]:
    return [one for one in gateway.sim.requests if one.method == method]


@pytest.mark.parametrize("provider", MODELS)
def test_four_pictures_from_every_provider(gateway: Gateway, client: openai.OpenAI, provider: str):
    """n is honoured everywhere; each picture is one; the ledger knows what they cost, and the lines add up to it."""
    raw = client.images.with_raw_response.generate(
        model=MODELS[provider], prompt="a mill at a river", n=4, size="1024x1024"
    )
    reply = raw.parse()
    assert reply.data is not None
    facts = [look(base64.b64decode(one.b64_json or "")) for one in reply.data]
    assert [one is not None and one.mime for one in facts] == ["image/png"] * 4
    if provider != "gemini":  # the simulator draws the same for the same words
        assert len({one.b64_json for one in reply.data}) == 4
    entry = gateway.entry(raw.headers["x-request-id"])
    assert (entry.klass, entry.status) == ("delivered", 200)
    assert entry.cost_nusd == COSTS_NUSD[provider]
    assert entry.cost_nusd == sum(line.cost_nusd or 0 for line in entry.lines)


def test_a_size_is_exact_and_what_was_done_for_it_is_said(client: openai.OpenAI):
    """Stability has aspect ratios only: the picture is brought to the size, and the format is made here where it must be."""
    raw = client.images.with_raw_response.generate(
        model=MODELS["fal"], prompt="a mill", size="96x64", output_format="webp", quality="high", user="u-1"
    )
    reply = raw.parse()
    assert reply.data is not None
    image = Image.open(io.BytesIO(base64.b64decode(reply.data[0].b64_json or "")))
    assert image.format == "WEBP"
    assert raw.headers["x-penstock-adjusted"].split(",") == ["quality-approximated", "user-dropped"]
    raw = client.images.with_raw_response.generate(
        model=MODELS["stability"],
        prompt="a mill",
        size="96x64",
        extra_body={"negative_prompt": "water", "seed": 5},
    )
    reply = raw.parse()
    assert (reply.size, raw.headers["x-penstock-adjusted"]) == ("96x64", "size-resized")


def test_require_parameters_refuses_what_would_be_changed(client: openai.OpenAI):
    """Instead of approximating it."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(
            model=MODELS["stability"],
            prompt="a mill",
            size="96x64",
            extra_body={"provider": {"require_parameters": True}},
        )
    assert "size-resized" in str(caught.value)


def test_an_edit_passes_on_to_openai_part_by_part(gateway: Gateway, client: openai.OpenAI):
    """Pictures and mask are the caller's bytes; the model's name is the provider's; what is ours stays here."""
    picture = png_of("RGB", (32, 32), "red")
    mask = png_of("RGBA", (32, 32), (0, 0, 0, 255), (8, 8, 16, 16))
    reply = client.images.edit(
        model=MODELS["openai"],
        image=[("a.png", picture), ("b.png", picture)],
        mask=("m.png", mask),
        prompt="a mill",
        n=2,
        extra_body={"fallbacks": '["gemini/gemini-2.5-flash-image"]'},
    )
    assert reply.data is not None
    assert len(reply.data) == 2
    assert reply.usage is not None
    assert reply.usage.input_tokens_details.image_tokens == 646
    sent = asked(gateway)[0]
    parts = read_multipart(header(sent.raw_headers, b"content-type") or b"", sent.body)
    assert (parts["model"], parts["mask"], parts["image[]"]) == (b"gpt-image-2", mask, picture)
    assert "fallbacks" not in parts


def test_a_mask_is_turned_round_for_stability_pixel_by_pixel(gateway: Gateway, client: openai.OpenAI):
    """OpenAI's transparent pixels are Stability's white ones."""
    mask = png_of("RGBA", (32, 32), (9, 9, 9, 255), (8, 8, 16, 20))
    client.images.edit(
        model="stability/inpaint",
        image=("a.png", png_of("RGB", (32, 32), "red")),
        mask=("m.png", mask),
        prompt="a mill",
    )
    (sent,) = asked(gateway)
    assert sent.path.endswith("/v2beta/stable-image/edit/inpaint")
    parts = read_multipart(header(sent.raw_headers, b"content-type") or b"", sent.body)
    turned = Image.open(io.BytesIO(parts["mask"]))
    expected = [255 if 8 <= x < 16 and 8 <= y < 20 else 0 for y in range(32) for x in range(32)]
    assert list(turned.tobytes()) == expected


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("fal/fal-ai/flux/dev/image-to-image", ["mask_url", "image_url"]),
        (MODELS["replicate"], ["mask", "image"]),
    ],
)
def test_an_edit_with_a_mask_elsewhere(gateway: Gateway, client: openai.OpenAI, model: str, words: list[str]):
    """As data URLs, the mask white where the picture may change."""
    mask = png_of("RGBA", (8, 8), (9, 9, 9, 0))
    client.images.edit(
        model=model, image=("a.png", png_of("RGB", (8, 8), "red")), mask=("m.png", mask), prompt="a mill"
    )
    body = json.loads(asked(gateway)[0].body)
    given = body.get("input", body)
    head, _, data = given[words[0]].partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == b"\xff" * 64
    assert given[words[1]].startswith("data:image/png;base64,")


def test_gemini_refuses_a_mask_and_edits_a_whole_picture(gateway: Gateway, client: openai.OpenAI):
    """A mask that is lost would be another request."""
    picture = ("a.png", png_of("RGB", (8, 8), "red"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(
            model=MODELS["gemini"], image=picture, mask=("m.png", png_of("RGBA", (8, 8), 0)), prompt="a mill"
        )
    assert caught.value.param == "mask"
    assert asked(gateway) == []
    client.images.edit(model=MODELS["gemini"], image=picture, prompt="a mill")
    parts = json.loads(asked(gateway)[0].body)["contents"][0]["parts"]
    assert (parts[0]["inlineData"]["mimeType"], parts[1]["text"]) == ("image/png", "a mill")


def test_a_stream_passes_partial_pictures_on(gateway: Gateway, client: openai.OpenAI):
    """From OpenAI, as they come, and the usage of the last event is the ledger's."""
    with client.images.generate(
        model=MODELS["openai"], prompt="a mill", stream=True, partial_images=2
    ) as stream:
        events = list(stream)
        request_id = stream.response.headers["x-request-id"]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    entry = gateway.entry(request_id)
    assert {line.unit: line.quantity for line in entry.lines} == {"input": 2, "output_image": 1056 + 200}


@pytest.mark.parametrize("provider", ["gemini", "stability", "fal", "replicate"])
def test_a_stream_elsewhere_has_only_the_picture(gateway: Gateway, client: openai.OpenAI, provider: str):
    """And the lost previews are said."""
    stream = client.images.generate(
        model=MODELS[provider], prompt="a mill", n=2, stream=True, partial_images=2
    )
    events = list(stream)
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert "partial_images-dropped" in stream.response.headers["x-penstock-adjusted"]
    assert gateway.entry(stream.response.headers["x-request-id"]).klass == "delivered"


@pytest.mark.parametrize("provider", MODELS)
def test_pictures_by_link(client: openai.OpenAI, provider: str):
    """The link is whole, begins with the host that was asked, and needs no key; another signature opens nothing."""
    reply = client.images.generate(model=MODELS[provider], prompt="a mill", n=2, response_format="url")
    assert reply.data is not None
    links = [one.url or "" for one in reply.data]
    assert len(set(links)) == 2
    for link in links:
        assert link.startswith(str(client.base_url).removesuffix("/v1/") + "/v1/images/content/img_")
        got = httpx.get(link)
        assert (got.status_code, got.headers["content-type"]) == (200, "image/png")
        assert look(got.content) is not None
    parts = urlsplit(links[0])
    query = dict(parse_qsl(parts.query))
    other = urlsplit(links[1]).path
    for path, expires, signature in (
        (parts.path, str(int(query["expires"]) + 1), query["signature"]),
        (parts.path, query["expires"], "0" * 64),
        (parts.path, "1", query["signature"]),
        (parts.path, "", ""),
        (other, query["expires"], query["signature"]),
    ):
        wrong = httpx.get(
            f"{parts.scheme}://{parts.netloc}{path}", params={"expires": expires, "signature": signature}
        )
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "picture_not_found")


@pytest.mark.parametrize(
    ("provider", "prompt"),
    [
        ("openai", "BLOCK_PROMPT"),
        ("gemini", "FILTER_ANSWER"),
        ("stability", "BLOCK_PROMPT"),
        ("stability", "FILTER_ANSWER"),
        ("fal", "BLOCK_PROMPT"),
        ("fal", "FILTER_ANSWER"),
        ("replicate", "FILTER_ANSWER"),
    ],
)
def test_what_a_filter_refuses_is_the_callers_400(client: openai.OpenAI, provider: str, prompt: str):
    """However the provider says it: 400, 403, 422, a flag, or a blurred picture with 200."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model=MODELS[provider], prompt=f"a mill {prompt}")
    assert caught.value.code in ("moderation_blocked", "content_policy_violation")


@pytest.mark.parametrize("provider", ["fal", "replicate"])
@pytest.mark.parametrize("stream", [False, True])
def test_whoever_hangs_up_cancels_the_job(gateway: Gateway, provider: str, stream: bool):
    """The queue is told, and the attempt is the caller's end."""
    gateway.fresh()
    body = {"model": MODELS[provider], "prompt": "SLOW_JOB", "stream": stream}
    call = gateway.open(body, PATH)
    gateway.sim.wait_for(lambda one: one.method == "GET")
    call.close()
    stop = gateway.sim.wait_for(lambda one: one.path.endswith("/cancel"))
    assert stop.method == ("PUT" if provider == "fal" else "POST")
    record = gateway.last_record()
    assert record.call.status == 499
    assert record.entries[0].error_code == "caller_gone"


def test_a_job_that_takes_too_long_is_stopped(gateway: Gateway, client: openai.OpenAI):
    """The deadline is the call's; the queue is told, and another provider may still make the picture."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(model="hasty/fal-ai/flux/dev", prompt="SLOW_JOB")
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout_total")
    gateway.sim.wait_for(lambda one: one.path.endswith("/cancel"))


@pytest.mark.parametrize("provider", ["gemini", "stability", "fal", "replicate"])
def test_another_provider_makes_the_picture(gateway: Gateway, client: openai.OpenAI, provider: str):
    """A failure inside a dialogue falls back like any other; both attempts stand in the ledger."""
    gateway.faults(at(provider, "status", status=500))
    raw = client.images.with_raw_response.generate(
        model=MODELS[provider], prompt="FAIL_JOB", extra_body={"fallbacks": ["openai/gpt-image-2"]}
    )
    assert len(raw.parse().data or ()) == 1
    assert raw.headers["x-penstock-provider"] == "openai"
    record = gateway.ledger(raw.headers["x-request-id"])
    assert [entry.klass for entry in record.entries] == ["failed", "delivered"]
    assert record.entries[0].provider == provider


def test_a_failure_inside_completed_is_a_failure(gateway: Gateway, client: openai.OpenAI):
    """fal's queue says COMPLETED of a job that failed."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(model=MODELS["fal"], prompt="FAIL_JOB")
    assert "failed" in str(caught.value)
    assert gateway.sim.requests[-1].path.endswith("/status")


def test_a_picture_that_is_gone_is_a_failure(client: openai.OpenAI):
    """The job went well, and its picture cannot be fetched."""
    with pytest.raises(openai.InternalServerError):
        client.images.generate(model=MODELS["fal"], prompt="LOST_PICTURE")


def test_one_picture_of_four_is_tried_again(gateway: Gateway, client: openai.OpenAI):
    """Three are made and paid for: the fourth is not a reason to make them anew."""
    gateway.faults(at("stability", "status", status=500, count=1))
    raw = client.images.with_raw_response.generate(model=MODELS["stability"], prompt="a mill", n=4)
    assert len(raw.parse().data or ()) == 4
    assert len(asked(gateway)) == 5
    assert gateway.entry(raw.headers["x-request-id"]).cost_nusd == 4 * 30_000_000


def test_what_was_made_before_a_failure_is_billed(gateway: Gateway, client: openai.OpenAI):
    """All six are begun anew, and two fail for good: four were made, and cost; nothing was delivered."""
    gateway.faults(at("stability", "status", status=500, count=8))
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(model=MODELS["stability"], prompt="a mill", n=6)
    record = gateway.ledger(caught.value.response.headers["x-request-id"])
    (entry,) = record.entries
    assert entry.klass == "billed_not_delivered"
    assert [(line.unit, line.quantity) for line in entry.lines] == [("image", 4)]
    assert entry.cost_nusd == 4 * 30_000_000
    assert "4 of 6" in str(caught.value)


def test_credentials_go_to_their_provider_alone(gateway: Gateway, client: openai.OpenAI):
    """The host of fal's pictures refuses any: it got none."""
    client.images.generate(model=MODELS["fal"], prompt="a mill", n=2)
    pictures = [one for one in gateway.sim.requests if "/pictures/" in one.path]
    assert len(pictures) == 2
    assert all(header(one.raw_headers, b"authorization") is None for one in pictures)
    others = [one for one in gateway.sim.requests if "/pictures/" not in one.path]
    assert all((header(one.raw_headers, b"authorization") or b"").startswith(b"Key ") for one in others)


@pytest.mark.parametrize("model", ["root/fal-ai/flux/dev", "root-too/black-forest-labs/flux-dev"])
def test_at_the_simulators_root(client: openai.OpenAI, model: str):
    """The same as below ``/p/NAME``: jobs and pictures are found."""
    made = client.images.generate(model=model, prompt="a mill at a river", n=2)
    assert [bool(picture.b64_json) for picture in made.data or ()] == [True, True]


def test_a_model_that_makes_no_pictures_says_so(client: openai.OpenAI):
    """Before anybody is asked."""
    for model, said in (
        ("anthropic/claude-haiku-4-5", "anthropic has no images. Of the configured providers"),
        ("openai/text-embedding-3-small", "is a model for embeddings: /v1/embeddings"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(model=model, prompt="a mill")
        assert said in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "/openai", "/openai/v1", "/api/v1"])
def test_every_prefix_of_openais_clients(gateway: Gateway, prefix: str):
    """And a wrong field is named below each of them."""
    answer = gateway.post(
        {"model": MODELS["openai"], "prompt": "a mill", "n": 11}, f"{prefix}/images/generations"
    )
    assert (answer.status, answer.json()["error"].get("param", "n")) == (400, "n")
    answer = gateway.post({"model": MODELS["openai"], "prompt": "a mill"}, f"{prefix}/images/generations")
    assert answer.status == 200

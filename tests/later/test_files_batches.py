"""Files and batches through the official client: what is uploaded, run over any provider, and read again."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.behaviours.gateway import MODELS, SECRETS, Gateway, at, running_gateway

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
batches: {max_concurrent: 4, max_lines: 60, native: never}
files: {max_file_bytes: 200000, max_total_bytes: 500000}
"""
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("later"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


def client_of(gateway: Gateway, key: str = "CALLER_KEY") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRETS[key], max_retries=0, timeout=20)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with client_of(gateway) as made:
        yield made


@pytest.fixture
def other(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with client_of(gateway, "OTHER_CALLER_KEY") as made:
        yield made


def line(custom_id: str, model: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def jsonl(lines: list[Any]) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)


def begun(client: openai.OpenAI, lines: list[Any], window: str = "24h", **more: Any) -> Any:
    file = client.files.create(file=("lines.jsonl", jsonl(lines)), purpose="batch")
    asked: Any = {"completion_window": window, **more}
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, **asked)


def ended(client: openai.OpenAI, name: str) -> Any:
    until_s = time.monotonic() + 20
    while True:
        batch = client.batches.retrieve(name)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        assert time.monotonic() < until_s, batch
        time.sleep(0.02)


def results(client: openai.OpenAI, name: str | None) -> list[dict[str, Any]]:
    return [] if name is None else [json.loads(one) for one in client.files.content(name).text.splitlines()]


def test_a_file_is_uploaded_listed_read_and_deleted(client: openai.OpenAI, other: openai.OpenAI):
    """And is nobody else's."""
    content = bytes(range(256)) * 500
    file = client.files.create(file=("données.bin", content), purpose="user_data")
    assert (file.object, file.bytes, file.filename, file.purpose) == (
        "file",
        128_000,
        "données.bin",
        "user_data",
    )
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.content(file.id).read() == content
    second = client.files.create(file=("b.jsonl", b"{}"), purpose="batch")
    assert [one.id for one in client.files.list(limit=1)][:2] == [second.id, file.id]
    assert [one.id for one in client.files.list(order="asc")] == [file.id, second.id]
    assert [one.id for one in client.files.list(purpose="batch")] == [second.id]
    assert list(other.files.list()) == []
    for refused in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            refused(file.id)
    assert client.files.delete(file.id).deleted
    client.files.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_what_cannot_be_kept_is_refused_with_the_reason(gateway: Gateway, client: openai.OpenAI):
    """Purpose, size, the key's share, the form itself, the expiry."""
    purpose: Any = "batch_output"
    with pytest.raises(openai.BadRequestError, match="batch_output"):
        client.files.create(file=("a", b"x"), purpose=purpose)
    with pytest.raises(openai.APIStatusError, match="max_file_bytes") as large:
        client.files.create(file=("a", b"x" * 200_001), purpose="user_data")
    assert large.value.status_code == 413
    kept = [client.files.create(file=("a", b"x" * 180_000), purpose="user_data") for _ in range(2)]
    with pytest.raises(openai.PermissionDeniedError, match="max_total_bytes"):
        client.files.create(file=("a", b"x" * 180_000), purpose="user_data")
    for one in kept:
        client.files.delete(one.id)
    headers = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
    assert gateway.post({"file": "x"}, "/v1/files", headers).status == 400
    broken = {**headers, "content-type": "multipart/form-data; boundary=x"}
    assert gateway.post(b"--x\r\nnonsense", "/v1/files", broken).status == 400
    assert gateway.post(b"", "/v1/files", {"content-type": "multipart/form-data"}).status == 401
    with pytest.raises(openai.BadRequestError, match="3600"):
        client.files.create(
            file=("a", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 60}
        )
    brief = client.files.create(
        file=("a", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200}
    )
    assert brief.expires_at == pytest.approx(brief.created_at + 7200, abs=1)
    client.files.delete(brief.id)


def test_a_batch_runs_over_every_provider_in_the_order_of_its_lines(gateway: Gateway, client: openai.OpenAI):
    """Three dialects, one of them unknown to the caller's SDK; each line is an entry of the key, and of the batch's trace."""
    models = list(MODELS.values())
    lines = [line(f"line-{n}", models[n % 3], f"say {n}") for n in range(30)]
    lines.append(line("no-such", "nowhere/no-such-model"))
    batch = begun(client, lines, metadata={"of": "test"})
    assert (batch.object, batch.endpoint, batch.metadata) == ("batch", CHAT, {"of": "test"})
    done = ended(client, batch.id)
    assert done.status == "completed"
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (
        31,
        30,
        1,
    )
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert [one["custom_id"] for one in good] == [f"line-{n}" for n in range(30)]
    assert all(one["response"]["body"]["choices"][0]["message"]["content"] for one in good)
    assert [one["custom_id"] for one in bad] == ["no-such"]
    assert bad[0]["response"]["status_code"] == 404
    assert bad[0]["response"]["body"]["error"]["message"]
    total = sum(one["response"]["body"]["usage"]["total_tokens"] for one in good)
    assert done.usage is not None
    assert done.usage.total_tokens == total
    for one in good[:3]:
        record = gateway.ledger(one["response"]["request_id"])
        assert record.call.virtual_key == "alice"
        assert record.entries[0].trace_id == batch.id
        assert record.entries[0].cost_nusd
    assert next(one.id for one in client.batches.list(limit=1)) == batch.id
    client.files.delete(done.output_file_id)
    client.files.delete(done.error_file_id)


def test_what_is_wrong_with_a_line_is_said_with_its_number(client: openai.OpenAI, other: openai.OpenAI):
    """Nothing of such a batch is run."""
    good = line("a", MODELS["openai"])
    batch = begun(
        client,
        [
            good, good, b"{", {**good, "custom_id": "b", "method": "GET"}, {**good, "custom_id": "c", "url": "/v1/x"},
            line("d", MODELS["openai"], stream=True), {**good, "custom_id": ""},
        ],
    )  # fmt: skip
    assert batch.status == "failed"
    assert [(one.line, one.code) for one in batch.errors.data] == [
        (2, "duplicate_custom_id"), (3, "invalid_json_line"), (4, "invalid_method"), (5, "mismatched_url"),
        (6, "invalid_request"), (7, "invalid_custom_id"),
    ]  # fmt: skip
    assert begun(client, [line(str(n), "m") for n in range(61)]).errors.data[0].code == "too_many_requests"
    assert begun(client, [b"\n"]).errors.data[0].code == "empty_file"
    with pytest.raises(openai.NotFoundError):
        other.batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        other.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="completion_window"):
        begun(client, [good], window="soon")
    with pytest.raises(openai.BadRequestError, match="failed"):
        client.batches.cancel(batch.id)


def test_a_line_waits_for_a_provider_that_is_busy(gateway: Gateway, client: openai.OpenAI):
    """429 of the provider is no answer as long as it may pass."""
    gateway.faults(at("openai", "status", status=429, count=2))
    done = ended(client, begun(client, [line("a", MODELS["openai"])]).id)
    assert done.request_counts.completed == 1


def test_a_batch_is_cancelled_and_keeps_what_was_answered(gateway: Gateway, client: openai.OpenAI):
    """Lines that were not run are said to be not run."""
    gateway.faults(at("openai", "slow_head", ms=400))
    lines = [line(f"l{n}", MODELS["anthropic"] if n < 2 else MODELS["openai"]) for n in range(40)]
    batch = begun(client, lines)
    until_s = time.monotonic() + 10
    while client.batches.retrieve(batch.id).request_counts.completed < 2:
        assert time.monotonic() < until_s
        time.sleep(0.02)
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch.id)
    assert done.status == "cancelled"
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert len(good) >= 2
    assert len(good) + len(bad) == 40
    assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}


def test_a_batch_expires_and_keeps_what_was_answered(gateway: Gateway, client: openai.OpenAI):
    """With the window's end; the rest is said to have expired."""
    gateway.faults(at("openai", "slow_head", ms=600))
    lines = [line(f"l{n}", MODELS["anthropic"] if n < 2 else MODELS["openai"]) for n in range(30)]
    done = ended(client, begun(client, lines, window="1s").id)
    assert done.status == "expired"
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert len(good) + len(bad) == 30
    assert {one["error"]["code"] for one in bad} == {"batch_expired"}


def test_a_batch_needs_no_file_any_more_once_it_is_made(client: openai.OpenAI):
    """It has a copy of its own."""
    file = client.files.create(file=("lines.jsonl", jsonl([line("a", MODELS["openai"])])), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    with contextlib.suppress(openai.NotFoundError):
        client.files.delete(file.id)
    assert ended(client, batch.id).request_counts.completed == 1


def test_message_batches_of_anthropics_client(gateway: Gateway, client: openai.OpenAI):
    """In Anthropic's shape, over two providers; and not among OpenAI's batches."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=SECRETS["CALLER_KEY"], max_retries=0) as messages:
        models = [MODELS["anthropic"], MODELS["openai"], "nowhere/none"]
        requests: Any = [
            {
                "custom_id": f"m{n}",
                "params": {"model": models[n % 3], "max_tokens": 50, "messages": [{"role": "user", "content": f"say {n}"}]},
            }
            for n in range(9)
        ]  # fmt: skip
        batch = messages.messages.batches.create(requests=requests)
        assert (batch.type, batch.processing_status, batch.results_url) == (
            "message_batch",
            "in_progress",
            None,
        )
        until_s = time.monotonic() + 20
        while (done := messages.messages.batches.retrieve(batch.id)).processing_status != "ended":
            assert time.monotonic() < until_s
            time.sleep(0.02)
        counts = done.request_counts
        assert (counts.succeeded, counts.errored, counts.processing) == (6, 3, 0)
        results = list(messages.messages.batches.results(batch.id))
        assert [one.custom_id for one in results] == [f"m{n}" for n in range(9)]
        for n, one in enumerate(results):
            assert one.result.type == ("errored" if n % 3 == 2 else "succeeded")
            if one.result.type == "succeeded":
                assert one.result.message.content[0].type == "text"
                assert one.result.message.usage.output_tokens
            elif one.result.type == "errored":
                assert one.result.error.error.message
        assert [one.id for one in messages.messages.batches.list(limit=1)][:1] == [batch.id]
        assert batch.id not in [one.id for one in client.batches.list()]
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve(batch.id)
        with pytest.raises(anthropic.BadRequestError, match="custom_id"):
            messages.messages.batches.create(requests=[requests[0], requests[0]])
        gateway.faults(at("anthropic", "slow_head", ms=300))
        many: Any = [{**requests[0], "custom_id": f"c{n}"} for n in range(30)]
        cut = messages.messages.batches.create(requests=many)
        assert messages.messages.batches.cancel(cut.id).processing_status in ("canceling", "ended")
        while (done := messages.messages.batches.retrieve(cut.id)).processing_status != "ended":
            assert time.monotonic() < until_s
            time.sleep(0.02)
        assert done.request_counts.canceled > 0
        assert len(list(messages.messages.batches.results(cut.id))) == 30
        assert messages.messages.batches.delete(cut.id).type == "message_batch_deleted"
        with pytest.raises(anthropic.NotFoundError):
            messages.messages.batches.retrieve(cut.id)

"""The simulated Gemini's files and batches satisfy the official client, pointed straight at it."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from penstock.simulate import Scenario, Simulator, running_simulator
from tests.later.test_kill import until

MODEL = "gemini-2.5-flash"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with running_simulator(Scenario(batch_delay_s=0.15)) as made:
        yield made


def client_of(sim: Simulator, **more: Any) -> genai.Client:
    return genai.Client(api_key="any", http_options=types.HttpOptions(base_url=sim.url, **more))


def ended(client: genai.Client, name: str) -> types.BatchJob:
    return until(
        lambda: (one := client.batches.get(name=name)).state != types.JobState.JOB_STATE_PENDING and one
    )


def inlined(count: int) -> list[types.InlinedRequest]:
    return [
        types.InlinedRequest(
            contents=[types.Content(role="user", parts=[types.Part(text=f"say {n}")])],
            metadata={"key": f"k{n}"},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_a_batch_of_requests_in_the_body(sim: Simulator, version: str):
    """Made, looked at, listed, read, deleted; its results carry what was said with the requests."""
    with client_of(sim, api_version=version) as client:
        made = client.batches.create(model=MODEL, src=inlined(3), config={"display_name": "three"})
        assert (made.state, made.display_name, made.model) == (
            types.JobState.JOB_STATE_PENDING,
            "three",
            f"models/{MODEL}",
        )
        assert made.name is not None
        done = ended(client, made.name)
        assert done.state == types.JobState.JOB_STATE_SUCCEEDED
        assert done.dest is not None
        rows = done.dest.inlined_responses or []
        assert [(row.metadata or {})["key"] for row in rows] == ["k2", "k1", "k0"]
        assert all(row.response is not None and row.response.text for row in rows)
        assert [one.name for one in client.batches.list()] == [made.name]
        client.batches.delete(name=made.name)
        assert list(client.batches.list()) == []
        with pytest.raises(errors.ClientError):
            client.batches.get(name=made.name)


def test_a_batch_of_a_files_lines(sim: Simulator, tmp_path: Path):
    """Uploaded in pieces, made, downloaded; what was uploaded is not given back, what was made is."""
    lines = [
        {"key": "a", "request": {"contents": [{"role": "user", "parts": [{"text": "one"}]}]}},
        {"key": "b", "request": {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "nonsense": 1}},
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    with client_of(sim) as client:
        file = client.files.upload(
            file=path, config=types.UploadFileConfig(mime_type="application/jsonl", display_name="lines")
        )
        assert (file.display_name, file.size_bytes, file.source) == (
            "lines",
            path.stat().st_size,
            types.FileSource.UPLOADED,
        )
        assert file.name is not None
        done = ended(
            client, client.batches.create(model=MODEL, src=file.name, config={"display_name": "f"}).name or ""
        )
        assert done.dest is not None
        assert done.dest.file_name is not None
        rows = [json.loads(row) for row in client.files.download(file=done.dest.file_name).splitlines()]
        assert [row["key"] for row in rows] == ["b", "a"]
        assert rows[0]["error"]["code"] == 3
        assert rows[1]["response"]["usageMetadata"]["totalTokenCount"] > 0
        with pytest.raises(errors.ClientError):
            client.files.download(file=file.name)
        client.files.delete(name=file.name)
        assert [one.name for one in client.files.list()] == [done.dest.file_name]
        with pytest.raises(errors.ClientError):
            client.files.get(name=file.name)


def test_a_batch_is_cancelled_and_an_unreadable_one_fails(sim: Simulator):
    with client_of(sim) as client:
        made = client.batches.create(model=MODEL, src=inlined(2), config={"display_name": "cut"})
        client.batches.cancel(name=made.name or "")
        assert ended(client, made.name or "").state == types.JobState.JOB_STATE_CANCELLED
        file = client.files.upload(file=BytesIO(b'{"key": "a"'), config={"mime_type": "application/jsonl"})
        bad = client.batches.create(model=MODEL, src=file.name or "", config={"display_name": "bad"})
        assert bad.state == types.JobState.JOB_STATE_FAILED
        with pytest.raises(errors.ClientError):
            client.batches.create(model=MODEL, src="files/none", config={"display_name": "none"})


@pytest.mark.filterwarnings("ignore:batches.create_embeddings")
def test_a_batch_of_embeddings(sim: Simulator):
    """By the client's experimental method, from a file."""
    lines = b"".join(
        json.dumps({"key": f"e{n}", "request": {"content": {"parts": [{"text": f"words {n}"}]}}}).encode()
        + b"\n"
        for n in range(2)
    )
    with client_of(sim) as client:
        file = client.files.upload(file=BytesIO(lines), config={"mime_type": "application/jsonl"})
        made = client.batches.create_embeddings(
            model="gemini-embedding-001", src=types.EmbeddingsBatchJobSource(file_name=file.name)
        )
        done = ended(client, made.name or "")
        assert done.dest is not None
        rows = [json.loads(row) for row in client.files.download(file=done.dest.file_name or "").splitlines()]
        assert {row["key"]: len(row["response"]["embedding"]["values"]) > 0 for row in rows} == {
            "e0": True,
            "e1": True,
        }


def test_an_upload_in_one_request(sim: Simulator):
    """Two parts: what the file is, and its bytes, in which anything may stand but the boundary."""
    data = b"line one\r\n--other\r\nline two\r\n"
    body = (
        b"--mark\r\nContent-Type: application/json\r\n\r\n"
        b'{"file":{"displayName":"both"}}\r\n--mark\r\nContent-Type: text/plain\r\n\r\n'
        + data
        + b"\r\n--mark--\r\n"
    )
    reply = httpx2.post(
        f"{sim.url}/upload/v1beta/files?uploadType=multipart",
        headers={"x-goog-api-key": "any", "content-type": "multipart/related; boundary=mark"},
        content=body,
    )
    assert reply.status_code == 200
    shown = reply.json()["file"]
    assert (shown["displayName"], shown["mimeType"], shown["sizeBytes"]) == (
        "both",
        "text/plain",
        str(len(data)),
    )


def test_a_list_comes_in_pages_and_a_new_batch_late():
    with running_simulator(Scenario(batch_listed_after_s=0.3)) as sim, client_of(sim) as client:
        made = [
            client.batches.create(model=MODEL, src=inlined(1), config={"display_name": f"n{n}"})
            for n in range(3)
        ]
        names = until(
            lambda: (
                len(found := [one.name for one in client.batches.list(config={"page_size": 2})]) == 3
                and found
            )
        )
        assert names == [one.name for one in reversed(made)]

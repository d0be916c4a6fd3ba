"""Gemini's batches as a service: what is written, and what of its answers is believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import UpstreamMalformed
from penstock.dialects.gemini_batches import GEMINI_BATCHES
from penstock.wire.batches import BatchItem, Sought
from penstock.wire.http import WireRequest

CHAT = b"/v1beta/models/gemini-2.5-flash:generateContent"
EMBED = b"/v1beta/models/gemini-embedding-001:batchEmbedContents"


def item(body: Any, path: bytes = CHAT, name: str = "batch_a-0") -> BatchItem:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return BatchItem(name, WireRequest(b"POST", path, [], text))


def operation(state: str, **more: Any) -> bytes:
    meta = {"state": f"BATCH_STATE_{state}", "displayName": "batch_a", **more.pop("meta", {})}
    return json.dumps({"name": "batches/x1", "metadata": meta, **more}).encode()


def test_lines_are_written_one_a_row_and_of_one_file():
    """A body with line breaks is one line all the same; whatever stands in it, the boundary does not."""
    items = [item(b'{"contents":\n [{"parts": [{"text": "a--b\\n"}]}]}'), item({"x": 1}, name="batch_a-1")]
    upload = GEMINI_BATCHES.upload("batch_a", items)
    assert upload is not None
    assert upload.path == b"/upload/v1beta/files?uploadType=multipart"
    boundary = dict(upload.headers)[b"content-type"].partition(b"boundary=")[2]
    _, described, media, end = upload.body.split(b"--" + boundary)
    assert end == b"--\r\n"
    assert json.loads(described.partition(b"\r\n\r\n")[2]) == {
        "file": {"displayName": "batch_a.jsonl", "mimeType": "application/jsonl"}
    }
    rows = [json.loads(row) for row in media.partition(b"\r\n\r\n")[2].splitlines() if row]
    assert rows == [
        {"key": "batch_a-0", "request": {"contents": [{"parts": [{"text": "a--b\n"}]}]}},
        {"key": "batch_a-1", "request": {"x": 1}},
    ]
    made = GEMINI_BATCHES.create("batch_a", items, "files/f")
    assert made.path == b"/v1beta/models/gemini-2.5-flash:batchGenerateContent"
    assert json.loads(made.body) == {
        "batch": {"displayName": "batch_a", "inputConfig": {"fileName": "files/f"}}
    }


def test_embeddings_are_one_input_a_line_and_come_back_as_a_call_would():
    one = item({"requests": [{"content": {"parts": [{"text": "a"}]}}]}, EMBED)
    assert GEMINI_BATCHES.refuse([one]) is None
    assert GEMINI_BATCHES.create("b", [one], "files/f").path.endswith(
        b"gemini-embedding-001:asyncBatchEmbedContent"
    )
    upload = GEMINI_BATCHES.upload("b", [one])
    assert upload is not None
    assert b'"request":{"content": {"parts": [{"text": "a"}]}}' in upload.body
    two = item({"requests": [{}, {}]}, EMBED)
    assert "line 2" in (GEMINI_BATCHES.refuse([one, two]) or "")
    assert GEMINI_BATCHES.refuse([item({}, b"/v1beta/models/x:predict")]) is not None
    read = GEMINI_BATCHES.read_line(
        b'{"key":"b-0","response":{"embedding":{"values":[1.5]},"usageMetadata":{"promptTokenCount":3}}}'
    )
    assert json.loads(read.body) == {
        "embeddings": [{"values": [1.5]}],
        "usageMetadata": {"promptTokenCount": 3},
    }
    read = GEMINI_BATCHES.read_line(b'{"key":"b-0","response":{"embedding":{"values":[1]},"tokenCount":"4"}}')
    assert json.loads(read.body)["usageMetadata"] == {"promptTokenCount": 4}


@pytest.mark.parametrize(
    ("body", "status", "missing", "good", "results"),
    [
        (operation("PENDING"), "running", "", 0, ()),
        (operation("RUNNING", meta={"batchStats": {"successfulRequestCount": "2"}}), "running", "", 2, ()),
        (operation("UNSPECIFIED"), "running", "", 0, ()),
        (
            operation("SUCCEEDED", done=True, response={"responsesFile": "files/out-1"}),
            "ended", "", 0, ("/download/v1beta/files/out-1:download?alt=media",),
        ),
        (
            operation("SUCCEEDED", meta={"output": {"responsesFile": "files/out-1"}}),
            "ended", "", 0, ("/download/v1beta/files/out-1:download?alt=media",),
        ),
        (operation("FAILED", error={"code": 3, "message": "bad file"}), "failed", "", 0, ()),
        (operation("FAILED", meta={"batchStats": {"successfulRequestCount": 1}}), "ended", "", 1, ()),
        (operation("CANCELLED", done=True, error={"code": 1, "message": "x"}), "ended", "cancelled", 0, ()),
        (operation("EXPIRED", done=True, error={"code": 4, "message": "x"}), "ended", "expired", 0, ()),
    ],
)  # fmt: skip
def test_states(body: bytes, status: str, missing: str, good: int, results: tuple[str, ...]):
    """Only what failed without an answer was not run: it may be run elsewhere."""
    state = GEMINI_BATCHES.read(body)
    assert (state.id, state.status, state.missing, state.good, state.results) == (
        "batches/x1",
        status,
        missing,
        good,
        results,
    )
    assert ("batches/x1" in state.files) == (status != "running")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'{"key":"a","response":{"candidates":[]}}', 200),
        (b'{"key":"a","error":{"code":3,"message":"m"}}', 400),
        (b'{"key":"a","error":{"code":8,"message":"m"}}', 429),
        (b'{"key":"a","error":{"code":503,"message":"m"}}', 503),
        (b'{"key":"a","error":{"code":99}}', 500),
        (b'{"key":"a"}', 500),
    ],
)
def test_results(line: bytes, status: int):
    """Codes are gRPC's; a line that says nothing is no success."""
    read = GEMINI_BATCHES.read_line(line)
    assert (read.name, read.kind, read.status) == ("a", "answered", status)


def test_a_result_without_its_key_is_nobodys():
    assert GEMINI_BATCHES.read_line(b'{"response":{"candidates":[]}}').name == ""


def test_a_batch_is_found_by_its_name_or_by_its_file():
    """And by nothing else."""
    page = {
        "operations": [
            {"name": "batches/a", "metadata": {"displayName": "ours"}},
            {"name": "batches/b", "metadata": {"displayName": "", "inputConfig": {"fileName": "files/f"}}},
            {
                "name": "batches/c",
                "metadata": {"displayName": "other", "inputConfig": {"fileName": "files/g"}},
            },
            {"name": "batches/d"},
        ],
        "nextPageToken": "abc_=",
    }
    body = json.dumps(page).encode()
    assert [one.id for one in GEMINI_BATCHES.found(body, Sought("ours", "files/f", 1, 0))] == [
        "batches/a",
        "batches/b",
    ]
    assert [one.id for one in GEMINI_BATCHES.found(body, Sought("none", "", 1, 0))] == []
    assert GEMINI_BATCHES.search(GEMINI_BATCHES.more(body, 0)).path.endswith(b"&pageToken=abc_=")
    assert GEMINI_BATCHES.more(b'{"nextPageToken":"a&b c"}', 0) == ""
    assert GEMINI_BATCHES.found(b"{}", Sought("ours", "", 1, 0)) == []


@pytest.mark.parametrize("name", ["files/../x", "batches/x?key=1", "files/a b", "x"])
def test_names_that_would_change_a_path_are_refused(name: str):
    with pytest.raises(UpstreamMalformed):
        GEMINI_BATCHES.read_upload(json.dumps({"file": {"name": name}}).encode())
    with pytest.raises(UpstreamMalformed):
        GEMINI_BATCHES.read(json.dumps({"name": name, "metadata": {"state": "BATCH_STATE_PENDING"}}).encode())
    with pytest.raises(UpstreamMalformed):
        GEMINI_BATCHES.read(operation("SUCCEEDED", response={"responsesFile": name}))


@given(
    st.one_of(
        st.binary(max_size=200), st.text().map(lambda text: json.dumps({"name": text, "key": text}).encode())
    )
)
def test_whatever_comes_back_is_read_or_refused(body: bytes):
    for read in (GEMINI_BATCHES.read, GEMINI_BATCHES.read_line, GEMINI_BATCHES.read_upload):
        try:
            assert read(body) is not None
        except UpstreamMalformed as error:
            assert "Gemini" in error.message

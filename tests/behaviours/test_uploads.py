"""Large files of a call, brought to the provider's own store over real sockets: once, for one account and one virtual key."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from penstock.gateway.upload_shelf import FOUND, KIND
from tests.behaviours.gateway import Answer, Gateway, running_gateway

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}, {value: env.SECOND_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 1, backoff_initial_ms: 1}}
    uploads: {when: large, min_bytes: 2_000_000}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  claude:
    dialect: anthropic
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/claude", retry: {max_retries: 0}}
    uploads: {when: large, min_bytes: 2_000_000}
  gemini:
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
    uploads: {when: large, min_bytes: 2_000_000}
  answering:
    dialect: responses
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/answering/v1", retry: {max_retries: 0}}
    uploads: {when: large, min_bytes: 2_000_000}
  plain:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/plain/v1", retry: {max_retries: 0}}
virtual_keys:
  - {name: one, key: env.CALLER_KEY}
  - {name: two, key: env.OTHER_CALLER_KEY}
media: {allow_hosts: ["127.0.0.1"]}
routes:
  - {id: either, primary: gemini/gemini-2.5-flash, fallbacks: [openai/gpt-4o-mini]}
"""
ONE, TWO = ({"authorization": f"Bearer vk-{who}"} for who in ("caller-000000000006", "other-000000000007"))
MODEL = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-haiku-4-5",
    "claude": "claude/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "answering": "answering/gpt-4o-mini",
}


def pdf(size: int, mark: str = "") -> bytes:
    """Different bytes all the way, so that a piece that is lost or doubled shows."""
    head = f"%PDF-1.4 {mark}\n".encode()
    body = b"".join(n.to_bytes(4, "big") for n in range((size - len(head)) // 4))
    return head + body


SMALL, LARGE = pdf(3_000_000), pdf(30_000_000)


@cache
def encoded(file: bytes) -> str:
    return base64.b64encode(file).decode()


def asked(model: str, file: bytes, text: str = "ECHO read", **more: Any) -> dict[str, Any]:
    data = "data:application/pdf;base64," + encoded(file)
    content = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": data}},
        {"type": "text", "text": text},
    ]
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("uploads"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    """With nothing at the providers, and nothing known of what was there."""
    served.fresh()
    served.sim.files.forget()
    forget(served)
    return served


def forget(gateway: Gateway) -> None:
    """Nothing is known of any upload."""
    for kind in (KIND, FOUND):
        for owner in ("one", "two", ""):
            for stored in kept(gateway, kind, owner):
                ask(gateway, lambda store, s=stored: store.delete(s.kind, s.id, s.owner))


def kept(gateway: Gateway, kind: str, owner: str) -> list[Any]:
    return ask(gateway, lambda store: store.listed(kind, owner))


def ask(gateway: Gateway, question: Callable[[Any], Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(gateway.house.keeper.do(question), gateway.loop).result(10)


def uploads(gateway: Gateway) -> list[tuple[str, bytes]]:
    """The provider and the body of each file that was brought."""
    return [
        (one.provider, one.body)
        for one in gateway.sim.requests
        if one.method == "POST"
        and (one.path.endswith("/files") or "upload_id=" in one.path)
        and one.headers.get("x-goog-upload-command") != "start"
    ]


def calls(gateway: Gateway) -> list[Any]:
    """What the models were asked, slim as it is."""
    return [
        json.loads(one.body)
        for one in gateway.sim.requests
        if one.method == "POST" and "/files" not in one.path
    ]


def told(gateway: Gateway, answer: Answer) -> list[str]:
    """What `penstock explain` says of files."""
    happenings = gateway.story(answer.request_id)["happenings"]
    return [one["reason"] for one in happenings if one["what"] == "file"]


@pytest.mark.parametrize("provider", ["gemini", "anthropic"])
def test_30_mb_through_openais_inlet(gateway: Gateway, provider: str):
    """To Anthropic because it must be (32 MB a request), to Gemini because it is wanted. The second turn finds it again."""
    answer = gateway.post(asked(MODEL[provider], LARGE), headers=ONE)
    assert answer.status == 200, answer.body
    assert answer.text().strip() == "read"
    assert answer.headers["x-penstock-adjusted"].split(",").count("document-uploaded") == 1
    assert LARGE in uploads(gateway)[0][1]
    assert len(uploads(gateway)) == 1
    assert told(gateway, answer)[0].startswith(f"uploaded 30 MB to {provider} in ")
    turn = asked(MODEL[provider], LARGE)
    turn["messages"] += [{"role": "assistant", "content": "read"}, {"role": "user", "content": "ECHO more"}]
    second = gateway.post(turn, headers=ONE)
    assert second.text().strip() == "more"
    assert len(uploads(gateway)) == 1
    assert [one.partition(" of ")[0].split()[:2] for one in told(gateway, second)] == [["reused", "file"]]
    assert all(len(json.dumps(one)) < 2_000 for one in calls(gateway))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("provider", ["openai", "claude", "gemini", "answering"])
def test_each_dialect_is_named_the_file(gateway: Gateway, provider: str, stream: bool):
    answer = gateway.post(asked(MODEL[provider], SMALL, stream=stream), headers=ONE)
    assert answer.text().strip() == "read"
    assert [(who, SMALL in body) for who, body in uploads(gateway)] == [(provider, True)]
    ((_, name, size),) = gateway.sim.files.held()
    assert size == len(SMALL)
    assert name in json.dumps(calls(gateway)[-1])


def test_callers_own_words_go_through_but_for_the_file(gateway: Gateway):
    """Passed through, too: Anthropic's own client, with its own beta beside ours, and a file in a tool's result."""
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(SMALL)}
    document = {"type": "document", "source": source, "title": "A title", "citations": {"enabled": True}}
    messages: list[Any] = [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "fetch", "input": {"x": 1.0}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [document]}]},
    ]
    tools: list[Any] = [{"name": "fetch", "input_schema": {"type": "object"}}]
    with anthropic.Anthropic(base_url=gateway.url, api_key="vk-caller-000000000006", max_retries=0) as client:
        reply = client.messages.with_raw_response.create(
            model=MODEL["claude"],
            max_tokens=50,
            messages=messages,
            tools=tools,
            extra_headers={"anthropic-beta": "context-1m-2025-08-07"},
        )
    assert "document-uploaded" in reply.headers["x-penstock-adjusted"]
    sent = gateway.sim.requests[-1]
    assert sent.headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"
    ((_, name, _),) = gateway.sim.files.held()
    document["source"] = {"type": "file", "file_id": name}
    assert json.loads(sent.body)["messages"] == messages
    assert b'"x":1.0' in sent.body
    assert SMALL in uploads(gateway)[0][1]


def test_responses_through_openais_client(gateway: Gateway):
    """Its base64 comes as Responses write it; the file goes to Gemini."""
    data = "data:application/pdf;base64," + base64.b64encode(SMALL).decode()
    content = [
        {"type": "input_file", "filename": "a.pdf", "file_data": data},
        {"type": "input_text", "text": "ECHO read"},
    ]
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="vk-caller-000000000006", max_retries=0
    ) as client:
        reply = client.responses.create(
            model=MODEL["gemini"], input=[{"role": "user", "content": content}], store=False
        )
    assert reply.output_text.strip() == "read"
    assert SMALL in uploads(gateway)[0][1]


def test_two_callers_never_share(gateway: Gateway):
    """The same bytes, one account: each virtual key has its own file, whoever came first."""
    for headers in (ONE, TWO, ONE, TWO):
        assert gateway.post(asked(MODEL["gemini"], SMALL), headers=headers).status == 200
    names = [one["contents"][0]["parts"][0]["fileData"]["fileUri"] for one in calls(gateway)]
    assert names[0] == names[2] != names[1] == names[3]
    assert len(uploads(gateway)) == 2


def test_another_key_uploads_anew(gateway: Gateway):
    """A file belongs to the account: the key that takes over after a refusal has its own."""
    gateway.faults({"kind": "status", "status": 429, "count": 1, "when": {"dialects": ["openai"]}})
    answer = gateway.post(asked(MODEL["openai"], SMALL), headers=ONE)
    assert answer.text().strip() == "read"
    keys = [one.key for one in gateway.sim.requests if one.path.endswith("/files")]
    assert len(set(keys)) == len(keys) == 2
    assert [entry.status for entry in gateway.ledger(answer.request_id).entries] == [429, 200]


def test_a_fallback_uploads_anew(gateway: Gateway):
    gateway.faults({"kind": "status", "status": 503, "when": {"dialects": ["gemini"]}})
    answer = gateway.post(asked("either", SMALL), headers=ONE)
    assert answer.text().strip() == "read"
    assert [who for who, _ in uploads(gateway)] == ["gemini", "openai"]


@pytest.mark.parametrize("provider", ["openai", "claude", "gemini", "answering"])
def test_what_is_gone_is_brought_anew_once(gateway: Gateway, provider: str):
    """Somebody has deleted it there: the provider says so in its own words."""
    file = SMALL
    assert gateway.post(asked(MODEL[provider], file), headers=ONE).status == 200
    gateway.sim.files.forget()
    if provider == "openai":  # either of the two keys may be drawn: each is asked until it has forgotten, too
        for _ in range(8):
            assert gateway.post(asked(MODEL[provider], file), headers=ONE).text().strip() == "read"
        assert 2 <= len(uploads(gateway)) <= 4
        return
    again = gateway.post(asked(MODEL[provider], file), headers=ONE)
    assert again.text().strip() == "read"
    assert len(gateway.ledger(again.request_id).entries) == 1
    assert len(uploads(gateway)) == 2
    words = told(gateway, again)
    assert [one.split()[0] for one in (words[0], words[2])] == ["reused", "uploaded"]
    assert " is gone, says " in words[1]
    assert len(kept(gateway, KIND, "one")) == 1


def test_a_failed_upload_goes_inline_where_that_fits(gateway: Gateway):
    gateway.faults({"kind": "status", "status": 500, "when": {"dialects": ["gemini_files"]}})
    answer = gateway.post(asked(MODEL["gemini"], SMALL), headers=ONE)
    assert answer.text().strip() == "read"
    assert "document-uploaded" not in answer.headers.get("x-penstock-adjusted", "")
    sent = calls(gateway)[-1]["contents"][0]["parts"][0]["inlineData"]["data"]
    assert base64.b64decode(sent) == SMALL
    assert "could not be brought to gemini" in told(gateway, answer)[0]


def test_a_failed_upload_is_told_where_inline_does_not_fit(gateway: Gateway):
    gateway.faults({"kind": "status", "status": 500, "when": {"dialects": ["anthropic_files"]}})
    answer = gateway.post(asked(MODEL["anthropic"], LARGE), headers=ONE)
    assert (answer.status, answer.error["code"]) == (502, "upstream_fault")
    assert calls(gateway) == []


def test_what_is_no_base64_is_the_providers_to_refuse(gateway: Gateway):
    """Found before a byte of it is brought anywhere."""
    body = asked(MODEL["openai"], SMALL)
    file = body["messages"][0]["content"][0]["file"]
    file["file_data"] = file["file_data"][:2_000_000] + "*" + file["file_data"][2_000_000:]
    answer = gateway.post(body, headers=ONE)
    assert uploads(gateway) == []
    assert any("no base64" in one for one in told(gateway, answer))


def test_who_wants_nothing_kept_has_nothing_uploaded(gateway: Gateway):
    """zdr leaves only those who promise it; here nobody does, so the configuration says so of one."""
    zdr = CONFIG.replace("    uploads: {when: large, min_bytes: 2_000_000}\nvirtual", "virtual").replace(
        "  answering:", "    data_policy: {trains: false, zdr: true}\n  answering:", 1
    )
    assert gateway.reload(zdr) == []
    try:
        answer = gateway.post(asked(MODEL["gemini"], SMALL, provider={"zdr": True}), headers=ONE)
        assert answer.text().strip() == "read", answer.body
        assert uploads(gateway) == []
        assert "wants nothing kept" in told(gateway, answer)[0]
    finally:
        assert gateway.reload(CONFIG) == []


@pytest.mark.parametrize(
    ("provider", "part"),
    [
        ("openai", {"type": "file", "file": {"file_id": "file-simGone"}}),
        ("claude", {"type": "file", "file": {"file_id": "file_simGone"}}),
    ],
)
def test_a_file_that_its_caller_names_wrongly_takes_no_model_away(
    gateway: Gateway, provider: str, part: dict[str, Any]
):
    """404 is for the file, not for the model: the next call is served."""
    body = {"model": MODEL[provider], "messages": [{"role": "user", "content": [part]}]}
    answer = gateway.post(body, headers=ONE)
    assert (answer.status, answer.error["code"]) == (404, "file_not_found")
    body["messages"][0]["content"] = "ECHO there"
    assert gateway.post(body, headers=ONE).text().strip() == "there"


def test_googles_403_for_a_file_cools_no_key(gateway: Gateway):
    """It says so of a file that is not there, as it would of a key that may not."""
    uri = f"{gateway.sim.url}/p/gemini/v1beta/files/gone"
    parts = [{"fileData": {"mimeType": "application/pdf", "fileUri": uri}}, {"text": "ECHO x"}]
    path = "/v1beta/models/gemini%2Fgemini-2.5-flash:generateContent"
    for _ in range(2):
        answer = gateway.post({"contents": [{"role": "user", "parts": parts}]}, path, ONE)
        assert (answer.status, "may not exist" in answer.error["message"]) == (404, True)


def test_small_ones_and_other_providers_are_left_alone(gateway: Gateway):
    """Below the bound, or where no files are known of: as ever."""
    for model, file in (
        (MODEL["gemini"], pdf(1_500_000)),
        ("plain/gpt-4o-mini", SMALL),
        (MODEL["anthropic"], SMALL),
    ):
        answer = gateway.post(asked(model, file), headers=ONE)
        assert answer.text().strip() == "read"
        assert "uploaded" not in answer.headers.get("x-penstock-adjusted", "")
    assert uploads(gateway) == []
    assert kept(gateway, KIND, "one") == []


def test_two_calls_at_once_bring_one_file(gateway: Gateway):
    """The second waits for the first."""
    slow = {"kind": "slow_head", "ms": 400, "when": {"dialects": ["gemini_files"]}}
    gateway.faults(slow)
    body = json.dumps(asked(MODEL["gemini"], SMALL)).encode()
    with gateway.open(body, headers=ONE) as first, gateway.open(body, headers=ONE) as second:
        answers = [first.rest(), second.rest()]
    assert [answer.text().strip() for answer in answers] == ["read", "read"]
    assert len(uploads(gateway)) == 1
    assert sorted(told(gateway, answer)[0].split()[0] for answer in answers) == ["reused", "uploaded"]


class Page(BaseHTTPRequestHandler):
    """A web server of somebody's with a document."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/pdf")
        self.send_header("content-length", str(len(SMALL)))
        self.end_headers()
        self.wfile.write(SMALL)

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""


def test_what_is_fetched_by_its_address_is_brought_too(gateway: Gateway):
    """Anthropic fetches no plain http: we do, and what came is large."""
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        file = {"file_data": f"http://127.0.0.1:{server.server_port}/a.pdf", "filename": "a.pdf"}
        content = [{"type": "file", "file": file}, {"type": "text", "text": "ECHO read"}]
        body = {"model": MODEL["claude"], "messages": [{"role": "user", "content": content}]}
        answer = gateway.post(body, headers=ONE)
        thread.join()
    assert answer.text().strip() == "read", answer.body
    words = answer.headers["x-penstock-adjusted"].split(",")
    assert {"image-fetched", "document-uploaded"} <= set(words)
    assert SMALL in uploads(gateway)[0][1]


def test_our_own_files_are_brought_too(gateway: Gateway):
    """What the caller has left at /v1/files, named by our id."""
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="vk-caller-000000000006", max_retries=0
    ) as client:
        file = client.files.create(file=("a.pdf", SMALL, "application/pdf"), purpose="user_data")
        part: Any = {"type": "file", "file": {"file_id": file.id}}
        messages: list[Any] = [{"role": "user", "content": [part, {"type": "text", "text": "ECHO read"}]}]
        reply = client.chat.completions.with_raw_response.create(model=MODEL["gemini"], messages=messages)
    assert {"file-inlined", "document-uploaded"} <= set(reply.headers["x-penstock-adjusted"].split(","))
    assert SMALL in uploads(gateway)[0][1]


def test_a_file_is_waited_for_within_the_deadline(tmp_path: Path):
    """Gemini looks at it first. One that takes longer than the call may ends with it."""
    config = CONFIG + "server: {total_timeout_ms: 5000}\n"
    with running_gateway(tmp_path, config, scenario={"file_looks": 1}) as gateway:
        answer = gateway.post(asked(MODEL["gemini"], SMALL), headers=ONE)
        assert answer.text().strip() == "read"
        looks = [one for one in gateway.sim.requests if one.method == "GET"]
        assert len(looks) == 2
        gateway.faults({"kind": "hang", "when": {"dialects": ["gemini_files"]}})
        hung = gateway.post(asked(MODEL["gemini"], pdf(3_000_000, "other")), headers=ONE)
        assert (hung.status, hung.error["code"]) == (504, "upstream_timeout_total")


def test_a_file_is_deleted_there_when_its_time_is_over(gateway: Gateway):
    """And is used no more; a deletion that fails is tried again."""
    assert gateway.post(asked(MODEL["gemini"], SMALL), headers=ONE).status == 200
    (custody,) = kept(gateway, KIND, "one")
    (found,) = kept(gateway, FOUND, "one")
    gateway.faults({"kind": "status", "status": 503, "count": 1, "when": {"dialects": ["gemini_files"]}})
    ask(gateway, lambda s: s.change(FOUND, found.id, "one", found.meta, version=found.version, expires_ms=1))
    due(gateway, custody.id)
    waited(lambda: [one.meta["tries"] for one in kept(gateway, KIND, "one")] == [1])
    assert len(gateway.sim.files.held()) == 1
    due(gateway, custody.id)
    waited(lambda: kept(gateway, KIND, "one") == [])
    assert gateway.sim.files.held() == []
    assert gateway.post(asked(MODEL["gemini"], SMALL), headers=ONE).status == 200
    assert len(uploads(gateway)) == 2
    said = gateway.get("/metrics").body.decode()
    for result in ("uploaded", "undeleted", "deleted"):
        assert f'penstock_uploads_total{{provider="gemini",result="{result}"}} ' in said


def due(gateway: Gateway, name: str) -> None:
    """Its time is over now."""
    stored = ask(gateway, lambda store: store.get(KIND, name, "one"))
    assert ask(gateway, lambda s: s.change(KIND, name, "one", stored.meta, version=stored.version, due_ms=1))


def waited(until: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not until():
        assert time.monotonic() < end_s
        time.sleep(0.02)

"""The rest of a provider, raw: curl through the gateway to a provider of which the test owns every byte."""

import gzip
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.decisions import Rejected
from penstock.gateway.raw_rules import forwarded, raw_path
from tests.behaviours.gateway import SECRETS, Answer, Gateway, running_gateway

CONFIG = """
providers:
  openai:
    raw: true
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{echo}/base/v1", retry: {max_retries: 0}}
  anthropic:
    raw: true
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  gemini:
    raw: true
    keys: [{value: env.GEMINI_KEY}]
    network: {base_url: "{sim}/p/gemini", retry: {max_retries: 0}}
  simulated:
    dialect: openai
    raw: true
    keys: [{value: env.OPENAI_KEY}]
    models: {}
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  closed:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{echo}", retry: {max_retries: 0}}
virtual_keys:
  - {name: alice, key: env.CALLER_KEY}
  - {name: frugal, key: env.OTHER_CALLER_KEY, budgets: [{limit_usd: 0.01}]}
  - {name: narrow, key: env.ADMIN_KEY, models: ["openai/*", "!openai/gpt-5"], rate_limit: {requests_per_minute: 5, burst: 5}}
prices:
  - {model: simulated/gpt-4o-mini, usd_per_million: {input: "0.15", output: "0.60"}}
"""
ALICE = {"authorization": f"Bearer {SECRETS['CALLER_KEY']}"}
FRUGAL = {"authorization": f"Bearer {SECRETS['OTHER_CALLER_KEY']}"}
NARROW = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


class Echo:
    """Says what it was asked: the raw request line, headers, body."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.head: dict[str, str] = {}
        self.status = 200
        self.body: bytes | None = None
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                echo.seen.append((self.command, self.path, headers, body))
                said = echo.body if echo.body is not None else b'{"ok": true}'
                self.send_response(echo.status)
                for name, value in {"content-type": "application/json", **echo.head}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said)

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, echo: Echo) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("raw"), CONFIG, echo=echo.url) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway, echo: Echo) -> Gateway:
    served.fresh()
    echo.seen.clear()
    echo.head, echo.status, echo.body = {}, 200, None
    return served


def ask(gateway: Gateway, path: str, method: str = "GET", body: Any = None, headers: Any = ALICE) -> Answer:
    return gateway.open(body, path, headers, method=method).rest()


def test_any_method_and_path_goes_through_with_our_key(gateway: Gateway, echo: Echo):
    """The caller's credentials stay here, in whichever header or query they stand."""
    secrets = {
        **ALICE, "x-api-key": "caller-secret-1", "x-goog-api-key": "caller-secret-2", "cookie": "caller-secret-3",
        "proxy-authorization": "caller-secret-4", "api-key": "caller-secret-5", "x-amz-security-token": "caller-secret-6",
        "openai-beta": "assistants=v2", "idempotency-key": "once", "x-penstock-stage": "tuning",
    }  # fmt: skip
    for method in ("GET", "POST", "DELETE", "PUT", "PATCH"):
        answer = ask(
            gateway,
            "/raw/openai/vector_stores/vs_1?limit=2&key=caller-secret-7&after=x",
            method,
            None,
            secrets,
        )
        assert answer.status == 200
        assert answer.json() == {"ok": True}
        command, path, headers, _ = echo.seen[-1]
        assert (command, path) == (method, "/base/v1/vector_stores/vs_1?limit=2&after=x")
        assert headers["authorization"] == f"Bearer {SECRETS['OPENAI_KEY']}"
        assert (headers["openai-beta"], headers["idempotency-key"]) == ("assistants=v2", "once")
        assert "caller-secret" not in repr(echo.seen[-1])
        assert SECRETS["CALLER_KEY"] not in repr(echo.seen[-1])
        entry = gateway.entry(answer.request_id)
        assert (entry.virtual_key, entry.provider, entry.model, entry.stage) == (
            "alice",
            "openai",
            "raw",
            "tuning",
        )
        assert entry.klass == "delivered"
        assert entry.cost_nusd == (0 if method in ("GET", "DELETE") else None)
    assert '"unpriced"' in json.dumps(gateway.story(answer.request_id))


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/x", "/raw/openai//evil.example/x", "/raw/openai/../admin", "/raw/openai/a/../../admin",
        "/raw/openai/%2e%2e/admin", "/raw/openai/a/%2E%2E%2Fadmin", "/raw/openai/a/.%2e/admin", "/raw/openai/./x",
        "/raw/openai/..", "/raw/openai/a/..;/b", "/raw/openai/\\evil.example", "/raw/openai/%5cevil", "/raw/openai/%252e%252e/x",
        "/raw/openai/a%00b", "/raw/openai/a#b", "/raw/..%2fopenai/x", "/raw/openai@evil.example/x", "/raw//x", "/raw/closed/x",
        "/raw/nobody/x", "http://evil.example/raw/nobody/x", "/raw/",
    ],
)  # fmt: skip
def test_the_host_and_the_base_path_are_the_providers_entrys(gateway: Gateway, echo: Echo, path: str):
    """No trick in the path leaves them: refused, and nothing is sent."""
    assert ask(gateway, path).status in (400, 403, 404)
    assert echo.seen == []


@pytest.mark.parametrize(
    "path", ["/raw/openai/@evil.example/x", "/raw/openai/x@y:80/z", "/raw/openai/http:/x"]
)
def test_what_looks_like_a_host_is_a_path(gateway: Gateway, echo: Echo, path: str):
    """It is sent below the base path, to the provider."""
    assert ask(gateway, path).status == 200
    assert echo.seen[-1][1] == "/base/v1" + path.removeprefix("/raw/openai")
    assert echo.seen[-1][2]["host"] == echo.url.removeprefix("http://")


@given(st.text(alphabet="/.%2eEfF5cC\\@:#?;ab", max_size=14))
def test_no_path_leaves_its_base(rest: str):
    """Read once, twice or thrice by whoever decodes."""
    found = raw_path(b"/raw/openai/" + rest.encode())
    if isinstance(found, Rejected):
        return
    path = found[1].decode()
    for _ in range(3):
        segments = path.replace("\\", "/").split("/")[1:]
        assert not {".", ".."} & set(segments)
        assert "" not in segments[:-1]
        path = unquote(path)


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"cookie", b"x-auth-token", b"x-penstock-stage",
    b"connection", b"x-secret-thing", b"transfer-encoding", b"host", b"accept", b"x-hop"]), st.sampled_from([b"a", b"x-hop"])), max_size=6))  # fmt: skip
def test_headers_that_go_on_are_no_credentials(headers: list[tuple[bytes, bytes]]):
    """And none of this connection's own."""
    names = {name for name, _ in forwarded(headers)}
    assert names <= {b"accept", b"accept-encoding", b"x-hop"}
    if (b"connection", b"x-hop") in headers:
        assert b"x-hop" not in names


def test_a_multipart_body_and_a_binary_answer_are_untouched(gateway: Gateway, echo: Echo, tmp_path: Path):
    """With curl, byte for byte."""
    content = bytes(range(256)) * 3000
    (tmp_path / "in.bin").write_bytes(content)
    echo.body, echo.head = (
        content[::-1],
        {"content-type": "audio/mpeg", "x-kept": "yes", "set-cookie": "session=1"},
    )
    done = subprocess.run(
        [
            "curl", "-sS", "-D", str(tmp_path / "head"), "-o", str(tmp_path / "out.bin"), "-H", f"Authorization: {ALICE['authorization']}",
            "-F", f"file=@{tmp_path / 'in.bin'};type=application/x-y", "-F", "purpose=fine-tune", f"{gateway.url}/raw/openai/files",
        ],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    assert done.stderr == b""
    assert (tmp_path / "out.bin").read_bytes() == content[::-1]
    head = (tmp_path / "head").read_text().lower()
    assert "x-kept: yes" in head
    assert "set-cookie" not in head
    _, path, headers, body = echo.seen[-1]
    assert path == "/base/v1/files"
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert content in body
    assert b'name="purpose"' in body


def test_a_stream_comes_as_it_is_made_and_its_usage_is_read(gateway: Gateway):
    """SSE of three dialects; the entry has tokens and cost."""
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    answer = ask(gateway, "/raw/simulated/chat/completions", "POST", body)
    assert answer.done
    assert answer.headers["content-type"].startswith("text/event-stream")
    entry = gateway.entry(answer.request_id)
    usage = answer.usage()
    assert usage is not None
    assert (entry.output, entry.cost_nusd) == (
        usage["completion_tokens"],
        150 * usage["prompt_tokens"] + 600 * usage["completion_tokens"],
    )
    message = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": CHAT["messages"]}
    headers = {**ALICE, "anthropic-version": "2023-06-01"}
    for stream in (False, True):
        answer = ask(gateway, "/raw/anthropic/v1/messages", "POST", {**message, "stream": stream}, headers)
        assert answer.status == 200
        entry = gateway.entry(answer.request_id)
        assert (entry.model, entry.output > 0, entry.cost_nusd is not None) == (
            "claude-haiku-4-5",
            True,
            True,
        )
    said = {"contents": [{"parts": [{"text": "hi"}]}]}
    for verb in ("generateContent", "streamGenerateContent?alt=sse"):
        answer = ask(gateway, f"/raw/gemini/v1beta/models/gemini-2.5-flash:{verb}", "POST", said)
        assert answer.status == 200
        entry = gateway.entry(answer.request_id)
        assert (entry.model, entry.cost_nusd is not None) == ("gemini-2.5-flash", True)


def test_an_error_of_the_provider_comes_as_it_is(gateway: Gateway, echo: Echo):
    """Its status, its body; the entry says that it failed, and cost nothing."""
    echo.status, echo.body = 404, b'{"error": {"message": "no such job", "type": "x"}}'
    answer = ask(gateway, "/raw/openai/fine_tuning/jobs/none")
    assert (answer.status, answer.body) == (404, echo.body)
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.status, entry.cost_nusd) == ("failed", 404, 0)


def test_a_reply_that_is_packed_arrives_readable(gateway: Gateway, echo: Echo):
    """A provider that packs although nobody asked: what the head says is true."""
    echo.body, echo.head = gzip.compress(b'{"a": 1}'), {"content-encoding": "gzip"}
    answer = ask(gateway, "/raw/openai/x")
    assert answer.json() == {"a": 1}
    assert "content-encoding" not in answer.headers
    assert echo.seen[-1][2]["accept-encoding"] == "identity"


def test_a_reply_without_a_body_ends_where_it_ends(gateway: Gateway, echo: Echo):
    """HEAD and 204: the connection is good for the next request."""
    host, port = gateway.url.removeprefix("http://").split(":")
    head = b"host: x\r\nauthorization: " + ALICE["authorization"].encode() + b"\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as sock, sock.makefile("rb") as answers:
        for method, status in ((b"HEAD", 200), (b"DELETE", 204), (b"HEAD", 404), (b"GET", 200)):
            echo.status, echo.body = status, b"" if status == 204 else None
            sock.sendall(method + b" /raw/openai/files HTTP/1.1\r\n" + head)
            assert answers.readline().split()[1] == str(status).encode()
            length = 0
            while (line := answers.readline()) != b"\r\n":
                assert not (line.lower().startswith(b"transfer-encoding") and method == b"HEAD")
                length = int(line.split()[1]) if line.lower().startswith(b"content-length") else length
            assert method == b"GET" or length == 0
        size = int(answers.readline(), 16)
        assert json.loads(answers.read(size)) == {"ok": True}


def test_fine_tuning_has_its_place(gateway: Gateway, echo: Echo):
    """Through OpenAI's own paths, at the first provider that is reached raw."""
    echo.body = json.dumps({"object": "list", "data": [], "has_more": False}).encode()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRETS["CALLER_KEY"], max_retries=0) as client:
        assert list(client.fine_tuning.jobs.list(limit=3)) == []
    assert echo.seen[-1][1] == "/base/v1/fine_tuning/jobs?limit=3"


def test_limits_allow_lists_and_budgets_hold(gateway: Gateway, echo: Echo):
    """A key that may not use a model cannot use it raw; a budget pays what can be bounded, and nothing else."""
    assert ask(gateway, "/raw/openai/x", headers={}).status == 401
    assert (
        ask(gateway, "/raw/openai/responses", "POST", {"model": "gpt-5"}, NARROW).error["code"]
        == "model_not_allowed"
    )
    assert ask(gateway, "/raw/anthropic/v1/x", headers=NARROW).error["code"] == "model_not_allowed"
    assert [ask(gateway, "/raw/openai/x", headers=NARROW).status for _ in range(6)] == [200] * 5 + [429]
    seen = len(echo.seen)
    refused = ask(gateway, "/raw/openai/videos", "POST", {"model": "sora"}, FRUGAL)
    assert (refused.status, refused.error["code"]) == (403, "raw_unbounded")
    assert len(echo.seen) == seen
    assert ask(gateway, "/raw/openai/models", headers=FRUGAL).status == 200
    paid = ask(gateway, "/raw/simulated/chat/completions", "POST", {**CHAT, "max_tokens": 100}, FRUGAL)
    assert paid.status == 200
    large = ask(gateway, "/raw/simulated/chat/completions", "POST", {**CHAT, "max_tokens": 100_000}, FRUGAL)
    assert (large.status, large.error["code"]) == (402, "budget-too-small")


@pytest.mark.parametrize("status", [401, 200])
def test_a_key_that_the_provider_quotes_does_not_come_back(gateway: Gateway, echo: Echo, status: int):
    """Own servers quote what they refuse, and some say in a header what they were asked with."""
    key = SECRETS["OPENAI_KEY"]
    echo.status, echo.head = status, {"x-asked-with": f"Bearer {key}"}
    echo.body = json.dumps({"error": {"message": f"Incorrect API key provided: {key}."}}).encode()
    answer = ask(gateway, "/raw/openai/models")
    assert answer.status == status
    assert answer.json()["error"]["message"] == "Incorrect API key provided: ***."
    assert answer.headers["x-asked-with"] == "Bearer ***"


def test_a_long_refusal_comes_whole_and_in_order(gateway: Gateway, echo: Echo):
    """More than is held back to be looked through."""
    echo.status, echo.body = 400, b'{"error": "%b"}' % b"".join(b"%08d" % n for n in range(40_000))
    answer = ask(gateway, "/raw/openai/models")
    assert (answer.status, answer.body) == (400, echo.body)

"""Paths, pages, headers and ways in and out: what every caller meets before and after the answer itself."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from penstock.simulate import running_simulator
from tests.behaviours.gateway import SECRETS, Answer, Gateway, running_gateway
from tests.simulate.raw import read_reply, request_bytes

HELLO = [{"role": "user", "content": "hello"}]
BODY = {"model": "openai/gpt-4o-mini", "messages": HELLO}
PREFIXES = ("/v1", "", "/openai/v1", "/openai", "/api/v1")
ADMIN = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    models: {small: gpt-4o-mini}
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
routes: [{id: house-blend, primary: openai/gpt-4o-mini}]
server: {admin_key: env.ADMIN_KEY}
"""
OPEN = 'providers: {openai: {keys: [{value: env.OPENAI_KEY}], network: {base_url: "URL/p/openai/v1"MORE}}}\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Gateway]:
    """One gateway for this file."""
    with running_gateway(tmp_path_factory.mktemp("pages"), CONFIG) as gateway:
        yield gateway


@pytest.fixture
def gateway(served) -> Gateway:
    served.fresh()
    return served


def ask(
    gateway: Gateway, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
) -> Answer:
    return gateway.open(body, path, headers, method=method).rest()


def bare(gateway: Gateway, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """One request, all bytes until the connection closes: for replies that must have no body."""
    parts = urlsplit(gateway.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        wire = b""
        while data := sock.recv(65536):
            wire += data
    head, _, rest = wire.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split(" ")[1]), headers, rest


# Paths.


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_way_to_write_the_path_is_served(gateway, prefix, slash):
    """Only the host changes for who comes from OpenAI, XRoute or OpenRouter; a slash more or a query is no matter."""
    chat = gateway.post(BODY, f"{prefix}/chat/completions{slash}")
    assert chat.status == 200
    assert gateway.post(BODY, f"{prefix}/chat/completions{slash}?api-version=1").status == 200
    models = gateway.get(f"{prefix}/models{slash}")
    assert models.status == 200
    assert "openai/gpt-4o-mini" in {row["id"] for row in models.json()["data"]}
    found = gateway.get(f"{prefix}/generation{slash}?id={chat.request_id}")
    assert found.json()["data"]["request_id"] == chat.request_id
    assert gateway.get(f"{prefix}/models/openai/gpt-4o-mini{slash}").json()["id"] == "openai/gpt-4o-mini"
    assert gateway.get(f"{prefix}/models/openai%2Fgpt-4o-mini").json()["id"] == "openai/gpt-4o-mini"


@pytest.mark.parametrize(
    "path", ["/v2/chat/completions", "/v1/chat", "/v1", "/", "/v1/chat/completions/x", "/%2e%2e/etc"]
)
def test_no_such_path(gateway, path):
    """404 with where to go."""
    answer = gateway.post(BODY, path)
    assert answer.status == 404
    assert "/v1/chat/completions" in answer.error["message"]


def test_models_in_openai_s_shape(gateway):
    """Routes, aliases and the catalogue's chat models of what is configured, each once."""
    rows = gateway.get("/v1/models").json()
    assert rows["object"] == "list"
    ids = [row["id"] for row in rows["data"]]
    assert len(ids) == len(set(ids))
    assert {"house-blend", "openai/small", "anthropic/claude-haiku-4-5"} <= set(ids)
    assert {name.partition("/")[0] for name in ids} == {"house-blend", "openai", "anthropic"}
    assert all(set(row) == {"id", "object", "created", "owned_by"} for row in rows["data"])
    assert gateway.get("/v1/models/nobody/has-this").status == 404


# Methods.


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/ready", "/metrics", "/v1/generation?id=none"])
def test_head_is_get_without_its_body(gateway, path):
    """The same status and length, and not one byte behind the head."""
    status, headers, rest = bare(gateway, "HEAD", path)
    assert rest == b""
    got, got_headers, body = bare(gateway, "GET", path)
    assert (status, headers["content-type"]) == (got, got_headers["content-type"])
    if path != "/metrics":
        assert abs(int(headers["content-length"]) - len(body)) <= 2


@pytest.mark.parametrize(("method", "path", "allow"), [
    ("GET", "/v1/chat/completions", "POST"), ("HEAD", "/v1/chat/completions", "POST"),
    ("PUT", "/v1/chat/completions", "POST"), ("DELETE", "/v1/models", "GET"), ("POST", "/health", "GET"),
])  # fmt: skip
def test_a_wrong_method_is_405_with_the_right_one(gateway, method, path, allow):
    """RFC 9110, 15.5.6: Allow says which."""
    status, headers, rest = bare(gateway, method, path)
    assert status == 405
    assert allow in headers["allow"].replace(" ", "").split(",")
    assert (rest == b"") == (method == "HEAD")


@pytest.mark.parametrize(("path", "allow"), [("/v1/chat/completions", "POST"), ("/v1/models", "GET")])
def test_options_names_the_methods_and_opens_nothing(gateway, path, allow):
    """No CORS: a web page must not spend the money of a gateway on its visitor's machine."""
    answer = ask(
        gateway, "OPTIONS", path, {"origin": "https://evil.example", "access-control-request-method": "POST"}
    )
    assert (answer.status, answer.body) == (200, b"")
    assert allow in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]


# Ids and headers.


def test_the_request_id_is_always_ours(gateway):
    """Fresh, and the caller's own comes back beside it: on chats, streams, errors and pages alike."""
    seen = set()
    own = {"x-request-id": "mine-4711"}
    for path, body in (("/v1/chat/completions", BODY), ("/v1/chat/completions", {**BODY, "stream": True}),
                       ("/v1/chat/completions", b"{"), ("/v1/chat/completions", {**BODY, "model": "nobody/x"}),
                       ("/v1/models", None), ("/health", None), ("/nowhere", None)):  # fmt: skip
        answer = ask(gateway, "GET" if body is None else "POST", path, own, body)
        assert re.fullmatch(r"gen-[0-9a-f]{32}", answer.request_id)
        assert answer.headers["x-client-request-id"] == "mine-4711"
        assert "mine-4711" not in answer.request_id
        seen.add(answer.request_id)
    assert len(seen) == 7
    answer = gateway.post(BODY, headers=own)
    assert gateway.ledger(answer.request_id).call.client_request_id == "mine-4711"
    assert gateway.get("/v1/generation?id=mine-4711").status == 404
    assert "x-client-request-id" not in gateway.post(BODY).headers


def test_a_provider_sees_its_own_id_not_the_caller_s(gateway):
    """What a caller sends in headers stays here."""
    gateway.post(
        BODY,
        headers={
            "x-request-id": "mine-4711",
            "cookie": "a=b",
            "x-penstock-meta": "a=b",
            "user-agent": "spy/1",
        },
    )
    sent = str(gateway.sim.requests[-1].raw_headers)
    assert not any(word in sent for word in ("mine-4711", "a=b", "spy/1", "penstock-meta"))


def test_reply_headers_say_how_it_was_served(gateway):
    """Who, what, how often, for how much, and whose time it took."""
    answer = gateway.post({**BODY, "transforms": ["middle-out"]})
    assert answer.headers["x-penstock-provider"] == "openai"
    assert answer.headers["x-penstock-model"] == "gpt-4o-mini"
    assert answer.headers["x-penstock-attempts"] == "1"
    assert answer.headers["x-penstock-adjusted"] == "transforms-dropped"
    assert re.fullmatch(r"0\.\d+", answer.headers["x-penstock-cost-usd"])
    stream = gateway.post({**BODY, "stream": True})
    assert "x-penstock-cost-usd" not in stream.headers
    assert "x-penstock-adjusted" not in stream.headers
    assert stream.headers["cache-control"] == "no-cache"
    assert stream.headers["x-accel-buffering"] == "no"


def timing(answer: Answer) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"])
    }


@pytest.mark.parametrize("stream", [False, True])
def test_server_timing_parts_our_time_from_the_provider_s(gateway, stream):
    """A slow provider is not our share; the two together are no more than the caller waited."""
    gateway.faults({"kind": "slow_head", "ms": 300})
    answer = gateway.post({**BODY, "stream": stream})
    told = timing(answer)
    assert told["upstream"] >= 290
    assert 0 < told["gateway"] < 290
    assert told["gateway"] + told["upstream"] <= (answer.head_s - answer.sent_s) * 1000 + 1
    refused = timing(gateway.post({**BODY, "model": "nobody/x"}))
    assert refused["upstream"] == 0
    assert refused["gateway"] > 0


def test_a_back_off_is_not_our_time(gateway):
    """Waiting for a provider to recover is waiting for the provider."""
    gateway.faults({"kind": "status", "status": 503, "count": 1, "retry_after_s": 0})
    config = CONFIG.replace(
        '/p/openai/v1", retry: {max_retries: 0}',
        '/p/openai/v1", retry: {max_retries: 1, backoff_initial_ms: 1}',
    )
    assert gateway.reload(config) == []
    try:
        gateway.faults(
            {"kind": "status", "status": 429, "count": 1, "retry_after_s": 0.4, "retry_after_as": "ms"}
        )
        told = timing(gateway.post(BODY))
        assert told["upstream"] >= 390
        assert told["gateway"] < 390
    finally:
        assert gateway.reload(CONFIG) == []


# Pages.


def test_health_ready_and_metrics(gateway):
    """For probes and Prometheus, without a key."""
    assert gateway.get("/health").json() == {"status": "ok"}
    assert gateway.get("/ready").json()["status"] == "ready"
    before = gateway.get("/metrics").body.decode()
    gateway.post(BODY)
    after = gateway.get("/metrics").body.decode()
    assert "# TYPE penstock_" in after
    assert before != after


def test_admin_needs_its_key(gateway):
    """Missing 401, wrong 403, right 200; the caller's virtual key is no admin key."""
    assert gateway.post({}, "/admin/reload").status == 401
    assert gateway.post({}, "/admin/reload", {"authorization": "Bearer wrong"}).status == 403
    assert gateway.post({}, "/admin/reload", ADMIN).json()["status"] == "reloaded"
    assert gateway.get("/admin/health", {"x-api-key": SECRETS["ADMIN_KEY"]}).status == 200
    assert gateway.get("/admin/health").status == 401


def test_admin_is_not_mounted_without_a_key(tmp_path):
    """There is nothing to guess at."""
    with running_gateway(tmp_path, OPEN.replace("URL", "{sim}").replace("MORE", "")) as gateway:
        for path in ("/admin/reload", "/admin/health", "/admin"):
            assert gateway.post({}, path, ADMIN).status == 404
            assert gateway.get(path, ADMIN).status == 404


def test_explain_s_record_survives_a_reload(gateway):
    """The decision lies in the ledger as it was taken; the configuration's version beside it."""
    first = gateway.post(BODY)
    told = json.loads(
        json.dumps(gateway.stored(first.request_id).call.explain, default=lambda one: one.__class__.__name__)
    )
    assert gateway.reload(CONFIG.replace("house-blend", "another-blend")) == []
    second = gateway.post(BODY)
    again = gateway.stored(first.request_id).call
    assert json.loads(json.dumps(again.explain, default=lambda one: one.__class__.__name__)) == told
    assert again.config_version != gateway.stored(second.request_id).call.config_version
    assert gateway.reload(CONFIG) == []


# Ways in and out.


def test_ipv6_in_and_out(tmp_path):
    """A gateway on ::1, and a provider on ::1."""
    with running_simulator(host="::1") as sim:
        config = OPEN.replace("URL", sim.url).replace("MORE", "") + 'server: {host: "::1"}\n'
        with running_gateway(tmp_path, config) as gateway:
            assert gateway.url.startswith("http://[::1]:")
            assert gateway.post(BODY).status == 200
            assert gateway.post({**BODY, "stream": True}).done
            assert sim.requests[-1].headers["host"].startswith("[::1]:")


class _Proxy:
    """A forward proxy: what it was asked, and an honest answer from where it was asked for."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller:
            data = b""
            while b"\r\n\r\n" not in data:
                more = caller.recv(65536)
                if not more:
                    return
                data += more
            head, _, rest = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            _, target, _ = head.split(b"\r\n")[0].split(b" ")
            url = urlsplit(target.decode())
            with socket.create_connection((url.hostname, url.port)) as upstream:
                plain = head.replace(target, url.path.encode(), 1)
                upstream.sendall(plain + b"\r\n\r\n" + rest)
                caller.settimeout(0.2)
                while answer := upstream.recv(65536):
                    caller.sendall(answer)
                    if answer.endswith(b"0\r\n\r\n") or b"content-length" in answer:
                        return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


@contextmanager
def proxied(tmp_path, setting: str) -> Iterator[tuple[Gateway, _Proxy]]:
    proxy = _Proxy()
    try:
        more = f", proxy: {setting.replace('PORT', str(proxy.port))}"
        secrets = {**SECRETS, "PROXY_URL": f"http://user:proxy-password@127.0.0.1:{proxy.port}"}
        with running_gateway(
            tmp_path, OPEN.replace("URL", "{sim}").replace("MORE", more), secrets=secrets
        ) as gateway:
            yield gateway, proxy
    finally:
        proxy.close()


def test_an_upstream_behind_an_http_proxy(tmp_path):
    """Absolute targets for plain HTTP, and every call goes that way."""
    with proxied(tmp_path, '"http://127.0.0.1:PORT"') as (gateway, proxy):
        assert gateway.post(BODY).status == 200
        assert proxy.heads[-1].startswith(
            f"POST {gateway.sim.url}/p/openai/v1/chat/completions HTTP/1.1".encode()
        )
        assert b"proxy-authorization" not in proxy.heads[-1].lower()
        assert len(gateway.sim.requests) == 1


def test_a_proxy_s_password_is_a_secret(tmp_path):
    """From env., sent to the proxy alone, and never told."""
    with proxied(tmp_path, "env.PROXY_URL") as (gateway, proxy):
        assert gateway.post(BODY).status == 200
        assert b"proxy-authorization: Basic dXNlcjpwcm94eS1wYXNzd29yZA==" in proxy.heads[-1]
        assert "proxy-password" not in repr(gateway.house.providers["openai"].transport)
    with running_gateway(tmp_path, OPEN.replace("URL", "{sim}").replace("MORE", ", proxy: env.PROXY_URL, connect_timeout_ms: 500, retry: {max_retries: 0}"),
                         secrets={**SECRETS, "PROXY_URL": "http://user:proxy-password@127.0.0.1:9"}) as gateway:  # fmt: skip
        answer = gateway.post(BODY)
        assert answer.status == 502
        assert "127.0.0.1:9" in answer.error["message"]
        assert "proxy-password" not in answer.body.decode()


def test_a_kept_connection_remembers_nobody_s_key_for_another(tmp_path):
    """A proxy puts many callers on one connection: who comes later is not taken for who came before."""
    config = (
        CONFIG
        + "virtual_keys: [{name: caller, key: env.CALLER_KEY}, {name: other, key: env.OTHER_CALLER_KEY}]\n"
    )
    first, second = SECRETS["CALLER_KEY"], SECRETS["OTHER_CALLER_KEY"]
    placeholder = {"authorization": "Bearer placeholder"}
    callers = [
        ({**placeholder, "x-api-key": first}, "caller"),
        ({**placeholder, "x-api-key": second}, "other"),
        (placeholder, None),
        ({"x-api-key": first}, "caller"),
        ({}, None),
        ({"authorization": f"Bearer {first}"}, "caller"),
        ({"authorization": f"Bearer {first}", "x-api-key": second}, "caller"),
        ({"authorization": f"Bearer {second}"}, "other"),
        ({**placeholder, "x-goog-api-key": first}, "caller"),
        ({**placeholder, "x-goog-api-key": "wrong"}, None),
    ]
    with running_gateway(tmp_path, config) as gateway:
        parts = urlsplit(gateway.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
            for headers, name in callers * 2:
                sock.sendall(
                    request_bytes("POST", "/v1/chat/completions", json.dumps(BODY).encode(), headers)
                )
                reply = read_reply(sock)
                assert reply.status == (401 if name is None else 200), headers
                if name is not None:
                    assert gateway.ledger(reply.headers["x-request-id"]).call.virtual_key == name

"""Addresses that callers name, fetched by us: every way that must not lead anywhere, and what comes of those that may."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.behaviours.gateway import Gateway, running_gateway

from penstock.base.chat import ChatRequest, Document, Image, Message, Text, ToolResult
from penstock.base.decisions import Rejected
from penstock.base.models import ModelFacts, Target
from penstock.config.schema import MediaConfig
from penstock.dialects.anthropic import ANTHROPIC
from penstock.gateway.media import Media
from penstock.net.fetch import Fetcher, is_public
from penstock.simulate.picture import png
from penstock.wire.sniff import kind_of_bytes

PDF = b"%PDF-1.7\n%%EOF\n"
PNG = png(4, 4, 1)
TARGET = Target(
    provider="anthropic",
    model="claude-haiku-4-5",
    dialect="anthropic",
    facts=ModelFacts(provider="anthropic", model="claude-haiku-4-5"),
)


class Files(BaseHTTPRequestHandler):
    """A server of other people's files. Its paths say what it does."""

    asked: ClassVar[list[str]] = []
    hang: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        path = unquote(self.path)
        self.asked.append(path)
        kind, _, rest = path[1:].partition("/")
        if kind == "to":
            self._say(302, b"", location=rest)
        elif kind == "hang":
            self.hang.wait(5)
        elif kind == "page":
            self._say(200, b"<!DOCTYPE html><html>Log in</html>", "image/png")
        elif kind == "long":
            self._say(200, PNG + b"\0" * 300_000, "image/png")
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PNG + b"\0" * 300_000)
            self.close_connection = True
        elif kind == "bomb":
            self._say(200, gzip.compress(PNG + b"\0" * 5_000_000), "image/png", encoding="gzip")
        elif kind == "missing":
            self._say(404, b"not here", "text/plain")
        elif kind == "pdf":
            self._say(200, PDF, "application/octet-stream")
        else:
            self._say(200, PNG, "text/html")

    def _say(
        self, status: int, body: bytes, mime: str = "", *, location: str = "", encoding: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in (("content-type", mime), ("location", location), ("content-encoding", encoding)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        del args


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Files.hang.set()
    server.shutdown()
    server.server_close()
    thread.join()


ALLOWED = MediaConfig(allow_hosts=("127.0.0.1", "files.test"), max_bytes=100_000, timeout_ms=2000)


def fetched(
    parts: tuple[Any, ...], settings: MediaConfig = ALLOWED, fetcher: Fetcher | None = None
) -> ChatRequest | Rejected | None:
    async def run() -> ChatRequest | Rejected | None:
        request = ChatRequest("m", (Message("user", (Text("What is this?"), *parts)),))
        return await Media(settings, fetcher).fetched(request, TARGET, ANTHROPIC)

    return asyncio.run(run())


def refused(url: str, settings: MediaConfig = ALLOWED, fetcher: Fetcher | None = None) -> Rejected:
    no = fetched((Image(url=url),), settings, fetcher)
    assert isinstance(no, Rejected)
    assert no.param == "messages[0].content[1]"
    assert no.caller_fault
    return no


def test_a_picture_is_what_its_bytes_are(files: str) -> None:
    got = fetched((Image(url=f"{files}/cat"), Document(url=f"{files}/pdf/a%20b.pdf")))
    assert isinstance(got, ChatRequest)
    picture, document = got.messages[0].parts[1:]
    assert isinstance(picture, Image)
    assert (picture.mime, picture.url) == ("image/png", "")
    assert isinstance(document, Document)
    assert (document.mime, document.filename) == ("application/pdf", "a b.pdf")
    assert ANTHROPIC.refuse(got, TARGET) is None


def test_a_tools_picture_too_and_each_address_once(files: str) -> None:
    url = f"{files}/once"
    Files.asked.clear()
    got = fetched((ToolResult("c", "look", "", images=(Image(url=url), Image(data="iVBOR"))), Image(url=url)))
    assert isinstance(got, ChatRequest)
    result = got.messages[0].parts[1]
    assert isinstance(result, ToolResult)
    assert result.images[0].data
    assert result.images[1] == Image(data="iVBOR")
    assert Files.asked == ["/once"]


def test_what_the_provider_fetches_is_left_to_it(files: str) -> None:
    assert fetched((Image(url="https://example.com/cat.png"),)) is None
    assert fetched((Image(url=f"{files}/cat"),), MediaConfig(fetch=False)) is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("page/", "url-content"),
        ("pdf/", "url-content"),
        ("long/", "url-too-large"),
        ("endless/", "url-unreachable"),
        ("bomb/", "url-unreachable"),
        ("missing/", "url-status"),
        ("to/file:///etc/passwd", "url-scheme"),
        ("to/http://localhost/", "url-private"),
        ("to/http://[::1]/", "url-private"),
        ("to/http://169.254.169.254/latest/meta-data/", "url-private"),
        ("to/http://u:p@127.0.0.1/", "url-credentials"),
        ("to//to//to//to//to//to//to//to/", "url-redirects"),
    ],
)
def test_what_comes_is_looked_at(files: str, path: str, code: str) -> None:
    assert refused(f"{files}/{path}").code == code


def test_a_server_that_hangs(files: str) -> None:
    settings = MediaConfig(allow_hosts=("127.0.0.1",), timeout_ms=100)
    assert refused(f"{files}/hang/", settings).code in ("url-slow", "url-unreachable")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
    ],
)
def test_no_address_of_ours_however_it_is_written(files: str, host: str) -> None:
    """Asked directly, and behind a redirect; nothing is allowed."""
    port = files.rpartition(":")[2]
    Files.asked.clear()
    no = refused(f"http://{host}:{port}/cat", MediaConfig(timeout_ms=2000))
    assert no.code in ("url-private", "url-unreadable", "url-unreachable")
    assert Files.asked == []
    only = MediaConfig(allow_hosts=("files.test",), timeout_ms=2000)
    way = Fetcher(plain=True, trusted=lambda name: name == "files.test", resolve=_resolver([["127.0.0.1"]]))
    no = refused(f"http://files.test:{port}/to/http://{host}:{port}/cat", only, way)
    assert no.code in ("url-private", "url-unreadable", "url-unreachable")
    assert Files.asked == [f"/to/http://{host}:{port}/cat"]


def _resolver(answers: list[list[str]]) -> Any:
    """Names as these answers say, one after the other; digits as the system reads them."""
    waiting = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        if host.endswith(".test"):
            return waiting.pop(0)
        found = await asyncio.get_running_loop().getaddrinfo(host, port)
        return [str(entry[4][0]) for entry in found]

    return resolve


def test_a_name_that_changes_between_the_look_and_the_call_changes_nothing(files: str) -> None:
    """The name is looked up once; the connection goes to the address that was looked at (which nobody answers)."""
    port = files.rpartition(":")[2]
    Files.asked.clear()
    answers = [["192.0.2.1"], ["127.0.0.1"]]
    way = Fetcher(plain=True, resolve=_resolver(answers))
    assert refused(f"http://evil.test:{port}/cat", MediaConfig(timeout_ms=100), way).code == "url-private"
    way = Fetcher(plain=True, resolve=_resolver([["8.8.8.8", "127.0.0.1"]]))
    assert refused(f"http://evil.test:{port}/cat", MediaConfig(timeout_ms=100), way).code == "url-private"
    assert Files.asked == []


def test_a_host_that_is_denied(files: str) -> None:
    settings = MediaConfig(deny_hosts=("*.evil.test", "127.*"))
    assert refused(f"{files}/cat", settings).code == "url-denied"
    assert refused("http://a.EVIL.test./cat", settings).code in ("url-denied", "url-unreadable")


@given(st.ip_addresses(v=6))
def test_ipv4_inside_ipv6_is_judged_as_ipv4(address: Any) -> None:
    if address.ipv4_mapped is not None:
        assert is_public(address) == is_public(address.ipv4_mapped)


@given(
    st.binary(max_size=64), st.sampled_from(("", "image/png", "text/plain", "text/html", "application/zip"))
)
def test_sniffing_never_takes_a_pages_word(data: bytes, declared: str) -> None:
    assert kind_of_bytes(b"<html>" + data, declared) == ""
    assert kind_of_bytes(PNG + data, declared) == "image/png"


CONFIG = """
providers:
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
media: {allow_hosts: ["127.0.0.1"]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("media"), CONFIG) as running:
        yield running


def _asked(url: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "anthropic/claude-haiku-4-5", "messages": [{"role": "user", "content": parts}]}


def test_through_the_gateway_and_it_is_told(gateway: Gateway, files: str) -> None:
    answer = gateway.post(_asked(f"{files}/cat"))
    assert answer.status == 200, answer.body
    assert "image-fetched" in answer.headers["x-penstock-adjusted"]
    block = gateway.sent()["messages"][0]["content"][1]
    assert block["source"]["type"] == "base64"
    assert block["source"]["media_type"] == "image/png"
    assert "fetched" in str(gateway.story(answer.request_id))


def test_a_caller_is_told_which_field_could_not_be_fetched(gateway: Gateway, files: str) -> None:
    before = len(gateway.sim.requests)
    answer = gateway.post(_asked(f"{files}/page/"))
    assert answer.status == 400
    assert answer.error["param"] == "messages[0].content[1]"
    assert answer.error["code"] == "url-content"
    assert "no image" in answer.error["message"]
    assert len(gateway.sim.requests) == before

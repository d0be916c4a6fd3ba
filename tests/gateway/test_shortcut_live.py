"""The shortcut on real sockets: a provider's chunks through the whole gateway, whole, cut, and left by the caller."""

import time
from collections.abc import Callable, Iterator

import pytest
from tests.behaviours.gateway import Gateway, Scripted, chat, running_gateway
from tests.dialects.openai_kit import DONE, chunk

from penstock.gateway.shortcut import Shortcut, missing, shortcut_of
from penstock.wire.sse import Mould, sse

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", retry: {max_retries: 0}}
"""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
GAP_S = 0.002
ASK = {**chat("openai/gpt-4o-mini"), "stream": True}


def framed(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


WORDS = [chunk({"content": f" word{number}"}) for number in range(40)]
ENDING = [
    chunk({}, "stop"),
    sse(b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}'),
    DONE,
]


class Counted:
    """How often the shortcut was taken, and whether it may be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        self.passed = 0
        self.open = True

        def counted_of(mould: Mould, forward: Callable[[bytes], None]) -> Callable[[bytes], bool]:
            take = shortcut_of(mould, forward) if kind == "native" else Shortcut(mould, forward).take

            def counted(data: bytes) -> bool:
                taken = self.open and take(data)
                self.passed += taken
                return taken

            return counted

        monkeypatch.setattr("penstock.gateway.stream.shortcut_of", counted_of)


@pytest.fixture(params=["python", "native"])
def counted(monkeypatch, request) -> Counted:
    if request.param == "native" and missing:
        pytest.skip(f"no native shortcut: {missing}")
    return Counted(monkeypatch, request.param)


@pytest.fixture(scope="module")
def script() -> Iterator[Scripted]:
    made = Scripted()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory, script) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("short"), CONFIG, scripted=script.url) as gateway:
        yield gateway


@pytest.fixture
def gateway(served) -> Gateway:
    served.fresh()
    return served


def say(script: Scripted, *events: bytes, last: bytes | float | None = b"0\r\n\r\n") -> None:
    """Each event in a chunk and a packet of its own."""
    chunks = [one for event in events for one in (framed(event), GAP_S)]
    script.says = [HEAD, *chunks, last]


def test_a_stream_arrives_unchanged_and_is_billed_by_its_usage(gateway, script, counted):
    """Most of it past parser and reader; its last bytes settle it as ever, and the connection is used again."""
    say(script, *WORDS, *ENDING)
    for _ in range(2):
        answer = gateway.post(ASK)
        assert answer.body == b"".join([*WORDS, ENDING[0], DONE])
        assert answer.ended == "complete"
        entry = gateway.entry(answer.request_id)
        assert (entry.input, entry.output, entry.usage_source) == (5, 7, "stream")
    assert counted.passed > 10


@pytest.mark.parametrize("last", [None, b"zz\r\n"])
def test_a_stream_that_breaks_is_billed_the_same_either_way(gateway, script, counted, last):
    """By an end too soon, or bytes that are no chunk: what had passed was delivered, and is owed for."""
    say(script, *WORDS, last=last)
    outputs = []
    for way in (True, False):
        counted.open = way
        answer = gateway.post(ASK)
        assert answer.body.startswith(b"".join(WORDS))
        assert answer.stream_error() is not None
        assert not answer.done
        entry = gateway.entry(answer.request_id)
        assert (entry.klass, entry.usage_source) == ("billed_not_delivered", "estimated")
        outputs.append(entry.output)
    assert outputs[0] == outputs[1] > 0
    assert counted.passed > 3


def test_a_caller_that_leaves_in_mid_stream_frees_the_provider(gateway, script, counted):
    """Chunks that come between its going and the call's end are lost, and nothing else is."""
    say(script, *WORDS, *WORDS, *WORDS, last=5.0)
    stream = gateway.open(ASK)
    stream.until(b"word20")
    assert counted.passed > 3
    stream.reset()
    until_s = time.monotonic() + 5.0
    while gateway.inside(lambda: gateway.running.app.inflight) and time.monotonic() < until_s:
        time.sleep(0.005)
    record = gateway.last_record()
    assert (record.call.status, record.call.error_code) == (499, "caller_gone")
    assert record.entries[0].output > 0
    assert gateway.inside(lambda: gateway.house.providers["openai"].transport.in_use) == 0


def test_an_error_after_the_shortcut_is_the_callers_to_see(gateway, script, counted):
    """It does not look like its neighbours, and is read."""
    say(script, *WORDS, sse(b'{"error":{"message":"overloaded","type":"server_error"}}'))
    answer = gateway.post(ASK)
    assert "overloaded" in answer.stream_error()["message"]
    assert counted.passed > 3

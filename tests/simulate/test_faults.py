"""Each fault is visible on a raw socket, as it was asked for."""

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from random import Random

import brotli
import pytest

from penstock.simulate import Fault, Simulator, When, running_simulator
from penstock.simulate.faults import Facts, FaultBook
from tests.simulate.raw import OPENAI_BODY, OPENAI_STREAM, ask, connect, request_bytes

CHAT = "/p/alpha/v1/chat/completions"
MESSAGES = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
ANTHROPIC_HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with running_simulator() as sim:
        yield sim


@pytest.fixture
def sim(shared: Simulator) -> Simulator:
    shared.clear()
    return shared


def stream(sim: Simulator, **fault):
    """One streamed call under one fault."""
    sim.set_faults([fault])
    return ask(sim.url, CHAT, OPENAI_STREAM)


def texts(frames: list) -> list[str]:
    """The text deltas of a stream."""
    choices = [choice for frame in frames if isinstance(frame, dict) for choice in frame.get("choices", [])]
    return [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]


# Whole answers.


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 429, 500, 503, 529])
def test_a_status_fault_answers_in_each_vendors_own_shape(sim: Simulator, status: int) -> None:
    """Status and error body are the vendor's; Google has no 529 and says 503, and says 400 to a bad key."""
    sim.set_faults([{"kind": "status", "status": status}])
    openai = ask(sim.url, CHAT, OPENAI_BODY)
    anthropic = ask(sim.url, "/v1/messages", MESSAGES, headers=ANTHROPIC_HEADERS)
    google = ask(
        sim.url, "/v1beta/models/gemini-2.5-flash:generateContent", GEMINI, headers={"x-goog-api-key": "k"}
    )
    stability = ask(sim.url, "/v2beta/stable-image/generate/core", b"")
    assert (openai.status, anthropic.status, stability.status) == (status, status, status)
    assert google.status == {529: 503, 401: 400}.get(status, status)
    assert set(openai.json()["error"]) == {"message", "type", "param", "code"}
    assert anthropic.json()["type"] == "error"
    assert google.json()["error"]["code"] == google.status
    assert set(stability.json()) == {"id", "name", "errors"}


def test_a_429_carries_retry_hints_in_every_spelling(sim: Simulator) -> None:
    """Seconds, milliseconds, an HTTP date, a reset header with nothing remaining, Google's RetryInfo."""
    forms = {}
    for form in ("seconds", "ms", "date", "reset"):
        sim.set_faults([{"kind": "status", "status": 429, "retry_after_s": 7, "retry_after_as": form}])
        forms[form] = ask(sim.url, CHAT, OPENAI_BODY).headers
    assert forms["seconds"]["retry-after"] == "7"
    assert forms["ms"]["retry-after-ms"] == "7000"
    wait_s = parsedate_to_datetime(forms["date"]["retry-after"]).timestamp() - time.time()
    assert 4 < wait_s <= 8
    assert forms["reset"]["x-ratelimit-remaining-requests"] == "0"
    assert forms["reset"]["x-ratelimit-reset-requests"] == "7000ms"
    sim.set_faults([{"kind": "status", "status": 429, "retry_after_s": 7.5, "retry_after_as": "retry_info"}])
    google = ask(
        sim.url, "/v1/models/gemini-2.5-flash:generateContent", GEMINI, headers={"x-goog-api-key": "k"}
    )
    assert [d["retryDelay"] for d in google.json()["error"]["details"] if "retryDelay" in d] == ["7.5s"]


def test_a_status_fault_takes_headers_a_code_and_a_body_of_ones_own(sim: Simulator) -> None:
    """What the scenario says replaces the vendor's default."""
    sim.set_faults(
        [
            {
                "kind": "status",
                "status": 429,
                "code": "insufficient_quota",
                "headers": {"X-Should-Retry": "false"},
            }
        ]
    )
    reply = ask(sim.url, CHAT, OPENAI_BODY)
    assert reply.headers["x-should-retry"] == "false"
    assert reply.json()["error"]["code"] == "insufficient_quota"
    assert reply.json()["error"]["type"] == "insufficient_quota"
    sim.set_faults([{"kind": "status", "status": 500, "body": "{}"}])
    assert ask(sim.url, CHAT, OPENAI_BODY).body == b"{}"


def test_html_and_plain_text_pages(sim: Simulator) -> None:
    """What a proxy in front of the vendor would say."""
    sim.set_faults([{"kind": "html"}])
    page = ask(sim.url, CHAT, OPENAI_BODY)
    assert (page.status, page.headers["content-type"]) == (502, "text/html")
    assert page.body.startswith(b"<html>")
    sim.set_faults([{"kind": "plain_text", "status": 503}])
    text = ask(sim.url, CHAT, OPENAI_BODY)
    assert (text.status, text.headers["content-type"]) == (503, "text/plain")


def test_error_in_200(sim: Simulator) -> None:
    """The status says yes, the body says no."""
    sim.set_faults([{"kind": "error_in_200", "status": 429}])
    reply = ask(sim.url, CHAT, OPENAI_BODY)
    assert reply.status == 200
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"


def test_hang_never_answers_and_the_hang_up_is_logged(sim: Simulator) -> None:
    """No byte comes; closing the socket is written down at once."""
    sim.set_faults([{"kind": "hang"}])
    reply = ask(sim.url, CHAT, OPENAI_BODY, timeout_s=0.1)
    assert (reply.ended, reply.wire) == ("timeout", b"")
    received = sim.wait_for(lambda r: r.disconnected_unix_s is not None)
    assert (received.bytes_sent, received.faults) == (0, ("hang",))


def test_early_close_and_reset_before_the_head(sim: Simulator) -> None:
    """The connection ends without one byte: orderly, or by RST."""
    sim.set_faults([{"kind": "early_close"}])
    closed = ask(sim.url, CHAT, OPENAI_BODY)
    assert (closed.ended, closed.wire) == ("eof", b"")
    sim.set_faults([{"kind": "reset"}])
    assert ask(sim.url, CHAT, OPENAI_BODY).ended == "reset"


def test_hang_after_head(sim: Simulator) -> None:
    """The head comes, no body ever."""
    for body in (OPENAI_BODY, OPENAI_STREAM):
        sim.set_faults([{"kind": "hang_after_head"}])
        reply = ask(sim.url, CHAT, body, timeout_s=0.2)
        assert (reply.status, reply.ended, reply.body) == (200, "timeout", b"")


def test_slow_head(sim: Simulator) -> None:
    """The head waits at least as long as asked, then all is well."""
    sim.set_faults([{"kind": "slow_head", "ms": 120}])
    before_s = time.monotonic()
    reply = ask(sim.url, CHAT, OPENAI_BODY)
    assert reply.ended == "complete"
    assert time.monotonic() - before_s >= 0.119


def test_a_whole_body_can_be_cut_stalled_and_malformed(sim: Simulator) -> None:
    """Non-streaming replies have their own half-way failures."""
    outcomes = {}
    for fault in (
        {"kind": "close_mid_stream"},
        {"kind": "reset", "after": 1},
        {"kind": "stall"},
        {"kind": "malformed"},
    ):
        sim.set_faults([fault])
        outcomes[fault["kind"]] = ask(sim.url, CHAT, OPENAI_BODY, timeout_s=0.3)
    assert [outcomes[k].ended for k in ("close_mid_stream", "reset", "stall")] == ["eof", "reset", "timeout"]
    assert all(
        0 < len(outcomes[k].body) < int(outcomes[k].headers["content-length"])
        for k in ("close_mid_stream", "stall")
    )
    assert outcomes["malformed"].ended == "complete"
    with pytest.raises(json.JSONDecodeError):
        outcomes["malformed"].json()


# Streams.


def test_an_undisturbed_stream_is_one_chunk_per_event(sim: Simulator) -> None:
    """Each SSE event is its own HTTP chunk; the end is finish, usage, [DONE]."""
    reply = ask(sim.url, CHAT, OPENAI_STREAM)
    assert reply.ended == "complete"
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in reply.chunks)
    frames = reply.frames()
    assert frames[-1] == "[DONE]"
    assert (frames[-2]["choices"], frames[-3]["choices"][0]["finish_reason"]) == ([], "stop")
    assert all(frame["usage"] is None for frame in frames[:-2])


def test_close_mid_stream(sim: Simulator) -> None:
    """Exactly ``after`` content events, then the connection is cut; or the body is ended properly if clean."""
    cut = stream(sim, kind="close_mid_stream", after=3)
    assert (cut.ended, len(texts(cut.frames()))) == ("eof", 3)
    clean = stream(sim, kind="close_mid_stream", after=3, clean=True)
    assert (clean.ended, len(texts(clean.frames()))) == ("complete", 3)


def test_close_before_terminal_and_no_done(sim: Simulator) -> None:
    """All the text but no finish reason; or the finish reason but no [DONE]."""
    unfinished = stream(sim, kind="close_before_terminal")
    assert len(texts(unfinished.frames())) == 16
    assert unfinished.ended == "complete"
    assert all(not c["finish_reason"] for f in unfinished.frames() for c in f["choices"])
    undone = stream(sim, kind="no_done")
    assert undone.frames()[-1]["usage"]["completion_tokens"] == 16


def test_stall_pauses_or_hangs(sim: Simulator) -> None:
    """With ``ms`` the stream goes on; without it never does."""
    before_s = time.monotonic()
    paused = stream(sim, kind="stall", after=2, ms=80)
    assert paused.ended == "complete"
    assert len(texts(paused.frames())) == 16
    assert time.monotonic() - before_s >= 0.079
    sim.set_faults([{"kind": "stall", "after": 2}])
    hung = ask(sim.url, CHAT, OPENAI_STREAM, timeout_s=0.2)
    assert (hung.ended, len(texts(hung.frames()))) == ("timeout", 2)


def test_malformed_frame(sim: Simulator) -> None:
    """The n-th content frame is broken JSON in whole framing; the others are not."""
    reply = stream(sim, kind="malformed", after=2)
    broken = []
    for chunk in reply.chunks[:-1]:
        try:
            json.loads(chunk[6:])
        except json.JSONDecodeError:
            broken.append(chunk)
    assert len(broken) == 1
    assert broken[0].endswith(b"\n\n")


def test_error_frames(sim: Simulator) -> None:
    """An error as the first frame of a 200, or after some content; nothing follows it."""
    first = stream(sim, kind="error_first_frame", status=429)
    assert (first.status, len(first.frames())) == (200, 1)
    assert first.frames()[0]["error"]["code"] == "rate_limit_exceeded"
    mid = stream(sim, kind="error_mid_stream", after=2)
    assert len(texts(mid.frames())) == 2
    assert "error" in mid.frames()[-1]


def test_error_frames_in_the_other_dialects(sim: Simulator) -> None:
    """Anthropic's error event; Google's data line, and its array when the stream is one."""
    sim.set_faults([{"kind": "error_mid_stream", "after": 1}])
    anthropic = ask(sim.url, "/v1/messages", {**MESSAGES, "stream": True}, headers=ANTHROPIC_HEADERS)
    assert anthropic.body.rpartition(b"event: ")[2].startswith(b"error\ndata: ")
    assert anthropic.frames()[-1]["error"]["type"] == "overloaded_error"
    key = {"x-goog-api-key": "k"}
    events = ask(sim.url, "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GEMINI, headers=key)
    assert events.frames()[-1]["error"]["status"] == "UNAVAILABLE"
    array = ask(sim.url, "/v1/models/gemini-2.5-flash:streamGenerateContent", GEMINI, headers=key)
    assert [("error" in item) for item in array.json()] == [False, True]
    sim.set_faults([{"kind": "error_first_frame"}])
    array = ask(sim.url, "/v1/models/gemini-2.5-flash:streamGenerateContent", GEMINI, headers=key)
    assert array.json()[0]["error"]["code"] == 503


def test_split_cuts_inside_characters_and_line_ends(sim: Simulator) -> None:
    """Every chunk is as small as asked, also within UTF-8; joined, nothing is lost."""
    whole = ask(
        sim.url, CHAT, {**OPENAI_STREAM, "messages": [{"role": "user", "content": "ECHO naïve 水車 🙂"}]}
    )
    sim.set_faults([{"kind": "split", "bytes": 1}, {"kind": "crlf"}])
    reply = ask(
        sim.url, CHAT, {**OPENAI_STREAM, "messages": [{"role": "user", "content": "ECHO naïve 水車 🙂"}]}
    )
    assert {len(chunk) for chunk in reply.chunks} == {1}
    assert reply.body.count(b"\r\n") == reply.body.count(b"\n") > 0
    assert texts(reply.frames()) == texts(whole.frames())
    assert "".join(texts(reply.frames())) == "naïve 水車 🙂"


def test_heartbeats(sim: Simulator) -> None:
    """Comments between events; with ``forever`` nothing else comes again."""
    some = stream(sim, kind="heartbeats", after=1, times=4)
    assert some.body.count(b": ping\n\n") == 4
    assert len(texts(some.frames())) == 16
    sim.set_faults([{"kind": "heartbeats", "after": 1, "ms": 5, "forever": True}])
    with connect(sim.url) as sock:
        sock.sendall(
            request_bytes("POST", CHAT, json.dumps(OPENAI_STREAM).encode(), {"authorization": "Bearer k"})
        )
        data = b""
        while data.count(b": ping") < 20:
            data += sock.recv(65536)
    assert b"[DONE]" not in data


def test_role_only_huge_event_and_no_blank_line(sim: Simulator) -> None:
    """Empty first deltas; one event of the size asked; the last event without its line ends."""
    empty = stream(sim, kind="role_only", times=3)
    deltas = [f["choices"][0]["delta"] for f in empty.frames()[:4]]
    assert [d.get("content") for d in deltas] == ["", "", "", ""]
    huge = stream(sim, kind="huge_event", bytes=300_000)
    assert max(len(chunk) for chunk in huge.chunks) > 300_000
    bare = stream(sim, kind="no_blank_line_at_end")
    assert bare.body.endswith(b"data: [DONE]")


def test_terminal_split_and_joined(sim: Simulator) -> None:
    """Finish reason and usage in one chunk, or each in its own, against the vendor's habit."""
    joined = stream(sim, kind="terminal_split", mode="joined")
    assert joined.frames()[-2]["choices"][0]["finish_reason"] == "stop"
    assert joined.frames()[-2]["usage"]["completion_tokens"] == 16
    path = "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    split = ask(sim.url, path, GEMINI, headers={"x-goog-api-key": "k"})
    assert "finishReason" in split.frames()[-1]["candidates"][0]
    sim.set_faults([{"kind": "terminal_split"}])
    split = ask(sim.url, path, GEMINI, headers={"x-goog-api-key": "k"})
    assert "usageMetadata" not in split.frames()[-2]
    assert split.frames()[-1]["usageMetadata"]["candidatesTokenCount"] == 16
    assert "candidates" not in split.frames()[-1]


@pytest.mark.parametrize("body", [OPENAI_BODY, OPENAI_STREAM])
def test_encodings(sim: Simulator, body: dict) -> None:
    """gzip, deflate (both kinds) and br, each flushed per event; and headers that lie both ways."""
    undo = {
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "br": brotli.decompress,
    }
    plain = ask(sim.url, CHAT, body)
    for name, decode in undo.items():
        sim.set_faults([{"kind": name}])
        reply = ask(sim.url, CHAT, body)
        assert reply.headers["content-encoding"] == name
        assert len(decode(reply.body)) == len(plain.body)
    sim.set_faults([{"kind": "deflate", "mode": "raw"}])
    assert len(zlib.decompress(ask(sim.url, CHAT, body).body, -15)) == len(plain.body)
    sim.set_faults([{"kind": "wrong_encoding_header"}])
    lying = ask(sim.url, CHAT, body)
    assert (lying.headers["content-encoding"], len(lying.body)) == ("gzip", len(plain.body))
    sim.set_faults([{"kind": "gzip", "name": "none"}])
    silent = ask(sim.url, CHAT, body)
    assert "content-encoding" not in silent.headers
    assert len(gzip.decompress(silent.body)) == len(plain.body)


def test_reset_mid_stream(sim: Simulator) -> None:
    """Some events arrive, then RST."""
    reply = stream(sim, kind="reset", after=2)
    assert (reply.ended, len(texts(reply.frames()))) == ("reset", 2)


def test_bad_usage_and_model_drift(sim: Simulator) -> None:
    """Figures that contradict themselves or are missing; another model's name in the reply."""
    shown = {}
    for mode in ("inconsistent", "zero", "negative", "missing"):
        sim.set_faults([{"kind": "bad_usage", "mode": mode}])
        shown[mode] = ask(sim.url, CHAT, OPENAI_BODY).json().get("usage")
    wrong = shown["inconsistent"]
    assert wrong["total_tokens"] != wrong["prompt_tokens"] + wrong["completion_tokens"]
    assert (shown["zero"]["total_tokens"], shown["negative"]["total_tokens"], shown["missing"]) == (
        0,
        -1,
        None,
    )
    sim.set_faults([{"kind": "model_drift", "name": "gpt-other"}])
    assert ask(sim.url, CHAT, OPENAI_BODY).json()["model"] == "gpt-other"


# When.


def test_faults_choose_by_provider_dialect_model_and_key(sim: Simulator) -> None:
    """Only what matches all that is given is hit; other providers in the same process are untouched."""
    sim.set_faults(
        [Fault("status", When(providers=("beta",), models=("gpt-4*",), keys=("bad",)), status=500)]
    )
    path = "/p/{}/v1/chat/completions"
    asked = [
        ("beta", "gpt-4o", "bad"),
        ("alpha", "gpt-4o", "bad"),
        ("beta", "gpt-5", "bad"),
        ("beta", "gpt-4o", "good"),
    ]
    statuses = [
        ask(
            sim.url,
            path.format(name),
            {**OPENAI_BODY, "model": model},
            headers={"authorization": f"Bearer {key}"},
        ).status
        for name, model, key in asked
    ]
    assert statuses == [500, 200, 200, 200]


FACTS = Facts("alpha", "openai", "gpt-4o", "k", stream=False)


def hits(when: When, times: int, count: int | None = None) -> list[bool]:
    """Which of ``times`` requests are hit."""
    book = FaultBook([Fault("status", when, count)], 0.0)
    rng = Random(1)
    return [bool(book.pick(FACTS, 0.0, rng)) for _ in range(times)]


def test_first_after_every_and_count() -> None:
    """They speak of the requests that the fault selects, from 1."""
    assert hits(When(first=2), 4) == [True, True, False, False]
    assert hits(When(after=2), 4) == [False, False, True, True]
    assert hits(When(every=3), 7) == [True, False, False, True, False, False, True]
    assert hits(When(after=1, every=2), 5) == [False, True, False, True, False]
    assert hits(When(), 4, count=2) == [True, True, False, False]


def test_probability_is_drawn_from_the_seeded_generator() -> None:
    """About the asked share is hit, and the same seed hits the same requests."""
    drawn = hits(When(probability=0.3), 2000)
    assert 500 < sum(drawn) < 700
    assert drawn == hits(When(probability=0.3), 2000)


def test_outage_windows_run_from_when_the_faults_were_set() -> None:
    """``from_s`` is included, ``to_s`` is not."""
    book = FaultBook([Fault("status", When(from_s=5, to_s=10))], 100.0)
    rng = Random(0)
    assert [bool(book.pick(FACTS, now_s, rng)) for now_s in (104.9, 105.0, 109.9, 110.0)] == [
        False,
        True,
        True,
        False,
    ]


def test_stream_faults_compose_and_an_exclusive_one_ends_the_walk() -> None:
    """Shaping faults add up; what decides the whole answer hides what comes after it, uncounted."""
    faults = [Fault("crlf"), Fault("split", bytes=2), Fault("hang"), Fault("gzip", count=1)]
    book = FaultBook(faults, 0.0)
    picked = book.pick(FACTS, 0.0, Random(0))
    assert [fault.kind for fault in picked] == ["crlf", "split", "hang"]

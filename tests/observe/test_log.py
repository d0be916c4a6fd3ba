"""The operator's log: one line per event, no secrets, and no flood."""

import io
import json

import pytest

from penstock.observe.log import MAX_FACT_CHARS, OperatorLog


class Closed(io.StringIO):
    """A stream whose other end has gone."""

    def write(self, text):
        raise BrokenPipeError


def log(**options):
    """A log with fixed clocks, and its stream."""
    stream, clock = io.StringIO(), [1000.0]
    made = OperatorLog(
        stream=stream, unix_s=lambda: 1_795_000_000.25, monotonic_s=lambda: clock[0], **options
    )
    return made, stream, clock


def test_text_is_one_line():
    """Time, level, event, facts; words with spaces are quoted."""
    made, stream, _ = log()
    made.event(
        "listening", url="http://127.0.0.1:8080", config="my file.yaml", workers=1, tls=False, proxy=None
    )
    assert stream.getvalue() == (
        "2026-11-18T11:06:40.250Z INFO listening url=http://127.0.0.1:8080 "
        'config="my file.yaml" workers=1 tls=false proxy=null\n'
    )


def test_json_is_one_object_a_line():
    """For machines: the same event, with its facts as they are."""
    made, stream, _ = log(json_lines=True)
    made.event("reload.refused", faults=2, first="$.providers: said\ntwice")
    line = json.loads(stream.getvalue())
    assert line == {
        "at": "2026-11-18T11:06:40.250Z",
        "level": "info",
        "event": "reload.refused",
        "faults": 2,
        "first": "$.providers: said twice",
    }


@pytest.mark.parametrize("json_lines", [False, True])
def test_nothing_breaks_out_of_its_line(json_lines):
    """Line breaks, escapes and broken characters in facts stay on the line."""
    made, stream, _ = log(json_lines=json_lines)
    made.event("x", fact="a\nERROR forged\r\x1b[31m \ud83d", message="m")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef123456",
        "sk-ant-api03-abcdef",
        "AIzaSyAbcdef1234567",
        "Bearer abc.def",
        "ya29.a0Ab_c-d",
        "gsk_abcdef123",
    ],
)
def test_what_looks_like_a_credential_is_masked(secret):
    """Even where a provider's sentence quotes a key."""
    made, stream, _ = log()
    made.event("x", said=f"refused key {secret}, sorry")
    made.once("k", f"refused key {secret}")
    made.failure("y", ValueError(f"with {secret}"))
    assert secret not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


def test_long_facts_are_cut():
    """A log line is no place for a body."""
    made, stream, _ = log()
    made.event("x", fact="a" * 10_000)
    assert len(stream.getvalue()) < MAX_FACT_CHARS + 100


def test_once_is_once_per_key_and_period():
    """Said once; when it is said again, it says how often it was not."""
    made, stream, clock = log()
    assert made.once("open a", "a is open") is True
    assert made.once("open a", "a is open") is False
    assert made.once("open a", "a is open") is False
    assert made.once("open b", "b is open") is True
    clock[0] += 3601
    assert made.once("open a", "a is open") is True
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[2].endswith("a is open left_unsaid=2")


def test_once_remembers_boundedly():
    """Keys made of callers' words cannot grow the memory."""
    made, _, _ = log()
    for number in range(5000):
        made.once(f"key {number}", "said")
    assert len(made._said) == 1000


def test_a_failure_says_where():
    """A bug is one line with its class, its sentence and the way there."""

    def inner():
        raise KeyError("lost")

    made, stream, _ = log()
    try:
        inner()
    except KeyError as error:
        made.failure("request.failed", error, request_id="r1")
    line = stream.getvalue()
    assert "ERROR request.failed KeyError: 'lost' request_id=r1" in line
    assert "inner < test_log.py" in line
    assert line.count("\n") == 1


def test_a_log_without_a_reader_takes_nothing_with_it():
    """A closed pipe loses the line, not the gateway."""
    stream = Closed()
    OperatorLog(stream=stream).event("x")
    assert stream.getvalue() == ""

"""``penstock explain`` prints what was decided, as it was written down, and every price."""

import json

import pytest

from penstock.base.usage import Usage
from penstock.cli.main import run
from penstock.gateway.record import Explain, Happening, RefusalTold, StepTold
from penstock.ledger.journal import Journal
from tests.ledger.make import entry, record

STORY = Explain(
    route="fast",
    route_reason="a named route",
    steps=(
        StepTold("openai/gpt-4o-mini", "first in the chain", True, "same dialect"),
        StepTold("anthropic/claude-haiku-4-5", "fallback", False, "openai to anthropic"),
    ),
    refused=(RefusalTold("local/llava", "no-image", "the model takes no images"),),
    happenings=[
        Happening(0.31, "try", "openai/gpt-4o-mini", "OPENAI_KEY", "first; key: weight 0.7 of 1", attempt=1),
        Happening(
            14.2,
            "failed",
            "openai/gpt-4o-mini",
            "OPENAI_KEY",
            "503 from [bold]openai[/bold]",
            "upstream_fault",
            1,
        ),
        Happening(14.3, "wait", reason="back-off after slow_down: 99 ms"),
        Happening(113.4, "wait", reason="back-off after slow_down: 1 ms"),
        Happening(114.5, "try", "anthropic/claude-haiku-4-5", "ANT", "fallback", attempt=2),
        Happening(260.0, "delivered", "anthropic/claude-haiku-4-5", "ANT", attempt=2),
    ],
)


@pytest.fixture
def db(tmp_path, monkeypatch):
    """A ledger with one call that fell back, and some stranger ones."""
    monkeypatch.setenv("COLUMNS", "200")
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    failed = entry(
        "r1", 1, klass="failed", status=503, error_code="upstream_fault", error="503 from [bold]openai[/bold]",
        usage=Usage(), usage_source=None, ttft_ms=None, tokens_per_s=None, finish_reason=None,
    )  # fmt: skip
    usage = Usage(input=1000, cache_read=50, output=200, source="stream")
    served = entry("r1", 2, provider="anthropic", model="claude-haiku-4-5", provider_key="ANT", usage=usage,
                   native_finish_reason="end_turn", meta={"sku": "12"})  # fmt: skip
    journal.add(
        record(
            "r1", failed, served, explain=STORY, adjusted=("logit_bias-dropped",), client_request_id="mine"
        )
    )
    journal.add(
        record("r2", entry("r2", 1), entry("r2", 2, row=None), explain={"later": {"shape": [1, "two"]}})
    )
    journal.add(record("r3", status=200))
    cut = entry("r4", 1, klass="billed_not_delivered")
    ends = [
        {"at_ms": 1.0, "what": "try", "target": "a/b", "key": "K", "reason": "first", "attempt": 1},
        {"at_ms": 20.0, "what": "cut", "reason": "The caller hung up.", "code": "client_gone", "attempt": 1},
        {"at_ms": 30.0, "what": "try", "target": "a/b", "key": "K", "reason": "again", "attempt": 2},
        {
            "at_ms": 31.0,
            "what": "failed",
            "reason": "never written",
            "code": "odd",
            "attempt": 2,
            "later": "field",
        },
        {"at_ms": 32.0, "what": "failed", "target": "a/b", "reason": "no try", "code": "lost", "attempt": 9},
        {"at_ms": 33.0, "what": "wait", "reason": "until it is well"},
    ]
    who = {"organisation": "acme", "team": "vision", "user": "[b]anna"}
    journal.add(record("r4", cut, explain={"happenings": ends}, **who))
    journal.close()
    return path


def test_the_whole_story(db, capsys):
    """Who asked, the plan, each refusal, each attempt with its key, reason, tokens and price lines, and the total."""
    assert run(["explain", "r1", "--db", db]) == 0
    out = capsys.readouterr().out
    for words in (
        "research asked for fast",
        "answered 200 after 130.5 ms, 85 µs of it our own; 2 attempts",
        "caller's own id mine",
        "adjusted: logit_bias-dropped",
        "plan of fast: a named route",
        "openai/gpt-4o-mini: first in the chain",
        "bytes go through: same dialect",
        "translated: openai to anthropic",
        "local/llava: the model takes no images [no-image]",
        "+0.3 ms try (attempt 1) openai/gpt-4o-mini with key OPENAI_KEY: first; key: weight 0.7 of 1",
        "failed at +14.2 ms, upstream 503, took 120.5 ms",
        "upstream_fault: 503 from [bold]openai[/bold]",
        "nothing consumed: $0",
        "+14.3 ms wait 100 ms (back-off after slow_down)",
        "delivered at +260.0 ms, upstream 200, took 120.5 ms, first token after 40.2 ms, 55.5 tokens/s",
        "finished: stop (the provider's word: end_turn)",
        "metadata sku = 12",
        "1,050 prompt + 200 completion tokens (stream): $0.00027375",
        "1,000 input x $0.15/M = $0.00015 (price version 2026-11-01, stream)",
        "50 cache_read x $0.075/M = $0.00000375 (price version 2026-11-01, stream)",
        "200 output x $0.6/M = $0.00012 (price version 2026-11-01, stream)",
        "total: $0.00027375",
    ):
        assert words in out
    assert (
        out.index("try (attempt 1)") < out.index("wait") < out.index("try (attempt 2)") < out.index("total")
    )


def test_how_a_try_ended_is_said_once_and_at_the_try(db, screen):
    """The reason of a failure has one line, under its attempt; equal waits that follow each other are one."""
    lines = screen.lines(None, "explain", "r1", "--db", db)
    at = {word: [place for place, line in enumerate(lines) if word in line] for word in (
        "503 from [bold]openai[/bold]", "try (attempt 1)", "try (attempt 2)", "failed at", "delivered at", " wait ",
    )}  # fmt: skip
    assert [len(places) for places in at.values()] == [1, 1, 1, 1, 1, 1]
    order = ("try (attempt 1)", "failed at", "503 from [bold]openai[/bold]", " wait ", "try (attempt 2)")
    assert [at[word][0] for word in order] == sorted(at[word][0] for word in order)


@pytest.mark.parametrize("columns", [60, 80, 200, None])
def test_no_decision_is_cut(db, screen, columns):
    """A terminal folds under the branch, a pipe gets whole lines; the words are the same at every width."""
    lines = screen.lines(columns, "explain", "r1", "--db", db)
    text = " ".join(" ".join(lines).replace("│", " ").split())
    for words in (
        "try (attempt 1) openai/gpt-4o-mini with key OPENAI_KEY: first; key: weight 0.7 of 1",
        "upstream 200, took 120.5 ms, first token after 40.2 ms, 55.5 tokens/s",
        "200 output x $0.6/M = $0.00012 (price version 2026-11-01, stream)",
    ):
        assert words in text
    if columns is None:
        whole = screen.lines(10_000, "explain", "r1", "--db", db)
        assert lines == whole
        assert all(line == line.rstrip() for line in lines)
    else:
        assert max(map(len, lines)) <= columns


def test_endings_that_the_ledger_does_not_explain(db, screen):
    """A cut says its class; a try without an entry still says how it ended; what differs is said beside it."""
    lines = [line.lstrip("│├└─ ") for line in screen.lines(None, "explain", "r4", "--db", db)]
    assert "research for [b]anna (vision of acme) asked for fast" in lines
    assert (
        "cut at +20.0 ms, billed_not_delivered, upstream 200, took 120.5 ms, first token after 40.2 ms, 55.5 tokens/s"
        in lines
    )
    assert "client_gone: The caller hung up." in lines
    assert lines[lines.index("+30.0 ms try (attempt 2) a/b with key K: again") + 1] == "failed at +31.0 ms"
    assert "odd: never written" in lines
    assert "later: field" in lines
    assert "+32.0 ms failed (attempt 9) a/b: no try [lost]" in lines
    assert "+33.0 ms wait: until it is well" in lines


def test_the_body_id_finds_the_call_too(db, capsys):
    """A user who kept only the reply's body can ask."""
    assert run(["explain", "chatcmpl-r1", "--db", db]) == 0
    assert "plan of fast" in capsys.readouterr().out


def test_unknown_prices_and_unknown_shapes_are_said(db, capsys):
    """A missing price is words, never $0; what another version recorded is printed as it stands."""
    assert run(["explain", "r2", "--db", db]) == 0
    out = capsys.readouterr().out
    assert "1,000 input: unknown price (price version unknown, provider)" in out
    assert "total: unknown price ($0.00027 known, 1 attempt with unknown price)" in out
    assert "attempt 1 openai/gpt-4o-mini with key OPENAI_KEY" in out
    assert "shape:" in out
    assert "1: two" in out


def test_a_call_without_a_story_still_has_its_attempts(db, capsys):
    """Nothing recorded is no reason to show nothing."""
    assert run(["explain", "r3", "--db", db]) == 0
    out = capsys.readouterr().out
    assert "attempt 1 openai/gpt-4o-mini" in out
    assert "also recorded" not in out


def test_json_is_the_whole_record(db, capsys):
    """Named fields, integers, and the story as it was written."""
    assert run(["explain", "r1", "--db", db, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["call"]["request_id"] == "r1"
    assert data["call"]["explain"]["happenings"][2] == {
        "at_ms": 14.3,
        "what": "wait",
        "reason": "back-off after slow_down: 99 ms",
    }
    assert [made["attempt"] for made in data["entries"]] == [1, 2]
    assert data["entries"][1]["lines"][0]["price_pico_usd"] == 150_000
    assert (data["cost_nusd"], data["cost_usd"]) == (273_750, "0.00027375")


def test_a_call_that_is_not_there(db, capsys):
    """Exit 1, nothing on stdout, and where else to look."""
    assert run(["explain", "nobody", "--db", db]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "nobody" in err
    assert "--db" in err


def test_the_ledger_of_the_configuration(db, tmp_path, capsys, monkeypatch):
    """Named, or the penstock.yaml that is here; ``--db`` is another one."""
    (tmp_path / "other.yaml").write_text(f"ledger: {{path: {db}}}\n", encoding="utf-8")
    assert run(["explain", "r1", "--config", str(tmp_path / "other.yaml")]) == 0
    assert "asked for" in capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert run(["explain", "r1"]) == 1
    (empty / "penstock.yaml").write_text(f"ledger: {{path: {db}}}\n", encoding="utf-8")
    assert run(["explain", "r1"]) == 0
    capsys.readouterr()
    assert run(["explain", "r1", "--db", "none.db"]) == 1
    assert "none.db" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("batch_1", ("penstock cost --trace batch_1", "penstock batches batch_1")),
        ("msgbatch_1", ("penstock cost --trace msgbatch_1", "penstock batches msgbatch_1")),
        ("job_1", ("request_id", "/v1/jobs/job_1")),
    ],
)
def test_what_has_calls_is_no_call(db, capsys, name, said):
    """A batch's id and a job's: where their calls are found."""
    assert run(["explain", name, "--db", db]) == 1
    err = capsys.readouterr().err
    assert [words for words in said if words not in err] == []

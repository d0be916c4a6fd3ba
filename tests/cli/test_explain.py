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
        Happening(14.3, "wait", reason="back-off: 100 ms"),
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
        "failed, upstream 503, took 120.5 ms",
        "upstream_fault: 503 from [bold]openai[/bold]",
        "nothing consumed: $0",
        "+14.3 ms wait: back-off: 100 ms",
        "delivered, upstream 200, took 120.5 ms, first token after 40.2 ms, 55.5 tokens/s",
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
        "reason": "back-off: 100 ms",
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

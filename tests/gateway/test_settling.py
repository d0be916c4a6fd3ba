"""What an attempt cost and what a call was: classes, estimates, prices, and who learns from what."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.gateway.inside import CONFIG, MODEL, STREAM, USAGE, chat, inside, whole

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from penstock.testing import ScriptedReply

ALONE = "providers: {openai: {keys: [{value: env.OPENAI}], network: {retry: {max_retries: 0}}}}\n"
PRICED = ALONE + 'prices: [{model: openai/gpt-4o-mini, usd_per_million: {input: "1", output: "10"}}]\n'
ERROR = b'{"error":{"message":"no","type":"invalid_request_error","code":null}}'


def test_a_whole_reply_is_delivered_at_the_providers_own_figures(tmp_path: Path) -> None:
    """9 in at $1, 2 out at $10 a million: 29,000 nano-dollars, in the header too."""
    with inside(tmp_path, PRICED, openai=[whole()]) as house:
        reply = asyncio.run(house.call(chat()))
        (entry,) = house.record().entries
        assert (entry.klass, entry.input, entry.output, entry.usage_source) == ("delivered", 9, 2, "provider")
        assert entry.cost_nusd == 9 * 1_000 + 2 * 10_000
        assert reply.header("x-penstock-cost-usd") == "0.000029"
        assert reply.header("x-penstock-attempts") == "1"


@pytest.mark.parametrize("body", [chat(), chat(stream=True)], ids=["whole", "stream"])
def test_a_provider_that_is_silent_about_usage_is_estimated(tmp_path: Path, body: dict) -> None:
    """Delivered all the same; counted by bytes, marked, and never 0."""
    silent = (
        whole("x" * 400, usage=None)
        if not body.get("stream")
        else ScriptedReply(STREAM.pieces[:3] + STREAM.pieces[4:])
    )
    with inside(tmp_path, PRICED, openai=[silent]) as house:
        asyncio.run(house.call(body))
        (entry,) = house.record().entries
        assert (entry.klass, entry.usage_source) == ("delivered", "estimated")
        assert entry.input > 0
        assert entry.output > 0
        assert entry.cost_nusd == entry.input * 1_000 + entry.output * 10_000


@pytest.mark.parametrize(
    ("answer", "klass", "cost"),
    [
        (UpstreamUnreachable("no"), "failed", 0),
        (UpstreamTimeout("no", phase="connect"), "failed", 0),
        (UpstreamTimeout("no", phase="first_byte"), "billed_not_delivered", None),
        (UpstreamTruncated("no"), "billed_not_delivered", None),
        (ScriptedReply((ERROR,), 400), "failed", 0),
        (ScriptedReply((ERROR,), 401), "failed", 0),
        (ScriptedReply((ERROR,), 429), "failed", 0),
        (ScriptedReply((ERROR,), 503), "failed", 0),
        (ScriptedReply((b"<html>",), 502), "failed", 0),
        (ScriptedReply((b"<html>",), 200), "failed", 0),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, ScriptedReply) else f"{value.status}",
)
def test_what_a_failed_attempt_costs(tmp_path: Path, answer: object, klass: str, cost: int | None) -> None:
    """Refused is free; sent and never answered was perhaps consumed: estimated, not 0."""
    with inside(tmp_path, PRICED, openai=[answer]) as house:
        error = asyncio.run(house.refused(chat("word " * 50)))
        record = house.record()
        (entry,) = record.entries
        assert (entry.klass, record.call.status) == (klass, error.status)
        assert entry.error_code == record.call.error_code == error.code
        if cost is None:
            assert (entry.usage_source, entry.input > 0, entry.output) == ("estimated", True, 0)
            assert entry.cost_nusd == entry.input * 1_000
        else:
            assert (entry.usage_source, entry.cost_nusd) == (None, cost)


def test_an_unknown_price_is_null_and_never_0(tmp_path: Path) -> None:
    """In the record, in the sum, and not in the header."""
    with inside(tmp_path, openai=[whole()]) as house:
        reply = asyncio.run(house.call(chat(model="openai/house-model")))
        (entry,) = house.record().entries
        assert (entry.cost_nusd, entry.input) == (None, 9)
        assert reply.header("x-penstock-cost-usd") is None


def test_every_attempt_is_an_entry_and_the_last_says_how_it_ended(tmp_path: Path) -> None:
    """Numbered from 1; the call's own latency and status beside them."""
    config = CONFIG.replace("max_retries: 0", "max_retries: 1, backoff_initial_ms: 1")
    with inside(
        tmp_path,
        config,
        openai=[UpstreamFault("a"), UpstreamFault("b")],
        anthropic=[ScriptedReply((ERROR,), 400)],
    ) as house:
        error = asyncio.run(house.refused(chat()))
        record = house.record()
        assert isinstance(error, UpstreamBadRequest)
        assert [(e.attempt, e.provider, e.error_code) for e in record.entries] == [
            (1, "openai", "upstream_fault"),
            (2, "openai", "upstream_fault"),
            (3, "anthropic", error.code),
        ]
        assert record.call.attempts == len(record.entries)


@pytest.mark.parametrize(
    ("error", "healthy", "cools"),
    [
        (UpstreamFault("x"), False, False),
        (UpstreamMalformed("x"), False, False),
        (UpstreamRateLimited("x", retry_after_s=9), True, True),
        (UpstreamAuthFailed("x"), True, True),
        (UpstreamBadRequest("x"), True, False),
    ],
)
def test_who_learns_from_an_error(tmp_path: Path, error: Exception, healthy: bool, cools: bool) -> None:
    """Health from faults alone, keys from what speaks of keys."""
    with inside(tmp_path, ALONE, openai=[error]) as house:
        asyncio.run(house.refused(chat()))
        assert house.house.health.quiet == healthy
        assert bool(house.house.providers["openai"].keys._cooling) == cools


def test_tokens_are_learned_from_the_providers_figures(tmp_path: Path) -> None:
    """The next estimate of that model is nearer."""
    usage = {"prompt_tokens": 500, "completion_tokens": 1, "total_tokens": 501}
    with inside(tmp_path, ALONE, openai=[whole(usage=usage)] * 30) as house:
        before = house.house.estimator.tokens("gpt-4o-mini", 4000)
        for _ in range(30):
            asyncio.run(house.call(chat("word " * 200)))
        after = house.house.estimator.tokens("gpt-4o-mini", 4000)
        assert abs(after - 2000) < abs(before - 2000)


# Before there is an attempt.


@pytest.mark.parametrize("body", [{"model": MODEL}, {"messages": []}, {"model": 7, "messages": []}])
def test_a_call_that_was_never_understood_leaves_no_half_record(tmp_path: Path, body: dict) -> None:
    with inside(tmp_path) as house:
        error = asyncio.run(house.refused(body))
        assert error.status == 400
        house.house.books.flush()
        found = house.house.journal.find("gen-1")
        assert (found.entries if found is not None else ()) == ()


def test_a_key_expires_by_the_clock(tmp_path: Path) -> None:
    """From its moment on, to the second; also on a connection that knows it."""
    config = ALONE + "virtual_keys: [{name: a, key: env.V, expires: 2026-11-20T12:00:10Z}]"
    told = {"authorization": "Bearer value-of-V"}
    with inside(tmp_path, config, openai=[whole(), whole()]) as house:
        assert asyncio.run(house.call(chat(), told)).status == 200
        house.clock.advance(9.9)
        assert asyncio.run(house.call(chat(), told)).status == 200
        house.clock.advance(0.1)
        error = asyncio.run(house.refused(chat(), told))
        assert (error.status, error.code) == (403, "key_expired")


def test_tokens_are_given_back_after_the_call(tmp_path: Path) -> None:
    """The limit is charged what was used, not what was estimated."""
    config = ALONE + "virtual_keys: [{name: a, key: env.V, rate_limit: {tokens_per_minute: 2000}}]"
    told = {"x-api-key": "value-of-V"}
    with inside(tmp_path, config, openai=[whole()] * 4) as house:
        for _ in range(4):  # estimated at some 1,250 tokens each, used 11
            assert asyncio.run(house.call(chat("word " * 1000), told)).status == 200
        error = asyncio.run(house.refused(chat("word " * 10_000), told))
        assert (error.status, error.code) == (429, "rate_limit_exceeded")
        assert error.retry_after_s is not None


def test_a_full_ledger_refuses_rather_than_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, before anything is spent."""
    with inside(tmp_path, openai=[whole()]) as house:
        monkeypatch.setattr(type(house.house.journal), "full", property(lambda self: True))
        error = asyncio.run(house.refused(chat()))
        assert (error.status, error.code, error.retry_after_s) == (503, "ledger_full", 1)
        assert house.scripts["openai"].sent == []


# The books.


def test_books_are_written_up_by_themselves_and_at_once_when_asked(tmp_path: Path) -> None:
    """A call is found from its last byte on; without questions a timer writes it up."""
    with inside(tmp_path, openai=[whole(), whole()]) as house:

        async def run() -> None:
            await house.call(chat())
            assert house.house.books.find("gen-1", virtual_key="") is not None
            await house.call(chat())
            for _ in range(200):
                if house.house.journal.find("gen-2") is not None:
                    return
                await asyncio.sleep(0.005)
            raise AssertionError("never written up")

        asyncio.run(run())
        assert house.house.books.find("gen-1", virtual_key="somebody-else") is None


def test_the_metrics_count_what_the_ledger_holds(tmp_path: Path) -> None:
    with inside(
        tmp_path, openai=[whole(), UpstreamFault("x")], anthropic=[ScriptedReply((ERROR,), 400)]
    ) as house:
        asyncio.run(house.call(chat()))
        asyncio.run(house.refused(chat()))
        house.house.books.flush()
        text = house.shared.metrics.render()
        shown = text.decode() if isinstance(text, bytes) else text
        assert 'class="delivered"' in shown
        assert 'class="failed"' in shown


# What a caller tells, and what it is told.


def test_headers_of_the_caller_are_kept_in_the_record(tmp_path: Path) -> None:
    """Trace, stage, metadata (the header beside the body's), its own request id echoed under another name."""
    told = {
        "x-penstock-trace": "trace-1",
        "x-penstock-stage": "draft",
        "x-penstock-meta": "sku=12, campaign=x=y,=no,bare",
        "x-request-id": "mine\x01",
    }
    with inside(tmp_path, openai=[whole()]) as house:
        reply = asyncio.run(house.call(chat(metadata={"sku": "1", "team": "t"}), told))
        record = house.record()
        (entry,) = record.entries
        assert (entry.trace_id, entry.stage) == ("trace-1", "draft")
        assert entry.meta == {"sku": "12", "team": "t", "campaign": "x=y", "bare": ""}
        assert reply.header("x-request-id") == "gen-1"
        assert reply.header("x-client-request-id").startswith("mine")
        assert record.call.client_request_id.startswith("mine")


@pytest.mark.parametrize(
    ("told", "trace"),
    [
        (
            {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
            "4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        ({"traceparent": "garbage"}, "gen-1"),
        ({"traceparent": "00-aa-bb-01", "x-penstock-trace": "own"}, "own"),
        ({}, "gen-1"),
    ],
)
def test_a_trace_is_the_callers_or_the_requests_own(tmp_path: Path, told: dict[str, str], trace: str) -> None:
    with inside(tmp_path, openai=[whole()]) as house:
        asyncio.run(house.call(chat(), told))
        assert house.record().entries[0].trace_id == trace


def test_what_is_told_is_bounded(tmp_path: Path) -> None:
    """A header of 60 KB is not kept whole, nor a hundred pairs."""
    meta = ",".join(f"k{n}={'v' * 1000}" for n in range(100))
    with inside(tmp_path, openai=[whole()]) as house:
        asyncio.run(house.call(chat(), {"x-penstock-meta": meta, "x-penstock-stage": "s" * 5000}))
        (entry,) = house.record().entries
        assert len(entry.meta) == 16
        assert max(map(len, entry.meta.values())) == len(entry.stage) == 256


def test_a_reply_cannot_be_split_by_what_stands_in_its_headers(tmp_path: Path) -> None:
    """Line breaks in names and ids stay within their line."""
    config = ALONE.replace("network:", 'models: {evil: "a\\r\\nx-evil: 1"}, network:')
    with inside(tmp_path, config, openai=[whole()]) as house:
        reply = asyncio.run(house.call(chat(model="openai/evil"), {"x-request-id": "a\r\nx-evil: 2"}))
        assert reply.status == 200
        lines = reply.head.decode().split("\r\n")
        assert not any(line.startswith("x-evil") for line in lines)
        assert "\n" not in reply.head.decode().replace("\r\n", "")


# A target's own parameters.


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ("temperature: 0.5", {"temperature": 0.5}),
        ("max_tokens: 7", {"max_tokens": 7}),
        ("max_completion_tokens: 7", {"max_tokens": 7}),
        ("stop: END", {"stop_sequences": ["END"]}),
        ("reasoning_effort: low, max_tokens: 4000", {"thinking": {"type": "enabled"}}),
        ("tool_choice: required, tools: [{type: function, function: {name: f}}]", {"tool_choice": {"type": "any"}}),
        ("temperature: null", {"temperature": None}),
    ],
)  # fmt: skip
def test_parameters_of_a_target_are_read_as_openai_writes_them(
    tmp_path: Path, params: str, wanted: dict
) -> None:
    """They replace the caller's, in whatever dialect the target speaks."""
    config = (
        CONFIG + f"routes: [{{id: r, primary: {{model: anthropic/claude-haiku-4-5, params: {{{params}}}}}}}]"
    )
    with inside(tmp_path, config, anthropic=[UpstreamFault("enough")]) as house:
        asyncio.run(house.refused(chat(model="r", temperature=1, max_tokens=5000)))
        ((request, _),) = house.scripts["anthropic"].sent
        sent = msgspec.json.decode(request.body)
        for name, value in wanted.items():
            if isinstance(value, dict):
                assert sent[name].items() >= value.items()
            else:
                assert sent.get(name) == value


def test_a_response_format_of_a_target_goes_to_another_dialect(tmp_path: Path) -> None:
    """As OpenAI writes it; a parameter that cannot be read is refused with a sentence, and is no bug of ours."""
    good = "response_format: {type: json_schema, json_schema: {name: m, schema: {type: object}}}"
    bad = "response_format: {type: nonsense}"
    for params, refused in ((good, False), (bad, True)):
        config = (
            CONFIG
            + f"routes: [{{id: r, primary: {{model: anthropic/claude-haiku-4-5, params: {{{params}}}}}}}]"
        )
        folder = tmp_path / str(refused)
        folder.mkdir()
        with inside(folder, config, anthropic=[UpstreamFault("enough")]) as house:
            error = asyncio.run(house.refused(chat(model="r")))
            if refused:
                assert error.status == 400
                assert "configured for this target" in error.public()
            else:
                assert error.code == "upstream_fault"
                assert b'"schema"' in house.scripts["anthropic"].sent[0][0].body


def test_a_search_is_on_the_bill_or_makes_it_unknown(tmp_path: Path) -> None:
    """A search that the provider counts has a line of its own: at the user's price, or at none; never left out."""
    searched = whole(usage={**USAGE, "server_tool_use": {"web_search_requests": 2}})
    own = PRICED.replace('output: "10"', 'output: "10", web_search: "10000"')
    with inside(tmp_path, own, openai=[searched]) as house:
        reply = asyncio.run(house.call(chat()))
        (entry,) = house.record().entries
        assert [(line.unit, line.quantity) for line in entry.lines] == [
            ("input", 9),
            ("output", 2),
            ("web_search", 2),
        ]
        assert entry.cost_nusd == 29_000 + 2 * 10_000_000
        assert reply.header("x-penstock-cost-usd") == "0.020029"
    (tmp_path / "unpriced").mkdir()
    with inside(tmp_path / "unpriced", PRICED, openai=[searched]) as house:
        reply = asyncio.run(house.call(chat()))
        (entry,) = house.record().entries
        assert (entry.cost_nusd, entry.lines[-1].cost_nusd) == (None, None)
        assert reply.header("x-penstock-cost-usd") is None

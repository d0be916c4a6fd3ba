"""A stream on its way to the caller: held back until there is content, kept alive, watched, cut, and settled."""

import asyncio
from pathlib import Path

import pytest
from tests.gateway.inside import (
    CONFIG,
    COUNTED,
    DONE,
    HI,
    ROLE,
    STOP,
    STREAM,
    KeptReply,
    chat,
    claude,
    inside,
)

from penstock.base.errors import UpstreamFault, UpstreamTruncated
from penstock.testing import FOREVER, ScriptedReply

ASK = chat(stream=True)
PATIENT = CONFIG + "server: {hold_back_ms: 60000}"
HASTY = CONFIG + "server: {hold_back_ms: 30}"
STUCK = HASTY.replace("network: {", "network: {idle_timeout_ms: 120, ")
PING = b": ping\n\n"


@pytest.fixture(autouse=True)
def _fast_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is looked for thirty times a second."""
    monkeypatch.setattr("penstock.gateway.stream.TICK_S", 0.03)


def test_nothing_is_sent_before_the_first_content_and_then_all_at_once(tmp_path: Path) -> None:
    """The role waits with the head for the first words; they leave in one write."""
    with inside(
        tmp_path, PATIENT, openai=[ScriptedReply((ROLE, PING, 0.05, HI, STOP, COUNTED, DONE))]
    ) as house:

        async def run() -> KeptReply:
            reply = KeptReply()
            task = asyncio.ensure_future(house.begin(ASK, reply).run())
            await asyncio.sleep(0.02)
            assert not reply.started
            await task
            return reply

        reply = asyncio.run(run())
        assert (reply.status, reply.ended, reply.text()) == (200, True, "hi")
        assert b'"role": "assistant"' in reply.pieces[0]
        assert b'"hi"' in reply.pieces[0]
        assert reply.frames()[-1] == "[DONE]"
        assert house.record().call.error_code is None


def test_after_hold_back_200_goes_out_and_comments_keep_it_alive(tmp_path: Path) -> None:
    """The head and what was held first, then a comment each tick, then the content."""
    with inside(tmp_path, HASTY, openai=[ScriptedReply((ROLE, 0.2, HI, STOP, COUNTED, DONE))]) as house:
        reply = asyncio.run(house.call(ASK))
        content = next(n for n, piece in enumerate(reply.pieces) if b'"hi"' in piece)
        assert b'"role": "assistant"' in reply.pieces[0]
        assert content >= 3
        assert all(piece.startswith(b": ") for piece in reply.pieces[1:content])
        assert (reply.status, reply.text(), reply.ended) == (200, "hi", True)
        assert house.record().entries[0].ttft_ms >= 190


def test_before_hold_back_is_over_a_failure_falls_back_unseen(tmp_path: Path) -> None:
    """A role, then the end: the caller gets the other provider's words, and nothing of the first."""
    broken = ScriptedReply((ROLE, UpstreamTruncated("closed")))
    with inside(tmp_path, PATIENT, openai=[broken], anthropic=[claude()]) as house:
        reply = asyncio.run(house.call(ASK))
        assert (reply.text(), reply.header("x-penstock-provider")) == ("claude", "anthropic")
        assert b"chatcmpl-1" not in reply.body
        first, second = house.record().entries
        assert (first.klass, first.error_code) == ("billed_not_delivered", "upstream_truncated")
        assert (second.klass, second.attempt) == ("delivered", 2)


def test_after_200_is_out_there_is_no_fallback_but_an_honest_error(tmp_path: Path) -> None:
    """Also where only comments were sent: the status cannot be taken back."""
    broken = ScriptedReply((0.08, UpstreamFault("The provider fell over.")))
    with inside(tmp_path, HASTY, openai=[broken]) as house:
        reply = asyncio.run(house.call(ASK))
        assert (reply.status, reply.ended) == (200, True)
        assert reply.frames()[-1]["error"]["message"].startswith("The provider fell over.")
        assert b"[DONE]" not in reply.body
        assert house.scripts["anthropic"].sent == []
        assert house.record().call.error_code == "upstream_fault"


def test_a_stream_that_only_pings_is_stuck(tmp_path: Path) -> None:
    """Comments are no progress: after idle_timeout_ms the provider is let go, and the caller is told."""
    pings = ScriptedReply((ROLE, HI, *(PING, 0.02) * 40))
    with inside(tmp_path, STUCK, openai=[pings]) as house:
        reply = asyncio.run(house.call(ASK))
        assert reply.frames()[-1]["error"]["code"] == "upstream_timeout_idle"
        assert house.scripts["openai"].exchanges[0].aborted
        (entry,) = house.record().entries
        assert (entry.klass, entry.error_code, entry.usage_source) == (
            "billed_not_delivered",
            "upstream_timeout_idle",
            "estimated",
        )


def test_a_slow_stream_with_progress_is_not_stuck(tmp_path: Path) -> None:
    """As long as words come, however slowly."""
    slow = ScriptedReply((ROLE, *(HI, 0.15) * 5, STOP, COUNTED, DONE))
    with inside(tmp_path, STUCK.replace("_ms: 120", "_ms: 600"), openai=[slow]) as house:
        reply = asyncio.run(house.call(ASK))
        assert (reply.text(), reply.frames()[-1]) == ("hi" * 5, "[DONE]")


def test_a_provider_that_stopped_and_only_pings_has_finished(tmp_path: Path) -> None:
    """It said why it stopped and gave its usage: that is the end, without its [DONE]."""
    pings = ScriptedReply((ROLE, HI, STOP, COUNTED, *(PING, 0.02) * 40))
    with inside(tmp_path, HASTY, openai=[pings]) as house:
        reply = asyncio.run(house.call(ASK))
        assert (reply.text(), reply.ended) == ("hi", True)
        assert not any("error" in frame for frame in reply.frames() if isinstance(frame, dict))
        assert house.scripts["openai"].exchanges[0].aborted
        (entry,) = house.record().entries
        assert (entry.klass, entry.usage_source, entry.input) == ("delivered", "stream", 9)


def test_a_caller_that_hangs_up_closes_the_provider_and_is_billed(tmp_path: Path) -> None:
    """Before the head, before the content, in the midst: aborted at once, and what was seen is estimated."""
    waits = [
        ScriptedReply(head_after_s=FOREVER),
        ScriptedReply((ROLE, FOREVER)),
        ScriptedReply((ROLE, HI, FOREVER)),
    ]
    with inside(tmp_path, PATIENT, openai=waits) as house:

        async def run() -> None:
            task = asyncio.ensure_future(house.begin(ASK, KeptReply()).run())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        for number in (1, 2, 3):
            asyncio.run(run())
            assert house.scripts["openai"].exchanges[-1].aborted
            record = house.record(number)
            assert (record.call.status, record.call.error_code) == (499, "caller_gone")
            (entry,) = record.entries
            assert (entry.klass, entry.usage_source) == ("billed_not_delivered", "estimated")
            assert (entry.input > 0, entry.output > 0) == (True, number == 3)
            assert entry.cost_nusd > 0


def test_back_pressure_reaches_the_provider_and_is_taken_off_at_the_end(tmp_path: Path) -> None:
    """A slow caller pauses the exchange, not the gateway."""
    with inside(
        tmp_path, PATIENT, openai=[ScriptedReply((ROLE, HI, 0.05, HI, STOP, COUNTED, DONE))]
    ) as house:

        async def run() -> KeptReply:
            reply = KeptReply()
            task = asyncio.ensure_future(house.begin(ASK, reply).run())
            await asyncio.sleep(0.02)
            reply.on_pause()
            (exchange,) = house.scripts["openai"].exchanges
            assert exchange.paused
            await asyncio.sleep(0.08)
            assert reply.text() == "hi"
            reply.on_resume()
            await task
            return reply

        reply = asyncio.run(run())
        assert (reply.text(), reply.on_pause, reply.on_resume) == ("hihi", None, None)


def test_the_call_is_settled_before_its_last_bytes_leave(tmp_path: Path) -> None:
    """Who has the end of a reply can ask for its record."""
    with inside(tmp_path, PATIENT, openai=[STREAM]) as house:

        class Asking(KeptReply):
            known = 0

            def end(self, last: bytes = b"") -> None:
                self.known = house.record().entries[0].completion_tokens
                super().end(last)

        async def run() -> Asking:
            reply = Asking()
            await house.begin(ASK, reply).run()
            return reply

        assert asyncio.run(run()).known == 2


def test_a_bug_of_ours_in_mid_stream_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shield answers it; what the provider was paid for is in the ledger all the same."""
    with inside(tmp_path, PATIENT, openai=[ScriptedReply((ROLE, HI, 0.01, HI))]) as house:

        class Broken(KeptReply):
            def write(self, data: bytes) -> None:
                super().write(data)
                if len(self.pieces) > 1:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(house.begin(ASK, Broken()).run())
        record = house.record()
        assert (record.call.status, record.call.error_code) == (500, "internal_error")
        assert record.entries[0].klass == "billed_not_delivered"
        assert house.scripts["openai"].exchanges[0].aborted

"""Every way out of a call is settled once, with what it cost and no more: bugs, refusals before the wire, hang-ups."""

import json
import time
from collections.abc import Iterator

import pytest
from tests.behaviours.gateway import Gateway, running_gateway
from tests.behaviours.test_timeouts_cancel_retry import black_hole

from penstock.base.errors import Forbidden
from penstock.dialects.openai_chat.relay import StreamRelay
from penstock.gateway import books as bookkeeping
from penstock.gateway.ports import Known
from penstock.gateway.principal import Doors

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
  nowhere:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{hole}", connect_timeout_ms: 60000, retry: {max_retries: 0}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY, rate_limit: {tokens_per_minute: 100000}}
server: {max_body_bytes: 4000000}
"""
KEY = {"authorization": "Bearer vk-caller-000000000006"}
HELLO = [{"role": "user", "content": "hello there, how are you today?"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Gateway]:
    with black_hole() as hole, running_gateway(tmp_path_factory.mktemp("out"), CONFIG, hole=hole) as gateway:
        yield gateway


@pytest.fixture
def gateway(served) -> Gateway:
    served.fresh()
    return served


def ask(model: str = "openai/gpt-4o-mini", **more):
    return {"model": model, "messages": HELLO, **more}


def debt(gateway: Gateway) -> int:
    """Tokens of the caller's limit that are taken now."""
    principal = gateway.house.doors.admit({b"authorization": KEY["authorization"].encode()}, Known(), 0.0)
    assert principal.limits is not None
    return 100000 - gateway.inside(lambda: principal.limits._tokens.remaining(time.monotonic()))


@pytest.mark.parametrize("stream", [False, True])
def test_a_bug_on_the_way_is_still_recorded(gateway, monkeypatch, stream):
    """What was sent was perhaps billed: the entry exists, the limit is corrected, and the caller gets a 500."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("penstock.gateway.call.reply_head", broken)
    answer = gateway.post(ask(stream=stream), headers=KEY)
    assert answer.status == 500
    record = gateway.ledger(answer.request_id)
    assert len(record.entries) == 1
    assert record.entries[0].cost_nusd is not None


def test_a_bug_in_a_reader_is_our_fault_and_recorded(gateway, monkeypatch):
    """An exception that no dialect promised leaves no call unsettled, no probe taken, no tokens withheld."""

    def broken(self: object, data: bytes) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(StreamRelay, "feed", broken)
    answer = gateway.post(ask(stream=True), headers=KEY)
    assert answer.status == 500
    record = gateway.ledger(answer.request_id)
    assert (record.call.status, record.call.error_code) == (500, "internal_error")
    entry = record.entries[0]
    assert (entry.klass, entry.usage_source) == ("billed_not_delivered", "estimated")


def test_a_request_refused_before_the_wire_costs_nothing(gateway):
    """A repeated field is found when the bytes are edited: nothing was sent, so nothing is owed."""
    body = json.dumps(ask()).encode()[:-1] + b', "model": "openai/gpt-4o-mini"}'
    answer = gateway.post(body, headers=KEY)
    assert answer.status == 400
    assert gateway.sim.requests == []
    for entry in gateway.ledger(answer.request_id).entries:
        assert (entry.klass, entry.cost_nusd, entry.usage_source) == ("failed", 0, None)


def test_hanging_up_before_a_connection_stands_costs_nothing(gateway):
    """The request never left: there is nothing to estimate."""
    before = debt(gateway)
    stream = gateway.open(ask("nowhere/gpt-4o-mini"), headers=KEY)
    until_s = time.monotonic() + 5
    while not gateway.inside(lambda: gateway.house.providers["nowhere"].transport._active):
        assert time.monotonic() < until_s
        time.sleep(0.005)
    stream.close()
    while gateway.running.app.inflight:
        time.sleep(0.005)
    record = gateway.last_record()
    assert record.call.status == 499
    assert [(e.klass, e.cost_nusd, e.usage_source) for e in record.entries] == [("failed", 0, None)]
    assert debt(gateway) <= before


def test_the_calls_deadline_before_a_connection_stands_costs_nothing(gateway):
    """Whatever deadline ends the dialling, nothing was sent."""
    provider = gateway.house.providers["nowhere"]
    short = provider.whole
    provider.whole = type(short)(60.0, 60.0, 60.0, 0.1)
    try:
        answer = gateway.post(ask("nowhere/gpt-4o-mini"), headers=KEY)
    finally:
        provider.whole = short
    assert answer.status == 504
    entry = gateway.entry(answer.request_id)
    assert (entry.klass, entry.cost_nusd, entry.usage_source) == ("failed", 0, None)


def test_one_record_that_cannot_be_written_does_not_take_the_batch_with_it(gateway, monkeypatch, capfd):
    """A batch is written up record by record: the faulty one is told, the others are kept."""
    real, seen = bookkeeping.write_up, []

    def fragile(facts, ask, error, version):
        seen.append(facts.request_id)
        if len(seen) == 2:
            raise ZeroDivisionError("a bug")
        return real(facts, ask, error, version)

    monkeypatch.setattr(gateway.running.app, "shape", None)  # the express lane writes its own rows
    monkeypatch.setattr(gateway.running.app, "take", None)
    monkeypatch.setattr(bookkeeping.Books, "take", lambda books, *call: books._calls.append(call))
    monkeypatch.setattr(bookkeeping, "write_up", fragile)
    ids = [gateway.post(ask(), headers=KEY).request_id for _ in range(4)]
    gateway.inside(gateway.house.books.flush)
    assert seen == ids
    kept = [gateway.inside(lambda i=i: gateway.house.journal.find(i)) is not None for i in ids]
    assert kept == [True, False, True, True]
    assert ids[1] in capfd.readouterr().err


def test_a_model_name_of_a_megabyte_is_refused_and_kept_nowhere(gateway):
    """Names are remembered in many tables: what no provider could have called so is refused at the door."""
    answer = gateway.post(ask("openai/" + "x" * 1_000_000), headers=KEY)
    assert answer.status == 404
    assert answer.error["param"] == "model"
    assert len(answer.body) < 2000
    assert len(gateway.ledger(answer.request_id).call.asked_model) <= 600


def test_metadata_is_kept_as_it_is_documented_and_no_longer(gateway):
    """OpenAI's own bounds: 16 pairs, 512 characters; a megabyte would be kept in the ledger for ever."""
    answer = gateway.post(ask(metadata={"note": "y" * 1_000_000}), headers=KEY)
    assert answer.status in (200, 400)
    for entry in gateway.ledger(answer.request_id).entries if answer.status == 200 else ():
        assert len(json.dumps(entry.meta)) < 2000


def test_a_bad_origin_is_a_foreign_one():
    """A header that is no URL does not become a 500."""
    for origin in (b"http://[bad", b"http://[::1", b"//\xff[", b"http://]"):
        with pytest.raises(Forbidden):
            Doors({}).admit({b"origin": origin}, Known(), 0.0)


def test_a_ledger_that_is_full_is_not_filled_further(gateway, monkeypatch):
    """A call refused because it could not be recorded is not recorded: else refusals would take the last memory."""
    monkeypatch.setattr(gateway.house.journal, "max_queue", 0)
    before = debt(gateway)
    answers = [gateway.post(ask(), headers=KEY) for _ in range(3)]
    assert [(one.status, one.error["code"]) for one in answers] == [(503, "ledger_full")] * 3
    monkeypatch.undo()
    gateway.inside(gateway.house.books.flush)
    assert [gateway.inside(lambda i=one: gateway.house.journal.find(i.request_id)) for one in answers] == [
        None
    ] * 3
    assert debt(gateway) <= before
    assert gateway.sim.requests == []


def test_one_misspelt_model_does_not_make_every_other_call_dear(gateway, monkeypatch):
    """A plan is remembered while its own targets are well; trouble elsewhere, or long ago, is nothing to it."""
    gateway.inside(lambda: gateway.house.health.drop("openai/no-such-model", time.monotonic()))
    assert gateway.post(ask(), headers=KEY).status == 200

    def planned_anew(*_: object, **__: object) -> None:
        raise AssertionError("planned anew")

    monkeypatch.setattr("penstock.gateway.planning.plan", planned_anew)
    assert gateway.post(ask(), headers=KEY).status == 200
    gateway.inside(lambda: gateway.house.health.fault("openai/gpt-4o-mini", time.monotonic()))
    assert gateway.post(ask(), headers=KEY).status == 500  # its own trouble does make a new plan

"""What is held covers what can be billed: for every model of the catalogue and every usage within the call's bounds."""

import asyncio
import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config.make import catalogue

from penstock.base.chat import Ask
from penstock.base.clock import SystemClock
from penstock.base.decisions import Rejected
from penstock.base.models import ModelFacts, PriceRow, Target
from penstock.base.money import price_from_usd_text
from penstock.base.usage import Usage
from penstock.dialects import CALLERS
from penstock.gateway.beyond import reaches
from penstock.gateway.purse import DEFAULT_MOST_TOKENS, Purse, Quote
from penstock.gateway.treasury import MemoryStore, Treasury
from penstock.ledger.budgets import Budget, Node
from penstock.ledger.prices import price_lines

NOW_S = 1_795_219_200.0


@cache
def purse() -> Purse:
    treasury = Treasury(MemoryStore(SystemClock()), "test", SystemClock())
    treasury.put([Node("key k", None, (Budget("day", 10**10, "day"),))])
    path = treasury.path("key k")
    assert path is not None
    return Purse(treasury, path, "k")


@cache
def targets() -> list[Target]:
    """Every chat model of the catalogue with prices."""
    book = catalogue()
    found = []
    for provider in book.providers():
        for model in book.chat_models(provider.name):
            facts = book.facts(provider.name, model)
            if facts.price is not None:
                found.append(Target(provider.name, model, provider.dialect or "openai", facts))
    return found


def asked(text: str = "hello", **more: object) -> Ask:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    return CALLERS["openai"].read_request(json.dumps(body).encode())


def facts(**units: str) -> ModelFacts:
    row = PriceRow("v", {unit: price_from_usd_text(text) for unit, text in units.items()})
    return ModelFacts("p", "m", price=row, source="test")


@settings(max_examples=100, deadline=None)
@given(
    st.data(),
    st.integers(0, 400_000),
    st.integers(1, 5_000),
    st.sampled_from(["", "flex", "priority", "batch"]),
    st.booleans(),
)
def test_a_hold_covers_whatever_the_call_may_use(data, size, cap, tier, long_kept):
    """A token of the prompt is at least a byte of the body; a token of the reply is one of the maximum."""
    target = data.draw(st.sampled_from(targets()))
    more: dict[str, object] = {"service_tier": tier} if tier else {}
    if long_kept:
        more["metadata"] = {"ttl": "1h"}
    ask = asked("x" * size, max_tokens=cap, **more)
    quote = purse().quote(ask, target, NOW_S)
    if isinstance(quote, Rejected):
        units = target.facts.price.units
        assert "input" not in units or "output" not in units
        return
    prompt, reply = data.draw(st.integers(0, len(ask.body))), data.draw(st.integers(0, cap))
    kept = data.draw(st.integers(0, prompt))
    thought = data.draw(st.integers(0, reply))
    where = data.draw(
        st.sampled_from(["cache_read", "cache_write_5m", *(["cache_write_1h"] if long_kept else [])])
    )
    usage = Usage(
        input=prompt - kept, output=reply - thought, reasoning=thought, service_tier=tier, **{where: kept}
    )
    cost_nusd = price_lines(usage, target.facts.price)[1]
    if cost_nusd is not None:
        # Each line is rounded to half a nano-dollar.
        assert cost_nusd <= quote.amount_nusd + 2


def test_a_maximum_nobody_knows_is_set():
    """And must be sent, or it would be none."""
    target = Target("p", "m", "openai", facts(input="0.000003", output="0.000015"))
    quote = purse().quote(asked(), target, NOW_S)
    assert isinstance(quote, Quote)
    assert (quote.tokens, quote.unsent, quote.cuttable) == (DEFAULT_MOST_TOKENS, True, False)


@pytest.mark.parametrize(
    ("model", "more", "cuttable"),
    [
        ("gpt-4o-mini", {}, True),
        ("gpt-4o-mini", {"n": 2}, False),
        ("gpt-4o-mini", {"prediction": {"type": "content", "content": "x"}}, False),
        ("o3", {}, False),
        ("openai/gpt-5-mini", {}, False),
        ("openai/o4-mini", {}, False),
        ("gpt-4o-mini", {"reasoning_effort": "high"}, False),
        ("gpt-4o-mini", {"reasoning_effort": "none"}, True),
    ],
)
def test_what_thinks_unseen_cannot_be_cut(model, more, cuttable):
    """Where the catalogue does not know, the name tells."""
    target = Target("p", model, "openai", facts(input="0.000003", output="0.000015"))
    quote = purse().quote(asked(stream=True, max_tokens=100, **more), target, NOW_S)
    assert isinstance(quote, Quote)
    assert quote.cuttable is cuttable


def test_pictures_are_held_by_the_piece_and_files_by_the_context():
    """Base64 is not what the model reads, and an address says nothing of what is behind it."""
    target = Target("p", "m", "openai", facts(input="0.000001", output="0.000001"))
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    inline = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}

    def held(*parts: object) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": list(parts)}], "max_tokens": 1}
        quote = purse().quote(CALLERS["openai"].read_request(json.dumps(body).encode()), target, NOW_S)
        assert isinstance(quote, Quote)
        return quote.input_nusd // 1000

    assert 100_000 < held(picture, picture) < 110_000
    assert 50_000 < held(inline) < 60_000
    assert held(sound) > 1_000_000


def test_an_overriding_target_is_held_by_its_own_maximum():
    """What will be sent counts, not what the caller wrote."""
    target = Target(
        "p", "m", "openai", facts(input="0.000003", output="0.000015"), overrides={"max_tokens": 7}
    )
    quote = purse().quote(asked(max_tokens=5000), target, NOW_S)
    assert isinstance(quote, Quote)
    assert (quote.tokens, quote.unsent) == (7, False)


def test_no_two_of_many_calls_take_the_same_money():
    """A hundred at once, one budget: what is held is never more than the limit, and all of it comes back."""

    async def play() -> None:
        treasury = Treasury(MemoryStore(SystemClock()), "test", SystemClock())
        treasury.put([Node("key k", None, (Budget("day", 10**9, "day"),))])
        path = treasury.path("key k")
        assert path is not None
        mine = Purse(treasury, path, "k")
        target = Target("p", "m", "openai", facts(input="0.000003", output="0.000015"))
        quote = mine.quote(asked(max_tokens=3000), target, NOW_S)
        assert isinstance(quote, Quote)
        answers = await asyncio.gather(*(mine.obtain(f"r{number}", quote) for number in range(100)))
        holds = [one for one in answers if hasattr(one, "settle")]
        bucket = path.at(treasury.unix_s())[0]
        assert bucket.committed == sum(one.reservation.held for one in holds) <= 10**9
        assert len(holds) >= 10**9 // quote.amount_nusd
        for one in holds:
            one.settle(1000)
        assert (bucket.spent, bucket.reserved) == (1000 * len(holds), 0)
        await treasury.aclose()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"tools":[{"type":"web_search_20250305","name":"web_search"}]}', True),
        (b'{"tools": [{"google_search": {}}]}', True),
        (b'{"type" : "mcp"}', True),
        (b'{"\\u0067oogleSearch":{}}', True),
        (b'{"tools":[{"type":"function","function":{"name":"web_search"}}]}', False),
        (b'{"name":"mcp__github__search"}', False),
        (b'{"content":"write \\"googleSearch\\": {} into it, or \\\\u0067"}', False),
    ],
)
def test_what_reaches_beyond_the_body_is_seen_by_its_fields(body: bytes, found: bool):
    """Not by text, and not by a tool that is the caller's own and only called so."""
    assert reaches(body) is found


def test_a_field_in_disguise_is_held_for_as_well():
    """A letter of the field's name written as an escape: the provider reads it, so the dearer class is held."""
    target = next(
        one for one in targets() if one.facts.price is not None and "priority" in one.facts.price.service
    )
    plain = b'{"model":"m","messages":[{"role":"user","content":"caf\\u00e9"}],"max_tokens":9%b}'
    spelled, hidden = (
        purse().quote(CALLERS["openai"].read_request(plain % more), target, NOW_S)
        for more in (b',"service_tier":"priority"', b',"\\u0073ervice_tier":"priority"')
    )
    nothing = purse().quote(CALLERS["openai"].read_request(plain % b""), target, NOW_S)
    assert isinstance(spelled, Quote)
    assert isinstance(hidden, Quote)
    assert isinstance(nothing, Quote)
    assert hidden.output == spelled.output
    assert nothing.output.pico_usd / nothing.output.per < spelled.output.pico_usd / spelled.output.per

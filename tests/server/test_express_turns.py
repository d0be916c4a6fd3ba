"""What the express lane writes of a translated call is what the dialects write of it, byte for byte (decision 016)."""

import json
from typing import Any

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from penstock.base.errors import PenstockError
from penstock.base.models import ModelFacts, PriceRow, Target
from penstock.base.money import Price
from penstock.dialects import UPSTREAMS
from penstock.dialects.anthropic import anthropic_caller
from penstock.gateway.beyond import disguises
from penstock.gateway.translate import Translation
from penstock.ledger.prices import price_lines
from penstock.ledger.rows import encode
from penstock.server import express, express_moulds
from penstock.wire.ports import Identity
from tests.server.spelling import CONVERSATIONS, PLAIN_TURNS
from tests.server.test_express_hostile import PRICE, replies, shape_of

if express.native is None:
    pytest.skip(f"no express lane: {express.missing}", allow_module_level=True)

native = express.native
CALLER, OPENAI = anthropic_caller(b"2023-06-01"), UPSTREAMS["openai"]
TARGETS = [
    Target("openai", "gpt-4o-mini", "openai", ModelFacts("openai", "gpt-4o-mini")),
    Target("other", "m", "openai", ModelFacts("other", "m"), options={"passthrough_fields": "cache_control"}),
]
AROUND: list[tuple[bytes, bytes]] = [
    (b'{"model":"m","max_tokens":9,"messages":', b"}"),
    (b'{"system": "Be \\n brief.", "messages" : ', b', "max_tokens": 9, "model": "m", "top_k": 3, "unknown": [1e2]}\n'),
    (b'{"max_tokens":9,"model":"m","system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b"}],"messages":', b',"stop_sequences":["x"],"metadata":{"user_id":"u"}}'),
]  # fmt: skip


def in_python(body: bytes, target: Target) -> tuple[bytes, tuple[str, ...], int, frozenset[str]] | None:
    """What leaves, what is said of it, and what it is counted as."""
    try:
        ask = CALLER.read_request(body)
        neutral = CALLER.expand(ask)
    except PenstockError:
        return None
    request = OPENAI.write_request(neutral, target, "sk")
    adjusted = tuple(dict.fromkeys(neutral.adjusted + request.adjusted))
    return request.body, adjusted, ask.input_bytes - len(ask.messages), frozenset(ask.needs)


@given(CONVERSATIONS, st.sampled_from(AROUND), st.sampled_from(TARGETS))
@example(b'[{"role":"user","content":"\\u0041"}]', AROUND[0], TARGETS[0])
@example(b'[{"role":"user","content":"a","content":"b"}]', AROUND[0], TARGETS[0])
@example(b'[{"role":"user","content":[{"type":"text","text":""}]}]', AROUND[0], TARGETS[0])
@example(b'[{"role":"user","content":"\\ud83c\\udf0d\\/\\u001f\\u007f\\u000a"}]', AROUND[0], TARGETS[0])
@example(b'[{"role":"user","content":"x"}],"model":"other","x":[]', AROUND[0], TARGETS[0])
def test_what_is_written_natively_is_what_python_writes(
    messages: bytes, around: tuple[bytes, bytes], target: Target
):
    """Whatever spelling; what is not surely plain is left to Python."""
    found = native.turns(messages)
    event("left to Python" if found is None else "native")
    if found is None:
        return
    known = b'[{"role":"user","content":"known"}]'
    model = in_python(known.join(around), target)
    assert model is not None
    before, _, after = model[0].partition(native.turns(known) or b"-")
    assert in_python(messages.join(around), target) == (before + found + after, *model[1:])


@given(PLAIN_TURNS, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_what_encoders_write_of_plain_turns_is_taken(
    turns: list[dict[str, Any]], ascii_only: bool, indent: int | None, separators: tuple[str, str]
):
    """However it is written: nothing that clients send in earnest goes the long way."""
    messages = json.dumps(turns, ensure_ascii=ascii_only, indent=indent, separators=separators).encode()
    found = native.turns(messages)
    assert found is not None
    assert in_python(messages.join(AROUND[0]), TARGETS[0]) is not None
    alone = [
        {
            "role": turn["role"],
            "content": said[0]["text"] if isinstance(said, list) and len(said) == 1 else said,
        }
        for turn in turns
        for said in [turn["content"]]
    ]
    assert json.loads(b"[%b]" % found) == alone


@given(CONVERSATIONS)
def test_what_is_disguised_is_left_to_python(messages: bytes):
    """A letter that is written as an escape: budgets hold more for such a body (gateway.beyond)."""
    assume(native.turns(messages) is not None)
    assert not disguises(messages)


def mould_shape(row: PriceRow) -> Any:
    """A shape of calls whose replies are translated."""
    ask = CALLER.read_request(b'{"model":"mine","max_tokens":9,"messages":[{"role":"user","content":"x"}]}')
    shape = shape_of(row)
    shape.moulds = express_moulds.moulds_of(CALLER, ask, TARGETS[0], native.Mould)
    assert shape.moulds is not None
    return shape


@given(replies(), PRICE, PRICE)
@example({"choices": [{"message": {"content": 'é "\x00\\'}, "finish_reason": "length"}], "usage": {"prompt_tokens": 9, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}}}, Price(3), Price(5))  # fmt: skip
def test_a_reply_in_a_mould_is_what_the_dialects_write(reply: dict[str, Any], read: Price, written: Price):
    """Its bytes, figures, price and the words of the ledger's row."""
    row = PriceRow("v", {"input": read, "output": written, "cache_read": Price(7)})
    body = json.dumps(reply).encode()
    found = native.figures(mould_shape(row), body)
    event("left to Python" if found is None else "native")
    if found is None:
        return
    ask = CALLER.read_request(b'{"model":"mine","max_tokens":9,"messages":[{"role":"user","content":"x"}]}')
    relay = Translation(
        OPENAI.reader(TARGETS[0], stream=False),
        CALLER.writer(ask, Identity("gen-1", 1, "mine")),
        stream=False,
    )
    relay.feed(body)
    told = relay.close()
    usage = relay.usage
    assert usage is not None
    lines, cost = price_lines(usage, row)
    assert (usage.note, usage.fees, usage.service_tier, usage.source) == ("", (), "", "provider")
    assert found == (
        (usage.input, usage.cache_read, usage.output, usage.reasoning),
        relay.model,
        relay.upstream_id,
        relay.stopped,
        relay.native_stop,
        cost,
        encode(lines).decode(),
        told,
    )


def test_the_usual_reply_fits():
    """With cached tokens and thoughts; another end, a picture, thoughts in words are Python's."""
    row = PriceRow("v", {"input": Price(1), "output": Price(2), "cache_read": Price(7)})
    shape = mould_shape(row)
    usage = {
        "prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }  # fmt: skip

    def found(finish: Any = "stop", **message: Any) -> Any:
        said = {"role": "assistant", "content": "words", "refusal": None, "annotations": [], **message}
        choice = {"index": 0, "message": said, "finish_reason": finish}
        return native.figures(shape, json.dumps({"id": "i", "choices": [choice], "usage": usage}).encode())

    assert found() is not None
    assert found("length") is not None
    assert found()[0] == (5, 4, 5, 3)
    for other in (
        found("content_filter"),
        found(None),
        found("tool_calls"),
        found(content=None),
        found(reasoning_content="hm"),
    ):
        assert other is None


def test_a_mould_has_a_place_between_each_two_pieces():
    """Anything else is a bug of ours, said at once."""
    assert native.Mould((b"a", b"b", b"c"), b"iO").fill(b"X", b"", 0, 1, 2, 4, 8) == b"aXb15c"
    with pytest.raises(ValueError, match="between"):
        native.Mould((b"a",), b"i")

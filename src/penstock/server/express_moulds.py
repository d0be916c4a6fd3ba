"""Calls by express whose caller and provider speak different dialects: what leaves, and what becomes of the reply.

Theory
------
Such calls have two things more in common than those that go through as they are: what stands around the conversation in
the provider's dialect, and what stands around the words and figures in a reply of the caller's. Both are learned by asking
the dialects themselves, as the short lane does. The request is written with another conversation, and must be the same
around it (``keeps_around``). A reply is written with words and figures that stand nowhere else, cut at them, and filled with
others: the ``Mould`` is kept only if that is what the dialects would have written (``moulds_of``). So nothing here knows a
field's name, and a caller's dialect that has conversations like these (``_express_turns.pxi``) needs no line of its own.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.base.chat import Ask, ChatRequest
from penstock.base.errors import PenstockError
from penstock.dialects import UPSTREAMS
from penstock.gateway.lane import LaneCall, Written
from penstock.gateway.translate import Translation
from penstock.wire.http import WireRequest
from penstock.wire.ports import CallerDialect, Identity, PassThroughDialect

if TYPE_CHECKING:
    from penstock.base.models import Target
    from penstock.server._express import Mould

MAX_KEPT = 64
FINISHES = ("stop", "length")
"""Ends of replies that are usual; all else is the short lane's."""
_CONVERSATION = json.dumps(
    [
        {"role": "user", "content": 'json "é"\\\n\u2028\U0001f30d'},
        {"content": [{"text": "one", "type": "text"}, {"type": "text", "text": "two"}], "role": "assistant"},
        {"role": "system", "content": "three"},
        {"role": "user", "content": [{"type": "text", "text": "four"}]},
    ]
).encode()
"""Of every kind that the lane writes, and with the word that would bring another into it (openai_chat.rules.JSON_WORD)."""


class Filling(NamedTuple):
    """What differs between replies to calls like one another."""

    id: str
    text: str
    created_s: int
    tokens: tuple[int, int, int, int]
    """Input, cached, output, thoughts."""


_MARKS = Filling(
    "gen-" + "0badcafe" * 4,
    "words of a mould, 9c41f07e",
    1_987_654_321,
    (104_729, 1_299_709, 15_485_863, 179_424_673),
)
"""Primes, no two sums of which are the same."""
_OTHERS = (
    Filling("gen-" + "5eed1e55" * 4, 'said "é"\\\n\u2028\U0001f30d\x7f\x00</', 1_700_000_000, (7, 3, 5, 2)),
    Filling("gen-" + "1ead1e55" * 4, "1", 1, (0, 0, 0, 0)),
    Filling("gen-" + "ba5eba11" * 4, "text", 2_000_000_001, (2**31 - 1, 0, 2**31 - 1, 0)),
)  # fmt: skip


_kept: "dict[tuple[CallerDialect, str], dict[str, Mould]]" = {}


class Leaving(NamedTuple):
    """How calls like one leave: what writes the request with a key's secret, and the conversation as it stands there."""

    request: Callable[[str], WireRequest]
    inside: bytes
    moulds: "dict[str, Mould] | None"
    """Of replies, by their end; None: they go as they came."""


def leaving(
    call: LaneCall, around: tuple[bytes, bytes], turns: Callable[[bytes], bytes | None], mould: "type[Mould]"
) -> Leaving | None:
    """``turns`` and ``mould`` are the native module's. None: there is more to such calls than the lane knows."""
    ask, provider, target, caller = call.inbound.ask, call.provider, call.outcome.target, call.inbound.caller
    assert ask is not None
    messages = bytes(ask.messages)
    if call.outcome.passed_through:
        dialect: PassThroughDialect = UPSTREAMS["openai"]  # type: ignore[assignment] - it passes through
        return Leaving(partial(dialect.splice_request, ask, target), messages, None)
    inside = turns(messages)
    if inside is None or provider.spoken.get(ask.operation) is not UPSTREAMS["openai"]:
        return None
    written = Written.of(caller, ask, provider, target)
    if written is None or not _plain(written):
        return None
    request = written.request(target, call.secret)
    if not keeps_around(call, around, request, inside, turns):
        return None
    moulds = moulds_of(caller, ask, target, mould)
    return None if moulds is None else Leaving(partial(written.request, target), inside, moulds)


def _plain(written: Written) -> bool:
    """Nothing in the request makes the conversation be looked at."""
    neutral = written.neutral
    return isinstance(neutral, ChatRequest) and neutral.response_format is None and not neutral.tools


def keeps_around(
    call: LaneCall,
    around: tuple[bytes, bytes],
    request: WireRequest,
    inside: bytes,
    turns: Callable[[bytes], bytes | None],
) -> bool:
    """Another conversation changes nothing but itself: neither what leaves around it, nor what is said of it, nor its size."""
    ask, provider, target, caller = call.inbound.ask, call.provider, call.outcome.target, call.inbound.caller
    assert ask is not None
    before, found, after = request.body.partition(inside)
    other, expected = _CONVERSATION.join(around), turns(_CONVERSATION)
    if not found or inside in after or expected is None:
        return False
    try:
        asked = caller.read_request(other)
        written = None if asked.needs else Written.of(caller, asked, provider, target)
    except PenstockError:
        return False
    if written is None:
        return False
    again = written.request(target, call.secret)
    return (
        again.body == before + expected + after
        and again.adjusted == request.adjusted
        and again.headers == request.headers
        and asked.input_bytes - len(asked.messages) == ask.input_bytes - len(ask.messages)
    )


def moulds_of(
    caller: CallerDialect, ask: Ask, target: "Target", mould: "type[Mould]"
) -> "dict[str, Mould] | None":
    """A mould for each usual end; None where the caller's dialect is not one that fills moulds.

    They are kept: to make them takes as long as some calls. That they are right for this ask, too, is looked at each time.
    """
    key = (caller, ask.model)
    moulds = _kept.get(key)
    try:
        if moulds is None:
            moulds = {finish: mould(*_cut(_told(caller, ask, target, _MARKS, finish))) for finish in FINISHES}
            others = _OTHERS
        else:
            others = _OTHERS[:1]
        right = all(
            cut.slots and _told(caller, ask, target, one, finish) == _filled(cut, one)
            for finish, cut in moulds.items()
            for one in others
        )
    except PenstockError:
        return None
    if not right:
        return None
    if len(_kept) >= MAX_KEPT:
        _kept.clear()
    _kept[key] = moulds
    return moulds


def _told(caller: CallerDialect, ask: Ask, target: "Target", filling: Filling, finish: str) -> bytes:
    """A reply as the dialects write it."""
    writer = caller.writer(ask, Identity(filling.id, filling.created_s, ask.model))
    relay = Translation(UPSTREAMS["openai"].reader(target, stream=False), writer, stream=False)
    relay.feed(_reply(filling, finish))
    return b"" if relay.content_type else relay.close()


def _filled(cut: "Mould", filling: Filling) -> bytes:
    return cut.fill(filling.id.encode(), _json(filling.text), filling.created_s, *filling.tokens)


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)


@lru_cache(maxsize=16)
def _reply(filling: Filling, finish: str) -> bytes:
    """A provider's reply that holds this."""
    fresh, cached, output, thoughts = filling.tokens
    reply: dict[str, Any] = {
        "id": f"of {filling.id}",
        "object": "chat.completion",
        "created": filling.created_s + 1,
        "model": f"model of {filling.id}",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": filling.text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": fresh + cached,
            "completion_tokens": output + thoughts,
            "total_tokens": fresh + cached + output + thoughts,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": thoughts},
        },
    }
    return json.dumps(reply).encode()


def _slots() -> dict[bytes, bytes]:
    """The marks, as they stand in a reply, and what is said of each place (``Mould.slots``)."""
    found = {
        b'"%b"' % _MARKS.text.encode(): b"t",
        _MARKS.id.encode(): b"i",
        b"%d" % _MARKS.created_s: b"c",
    }
    for parts in range(1, 16):
        total = sum(count for bit, count in enumerate(_MARKS.tokens) if parts >> bit & 1)
        found[b"%d" % total] = b"%c" % (64 + parts)
    return found


_SLOTS = _slots()
_PLACE = re.compile(
    b'("%b"|%b|(?<![\\w.+"-])(?:%b)(?![\\w.]))'
    % (
        _MARKS.text.encode(),
        _MARKS.id.encode(),
        b"|".join(mark for mark, slot in _SLOTS.items() if slot not in (b"t", b"i")),
    )
)


def _cut(reply: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """A reply that holds the marks, cut at them: the pieces, and what stood between."""
    pieces = _PLACE.split(reply)
    return tuple(pieces[::2]), b"".join(_SLOTS[mark] for mark in pieces[1::2])

"""The express lane: calls like one that the short lane has served, in native code (_express.pyx).

Theory
------
A service sends the same request over and over: the same head, the same fields, another conversation. What is decided
about such a request depends on nothing else, as long as nothing is amiss: its caller, plan, edits, prices and the words
that explain them. So when the short lane has served a call (``learn``), all of that is kept as a ``Shape``; the next
request on the connection that differs in nothing but its conversation is compared with it byte by byte, its conversation
is read strictly as one JSON list, and it is sent on. A reply that comes whole and is plain is billed and answered there.
Everything else is the short lane's, or the long way's, and goes on there with nothing lost (``as_lane``).

Decision 009 has the measurement. Without the native module (no C compiler at the installation) nothing is learned, and
the short lane serves.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from penstock.base.clock import SystemClock
from penstock.base.decisions import Rejected
from penstock.base.models import PriceRow
from penstock.base.money import Price
from penstock.base.native import load_native
from penstock.base.usage import TOKEN_UNITS, Usage, service_tier_of
from penstock.dialects import UPSTREAMS
from penstock.dialects.openai_chat.shapes import Chunk, stop_reason
from penstock.gateway.heads import also_named, served_head
from penstock.gateway.house import House
from penstock.gateway.lane import Host, LaneCall, relay_of
from penstock.gateway.ports import Inbound
from penstock.gateway.settle import CallFacts, Outcome, begin_facts, write_up
from penstock.gateway.toll import hold_of, toll_of
from penstock.ledger.entry import Call as CallEntry
from penstock.ledger.entry import Entry, token_counts
from penstock.ledger.rows import Form, call_values, encode, entry_values
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS
from penstock.observe import names
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics, Snapshot
from penstock.routing.keys import KeyChoice
from penstock.routing.observed import Observed
from penstock.server.express_moulds import leaving
from penstock.server.http1 import HttpReply

if TYPE_CHECKING:
    from penstock.server._express import Call, Shape, Tally


native, missing = load_native("penstock.server", "_express", Path(__file__).parent)
"""``missing``: why there is no express lane; "" where there is."""
Take = Callable[[Any, Any, bytes], bool]
take: Take | None = None if native is None else native.take
"""Serves a connection's next request, if it is like a shape."""
MAX_SHAPES = 256
MAX_LEARNED = 64
"""A connection whose requests are never like one another is not learned from for ever."""
MAX_AROUND_BYTES = 64 * 1024
MOST_PICO_USD = 2**31
MOST_PER = 10**6
MAX_VERSION_CHARS = 40
_FIRST_MS, _SECOND_MS = 1234567.25, 7654321.75
"""Stand for the two moments in an explanation, until it is cut there."""
_decode = msgspec.json.Decoder(Chunk).decode


class ExpressHost(Host, Protocol):
    """Whose calls they are (server.app.App)."""

    house: House
    log: OperatorLog
    take: "Take | None"
    shapes: "dict[tuple[bytes, ...], Shape]"
    shape: "Shape | None"
    tallies: "dict[tuple[str, str, str, bool], Tally]"


def learn(app: ExpressHost, call: LaneCall) -> None:
    """The short lane has served ``call``: the next one like it on this connection may go by express."""
    reply = call.reply
    if app.take is None or not isinstance(reply, HttpReply) or call.house is not app.house:
        return
    if call.provider.dialect is not UPSTREAMS["openai"]:
        return
    connection = reply.connection
    like = connection.reader.head_like(call.inbound.told)
    if like is None or connection.learned >= MAX_LEARNED:
        return
    connection.learned += 1
    around = _around(call)
    if around is None:
        return
    key = (*like, *around)
    if app.shape is not None and app.shape.house is not call.house:
        app.shapes.clear()  # they would keep a configuration, and its secrets, that is no longer in force
    shape = app.shapes.get(key)
    if shape is None:
        shape = _shape(app, call, reply.url, like, around)
        if shape is None:
            return
        if len(app.shapes) >= MAX_SHAPES:
            app.shapes.clear()
        app.shapes[key] = shape
    app.shape = shape
    connection.expect(shape, app.take)


def _around(call: LaneCall) -> tuple[bytes, bytes] | None:
    """What stands before and after the conversation, if that is plain to see: in JSON the bytes ``"messages"`` can only
    end a string, and a key without ``\\u`` has no other spelling; where they stand once, they are the key."""
    ask = call.inbound.ask
    assert ask is not None
    body, messages = ask.body, bytes(ask.messages)
    at = body.find(b'"messages"')
    if at < 0:
        return None
    start = at + len(b'"messages"')
    gap = body[start : start + 8]
    start += len(gap) - len(gap.lstrip(b" \t\r\n"))
    if body[start : start + 1] != b":":
        return None
    gap = body[start + 1 : start + 9]
    start += 1 + len(gap) - len(gap.lstrip(b" \t\r\n"))
    before, after = body[:start], body[start + len(messages) :]
    if (
        not body.startswith(messages, start)
        or len(before) + len(after) > MAX_AROUND_BYTES
        or before.count(b'"messages"') != 1
        or b'"messages"' in after
        or b"\\u" in before
        or b"\\u" in after
    ):
        return None
    return before, after


def _shape(
    app: ExpressHost, call: LaneCall, url: bytes, like: tuple[bytes, bytes], around: tuple[bytes, bytes]
) -> "Shape | None":
    """What calls like this one have in common; None where there is more to them than the lane knows."""
    assert native is not None
    house, facts, provider, outcome = call.house, call.facts, call.provider, call.outcome
    ask, target, principal, row = call.inbound.ask, outcome.target, facts.principal, outcome.price
    relay, usage = outcome.relay, outcome.usage
    if (
        ask is None
        or relay is None
        or usage is None
        or ask.needs
        or provider.queue is not None
        or [note[1] for note in facts.notes if note[1] != "cache"] != ["try", "delivered"]
        or row is None
        or not _priced(row)
    ):
        return None
    shape = native.Shape()
    if not _ways(shape, call, around):
        return None
    shape.app, shape.house, shape.planned, shape.provider = app, house, call.planned, provider
    shape.keys, shape.transport, shape.health = provider.keys, provider.transport, house.health
    shape.ratios, shape.journal, shape.rows = house.estimator.ratios, house.journal, house.journal.rows
    shape.pending, shape.takes_alike = house.journal.pending, house.journal.takes_alike
    shape.principal, shape.caller = principal, call.inbound.caller
    shape.limits = getattr(principal.limits, "native", None) or principal.limits
    if not _toll(shape, call):
        return None
    shape.as_lane = partial(as_lane, app, call.inbound.uncached)
    shape.told, shape.method, shape.url = call.inbound.told, b"POST", url
    shape.head_prefix, shape.head_suffix = like
    shape.before, shape.after = around
    shape.decode, shape.tiers, shape.stops = _decode, service_tier_of, stop_reason
    if relay.model:
        # A reply of another model is the short lane's to price: what this decoder cannot read, that lane reads.
        shape.decode = _reading(relay.model)
    clock = house.clock
    shape.unix_s = time.time if isinstance(clock, SystemClock) else clock.unix_s
    deadlines = provider.deadlines(house.config.server.total_timeout_ms / 1000, stream=False)
    shape.deadlines = deadlines
    shape.connect_s, shape.total_s = deadlines.connect_s, deadlines.total_s
    shape.first_byte_s = deadlines.first_byte_s
    _words(shape, call, row)
    shape.served_by, shape.more = served_head(facts, target)
    shape.also = b"".join([name + b": " for name, _ in also_named(ask.dialect, "")])
    shape.expires_unix_s = _expires_unix_s(call)
    shape.small_tokens = min(call.planned.small_tokens, 2.0**31)
    shape.max_body = house.config.server.max_body_bytes
    shape.extra_bytes = ask.input_bytes - len(ask.messages)
    counted = (target.provider, target.model, ask.model, call.inbound.uncached is not None)
    tally = app.tallies.get(counted)
    if tally is None:
        if len(app.tallies) >= MAX_SHAPES:
            return None  # one series for each, and no more of them than metrics have room for
        tally = app.tallies[counted] = native.Tally(names.DURATION_S, names.FIRST_TOKEN_S, names.OVERHEAD_S)
    shape.tally = tally
    return shape


def _reading(model: str) -> "Callable[[bytes], Any]":
    """What reads replies of this model, and raises at those of another one."""
    only: Any = Literal[model]
    fields: Any = [("model", only | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Chunk", fields, bases=(Chunk,), gc=False)).decode


def _toll(shape: "Shape", call: LaneCall) -> bool:
    """What takes places and money, where the caller has such limits. False: what must be held is not the same for all."""
    allowance, outcome, ask = call.facts.principal.allowance, call.outcome, call.inbound.ask
    assert ask is not None
    if allowance is None or (allowance.purse is None and not allowance.places):
        return True
    tariff, unix_s = None, call.house.clock.unix_s()
    if allowance.purse is not None:
        row = outcome.price
        # A class of service is a field of the request, never of its conversation: the shape has it, or has none.
        shape.hour_matters = row is not None and "cache_write_1h" in row.units
        if shape.hour_matters and b'"1h"' in bytes(ask.messages):
            return False
        tariff = allowance.purse.tariff(ask, outcome.target, unix_s)
        if tariff is None:
            return False
        shape.hold_of = partial(hold_of, allowance.purse, tariff)
    shape.toll = toll_of(allowance, tariff, unix_s)
    return True


def _expires_unix_s(call: LaneCall) -> float:
    """When the presented secret is refused; below 0: never."""
    inbound, house = call.inbound, call.house
    principal = house.doors.admit(inbound.told, inbound.known, house.clock.unix_s())
    return min(
        (at for at in (principal.expires_unix_s, principal.until_unix_s) if at is not None), default=-1.0
    )


def _priced(row: PriceRow) -> bool:
    """Input and output have prices that hold at any time, in figures that cannot overflow, and nothing else is charged."""
    fee = row.units.get("request")
    both = [row.units.get("input"), row.units.get("output")]
    return (
        not row.passing
        and len(row.version) <= MAX_VERSION_CHARS
        and (fee is None or not fee.pico_usd)
        and all(_countable(price) for price in both)
    )


def _countable(price: Price | None) -> bool:
    return price is not None and 0 <= price.pico_usd < MOST_PICO_USD and 0 < price.per <= MOST_PER


def _ways(shape: "Shape", call: LaneCall, around: tuple[bytes, bytes]) -> bool:
    """How a call leaves with each key that it may be given. False: the conversation does not stand alone in what leaves."""
    assert native is not None
    provider, target, principal = call.provider, call.outcome.target, call.facts.principal
    how = leaving(call, around, native.turns, native.Mould)
    if how is None:
        return False
    shape.moulds = how.moulds
    ways: dict[str, Any] = {}
    choices = provider.keys.choices(target.model, principal.keys_of(target.provider))
    for choice in choices:
        request = how.request(choice.key.secret)
        before, found, after = request.body.partition(how.inside)
        if not found or how.inside in after or request.adjusted != call.adjusted:
            return False
        shape.out_before, shape.out_after = before, after
        head = provider.transport.heads.of(request)
        way = native.Way()
        way.key, way.secret = choice.key.name, choice.key.secret
        way.tried = f"first try; key: {choice.reason}"
        way.block = head[: head.rindex(b"content-length: ") + len(b"content-length: ")]
        explained = _explained(call, choice)
        if explained is None:
            return False
        way.explained_1, way.explained_2, way.explained_3 = explained
        ways[way.key] = way
    shape.ways, shape.drawn = ways, [ways[choice.key.name] for choice in choices]
    shape.sums, shape.random = (
        tuple(accumulate(choice.key.weight for choice in choices)),
        call.house.rng.random,
    )
    return bool(ways)


def _explained(call: LaneCall, choice: KeyChoice) -> tuple[bytes, bytes, bytes] | None:
    """The explanation of a call that goes well with this key, cut at its two moments."""
    ask = call.inbound.ask
    assert ask is not None
    explain = write_up(call.facts, ask, None, call.house.version).call.explain
    replace = msgspec.structs.replace
    *before, tried, delivered = explain.happenings
    before = [replace(one, at_ms=0.0) for one in before]
    tried = replace(tried, at_ms=_FIRST_MS, key=choice.key.name, reason=f"first try; key: {choice.reason}")
    delivered = replace(delivered, at_ms=_SECOND_MS, key=choice.key.name)
    text = encode(replace(explain, happenings=[*before, tried, delivered]))
    first, second = (b"%r" % at_ms for at_ms in (_FIRST_MS, _SECOND_MS))
    if text.count(first) != 1 or text.count(second) != 1:
        return None
    one, _, rest = text.partition(first)
    two, _, three = rest.partition(second)
    return one, two, three


OWN = (
    "request_id", "body_id", "at_ms", "latency_ms", "gateway_us", "explain", "entry_id", "began_ms", "model_served",
    "provider_key", "finish_reason", "native_finish_reason", "upstream_id", "input", "cache_read", "output", "reasoning",
    "lines", "cost_nusd", "waited_ms",
)  # fmt: skip
"""What is a call's own in the ledger's rows, in the order in which the lane gives it."""
_ENTRY_NAMES = {"id": "entry_id", "at_ms": "began_ms", "latency_ms": "waited_ms", "ttft_ms": "waited_ms"}


def _words(shape: "Shape", call: LaneCall, row: PriceRow) -> None:
    """What stands in the ledger's rows of every such call, as ledger.rows writes it."""
    facts, target, ask = call.facts, call.outcome.target, call.inbound.ask
    assert ask is not None
    record = write_up(facts, ask, None, call.house.version)
    shape.model, shape.target, shape.asked = target.model, target.name, record.call.asked_model
    shape.trace_id = None if facts.trace_id == facts.request_id else facts.trace_id
    shape.stage, shape.client_request_id = facts.stage, facts.client_request_id
    shape.adjusted = encode(facts.adjusted).decode() if facts.adjusted else "[]"
    shape.meta_json = None if facts.meta is None else encode(facts.meta).decode()
    shape.lines_1 = encode([row.version, "provider"])[1:-1] + b","
    units = row.units
    shape.in_pico, shape.in_per = units["input"].pico_usd, units["input"].per
    shape.out_pico, shape.out_per = units["output"].pico_usd, units["output"].per
    # What has no price leaves ``per`` at 0: replies that have some of it are the short lane's to price.
    cached, thoughts = units.get("cache_read"), units.get("reasoning", units["output"])
    if cached is not None and _countable(cached):
        shape.cached_pico, shape.cached_per = cached.pico_usd, cached.per
    if _countable(thoughts):
        shape.thought_pico, shape.thought_per = thoughts.pico_usd, thoughts.per
    shape.tier_above = min((tier.above_tokens for tier in row.tiers), default=2**31)
    shape.user, shape.priority = facts.user, facts.priority
    shape.form = _form(call, row, record.call.asked_model)


def _form(call: LaneCall, row: PriceRow, asked: str) -> Form:
    """The rows of such calls in the ledger, but for what is each one's own."""
    facts, target = call.facts, call.outcome.target
    principal = facts.principal
    above = principal.organisation, principal.team, facts.user
    one = CallEntry(
        "", 0, principal.name, asked, 200, None, False, 1, 0.0, 0, facts.client_request_id, "",
        tuple(facts.adjusted), None, call.house.version, *above,
    )  # fmt: skip
    entry = Entry(
        "", "", facts.trace_id, facts.stage, 1, 0, "delivered", target.provider, target.model, "", "", principal.name,
        asked, target.dialect, False, 200, None, None, None, None, "", *token_counts(Usage()), "provider", (), 0,
        row.version, 0.0, meta=facts.meta, service_tier="",
        organisation=principal.organisation, team=principal.team, user=facts.user,
    )  # fmt: skip
    own_trace = facts.trace_id == facts.request_id
    names = [*(_ENTRY_NAMES.get(name, name) for name in ENTRY_COLUMNS)]
    names[ENTRY_COLUMNS.index("trace_id")] = "request_id" if own_trace else ""
    return Form(
        principal.name,
        call_values(one),
        entry_values(entry),
        tuple((at, OWN.index(name)) for at, name in enumerate(CALL_COLUMNS) if name in OWN),
        tuple((at, OWN.index(name)) for at, name in enumerate(names) if name in OWN),
        len(OWN),
    )


def as_lane(app: ExpressHost, uncached: Rejected | None, call: "Call") -> LaneCall:
    """The call as the short lane would have it, which serves it from now on."""
    shape = call.shape
    house, planned, provider = shape.house, shape.planned, shape.provider
    inbound = Inbound(shape.caller, shape.told, call.body, call.received_s, call.conn.known)
    ask = inbound.ask = shape.caller.read_request(call.body)
    target = planned.steps[0].target
    facts: CallFacts = begin_facts(call.id, call.received_s, call.unix_s)
    principal = facts.principal = shape.principal
    facts.ask, facts.explain = ask, planned.explain
    if shape.trace_id is not None:
        facts.trace_id = shape.trace_id
    facts.stage, facts.client_request_id = shape.stage, shape.client_request_id
    facts.meta = None if shape.meta_json is None else msgspec.json.decode(shape.meta_json)
    step = planned.steps[0]
    outcome = Outcome(target, call.way.key, 1, True, step.pass_through, call.start_s or call.received_s, True)
    facts.outcomes.append(outcome)
    inbound.uncached = uncached
    if house.caching is not None and uncached is not None:
        house.caching.bypass(facts, uncached)
    facts.notes.append((outcome.start_s, "try", outcome, "", call.way.tried, ""))
    if principal.allowance is not None:
        facts.entered, facts.estimated_tokens = True, call.tokens
    facts.user, facts.priority = shape.user, shape.priority
    relay = relay_of(shape.caller, ask, provider, step, facts)
    adjusted = msgspec.json.decode(shape.adjusted, type=tuple[str, ...])
    lane = LaneCall(
        app, house, inbound, call.reply, facts, planned, provider, outcome, call.way.secret, relay, adjusted
    )
    # Last of all that can fail: until then the money is the call's own, which settles it where it cannot go on.
    if shape.hold_of is not None:
        outcome.hold = shape.hold_of(f"{call.id}/0", call.hold)
    exchange = lane.exchange = call.exchange
    if exchange is not None and exchange.listener is not None:
        exchange.listener = lane.over
    return lane


def count(
    metrics: Metrics, tallies: "dict[tuple[str, str, str, bool], Tally]", observed: Observed, now_s: float
) -> None:
    """What the lane has counted since it was asked last, into the metrics and the measurements of targets."""
    for (provider, model, route, past_the_cache), one in tallies.items():
        if not one.calls:
            continue
        if past_the_cache:
            metrics.add(names.CACHE_CALLS, one.calls, "bypass")
        counts = {
            "input": one.input, "cache_read": one.cached, "output": one.output, "reasoning": one.thought
        }  # fmt: skip
        tokens = [counts.get(unit, 0) for unit in TOKEN_UNITS]
        duration, first_token = (one.durations, one.duration_s), (one.first_tokens, one.first_token_s)
        series = (route, provider, model, 200, "delivered")
        target = ((provider, model), (tokens, one.cost_nusd, 0), duration, first_token)
        attempt = (provider, model, "delivered")
        overhead = (one.overheads, one.overhead_s)
        metrics.absorb(Snapshot(0, [(series, one.calls)], [(attempt, one.calls)], [target], overhead, {}, {}))
        observed.see_many(
            f"{provider}/{model}",
            now_s,
            calls=one.calls,
            durations=one.durations,
            bounds_s=names.DURATION_S,
            tokens_per_s=(one.output + one.thought) / one.duration_s if one.duration_s > 0 else 0.0,
        )
        one.clear()

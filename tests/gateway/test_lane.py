"""The short lane without sockets: whatever a provider answers, the call ends as it does on the long way.

Two houses of one configuration read the same script. In one the call is served by ``App.quick`` where it can be, in the
other always by ``App.handle``; reply, ledger, health, keys, limits and requests are the same.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.behaviours.lanes import difference, plain
from tests.config.make import EVERY
from tests.gateway.inside import Inside, KeptReply, chat, inside

from penstock.base.errors import (
    UpstreamError,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from penstock.gateway.lane import LaneCall
from penstock.gateway.ports import Known
from penstock.observe.log import OperatorLog
from penstock.routing.estimate import TokenEstimator
from penstock.server.app import App
from penstock.server.reading import Request
from penstock.testing import FOREVER, ScriptedReply

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI, name: one, weight: 0.7}, {value: env.OPENAI_TOO, name: two, weight: 0.3}]
    network: {retry: {max_retries: 1, backoff_initial_ms: 1, backoff_max_ms: 1}}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP}]
    network: {base_url: "http://127.0.0.1:9/v1", retry: {max_retries: 0}}
prices:
  - {model: backup/gpt-4o, usd_per_million: {input: "2.50", output: "10"}}
routes:
  - {id: chained, primary: openai/gpt-4o-mini, fallbacks: [backup/gpt-4o]}
  - id: tuned
    primary: {model: openai/gpt-4o-mini, params: {temperature: 0.5}}
    fallbacks: [backup/gpt-4o]
virtual_keys:
  - {name: caller, key: env.CALLER, rate_limit: {requests_per_minute: 60, tokens_per_minute: 6000}}
"""
CALLER = f"Bearer {EVERY['CALLER']}".encode()
BODY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-x",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi there"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 90, "completion_tokens": 2, "total_tokens": 92},
}
OK = ScriptedReply((json.dumps(BODY).encode(),))


class Caller(KeptReply):
    """What an HttpReply offers beyond a Reply."""

    def __init__(self) -> None:
        super().__init__()
        self.known = Known()


class Way:
    """One of two houses. ``serve`` one call; ``lane`` says whether the short lane is tried."""

    def __init__(self, house: Inside, *, lane: bool) -> None:
        self.inside = house
        self.lane = lane
        self.app = App(house.house, OperatorLog())
        self.taken: list[LaneCall] = []
        self.ids: list[str] = []
        self.app.request_id = self._request_id  # type: ignore[method-assign] - who asks for a record must know its id
        self._marks: tuple[int, int] = (0, 0)

    def _request_id(self) -> str:
        self.ids.append(f"gen-{len(self.ids):032x}")
        return self.ids[-1]

    def begin_anew(self, scripts: dict[str, list[Any]]) -> None:
        """Nothing learned, no trouble, new scripts."""
        house = self.inside.house
        house.estimator = TokenEstimator()
        house.rng.seed(11)
        house.health._records.clear()
        self.taken.clear()
        for name, provider in house.providers.items():
            provider.keys._cooling.clear()
            script = self.inside.scripts[name]
            script.script, script.returned = scripts[name], 0
            script.sent.clear()
            script.exchanges.clear()
        self.limits._requests.restore(None)
        self.limits._tokens.restore(None)

    @property
    def limits(self) -> Any:
        (principal,) = self.inside.house.doors._principals.values()
        return principal.limits

    async def warm(self, model: str) -> None:
        """A plan is remembered, and the limits' clocks run."""
        self.inside.scripts["openai"].script.insert(0, OK)
        await self.serve(chat(model=model))
        self.taken.clear()
        for script in self.inside.scripts.values():
            script.sent.clear()
            script.exchanges.clear()
        self._marks = (self.limits._requests.mark(), self.limits._tokens.mark())
        self.counted = self.count()

    def count(self) -> int:
        """How many calls were ever written up."""
        self.inside.house.books.flush()
        return sum(self.inside.house.metrics._requests.values())

    def charged(self) -> tuple[int, int]:
        """Requests and tokens taken from the limits since ``warm``, in units."""
        now = (self.limits._requests.mark(), self.limits._tokens.mark())
        requests, tokens = (
            (after - before) // 60_000_000_000 for before, after in zip(self._marks, now, strict=True)
        )
        return requests, tokens

    async def serve(self, body: Any, *, turns: int | None = None) -> Caller:
        """One call to its end; or the caller hangs up after so many turns of the loop."""
        reply = Caller()
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {b"authorization": CALLER, b"x-request-id": b"mine"}
        url, pairs = b"/v1/chat/completions", list(told.items())
        request = Request(time.monotonic(), b"POST", url, pairs, told=told, body=payload)
        running = self.app.quick(request, reply) if self.lane else None  # type: ignore[arg-type]
        if isinstance(running, LaneCall):
            self.taken.append(running)
        if running is None:
            running = asyncio.ensure_future(self.app.handle(request, reply))  # type: ignore[arg-type]
            await asyncio.sleep(0)
        until_s = time.monotonic() + 10
        while self.app.inflight:
            if turns == 0 and not reply.ended:
                running.cancel()
                turns = None
            elif turns:
                turns -= 1
            assert time.monotonic() < until_s
            await asyncio.sleep(0)
        return reply

    def story(self, reply: Caller | None) -> dict[str, Any]:
        """All that a call has left behind, but for ids and times."""
        house = self.inside.house
        assert self.app.inflight == 0
        assert self.count() - self.counted == 1
        record = house.journal.find(self.ids[-1])
        assert record is not None
        return {
            "reply": None
            if reply is None
            else (reply.status, said(reply.head), said(reply.body), reply.ended),
            "record": plain(record),
            "sent": {
                name: [one.body for one, _ in script.sent] for name, script in self.inside.scripts.items()
            },
            "keys": {
                name: [dict(one.headers)[b"authorization"] for one, _ in script.sent]
                for name, script in self.inside.scripts.items()
            },
            "health": {
                name: (one["state"], one["faults"], one["openings"])
                for name, one in house.health.snapshot(time.monotonic()).items()
            },
            "cooling": {name: sorted(provider.keys._cooling) for name, provider in house.providers.items()},
            "learned": house.estimator.tokens("gpt-4o-mini", 100_000),
            "charged": self.charged(),
            "open": {name: script.in_use for name, script in self.inside.scripts.items()},
        }


def said(text: bytes) -> str:
    """Without ids and times."""
    lines = re.sub(rb"gen-[0-9a-f]{32}", b"ID", text).decode("utf-8", "replace")
    return re.sub(r"(?m)(^server-timing: |^x-ratelimit-re\w+-\w+: |^retry-after-ms: ).*$", r"\1-", lines)


# What a provider may answer.

Made = Callable[[], ScriptedReply | UpstreamError]
"""An answer, made anew for each house: errors are changed on their way."""
SAID = json.dumps(BODY).encode()
ERROR = (
    b'{"error":{"message":"The provider says no.","type":"invalid_request_error","param":"user","code":"no"}}'
)
BODIES = (
    SAID,
    json.dumps({**BODY, "usage": None}).encode(),
    json.dumps({**BODY, "usage": {"prompt_tokens": 3, "completion_tokens": -2}}).encode(),
    json.dumps({**BODY, "choices": []}).encode(),
    json.dumps({**BODY, "choices": [{"index": 0, "message": None, "finish_reason": "error"}]}).encode(),
    json.dumps({**BODY, "model": "gpt-4o-2024-08-06", "id": None, "service_tier": "flex"}).encode(),
    ERROR,
    b'{"error":{"message":"slow down","type":"rate_limit_error","code":429}}',
    b"<html><body>502 Bad Gateway</body></html>",
    b"upstream connect error",
    b"",
    b"null",
    b"[]",
    b'{"choices":',
    b"\xff\xfe",
)
STATUSES = (
    200,
    200,
    200,
    201,
    204,
    301,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    422,
    429,
    500,
    502,
    503,
    504,
    529,
)
HEADERS = st.sampled_from(
    (
        (),
        ((b"content-type", b"application/json"),),
        ((b"retry-after", b"30"),),
        ((b"retry-after-ms", b"1"), (b"content-type", b"text/html")),
    )
)
BREAKS: tuple[Callable[[], UpstreamError], ...] = (
    lambda: UpstreamTruncated("It closed the connection."),
    lambda: UpstreamMalformed("It sent no HTTP."),
    lambda: UpstreamTimeout("It fell silent.", phase="idle"),
    lambda: UpstreamTimeout("It took too long.", phase="total"),
)
FAILS: tuple[Callable[[], UpstreamError], ...] = (
    *BREAKS,
    lambda: UpstreamUnreachable("It cannot be reached."),
    lambda: UpstreamTimeout("No connection.", phase="connect"),
    lambda: UpstreamTimeout("No reply.", phase="first_byte"),
)


@st.composite
def replies(draw: st.DrawFn) -> Made:
    """A reply: any status, a body whole, cut or broken off, in pieces."""
    status, headers = draw(st.sampled_from(STATUSES)), draw(HEADERS)
    body = draw(st.sampled_from(BODIES))
    if draw(st.booleans()):
        body = body[: draw(st.integers(0, len(body)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
    pieces = [body[one:two] for one, two in zip((0, *cuts), (*cuts, len(body)), strict=True) if two > one]
    broken = draw(st.sampled_from((None, None, None, *BREAKS)))
    return lambda: ScriptedReply((*pieces, *([broken()] if broken else [])), status, headers)


ANSWERS: st.SearchStrategy[Made] = st.one_of(replies(), replies(), replies(), st.sampled_from(FAILS))
SCRIPTS = st.fixed_dictionaries({"openai": st.lists(ANSWERS, min_size=1, max_size=3), "backup": ANSWERS})
ASKS = st.sampled_from(
    (
        chat(model="chained"),
        chat(model="tuned", temperature=1.0),
        chat(model="chained", plugins=[{"id": "web"}], metadata={"a": "b"}),
        chat("x" * 3000, model="chained", max_tokens=3),
    )
)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Way, Way]]:
    with ExitStack() as stack:
        made: list[Way] = []
        for name in ("short", "long"):
            house = stack.enter_context(inside(tmp_path_factory.mktemp(name), CONFIG, openai=[], backup=[]))
            made.append(Way(house, lane=name == "short"))
        yield made[0], made[1]


def script(made: dict[str, Any]) -> dict[str, list[Any]]:
    """Answers, and enough good ones behind them."""
    return {
        "openai": [*(one() for one in made["openai"]), *[OK] * 4],
        "backup": [made["backup"](), *[OK] * 4],
    }


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=SCRIPTS, body=ASKS)
def test_both_ways_are_one_behaviour(ways: tuple[Way, Way], made: dict[str, Any], body: dict[str, Any]):
    """For any answers of a chain's providers."""

    async def run() -> list[dict[str, Any]]:
        stories: list[dict[str, Any]] = []
        for way in ways:
            way.begin_anew(script(made))
            await way.warm(body["model"])
            reply = await way.serve(body)
            assert len(way.taken) == way.lane
            stories.append(way.story(reply))
            assert all(call.facts.waited_s > 0 for call in way.taken)
        return stories

    short, long = asyncio.run(run())
    assert short == long, difference(short, long)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=SCRIPTS, body=ASKS, turns=st.integers(0, 25), hang=st.sampled_from((None, "head", "body")))
def test_a_caller_may_hang_up_at_any_turn(
    ways: tuple[Way, Way], made: dict[str, Any], body: dict[str, Any], turns: int, hang: str | None
):
    """The call ends once: settled, charged, no longer counted, and no socket is left to it."""
    if hang is not None:
        silent = ScriptedReply((FOREVER,)) if hang == "body" else ScriptedReply(head_after_s=FOREVER)
        made = {**made, "openai": [lambda: silent]}

    async def run() -> None:
        for way in ways:
            way.begin_anew(script(made))
            await way.warm(body["model"])
            reply = await way.serve(body, turns=turns)
            assert len(way.taken) == way.lane
            story = way.story(reply)
            call, entries = story["record"]["call"], story["record"]["entries"]
            assert (call["error_code"] == "caller_gone") is not reply.ended
            assert not (reply.ended and hang)
            assert not any(story["open"].values())
            used = sum(one["input"] + one["output"] for one in entries)
            assert story["charged"] == (1, used)
            assert all(one.facts.waited_s > 0 for one in way.taken)

    asyncio.run(run())

"""One scenario, served by a gateway without lanes, by one with its short lane, and by one with its express lane as well; all
must tell the same story.

``two_ways`` starts the gateways, each with a simulator and a scripted upstream of its own. A scenario is a function
of one ``Side``; what it returns and what it leaves in the ledger, the metrics and the providers' logs is compared, but
for ids and times.
"""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from difflib import unified_diff
from pathlib import Path
from pprint import pformat
from typing import Any

import msgspec
import pytest

from penstock.gateway.lane import LaneCall
from penstock.gateway.lane import take as really_take
from penstock.gateway.ports import Inbound, Reply
from penstock.ledger.entry import Record
from penstock.routing.estimate import TokenEstimator
from penstock.server.app import App
from penstock.server.express import as_lane, count, native
from tests.behaviours.gateway import CHAT, Answer, Gateway, Scripted, Stream, running_gateway

_IDS = re.compile(r"gen-[0-9a-f]{32}|(?<=_sim)\d+|(?<=-sim)\d+")
_PLACES = re.compile(r"127\.0\.0\.1:\d+")
_SPANS = re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s)\b")
_MADE = re.compile(r'"created": ?\d+')
_TIMES = frozenset({"at_ms", "latency_ms", "gateway_us", "ttft_ms", "tokens_per_s"})
_NOT_COMPARED = ("_bucket{", "_sum", "ledger_queue", "cost_usd")
"""Durations, a reading of the moment, and a float that the integer beside it says better."""
_CLOCKS = frozenset({"date", "server-timing", "retry-after-ms"})


class Turns(Scripted):
    """A scripted upstream that says another thing for each request: ``turns``, then ``after``."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[list[bytes | float | None]] = []
        self.after: list[bytes | float | None] = []
        self._written = 0
        self._over = threading.Event()

    def finished(self, pieces: int) -> int:
        """Waits until the last request's answer is out or cut; how many of its ``pieces`` the socket took."""
        assert self._over.wait(10)
        return min(self._written, pieces)

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError, EOFError):
            sock.settimeout(10)
            while True:
                self._request(sock)
                self._written = 0
                self._over.clear()
                try:
                    if not self._answer(sock):
                        return
                finally:
                    self._over.set()

    def _answer(self, sock: socket.socket) -> bool:
        """Say what is to be said; False to close the connection."""
        for one in list(self.says):
            if one is None:
                return False
            if isinstance(one, bytes):
                sock.sendall(one)
                self._written += 1
            else:
                time.sleep(one)
        return True

    def _request(self, sock: socket.socket) -> None:
        super()._request(sock)
        self.says = self.turns.pop(0) if self.turns else self.after


class Side:
    """One of the gateways. ``taken`` are the calls that its lanes took, ``express`` those of them that went by express."""

    def __init__(self, gateway: Gateway, script: Turns, *, lane: bool, express: bool) -> None:
        self.gateway = gateway
        self.script = script
        self.lane = lane
        self.by_express = express
        self.taken: list[object] = []
        self.express: list[object] = []
        self.handed: list[object] = []
        """Of those by express, the calls that the short lane had to end."""
        self.seen: list[Any] = []
        self._versions: dict[str, int] = {}

    @property
    def app(self) -> App:
        assert self.gateway.running.app is not None
        return self.gateway.running.app

    def begin_anew(self) -> None:
        """Nothing learned, nothing remembered, the same draws to come."""
        house = self.gateway.house
        house.estimator = TokenEstimator()
        house.plans.clear()
        self.without_express()
        house.rng.seed(27)
        for principal in house.doors._principals.values():
            if principal.limits is not None:
                for bucket in (principal.limits._requests, principal.limits._tokens):
                    if bucket is not None:
                        bucket.restore(None)

    def spent(self, name: str) -> Callable[[], int]:
        """How many tokens the virtual key has taken of its limit since now, corrections included, to the unit."""
        principal = next(one for one in self.gateway.house.doors._principals.values() if one.name == name)
        assert principal.limits is not None
        bucket = principal.limits._tokens
        assert bucket is not None
        before = bucket.mark()
        assert before is not None

        def since() -> int:
            now = bucket.mark()
            assert now is not None
            # Exact as long as the debt was never paid off, and so no time was given away.
            assert before > time.monotonic_ns() * bucket.per_minute
            return (now - before) // 60_000_000_000

        return since

    def warm(self, body: Any, headers: Mapping[str, str] | None = None, path: str = CHAT) -> None:
        """One call to its end, so that a plan is remembered and a connection is open."""
        answer = self.gateway.post(body, path, headers)
        assert answer.status == 200, answer.body
        self.forget()

    def teach(self, body: Any, headers: Mapping[str, str] | None = None, path: str = CHAT) -> None:
        """One call to its end, whatever it is."""
        self.gateway.post(body, path, headers)
        self.forget()

    def without_express(self) -> None:
        """From the next connection on."""
        self.app.shapes.clear()
        self.app.shape = None

    def forget(self) -> None:
        """What was taken and sent until now is not looked at."""
        self.settled()
        self.taken.clear()
        self.express.clear()
        self.handed.clear()
        self.gateway.sim.forget_requests()
        self.script.bodies.clear()
        self.script.heads.clear()

    def post(self, body: Any, headers: Mapping[str, str] | None = None, path: str = CHAT) -> Answer:
        """One call to its end; its answer and its record are compared."""
        return self.saw(self.gateway.post(body, path, headers))

    def saw(self, answer: Answer) -> Answer:
        """An answer and its record: to be compared."""
        self.seen.append(told(answer))
        if answer.status:
            self.recorded(answer.request_id)
        return answer

    def recorded(self, request_id: str) -> None:
        """A call's record, or that there is none: to be compared."""
        gateway = self.gateway
        self.settled()
        gateway.inside(gateway.house.books.flush)
        record = gateway.inside(lambda: gateway.house.journal.find(request_id))
        if record is None:
            self.seen.append(None)
            return
        version = self._versions.setdefault(record.call.config_version, len(self._versions))
        self.seen.append((plain(record), version))

    def settled(self) -> None:
        """No call runs any more."""
        until_s = time.monotonic() + 10
        while self.app.inflight:
            assert self.app.inflight > 0
            assert time.monotonic() < until_s, f"{self.app.inflight} calls are still counted"
            time.sleep(0.002)

    def metrics(self) -> dict[str, float]:
        """What is counted, but for durations."""
        house = self.gateway.house
        self.gateway.inside(lambda: count(house.metrics, self.app.tallies, house.observed, time.monotonic()))
        lines = self.gateway.inside(self.gateway.house.metrics.render).decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {
            name: float(value) for name, _, value in pairs if not any(word in name for word in _NOT_COMPARED)
        }


class Pair:
    """The gateways. ``run`` plays a scenario on each."""

    def __init__(self, *sides: Side) -> None:
        self.sides = sides
        self.express = 0
        """How many calls went by express in the last scenario."""

    def run(
        self,
        scenario: Callable[[Side], Any],
        *,
        taken: int = 1,
        express: int | None = None,
        handed: int | None = None,
    ) -> None:
        """Play ``scenario`` on all: the same is seen, and the lanes took as many calls as they should. ``handed`` of
        those by express were ended by the short lane."""
        found: list[dict[str, Any]] = []
        for side in self.sides:
            gateway = side.gateway
            gateway.fresh()
            side.script.turns, side.script.after = [], []
            gateway.inside(side.begin_anew)
            side.seen.clear()
            side.forget()
            before = side.metrics()
            returned = scenario(side)
            side.settled()
            assert len(side.taken) == (taken if side.lane else 0), "the lane was not used as it should be"
            if side.by_express:
                self.express = len(side.express)
                assert express in (None, self.express), "the express lane was not used as it should be"
                assert handed in (None, len(side.handed)), "the express lane did not end what it should"
            after = side.metrics()
            found.append(
                {
                    "returned": returned,
                    "seen": list(side.seen),
                    "sent": [sent(one) for one in gateway.sim.requests],
                    "scripted": [_plain(one.decode("latin-1")) for one in (*side.script.heads, *side.script.bodies)],
                    "counted": {
                        name: now - before.get(name, 0.0) for name, now in after.items() if now != before.get(name, 0.0)
                    },
                    "health": condition(gateway),
                }
            )  # fmt: skip
        for one in found[:-1]:
            assert one == found[-1], difference(one, found[-1])


def difference(short: Any, long: Any) -> str:
    """Where two stories differ, line by line."""
    one, two = (pformat(story, width=110, sort_dicts=False).splitlines() for story in (short, long))
    return "\n".join(unified_diff(one, two, "with the lane", "without", lineterm="", n=1))


def condition(gateway: Gateway) -> dict[str, Any]:
    """Breakers and cool-downs, but for how long they still last."""
    now = gateway.inside(lambda: gateway.house.condition(time.monotonic()))
    targets = {
        name: {key: value for key, value in one.items() if key != "retry_after_s"}
        for name, one in now["targets"].items()
    }
    used = {name: one["in_use"] for name, one in now["connections"].items()}
    return {"targets": targets, "cooling": sorted(now["keys_cooling_s"]), "in_use": used}


def told(answer: Answer) -> dict[str, Any]:
    """What the caller read, but for ids and times. The order of headers counts, too."""
    heads = [
        (
            name,
            "-"
            if name in _CLOCKS or name.startswith(("x-ratelimit-reset", "x-ratelimit-remaining-tokens"))
            else _plain(value),
        )
        for name, value in answer.headers.items()
    ]
    return {
        "status": answer.status,
        "headers": heads,
        "body": _plain(answer.body.decode()),
        "ended": answer.ended,
    }


def plain(record: Record) -> dict[str, Any]:
    """A record without ids and times; where a time may be missing it says whether it is there."""
    call, entries = _fields(record.call), [_fields(entry) for entry in record.entries]
    del call["config_version"]  # a digest of the upstreams' addresses, too
    story = call["explain"] = _without_times(msgspec.to_builtins(record.call.explain))
    # A back-off of a drawn millisecond may be over before anybody waits for it.
    story["happenings"] = [
        one for one in story.get("happenings", ()) if not one.get("reason", "").startswith("back-off after")
    ]
    return {"call": call, "entries": entries}


def sent(received: Any) -> tuple[Any, ...]:
    """What a provider got."""
    heads = {name: value for name, value in received.headers.items() if name != "host"}
    return received.method, received.path, heads, received.body, received.faults, received.status


def _fields(struct: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        found[name] = value is not None if name in _TIMES else _without_times(msgspec.to_builtins(value))
    return found


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if key not in _TIMES}
    if isinstance(value, list | tuple):
        return [_without_times(one) for one in value]
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    text = _PLACES.sub("PLACE", _IDS.sub("ID", text))
    return _SPANS.sub("TIME", _MADE.sub('"created":0', text))


def counted(side: Side) -> Callable[[Any, Any, bytes], bool]:
    """The express lane, which writes down on ``side`` what it takes."""
    assert native is not None
    really = native.take

    def take(connection: Any, shape: Any, data: bytes) -> bool:
        taken = really(connection, shape, data)
        if taken:
            side.taken.append(shape)
            side.express.append(shape)
        return taken

    return take


@contextmanager
def two_ways(folder: Path, config: str, scenario: Any = None) -> Generator[Pair]:
    """The gateways until the block ends. Without the native module there is none with an express lane."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        sides: list[Side] = []
        ways = [("express", True), ("short", True), ("long", False)]
        for name, lane in ways if native is not None else ways[1:]:
            script = Turns()
            stack.callback(script.close)
            (folder / name).mkdir()
            gateway = stack.enter_context(
                running_gateway(folder / name, config, scenario=scenario, scripted=script.url)
            )
            side = Side(gateway, script, lane=lane, express=name == "express")
            side.app.take = counted(side) if side.by_express else None
            sides.append(side)

        def take(host: Any, house: Any, inbound: Inbound, reply: Reply) -> LaneCall | None:
            side = next(one for one in sides if one.app is host)
            if not side.lane:
                return None
            call = really_take(host, house, inbound, reply)
            if call is not None:
                side.taken.append(call)
            return call

        def hand_over(app: Any, uncached: Any, call: Any) -> LaneCall:
            next(one for one in sides if one.app is app).handed.append(call)
            return as_lane(app, uncached, call)

        patch.setattr("penstock.server.app.take", take)
        patch.setattr("penstock.server.express.as_lane", hand_over)
        yield Pair(*sides)


# What both files of tests ask.

CONFIG = """
providers:
  openai:
    keys: [{value: env.OPENAI_KEY, name: first}]
    network: {base_url: "{sim}/p/openai/v1", retry: {max_retries: 2, backoff_initial_ms: 1}}
  calm:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    models: {quick: gpt-4o-mini}
    network: {base_url: "{sim}/p/calm/v1", retry: {max_retries: 0}}
  pair:
    dialect: openai
    keys: [{value: env.OPENAI_KEY, name: one, weight: 0.7}, {value: env.SECOND_KEY, name: two, weight: 0.3}]
    network: {base_url: "{sim}/p/pair/v1", retry: {max_retries: 0}}
  hasty:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network:
      {base_url: "{sim}/p/hasty/v1", first_byte_timeout_ms: 120, idle_timeout_ms: 120, retry: {max_retries: 0}}
  brief:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{sim}/p/brief/v1", total_timeout_ms: 150, retry: {max_retries: 0}}
  scripted:
    dialect: openai
    keys: [{value: env.OPENAI_KEY}]
    network: {base_url: "{scripted}/v1", first_byte_timeout_ms: 200, idle_timeout_ms: 120, retry: {max_retries: 0}}
  backup:
    dialect: openai
    keys: [{value: env.BACKUP_KEY}]
    network: {base_url: "{sim}/p/backup/v1", retry: {max_retries: 0}}
  anthropic:
    keys: [{value: env.ANTHROPIC_KEY}]
    network: {base_url: "{sim}/p/anthropic", retry: {max_retries: 0}}
routes:
  - {id: chained, primary: openai/gpt-4o, fallbacks: [backup/gpt-4o]}
  - {id: across, primary: openai/gpt-4o-mini, fallbacks: [anthropic/claude-haiku-4-5]}
  - {id: once, primary: openai/gpt-4o-mini, fallbacks: [backup/gpt-4o-mini], max_attempts: 1}
  - {id: safe, primary: scripted/gpt-4o-mini, fallbacks: [backup/gpt-4o-mini]}
  - {id: tuned, primary: {model: calm/gpt-4o, params: {temperature: 0.1, max_tokens: 7, user: null}}}
prices:
  - {model: calm/gpt-4o-mini, usd_per_million: {input: "0.15", output: "0.60", cache_read: "0.075"}}
  - {model: pair/gpt-4o, usd_per_million: {input: "2.50", output: "10"}}
  - {model: hasty/gpt-4o, usd_per_million: {input: "2.50", output: "10"}}
  - {model: scripted/gpt-4o-mini, usd_per_million: {input: "0.15", output: "0.60"}}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
  - {name: narrow, key: env.OTHER_CALLER_KEY, rate_limit: {requests_per_minute: 5, tokens_per_minute: 200}}
server: {max_body_bytes: 4000000}
"""
KEY = {"authorization": "Bearer vk-caller-000000000006"}
NARROW = {"authorization": "Bearer vk-other-000000000007"}
HELLO = [{"role": "user", "content": "hello there, how are you today?"}]
PLAIN = "calm/gpt-4o-mini"


def ask(model: str = PLAIN, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, **fields}


def status(number: int, *providers: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "status", "status": number, "when": {"providers": list(providers)}, **fields}


def request(payload: Any, headers: dict[str, str] | None = None, version: bytes = b"1.1") -> bytes:
    body = json.dumps(payload).encode()
    heads = {"host": "x", "content-length": str(len(body)), **(KEY if headers is None else headers)}
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in heads.items())
    return b"POST /v1/chat/completions HTTP/%b\r\n%b\r\n%b" % (version, lines, body)


def connected(side: Side) -> socket.socket:
    host, port = side.gateway.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def next_answer(stream: Stream, *, bodyless: bool = False) -> Answer:
    """The next answer on a connection."""
    stream.answer = Answer()
    if bodyless:
        assert stream.status
    else:
        for _ in stream:
            pass
    return stream.answer

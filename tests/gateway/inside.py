"""The gateway without sockets: a house from a configuration, transports that follow a script, a reply that is kept."""

import asyncio
import json
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from tests.config.make import EVERY, NOWHERE, catalogue, loaded

from penstock.base.errors import PenstockError
from penstock.dialects import CALLERS
from penstock.gateway.call import ChatCall
from penstock.gateway.house import House
from penstock.gateway.ports import Inbound, Known
from penstock.gateway.record import Explain
from penstock.gateway.settle import begin_facts
from penstock.ledger.entry import Record
from penstock.ledger.journal import Journal
from penstock.observe.log import OperatorLog
from penstock.testing import FakeClock, ScriptedReply, ScriptedTransport
from penstock.wiring.build import Shared, build

CONFIG = """
providers:
  openai: {keys: [{value: env.OPENAI}], network: {retry: {max_retries: 0}}}
  anthropic: {keys: [{value: env.ANTHROPIC}], network: {retry: {max_retries: 0}}}
fallbacks: [{primary: openai/gpt-4o-mini, secondary: anthropic/claude-haiku-4-5}]
"""
MODEL = "openai/gpt-4o-mini"


class KeptReply:
    """A caller's connection that keeps what it is given: ``events`` in order, with their time since the first."""

    def __init__(self) -> None:
        self.on_pause: Any = None
        self.on_resume: Any = None
        self.status = 0
        self.head = b""
        self.pieces: list[bytes] = []
        self.at_s: list[float] = []
        self.ended = False
        self.began_s = time.monotonic()

    @property
    def started(self) -> bool:
        return self.status != 0

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def header(self, name: str) -> str | None:
        found = [line for line in self.head.decode().split("\r\n") if line.startswith(f"{name}: ")]
        return found[0].partition(": ")[2] if found else None

    def frames(self) -> list[Any]:
        """The JSON of each event; ``[DONE]`` as that text."""
        data = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [one if one == "[DONE]" else json.loads(one) for one in data]

    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or ""
            for frame in self.frames()
            if isinstance(frame, dict)
            for choice in frame.get("choices", [])
        )

    def send(self, status: int, head: bytes, body: bytes) -> None:
        self.start(status, head, body)
        self.end()

    def start(self, status: int, head: bytes, first: bytes) -> None:
        assert not self.started
        self.status, self.head = status, head
        self.write(first)

    def write(self, data: bytes) -> None:
        assert self.started
        assert not self.ended
        self.pieces.append(data)
        self.at_s.append(time.monotonic() - self.began_s)

    def forwarder(self) -> None:
        """It keeps pieces, not chunks."""

    def end(self, last: bytes = b"") -> None:
        assert self.started
        assert not self.ended
        if last:
            self.write(last)
        self.ended = True


class Inside:
    """One house and its scripts. ``call`` runs one chat call to its end."""

    def __init__(self, shared: Shared, clock: FakeClock) -> None:
        self.shared = shared
        self.clock = clock
        self.scripts: dict[str, ScriptedTransport] = {}
        self._made = 0
        self.house: House

    def move_in(self, config: str, previous: House | None = None) -> None:
        """Build a house of ``config``, as at start or on reload; scripts stay."""
        found = loaded(config, EVERY, NOWHERE)
        assert found.faults == []
        self.house = build(found, catalogue(), self.shared, previous)
        for name, provider in self.house.providers.items():
            provider.transport = self.scripts.setdefault(name, ScriptedTransport())

    def begin(
        self, body: Mapping[str, Any], reply: KeptReply, told: Mapping[str, str] | None = None
    ) -> ChatCall:
        """A call that has not run yet."""
        self._made += 1
        headers = {name.encode(): value.encode() for name, value in (told or {}).items()}
        payload = json.dumps(body).encode()
        inbound = Inbound(CALLERS["openai"], headers, payload, time.monotonic(), Known())
        facts = begin_facts(f"gen-{self._made}", inbound.received_s, self.house.clock.unix_s())
        return ChatCall(self.house, inbound, reply, facts)

    async def call(self, body: Mapping[str, Any], told: Mapping[str, str] | None = None) -> KeptReply:
        """One call. Its error, where nothing was sent, is raised."""
        reply = KeptReply()
        await self.begin(body, reply, told).run()
        return reply

    async def refused(self, body: Mapping[str, Any], told: Mapping[str, str] | None = None) -> PenstockError:
        """A call that must be refused."""
        try:
            await self.call(body, told)
        except PenstockError as error:
            return error
        raise AssertionError("It was served.")

    def record(self, number: int | None = None) -> Record:
        """The ledger's record of the ``number``-th call (the last one)."""
        self.house.books.flush()
        found = self.house.journal.find(f"gen-{self._made if number is None else number}")
        assert found is not None
        # Plain data where the writer's thread was faster than the test (ledger.journal.find).
        if isinstance(found.call.explain, dict):
            found.call.explain = msgspec.convert(found.call.explain, Explain)
        return found


@contextmanager
def inside(folder: Path, config: str = CONFIG, **scripts: list[Any]) -> Generator[Inside]:
    """A house until the block ends. ``scripts``: provider's name (with _ for -) -> its replies and errors."""
    journal = Journal(str(folder / "ledger.db"))
    try:
        shared, clock = Shared(journal, OperatorLog(), seed=7), FakeClock()
        shared.clock = clock
        made = Inside(shared, clock)
        made.scripts = {name.replace("_", "-"): ScriptedTransport(script) for name, script in scripts.items()}
        made.move_in(config)
        yield made
        asyncio.run(_end_of_timers())
    finally:
        journal.close()


async def _end_of_timers() -> None:
    """A loop's last turn."""
    await asyncio.sleep(0)


def chat(text: str = "hello", model: str = MODEL, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def sse(*frames: dict[str, Any] | str) -> bytes:
    data = [one if isinstance(one, str) else json.dumps(one) for one in frames]
    return "".join(f"data: {one}\n\n" for one in data).encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk as OpenAI writes it."""
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini-x", "choices": [choice]}  # fmt: skip


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
ROLE = sse(delta(role="assistant", content=""))
HI = sse(delta(content="hi"))
STOP = sse(delta("stop"))
COUNTED = sse({**delta(), "choices": [], "usage": USAGE})
DONE = sse("[DONE]")
STREAM = ScriptedReply((ROLE, HI, STOP, COUNTED, DONE))
"""A stream as OpenAI sends it."""


def whole(text: str = "hi", usage: dict[str, Any] | None = USAGE, status: int = 200) -> ScriptedReply:
    """A reply as OpenAI sends it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-x", "choices": [choice]}  # fmt: skip
    return ScriptedReply((json.dumps({**body, **({"usage": usage} if usage else {})}).encode(),), status)


def claude(text: str = "claude") -> ScriptedReply:
    """A stream as Anthropic sends it."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}}  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return ScriptedReply(
        tuple(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)
    )

"""The reasoning behind a tool call, kept for callers whose library drops it, and put back when the call comes back.

Theory
------
A model that thinks before it calls a tool wants its thoughts back with the tool's result: Anthropic its signed blocks, Google
its thought signatures, OpenAI its encrypted items. OpenAI's chat format has no place for them, and most of its clients drop
fields that they do not know. What every client does send back is the call's id. So the proof of a reply's reasoning is kept
under the ids of its calls, and goes before the call whenever that comes back alone.

Rules
- Kept for one virtual key: another one's history finds nothing, whatever ids it holds.
- Put back only for a target that wants this maker's format (``ReasoningDialect``), and only where the caller has sent none.
- The answer never waits for the database: what was made is kept in memory at once, and written beside. The database is
  asked only for what memory does not hold: after a restart, or where another process made it.
- A call that comes back under another tool's name is another call.
"""

import asyncio
from collections.abc import Callable

import msgspec

from penstock.base.chat import Message, Thinking, ToolCall
from penstock.base.errors import PenstockError
from penstock.base.events import Event, Finished, ThinkingDelta, ToolStarted, fold
from penstock.gateway.house import House
from penstock.gateway.reasoning_memory import Kept
from penstock.objects.keeper import Keeper
from penstock.objects.store import lawful
from penstock.wire.ports import ReplyReader

KIND = "reasoning"
MOST_TURN_CHARS = 1024 * 1024
"""Of one reply's thoughts: more is not kept."""
MOST_ID_CHARS = 256
MOST_ASKED = 256
"""Of the calls of one history, the last so many are looked for in the database."""


class Remembering:
    """A ReplyReader that tells ``keep`` of the thoughts behind a reply's tool calls, once it has ended properly."""

    __slots__ = ("_calls", "_keep", "_reader", "_thoughts")

    def __init__(self, reader: ReplyReader, keep: Callable[[Kept], None]) -> None:
        self._reader = reader
        self._keep = keep
        self._thoughts: list[Event] = []
        self._calls: dict[str, str] = {}

    def feed(self, data: bytes) -> list[Event]:
        """What the reader makes of it."""
        return self._seen(self._reader.feed(data))

    def close(self) -> list[Event]:
        """The last events."""
        return self._seen(self._reader.close())

    def _seen(self, events: list[Event]) -> list[Event]:
        for event in events:
            match event:
                case ThinkingDelta(format=made_by) if made_by != "unknown":
                    self._thoughts.append(event)
                case ToolStarted(id=call_id, name=name) if 0 < len(call_id) <= MOST_ID_CHARS:
                    self._calls[call_id] = name
                case Finished():
                    self._end()
                case _:
                    pass
        return events

    def _end(self) -> None:
        if not self._calls or not self._thoughts:
            return
        blocks = fold(self._thoughts).thinking
        formats = {one.format for one in blocks if one.signature or one.redacted}
        if len(formats) != 1:
            return  # nothing proves them, or no single maker made them
        thoughts = tuple(
            Thinking(one.text, one.signature, one.format, one.redacted, one.tool_id) for one in blocks
        )
        kept = Kept(formats.pop(), self._calls, thoughts)
        if kept.chars <= MOST_TURN_CHARS:
            self._keep(kept)


def remembering(house: House, owner: str) -> Callable[[ReplyReader], ReplyReader] | None:
    """Reads the replies to one caller and keeps their reasoning; None: none is kept."""
    settings = house.config.reasoning_store
    if not settings.enabled:
        return None

    def keep(kept: Kept) -> None:
        expires_s = house.clock.unix_s() + settings.ttl_s
        house.reasoning.put(owner, kept, expires_s)
        house.reasoning.beside(asyncio.ensure_future(_write(house, owner, kept, expires_s)))

    return lambda reader: Remembering(reader, keep)


async def _write(house: House, owner: str, kept: Kept, expires_s: float) -> None:
    meta = msgspec.to_builtins(kept)
    try:
        for call_id in kept.calls:
            if lawful(call_id):
                await house.keeper.put(KIND, call_id, owner, meta=meta, expires_ms=int(expires_s * 1000))
    except PenstockError as error:
        house.log_once("reasoning store", f"Reasoning could not be stored: {error.message}")


async def restored(
    house: House, owner: str, messages: tuple[Message, ...], made_by: str
) -> tuple[Message, ...] | None:
    """The messages with the thoughts that their calls have lost, for a target that wants ``made_by``; None: as they are."""
    if not house.config.reasoning_store.enabled:
        return None
    bare = _bare(messages, made_by)
    if not bare:
        return None
    found = await _found(house, owner, bare)
    changed = list(messages)
    for index, calls in bare.items():
        kept = next((one for call in calls if (one := found.get(call.id)) is not None), None)
        if kept is None or kept.format != made_by:
            continue
        if any(kept.calls.get(call.id, call.name) != call.name for call in calls):
            continue
        message = messages[index]
        ours = {call.id for call in calls}
        thoughts = tuple(one for one in kept.thoughts if one.tool_id in ours or one.tool_id not in kept.calls)
        rest = tuple(part for part in message.parts if not isinstance(part, Thinking))
        changed[index] = msgspec.structs.replace(message, parts=(*thoughts, *rest))
    return None if changed == list(messages) else tuple(changed)


def _bare(messages: tuple[Message, ...], made_by: str) -> dict[int, list[ToolCall]]:
    """The calls of each assistant's turn that has none of its maker's thoughts, by the message where its calls begin."""
    bare: dict[int, list[ToolCall]] = {}
    start, calls, proved = -1, list[ToolCall](), False
    for index, message in enumerate((*messages, Message("user", ()))):
        if message.role != "assistant":
            if calls and not proved:
                bare[start] = calls
            start, calls, proved = -1, [], False
            continue
        for part in message.parts:
            if isinstance(part, ToolCall):
                start = index if not calls else start
                calls.append(part)
            elif isinstance(part, Thinking) and part.format == made_by:
                proved = proved or bool(part.signature or part.redacted)
    return bare


async def _found(house: House, owner: str, bare: dict[int, list[ToolCall]]) -> dict[str, Kept]:
    memory, now_s = house.reasoning, house.clock.unix_s()
    found: dict[str, Kept] = {}
    missing: list[str] = []
    for calls in bare.values():
        for call in calls:
            kept = memory.get(owner, call.id, now_s)
            if kept is not None:
                found[call.id] = kept
                break
        else:
            first = calls[0].id
            if first and lawful(first) and not memory.is_unknown(owner, first, now_s):
                missing.append(first)
    if missing:
        await asyncio.gather(
            *(_read(house.keeper, house, owner, call_id, found) for call_id in missing[-MOST_ASKED:])
        )
    return found


async def _read(keeper: Keeper, house: House, owner: str, call_id: str, found: dict[str, Kept]) -> None:
    """One call from the database, into memory too."""
    now_s = house.clock.unix_s()
    try:
        stored = await keeper.get(KIND, call_id, owner)
    except PenstockError as error:
        house.log_once("reasoning store", f"Reasoning could not be read: {error.message}")
        return
    if stored is None:
        house.reasoning.unknown(owner, call_id, now_s)
        return
    kept = msgspec.convert(stored.meta, Kept)
    expires_s = now_s if stored.expires_ms is None else stored.expires_ms / 1000
    house.reasoning.put(owner, kept, expires_s)
    found[call_id] = kept

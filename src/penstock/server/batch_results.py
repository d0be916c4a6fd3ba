"""Results of a provider's own batch, taken in: each line's answer is read, paid, written down and kept.

Rule: a line's ledger entry is stored before the line's result is kept: a kill between the two writes the same entry again.
"""

import asyncio
from typing import Literal

from penstock.gateway.native_lines import Lines, Read, line_id
from penstock.objects.names import new_id
from penstock.objects.store import Item
from penstock.server.app import App
from penstock.server.batch_choice import Choice, Way
from penstock.server.batch_lines import Line, answered, lines_of, unanswered
from penstock.server.later import Held
from penstock.wire.batches import ItemResult, NativeBatches

_ENTRIES_AT_ONCE = 200


class Results:
    """Of one batch."""

    def __init__(self, app: App, held: Held, lines: list[Line], choice: Choice) -> None:
        self._app = app
        self._held = held
        self._lines = lines
        self._choice = choice
        self._holds = choice.holds

    async def take(self, body: bytes, service: NativeBatches, way: Way) -> None:
        """A file of results: in any order, of lines that have one already too."""
        shape = self._held.meta.get("shape", "openai")
        done = set(await self._held.keeper.numbers(self._held.stored))
        places = {line_id(self._held.stored.id, n): n for n in range(len(self._lines))}
        lines, items = self._choice.reader(), list[Item]()
        for raw in lines_of(body):
            result = service.read_line(raw)
            n = places.get(result.name)
            if n is None or n in done:
                continue
            done.add(n)
            if result.kind != "answered":
                self._let_go(n)
                gone = unanswered(shape, new_id("batch_req_"), self._lines[n].custom_id, result.kind)
                items.append(Item(n, result.kind, gone))
            else:
                items.append(self._item(n, self._read(lines, n, result, way)))
            if len(items) >= _ENTRIES_AT_ONCE:
                await self._kept(items)
                items = []
            if n % 20 == 19:
                await asyncio.sleep(0)
        await self._kept(items)

    def _read(self, lines: Lines, n: int, result: ItemResult, way: Way) -> Read:
        line = self._lines[n]
        name = line_id(self._held.stored.id, n)
        model = lines.facts_of(name, line.body).ask
        known = way.known["" if model is None else model.model]
        answer = (result.status, result.body)
        return lines.read(
            name, line.body, known, way.at_ms, answer, hold=self._holds.pop(n, None), key=way.key
        )

    def _item(self, n: int, read: Read) -> Item:
        shape, line = self._held.meta.get("shape", "openai"), self._lines[n]
        text = answered(shape, new_id("batch_req_"), line.custom_id, read.status, read.request_id, read.body)
        return Item(n, "ok" if read.status == 200 else "error", text)

    async def _kept(self, items: list[Item]) -> None:
        """The ledger first: what is kept as a result is never priced again."""
        house = self._app.house
        house.books.flush()
        while not await asyncio.to_thread(house.journal.flush, 30.0):
            self._app.log.once(
                "batch ledger", "The ledger does not take the entries of a batch; they are waited for."
            )
        await self._held.tell(items)

    async def rest(self, why: Literal["", "expired", "cancelled"]) -> None:
        """Lines without a result."""
        shape, held = self._held.meta.get("shape", "openai"), self._held
        done = set(await held.keeper.numbers(held.stored))
        items: list[Item] = []
        for n in range(len(self._lines)):
            if n in done:
                continue
            self._let_go(n)
            name, own = line_id(held.stored.id, n), self._lines[n].custom_id
            if why:
                items.append(Item(n, why, unanswered(shape, new_id("batch_req_"), own, why)))
            else:
                said = b'{"error":{"message":"The provider gave no result for this line.","code":"batch_no_result"}}'
                items.append(Item(n, "error", answered(shape, new_id("batch_req_"), own, 502, name, said)))
        await held.tell(items)

    def _let_go(self, n: int) -> None:
        hold = self._holds.pop(n, None)
        if hold is not None:
            hold.settle(0)

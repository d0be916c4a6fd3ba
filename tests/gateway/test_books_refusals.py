"""A caller that hammers at its own limit is counted, and does not fill the disk."""

import time
from typing import Any, cast

from penstock.base.chat import Ask
from penstock.base.errors import NotFound, RateLimited
from penstock.gateway.books import MAX_REFUSALS, Books
from penstock.gateway.settle import CallFacts
from penstock.observe.log import OperatorLog


class Kept:
    """Counts what it is given."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def add(self, record: Any) -> None:
        self.records.append(record)

    observe = add


def refused(books: Books, number: int, error: Exception, second: float) -> None:
    facts = CallFacts(f"gen-{number}", 0, second, 0.0, "trace", ended_s=second)
    books._calls.append((facts, Ask("openai", b"{}", "m"), cast("Any", error), "v"))


def test_refusals_by_a_limit_are_kept_so_many_times_a_second_and_counted_always():
    """The next second keeps some again; other refusals are always kept."""
    journal, metrics = Kept(), Kept()
    books = Books(cast("Any", journal), cast("Any", metrics), OperatorLog())
    now_s = float(int(time.monotonic()) + 10)
    for number in range(500):
        refused(books, number, RateLimited("Too many.", retry_after_s=1), now_s)
    books.flush()
    assert len(journal.records) == MAX_REFUSALS
    assert len(metrics.records) == 500
    refused(books, 501, RateLimited("Too many.", retry_after_s=1), now_s + 1)
    for number in range(30):
        refused(books, 600 + number, NotFound("No such model."), now_s + 1)
    books.flush()
    assert len(journal.records) == MAX_REFUSALS + 31

"""A table of names, figures and money that is readable in any width: counts go first, names fold, money stays whole."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock.cli.screen import folded, printable
from penstock.ledger.currency import DOLLARS, Rate

UNKNOWN = "unknown price"
NAME_MIN = 24
"""A longer name in the first column is folded before a figure is given up."""


def print_columns(
    console: Console,
    titles: list[str],
    lines: list[list[str]],
    given_up: Sequence[str],
    *,
    total: bool,
    elsewhere: str = "--json or --csv",
    words: Sequence[str] = (),
) -> None:
    """The lines, the first column a name; with ``total`` the last is a sum. ``given_up``: columns to lose, first to last.

    ``elsewhere``: the options that show what was lost. ``words``: further columns of names, which stand on the left of theirs.
    """
    lines = [[printable(cell) for cell in line] for line in lines]
    kept, needed = fitting(titles, lines, console.width, given_up)
    table = Table(title=None, header_style="bold")
    for index in kept:
        first = index == 0
        table.add_column(
            titles[index],
            justify="left" if first or titles[index] in words else "right",
            overflow="fold",
            no_wrap=not first,
            min_width=None if first else _width(lines, titles, index),
        )
    for line in lines:
        summed = total and line is lines[-1]
        if summed:
            table.add_section()
        table.add_row(*(escape(line[index]) for index in kept), style="bold" if summed else None)
    # A line that is wider than the terminal is wrapped by it: better than money with an end cut off.
    Console(width=max(console.width, needed)).print(table)
    left_out = [title for index, title in enumerate(titles) if index not in kept]
    if left_out:
        console.print(f"hint: no room for {', '.join(left_out)}; widen the terminal, or use {elsewhere}.")


def cost_text(cost_nusd: int, unknown: int, entries: int, rate: Rate = DOLLARS) -> str:
    """Money as known, and always what is not: an unknown price is never shown as 0."""
    if unknown and unknown == entries:
        return UNKNOWN
    known = money(cost_nusd, rate)
    return f"{known} + {unknown} with {UNKNOWN}" if unknown else known


def money(nusd: int, rate: Rate) -> str:
    """Dollars as "$0.0015", another currency as "0.001388889 EUR"."""
    return f"${rate.text(nusd)}" if rate is DOLLARS else f"{rate.text(nusd)} {rate.code}"


def print_rate(console: Console, rate: Rate) -> None:
    """By which rate another currency was shown."""
    if rate is not DOLLARS:
        folded(console, f"1 {rate.code} = {rate.usd} USD on {rate.date}; the ledger is in dollars.", "dim")


def fitting(
    titles: list[str], lines: list[list[str]], width: int, given_up: Sequence[str]
) -> tuple[list[int], int]:
    """Which columns fit into ``width``, and how wide they are: the name may fold, counts may go, money stays whole."""
    kept = list(range(len(titles)))

    def needed() -> int:
        name = min(_width(lines, titles, 0), NAME_MIN)
        return name + sum(_width(lines, titles, index) for index in kept[1:]) + 3 * len(kept) + 1

    for title in given_up:
        if needed() <= width:
            break
        kept.remove(titles.index(title))
    return kept, needed()


def _width(lines: list[list[str]], titles: list[str], index: int) -> int:
    return max(cell_len(text) for text in (titles[index], *(line[index] for line in lines)))

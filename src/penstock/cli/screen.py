"""Where a command writes for people: a terminal, whose width it folds to, or a pipe, where no line is ever folded."""

import textwrap
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

NARROW_CELLS = 20
"""Below this no text is readable: lines leave it to the terminal to wrap them."""
STUCK = "\N{NO-BREAK SPACE}"
"""A space at which no line is broken; it is printed as a plain one."""
_UNFOLDED_CELLS = 10_000
_CONTROLS = dict.fromkeys((*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)), "\N{REPLACEMENT CHARACTER}")
"""C0 and C1 and DEL, as ``str.translate`` takes them."""


def screen(*, stderr: bool = False) -> Console:
    """The console of a command. What it prints is data: no number or path in it is coloured by guess."""
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal:
        return console
    # Rich would take 80 columns, or those of a terminal on another stream: neither is the file's.
    return Console(stderr=stderr, highlight=False, width=_UNFOLDED_CELLS)


def printable(text: str) -> str:
    """The text with its control characters replaced, but for line ends and tabs: a name from a file moves no cursor."""
    return text.translate(_CONTROLS)


def put(console: Console, text: str | Text, style: str = "") -> None:
    """One line exactly as it is, whatever the width; control characters are replaced."""
    if isinstance(text, Text):
        shown = text.copy()
        shown.plain = printable(text.plain)
    else:
        shown = Text(printable(text), style)
    console.print(shown, soft_wrap=True)


def folded(
    console: Console, text: str, style: str = "", *, indent: str = "", hang: str | None = None
) -> None:
    """A paragraph, folded at words; ``hang`` stands before all lines but the first (else ``indent``)."""
    lines = textwrap.wrap(
        text,
        max(NARROW_CELLS, console.width),
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_on_hyphens=False,
    )
    for line in lines:
        put(console, line.replace(STUCK, " "), style)


def labelled(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """``label  words``, the words of all rows in one column and folded inside it."""
    rows = list(rows)
    width = max((cell_len(label) for label, _ in rows), default=0) + 2
    for label, words in rows:
        first = label + " " * (width - cell_len(label))
        folded(console, f"{words or '-'}", indent=first, hang=" " * width)

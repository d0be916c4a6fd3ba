"""The catalogue's rows as people read them: a table, a block of one model, an overview of all providers.

Rules
- A name and a price are never cut. A name that is too long for its column has a line of its own.
- The table rounds a price to four digits and says what it left out; a block is exact and whole.
- What is not known is "?" or "unknown", never 0.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from penstock.base.models import BudgetRange, ModelFacts, PriceRow
from penstock.base.money import PICO_PER_USD, Price
from penstock.cli.screen import STUCK, labelled, put
from penstock.config.catalogue import UNITS, ProviderFacts, lifecycle_note

PER_MILLION = 1_000_000
LEGEND = (
    "$ per million tokens; ? unknown; - no such price; + dearer for long prompts; "
    "in>out: t text, i image, a audio, v video, d document"
)
WAYS = (
    ("penstock models gemini-2.5", "models whose provider/model has every word"),
    ("penstock models WORD --details", "in full: price classes, capabilities, source"),
    ("penstock models --all", "a line for each model"),
    ("penstock models --json", "everything, for programs"),
)
_TITLES = ("model", "context", "output", "in>out", "$ in", "cached", "$ out", "")
_LETTERS = {"text": "t", "image": "i", "audio": "a", "video": "v", "document": "d"}
_SHORT = {
    "input": "in",
    "output": "out",
    "cache_read": "cached",
    "cache_read_audio": "cached audio",
    "cache_read_image": "cached image",
    "cache_read_explicit": "cached explicitly",
    "input_audio": "audio in",
    "output_audio": "audio out",
    "input_image": "image in",
    "output_image": "image out",
    "input_video": "video in",
    "output_video": "video out",
}
_KINDS = {"lab": "labs", "cloud": "clouds", "host": "hosts", "router": "routers", "local": "local"}
_REASONING = {
    "none": "none",
    "effort": "by effort",
    "budget": "by a budget of tokens",
    "level": "by level",
    "adaptive": "adaptive",
    "always": "always on",
}
_DIGITS = 4
_EXACT_CHARS = 6


# ------------------------------------------------------------------ the table


def print_rows(console: Console, hits: list[ModelFacts], today: date) -> None:
    """A line a model; its notes stand at the end of the line, or on the next where there is no room."""
    lines = [_cells(facts, today) for facts in hits]
    figures = list(zip(_TITLES, *(cells for cells, _ in lines), strict=True))[1:-1]
    widths = [max(cell_len(text) for text in column) for column in figures]
    longest = max(cell_len(cells[0]) for cells, _ in lines)
    notes = max(cell_len(cells[-1]) for cells, _ in lines)

    def total(gap: int, *more: int) -> int:
        return longest + sum(gap + width for width in (*widths, *more))

    gap = 2 if total(2) <= console.width else 1
    beside = total(gap, notes) <= console.width
    name_width = min(longest, console.width - sum(gap + width for width in widths))

    def line(cells: tuple[str, ...], style: str, note_style: str) -> None:
        name, *middle, note = cells
        if cell_len(name) > name_width:
            alone = Text(name, style)
            if note and cell_len(f"{name}  {note}") <= console.width:
                alone.append(f"  {note}", note_style)
                note = ""
            put(console, alone)
            name = ""
        text = Text(name + " " * (name_width - cell_len(name)), style)
        for cell, width in zip(middle, widths, strict=True):
            text.append(" " * (gap + width - cell_len(cell)) + cell, "dim" if cell in ("?", "-") else "")
        if note and beside:
            text.append(" " * gap + note, note_style)
        put(console, text)
        if note and not beside:
            put(console, Text(f"  {note}", note_style))

    line(_TITLES, "bold", "")
    for cells, style in lines:
        line(cells, "", style)


def _cells(facts: ModelFacts, today: date) -> tuple[tuple[str, ...], str]:
    """The cells of a row, and its note's style."""
    price, note = facts.price, lifecycle_note(facts, today)
    units = {} if price is None else price.units
    words = [] if facts.mode == "chat" else [facts.mode.replace("_", " ")]
    other = [unit for unit in units if unit not in UNITS]
    if other and not {"input", "output"} & units.keys():
        first = min(other, key=lambda unit: (":" in unit, unit))
        words.append(f"${_rounded(units[first], 1)} {_per(first)}")
    words += [note.replace("retires on", "retires").replace("retired on", "retired")] if note else []
    tiered = "+" if price is not None and price.tiers else ""
    missing = "?" if price is None else "-"
    figures = [
        _rounded(units[unit], PER_MILLION) + tiered * (unit == "input") if unit in units else missing
        for unit in ("input", "cache_read", "output")
    ]
    cells = (
        f"{facts.provider}/{facts.model}",
        brief(facts.context_tokens),
        brief(facts.max_output_tokens),
        f"{_letters(facts.modalities_in)}>{_letters(facts.modalities_out)}",
        *figures,
        "; ".join(words),
    )
    return cells, _note_style(note) or "dim"


def brief(tokens: int | None) -> str:
    """``1.05M``, ``65.5k``, ``512``: three digits at most; "?" for what is not known."""
    if tokens is None:
        return "?"
    if tokens < 1000:
        return str(tokens)
    # 999,950 would be 1,000k.
    size, letter = (tokens / 1000, "k") if tokens < 999_500 else (tokens / 1_000_000, "M")
    return f"{size:.3g}{letter}" if size < 999.5 else f"{size:.0f}{letter}"


def _letters(modalities: frozenset[str]) -> str:
    return "".join(letter for word, letter in _LETTERS.items() if word in modalities) or "?"


def _note_style(note: str) -> str:
    if not note:
        return ""
    return "red" if note.startswith("retired") else "yellow"


def _rounded(price: Price, units: int) -> str:
    exact = usd(price, units)
    if len(exact) <= _EXACT_CHARS:
        return exact
    return _plain(Decimal(f"{Decimal(exact):.{_DIGITS}g}"))


# ------------------------------------------------------------------ one model


def print_block(console: Console, facts: ModelFacts, today: date) -> None:
    """All that is known of one model, each price class on its own line."""
    note = lifecycle_note(facts, today)
    head = Text(f"{facts.provider}/{facts.model}", "bold")
    head.append(f"  {note}" if note else "", f"not bold {_note_style(note)}")
    put(console, head)
    labelled(console, ((f"  {label}", words) for label, words in _block(facts)))


def _block(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    yield "kind", facts.mode.replace("_", " ")
    context, output = (_tokens(count) for count in (facts.context_tokens, facts.max_output_tokens))
    yield "limits", f"context {context}; output {output}"
    yield "in > out", f"{_listed(facts.modalities_in)} > {_listed(facts.modalities_out)}"
    able = facts.capabilities
    yield "capabilities", "unknown" if able is None else ", ".join(sorted(able)) or "none of those we know"
    style = "unknown" if facts.reasoning is None else _REASONING[facts.reasoning]
    yield "reasoning", style if facts.budget is None else f"{style}; {_budget(facts.budget)}"
    if facts.price is None:
        yield "price", "unknown"
    else:
        yield "price", f"$ per million tokens, version {facts.price.version}"
        yield from _classes(facts.price)
        for row in facts.price.later:
            yield f"  from {_moment(row.from_ms)}", units_text(row.units)
    yield "source", facts.source.replace("https://", "")
    yield "figures of", facts.date


def _tokens(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,} tokens"


def _listed(modalities: frozenset[str]) -> str:
    return ", ".join(word for word in _LETTERS if word in modalities) or "unknown"


def _budget(budget: BudgetRange) -> str:
    words = f"{budget.minimum:,} to {budget.maximum:,} tokens"
    words += ", 0 turns it off" if budget.off else ", cannot be turned off"
    return words + (", -1 leaves it to the model" if budget.dynamic else "")


def print_history(console: Console, name: str, price: PriceRow, now_ms: int) -> None:
    """Every row that a model's calls were, are or will be priced by; the one in force is marked."""
    rows = [price, *price.later]
    current = max((row for row in rows if row.from_ms <= now_ms), key=lambda row: row.from_ms)
    put(console, Text(name, "bold"))
    for place, row in enumerate(rows):
        until = f", until {_moment(rows[place + 1].from_ms)}" if place + 1 < len(rows) else ""
        began = f"from {_moment(row.from_ms)}" if row.from_ms else "from the beginning"
        mark = "  (in force)" if row is current else ""
        put(console, Text(f"  {began}{until}{mark}", "" if row is current else "dim"))
        words = [("    version", row.version), ("    source", row.source.replace("https://", "") or "none")]
        if row.units:
            words[1:1] = [(f"  {label}", text) for label, text in _classes(row)]
        else:
            words[1:1] = [("    price", "unknown")]
        labelled(console, words)


def _moment(at_ms: int) -> str:
    """A day, or the minute where it is none; UTC."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%d}" if at_ms % 86_400_000 == 0 else f"{moment:%Y-%m-%dT%H:%M}Z"


def _classes(price: PriceRow) -> Iterator[tuple[str, str]]:
    """Standard prices, tiers, service classes."""
    yield "  standard", units_text(price.units)
    for tier in price.tiers:
        yield f"  above {tier.above_tokens:,}", units_text(tier.prices)
    for name, units in price.service.items():
        service, _, above = name.partition(">")
        label = service.replace("_", " ") + (f" above {int(above):,}" if above else "")
        yield f"  {label}", units_text(units)
    if price.hours:
        yield "  off peak is", hours_text(price.hours)


def hours_text(spans: tuple[tuple[int, int], ...]) -> str:
    """``Mon 00:00 to 01:00, ..., UTC``; spans that meet are one."""
    joined: list[list[int]] = []
    for first, beyond in spans:
        if joined and joined[-1][1] == first:
            joined[-1][1] = beyond
        else:
            joined.append([first, beyond])
    return ", ".join(f"{_clock(first)} to {_clock(beyond)}" for first, beyond in joined) + ", UTC"


def _clock(minute: int) -> str:
    day, rest = divmod(minute % (7 * 1440), 1440)
    return f"{_DAYS[day]} {rest // 60:02d}:{rest % 60:02d}"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def units_text(units: Mapping[str, Price]) -> str:
    """``in 0.3, out 2.5, 0.039 per image``; kinds that all cost the same are named once (``web_search``)."""
    kinds: dict[str, set[Price]] = {}
    for unit, price in units.items():
        kinds.setdefault(unit.partition(":")[0], set()).add(price)
    named = {
        unit.partition(":")[0] if len(kinds[unit.partition(":")[0]]) == 1 else unit: price
        for unit, price in units.items()
    }
    order = sorted(named, key=lambda unit: (UNITS.index(unit) if unit in UNITS else len(UNITS), unit))
    said = (
        f"{_SHORT.get(unit, unit.replace('_', ' '))} {usd(named[unit], PER_MILLION)}"
        if unit in UNITS
        else f"{usd(named[unit], 1)} {_per(unit)}"
        for unit in order
    )
    # A price stands on the line of its unit.
    return ", ".join(words.replace(" ", STUCK) for words in said)


def _per(unit: str) -> str:
    """``image:low:1024x1024`` -> ``per image (low 1024x1024)``."""
    name, _, kind = unit.partition(":")
    return f"per {name.replace('_', ' ')}" + (f" ({kind.replace(':', ' ')})" if kind else "")


def usd(price: Price, units: int) -> str:
    """The price of so many units as plain decimal dollars, exact."""
    return _plain(Decimal(price.pico_usd) * units / (price.per * PICO_PER_USD))


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# ------------------------------------------------------------------ all of it


def print_overview(console: Console, hits: list[ModelFacts], providers: list[ProviderFacts]) -> None:
    """Who sells how many models, and how to ask for them."""
    counts: dict[str, int] = {}
    for facts in hits:
        counts[facts.provider] = counts.get(facts.provider, 0) + 1
    kinds = {provider.name: provider.kind for provider in providers}
    put(console, f"{len(hits):,} models of {len(counts)} providers", "bold")
    sold = {
        label: sorted(name for name in counts if kinds.get(name, "host") == kind)
        for kind, label in _KINDS.items()
    }
    labelled(
        console,
        (
            (label, ", ".join(f"{name}{STUCK}{counts[name]}" for name in names))
            for label, names in sold.items()
            if names
        ),
    )
    labelled(console, WAYS)

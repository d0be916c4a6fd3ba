"""Providers' exports of usage and cost as one kind of row: a day, a model, tokens, dollars. Pure: text in, rows out.

The shape is found by its header, as seen on the day that stands beside it; nothing is guessed from a file's name.

| shape | columns that tell it | days | seen |
|---|---|---|---|
| ``openai-usage`` | ``start_time`` (or ``_iso``), ``model``, ``input_tokens``, ``output_tokens``; or the usage API's pages as JSON | UTC | 2026-11-21 |
| ``openai-cost`` | ``start_time``, ``line_item``, ``amount_value``; or the costs API's pages as JSON | UTC | 2026-11-21 |
| ``anthropic-usage`` | ``usage_date_utc``, ``model_version``, ``usage_input_tokens_no_cache``, ... | UTC | 2026-11-21 |
| ``anthropic-cost`` | ``usage_date_utc``, ``model``, ``token_type``, ``cost_usd`` | UTC | 2026-11-21 |
| ``google-billing`` | ``SKU description``, ``Usage start date``, ``Usage end date``, ``Cost ($)`` | Pacific | 2026-11-21 |
| ``openrouter-generations`` | ``generation_id``, ``created_at``, ``model_permaslug``, ``cost_total`` | UTC | 2026-11-21 |
| ``openrouter-activity`` | ``date``, ``model_permaslug``, ``usage``, ``prompt_tokens``; or the activity API's JSON | UTC | 2026-11-21 |
| ``generic`` | ``day``, ``model``, and of ``input_tokens``, ``output_tokens``, ``cost_usd`` what is known; ``provider``, ``key`` if wanted | UTC | ours |

Rules
- ``input_tokens`` is the whole prompt, cached included, in every shape. An empty cell is not known; it is not 0.
- A model's name is brought to one spelling (``plain_model``): without date and ``-latest``, Anthropic's "Claude Haiku 4.5" as
  ``claude-haiku-4-5``. What has no model (searches, storage) keeps its own name.
- Dollars alone: an amount in another currency is refused, not converted. Google's credits, its rounding and its total are
  left out: what is compared is the list price. A row of several days cannot be compared by day, and is refused.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import msgspec
from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.base.money import NANO_PER_USD
from penstock.config.model_names import undated

PACIFIC = "America/Los_Angeles"
_HINT = "Known are exports of OpenAI, Anthropic, Google Cloud and OpenRouter, or columns day,model,input_tokens,output_tokens,cost_usd."
_MAX_USD = Decimal(10**9)
_MAX_COUNT = 10**15


class ExportRow(Struct, frozen=True):
    """One line of an export. None: the export does not say. ``day`` is ISO, in the shape's own time zone."""

    day: str
    model: str
    provider: str = ""
    key: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nusd: int | None = None


class Export(Struct, frozen=True):
    """One file. ``providers`` are the catalogue's names of who it comes from; empty: the rows say it, or nobody does."""

    shape: str
    providers: tuple[str, ...]
    timezone: str
    rows: tuple[ExportRow, ...]


_Cells = Mapping[str, Any]


class _Shape(Struct, frozen=True):
    name: str
    needs: frozenset[str]
    providers: tuple[str, ...]
    read: Callable[[_Cells], ExportRow | None]
    timezone: str = "UTC"


def read_export(text: str, name: str = "the export") -> Export:
    """A CSV or JSON export. Raises BadRequest that names the file, the line and what is wrong."""
    text = text.removeprefix("\ufeff")
    lines = _json_rows(text, name) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text, name)
    shape: _Shape | None = None
    rows: list[ExportRow] = []
    for number, cells in lines:
        if shape is None:
            shape = _shape_of(frozenset(cells), name)
        try:
            row = shape.read(cells)
        except ValueError as error:
            raise BadRequest(
                f"{name}, line {number}: {error}.", param=name, hint="Nothing was compared."
            ) from error
        if row is not None:
            rows.append(row)
    if shape is None:
        raise BadRequest(f"{name} has no rows.", param=name, hint=_HINT)
    return Export(shape.name, shape.providers, shape.timezone, tuple(rows))


def plain_model(name: str) -> str:
    """One spelling for a model in an export and in the ledger."""
    plain = name.strip().lower().removeprefix("models/")
    if plain.startswith(("claude ", "claude-")):
        plain = plain.replace(" ", "-").replace(".", "-")
    return undated(plain)


# ------------------------------------------------------------------ rows of a file


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, _Cells]]:
    """Rows under the header. Google's invoices have lines before it: two columns, where the header has many."""
    reader = csv.reader(io.StringIO(text))
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                named = [cell.strip() for cell in cells]
                if any(shape.needs <= {cell.lower() for cell in named} for shape in _SHAPES):
                    header = [cell.lower() for cell in named]
                elif reader.line_num > _PREAMBLE_LINES:
                    break
                continue
            if len(cells) != len(header):
                raise BadRequest(
                    f"{name}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns.",
                    param=name,
                    hint="Export it again: this file was cut or edited.",
                )
            yield reader.line_num, {key: cell.strip() for key, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise BadRequest(f"{name} is no CSV: {error}.", param=name, hint=_HINT) from error
    if header is None:
        first = text.split("\n", 1)[0][:120]
        raise BadRequest(
            f"{name} has no header that is known; it begins with {first!r}.", param=name, hint=_HINT
        )


_PREAMBLE_LINES = 40


def _json_rows(text: str, name: str) -> Iterator[tuple[int, _Cells]]:
    """The results of OpenAI's buckets with their start, or OpenRouter's ``data``; several pages as a list."""
    try:
        document = _JSON.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"{name} is no JSON: {error}.", param=name, hint=_HINT) from error
    number = 0
    for page in _objects(document, name):
        for bucket in _objects(page["data"], name) if "data" in page else (page,):
            if "results" not in bucket:
                number += 1
                yield number, bucket
                continue
            for cells in _objects(bucket["results"], name):
                number += 1
                more: dict[str, Any] = {"start_time": bucket.get("start_time")}
                for money in _objects(cells.get("amount"), name):
                    more |= {"amount_value": money.get("value"), "amount_currency": money.get("currency")}
                yield number, {**cells, **more}


_JSON = msgspec.json.Decoder(float_hook=str)
"""A figure with a point stays the text it is."""


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    items = _listed(value)
    if not all(isinstance(item, dict) for item in items):
        raise BadRequest(f"{name}: a row is no object.", param=name, hint=_HINT)
    return cast("list[dict[str, Any]]", items)


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [] if value is None else [value]


def _shape_of(columns: frozenset[str], name: str) -> _Shape:
    for shape in _SHAPES:
        if shape.needs <= columns:
            return shape
    said = ", ".join(sorted(columns)[:8])
    raise BadRequest(f"{name} has the columns {said}: no export that is known.", param=name, hint=_HINT)


# ------------------------------------------------------------------ cells


def _count(cells: _Cells, *names: str) -> int | None:
    """The sum of these cells; None if one of them is empty. "3.0" and "1,024" are counts."""
    total = 0
    for name in names:
        text = str(cells.get(name) if cells.get(name) is not None else "").replace(",", "").strip()
        if not text:
            return None
        number = _decimal(text, name)
        if number != number.to_integral_value() or not 0 <= number <= _MAX_COUNT:
            raise ValueError(f"{name}: {text!r} is no count")
        total += int(number)
    return total


def _nusd(cells: _Cells, name: str) -> int | None:
    """Dollars as nano-dollars, rounded half-even; the text decides, never a float's arithmetic."""
    value = cells.get(name)
    text = str(value if value is not None else "").replace(",", "").replace("$", "").strip()
    if not text:
        return None
    number = _decimal(text, name)
    if not 0 <= number <= _MAX_USD:
        raise ValueError(f"{name}: {text!r} is no amount that can be compared")
    return int((number * NANO_PER_USD).to_integral_value())


def _decimal(text: str, name: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{name}: {text!r} is no number") from error
    if not number.is_finite():
        raise ValueError(f"{name}: {text!r} is no number")
    return number


def _text(cells: _Cells, *names: str) -> str:
    return next((str(cells[name]).strip() for name in names if cells.get(name)), "")


def _day(cells: _Cells, *names: str) -> str:
    """The UTC day of a date, a date-time or unix seconds."""
    text = _text(cells, *names)
    try:
        if text.isdecimal() and len(text) > len("20261121"):
            return datetime.fromtimestamp(int(text), UTC).date().isoformat()
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{names[0]}: {text!r} is no date") from error
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date().isoformat()


# ------------------------------------------------------------------ shapes


def _model(cells: _Cells, name: str) -> str:
    """What the row is of. An export that was not grouped by it says how much, and not of what."""
    text = _text(cells, name)
    if not text:
        raise ValueError(f"{name} is empty; export it grouped by {name}")
    return plain_model(text)


def _openai_usage(cells: _Cells) -> ExportRow:
    return ExportRow(
        _day(cells, "start_time_iso", "start_time"),
        _model(cells, "model"),
        key=_text(cells, "api_key_name", "api_key_id"),
        input_tokens=_count(cells, "input_tokens"),
        output_tokens=_count(cells, "output_tokens"),
    )


def _openai_cost(cells: _Cells) -> ExportRow:
    currency = _text(cells, "amount_currency").lower()
    if currency not in ("", "usd"):
        raise ValueError(f"the amount is in {currency!r}, not in dollars")
    # "gpt-4o-mini-2024-07-18, input": the model, then what of it.
    model = _model(cells, "line_item").split(",")[0]
    return ExportRow(
        _day(cells, "start_time_iso", "start_time"),
        plain_model(model),
        key=_text(cells, "api_key_name", "api_key_id"),
        cost_nusd=_nusd(cells, "amount_value"),
    )


def _anthropic_usage(cells: _Cells) -> ExportRow:
    written = [f"usage_input_tokens_cache_write_{life}" for life in ("5m", "1h")]
    parts = ("usage_input_tokens_no_cache", "usage_input_tokens_cache_read", *written)
    return ExportRow(
        _day(cells, "usage_date_utc"),
        _model(cells, "model_version"),
        key=_text(cells, "api_key"),
        input_tokens=_count(cells, *(name for name in parts if name in cells)),
        output_tokens=_count(cells, "usage_output_tokens"),
    )


def _anthropic_cost(cells: _Cells) -> ExportRow:
    return ExportRow(
        _day(cells, "usage_date_utc"),
        _model(cells, "model"),
        key=_text(cells, "api_key"),
        cost_nusd=_nusd(cells, "cost_usd"),
    )


_GEMINI = re.compile(
    r"gemini (?P<version>\d(?:\.\d+)?) (?P<size>pro|flash[ -]lite|flash|ultra|argon)(?P<image> image)?\b"
)


def _google_billing(cells: _Cells) -> ExportRow | None:
    if _text(cells, "credit type") or not _text(cells, "sku description"):
        return None  # credits, and the lines "Rounding error" and "Total"
    if _text(cells, "cost type").lower() not in ("", "usage", "regular"):
        return None  # taxes and adjustments
    sku = _text(cells, "sku description")
    start, end = _day(cells, "usage start date"), _day(cells, "usage end date")
    if (date.fromisoformat(end) - date.fromisoformat(start)).days > 1:
        raise ValueError(f"the row is of {start} to {end}; group the report by day, then export it")
    match = _GEMINI.search(sku.lower())
    model = sku
    if match is not None:
        size = match["size"].replace(" ", "-")
        model = f"gemini-{match['version']}-{size}{'-image' if match['image'] else ''}"
    cost = "unrounded cost ($)" if "unrounded cost ($)" in cells else "cost ($)"
    return ExportRow(start, plain_model(model), cost_nusd=_nusd(cells, cost))


def _openrouter_generation(cells: _Cells) -> ExportRow:
    return ExportRow(
        _day(cells, "created_at"),
        _model(cells, "model_permaslug"),
        key=_text(cells, "api_key_name"),
        input_tokens=_count(cells, "tokens_prompt"),
        output_tokens=_count(cells, "tokens_completion"),
        cost_nusd=_nusd(cells, "cost_total"),
    )


def _openrouter_activity(cells: _Cells) -> ExportRow:
    return ExportRow(
        _day(cells, "date"),
        _model(cells, "model_permaslug"),
        input_tokens=_count(cells, "prompt_tokens"),
        output_tokens=_count(cells, "completion_tokens"),
        cost_nusd=_nusd(cells, "usage"),
    )


def _generic(cells: _Cells) -> ExportRow:
    return ExportRow(
        _day(cells, "day"),
        _model(cells, "model"),
        _text(cells, "provider"),
        _text(cells, "key"),
        _count(cells, "input_tokens"),
        _count(cells, "output_tokens"),
        _nusd(cells, "cost_usd"),
    )


_SHAPES: tuple[_Shape, ...] = (
    _Shape(
        "anthropic-usage",
        frozenset({"usage_date_utc", "model_version", "usage_input_tokens_no_cache"}),
        ("anthropic",),
        _anthropic_usage,
    ),
    _Shape(
        "anthropic-cost",
        frozenset({"usage_date_utc", "model", "token_type", "cost_usd"}),
        ("anthropic",),
        _anthropic_cost,
    ),
    _Shape(
        "google-billing",
        frozenset({"sku description", "usage start date", "usage end date", "cost ($)"}),
        ("gemini", "vertex"),
        _google_billing,
        PACIFIC,
    ),
    _Shape(
        "openrouter-generations",
        frozenset({"generation_id", "created_at", "model_permaslug", "cost_total"}),
        ("openrouter",),
        _openrouter_generation,
    ),
    _Shape(
        "openrouter-activity",
        frozenset({"date", "model_permaslug", "usage", "prompt_tokens"}),
        ("openrouter",),
        _openrouter_activity,
    ),
    _Shape("openai-cost", frozenset({"start_time", "line_item", "amount_value"}), ("openai",), _openai_cost),
    _Shape(
        "openai-usage",
        frozenset({"start_time", "model", "input_tokens", "output_tokens"}),
        ("openai",),
        _openai_usage,
    ),
    _Shape("generic", frozenset({"day", "model"}), (), _generic),
)
"""The first whose columns are all there."""
SHAPES: tuple[str, ...] = tuple(shape.name for shape in _SHAPES)

"""The tables of ``penstock cost`` as programs take them: JSON, CSV, Parquet."""

import csv
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import BadRequest
from penstock.base.usage import TOKEN_UNITS
from penstock.ledger.currency import DOLLARS, Rate

_INTEGERS = frozenset(
    (*TOKEN_UNITS, "calls", "entries", "renders", "at_ms", "wall_us", "entries_with_unknown_price")
)
_FLOATS = frozenset(("start_ms", "wall_ms"))


class Shown(Struct, frozen=True):
    """A table in every form: ``rows`` of plain values, the JSON ``document``, the rows' ``fields``, and for people."""

    rows: list[dict[str, Any]]
    document: Any
    fields: list[str]
    show: Callable[[], None]


def rate_fields(rate: Rate, sums: Mapping[str, int | None]) -> dict[str, Any]:
    """Nano-dollars as exact text in another currency, with the rate; nothing where the table is in dollars."""
    if rate is DOLLARS:
        return {}
    code = rate.code.lower()
    shown = {f"{name}_{code}": None if nusd is None else rate.text(nusd) for name, nusd in sums.items()}
    return {**shown, f"usd_per_{code}": rate.usd, "rate_date": rate.date}


def column_type(name: str) -> str:
    """Arrow's word for the values of a field: integers, shares and times; all else is text."""
    if name.endswith("_nusd") or name in _INTEGERS:
        return "int64"
    return "float64" if name.endswith("_share") or name in _FLOATS else "string"


def print_json(document: Any) -> None:
    """Indented, one document."""
    print(msgspec.json.format(msgspec.json.encode(document)).decode())


def print_csv(rows: list[dict[str, Any]], fields: list[str]) -> None:
    """A header and a line for each row; what is not known is empty."""
    writer = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def write_parquet(path: str, rows: list[dict[str, Any]], fields: list[str]) -> str:
    """A file of these rows; what was done, in a sentence. Raises BadRequest where it cannot be.

    A column's type comes from its name, not from its values: files of many days are read as one table, also where a day
    has no rows, or none of them has a price.
    """
    try:
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise BadRequest(
            "Parquet needs pyarrow, which is not installed.",
            param="--parquet",
            hint="Install the extra: pip install 'penstock[parquet]'. --csv and --json need nothing.",
        ) from error
    try:
        schema = arrow.schema([(name, getattr(arrow, column_type(name))()) for name in fields])
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), path)
    except OSError as error:
        raise BadRequest(
            f"{path!r} cannot be written: {error}.",
            param="--parquet",
            hint="Name a file in a folder that exists.",
        ) from error
    return f"{len(rows)} rows written to {path}"

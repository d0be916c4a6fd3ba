"""Rows for COPY, written natively: what psycopg would write, byte for byte; and the same refusals."""

from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg._copy_base import format_row_binary
from psycopg.adapt import Transformer
from psycopg.pq import Format

from penstock.ledger.postgres import store

pytestmark = pytest.mark.skipif(store.native is None, reason=f"no native rows: {store.missing}")

TEXTS = st.one_of(
    st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
)
INTEGERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
FLOATS = st.one_of(st.none(), st.floats(allow_nan=False))
VALUES = {"t": TEXTS, "i": INTEGERS, "f": FLOATS}
OIDS = {"t": "text", "i": "int8", "f": "float8"}


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[list[Any]]]:
    kinds = draw(st.text("tif", min_size=1, max_size=8))
    return kinds, draw(st.lists(st.tuples(*(VALUES[kind] for kind in kinds)).map(list), max_size=5))


def as_psycopg(kinds: str, rows: list[list[Any]]) -> bytes:
    """What ``Copy.write_row`` sends, without a server: its own formatter, given the same types."""
    maker = Transformer()
    registry = psycopg.adapters.types
    maker.set_dumper_types([registry[OIDS[kind]].oid for kind in kinds], Format.BINARY)
    out = bytearray()
    for row in rows:
        format_row_binary(row, maker, out)
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(tables())
def test_rows_are_what_psycopg_writes(table: tuple[str, list[list[Any]]]):
    """For any values that the columns hold."""
    assert store.native is not None
    kinds, rows = table
    expected = as_psycopg(kinds, rows)
    assert store.native.tuples(rows, kinds.encode()) == expected


def test_a_nan_is_null():
    """``rows.NULL`` stands for it."""
    assert store.native is not None
    nan = float("nan")
    assert store.native.tuples([[nan, nan, nan]], b"tif") == as_psycopg("tif", [[None, None, None]])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("t", "\ud800"),
        ("t", "a\0b"),
        ("t", 5),
        ("t", b"x"),
        ("i", 2**63),
        ("i", "5"),
        ("i", 1.5),
        ("f", "x"),
        ("f", 10**400),
    ],
)
def test_what_a_column_cannot_hold_is_refused(kind: str, value: Any):
    """With an exception that the store mends the batch after."""
    assert store.native is not None
    with pytest.raises((TypeError, ValueError, OverflowError)) as refused:
        store.native.tuples([[value]], kind.encode())
    assert isinstance(refused.value, store._UNFIT)


def test_a_row_of_another_width_is_refused():
    """Nothing is read past its end."""
    assert store.native is not None
    with pytest.raises(ValueError, match="another number"):
        store.native.tuples([["a"]], b"tt")

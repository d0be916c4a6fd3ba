"""What anyone has spent since a moment, read from one index: always the sum of the entries themselves."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.ledger.entry import Record
from penstock.ledger.journal import Journal
from penstock.ledger.opening import open_ledger
from penstock.ledger.spent import NOTHING, Holder, Spent, spent_by_all, spent_since
from tests.ledger.make import AT_MS, call, entry

ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "organisation": st.sampled_from(["", "acme"]),
            "team": st.sampled_from(["", "vision", "text"]),
            "virtual_key": st.sampled_from(["", "research", "production"]),
            "user": st.sampled_from(["", "anna", "ben"]),
            "klass": st.sampled_from(["delivered", "failed", "billed_not_delivered", "own_cost"]),
            "cost_nusd": st.one_of(st.none(), st.integers(0, 10**12)),
            "at_ms": st.integers(AT_MS - 3, AT_MS + 3),
        }
    ),
    max_size=30,
)


def ledger(folder, made):
    """A ledger of these entries, each a call of its own."""
    path = str(folder / "penstock.db")
    journal = Journal(path)
    for number, fields in enumerate(made):
        name = f"r{number}"
        journal.add(
            Record(
                call(name, organisation=fields["organisation"], user=fields["user"]), (entry(name, **fields),)
            )
        )
    journal.close()
    return path


def summed(entries):
    """The same by hand."""
    return Spent(
        sum(one["cost_nusd"] or 0 for one in entries if one["klass"] != "own_cost"),
        sum(one["cost_nusd"] or 0 for one in entries if one["klass"] == "own_cost"),
        sum(one["cost_nusd"] is None for one in entries),
    )


@settings(max_examples=40, deadline=None)
@given(ENTRIES)
def test_it_is_the_sum_of_the_entries(tmp_path_factory, made):
    """For every kind of holder and every name, with the moment itself included; and in one pass for all."""
    reader = open_ledger(ledger(tmp_path_factory.mktemp("ledger"), made))
    try:
        late = [one for one in made if one["at_ms"] >= AT_MS]
        for kind in ("organisation", "team", "virtual_key"):
            for name in ("", "acme", "vision", "text", "research", "production", "nobody"):
                expected = summed([one for one in late if one[kind] == name])
                assert spent_since(reader, kind, name, AT_MS) == expected
        for user in ("", "anna", "ben"):
            expected = summed(
                [one for one in late if (one["virtual_key"], one["user"]) == ("research", user)]
            )
            assert spent_since(reader, "user", "research", AT_MS, user=user) == expected
        places = {Holder(one["organisation"], one["team"], one["virtual_key"], one["user"]) for one in late}
        assert spent_by_all(reader, AT_MS) == {
            place: summed(
                [
                    one
                    for one in late
                    if (one["organisation"], one["team"], one["virtual_key"], one["user"])
                    == (place.organisation, place.team, place.virtual_key, place.user)
                ]
            )
            for place in places
        }
    finally:
        reader.close()


@pytest.mark.parametrize("kind", ["organisation", "team", "virtual_key", "user", "all"])
def test_it_is_read_from_the_index_alone(tmp_path, kind):
    """No row of the table is touched, and nothing before the moment."""
    reader = open_ledger(ledger(tmp_path, []))
    said = []
    reader.set_trace_callback(said.append)
    if kind == "all":
        assert spent_by_all(reader, AT_MS) == {}
    else:
        assert spent_since(reader, kind, "x", AT_MS, user="y") == NOTHING
    reader.set_trace_callback(None)
    plan = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {said[0]}")]
    reader.close()
    assert "SEARCH entries USING COVERING INDEX entries_spent (at_ms>?)" in plan


def test_who_stood_above_a_call_is_kept_with_it(tmp_path):
    """The call and its entries come back with all three names, also where text is broken."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    told = {"organisation": "acme", "team": "vision", "user": "anna\ud800"}
    journal.add(Record(call("r1", **told), (entry("r1", **told),)))
    journal.flush(20)
    found = journal.read("r1")
    journal.close()
    for one in (found.call, *found.entries):
        assert (one.organisation, one.team, one.user) == ("acme", "vision", "anna?")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT organisation, team, end_user FROM calls").fetchall() == [
            ("acme", "vision", "anna?")
        ]

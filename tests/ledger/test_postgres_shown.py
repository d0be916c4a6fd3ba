"""What a message may show of a ledger's URL: never a part of its password, however oddly it is written."""

import pytest

from penstock.ledger.opening import shown


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://me:hush@db.example:5432/ledger",
        "postgresql://me:hu?sh@db.example/ledger",
        "postgresql://me:hu@sh@db.example/ledger",
        "postgresql://db.example/ledger?user=me&password=hush",
        "postgresql://me:x@db.example/ledger?password=a@hush",
        "postgresql://db.example/ledger?password=hu@sh",
    ],
)
def test_no_part_of_a_password_is_shown(place):
    told = shown(place)
    assert told.startswith("postgresql://")
    assert not any(part in told for part in ("hush", "hu", "sh@", "/sh"))


def test_the_place_itself_is_shown():
    assert shown("postgresql://me:hush@db.example:5432/ledger") == "postgresql://db.example:5432/ledger"
    assert shown("penstock.db") == "penstock.db"

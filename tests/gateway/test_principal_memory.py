"""A connection's memory of its credential never lends one caller's key to another."""

from penstock.base.errors import Unauthenticated
from penstock.gateway.ports import Known
from penstock.gateway.principal import Doors, Principal, digest

WIDE, NARROW = Principal(name="wide"), Principal(name="narrow")
DOORS = Doors({digest("w"): WIDE, digest("n"): NARROW})


def who(known: Known, **told: str) -> str:
    headers = {name.replace("_", "-").encode(): value.encode() for name, value in told.items()}
    try:
        return DOORS.admit(headers, known, 0.0).name
    except Unauthenticated:
        return "nobody"


def test_a_placeholder_beside_another_key_is_not_remembered_for_it():
    """The same authorization with another x-api-key, or none, is looked up anew."""
    known = Known()
    assert who(known, authorization="Bearer x", x_api_key="w") == "wide"
    assert who(known, authorization="Bearer x", x_api_key="n") == "narrow"
    assert who(known, authorization="Bearer x") == "nobody"


def test_what_is_remembered_does_not_hide_a_key_that_stands_first():
    """The first known key counts, remembered or not; new doors forget."""
    known = Known()
    assert who(known, authorization="Bearer w") == "wide"
    assert who(known, authorization="Bearer w") == "wide"
    assert who(known, x_api_key="n", authorization="Bearer w") == "narrow"
    other = Doors({digest("w"): NARROW})
    assert other.admit({b"authorization": b"Bearer w"}, known, 0.0) is NARROW

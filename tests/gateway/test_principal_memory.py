"""A connection's memory of its credential never lends one caller's key to another."""

import pytest

from penstock.base.errors import Forbidden, Unauthenticated
from penstock.gateway.ports import Known
from penstock.gateway.principal import ANYONE, Doors, Principal, digest

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


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b"http://localhost.evil.example"])
def test_a_foreign_page_may_not_spend_through_an_open_gateway(origin):
    """Browsers send Origin with cross-site posts; with virtual keys the key decides, not the page."""
    with pytest.raises(Forbidden):
        Doors({}).admit({b"origin": origin}, Known(), 0.0)
    assert DOORS.admit({b"origin": origin, b"authorization": b"Bearer w"}, Known(), 0.0) is WIDE


@pytest.mark.parametrize("origin", [b"http://localhost:3000", b"http://127.0.0.1:8080", b"http://[::1]:1"])
def test_pages_of_this_machine_may(origin):
    """A local playground needs no key."""
    assert Doors({}).admit({b"origin": origin}, Known(), 0.0) is ANYONE

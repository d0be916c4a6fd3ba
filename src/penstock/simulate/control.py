"""The simulator's own paths, ``/_sim/...``: faults, requests, health."""

from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from penstock.simulate.faults import Fault
from penstock.simulate.log import Received
from penstock.simulate.reply import Reply

_encode = msgspec.json.Encoder().encode


class FaultsBody(Struct, forbid_unknown_fields=True):
    """The body of ``POST /_sim/faults``. ``replace`` False adds to those in force."""

    faults: list[Fault]
    replace: bool = True


_decode_faults = msgspec.json.Decoder(FaultsBody).decode


class Controlled(Protocol):
    """What the control paths act on."""

    @property
    def requests(self) -> list[Received]:
        """What was received."""
        ...

    @property
    def faults(self) -> list[Fault]:
        """The faults in force."""
        ...

    def set_faults(self, faults: list[Fault]) -> None:
        """Replace."""
        ...

    def add_faults(self, faults: list[Fault]) -> None:
        """Add."""
        ...

    def forget_requests(self) -> None:
        """Empty the log."""
        ...


def control(method: str, target: str, body: bytes, sim: Controlled) -> Reply:
    """Answer a control request."""
    path, _, query = target.partition("?")
    match method, path:
        case "GET", "/_sim/health":
            return _json(200, {"ok": True, "requests": len(sim.requests)})
        case "GET", "/_sim/requests":
            return _requests(sim, parse_qs(query))
        case "DELETE", "/_sim/requests":
            sim.forget_requests()
            return _json(200, {"ok": True})
        case "GET", "/_sim/faults":
            return _json(200, {"faults": sim.faults})
        case "POST", "/_sim/faults":
            return _set_faults(body, sim)
        case "DELETE", "/_sim/faults":
            sim.set_faults([])
            return _json(200, {"faults": []})
        case _:
            known = "GET health, GET|DELETE requests, GET|POST|DELETE faults"
            return _json(404, {"error": f"No such control path: {method} {path}. There are: {known}."})


def _set_faults(body: bytes, sim: Controlled) -> Reply:
    try:
        asked = _decode_faults(body)
    except msgspec.MsgspecError as error:
        return _json(400, {"error": str(error)})
    if asked.replace:
        sim.set_faults(asked.faults)
    else:
        sim.add_faults(asked.faults)
    return _json(200, {"faults": sim.faults})


def _requests(sim: Controlled, query: dict[str, list[str]]) -> Reply:
    rows = sim.requests
    if "provider" in query:
        rows = [row for row in rows if row.provider == query["provider"][0]]
    limit = query.get("limit", [""])[0]
    if limit.isdigit():
        rows = rows[len(rows) - min(len(rows), int(limit)) :]
    return _json(200, {"requests": [row.public() for row in rows]})


def _json(status: int, value: Any) -> Reply:
    return Reply(status, [(b"content-type", b"application/json")], _encode(value))

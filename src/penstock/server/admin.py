"""``/admin/keys``, ``teams``, ``organisations``, ``budgets`` and ``audit``: what the admin key may change at run time.

Rules
- A change is answered when it is stored and in force in this process; other workers and nodes follow within a second.
- A key is shown in the answer that made it, and never again.
- Whoever holds the admin key may say who he is (``x-penstock-operator``): it is recorded as his own word.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import BadRequest
from penstock.config.fault import Fault, shown
from penstock.config.shape import nearest
from penstock.registry.changes import DEFAULT_GRACE_S, Ask, BadFields
from penstock.registry.desk import DEFAULT_AUDIT, MAX_AUDIT, the_one
from penstock.registry.objects import SORTS, Kind

PATHS: dict[str, Kind] = {"keys": "key", "teams": "team", "organisations": "organisation"}
OPERATOR_HEADER = b"x-penstock-operator"
MAX_WHO_CHARS = 100
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_encode = msgspec.json.Encoder().encode
Guard = Callable[[Request], None]


class Office(Protocol):
    """Where changes are made (wiring.administration)."""

    async def ask(self, ask: Ask, who: str) -> dict[str, Any]:
        """Decide, store, put in force; the object as it is then."""
        ...

    async def objects(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind."""
        ...

    async def budgets(self) -> list[dict[str, Any]]:
        """Every budget in force."""
        ...

    async def audit(
        self, *, limit: int, before: int | None, kind: str | None, name: str | None
    ) -> list[dict[str, Any]]:
        """The record of changes, newest first."""
        ...


def admin_routes(office: Office, guard: Guard) -> list[Route]:
    """All of them. ``guard`` raises where the admin key is missing."""
    pages = _Admin(office, guard)
    routes = [
        Route("/admin/budgets", pages.budgets),
        Route("/admin/budgets/{kind}/{name}", pages.set_budget, methods=["PUT"]),
        Route("/admin/budgets/{kind}/{name}/{budget}", pages.remove_budget, methods=["DELETE"]),
        Route("/admin/audit", pages.audit),
        Route("/admin/keys/{name}/rotate", pages.rotate, methods=["POST"]),
    ]
    for path in PATHS:
        routes += [
            Route(f"/admin/{path}", pages.objects),
            Route(f"/admin/{path}", pages.create, methods=["POST"]),
            Route(f"/admin/{path}/{{name}}", pages.object),
            Route(f"/admin/{path}/{{name}}", pages.change, methods=["PATCH"]),
            Route(f"/admin/{path}/{{name}}", pages.remove, methods=["DELETE"]),
        ]
    return routes


def who_asks(request: Request) -> str:
    """For the record: that it was the admin key, and who says to hold it."""
    told = next((value for name, value in request.scope["headers"] if name == OPERATOR_HEADER), b"")
    name = "".join(mark for mark in told.decode("utf-8", "replace") if mark.isprintable()).strip()
    return f"{name[:MAX_WHO_CHARS]} (admin key)" if name else "admin key"


class _Admin:
    def __init__(self, office: Office, guard: Guard) -> None:
        self._office = office
        self._guard = guard

    async def objects(self, request: Request) -> Response:
        """All of a kind: the configuration's, and those made at run time."""
        self._guard(request)
        return _json({"object": "list", "data": await self._office.objects(_kind_of(request))})

    async def object(self, request: Request) -> Response:
        """One of them."""
        self._guard(request)
        kind = _kind_of(request)
        return _json(the_one(kind, request.path_params["name"], await self._office.objects(kind)))

    async def create(self, request: Request) -> Response:
        """A new one; of a key, the key itself."""
        self._guard(request)
        fields = await _body(request)
        ask = Ask(verb="create", kind=_kind_of(request), name=fields.pop("name", ""), fields=fields)
        return _json(await self._office.ask(ask, who_asks(request)), 201)

    async def change(self, request: Request) -> Response:
        """Some fields; null sets one to its default."""
        self._guard(request)
        ask = Ask(
            verb="change",
            kind=_kind_of(request),
            name=request.path_params["name"],
            fields=await _body(request),
        )
        return _json(await self._office.ask(ask, who_asks(request)))

    async def remove(self, request: Request) -> Response:
        """At once: a key is refused from now on."""
        self._guard(request)
        ask = Ask(verb="remove", kind=_kind_of(request), name=request.path_params["name"])
        return _json(await self._office.ask(ask, who_asks(request)))

    async def rotate(self, request: Request) -> Response:
        """A new key; the old one is taken until its grace period ends."""
        self._guard(request)
        fields = await _body(request)
        grace_s = fields.pop("grace_s", DEFAULT_GRACE_S)
        faults = [
            Fault(f"$.{name}", f"There is no field {shown(name)}.", "Known fields: grace_s.")
            for name in fields
        ]
        if type(grace_s) is not int:
            faults.append(Fault("$.grace_s", "Expected a whole number.", "Write seconds, 86400 for a day."))
        if faults:
            raise BadFields(faults)
        ask = Ask(verb="rotate", kind="key", name=request.path_params["name"], grace_s=grace_s)
        return _json(await self._office.ask(ask, who_asks(request)))

    async def budgets(self, request: Request) -> Response:
        """Every budget in force, with whose it is."""
        self._guard(request)
        return _json({"object": "list", "data": await self._office.budgets()})

    async def set_budget(self, request: Request) -> Response:
        """Add one, or replace the one of the same name."""
        self._guard(request)
        ask = Ask(
            verb="set_budget",
            kind=_kind_asked(request),
            name=request.path_params["name"],
            fields=await _body(request),
        )
        return _json(await self._office.ask(ask, who_asks(request)))

    async def remove_budget(self, request: Request) -> Response:
        """By its name, which is its period where it has none of its own."""
        self._guard(request)
        ask = Ask(
            verb="remove_budget",
            kind=_kind_asked(request),
            name=request.path_params["name"],
            budget=request.path_params["budget"],
        )
        return _json(await self._office.ask(ask, who_asks(request)))

    async def audit(self, request: Request) -> Response:
        """The record of changes, newest first."""
        self._guard(request)
        asked = request.query_params
        kind = asked.get("kind")
        rows = await self._office.audit(
            limit=_number(asked.get("limit"), "limit", DEFAULT_AUDIT, MAX_AUDIT),
            before=_number(asked["before"], "before", 0, 2**53) if "before" in asked else None,
            kind=kind,
            name=asked.get("name"),
        )
        return _json({"object": "list", "data": rows})


def _json(value: Any, status: int = 200) -> Response:
    # A key may be in it: nobody on the way shall keep it.
    headers = {"cache-control": "no-store"}
    return Response(_encode(value), status_code=status, media_type="application/json", headers=headers)


def _kind_of(request: Request) -> Kind:
    return PATHS[request.url.path.split("/")[2]]


def _kind_asked(request: Request) -> Kind:
    kind = request.path_params["kind"]
    if kind not in SORTS:
        close = nearest(kind, list(SORTS))
        meant = f"Did you mean {close!r}?" if close else f"Write one of: {', '.join(SORTS)}."
        raise BadRequest(f"{shown(kind)} has no budgets.", param="kind", hint=meant)
    return kind


def _number(text: str | None, name: str, default: int, most: int) -> int:
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadRequest(
            f"The query parameter {name} is no number from 1 to {most}.", param=name, hint="Write digits."
        )
    return int(text)


async def _body(request: Request) -> dict[str, Any]:
    """A JSON object; no body is one without fields."""
    raw = await request.body()
    if not raw.strip():
        return {}
    try:
        document = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        said = str(error) if isinstance(error, msgspec.DecodeError) else "nested too deep"
        raise BadRequest(
            f"The body is not JSON: {said}.", hint='Send the fields as a JSON object: {"name": "research"}.'
        ) from error
    if not isinstance(document, dict):
        raise BadRequest("The body is no JSON object.", hint='Send the fields: {"name": "research"}.')
    return cast("dict[str, Any]", document)

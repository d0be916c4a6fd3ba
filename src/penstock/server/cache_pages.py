"""``/admin/cache``: what the cache holds and saves, audits and verdicts, purges, filling; for the admin key.

Rules
- A verdict and a purge have happened in this process when they are answered; other processes and nodes follow within a second.
- Filling takes a virtual key's road: what it may not ask, it may not fill, and what is asked it pays.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_args

import msgspec
from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import BadRequest, NotFound, PenstockError
from penstock.base.events import Event, Finished, Started, Stopped, TextDelta, UsageSeen
from penstock.cache.answer import GivenUsage
from penstock.cache.audits import State, Verdict
from penstock.gateway.caching.office import CacheOffice, Filling, Purge, cache_off
from penstock.gateway.ports import Inbound, Known
from penstock.gateway.principal import Principal
from penstock.server.admin import Guard, who_asks
from penstock.server.app import App
from penstock.server.inner import Inner, holder, serve_inside
from penstock.server.routes import route

MAX_AUDITS = 500
MAX_DAYS = 35
"""Hits are kept so long (cache.audit_file)."""
MAX_CALLS = 100
AT_ONCE = 4
STATES: tuple[State, ...] = get_args(State)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_CHAT = "/v1/chat/completions"
T = TypeVar("T", bound=Struct)
_encode = msgspec.json.Encoder().encode


class Call(Struct, frozen=True, forbid_unknown_fields=True):
    """One request to keep the answer of."""

    request: Raw
    answer: str | None = None
    path: str = _CHAT
    usage: GivenUsage | None = None
    """What the answer took."""


class Warm(Struct, frozen=True, forbid_unknown_fields=True):
    """Some of them, for one virtual key."""

    calls: list[Call]
    key: str = ""
    namespace: str | None = None


class Judged(Struct, frozen=True, forbid_unknown_fields=True):
    """A verdict."""

    verdict: Verdict


def cache_routes(app: App, guard: Guard) -> list[Route]:
    """All of them; ``guard`` raises where the admin key is missing. ``app.cache`` None: no cache is configured."""
    pages = _CachePages(app, guard)
    return [
        Route("/admin/cache/stats", pages.stats),
        Route("/admin/cache/report", pages.report),
        Route("/admin/cache/audits", pages.audits),
        Route("/admin/cache/audits/{id}", pages.audit),
        Route("/admin/cache/audits/{id}", pages.verdict, methods=["POST"]),
        Route("/admin/cache/purge", pages.purge, methods=["POST"]),
        Route("/admin/cache/warm", pages.warm, methods=["POST"]),
    ]


class _CachePages:
    def __init__(self, app: App, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def stats(self, request: Request) -> Response:
        """Stores, look-ups, money, classes, audits."""
        return _json(await self._office(request).stats())

    async def report(self, request: Request) -> Response:
        """Hit rate, and wrong answers among hits, of some days."""
        office = self._office(request)
        return _json(await office.report(_number(request, "days", 7, MAX_DAYS)))

    async def audits(self, request: Request) -> Response:
        """Newest first; ``before`` goes on from the number of the last one."""
        office, asked = self._office(request), request.query_params
        state = asked.get("state", "open")
        if state != "all" and state not in STATES:
            raise BadRequest(
                "The query parameter state is none of these.",
                param="state",
                hint=f"Write {', '.join(STATES)} or all.",
            )
        rows = await office.audits(
            state=None if state == "all" else state,
            klass=asked.get("class"),
            before=_number(request, "before", 0, 2**53) if "before" in asked else None,
            limit=_number(request, "limit", 50, MAX_AUDITS),
        )
        return _json({"object": "list", "data": rows})

    async def audit(self, request: Request) -> Response:
        """One of them, and to whom its entry was served."""
        return _json(await self._office(request).audit(request.path_params["id"]))

    async def verdict(self, request: Request) -> Response:
        """right or wrong."""
        office = self._office(request)
        told = await _body(request, Judged, '{"verdict": "wrong"}')
        return _json(await office.verdict(request.path_params["id"], told.verdict, who_asks(request)))

    async def purge(self, request: Request) -> Response:
        """Drop what is named."""
        office = self._office(request)
        count = await office.purge(await _body(request, Purge, '{"tenant": "website"}'))
        return _json({"object": "cache.purge", "purged": count})

    async def warm(self, request: Request) -> Response:
        """Keep answers, given or fetched; each call is answered for itself, in order."""
        office = self._office(request)
        told = await _body(request, Warm, '{"calls": [{"request": {...}, "answer": "..."}]}')
        if not 1 <= len(told.calls) <= MAX_CALLS:
            raise BadRequest(f"calls has none, or more than {MAX_CALLS}.", param="calls", hint="Send fewer.")
        if not told.key and self._app.house.doors.named("") is None:
            raise BadRequest(
                "It is not said whose cache is filled, and this gateway has virtual keys.",
                param="key",
                hint="Name the virtual key (--key).",
            )
        principal = holder(self._app, told.key)
        places = asyncio.Semaphore(AT_ONCE)

        async def one(call: Call) -> dict[str, Any]:
            async with places:
                try:
                    return await self._warm(office.fill, call, told, principal)
                except PenstockError as error:
                    return {"status": error.status, "entry": None, "error": error.public()}

        return _json({"object": "list", "data": await asyncio.gather(*(one(call) for call in told.calls))})

    async def _warm(
        self, fill: Filling | None, call: Call, told: Warm, principal: Principal
    ) -> dict[str, Any]:
        headers = {b"content-type": b"application/json"}
        if told.namespace is not None:
            headers[b"x-penstock-cache-namespace"] = told.namespace.encode()
        path, body = call.path.encode("latin-1", "replace"), bytes(call.request)
        if call.answer is None:
            asked = Inner(path, b"", {**headers, b"x-penstock-cache": b"refresh"}, body, told.key)
            got = await serve_inside(self._app, asked)
            if got.error is not None or got.status != 200:
                why = "The call failed." if got.error is None else got.error.public()
                return {"status": got.status, "entry": None, "error": why}
            return {"status": 200, "entry": got.headers.get("x-penstock-cache-entry"), "error": None}
        if fill is None:
            raise cache_off("Nothing can be filled in here.")
        caller = route(path, b"", headers)
        if caller is None:
            raise NotFound(f"{call.path} calls no model.")
        inbound = Inbound(caller, headers, body, 0.0, Known())
        return {
            "status": 200,
            "entry": await fill(inbound, principal, given(call.answer, call.usage), told.namespace),
            "error": None,
        }

    def _office(self, request: Request) -> CacheOffice:
        self._guard(request)
        office = self._app.cache
        if office is None:
            raise cache_off("This gateway keeps no answers.")
        return office


def given(answer: str, usage: GivenUsage | None = None) -> tuple[Event, ...]:
    """An answer that somebody has written, as if a model had."""
    seen = () if usage is None else (UsageSeen(usage.usage),)
    return (Started(), TextDelta(answer), Stopped("stop"), *seen, Finished())


def _json(value: Any) -> Response:
    # Prompts and answers are in it: nobody on the way shall keep it.
    return Response(_encode(value), media_type="application/json", headers={"cache-control": "no-store"})


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = cast("Mapping[str, str]", request.query_params).get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and 1 <= int(text) <= most):
        raise BadRequest(
            f"The query parameter {name} is no number from 1 to {most}.", param=name, hint="Write digits."
        )
    return int(text)


async def _body(request: Request, shape: type[T], example: str) -> T:
    raw = await request.body()
    try:
        return msgspec.json.decode(raw or b"{}", type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        said = str(error) if isinstance(error, msgspec.DecodeError) else "nested too deep"
        raise BadRequest(f"The body cannot be used: {said}.", hint=f"Send {example}") from error

"""Everything off the hot path, as one ASGI app: models, generation, own costs, health, readiness, metrics, admin."""

import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.decisions import Rejected
from penstock.base.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    OurFault,
    PenstockError,
    Unauthenticated,
)
from penstock.dialects import CALLERS
from penstock.gateway.heads import also_named
from penstock.gateway.house import House
from penstock.gateway.ports import CREDENTIALS, Known
from penstock.gateway.principal import Principal
from penstock.ledger.generation import generation
from penstock.observe.metrics import Metrics, Snapshot
from penstock.registry.changes import BadFields
from penstock.routing.allow import allowed
from penstock.routing.plan import may_use
from penstock.server.admin import Office, admin_routes, who_asks
from penstock.server.anthropic_pages import AnthropicPages, described, listed
from penstock.server.app import App
from penstock.server.astray import lies_outside, no_path
from penstock.server.cache_pages import cache_routes
from penstock.server.gemini_pages import GeminiPages, is_gemini
from penstock.server.images_pages import ImagesPages
from penstock.server.left import LaterDesk
from penstock.server.openrouter_pages import PREFIX as OPENROUTER
from penstock.server.openrouter_pages import openrouter_routes
from penstock.server.postings import BadEntries, post
from penstock.server.render_costs import RenderCosts
from penstock.server.respond import patience, status_of
from penstock.server.responses_pages import ResponsesPages
from penstock.server.routes import caller_of
from penstock.wire.ports import CallerDialect

PREFIXES = ("/v1", "/openai/v1", "/api/v1", "/anthropic/v1", "/openai", "")
Reload = Callable[[str], Awaitable[Sequence[str]]]
"""Takes who asked for it."""
_encode = msgspec.json.Encoder().encode
_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


def build_pages(
    app: App,
    reload: Reload,
    admin_key: str | None,
    ledger: str,
    office: Office,
    later: LaterDesk | None = None,
) -> Starlette:
    """All pages. ``reload`` builds and swaps the configuration and returns its faults, one line each.

    ``ledger``: its place, which may hold a password.
    """
    pages = _Pages(app, reload, admin_key, ledger)
    routes = [*openrouter_routes(app, ledger), *pages.gemini.routes()]
    plain = [prefix for prefix in PREFIXES if prefix != OPENROUTER]
    routes += [Route(f"{prefix}/models", pages.models) for prefix in plain]
    routes += [Route(f"{prefix}/models/{{model:path}}", pages.model) for prefix in plain]
    routes += [Route(f"{prefix}/generation", pages.generation) for prefix in PREFIXES]
    routes += [
        Route(f"{prefix}/ledger/entries", pages.ledger_entries, methods=["POST"]) for prefix in PREFIXES
    ]
    routes += AnthropicPages(lambda: app.house, pages.spender).routes()
    routes += [
        Route("/health", pages.health),
        Route("/ready", pages.ready),
        Route("/metrics", pages.metrics),
    ]
    if later is not None:
        routes += later.routes(pages.spender)
    routes += ImagesPages(lambda: app.house).routes()
    routes += ResponsesPages(lambda: app.house, pages.principal, pages.spender).routes()
    if admin_key is not None:
        routes += [
            Route("/admin/reload", pages.reload, methods=["POST"]),
            Route("/admin/health", pages.target_health),
            *admin_routes(office, pages.guard),
            *cache_routes(app, pages.guard),
        ]
    return Starlette(
        routes=routes,
        exception_handlers={PenstockError: _refused, HTTPException: _starlette_refused, Exception: _failed},
    )


def shape_of(request: Request) -> CallerDialect:
    """Whose shape the caller reads: its path says it, and of the paths that vendors share, its headers."""
    if is_anthropic(request):
        return CALLERS["anthropic"]
    return CALLERS["gemini"] if is_gemini(request) else caller_of(request.scope["raw_path"])


def is_anthropic(request: Request) -> bool:
    """It comes from a client of Anthropic's, whichever path it asks."""
    return "anthropic-version" in request.headers or request.url.path.startswith("/anthropic/")


def _json(value: Any, status: int = 200) -> Response:
    return Response(_encode(value), status_code=status, media_type="application/json")


def _error(request: Request, error: PenstockError) -> Response:
    request_id = request.scope.get("penstock.request_id", "")
    caller = shape_of(request)
    body = caller.write_error(error, request_id)
    if isinstance(error, BadEntries | BadFields):
        body = _encode({**msgspec.json.decode(body), "faults": error.faults})
    answer = Response(body, status_code=status_of(error, caller), media_type="application/json")
    for name, value in [*patience(error), *also_named(caller.name, request_id)]:
        answer.headers[name.decode()] = value.decode()
    return answer


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, PenstockError):
        raise error
    return _error(request, error)


async def _failed(request: Request, _error_of_ours: Exception) -> Response:
    """In the caller's shape; Starlette raises it again, and the app writes it into the log."""
    request_id = request.scope.get("penstock.request_id", "")
    return _error(
        request,
        OurFault(
            "The gateway failed to serve this request.",
            hint=f"Tell its operator the request id {request_id}.",
        ),
    )


async def _starlette_refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    astray = lies_outside(request.url.path)
    if error.status_code == 405 and (request.method == "OPTIONS" or not astray):
        allow = (error.headers or {}).get("Allow", "GET")
        if request.method == "OPTIONS":
            # No CORS: a web page must not spend what a gateway on its visitor's machine may spend.
            return Response(b"", headers={"allow": f"{allow}, OPTIONS"})
        refused = _error(request, MethodNotAllowed(f"{request.url.path} does not take {request.method}."))
        refused.headers["allow"] = allow
        return refused
    return _error(request, no_path(request.url.path))


def _callable_names(house: House, principal: Principal) -> Callable[[str], bool]:
    """Whether this key may call a listed name: routes and aliases by what stands behind them (behaviour 33)."""
    config, patterns = house.config, principal.patterns
    indirect = {route.id for route in (*config.routes, *config.mcp)}
    indirect |= {
        f"{name}/{alias}" for name, provider in config.providers.items() for alias in provider.models
    }

    def may_call(name: str) -> bool:
        if name not in indirect:
            return allowed(name, patterns)
        chain = house.names.chain(name)
        return not isinstance(chain, Rejected) and any(
            may_use(target.name, chain.route, patterns) for target in chain.targets
        )

    return may_call


class _Pages:
    def __init__(self, app: App, reload: Reload, admin_key: str | None, ledger: str) -> None:
        self._app = app
        self._reload = reload
        self._admin_key = admin_key
        self._ledger = ledger
        self._render_costs = RenderCosts()
        self.gemini = GeminiPages(lambda: app.house, self.spender, self.names)

    def principal(self, request: Request, heard: frozenset[bytes] = CREDENTIALS) -> Principal:
        """Whose key the request presents."""
        house = self._app.house
        told = {name: value for name, value in reversed(request.scope["headers"]) if name in heard}
        return house.doors.admit(told, Known(), house.clock.unix_s())

    def spender(self, request: Request) -> Principal:
        """The same, where something is spent, or written to the ledger: not for web pages from elsewhere, where no key is needed."""
        return self.principal(request, CREDENTIALS | {b"origin"})

    def guard(self, request: Request) -> None:
        """Raises Unauthenticated or Forbidden without the admin key."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        given = given or request.headers.get("x-api-key", "")
        if not given:
            raise Unauthenticated(
                "The admin key is missing.", hint="Send it as 'Authorization: Bearer <key>'."
            )
        if self._admin_key is None or not hmac.compare_digest(given.encode(), self._admin_key.encode()):
            raise Forbidden("This is not the admin key.")

    def names(self, principal: Principal) -> list[str]:
        """What this key may call."""
        may_call = _callable_names(self._app.house, principal)
        return [row["id"] for row in self._app.house.models if may_call(row["id"])]

    async def models(self, request: Request) -> Response:
        """What this key may call: routes first, then every known model of the configured providers."""
        if is_gemini(request):
            return await self.gemini.models(request)
        principal = self.principal(request)
        may_call = _callable_names(self._app.house, principal)
        rows = [row for row in self._app.house.models if may_call(row["id"])]
        if is_anthropic(request):
            return _json(listed(request, self._app.house, [row["id"] for row in rows]))
        return _json({"object": "list", "data": rows})

    async def model(self, request: Request) -> Response:
        """One model, by its name."""
        if is_gemini(request):
            return await self.gemini.model(request)
        principal = self.principal(request)
        name = request.path_params["model"]
        may_call = _callable_names(self._app.house, principal)
        for row in self._app.house.models:
            if row["id"] == name and may_call(name):
                return _json(described(self._app.house, name) if is_anthropic(request) else row)
        raise NotFound(f"There is no model {name!r} for this key.", code="model_not_found", param="model")

    async def generation(self, request: Request) -> Response:
        """One call's record, for the key that made it."""
        principal = self.principal(request)
        wanted = request.query_params.get("id", "")
        if not wanted:
            raise BadRequest(
                "The query parameter id is missing.", param="id", hint="Send ?id=<x-request-id>."
            )
        record = await self._app.house.books.look_up(wanted, virtual_key=principal.name)
        if record is None and self._app.others is not None:
            # Another worker may have served it, and not have written it yet: each writes what it has, and then answers.
            await self._app.others.gather("write")
            record = await self._app.house.books.look_up(wanted, virtual_key=principal.name)
        if record is None:
            raise NotFound(f"There is no generation {wanted!r} of this key.", param="id")
        return _json(generation(record))

    async def ledger_entries(self, request: Request) -> Response:
        """Costs from outside the gateway, for the presented key; answered when they are stored."""
        principal = self.spender(request)
        return _json(await post(self._app.house, await request.body(), principal))

    async def health(self, _request: Request) -> Response:
        """The process lives."""
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Calls can be served and recorded; else 503 with the reason."""
        app, journal = self._app, self._app.house.journal
        if app.draining:
            return _error(request, OurFault("Shutting down.", code="draining", status=503))
        if journal.fault is not None:
            return _error(request, OurFault(journal.fault, code="ledger_fault", status=503))
        if app.others is not None and not app.others.complete:
            return _error(request, OurFault("Workers are starting.", code="workers_starting", status=503))
        return _json({"status": "ready", "config": app.house.version})

    async def metrics(self, _request: Request) -> Response:
        """Prometheus text; of all workers together, whichever is asked."""
        house = self._app.house
        house.books.flush()
        self._app.take_gauges()
        if house.watcher is not None:
            await house.watcher.refresh()
        await self._render_costs.refresh(house.metrics, self._ledger, house.config)
        metrics = house.metrics
        if self._app.others is not None:
            all_of_them = Metrics()
            all_of_them.absorb(metrics.snapshot())
            for words in await self._app.others.gather("metrics"):
                all_of_them.absorb(_snapshot(words))
            metrics = all_of_them
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def reload(self, request: Request) -> Response:
        """Build the configuration anew and swap; a faulty one leaves the running one and says why."""
        self.guard(request)
        faults = await self._reload(who_asks(request))
        if faults:
            raise BadRequest(
                "The new configuration has faults; the running one stays. " + " | ".join(faults),
                code="config_faults",
            )
        return _json({"status": "reloaded", "config": self._app.house.version})

    async def target_health(self, request: Request) -> Response:
        """Breakers and key cool-downs as they stand."""
        self.guard(request)
        return _json(self._app.house.condition(time.monotonic()))

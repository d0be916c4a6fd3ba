"""OpenRouter's pages below /api/v1: models and their endpoints, the key, credits, providers.

Sources: OpenRouter's openapi.yaml and SDK 1.3.84, 2026-11 (wire.md 1.8).

Rules
- A key sees what it may call, and no other endpoint's name or figures.
- Latency, throughput and uptime are this process's own measurements; null where there are none.
- ``/credits`` shows the nearest budget above the key; without one there is nothing to show, and the reply says so.
- A filter or an order that needs facts which nobody has here is refused, not ignored.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import BadRequest, Forbidden, NotFound
from penstock.base.models import Target
from penstock.base.money import usd_text
from penstock.gateway.house import House
from penstock.gateway.listing import Offered
from penstock.gateway.ports import CREDENTIALS, Known
from penstock.gateway.principal import Principal
from penstock.gateway.purse import Purse
from penstock.ledger.budgets import Account
from penstock.ledger.opening import open_ledger
from penstock.ledger.periods import window_at
from penstock.ledger.spent import spent_since
from penstock.ledger.tree import key_id
from penstock.routing.allow import may_use
from penstock.routing.ordering import usd_per_million
from penstock.server.openrouter_models import cheapest, endpoint, model, parameters

PREFIX = "/api/v1"
DEFAULT_LIMIT, MAX_LIMIT = 500, 1000
_RESETS = {"day": "daily", "week": "weekly", "month": "monthly"}
_PERIODS = ("day", "week", "month")
_UNKNOWN = float("inf")
_encode = msgspec.json.Encoder().encode
Row = tuple[Offered, tuple[Target, ...]]


class HouseNow(Protocol):
    """Where the house in force is found: a reload swaps it (server.app.App)."""

    house: House


def openrouter_routes(now: HouseNow, ledger: str) -> list[Route]:
    """All pages. ``now.house`` is the house in force; ``ledger`` is the ledger's place."""
    pages = _Pages(now, ledger)
    return [
        Route(f"{PREFIX}/models", pages.models),
        Route(f"{PREFIX}/models/user", pages.models),
        Route(f"{PREFIX}/models/count", pages.count),
        Route(f"{PREFIX}/models/{{author}}/{{slug}}/endpoints", pages.endpoints),
        Route(f"{PREFIX}/models/{{model:path}}", pages.model),
        Route(f"{PREFIX}/model/{{model:path}}", pages.model_data),
        Route(f"{PREFIX}/endpoints/zdr", pages.zdr),
        Route(f"{PREFIX}/providers", pages.providers),
        Route(f"{PREFIX}/key", pages.key),
        Route(f"{PREFIX}/auth/key", pages.key),
        Route(f"{PREFIX}/credits", pages.credits),
    ]


def _json(value: Any) -> Response:
    return Response(_encode(value), media_type="application/json")


class _Pages:
    def __init__(self, now: HouseNow, ledger: str) -> None:
        self._now = now
        self._ledger = ledger

    @property
    def _house(self) -> House:
        return self._now.house

    def _principal(self, request: Request) -> Principal:
        told = {name: value for name, value in reversed(request.scope["headers"]) if name in CREDENTIALS}
        return self._house.doors.admit(told, Known(), self._house.clock.unix_s())

    async def _rows(self, request: Request) -> list[Row]:
        """Every model that this key may call, with the endpoints that it may."""
        principal, house = self._principal(request), self._house
        offered = await asyncio.to_thread(house.listing.all)
        return [row for one in offered if (row := _usable(one, principal)) is not None]

    async def models(self, request: Request) -> Response:
        """One page of the list."""
        rows = chosen(await self._rows(request), request, self._house)
        offset, limit = _number(request, "offset", 0), _number(request, "limit", DEFAULT_LIMIT)
        limit = min(max(limit, 1), MAX_LIMIT)
        shown = rows[offset : offset + limit]
        more = len(rows) > offset + limit
        return _json(
            {
                "data": [model(one, targets) for one, targets in shown],
                "total_count": len(rows),
                "links": {"next": f"{PREFIX}/models?offset={offset + limit}&limit={limit}" if more else None},
            }
        )

    async def count(self, request: Request) -> Response:
        """How many there are."""
        return _json({"data": {"count": len(chosen(await self._rows(request), request, self._house))}})

    async def _one(self, request: Request, name: str) -> Row:
        principal = self._principal(request)
        found = await asyncio.to_thread(self._house.listing.one, name)
        row = None if found is None else _usable(found, principal)
        if row is None:
            raise NotFound(f"There is no model {name!r} for this key.", code="model_not_found", param="model")
        return row

    async def model(self, request: Request) -> Response:
        """One model, by any spelling of its name."""
        return _json(model(*await self._one(request, request.path_params["model"])))

    async def model_data(self, request: Request) -> Response:
        """The same as ``{"data": ...}``."""
        return _json({"data": model(*await self._one(request, request.path_params["model"]))})

    async def endpoints(self, request: Request) -> Response:
        """Who serves a model, and how well."""
        name = f"{request.path_params['author']}/{request.path_params['slug']}"
        offered, targets = await self._one(request, name)
        house, now_s = self._house, time.monotonic()
        row = model(offered, targets)
        shown = [endpoint(one, offered.slug, house.observed, house.health, now_s) for one in targets]
        known = {word: row[word] for word in ("id", "name", "created", "description", "architecture")}
        return _json({"data": {**known, "endpoints": shown}})

    async def zdr(self, request: Request) -> Response:
        """Endpoints that are known to keep nothing."""
        house, now_s = self._house, time.monotonic()
        rows = await self._rows(request)
        found = {
            target.name: endpoint(target, offered.slug, house.observed, house.health, now_s)
            for offered, targets in rows
            for target in targets
            if target.offer.zdr is True
        }
        return _json({"data": list(found.values())})

    async def providers(self, request: Request) -> Response:
        """The configured providers."""
        self._principal(request)
        return _json(
            {
                "data": [
                    {
                        "name": name,
                        "slug": name,
                        "privacy_policy_url": None,
                        "terms_of_service_url": None,
                        "status_page_url": None,
                    }
                    for name in self._house.providers
                ]
            }
        )

    async def key(self, request: Request) -> Response:
        """The presented key: what it has spent, and what it may."""
        principal, unix_s = self._principal(request), self._house.clock.unix_s()
        self._house.books.flush()
        await asyncio.to_thread(self._house.journal.flush, 1.0)
        utc = ZoneInfo("UTC")
        since = [0, *(int(window_at(period, utc, unix_s).start_s * 1000) for period in _PERIODS)]
        spent = await asyncio.to_thread(self._spent, principal.name, since)
        purse = _purse(principal)
        own = (
            None
            if purse is None
            else next((one for one in purse.path.accounts if one.node == key_id(principal.name)), None)
        )
        left = None if own is None or purse is None else _left_nusd(purse, own, unix_s)
        expires = principal.expires_unix_s
        return _json(
            {
                "data": {
                    "label": principal.name or "open",
                    "limit": None if own is None else _usd(own.spec.limit_nusd),
                    "limit_remaining": None if left is None else _usd(max(0, left)),
                    "limit_reset": None if own is None else _RESETS[own.spec.period],
                    "usage": _usd(spent[0]),
                    "usage_daily": _usd(spent[1]),
                    "usage_weekly": _usd(spent[2]),
                    "usage_monthly": _usd(spent[3]),
                    **_no_own_keys(),
                    "budgets": []
                    if purse is None
                    else [_budget(purse, one, unix_s) for one in purse.path.accounts],
                    "effective_budget": _tightest(purse, unix_s),
                    "expires_at": None
                    if expires is None
                    else datetime.fromtimestamp(expires, UTC).isoformat(),
                    "organization_id": principal.organisation or None,
                }
            }
        )

    async def credits(self, request: Request) -> Response:
        """The nearest budget: the key's own, else its team's or its organisation's."""
        principal = self._principal(request)
        purse = _purse(principal)
        if purse is None or not purse.path.accounts:
            raise Forbidden(
                "Neither this key nor its organisation has a budget: there are no credits to show.",
                code="no_budget",
                hint="What the key has spent is at /api/v1/key.",
            )
        account = purse.path.accounts[0]
        unix_s = self._house.clock.unix_s()
        used = account.spec.limit_nusd - _left_nusd(purse, account, unix_s)
        return _json(
            {"data": {"total_credits": _usd(account.spec.limit_nusd), "total_usage": _usd(max(0, used))}}
        )

    def _spent(self, name: str, since_ms: Sequence[int]) -> list[int]:
        """What calls of this key have cost since each moment. For another thread."""
        with closing(open_ledger(self._ledger)) as connection:
            return [spent_since(connection, "virtual_key", name, at_ms).calls_nusd for at_ms in since_ms]


# ------------------------------------------------------------------ what a key may see


def _usable(offered: Offered, principal: Principal) -> Row | None:
    targets = tuple(
        target for target in offered.targets if may_use(target.name, offered.route, principal.patterns)
    )
    return (offered, targets) if targets else None


def chosen(rows: list[Row], request: Request, house: House) -> list[Row]:
    """The rows that the query's filters leave, in the order that it asks for."""
    query = request.query_params
    for name, keep in _FILTERS.items():
        wanted = query.get(name)
        if wanted:
            rows = [row for row in rows if keep(row, wanted)]
    by = query.get("sort")
    if by:
        if by not in _SORTS:
            raise BadRequest(
                f"Models cannot be sorted by {by[:60]!r} here.",
                param="sort",
                hint=f"Send one of {', '.join(_SORTS)}.",
            )
        now_s = time.monotonic()
        rows = sorted(rows, key=lambda row: _SORTS[by](row, house, now_s))
    return rows


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}


def _facts(row: Row) -> Any:
    return cheapest(row[1]).facts


def _usd_limit(row: Row, wanted: str, name: str, *, most: bool) -> bool:
    try:
        bound = float(wanted)
    except ValueError:
        raise BadRequest(f"The query parameter {name} is no number.", param=name) from None
    price = usd_per_million(cheapest(row[1]))
    return price is not None and (price <= bound if most else price >= bound)


def _whole(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"The query parameter {name} is no whole number.", param=name)
    return int(text)


_FILTERS: dict[str, Callable[[Row, str], bool]] = {
    "supported_parameters": lambda row, text: _words(text) <= set(parameters(_facts(row))),
    "output_modalities": lambda row, text: text == "all" or bool(_words(text) & _facts(row).modalities_out),
    "input_modalities": lambda row, text: _words(text) <= _facts(row).modalities_in,
    "q": lambda row, text: text.lower() in row[0].slug.lower(),
    "context": lambda row, text: (_facts(row).context_tokens or 0) >= _whole(text, "context"),
    "max_price": lambda row, text: _usd_limit(row, text, "max_price", most=True),
    "min_price": lambda row, text: _usd_limit(row, text, "min_price", most=False),
    "model_authors": lambda row, text: row[0].slug.partition("/")[0] in _words(text),
    "providers": lambda row, text: bool(_words(text) & {target.provider for target in row[1]}),
    "zdr": lambda row, _text: any(target.offer.zdr is True for target in row[1]),
    "distillable": lambda row, text: any(target.offer.distillable is (text == "true") for target in row[1]),
}


def _price_rank(row: Row, sign: int) -> float:
    price = usd_per_million(cheapest(row[1]))
    return _UNKNOWN if price is None else sign * price


def _throughput(row: Row, house: House, now_s: float) -> float:
    found = [seen.p50 for one in row[1] if (seen := house.observed.throughput(one.name, now_s)) is not None]
    return -max(found) if found else _UNKNOWN


def _latency(row: Row, house: House, now_s: float) -> float:
    found = [seen.p50 for one in row[1] if (seen := house.observed.latency_s(one.name, now_s)) is not None]
    return min(found) if found else _UNKNOWN


_SORTS: dict[str, Callable[[Row, House, float], float]] = {
    "pricing-low-to-high": lambda row, _house, _now: _price_rank(row, 1),
    "pricing-high-to-low": lambda row, _house, _now: _price_rank(row, -1),
    "context-high-to-low": lambda row, _house, _now: -(_facts(row).context_tokens or 0),
    "throughput-high-to-low": _throughput,
    "latency-low-to-high": _latency,
}


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    return default if not text else _whole(text, name)


# ------------------------------------------------------------------ money


def _purse(principal: Principal) -> Purse | None:
    return None if principal.allowance is None else principal.allowance.purse


def _left_nusd(purse: Purse, account: Account, unix_s: float) -> int:
    """Of this window's limit, as far as this process has heard of the others."""
    return account.spec.limit_nusd - purse.treasury.total_nusd(account.at(unix_s))


def _budget(purse: Purse, account: Account, unix_s: float) -> dict[str, Any]:
    left, limit = _left_nusd(purse, account, unix_s), account.spec.limit_nusd
    return {
        "budget_id": f"{account.node}: {account.spec.name}",
        "guardrail_id": None,
        "include_byok": True,
        "limit_usd": _usd(limit),
        "remaining_usd": _usd(max(0, left)),
        "spend_usd": _usd(limit - left),
        "reset_interval": _RESETS[account.spec.period],
        "resets_at": datetime.fromtimestamp(account.at(unix_s).end_s, UTC).isoformat(),
        "scope": "api_key" if account.node.startswith("key ") else "workspace",
    }


def _tightest(purse: Purse | None, unix_s: float) -> dict[str, Any] | None:
    """The budget that will refuse first."""
    if purse is None or not purse.path.accounts:
        return None
    return _budget(purse, min(purse.path.accounts, key=lambda one: _left_nusd(purse, one, unix_s)), unix_s)


def _no_own_keys() -> dict[str, Any]:
    """What OpenRouter tells beside: keys of one's own at providers, free models, regions. There are none of these here."""
    return {
        "byok_usage": 0,
        "byok_usage_daily": 0,
        "byok_usage_weekly": 0,
        "byok_usage_monthly": 0,
        "include_byok_in_limit": False,
        "is_free_tier": False,
        "is_management_key": False,
        "is_provisioning_key": False,
        "free_model_daily_requests": {"used": 0, "limit": -1, "remaining": -1},
        "allowed_data_regions": ["global"],
        "creator_user_id": None,
        "workspace_id": None,
        "rate_limit": {
            "requests": -1,
            "interval": "10s",
            "note": "Deprecated: see the x-ratelimit headers of replies.",
        },
    }


def _usd(nusd: int) -> msgspec.Raw:
    """Exact decimal dollars, as a JSON number."""
    return msgspec.Raw(usd_text(nusd).encode())

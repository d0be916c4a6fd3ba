"""``/v1/messages/batches``: the same batches in Anthropic's shape, over any provider.

Source: anthropic-python 2.11.0 (resources/messages/batches, types/messages), read 2026-11.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from penstock.base.errors import BadRequest, NotFound
from penstock.objects.names import new_id
from penstock.objects.store import Stored
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_choice import road_view, seen_counts
from penstock.server.batch_leftovers import leftovers_view, remove_now
from penstock.server.batch_lines import MAX_ID_CHARS, Line, packed
from penstock.server.batch_work import KIND
from penstock.server.batches_pages import cancel, of_shape, wish_of
from penstock.server.files_pages import Who, json, within
from penstock.server.inner import cache_words, remembered
from penstock.server.later import Later

MOST_LISTED, LISTED = 1000, 20
WINDOW_MS = 86_400_000
_AT_ONCE = 20
_TOLD = frozenset({b"anthropic-version", b"anthropic-beta", b"x-penstock-user"})
_RUNNING = ("validating", "in_progress", "finalizing")
_ENDED_AT = ("completed_at", "expired_at", "cancelled_at", "failed_at")


class _Request(Struct):
    custom_id: str
    params: Raw


class _Asked(Struct):
    requests: list[_Request]


class _Params(Struct):
    stream: Any = False


_asked = msgspec.json.Decoder(_Asked).decode
_params = msgspec.json.Decoder(_Params).decode


def message_batch_routes(app: App, later: Later, who: Who) -> list[Route]:
    """Below both of Anthropic's prefixes."""
    pages = _Pages(app, later, who)
    found: list[Route] = []
    for prefix in ("", "/anthropic"):
        path = f"{prefix}/v1/messages/batches"
        found += [
            Route(path, pages.listed, methods=["GET"]),
            Route(path, pages.create, methods=["POST"]),
            Route(f"{path}/{{id}}", pages.retrieve, methods=["GET"]),
            Route(f"{path}/{{id}}", pages.delete, methods=["DELETE"]),
            Route(f"{path}/{{id}}/cancel", pages.cancel, methods=["POST"]),
            Route(f"{path}/{{id}}/results", pages.results, methods=["GET"]),
        ]
    return found


def message_batch(stored: Stored, counts: dict[str, int], base: str) -> dict[str, Any]:
    """Anthropic's MessageBatch. ``base``: where the caller reaches us."""
    meta = stored.meta
    status = meta["status"]
    over = status not in (*_RUNNING, "cancelling")
    counts = meta.get("counts") or counts or seen_counts(meta)
    ended_s = next((meta[name] for name in _ENDED_AT if meta.get(name)), None)
    cancelled_s = meta.get("cancelling_at")
    return {
        **road_view(meta),
        "penstock_provider_files": leftovers_view(meta),
        "id": stored.id,
        "type": "message_batch",
        "processing_status": "ended" if over else "canceling" if status == "cancelling" else "in_progress",
        "request_counts": {
            "processing": meta["total"] - sum(counts.values()),
            "succeeded": counts.get("ok", 0),
            "errored": counts.get("error", 0),
            "canceled": counts.get("cancelled", 0),
            "expired": counts.get("expired", 0),
        },
        "created_at": _rfc(stored.created_ms / 1000),
        "expires_at": _rfc(meta["window_ends_ms"] / 1000),
        "ended_at": None if ended_s is None else _rfc(ended_s),
        "cancel_initiated_at": None if cancelled_s is None else _rfc(cancelled_s),
        "archived_at": None,
        "results_url": f"{base}/v1/messages/batches/{stored.id}/results" if over else None,
    }


class _Pages:
    def __init__(self, app: App, later: Later, who: Who) -> None:
        self._app = app
        self._later = later
        self._who = who

    async def create(self, request: Request) -> Response:
        """A new batch of messages."""
        owner, body = self._who(request).name, await request.body()
        most = self._app.house.config.batches.max_lines
        lines = await asyncio.to_thread(_lines, body, most)
        said = dict[bytes, bytes](reversed(request.scope["headers"]))
        told = {name: value for name, value in said.items() if name in _TOLD} | cache_words(said)
        name, now_ms = new_id("msgbatch_"), unix_ms()
        meta = {
            "shape": "anthropic",
            "endpoint": "/v1/messages",
            "window_ends_ms": now_ms + WINDOW_MS,
            "total": len(lines),
            "status": "in_progress",
            "wish": wish_of(said),
            "told": remembered(told),
        }
        text = await asyncio.to_thread(packed, lines)
        await self._app.house.keeper.put(KIND, name, owner, meta=meta, body=text, due_ms=now_ms)
        self._later.kick()
        return json(await self._shown(request, name, owner))

    async def retrieve(self, request: Request) -> Response:
        """How it stands."""
        return json(await self._shown(request, request.path_params["id"], self._who(request).name))

    async def listed(self, request: Request) -> Response:
        """The key's batches, newest first."""
        owner, query = self._who(request).name, request.query_params
        text = query.get("limit", str(LISTED))
        if not within(text) or not 1 <= int(text) <= MOST_LISTED:
            raise BadRequest(f"The limit {text!r} is not between 1 and {MOST_LISTED}.", param="limit")
        if query.get("before_id"):
            raise BadRequest("Batches are listed forwards only.", param="before_id", hint="Use after_id.")
        keeper, limit = self._app.house.keeper, int(text)
        found = await of_shape(keeper, owner, "anthropic", query.get("after_id", ""), limit + 1)
        shown = [message_batch(one, await keeper.counts(one), _base(request)) for one in found[:limit]]
        return json(
            {
                "data": shown,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
                "has_more": len(found) > limit,
            }
        )

    async def cancel(self, request: Request) -> Response:
        """No further message begins; what was answered stays."""
        name, owner = request.path_params["id"], self._who(request).name
        await self._batch(name, owner)
        await cancel(self._app, self._later, name, owner)
        return json(await self._shown(request, name, owner))

    async def delete(self, request: Request) -> Response:
        """Gone, with its results; only once it has ended."""
        name, owner = request.path_params["id"], self._who(request).name
        stored = await self._batch(name, owner)
        if stored.meta["status"] in (*_RUNNING, "cancelling"):
            raise BadRequest("A batch is deleted once it has ended.", hint="Cancel it first.")
        await remove_now(self._app, stored.meta)
        await self._app.house.keeper.delete(KIND, name, owner)
        return json({"id": name, "type": "message_batch_deleted"})

    async def results(self, request: Request) -> Response:
        """A line a message, in the order in which they were asked."""
        stored = await self._batch(request.path_params["id"], self._who(request).name)
        if stored.meta["status"] in (*_RUNNING, "cancelling"):
            raise NotFound("This batch has no results yet.", param="id")
        keeper = self._app.house.keeper

        async def lines() -> AsyncGenerator[bytes]:
            start = 0
            while items := await keeper.told(stored, start=start, limit=_AT_ONCE):
                yield b"".join(item.body + b"\n" for item in items)
                start = items[-1].n + 1

        return StreamingResponse(lines(), media_type="application/x-jsonl")

    async def _batch(self, name: str, owner: str) -> Stored:
        stored = await self._app.house.keeper.get(KIND, name, owner)
        if stored is None or stored.meta.get("shape") != "anthropic":
            raise NotFound(f"There is no message batch {name!r} of this key.", param="id")
        return stored

    async def _shown(self, request: Request, name: str, owner: str) -> dict[str, Any]:
        stored = await self._batch(name, owner)
        return message_batch(stored, await self._app.house.keeper.counts(stored), _base(request))


def _lines(body: bytes, most: int) -> list[Line]:
    try:
        requests = _asked(body).requests
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(
            f"This is no batch: {error}.", param="requests", hint="Send requests as JSON."
        ) from error
    if not 1 <= len(requests) <= most:
        raise BadRequest(f"A batch has 1 to {most} requests.", param="requests")
    seen: set[str] = set()
    lines: list[Line] = []
    for n, one in enumerate(requests):
        if not one.custom_id or len(one.custom_id) > MAX_ID_CHARS or one.custom_id in seen:
            raise BadRequest(
                f"Each custom_id has 1 to {MAX_ID_CHARS} characters, and stands once.",
                param=f"requests.{n}.custom_id",
            )
        seen.add(one.custom_id)
        try:
            stream = _params(one.params).stream
        except msgspec.DecodeError as error:
            raise BadRequest("params is no object.", param=f"requests.{n}.params") from error
        if stream:
            raise BadRequest("A message of a batch is not streamed.", param=f"requests.{n}.params.stream")
        lines.append(Line(one.custom_id, bytes(one.params)))
    return lines


def _base(request: Request) -> str:
    """Where the caller reaches us, as its own headers say it."""
    scheme = request.headers.get("x-forwarded-proto", "http").partition(",")[0].strip()
    host = request.headers.get("host", "")
    return f"{'https' if scheme == 'https' else 'http'}://{host}" if host else ""


def _rfc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

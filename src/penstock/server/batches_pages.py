"""``/v1/batches``: made, looked at, listed, cancelled, in OpenAI's shape (API reference, batch; read 2026-11).

What runs them is server.batch_work.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import BadRequest, NotFound
from penstock.objects.keeper import Keeper
from penstock.objects.names import new_id
from penstock.objects.store import Stored
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_choice import road_view, seen_counts
from penstock.server.batch_leftovers import leftovers_view
from penstock.server.batch_lines import Line, LineFault, Shape, packed, read_lines
from penstock.server.batch_work import KEPT_MS, KIND
from penstock.server.files_pages import KIND as FILE
from penstock.server.files_pages import PREFIXES, Who, json, no_file, page_of
from penstock.server.inner import cache_words, remembered
from penstock.server.later import Later
from penstock.server.routes import route

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
)
MOST_LISTED, LISTED = 100, 20
MAX_WINDOW_S = 7 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
_OPEN = ("validating", "in_progress", "finalizing", "cancelling")
_MAX_METADATA, _MAX_KEY_CHARS, _MAX_VALUE_CHARS = 16, 64, 512
_TIMES = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip


class _Expiry(msgspec.Struct):
    anchor: str
    seconds: int


class _Asked(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: _Expiry | None = None


def batches_routes(app: App, later: Later, who: Who) -> list[Route]:
    """Below every prefix that OpenAI's clients use."""
    pages = _Batches(app, later, who)
    found: list[Route] = []
    for prefix in PREFIXES:
        path = f"{prefix}/batches"
        found += [
            Route(path, pages.listed, methods=["GET"]),
            Route(path, pages.create, methods=["POST"]),
            Route(f"{path}/{{id}}", pages.retrieve, methods=["GET"]),
            Route(f"{path}/{{id}}/cancel", pages.cancel, methods=["POST"]),
        ]
    return found


def batch_view(stored: Stored, counts: Mapping[str, int]) -> dict[str, Any]:
    """OpenAI's Batch."""
    meta = stored.meta
    counts = meta.get("counts") or counts or seen_counts(meta)
    return {
        **road_view(meta),
        "penstock_provider_files": leftovers_view(meta),
        "id": stored.id,
        "object": "batch",
        "endpoint": meta["endpoint"],
        "errors": meta.get("errors"),
        "input_file_id": meta["input_file_id"],
        "completion_window": meta["completion_window"],
        "status": meta["status"],
        "output_file_id": meta.get("output_file_id"),
        "error_file_id": meta.get("error_file_id"),
        "created_at": stored.created_ms // 1000,
        "expires_at": meta["window_ends_ms"] // 1000,
        **{name: meta.get(name) for name in _TIMES},
        "request_counts": {
            "total": meta["total"],
            "completed": counts.get("ok", 0),
            "failed": sum(counts.values()) - counts.get("ok", 0),
        },
        "metadata": meta.get("metadata"),
        "usage": meta.get("usage"),
    }


class _Batches:
    def __init__(self, app: App, later: Later, who: Who) -> None:
        self._app = app
        self._later = later
        self._who = who

    async def create(self, request: Request) -> Response:
        """A new batch of a file's lines."""
        owner = self._who(request).name
        asked = _asked(await request.body())
        told = dict[bytes, bytes](reversed(request.scope["headers"]))
        if route(asked.endpoint.encode(), b"", told) is None:
            raise BadRequest(f"{asked.endpoint} is not served here.", param="endpoint")
        keeper = self._app.house.keeper
        stored = await keeper.get(FILE, asked.input_file_id, owner)
        text = await keeper.body(FILE, asked.input_file_id, owner)
        if stored is None or text is None:
            raise no_file(asked.input_file_id)
        if stored.meta.get("purpose") != "batch":
            raise BadRequest(
                "This file was not uploaded for batches.",
                param="input_file_id",
                hint="Upload it with purpose batch.",
            )
        most = self._app.house.config.batches.max_lines
        lines, faults = await asyncio.to_thread(read_lines, text, asked.endpoint, most)
        name = new_id("batch_")
        await self._keep(name, owner, asked, told, lines, faults)
        self._later.kick()
        return json(await self._view(name, owner))

    async def _keep(
        self,
        name: str,
        owner: str,
        asked: _Asked,
        told: dict[bytes, bytes],
        lines: list[Line],
        faults: list[LineFault],
    ) -> None:
        now_ms = unix_ms()
        window = _WINDOW.fullmatch(asked.completion_window)
        assert window is not None, "read before"
        meta: dict[str, Any] = {
            "shape": "openai",
            "endpoint": asked.endpoint,
            "input_file_id": asked.input_file_id,
            "completion_window": asked.completion_window,
            "window_ends_ms": now_ms + int(window[1]) * _UNITS[window[2]] * 1000,
            "metadata": asked.metadata,
            "output_expires_s": None
            if asked.output_expires_after is None
            else asked.output_expires_after.seconds,
            "total": len(lines),
            "status": "validating",
            "wish": wish_of(told),
            "told": remembered(
                {key: value for key, value in told.items() if key == b"x-penstock-user"} | cache_words(told)
            ),
        }
        if faults:
            data = [msgspec.to_builtins(fault) for fault in faults]
            meta |= {
                "status": "failed",
                "failed_at": now_ms // 1000,
                "errors": {"object": "list", "data": data},
            }
        body = b"" if faults else await asyncio.to_thread(packed, lines)
        await self._app.house.keeper.put(
            KIND,
            name,
            owner,
            meta=meta,
            body=body,
            due_ms=None if faults else now_ms,
            expires_ms=now_ms + KEPT_MS if faults else None,
        )

    async def retrieve(self, request: Request) -> Response:
        """How it stands."""
        return json(await self._view(request.path_params["id"], self._who(request).name))

    async def listed(self, request: Request) -> Response:
        """The key's batches, newest first."""
        owner = self._who(request).name
        after, limit = page_of(request.query_params, most=MOST_LISTED, default=LISTED)
        keeper = self._app.house.keeper
        found = await of_shape(keeper, owner, "openai", after, limit + 1)
        shown = [batch_view(one, await self._counts(one)) for one in found[:limit]]
        return json(
            {
                "object": "list",
                "data": shown,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
                "has_more": len(found) > limit,
            }
        )

    async def cancel(self, request: Request) -> Response:
        """No further line begins; what was answered stays."""
        name, owner = request.path_params["id"], self._who(request).name
        await cancel(self._app, self._later, name, owner)
        return json(await self._view(name, owner))

    async def _view(self, name: str, owner: str) -> dict[str, Any]:
        stored = await self._app.house.keeper.get(KIND, name, owner)
        if stored is None or stored.meta["shape"] != "openai":
            raise no_batch(name)
        return batch_view(stored, await self._counts(stored))

    async def _counts(self, stored: Stored) -> dict[str, int]:
        return await self._app.house.keeper.counts(stored) if stored.meta["status"] in _OPEN else {}


async def of_shape(keeper: Keeper, owner: str, shape: Shape, after: str, count: int) -> list[Stored]:
    """A key's batches of one vendor's shape, newest first."""
    found: list[Stored] = []
    while len(found) < count:
        some = await keeper.listed(KIND, owner, after=after, limit=100)
        found += [one for one in some if one.meta["shape"] == shape]
        if len(some) < 100:
            break
        after = some[-1].id
    return found[:count]


async def cancel(app: App, later: Later, name: str, owner: str) -> None:
    """Ask for its end. Raises NotFound, or BadRequest where it has ended."""
    keeper = app.house.keeper
    while True:
        stored = await keeper.get(KIND, name, owner)
        if stored is None:
            raise no_batch(name)
        status = stored.meta["status"]
        if status == "cancelling":
            return
        if status not in _OPEN:
            raise BadRequest(f"Cannot cancel a batch with status '{status}'.", code="batch_ended")
        meta = {**stored.meta, "status": "cancelling", "cancel": True, "cancelling_at": unix_ms() // 1000}
        if await keeper.change(KIND, name, owner, meta, version=stored.version):
            later.poke(KIND, name, owner)
            later.kick()
            return


def wish_of(told: Mapping[bytes, bytes]) -> str | None:
    """Who shall run it, as ``x-penstock-batch`` says. Raises BadRequest."""
    said = told.get(b"x-penstock-batch")
    if said is None:
        return None
    wish = said.decode("latin-1").strip().lower()
    if wish not in ("own", "native"):
        raise BadRequest("The header x-penstock-batch is neither own nor native.", param="x-penstock-batch")
    return wish


def no_batch(name: str) -> NotFound:
    """The 404 for a batch that is not this key's."""
    return NotFound(f"No batch found with id '{name}'.", param="batch_id")


def _asked(body: bytes) -> _Asked:
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(
            f"This is no batch: {error}.", hint="Send input_file_id, endpoint and completion_window as JSON."
        ) from error
    if asked.endpoint not in ENDPOINTS:
        raise BadRequest(f"{asked.endpoint!r} is not one of {', '.join(ENDPOINTS)}.", param="endpoint")
    window = _WINDOW.fullmatch(asked.completion_window)
    if window is None or int(window[1]) * _UNITS[window[2]] > MAX_WINDOW_S:
        raise BadRequest(
            f"The completion_window {asked.completion_window!r} is not read.",
            param="completion_window",
            hint="Write 24h, or another number of s, m, h or d up to 7d.",
        )
    said = asked.metadata or {}
    if len(said) > _MAX_METADATA or any(
        len(key) > _MAX_KEY_CHARS or len(value) > _MAX_VALUE_CHARS for key, value in said.items()
    ):
        raise BadRequest(
            f"metadata has at most {_MAX_METADATA} pairs of {_MAX_KEY_CHARS} and {_MAX_VALUE_CHARS} characters.",
            param="metadata",
        )
    expiry = asked.output_expires_after
    if expiry is not None and (expiry.anchor != "created_at" or not 3600 <= expiry.seconds <= 2_592_000):
        raise BadRequest(
            "Results are kept from 3600 to 2592000 seconds after created_at.", param="output_expires_after"
        )
    return asked

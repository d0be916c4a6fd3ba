"""Calls that are answered later: ``x-penstock-async: true`` on any inlet, kept, run, and fetched at ``/v1/jobs``.

Theory
------
The request is kept before 202 leaves: from then on it survives this process. It runs on the road of every call, for the key
that left it, and its answer is kept as it would have been sent: status, headers, body.

Rules
- Before a request leaves for a provider, that is written down. A process that dies before it leaves a job that is run by the
  next; one that dies after it a job that has failed: it may have been served, and billed, and is not sent twice.
- A completion is posted from the database too (server.completions), to hosts that the configuration names.
"""

import asyncio
import base64
import contextlib
from typing import Any

import msgspec
from msgspec import Raw
from starlette.requests import Request as PageRequest
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import BadRequest, NotFound, RateLimited
from penstock.dialects.openai_responses.envelope import ResponsesAsk
from penstock.dialects.openai_responses.kept import KIND as RESPONSE
from penstock.dialects.openai_responses.kept import read_turn
from penstock.gateway.conversation import no_response
from penstock.gateway.ports import Known, Reply
from penstock.gateway.room import JOBS, RESPONSES, check_room
from penstock.objects.names import new_id
from penstock.objects.store import Stored
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.background import answered, become, check, ended, in_front, keep_queued, queued
from penstock.server.completions import allowed_address, completion_of, keep_completion
from penstock.server.files_pages import Who, json, page_of
from penstock.server.inner import Gathered, Inner, remembered, serve_inside, without_key
from penstock.server.later import Held, Later, insist
from penstock.server.reading import Request
from penstock.server.responses_pages import PREFIXES as RESPONSES_PREFIXES
from penstock.wire.http import header_block

KIND = "job"
PREFIXES = ("/v1", "/openai/v1", "/api/v1", "")
MOST_LISTED, LISTED = 100, 20
ENDED = ("completed", "failed", "cancelled")
_UNSAFE = frozenset({"content-length", "transfer-encoding", "connection"})
_encode = msgspec.json.Encoder().encode
_INTERRUPTED = (
    "The gateway stopped while a provider worked on this request. It was not sent again: it may have been served, and "
    "billed. Send it anew if that does no harm."
)


class Jobs:
    """Takes jobs, and shows them."""

    def __init__(self, app: App, later: Later) -> None:
        self._app = app
        self._later = later

    async def accept(self, request: Request, reply: Reply, request_id: str) -> None:
        """Keep the request, and answer 202."""
        told = request.told
        owner = self._owner(told)
        if told[b"x-penstock-async"].strip().lower() != b"true":
            raise BadRequest(
                "The header x-penstock-async has a value other than true.",
                param="x-penstock-async",
                hint="Send true to have a job made, or leave the header out to be answered at once.",
            )
        await self._check(owner, told, len(request.body))
        name = new_id("job_")
        stored = await self._keep(request, name, owner, request.body, {})
        self._later.kick()
        head = header_block(
            [
                (b"content-type", b"application/json"),
                (b"x-request-id", request_id.encode()),
                (b"location", b"/v1/jobs/" + name.encode()),
                (b"retry-after", b"1"),
            ]
        )
        reply.send(202, head, _encode(job_view(stored)))

    async def accept_background(
        self, ask: ResponsesAsk, request: Request, reply: Reply, request_id: str
    ) -> None:
        """Keep a Response that is made in the background, and show it as it is: queued."""
        check(ask)
        house, owner = self._app.house, self._owner(request.told)
        await self._check(owner, request.told, len(request.body))
        await check_room(
            house.keeper,
            RESPONSE,
            owner,
            house.config.responses.max_total_bytes,
            RESPONSES,
            len(request.body),
        )
        name, job = new_id("resp_"), new_id("job_")
        response = queued(ask, name)
        await keep_queued(house.keeper, ask, owner, response, job)
        await self._keep(request, job, owner, in_front(request.body), {"response": name})
        self._later.kick()
        head = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
        reply.send(200, header_block(head), response)

    def _owner(self, told: dict[bytes, bytes]) -> str:
        house = self._app.house
        return house.doors.admit(told, Known(), house.clock.unix_s()).name

    async def _check(self, owner: str, told: dict[bytes, bytes], size: int) -> None:
        """Raises what stands against one more job of this key."""
        house = self._app.house
        webhook = told.get(b"x-penstock-webhook", b"").decode("latin-1").strip()
        if webhook:
            allowed_address(webhook, house.config.jobs)
        if await house.keeper.many(KIND, owner) >= house.config.jobs.max_waiting:
            raise RateLimited(
                f"This key has {house.config.jobs.max_waiting} jobs (jobs.max_waiting).",
                code="too_many_jobs",
                hint="Delete those that have ended.",
                retry_after_s=60,
            )
        await check_room(house.keeper, KIND, owner, house.config.jobs.max_total_bytes, JOBS, size)

    async def _keep(
        self, request: Request, name: str, owner: str, body: bytes, more: dict[str, Any]
    ) -> Stored:
        told = request.told
        path, _, query = request.url.partition(b"?")
        meta = {
            "status": "queued",
            "path": path.decode("latin-1"),
            "query": without_key(query.decode("latin-1")),
            "told": remembered(told),
            "webhook": told.get(b"x-penstock-webhook", b"").decode("latin-1").strip(),
            **more,
        }
        now_ms = unix_ms()
        await self._app.house.keeper.put(KIND, name, owner, meta=meta, body=body, due_ms=now_ms)
        return Stored(
            kind=KIND, id=name, owner=owner, created_ms=now_ms, expires_ms=None, due_ms=now_ms, version=1, meta=meta, size=len(body)
        )  # fmt: skip

    def routes(self, who: Who) -> list[Route]:
        """Below every prefix."""
        pages = _Pages(self._app, self._later, who)
        found: list[Route] = []
        for prefix in PREFIXES:
            path = f"{prefix}/jobs"
            found += [
                Route(path, pages.listed, methods=["GET"]),
                Route(f"{path}/{{id}}", pages.retrieve, methods=["GET"]),
                Route(f"{path}/{{id}}", pages.delete, methods=["DELETE"]),
                Route(f"{path}/{{id}}/result", pages.result, methods=["GET"]),
                Route(f"{path}/{{id}}/cancel", pages.cancel, methods=["POST"]),
            ]
        for prefix in RESPONSES_PREFIXES:
            path = f"{prefix}/responses/{{id}}/cancel"
            found.append(Route(path, pages.cancel_response, methods=["POST"]))
        return found


def job_view(stored: Stored, body: bytes | None = None) -> dict[str, Any]:
    """A job, and with its body the answer."""
    meta = stored.meta
    view = {
        "id": stored.id,
        "object": "job",
        "status": meta["status"],
        "created_at": stored.created_ms // 1000,
        "started_at": meta.get("started_at"),
        "completed_at": meta.get("completed_at"),
        "expires_at": None if stored.expires_ms is None else stored.expires_ms // 1000,
        "path": meta["path"],
        "request_id": meta.get("request_id"),
        "error": meta.get("error"),
        "result": None,
    }
    if body is not None and "http_status" in meta:
        view["result"] = {"status": meta["http_status"], "headers": meta["headers"], **_shown(meta, body)}
    return view


def _shown(meta: dict[str, Any], body: bytes) -> dict[str, Any]:
    """JSON as it is, text as text, anything else in Base64."""
    kind = meta["headers"].get("content-type", "")
    if "json" in kind:
        with contextlib.suppress(msgspec.DecodeError, RecursionError):
            msgspec.json.decode(body)
            return {"body": Raw(body)}
    if kind.startswith("text/"):
        with contextlib.suppress(UnicodeDecodeError):
            return {"body": body.decode()}
    return {"body": None, "body_base64": base64.b64encode(body).decode()}


class _Pages:
    def __init__(self, app: App, later: Later, who: Who) -> None:
        self._app = app
        self._later = later
        self._who = who

    async def retrieve(self, request: PageRequest) -> Response:
        """How it stands; its answer, once there is one."""
        stored, keeper = await self._job(request), self._app.house.keeper
        ended = stored.meta["status"] in ENDED
        return json(job_view(stored, await keeper.body(KIND, stored.id, stored.owner) if ended else None))

    async def result(self, request: PageRequest) -> Response:
        """The answer itself, as it would have been sent."""
        stored = await self._job(request)
        if "http_status" not in stored.meta:
            raise NotFound(
                f"The job {stored.id} is {stored.meta['status']}: it has no answer.", code="no_result"
            )
        body = await self._app.house.keeper.body(KIND, stored.id, stored.owner)
        answer = Response(body or b"", status_code=stored.meta["http_status"])
        for name, value in stored.meta["headers"].items():
            answer.headers[name] = value
        return answer

    async def listed(self, request: PageRequest) -> Response:
        """The key's jobs, newest first, without their answers."""
        owner = self._who(request).name
        after, limit = page_of(request.query_params, most=MOST_LISTED, default=LISTED)
        found = await self._app.house.keeper.listed(KIND, owner, after=after, limit=limit + 1)
        shown = [job_view(one) for one in found[:limit]]
        return json({"object": "list", "data": shown, "has_more": len(found) > limit})

    async def cancel(self, request: PageRequest) -> Response:
        """At once, also in the middle of it; one that has ended stays as it is."""
        name, owner = request.path_params["id"], self._who(request).name
        stored = await self._cancelled(name, owner)
        if stored is None:
            raise _no_job(name)
        return json(job_view(stored))

    async def cancel_response(self, request: PageRequest) -> Response:
        """A Response that is made in the background; any other is over."""
        name, owner, keeper = request.path_params["id"], self._who(request).name, self._app.house.keeper
        stored = await keeper.get(RESPONSE, name, owner)
        if stored is None:
            raise no_response(name)
        job = stored.meta.get("job")
        if job is None:
            raise BadRequest("Cannot cancel a synchronous response.", param="response_id")
        cancelled = await self._cancelled(job, owner)
        if cancelled is not None and cancelled.meta["status"] != "completed":
            await ended(keeper, name, owner, "cancelled", None)
        body = await keeper.body(RESPONSE, name, owner)
        if body is None:
            raise no_response(name)
        return Response(bytes(read_turn(body).response), media_type="application/json")

    async def _cancelled(self, name: str, owner: str) -> Stored | None:
        keeper = self._app.house.keeper
        while True:
            stored = await keeper.get(KIND, name, owner)
            if stored is None or stored.meta["status"] in ENDED:
                return stored
            meta = stored.meta
            if meta["status"] == "queued":
                over = {**meta, "cancel": True, "status": "cancelled", "completed_at": unix_ms() // 1000}
                done = await keeper.change(
                    KIND,
                    name,
                    owner,
                    over,
                    version=stored.version,
                    due_ms=None,
                    expires_ms=self._expires_ms(),
                    body=b"",
                )
            else:
                done = await keeper.change(
                    KIND, name, owner, {**meta, "cancel": True}, version=stored.version
                )
            if done:
                self._later.poke(KIND, name, owner)
                return await keeper.get(KIND, name, owner)

    async def delete(self, request: PageRequest) -> Response:
        """Gone, with its answer; what runs is cancelled."""
        stored = await self._job(request)
        if stored.meta["status"] not in ENDED:
            await self.cancel(request)
        await self._app.house.keeper.delete(KIND, stored.id, stored.owner)
        return json({"id": stored.id, "object": "job", "deleted": True})

    def _expires_ms(self) -> int:
        return unix_ms() + self._app.house.config.jobs.keep_hours * 3_600_000

    async def _job(self, request: PageRequest) -> Stored:
        name, owner = request.path_params["id"], self._who(request).name
        stored = await self._app.house.keeper.get(KIND, name, owner)
        if stored is None:
            raise _no_job(name)
        return stored


def _no_job(name: str) -> NotFound:
    return NotFound(f"There is no job {name!r} of this key.", param="id")


class JobWorker:
    """Runs jobs."""

    kind = KIND

    def __init__(self, app: App, later: Later | None = None) -> None:
        self._app = app
        self.later = later

    @property
    def most(self) -> int:
        """As configured now."""
        return self._app.house.config.jobs.max_concurrent

    async def work(self, held: Held) -> None:
        """One job."""
        if held.meta.get("sent"):
            await self._end(held, "failed", _error("interrupted", _INTERRUPTED), None)
            return
        if held.cancelled.is_set():
            await self._end(held, "cancelled", None, None)
            return
        one, meta = held.stored, held.meta
        body = await held.keeper.body(one.kind, one.id, one.owner) or b""
        await held.change(lambda now: {**now, "status": "in_progress", "started_at": unix_ms() // 1000})
        if meta.get("response"):
            await become(held.keeper, meta["response"], one.owner, {"status": "in_progress"})
        asked = Inner(
            meta["path"].encode("latin-1"),
            meta["query"].encode("latin-1"),
            {name.encode("latin-1"): value.encode("latin-1") for name, value in meta["told"].items()},
            body,
            one.owner,
        )

        async def before_send() -> None:
            if not held.meta.get("sent"):
                await held.change(lambda now: {**now, "sent": True})

        call = asyncio.ensure_future(serve_inside(self._app, asked, before_send))
        cancelled = asyncio.ensure_future(held.cancelled.wait())
        try:
            await asyncio.wait([call, cancelled], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                await self._answered(held, call.result())
                return
            await _cut(call)
            await self._end(held, "cancelled", None, None)
        except asyncio.CancelledError:  # this process stops
            await _cut(call)
            if held.meta.get("sent"):
                await self._end(held, "failed", _error("interrupted", _INTERRUPTED), None)
            else:
                await held.change(lambda now: {**now, "status": "queued"})
            raise
        finally:
            cancelled.cancel()
            await _cut(call)

    async def _answered(self, held: Held, got: Gathered) -> None:
        error = None
        if got.error is not None:
            error = _error(got.error.code, got.error.public())
        await self._end(held, "completed" if got.status < 400 and error is None else "failed", error, got)

    async def _end(self, held: Held, status: str, error: dict[str, str] | None, got: Gathered | None) -> None:
        more: dict[str, Any] = {"status": status, "error": error, "completed_at": unix_ms() // 1000}
        if got is not None:
            headers = {name: value for name, value in got.headers.items() if name not in _UNSAFE}
            more |= {"http_status": got.status, "headers": headers, "request_id": got.request_id}
        response = held.meta.get("response")
        if response and got is not None and status == "completed":
            await insist(lambda: answered(held.keeper, response, held.stored.owner, got.body))
        elif response:
            await insist(lambda: ended(held.keeper, response, held.stored.owner, status, error))
        if held.meta.get("webhook"):
            await keep_completion(held.keeper, completion_of(held.stored))
        keep_ms = self._app.house.config.jobs.keep_hours * 3_600_000
        await held.change(
            lambda now: {**now, **more},
            due_ms=None,
            expires_ms=unix_ms() + keep_ms,
            body=b"" if got is None else got.body,
        )
        if self.later is not None and held.meta.get("webhook"):
            self.later.kick()


async def _cut(call: "asyncio.Future[Any]") -> None:
    """Cancelled, settled and done with; what it would have said is nobody's."""
    if not call.done():
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


def _error(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}

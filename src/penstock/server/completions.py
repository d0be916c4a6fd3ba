"""Completions posted to callers' own addresses: kept, signed as standardwebhooks.com says, tried again for hours.

Rules
- Only to hosts that the operator has named (jobs.webhook_hosts): a caller must not make the gateway post anywhere else.
- What is posted says which job ended and how; its answer is fetched with the key. The message's id stays through all tries.
"""

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.base.endpoint import parse_hook_url
from penstock.base.errors import BadRequest, UpstreamError
from penstock.config.schema import JobsConfig
from penstock.gateway.webhooks import BACK_OFF_S, signed
from penstock.net.transport import Deadlines, Transport, TransportSettings
from penstock.objects.keeper import Keeper
from penstock.objects.names import new_id
from penstock.objects.store import Stored
from penstock.objects.times import unix_ms
from penstock.observe.log import OperatorLog
from penstock.server.later import Held
from penstock.wire.http import Headers, WireRequest

KIND = "completion"
_JOB = "job"
_ENDED = ("completed", "failed", "cancelled")
_KEPT_MS = 3 * 86_400_000
_DEADLINES = Deadlines(connect_s=5.0, first_byte_s=10.0, idle_s=10.0, total_s=15.0)
_SOON_MS = 200
_encode = msgspec.json.Encoder().encode


def allowed_address(url: str, config: JobsConfig) -> None:
    """Raises BadRequest for an address that completions may not be posted to."""
    try:
        parse_hook_url(url)
        parts = urlsplit(url)
        place, host = parts.netloc.lower(), (parts.hostname or "").lower()
    except ValueError as error:
        raise BadRequest(str(error), param="x-penstock-webhook") from error
    allowed = {one.lower() for one in config.webhook_hosts}
    default = parts.port is None or parts.port == {"http": 80, "https": 443}.get(parts.scheme)
    if "@" in place or not (place in allowed or (default and host in allowed)):
        raise BadRequest(
            "Completions are not posted to this host.",
            param="x-penstock-webhook",
            hint="The operator names hosts in jobs.webhook_hosts.",
            code="webhook_not_allowed",
        )


def completion_of(job: Stored) -> tuple[str, str, dict[str, Any]]:
    """What is kept until it is delivered: its name, its owner, its facts. The same for the same job."""
    return job.id, job.owner, {"url": job.meta["webhook"], "tries": 0, "message": new_id("msg_")}


async def keep_completion(keeper: Keeper, completion: tuple[str, str, dict[str, Any]]) -> None:
    """Keep it, to be posted as soon as the job has ended."""
    name, owner, meta = completion
    if await keeper.get(KIND, name, owner) is None:
        now_ms = unix_ms()
        await keeper.put(KIND, name, owner, meta=meta, due_ms=now_ms, expires_ms=now_ms + _KEPT_MS)


class CompletionWorker:
    """Posts completions."""

    kind = KIND
    most = 8

    def __init__(self, config: Callable[[], JobsConfig], log: OperatorLog) -> None:
        self._config = config
        self._log = log
        self.key = b""
        """Signs; of the configuration in force."""
        self._rng = random.Random()
        self._transports: dict[str, Transport] = {}

    async def work(self, held: Held) -> None:
        """Post one; if it is not taken, it is due again later."""
        one, keeper = held.stored, held.keeper
        job = await keeper.get(_JOB, one.id, one.owner)
        if job is None:
            await keeper.delete(KIND, one.id, one.owner)
            return
        if job.meta["status"] not in _ENDED:
            await held.release(_SOON_MS)
            return
        why = await self._post(one, job)
        if not why:
            await keeper.delete(KIND, one.id, one.owner)
            return
        tries: int = one.meta["tries"]
        if tries >= len(BACK_OFF_S):
            self._log.fault("completion.failed", job=one.id, why=f"given up after {tries + 1} tries: {why}")
            await keeper.delete(KIND, one.id, one.owner)
            return
        self._log.once("completion", f"A completion was not taken ({why}); it is posted again.")
        await held.change(lambda meta: {**meta, "tries": tries + 1})
        await held.release(round(1000 * BACK_OFF_S[tries] * (0.75 + self._rng.random() / 2)))

    async def aclose(self) -> None:
        """Let go of its connections."""
        for transport in self._transports.values():
            await transport.aclose()

    async def _post(self, one: Stored, job: Stored) -> str:
        """Why it was not taken; "": it was."""
        url: str = one.meta["url"]
        try:
            allowed_address(url, self._config())
        except BadRequest as error:
            return error.message
        if not self.key:
            return "jobs.webhook_secret is not configured"
        now_s = unix_ms() // 1000
        body = _encode(
            {
                "type": f"job.{job.meta['status']}",
                "timestamp": job.meta["completed_at"],
                "data": {
                    "id": job.id, "object": "job", "status": job.meta["status"],
                    "http_status": job.meta.get("http_status"), "error": job.meta.get("error"),
                },
            }
        )  # fmt: skip
        endpoint, path = parse_hook_url(url)
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"user-agent", b"penstock"),
            *signed(self.key, one.meta["message"], now_s, body),
        ]
        transport = self._transports.get(endpoint.where)
        if transport is None:
            transport = self._transports[endpoint.where] = Transport(TransportSettings(endpoint=endpoint))
        try:
            exchange = await transport.send(WireRequest(b"POST", path, headers, body), _DEADLINES)
        except UpstreamError as error:
            return error.message
        status = exchange.status
        exchange.abort()  # nobody reads what it says
        return "" if 200 <= status < 300 else f"status {status}"

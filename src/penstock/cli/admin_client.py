"""The admin API of a running gateway, asked from the command line. The admin key leaves in a header, and is shown nowhere."""

import asyncio
from typing import Any, cast
from urllib.parse import quote, urlencode

import msgspec

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import BadRequest, ConfigFault, PenstockError
from penstock.config.secrets import Secret
from penstock.net.dial import ca_version
from penstock.net.exchange import Deadlines
from penstock.net.transport import Transport, TransportSettings
from penstock.registry.changes import Ask
from penstock.registry.objects import Kind
from penstock.wire.http import WireRequest

_DEADLINES = Deadlines(connect_s=5.0, first_byte_s=30.0, idle_s=30.0, total_s=60.0)
_MAX_REPLY = 64 * 1024 * 1024
_OF_THE_API = ("no_such_object", "no_such_audit", "cache_off")
"""Codes of a 404 that says that the admin API is there."""
_PATHS: dict[Kind, str] = {"key": "keys", "team": "teams", "organisation": "organisations"}


class AdminClient:
    """One gateway. Raises BadRequest for a URL that is none."""

    def __init__(
        self,
        url: str,
        key: Secret,
        who: str,
        ca_file: str | None = None,
        *,
        store: bool = True,
        said: str = "--url",
    ) -> None:
        """``store``: the command can do without a gateway. ``said``: what named it."""
        try:
            endpoint = parse_base_url(url)
            self._settings = TransportSettings(
                endpoint=endpoint, ca_file=ca_file, ca_version=ca_version(ca_file), max_connections=1
            )
        except (ValueError, OSError) as error:
            raise BadRequest(
                f"{said}: {error}",
                param=said,
                hint="Write http://127.0.0.1:8080, as the gateway says at its start.",
            ) from error
        self.where = f"{endpoint.scheme}://{endpoint.authority.decode()}"
        self._key = key
        self._who = who
        self._store = store
        self._said = said

    def ask(self, ask: Ask) -> dict[str, Any]:
        """Make a change."""
        path = f"/admin/{_PATHS[ask.kind]}"
        one = f"{path}/{_quoted(ask.name)}"
        budgets = f"/admin/budgets/{ask.kind}/{_quoted(ask.name)}"
        if ask.verb == "create":
            return self._answer("POST", path, {"name": ask.name, **ask.fields})
        if ask.verb == "change":
            return self._answer("PATCH", one, ask.fields)
        if ask.verb == "remove":
            return self._answer("DELETE", one)
        if ask.verb == "rotate":
            return self._answer("POST", f"{one}/rotate", {"grace_s": ask.grace_s})
        if ask.verb == "set_budget":
            return self._answer("PUT", budgets, ask.fields)
        return self._answer("DELETE", f"{budgets}/{_quoted(ask.budget)}")

    def objects(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind."""
        return self._list(f"/admin/{_PATHS[kind]}")

    def object(self, kind: Kind, name: str) -> dict[str, Any]:
        """One of them."""
        return self._answer("GET", f"/admin/{_PATHS[kind]}/{_quoted(name)}")

    def budgets(self) -> list[dict[str, Any]]:
        """All budgets in force."""
        return self._list("/admin/budgets")

    def audit(
        self, *, limit: int, before: int | None, kind: str | None, name: str | None
    ) -> list[dict[str, Any]]:
        """The record, newest first."""
        asked = {"limit": limit, "before": before, "kind": kind, "name": name}
        query = urlencode({word: value for word, value in asked.items() if value is not None})
        return self._list(f"/admin/audit?{query}")

    def cache(self, method: str, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for something below ``/admin/cache``."""
        return self._answer(method, f"/admin/cache/{path}", fields)

    def _list(self, path: str) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self._answer("GET", path)["data"])

    def _answer(self, method: str, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        status, body = asyncio.run(self._send(method, path, fields))
        try:
            document = msgspec.json.decode(body)
        except ValueError:  # msgspec's errors are ValueErrors
            document = None
        if not isinstance(document, dict):
            raise self._no_gateway(f"what answers there is no Penstock (status {status})")
        answer = cast("dict[str, Any]", document)
        if status >= 400:
            raise self._refusal(status, answer)
        return answer

    async def _send(self, method: str, path: str, fields: dict[str, Any] | None) -> tuple[int, bytes]:
        headers = [
            (b"authorization", b"Bearer " + self._key.reveal().encode()),
            (b"x-penstock-operator", self._who.encode()),
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        body = b"" if fields is None else msgspec.json.encode(fields)
        transport = Transport(self._settings)
        try:
            request = WireRequest(method.encode(), path.encode(), headers, body)
            exchange = await transport.send(request, _DEADLINES)
            return exchange.status, await exchange.read(_MAX_REPLY)
        except PenstockError as error:
            raise self._no_gateway(error.message.rstrip(".")) from error
        finally:
            await transport.aclose()

    def _no_gateway(self, why: str) -> ConfigFault:
        return ConfigFault(
            f"No gateway answers at {self.where}: {why}.",
            path=self._said,
            hint=self._without("to change its store directly")
            if self._store
            else "Start it, or name another with --url.",
        )

    def _without(self, what_for: str) -> str:
        if self._said == "--url":
            return f"Start it, or leave --url away {what_for}."
        return f"Start it, or name --config or --db {what_for}."

    def _refusal(self, status: int, answer: dict[str, Any]) -> PenstockError:
        """The gateway's own words, and what they do not say."""
        error: Any = answer.get("error")
        told = cast("dict[str, Any]", error if isinstance(error, dict) else {})
        message = str(told.get("message") or f"The gateway answered {status}.")
        code = str(told.get("code") or "")
        hint = None
        if status == 404 and code not in _OF_THE_API:
            message = f"{self.where} has no admin API."
            away = "leave --url away" if self._said == "--url" else "name --config or --db"
            other = f", or {away}" if self._store else ""
            hint = f"Set server.admin_key in its configuration and restart it{other}."
        elif code == "key_expired":
            hint = "Name another with --key."
        elif status in (401, 403):
            hint = "Name the right one with --admin-key."
        return BadRequest(message, code=code or None, hint=hint, status=status)


def _quoted(name: str) -> str:
    return quote(name, safe="")

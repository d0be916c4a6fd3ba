"""``penstock batches``: a key's batches at a running gateway, with their progress and who runs them."""

import argparse
import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
from rich.markup import escape
from rich.table import Table

from penstock.base.decisions import Rejected
from penstock.base.endpoint import parse_base_url
from penstock.base.errors import BadRequest, ConfigFault, PenstockError
from penstock.cli.office import put_json, say
from penstock.cli.place import DEFAULT_URL, URL_HELP, gateway_named
from penstock.cli.screen import screen
from penstock.config.secrets import resolve
from penstock.net.exchange import Deadlines
from penstock.net.transport import Transport, TransportSettings
from penstock.wire.http import Headers, WireRequest

_DEADLINES = Deadlines(connect_s=5.0, first_byte_s=30.0, idle_s=30.0, total_s=60.0)
_MAX_REPLY = 64 * 1024 * 1024
_SHAPES = {"openai": "/v1/batches", "anthropic": "/v1/messages/batches"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("id", nargs="?", help="one batch, with its counts")
    parser.add_argument("--url", help=URL_HELP)
    parser.add_argument(
        "--key",
        metavar="REFERENCE",
        help="env.NAME or file:PATH that holds the virtual key whose batches they are",
    )
    parser.add_argument("--limit", type=int, default=20, help="how many of each kind, at most 100")
    parser.add_argument("--json", action="store_true", help="print JSON only")


def run(args: argparse.Namespace) -> int:
    """0, or 1 with what is wrong."""
    try:
        rows = asyncio.run(_fetched(args))
    except PenstockError as error:
        return say(error)
    if args.json:
        put_json(rows[0] if args.id else rows)
        return 0
    if not rows:
        print("There are no batches.")
        return 0
    table = Table(header_style="bold")
    for title in ("batch", "made", "status", "done", "failed", "lines", "run by"):
        table.add_column(
            title, overflow="fold", justify="right" if title in ("done", "failed", "lines") else "left"
        )
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in _cells(row)))
    screen().print(table)
    if args.id and rows[0].get("penstock_reason"):
        print(f"Why: {rows[0]['penstock_reason']}")
    if args.id and rows[0].get("penstock_provider_files"):
        print(f"At the provider: {rows[0]['penstock_provider_files']}")
    return 0


def _cells(row: dict[str, Any]) -> list[object]:
    counts = row["request_counts"]
    if row.get("object") == "batch":
        made = datetime.fromtimestamp(row["created_at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        figures = [counts["completed"], counts["failed"], counts["total"]]
    else:
        made = row["created_at"]
        failed = counts["errored"] + counts["canceled"] + counts["expired"]
        figures = [counts["succeeded"], failed, counts["processing"] + counts["succeeded"] + failed]
    status = row.get("status") or row.get("processing_status")
    by = row.get("penstock_provider") if row.get("penstock_road") == "native" else "the gateway"
    return [row["id"], made, status, *figures, by]


async def _fetched(args: argparse.Namespace) -> list[dict[str, Any]]:
    url, said = gateway_named(args.url)
    try:
        endpoint = parse_base_url(url or DEFAULT_URL)
    except ValueError as error:
        raise BadRequest(f"{said}: {error}", param=said, hint=f"Write {DEFAULT_URL}.") from error
    transport = Transport(TransportSettings(endpoint=endpoint, max_connections=1))
    headers: Headers = [(b"accept-encoding", b"identity")]
    if args.key:
        found = resolve(args.key, os.environ, Path())
        if isinstance(found, Rejected):
            raise ConfigFault(
                found.reason, path="--key", hint="Name a variable or a file that holds the key."
            )
        headers.append((b"authorization", b"Bearer " + found.reveal().encode()))
    try:
        if args.id:
            shape = "anthropic" if args.id.startswith("msgbatch_") else "openai"
            return [await _got(transport, f"{_SHAPES[shape]}/{args.id}", headers)]
        rows: list[dict[str, Any]] = []
        for path in _SHAPES.values():
            rows += (await _got(transport, f"{path}?limit={args.limit}", headers))["data"]
        return rows
    finally:
        await transport.aclose()


async def _got(transport: Transport, path: str, headers: Headers) -> dict[str, Any]:
    if not path.isascii() or any(char.isspace() or char in "#\\" for char in path):
        raise BadRequest("This is no batch's id.", param="id")
    exchange = await transport.send(WireRequest(b"GET", path.encode(), headers, b""), _DEADLINES)
    body = await exchange.read(_MAX_REPLY)
    try:
        answer: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise BadRequest(f"What answers there is no Penstock (status {exchange.status}).", param="--url")
    shown = cast("dict[str, Any]", answer)
    if exchange.status >= 400:
        error = cast("dict[str, Any]", shown.get("error") or {})
        hint = "Name the key that made them with --key." if exchange.status in (401, 403) else None
        raise BadRequest(str(error.get("message") or f"The gateway answered {exchange.status}."), hint=hint)
    return shown

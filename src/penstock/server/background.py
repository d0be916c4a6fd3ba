"""Responses in the background: a job whose answer is a kept Response, looked at by its id while it is made.

Rules
- The Response is there, ``queued``, before the caller is answered; what it becomes is kept under the same id.
- The call itself is made without ``background``: no provider is left with work that we could not follow after a restart.
- One that was deleted meanwhile is not made anew.
"""

from typing import Any

import msgspec
from msgspec import Raw

from penstock.base.errors import BadRequest
from penstock.dialects.openai_responses.echo import echo
from penstock.dialects.openai_responses.envelope import ResponsesAsk
from penstock.dialects.openai_responses.kept import KIND, read_turn, turn_of
from penstock.gateway.conversation import KEPT_MS
from penstock.objects.keeper import Keeper
from penstock.objects.times import unix_ms

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def check(ask: ResponsesAsk) -> None:
    """Raises BadRequest for what cannot be made in the background."""
    if ask.stream:
        raise BadRequest(
            "A response in the background is not streamed here.",
            param="stream",
            hint="Leave stream out, and ask for the response by its id.",
        )
    if not ask.store:
        raise BadRequest(
            "A response in the background must be stored.", param="store", hint="Leave store out."
        )


def queued(ask: ResponsesAsk, name: str) -> bytes:
    """The Response before anything of it is made."""
    return _encode(
        {
            "id": name,
            "object": "response",
            "created_at": unix_ms() // 1000,
            "status": "queued",
            "error": None,
            "incomplete_details": None,
            "model": ask.model,
            "output": [],
            "usage": None,
            **echo(ask),
            "background": True,
        }
    )


async def keep_queued(keeper: Keeper, ask: ResponsesAsk, owner: str, response: bytes, job: str) -> None:
    """Keep it, with its input."""
    ask.final = response
    name, meta, body = turn_of(ask)
    meta = {**meta, "made_at": "", "job": job}
    await keeper.put(KIND, name, owner, meta=meta, body=body, expires_ms=unix_ms() + KEPT_MS)


def in_front(body: bytes) -> bytes:
    """The request as it is made: not in the background."""
    return _encode({**_decode(body), "background": Raw(b"false")})


async def become(keeper: Keeper, name: str, owner: str, fields: dict[str, Any]) -> None:
    """Change what the kept Response says; nothing where it is gone."""
    while True:
        stored, body = await keeper.get(KIND, name, owner), await keeper.body(KIND, name, owner)
        if stored is None or body is None:
            return
        turn = read_turn(body)
        response = {**_decode(turn.response), **fields}
        whole = _encode({"input": turn.input, "response": response})
        meta = {**stored.meta, "status": fields["status"]}
        if await keeper.change(KIND, name, owner, meta, version=stored.version, body=whole):
            return


async def answered(keeper: Keeper, name: str, owner: str, body: bytes) -> None:
    """The call's own Response becomes the kept one; its own id is known to nobody, and goes."""
    fields: dict[str, Any] = dict(_decode(body))
    own: str = msgspec.json.decode(fields["id"], type=str)
    created = ("id", "created_at", "background", "store")
    said = {key: value for key, value in fields.items() if key not in created}
    said["status"] = msgspec.json.decode(fields["status"], type=str)
    await become(keeper, name, owner, said)
    await keeper.delete(KIND, own, owner)


async def ended(keeper: Keeper, name: str, owner: str, status: str, error: dict[str, str] | None) -> None:
    """It came to nothing."""
    said = None if error is None else {"code": "server_error", "message": error["message"]}
    await become(keeper, name, owner, {"status": status, "error": said})

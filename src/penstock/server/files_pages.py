"""``/v1/files``: what a virtual key uploads, lists, reads and deletes, in OpenAI's shape (API reference, files; read 2026-11).

Rules
- A file belongs to the key that uploaded it; to any other it does not exist.
- An upload passes through in pieces: a file is never in memory beside its request's body.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from penstock.base.errors import BadRequest, BodyTooLarge, NotFound
from penstock.gateway.house import House
from penstock.gateway.principal import Principal
from penstock.gateway.room import FILES, check_room
from penstock.objects.keeper import Keeper
from penstock.objects.names import new_id
from penstock.objects.store import PIECE_BYTES, Stored
from penstock.objects.times import unix_ms

KIND = "file"
PREFIXES = ("/v1", "/openai/v1", "/openai", "")
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
MAX_NAME_CHARS = 512
MOST_LISTED = 10_000
_MIN_KEPT_S, _MAX_KEPT_S = 3600, 30 * 86_400
_MAX_DIGITS = 9
_MAX_FIELD_BYTES = 64 * 1024
_encode = msgspec.json.Encoder().encode
Who = Callable[[Request], Principal]


def files_routes(house: Callable[[], House], who: Who) -> list[Route]:
    """Below every prefix that OpenAI's clients use."""
    pages = _Files(house, who)
    found: list[Route] = []
    for prefix in PREFIXES:
        path = f"{prefix}/files"
        found += [
            Route(path, pages.listed, methods=["GET"]),
            Route(path, pages.upload, methods=["POST"]),
            Route(f"{path}/{{id}}", pages.retrieve, methods=["GET"]),
            Route(f"{path}/{{id}}", pages.delete, methods=["DELETE"]),
            Route(f"{path}/{{id}}/content", pages.content, methods=["GET"]),
        ]
    return found


def file_view(stored: Stored) -> dict[str, Any]:
    """OpenAI's File."""
    expires = stored.expires_ms
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.size,
        "created_at": stored.created_ms // 1000,
        "expires_at": None if expires is None else expires // 1000,
        "filename": stored.meta.get("filename", ""),
        "purpose": stored.meta.get("purpose", ""),
        "status": "processed",
        "status_details": None,
    }


def no_file(name: str) -> NotFound:
    """The 404 for a file that is not this key's."""
    return NotFound(f"No such File object: {name}", param="id")


def json(value: Any, status: int = 200) -> Response:
    """A page's answer."""
    return Response(_encode(value), status_code=status, media_type="application/json")


def within(text: str) -> bool:
    """A whole number of no more digits than any limit here has."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def page_of(query: Any, *, most: int, default: int) -> tuple[str, int]:
    """``after`` and ``limit`` of a list."""
    text = query.get("limit", "")
    if text and not (within(text) and 1 <= int(text) <= most):
        raise BadRequest(f"The limit {text!r} is not between 1 and {most}.", param="limit")
    return query.get("after", ""), int(text) if text else default


class _Files:
    def __init__(self, house: Callable[[], House], who: Who) -> None:
        self._house = house
        self._who = who

    async def upload(self, request: Request) -> Response:
        """A new file, from a multipart form."""
        owner, house = self._who(request).name, self._house()
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise BadRequest(
                "A file is uploaded as multipart/form-data.", hint="Send the fields file and purpose."
            )
        try:
            form = await request.form(max_files=1, max_fields=20, max_part_size=_MAX_FIELD_BYTES)
        except HTTPException as error:
            raise BadRequest(f"The form cannot be read: {error.detail}") from error
        try:
            return json(file_view(await _kept(house, owner, form)))
        finally:
            await form.close()

    async def listed(self, request: Request) -> Response:
        """The key's files, newest first unless asked otherwise."""
        owner, query = self._who(request).name, request.query_params
        after, limit = page_of(query, most=MOST_LISTED, default=MOST_LISTED)
        order, purpose = query.get("order", "desc"), query.get("purpose", "")
        if order not in ("asc", "desc"):
            raise BadRequest(f"The order {order!r} is not known.", param="order", hint="Send asc or desc.")
        keeper = self._house().keeper
        every = order == "asc" or purpose
        found = await keeper.listed(
            KIND, owner, after="" if every else after, limit=MOST_LISTED if every else limit + 1
        )
        if every:
            found = [one for one in found if not purpose or one.meta.get("purpose") == purpose]
            found = found[::-1] if order == "asc" else found
            names = [one.id for one in found]
            found = found[names.index(after) + 1 if after in names else 0 :]
        shown = [file_view(one) for one in found[:limit]]
        return json(
            {
                "object": "list",
                "data": shown,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
                "has_more": len(found) > limit,
            }
        )

    async def retrieve(self, request: Request) -> Response:
        """One file's facts."""
        return json(file_view(await self._file(request)))

    async def content(self, request: Request) -> Response:
        """Its bytes."""
        stored = await self._file(request)
        keeper = self._house().keeper

        async def pieces() -> AsyncGenerator[bytes]:
            async for piece in keeper.pieces(KIND, stored.id, stored.owner):
                yield piece

        return StreamingResponse(pieces(), media_type="application/octet-stream")

    async def delete(self, request: Request) -> Response:
        """Gone at once. A batch that was made of it goes on: it has its own copy."""
        owner, name = self._who(request).name, request.path_params["id"]
        if not await self._house().keeper.delete(KIND, name, owner):
            raise no_file(name)
        return json({"id": name, "object": "file", "deleted": True})

    async def _file(self, request: Request) -> Stored:
        owner, name = self._who(request).name, request.path_params["id"]
        stored = await self._house().keeper.get(KIND, name, owner)
        if stored is None:
            raise no_file(name)
        return stored


async def _kept(house: House, owner: str, form: FormData) -> Stored:
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        raise BadRequest("The field file is missing.", param="file", hint="Send it with a file name.")
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        raise BadRequest(
            f"{purpose!r} is not one of {', '.join(PURPOSES)}.", param="purpose", hint="Send one of them."
        )
    limits, size = house.config.files, file.size or 0
    if size > limits.max_file_bytes:
        raise BodyTooLarge(
            f"The file has {size} bytes; at most {limits.max_file_bytes} are kept (files.max_file_bytes).",
            param="file",
        )
    keeper = house.keeper
    await check_room(keeper, KIND, owner, limits.max_total_bytes, FILES, size)
    name, expires_ms = new_id("file-"), _expiry(form)
    meta = {"filename": (file.filename or "file")[:MAX_NAME_CHARS], "purpose": purpose}
    draft = await keeper.draft()
    n = 0
    while piece := await file.read(PIECE_BYTES):
        await keeper.add(draft, n, piece)
        n += 1
    await keeper.put(KIND, name, owner, meta=meta, draft=draft, expires_ms=expires_ms)
    return await found(keeper, name, owner)


async def found(keeper: Keeper, name: str, owner: str) -> Stored:
    """A file that was just kept."""
    stored = await keeper.get(KIND, name, owner)
    if stored is None:
        raise no_file(name)
    return stored


def _expiry(form: FormData) -> int | None:
    text, anchor = form.get("expires_after[seconds]"), form.get("expires_after[anchor]")
    if text is None and anchor is None:
        return None
    if anchor != "created_at":
        raise BadRequest("A file expires after created_at, and nothing else.", param="expires_after[anchor]")
    if not isinstance(text, str) or not within(text) or not _MIN_KEPT_S <= int(text) <= _MAX_KEPT_S:
        raise BadRequest(
            f"A file is kept from {_MIN_KEPT_S} to {_MAX_KEPT_S} seconds.", param="expires_after[seconds]"
        )
    return unix_ms() + int(text) * 1000

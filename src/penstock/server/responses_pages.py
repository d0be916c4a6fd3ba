"""Kept responses: looked at, listed by their input, deleted. They are made in gateway.conversation.

Rule: whose key does not own a response is told the same as of one that never was.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import BadRequest
from penstock.dialects.openai_responses.kept import KIND, Turn, conversation, read_turn
from penstock.gateway.conversation import fetch_chain, no_response
from penstock.gateway.house import House
from penstock.gateway.principal import Principal
from penstock.server.files_pages import within

PREFIXES = ("/v1", "/openai/v1", "/api/v1", "/openai", "")
DEFAULT_ITEMS, MOST_ITEMS = 20, 100
_encode = msgspec.json.Encoder().encode


class _Id(Struct):
    id: str = ""


_decode_id = msgspec.json.Decoder(_Id).decode


class ResponsesPages:
    """GET and DELETE of kept responses. ``house`` is the one in force; ``principal`` says who asks.

    ``spender`` says it where something is changed: no web page from elsewhere.
    """

    def __init__(
        self,
        house: Callable[[], House],
        principal: Callable[[Request], Principal],
        spender: Callable[[Request], Principal],
    ) -> None:
        self._house = house
        self._principal = principal
        self._spender = spender

    def routes(self) -> list[Route]:
        """Below every prefix that OpenAI's clients use."""
        found: list[Route] = []
        for prefix in PREFIXES:
            path = f"{prefix}/responses/{{id}}"
            found += [
                Route(path, self.retrieve, methods=["GET"]),
                Route(path, self.delete, methods=["DELETE"]),
                Route(f"{path}/input_items", self.input_items, methods=["GET"]),
            ]
        return found

    async def retrieve(self, request: Request) -> Response:
        """The Response, as it was answered."""
        if request.query_params.get("stream") == "true":
            raise BadRequest(
                "Only a response that is made in the background can be streamed again.",
                param="stream",
                hint="Leave stream out: the response is whole.",
            )
        turn = await self._turn(request)
        return Response(bytes(turn.response), media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """Gone, with its input; what was said after it has no beginning any more."""
        name, owner = request.path_params["id"], self._spender(request).name
        if not await self._house().keeper.delete(KIND, name, owner):
            raise no_response(name)
        return _json({"id": name, "object": "response", "deleted": True})

    async def input_items(self, request: Request) -> Response:
        """All that the model was given: the conversation before the response, and its own input. Newest first."""
        name, owner = request.path_params["id"], self._principal(request).name
        house = self._house()
        most = house.config.server.max_body_bytes
        chain = await house.keeper.do(lambda store: fetch_chain(store, name, owner, most))
        if isinstance(chain, str):
            raise no_response(name)
        *before, last = chain.turns
        items = [*conversation(before), *[bytes(item) for item in last.input]]
        query = request.query_params
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise BadRequest(f"The order {order!r} is not known.", param="order", hint="Send asc or desc.")
        if order == "desc":
            items.reverse()
        return _json(page(items, query.get("after", ""), _limit(query.get("limit", ""))))

    async def _turn(self, request: Request) -> Turn:
        name, owner = request.path_params["id"], self._principal(request).name
        body = await self._house().keeper.body(KIND, name, owner)
        if body is None:
            raise no_response(name)
        return read_turn(body)


def page(items: list[bytes], after: str, limit: int) -> dict[str, Any]:
    """One page of items, as OpenAI lists them. ``after``: the id of the last one that was seen."""
    names = [_decode_id(item).id for item in items]
    start = 0
    if after:
        if after not in names:
            raise BadRequest(f"There is no item {after!r} in this list.", param="after")
        start = names.index(after) + 1
    shown, ids = items[start : start + limit], names[start : start + limit]
    return {
        "object": "list",
        "data": [Raw(item) for item in shown],
        "first_id": ids[0] if ids else "",
        "last_id": ids[-1] if ids else "",
        "has_more": start + limit < len(items),
    }


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_ITEMS
    if not within(text) or not 1 <= int(text) <= MOST_ITEMS:
        raise BadRequest(f"The limit {text!r} is not between 1 and {MOST_ITEMS}.", param="limit")
    return int(text)


def _json(value: Any) -> Response:
    return Response(_encode(value), media_type="application/json")

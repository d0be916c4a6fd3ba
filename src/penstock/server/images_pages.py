"""Pictures that are served by link (``response_format: url``): the link is the key, and it ends."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.errors import NotFound
from penstock.gateway.house import House
from penstock.gateway.pictures import PATH, looked_up


class ImagesPages:
    """``house``: the one in force."""

    def __init__(self, house: Callable[[], House]) -> None:
        self._house = house

    def routes(self) -> list[Route]:
        """One path: links are made by us alone."""
        return [Route(f"{PATH}{{id}}", self.content, methods=["GET"])]

    async def content(self, request: Request) -> Response:
        """The picture, to whoever has its link."""
        house, query = self._house(), request.query_params
        found = await looked_up(
            house.keeper,
            request.path_params["id"],
            query.get("expires", ""),
            query.get("signature", ""),
            house.clock.unix_s(),
        )
        if found is None:
            raise NotFound("There is no such picture, or its link has ended.", code="picture_not_found")
        mime, body = found
        return Response(
            body,
            media_type=mime,
            headers={
                "cache-control": "private, max-age=300",
                "content-security-policy": "default-src 'none'; sandbox",
                "x-content-type-options": "nosniff",
            },
        )

"""What Google's clients ask besides contents: a prompt's tokens, and the models, in Gemini's shape.

Source: google-genai 3.4.0 (models.py, types.py), read 2026-11. A key may stand in the query (``?key=``), as in Google's own
REST samples. Of the paths that vendors share, ``/v1/models`` is Gemini's for who presents ``x-goog-api-key``.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, NotFound
from penstock.dialects.gemini import GeminiCount, model_of
from penstock.gateway.counting import count_tokens
from penstock.gateway.house import House
from penstock.gateway.principal import Principal
from penstock.gateway.settle import begin_facts
from penstock.server.astray import no_path

MOST_MODELS = 1000
"""A page of models at most, as at Google."""
_PAGE = 50
_MAX_DIGITS = 9
_VERSIONS = ("v1beta", "v1beta1", "v1alpha")
_PATH = re.compile(
    r"(?P<project>projects/[^/]+/locations/[^/]+/)?(?:publishers/(?P<publisher>[^/]+)/)?models/(?P<model>.+)"
)
_encode = msgspec.json.Encoder().encode
Admit = Callable[[Request], Principal]
Names = Callable[[Principal], Sequence[str]]


def is_gemini(request: Request) -> bool:
    """Whether the caller of a path that vendors share is Google's client."""
    return "x-goog-api-key" in request.headers or "key" in request.query_params


class GeminiPages:
    """The pages. ``house`` is the one in force; ``admit`` lets a request's holder in, ``names`` are the models it may use."""

    def __init__(self, house: Callable[[], House], admit: Admit, names: Names) -> None:
        self._house = house
        self._may: Admit = admit
        self._names = names

    def routes(self) -> list[Route]:
        """Where they are. Put before those that take ``/v1/models/...``."""
        found = [
            Route(f"/{version}/{{rest:path}}:countTokens", self.count_tokens, methods=["POST"])
            for version in ("v1", *_VERSIONS)
        ]
        for version in _VERSIONS:
            found += [
                Route(f"/{version}/models", self.models),
                Route(f"/{version}/publishers/{{publisher}}/models", self.models),
                Route(f"/{version}/{{rest:path}}", self.model),
            ]
        found += [
            Route("/v1/publishers/{publisher}/models", self.models),
            Route("/v1/publishers/{rest:path}", self.model),
        ]
        return found

    def _admit(self, request: Request) -> Principal:
        key = request.query_params.get("key")
        if key and "x-goog-api-key" not in request.headers:
            headers: list[tuple[bytes, bytes]] = request.scope["headers"]
            request.scope["headers"] = [*headers, (b"x-goog-api-key", key.encode("latin-1", "replace"))]
        return self._may(request)

    async def count_tokens(self, request: Request) -> Response:
        """The prompt's tokens. ``x-penstock-counted-by``: "provider", or "estimate"."""
        house, received_s = self._house(), time.monotonic()
        principal = self._admit(request)
        path = _PATH.fullmatch(request.path_params["rest"])
        if path is None:
            raise no_path(request.scope["path"])
        caller = GeminiCount(
            model_of(path["model"], path["publisher"] or ""),
            vertex=path["project"] is not None or path["publisher"] is not None,
        )
        ask = caller.read_request(await request.body())
        facts = begin_facts(request.scope.get("penstock.request_id", ""), received_s, house.clock.unix_s())
        facts.principal = principal
        counted = await count_tokens(house, caller, ask, facts)
        headers = {
            "x-penstock-counted-by": counted.by,
            "x-penstock-provider": counted.target.provider,
            "x-penstock-model": counted.target.model,
        }
        return _json({"totalTokens": counted.tokens}, headers)

    async def models(self, request: Request) -> Response:
        """What this key may call, a page at a time (``pageSize``, ``pageToken``)."""
        names = self._names(self._admit(request))
        query = request.query_params
        size = _number(query.get("pageSize", query.get("page_size")), "pageSize", _PAGE)
        token = query.get("pageToken", query.get("page_token")) or "0"
        if not (token.isascii() and token.isdigit() and len(token) <= _MAX_DIGITS):
            raise BadRequest("The pageToken is none of ours.", param="pageToken")
        start = int(token)
        page = names[start : start + min(size, MOST_MODELS)]
        rows = [described(self._house(), name) for name in page]
        body: dict[str, Any] = {"models": rows}
        if "publishers" in request.url.path:
            body = {"publisherModels": [_published(row) for row in rows]}
        if start + len(page) < len(names):
            body["nextPageToken"] = str(start + len(page))
        return _json(body)

    async def model(self, request: Request) -> Response:
        """One model, by its name."""
        names = self._names(self._admit(request))
        path = _PATH.fullmatch(request.scope["path"].split("/", 2)[2])
        if path is None:
            raise no_path(request.scope["path"])
        name = model_of(path["model"], path["publisher"] or "")
        if name not in names:
            raise NotFound(f"There is no model {name!r} for this key.", code="model_not_found", param="model")
        row = described(self._house(), name)
        return _json(_published(row) if path["publisher"] else row)


def described(house: House, name: str) -> dict[str, Any]:
    """One model. What is not known of it is left out, never guessed."""
    chain = house.names.chain(name)
    facts = None if isinstance(chain, Rejected) else chain.targets[0].facts
    row: dict[str, Any] = {"name": f"models/{name}", "displayName": name}
    if facts is not None and facts.context_tokens is not None:
        row["inputTokenLimit"] = facts.context_tokens
    if facts is not None and facts.max_output_tokens is not None:
        row["outputTokenLimit"] = facts.max_output_tokens
    embeds = facts is not None and facts.mode == "embedding"
    row["supportedGenerationMethods"] = (
        ["embedContent", "batchEmbedContents"]
        if embeds
        else ["generateContent", "streamGenerateContent", "countTokens"]
    )
    if facts is not None and facts.reasoning is not None:
        row["thinking"] = facts.reasoning != "none"
    return row


def _published(row: dict[str, Any]) -> dict[str, Any]:
    """The same as Vertex lists it."""
    return {"name": f"publishers/google/{row['name']}", "displayName": row["displayName"]}


def _number(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise BadRequest(f"{name} is {text[:20]!r}, no number of models.", param=name, hint="Send 1 to 1000.")
    return int(text)


def _json(body: Any, headers: dict[str, str] | None = None) -> Response:
    plain = {
        name: "".join(mark if " " <= mark <= "~" else "?" for mark in value)
        for name, value in (headers or {}).items()
    }
    return Response(_encode(body), media_type="application/json", headers=plain)

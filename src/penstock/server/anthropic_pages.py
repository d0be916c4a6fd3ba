"""What Anthropic's clients ask besides messages: a prompt's tokens, and the models, in Anthropic's shape.

Source: anthropic-python 2.11.0 (resources/messages, resources/models; types/model_info), read 2026-11.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, NotFound
from penstock.base.models import ModelFacts
from penstock.dialects.anthropic import anthropic_caller
from penstock.gateway.counting import count_tokens
from penstock.gateway.house import House
from penstock.gateway.principal import Principal
from penstock.gateway.settle import begin_facts
from penstock.wire.ports import CallerDialect

MOST_MODELS = 1000
"""A page of models at most, as at Anthropic."""
_PAGE = 20
_UNKNOWN_DATE = "1970-01-01T00:00:00Z"
"""Their own word for a release that is not known."""
_encode = msgspec.json.Encoder().encode
Admit = Callable[[Request], Principal]


def caller_of_request(request: Request, *, counting: bool = False) -> CallerDialect:
    """The dialect of who asks, at the API version that its headers name."""
    version = request.headers.get("anthropic-version", "").encode("latin-1")
    betas = request.headers.get("anthropic-beta", "").encode("latin-1")
    return anthropic_caller(version, betas, counting=counting)


class AnthropicPages:
    """The pages. ``house`` is the one in force; ``admit`` lets a request's holder in."""

    def __init__(self, house: Callable[[], House], admit: Admit) -> None:
        self._house = house
        self._admit = admit

    def routes(self) -> list[Route]:
        """Where they are. Lists of models at the path that vendors share are ``server.pages``'s to divide."""
        return [
            Route(f"{prefix}/v1/messages/count_tokens", self.count_tokens, methods=["POST"])
            for prefix in ("", "/anthropic")
        ]

    async def count_tokens(self, request: Request) -> Response:
        """The prompt's tokens. ``x-penstock-counted-by``: "provider", or "estimate"."""
        house, received_s = self._house(), time.monotonic()
        principal = self._admit(request)
        caller = caller_of_request(request, counting=True)
        ask = caller.read_request(await request.body())
        request_id = request.scope.get("penstock.request_id", "")
        facts = begin_facts(request_id, received_s, house.clock.unix_s())
        facts.principal = principal
        counted = await count_tokens(house, caller, ask, facts)
        headers = {
            "x-penstock-counted-by": counted.by,
            "x-penstock-provider": counted.target.provider,
            "x-penstock-model": counted.target.model,
            "request-id": request_id,
        }
        body = _encode({"input_tokens": counted.tokens})
        return Response(body, media_type="application/json", headers=_printable(headers))


def _printable(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: "".join(mark if " " <= mark <= "~" else "?" for mark in value)
        for name, value in headers.items()
    }


def listed(request: Request, house: House, names: Sequence[str]) -> dict[str, Any]:
    """A page of models: ``limit``, ``after_id``, ``before_id``."""
    query = request.query_params
    limit = _limit(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    start, end = 0, len(names)
    if after is not None:
        start = _place(names, after, "after_id") + 1
    if before is not None:
        end = _place(names, before, "before_id")
        start = max(start, end - limit)
    page = names[start : min(end, start + limit)]
    more = start > 0 if before is not None else start + len(page) < end
    return {
        "data": [described(house, name) for name in page],
        "has_more": more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return _PAGE
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MOST_MODELS:
        raise BadRequest(
            f"limit: {text[:20]!r} is no number of models.",
            param="limit",
            hint=f"Send 1 to {MOST_MODELS}.",
        )
    return int(text)


def _place(names: Sequence[str], name: str, param: str) -> int:
    if name not in names:
        raise NotFound(f"There is no model {name!r} for this key.", code="model_not_found", param=param)
    return names.index(name)


def described(house: House, name: str) -> dict[str, Any]:
    """One model. What is not known of it is left open, never guessed."""
    chain = house.names.chain(name)
    facts = None if isinstance(chain, Rejected) else chain.targets[0].facts
    lifecycle, deprecated, retires = _lifecycle(facts, datetime.now(UTC).date().isoformat())
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _UNKNOWN_DATE,
        "lifecycle": lifecycle,
        "deprecated_at": deprecated,
        "retires_at": retires,
        "max_input_tokens": None if facts is None else facts.context_tokens,
        "max_tokens": None if facts is None else facts.max_output_tokens,
        "capabilities": None,
        "line": None,
    }


def _lifecycle(facts: ModelFacts | None, today: str) -> tuple[str, str | None, str | None]:
    """ "active", "deprecated" or "retired", and when it came to that."""
    if facts is None or not (facts.deprecated or facts.retires):
        return "active", None, None
    retires = f"{facts.retires}T00:00:00Z" if facts.retires else None
    deprecated = f"{facts.deprecated}T00:00:00Z" if facts.deprecated else None
    if facts.retires and facts.retires <= today:
        return "retired", deprecated, retires
    if facts.deprecated and facts.deprecated <= today:
        return "deprecated", deprecated, retires
    return "active", None, retires

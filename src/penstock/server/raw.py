"""Which paths are reached raw (gateway.raw): below ``/raw/{provider}/``, and OpenAI's fine-tuning at its own place."""

import re

from penstock.base.errors import BadRequest, NotFound
from penstock.gateway.house import House
from penstock.gateway.ports import Reply
from penstock.gateway.raw import begin_raw
from penstock.gateway.raw_rules import RAW_PREFIX
from penstock.server.reading import Request

_FINE_TUNING = re.compile(rb"(?:/openai)?(?:/v1)?(/fine_tuning(?:/.*|\?.*|))", re.DOTALL)


def is_raw(url: bytes) -> bool:
    """Whether this is asked of a provider as it is."""
    return url.startswith(RAW_PREFIX) or (b"/fine_tuning" in url and _FINE_TUNING.fullmatch(url) is not None)


async def serve_raw(house: House, request: Request, reply: Reply, request_id: str) -> None:
    """Serve it. A PenstockError leaves it only while nothing was sent yet."""
    if b"x-penstock-async" in request.told:
        raise BadRequest(
            "A raw call is not made a job: what its answer is, and how much of it is kept, only the provider's API can say.",
            param="x-penstock-async",
            hint="Leave the header out, or ask for the provider's own way to be answered later.",
        )
    url = request.url
    tuning = None if url.startswith(RAW_PREFIX) else _FINE_TUNING.fullmatch(url)
    if tuning is not None:
        url = RAW_PREFIX + _tuner(house).encode("latin-1") + tuning[1]
    call = begin_raw(house, request.told, reply, request_id, request.received_s)
    await call.run(request.method, url, request.headers, request.body)


def _tuner(house: House) -> str:
    """Who fine-tunes: the first provider in OpenAI's dialect that is reached raw."""
    for name, settings in house.config.providers.items():
        if settings.raw and name in house.providers and house.providers[name].dialect.name == "openai":
            return name
    raise NotFound(
        "No provider here fine-tunes.",
        hint="The operator allows it with raw: true at a provider that speaks OpenAI's dialect.",
    )

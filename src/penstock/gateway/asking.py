"""One question to a provider's own service (files, batches), with one of our keys: an answer, or the error that it means."""

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError
from penstock.gateway.house import Provider
from penstock.gateway.raw_rules import credential
from penstock.gateway.remote import hide_secrets, refusal
from penstock.net.transport import Deadlines
from penstock.wire.http import WireRequest
from penstock.wire.uploads import Answer

_SCHEMES = {"responses": "openai"}
"""Dialects that give the key as another does."""


async def ask_provider(
    provider: Provider, secret: str, asked: WireRequest, deadlines: Deadlines, most_bytes: int
) -> Answer:
    """A 2xx. Raises UpstreamError, without the secret."""
    ours = credential(_SCHEMES.get(provider.dialect.name, provider.dialect.name), secret)
    assert not isinstance(ours, Rejected), "a service of a dialect that takes keys"
    request = WireRequest(asked.method, asked.path, [*asked.headers, *ours], asked.body, poured=asked.poured)
    try:
        exchange = await provider.transport.send(request, deadlines)
        try:
            if not 200 <= exchange.status < 300:
                raise await refusal(provider, exchange, next(iter(provider.spoken)))
            return Answer(exchange.headers, await exchange.read(most_bytes))
        finally:
            exchange.abort()
    except UpstreamError as error:
        hide_secrets(error, provider, secret)
        error.provider = provider.name
        raise

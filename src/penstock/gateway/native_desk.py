"""The way to one provider's own batch service: its port's requests, with our key, one after the other.

Rule: who creates does not know whether a request that failed on its way has arrived. ``Unclear`` says so; only an answer of
the provider's (4xx, but no time-out) is a "no".
"""

from penstock.base.decisions import Rejected
from penstock.base.errors import OurFault, UpstreamError
from penstock.dialects import NATIVE_BATCHES
from penstock.gateway.asking import ask_provider
from penstock.gateway.house import House, Provider
from penstock.gateway.remote import MAX_REPLY_BYTES
from penstock.wire.batches import BatchState, NativeBatches
from penstock.wire.http import WireRequest

_NAMES = frozenset({"openai", "anthropic", "gemini"})
"""Providers that have such a service; of others the configuration says so."""
_OTHERWISE = {
    "vertex": ": Vertex AI's batches read and write a bucket or a table of yours, which the gateway has no access to",
    "bedrock": ": Bedrock's batches read and write a bucket of yours, which the gateway has no access to",
}
"""Services that work in another way."""
_UNSURE = frozenset({408, 409, 425, 429})


def service_of(house: House, name: str) -> NativeBatches | Rejected:
    """The batch service of a provider, or why there is none."""
    provider, config = house.providers[name], house.config.providers[name]
    service = NATIVE_BATCHES.get(provider.dialect.name)
    said = config.batches if config.batches != "auto" else "native" if name in _NAMES else "own"
    if service is None or said != "native" or provider.tokens is not None or provider.sign is not None:
        why = _OTHERWISE.get(provider.dialect.name, "")
        return Rejected("batch-no-service", f"{name} has no batch service that is used{why}.")
    return service


def is_no(error: UpstreamError) -> bool:
    """The provider has understood, and will not: what was asked was not done."""
    status = error.upstream_status
    return status is not None and 400 <= status < 500 and status not in _UNSURE


class NativeDesk:
    """One provider's service, asked with one of its keys."""

    def __init__(self, provider: Provider, service: NativeBatches, key: str) -> None:
        self._provider = provider
        self.service = service
        self._secret = self._secret_of(key)

    def _secret_of(self, key: str) -> str:
        keys = self._provider.keys.keys
        found = next((one for one in keys if one.name == key), None)
        if found is None:
            raise OurFault(
                f"The key {key!r} of {self._provider.name}, which made this batch, is gone from the configuration.",
                code="batch_key_gone",
            )
        return found.secret

    async def ask(self, request: WireRequest) -> bytes:
        """The body of a 2xx. Raises UpstreamError."""
        provider = self._provider
        return (await ask_provider(provider, self._secret, request, provider.whole, MAX_REPLY_BYTES)).body

    async def state(self, request: WireRequest) -> BatchState:
        """The batch that a request answers with."""
        return self.service.read(await self.ask(request))

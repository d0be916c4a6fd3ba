"""The way to one provider's files: what a service asks (wire.uploads), with one key, within what is left of a call."""

import asyncio
import time

from penstock.base.errors import UpstreamTimeout
from penstock.config.schema import UploadsConfig
from penstock.dialects import UPLOADS
from penstock.gateway.asking import ask_provider
from penstock.gateway.house import House, Provider
from penstock.net.transport import Deadlines
from penstock.wire.http import WireRequest
from penstock.wire.uploads import Answer, Ask, Pause, Upload, Uploaded, UploadService

_NAMES = frozenset({"openai", "anthropic", "gemini"})
"""Providers that have such a service; of others the configuration says so."""
_MAX_ANSWER_BYTES = 1024 * 1024


def service_of(house: House, name: str) -> tuple[UploadService, UploadsConfig] | None:
    """The files of a provider, and when they are used; None: never."""
    provider, settings = house.providers[name], house.config.providers[name].uploads
    service = UPLOADS.get(provider.dialect.name)
    if service is None or provider.tokens is not None or provider.sign is not None:
        return None
    if settings.when == "never" or (settings.when == "auto" and name not in _NAMES):
        return None
    return service, settings


def desk_of(house: House, name: str, key: str) -> tuple[UploadService, str] | None:
    """The files of a provider, however it is configured now, and the secret of one of its keys; None: they are gone."""
    provider = house.providers.get(name)
    if provider is None or provider.dialect.name not in UPLOADS:
        return None
    secret = next((one.secret for one in provider.keys.keys if one.name == key), None)
    return None if secret is None else (UPLOADS[provider.dialect.name], secret)


class UploadDesk:
    """One provider's files, asked with one of its keys until ``until_s`` (monotonic)."""

    def __init__(self, provider: Provider, secret: str, until_s: float) -> None:
        self._provider = provider
        self._secret = secret
        self._until_s = until_s

    async def run(self, upload: Upload) -> Uploaded:
        """Bring a file there. Raises UpstreamError."""
        answer: Answer | None = None
        while True:
            try:
                wanted = upload.send(answer)
            except StopIteration as ended:
                return ended.value
            answer = None
            if isinstance(wanted, Pause):
                if self._left_s < wanted.wait_s:
                    raise self._late("before the provider had read the file")
                await asyncio.sleep(wanted.wait_s)
            else:
                answer = await self.ask(wanted)

    async def ask(self, wanted: Ask) -> Answer:
        """A 2xx. Raises UpstreamError."""
        asked = wanted.request
        path = self._below(asked.path) if wanted.absolute else asked.path
        request = WireRequest(asked.method, path, asked.headers, asked.body, poured=asked.poured)
        return await ask_provider(self._provider, self._secret, request, self._deadlines(), _MAX_ANSWER_BYTES)

    def _below(self, path: bytes) -> bytes:
        """The path below the provider's base path."""
        base = self._provider.base_url
        return path if base is None else path.removeprefix(base.base_path)

    @property
    def _left_s(self) -> float:
        return self._until_s - time.monotonic()

    def _deadlines(self) -> Deadlines:
        left_s = self._left_s
        if left_s <= 0:
            raise self._late("before the file was brought")
        return self._provider.deadlines(left_s, stream=False)

    def _late(self, when: str) -> UpstreamTimeout:
        error = UpstreamTimeout(f"The call's deadline passed {when}.", phase="total")
        error.provider = self._provider.name
        return error

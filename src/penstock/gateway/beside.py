"""The port of what is done beside an attempt on its way out: ``gateway.remote`` asks, ``gateway.preparing`` answers."""

from typing import Protocol

from penstock.base.errors import UpstreamError
from penstock.gateway.house import Provider
from penstock.gateway.settle import Listen
from penstock.gateway.structured import Judge
from penstock.wire.http import WireRequest
from penstock.wire.ports import NeutralRequest


class Placed(Protocol):
    """A request whose large files are at the provider, and are named in it (gateway.uploads)."""

    @property
    def request(self) -> WireRequest:
        """As it leaves."""
        ...

    async def again(self, error: UpstreamError, until_s: float) -> "Placed | None":
        """With files that were gone brought there anew, once; None: that is not what the provider says."""
        ...


class Beside(Protocol):
    """Of one call."""

    @property
    def listen(self) -> Listen | None:
        """Who hears what the provider says."""
        ...

    def judge(self, request: NeutralRequest) -> Judge | None:
        """Who judges the next attempt's answer."""
        ...

    async def placed(
        self, provider: Provider, credential: str, request: WireRequest, until_s: float
    ) -> Placed | None:
        """The written request with its large files at the provider; None: it goes as it is. Raises UpstreamError."""
        ...

"""The doing of a dialogue: what goes wrong on the way out ends it, at once."""

import asyncio
from typing import Any, cast

import pytest

from penstock.base.errors import OurFault, UpstreamUnreachable
from penstock.base.images import ImagesRequest
from penstock.gateway.dialogue import Conversation, Told
from penstock.net.transport import Deadlines
from tests.images.kit import dialogue

SOON = Deadlines(5, 5, 5, 10)


class _Provider:
    """One whose way out fails so."""

    base_url = None
    fetcher = None

    def __init__(self, error: Exception) -> None:
        self.transport = self
        self.sent = 0
        self._error = error

    async def send(self, *_given: Any) -> Any:
        self.sent += 1
        raise self._error


@pytest.mark.parametrize(
    "error", [OurFault("a line break"), ValueError("a bug"), UpstreamUnreachable("no way")]
)
@pytest.mark.parametrize("dialect", ["stability", "fal"])
def test_a_request_that_cannot_be_sent_ends_the_call(dialect: str, error: Exception):
    """A bug of ours as well: nothing waits for an answer that will not come, and a POST is sent once."""
    provider = _Provider(error)
    talk = dialogue(dialect, ImagesRequest("m", "a mill"))
    conversation = Conversation(cast("Any", provider), talk, Told(), SOON)

    async def run() -> None:
        try:
            await asyncio.wait_for(conversation.read(0), 5)
        finally:
            conversation.abort()

    with pytest.raises(type(error), match=str(error)):
        asyncio.run(run())
    assert provider.sent == 1
    assert conversation.status == 0

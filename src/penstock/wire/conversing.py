"""What every dialect has whose replies are dialogues: the rest of an upstream dialect, which nobody asks.

``write_request`` says what would be changed, and sends nothing: that is how a plan learns of it (require_parameters).
"""

from typing import Any

from penstock.base.errors import OurFault
from penstock.base.models import Target
from penstock.wire.http import WireRequest
from penstock.wire.ports import Dialogue, ReplyReader


class Conversing:
    """To inherit from. ``converse`` is the subclass's own."""

    def converse(self, request: Any, target: Target, credential: str) -> Dialogue:
        """A dialogue for one attempt."""
        raise NotImplementedError

    def write_request(self, request: Any, target: Target, credential: str) -> WireRequest:
        """Only ``adjusted`` of it is true."""
        return WireRequest(b"POST", b"", [], b"", self.converse(request, target, credential).adjusted)

    def reader(self, target: Target, *, stream: bool) -> ReplyReader:
        """There is none."""
        raise OurFault(f"The replies of {target.dialect} are dialogues.")

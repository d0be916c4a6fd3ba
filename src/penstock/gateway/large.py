"""A large call's body, taken apart before anybody reads it (base.bulk), and made whole again where that does not do.

Rules
- What is wrong with a slim body is looked for again in the whole one: the error tells places in what the caller sent.
- Whoever refuses a slim request is asked once more, with the whole one.
"""

import asyncio

from msgspec import Raw

from penstock.base.chat import Ask
from penstock.base.errors import BadRequest
from penstock.gateway.ports import Inbound
from penstock.wire.http import WireRequest
from penstock.wire.large import LARGE_BYTES, take_apart
from penstock.wire.ports import RoomyDialect


async def lighten(inbound: Inbound) -> None:
    """Take a large body apart, beside the loop. Once a body."""
    if inbound.looked or len(inbound.body) <= LARGE_BYTES:
        return
    inbound.looked = True
    if hasattr(inbound.caller, "long_field"):
        roomy: RoomyDialect = inbound.caller  # type: ignore[assignment] - it has it
        inbound.bulk = await asyncio.to_thread(take_apart, inbound.body, roomy.long_field)


def envelope(inbound: Inbound) -> Ask:
    """What the caller asks. Raises BadRequest."""
    bulk = inbound.bulk
    if bulk is not None:
        try:
            ask = inbound.caller.read_request(bulk.slim)
        except BadRequest:
            inbound.bulk = None
        else:
            ask.bulk = bulk
            ask.input_bytes += bulk.hidden_bytes
            return ask
    return inbound.caller.read_request(inbound.body)


def thicken(ask: Ask) -> None:
    """The ask with the whole body. Blocks: for a thread."""
    bulk = ask.bulk
    if bulk is None:
        return
    ask.body = bulk.restore(ask.body)
    for name in ask.__struct_fields__:
        value = getattr(ask, name)
        if isinstance(value, Raw):
            setattr(ask, name, Raw(bulk.restore(bytes(value))))
    ask.bulk = ask.spans = None


def filled(request: WireRequest, ask: Ask) -> bool:
    """Put the long strings into what was written of a slim ask. False: it has lost one."""
    if ask.bulk is None:
        return True
    pieces = ask.bulk.fill(request.body)
    if pieces is None:
        return False
    request.body, request.pieces = b"", pieces
    return True

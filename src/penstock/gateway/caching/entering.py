"""What an answer out of the cache takes of its caller's allowance: a request of his rates and a place, none of his tokens."""

import time
from collections.abc import Mapping

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.errors import NotFound
from penstock.cache.controls import Controls, block_of, controls_of
from penstock.gateway.attempt import enter
from penstock.gateway.ports import MISSPELT
from penstock.gateway.settle import CallFacts

ASKED_OFF = Rejected("asked-off", "The caller asked for no cache.")
_HINT = "Send it without x-penstock-cache: only to have it answered."
_SAYS = frozenset(
    f"x-penstock-cache{end}".encode()
    for end in ("", "-ttl", "-min-score", "-namespace", "-tags", "-no-store")
) | {MISSPELT}


async def enter_free(facts: CallFacts) -> None:
    """Take a request and a place, once a call. Raises RateLimited."""
    if not facts.entered:
        await enter(facts, 0)


def leave_free(facts: CallFacts) -> None:
    """Give place and request back: the call is fetched after all, and enters with its tokens."""
    allowance = facts.principal.allowance
    if facts.entered and allowance is not None:
        allowance.undo(facts.request_id, facts.estimated_tokens, time.monotonic())
    facts.entered = False


def asks(told: Mapping[bytes, bytes]) -> bool:
    """Whether a header says more of the cache than "off": then it is read, whatever the cache has to do with the call."""
    return not _SAYS.isdisjoint(told) and not (
        told.get(b"x-penstock-cache") == b"off" and len(_SAYS & told.keys()) == 1
    )


def controls_in(told: Mapping[bytes, bytes], ask: Ask) -> Controls:
    """What headers and body say. Raises BadRequest naming header or field."""
    return controls_of(told, block_of(ask.body)[0])


def cache_miss(no: Rejected | None = None) -> NotFound:
    """404 for a call that asked for a kept answer or none. ``no``: why answers to such calls are not kept."""
    if no is not None:
        return NotFound(
            f"No answer to such a call is kept, and it asked for a kept one only. {no.reason}",
            code="cache_miss",
            hint=_HINT,
        )
    return NotFound(
        "No kept answer fits this call, and it asked for one only.",
        code="cache_miss",
        hint=_HINT,
    )


def check_uncached(caching: object, told: Mapping[bytes, bytes], ask: Ask) -> None:
    """Where nothing is cached (``caching`` None): who asks for a kept answer only gets none, and no call. Raises NotFound, and
    BadRequest of what means nothing."""
    if caching is not None:
        return
    if (asks(told) or "penstock" in ask.gateway_fields) and controls_in(told, ask).mode == "only":
        raise cache_miss()

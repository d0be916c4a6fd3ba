"""What an answer out of the cache takes of its caller's allowance: a request of his rates and a place, none of his tokens."""

import time
from collections.abc import Mapping

from penstock.base.decisions import Rejected
from penstock.base.errors import NotFound
from penstock.cache.controls import controls_of
from penstock.gateway.attempt import enter
from penstock.gateway.ports import MISSPELT
from penstock.gateway.settle import CallFacts

ASKED_OFF = Rejected("asked-off", "The caller asked for no cache.")


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


def cache_miss() -> NotFound:
    """404 for a call that asked for a kept answer or none."""
    return NotFound(
        "No kept answer fits this call, and it asked for one only.",
        code="cache_miss",
        hint="Send it without x-penstock-cache: only to have it answered.",
    )


def check_without_cache(told: Mapping[bytes, bytes]) -> None:
    """Where nothing is cached: who asks for a kept answer only gets none, and no call. Raises NotFound, and BadRequest of what
    means nothing."""
    if (b"x-penstock-cache" in told or MISSPELT in told) and controls_of(told, None).mode == "only":
        raise cache_miss()

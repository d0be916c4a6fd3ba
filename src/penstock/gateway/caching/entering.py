"""What an answer out of the cache takes of its caller's allowance: a request of his rates and a place, none of his tokens."""

import time

from penstock.gateway.attempt import enter
from penstock.gateway.settle import CallFacts


async def enter_free(facts: CallFacts) -> None:
    """Take a request and a place, once a call. Raises RateLimited."""
    if not facts.entered:
        await enter(facts, 0)


def leave_free(facts: CallFacts) -> None:
    """Give the place back: the call is fetched after all, and enters with its tokens."""
    allowance = facts.principal.allowance
    if facts.entered and allowance is not None:
        allowance.leave(facts.request_id, facts.estimated_tokens, 0, time.monotonic())
    facts.entered = False

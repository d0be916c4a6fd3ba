"""A provider's refusal as our error, by status: for providers whose errors have little more to say.

Rules: classes are chosen by status and code, never by words in a sentence; a sentence is one line of at most 500
characters without anything that looks like a key (the gateway masks its own keys beside that).
"""

import re
import time

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.wire.http import Headers
from penstock.wire.retry_hint import retry_after_s

MOST_CHARS = 500
_SECRET = re.compile(r"\b(?:sk|r8|key)[-_][A-Za-z0-9_\-]{8,}|(?<=[Bb]earer )\S+|(?<=Key )[\w:.-]{8,}")
_TRANSIENT = (408, 425, 499)


def clean(text: str) -> str:
    """One line, without secrets."""
    line = _SECRET.sub("***", " ".join(text[: 20 * MOST_CHARS].split()))
    return line if len(line) <= MOST_CHARS else line[: MOST_CHARS - 1] + "…"


def blocked(label: str, why: str, status: int = 200) -> UpstreamBadRequest:
    """The provider's filter has said no: about the words or the picture, not about our key."""
    words = clean(why).rstrip(".")
    return UpstreamBadRequest(
        f"{label}'s content filter refused the request: {words}."
        if words
        else f"{label}'s content filter refused the request.",
        code="moderation_blocked",
        param="prompt",
        status=400,
        upstream_status=status,
    )


def refusal(
    label: str, status: int, words: str, headers: Headers, *, code: str | None = None
) -> UpstreamError:
    """The error of a status that is no 2xx."""
    said = clean(words)
    told = f"{label} answered {status}: {said}" if said else f"{label} answered {status} without a reason."
    if status in (401, 402, 403):
        # Its sentence about *our* key or account is not for the caller.
        return UpstreamAuthFailed(
            f"{label} refused the gateway's credential ({status}).", upstream_status=status
        )
    if status == 429:
        wait_s = retry_after_s(headers, time.time())
        return UpstreamRateLimited(told, code=code, retry_after_s=wait_s, upstream_status=status)
    if status == 404:
        return UpstreamNotFound(told, upstream_status=status)
    if status == 413:
        return UpstreamTooLarge(told, upstream_status=status)
    if 400 <= status < 500 and status not in _TRANSIENT:
        return UpstreamBadRequest(told, code=code, status=status, upstream_status=status)
    wait_s = retry_after_s(headers, time.time())
    return UpstreamFault(
        told,
        code=code,
        status=503 if status in (503, 529) else 502,
        retry_after_s=wait_s,
        upstream_status=status,
    )

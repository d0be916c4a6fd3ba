"""Usage of OpenAI's audio API as our disjoint vector and fees, and the other way round.

Rules: ``type: tokens`` tells sounds from words on the way in, where it says; what comes out of a transcription is words, what
comes out of speech is sound. ``type: duration`` is seconds of the recording, charged as the catalogue calls them.
"""

from typing import Any, Literal

from msgspec import Struct

from penstock.base.models import PriceRow
from penstock.base.sound_fees import HEARD, heard_fees
from penstock.base.usage import Usage, UsageSource

Made = Literal["words", "sound"]


class _Details(Struct, gc=False):
    text_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens: int | None = None


class UsageField(Struct, gc=False):
    """``usage`` of a transcription or of speech."""

    type: str | None = None
    seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_token_details: _Details | None = None


_NONE = _Details()


def read_usage(seen: UsageField, row: PriceRow | None, made: Made, source: UsageSource) -> Usage | None:
    """The disjoint vector, or the fee for the seconds; None where nothing is said."""
    if seen.input_tokens is None and seen.output_tokens is None and seen.total_tokens is None:
        if seen.seconds is None:
            return None
        return Usage(fees=heard_fees(row, seen.seconds), source=source)
    given, out = max(seen.input_tokens or 0, 0), max(seen.output_tokens or 0, 0)
    details = seen.input_token_details or _NONE
    cached = min(max(details.cached_tokens or 0, 0), given)
    audio = min(max(details.audio_tokens or 0, 0), given - cached)
    notes: list[str] = []
    if (details.audio_tokens or 0) + (details.cached_tokens or 0) > given:
        notes.append("the parts exceed their whole")
    if seen.total_tokens is not None and seen.total_tokens != given + out:
        notes.append(f"total_tokens {seen.total_tokens} is not {given} + {out}")
    return Usage(
        input=given - cached - audio,
        cache_read=cached,
        input_audio=audio,
        output=out if made == "words" else 0,
        output_audio=out if made == "sound" else 0,
        source=source,
        note="; ".join(notes),
    )


def written(usage: Usage) -> dict[str, Any] | None:
    """``usage`` as OpenAI's audio API says it: tokens, or else seconds; None where neither was counted."""
    if usage.total_tokens:
        return {
            "type": "tokens",
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "input_token_details": {
                "audio_tokens": usage.input_audio,
                "text_tokens": usage.prompt_tokens - usage.input_audio,
            },
        }
    seconds = [quantity for unit, quantity in usage.fees if unit in HEARD]
    return {"type": "duration", "seconds": seconds[0]} if seconds else None

"""Usage of the images API as our disjoint vector, and what is charged where no tokens are counted.

``input_tokens_details`` tells text from pictures; what comes out is pictures where nothing else is said. Servers that count
no tokens (they are paid by the picture) are charged by what the catalogue prices: base.picture_fees.
"""

from msgspec import Struct

from penstock.base.models import PriceRow
from penstock.base.picture_fees import picture_fees
from penstock.base.usage import Usage, UsageSource
from penstock.wire.pictures import size_of


class _Details(Struct, gc=False):
    text_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None


class UsageField(Struct, gc=False):
    """``usage`` as OpenAI's images API sends it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


_NONE = _Details()


def read_usage(seen: UsageField, source: UsageSource) -> Usage:
    """The disjoint vector. Figures that contradict each other are clamped, and ``note`` says so."""
    given, made = max(seen.input_tokens or 0, 0), max(seen.output_tokens or 0, 0)
    into, out = seen.input_tokens_details or _NONE, seen.output_tokens_details or _NONE
    images = min(max(into.image_tokens or 0, 0), given)
    cached = min(max(into.cached_tokens or 0, 0), given - images)
    words = 0 if out.image_tokens is None else min(max(made - out.image_tokens, 0), made)
    notes: list[str] = []
    if (into.image_tokens or 0) > given or (out.image_tokens or 0) > made:
        notes.append("the parts exceed their whole")
    if seen.total_tokens is not None and seen.total_tokens != given + made:
        notes.append(f"total_tokens {seen.total_tokens} is not {given} + {made}")
    return Usage(
        input=given - images - cached,
        cache_read=cached,
        input_image=images,
        output=words,
        output_image=made - words,
        source=source,
        note="; ".join(notes),
    )


def by_picture(
    row: PriceRow | None, pictures: int, size: str | None, quality: str | None, source: UsageSource
) -> Usage:
    """What ``pictures`` cost where no tokens are told. ``size`` as the provider says, or as it was asked."""
    width, height = size_of(size) or (0, 0)
    fees = picture_fees(row, pictures, width=width, height=height, quality=quality or "")
    return Usage(fees=fees, source=source)

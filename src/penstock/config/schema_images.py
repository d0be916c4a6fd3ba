"""Knobs of pictures; imported by schema, where all knobs are."""

from typing import Annotated

from msgspec import Meta, Struct


def _doc(text: str) -> Meta:
    return Meta(description=text)


class ImagesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pictures that are made for callers."""

    url_ttl_s: Annotated[
        int, Meta(ge=1, le=31_536_000), _doc("How long a link to a picture is good (response_format: url).")
    ] = 3600
    max_total_bytes: Annotated[
        int,
        Meta(ge=1),
        _doc(
            "All linked pictures of one virtual key together, until their links end; looked at before a call."
        ),
    ] = 10 * 1024**3
    base_url: Annotated[
        str | None, _doc("What such links begin with; default: the host that the caller asked.")
    ] = None

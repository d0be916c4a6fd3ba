"""Knobs of what callers point at, of what models think, and of answers in a schema; imported by schema, where all knobs are."""

from typing import Annotated

from msgspec import Meta, Struct


def _doc(text: str) -> Meta:
    return Meta(description=text)


class ReasoningStoreConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The reasoning behind tool calls, for callers whose library drops it."""

    enabled: Annotated[bool, _doc("Keep it, and put it back when the tool call comes back without it.")] = (
        True
    )
    ttl_s: Annotated[int, Meta(ge=1, le=31_536_000), _doc("How long it is kept.")] = 86_400

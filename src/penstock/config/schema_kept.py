"""Knobs of where records and shared state are kept; imported by schema, where all knobs are."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]


def _doc(text: str) -> Meta:
    return Meta(description=text)


class LedgerConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The record of every attempt."""

    path: Annotated[str, _doc("SQLite file; --db overrides it.")] = "penstock.db"
    url: Annotated[
        str | None,
        _doc(
            "postgresql://host/database instead of a file; with a password: env.NAME or file:PATH for the whole URL."
        ),
    ] = None
    flush_ms: Annotated[int, Meta(ge=1, le=1000), _doc("Longest wait before a batch is written.")] = 20
    max_queue: Annotated[Positive, _doc("Entries waiting to be written before new calls are refused.")] = (
        200_000
    )


class StateConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What several nodes share: budgets, limits, key cool-downs."""

    url: Annotated[
        str | None,
        _doc("redis://host:6379/0 (Valkey too); with a password: env.NAME or file:PATH for the whole URL."),
    ] = None
    prefix: Annotated[str, _doc("Of every name in the shared store.")] = "penstock"
    limits_fail_mode: Annotated[
        Literal["local", "closed"],
        _doc(
            "Rate limits while the shared store is gone: each node its own, or refuse. Hard budgets always refuse."
        ),
    ] = "local"

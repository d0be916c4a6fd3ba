"""Knobs of what callers point at, of what models think, and of answers in a schema; imported by schema, where all knobs are."""

from typing import Annotated, Literal

from msgspec import Meta, Struct


def _doc(text: str) -> Meta:
    return Meta(description=text)


class MediaConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pictures, documents and sounds that callers name by their address."""

    fetch: Annotated[bool, _doc("Fetch what the provider cannot fetch itself.")] = True
    max_bytes: Annotated[int, Meta(ge=1, le=1_073_741_824), _doc("The largest file that is fetched.")] = (
        20_971_520
    )
    timeout_ms: Annotated[int, Meta(ge=1, le=600_000), _doc("How long one file may take.")] = 10_000
    allow_hosts: Annotated[
        tuple[str, ...],
        _doc(
            "Hosts that are fetched from even inside a private network; * stands for any characters. Wins over deny_hosts."
        ),
    ] = ()
    deny_hosts: Annotated[
        tuple[str, ...], _doc('Hosts that are never fetched from; ["*"] leaves those of allow_hosts.')
    ] = ()


class UploadsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Large files of a request, brought to the provider's own file store and named in the request, instead of standing in it."""

    when: Annotated[
        Literal["auto", "needed", "large", "never"],
        _doc(
            "needed: where the request would be larger than the provider takes (Anthropic 32 MB, Gemini 100 MB); large: every "
            "file of min_bytes and more, too; auto: needed for the providers named openai, anthropic and gemini, never for others."
        ),
    ] = "auto"
    min_bytes: Annotated[
        int, Meta(ge=1_048_576), _doc("A large file, in bytes of the file itself; for when: large.")
    ] = 20_000_000
    keep_s: Annotated[
        int,
        Meta(ge=1, le=172_800),
        _doc("How long an uploaded file is used again; after that it is deleted there."),
    ] = 21_600


class StructuredOutputConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answers in a strict schema, translated or passed through."""

    validate: Annotated[bool, _doc("Refuse an answer that does not fit its strict schema.")] = True
    repair: Annotated[
        bool, _doc("Ask the model once more, naming the fault; streams wait for the verdict.")
    ] = False


class ReasoningStoreConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The reasoning behind tool calls, for callers whose library drops it."""

    enabled: Annotated[bool, _doc("Keep it, and put it back when the tool call comes back without it.")] = (
        True
    )
    ttl_s: Annotated[int, Meta(ge=1, le=31_536_000), _doc("How long it is kept.")] = 86_400

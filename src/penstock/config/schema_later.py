"""Knobs of what callers leave with the gateway: files, batches, jobs, responses; and of ranking. Part of ``config.schema``."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]


def _doc(text: str) -> Meta:
    return Meta(description=text)


class FilesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What callers upload to /v1/files; it lies in the ledger's database."""

    max_file_bytes: Annotated[Positive, _doc("One file; server.max_body_bytes limits an upload as well.")] = (
        512 * 1024 * 1024
    )
    max_total_bytes: Annotated[Positive, _doc("All files of one virtual key together.")] = 10 * 1024**3


class BatchesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Batches at /v1/batches."""

    max_concurrent: Annotated[
        Positive, _doc("Lines of one batch that run at once, as calls of priority batch.")
    ] = 8
    max_running: Annotated[
        Positive, _doc("Batches that each process of the gateway runs at once; further ones wait.")
    ] = 4
    max_lines: Annotated[Positive, _doc("Lines of one batch.")] = 50_000
    native: Annotated[
        Literal["auto", "never"],
        _doc(
            "auto: a batch that one provider's own batch service can take goes there, at its price; never: none does."
        ),
    ] = "auto"
    resubmit_after_s: Annotated[
        Positive,
        _doc(
            "A submission to a provider whose answer was lost is looked for so long before it is sent once more."
        ),
    ] = 120
    provider_files: Annotated[
        Literal["remove", "keep"],
        _doc(
            "remove: files (at Anthropic, batches) that stay at a provider go once their results are kept here; keep: they stay."
        ),
    ] = "remove"


class JobsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Calls that are answered later: x-penstock-async, and Responses in the background."""

    max_concurrent: Annotated[
        Positive, _doc("Jobs that each process of the gateway runs at once; further ones wait.")
    ] = 32
    max_waiting: Annotated[Positive, _doc("Jobs of one virtual key that are kept, done or not.")] = 10_000
    max_total_bytes: Annotated[
        Positive,
        _doc("All jobs of one virtual key together, requests and answers; looked at before one is taken."),
    ] = 10 * 1024**3
    keep_hours: Annotated[Positive, _doc("How long an answer is kept for its caller.")] = 168
    webhook_hosts: Annotated[
        tuple[str, ...],
        _doc("host or host:port that x-penstock-webhook may name; none: no completion is posted."),
    ] = ()
    webhook_secret: Annotated[
        str | None,
        _doc(
            "env.NAME or file:PATH; signs completions as standardwebhooks.com says. Needed with webhook_hosts."
        ),
    ] = None


class ResponsesConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What /v1/responses keeps, to be named as previous_response_id."""

    max_total_bytes: Annotated[
        Positive,
        _doc(
            "All kept responses of one virtual key together; when they are more, only store: false is answered."
        ),
    ] = 10 * 1024**3


class RerankConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ranking at /v1/rerank."""

    max_documents: Annotated[Positive, _doc("Documents of one call; Cohere itself takes 10,000.")] = 10_000

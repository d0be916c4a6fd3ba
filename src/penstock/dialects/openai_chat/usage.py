"""Token usage between OpenAI's inclusive figures and our disjoint vector, both ways.

OpenAI counts inclusively: cached, written and audio tokens are part of ``prompt_tokens``, reasoning is part of
``completion_tokens``. Some providers (xAI) leave reasoning out of ``completion_tokens``; their total shows it.

Searches of the web are charged beside tokens. OpenRouter counts them (``server_tool_use``), so does Perplexity's deep
research (``num_search_queries``); its other models charge once a call, by ``search_context_size``; xAI charges by source
(``num_sources_used``); OpenAI's search models charge once a call and show it only by the ``url_citation`` annotations.
"""

from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from penstock.base.usage import Usage, UsageSource, service_tier_of


class PromptDetails(Struct, gc=False):
    """``prompt_tokens_details``."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CompletionDetails(Struct, gc=False):
    """``completion_tokens_details``."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class ServerTools(Struct, gc=False):
    """What the provider's own tools did, as OpenRouter counts it."""

    web_search_requests: int | None = None


class UsageField(Struct, gc=False):
    """``usage`` as a provider sends it. ``prompt_cache_hit_tokens`` is DeepSeek's spelling of cached."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    server_tool_use: ServerTools | None = None
    server_tool_use_details: ServerTools | None = None
    num_search_queries: int | None = None
    search_context_size: str | None = None
    citation_tokens: int | None = None
    num_sources_used: int | None = None


_NO_PROMPT_DETAILS = PromptDetails()
_NO_COMPLETION_DETAILS = CompletionDetails()


class _Share:
    """Takes parts out of a whole, never more than is left of it."""

    __slots__ = ("left", "over")

    def __init__(self, whole: int) -> None:
        self.left = whole
        self.over = False

    def take(self, part: int | None) -> int:
        """``part``, or what is left of the whole."""
        if not part:
            return 0
        taken = min(max(part, 0), self.left)
        self.over = self.over or taken != part
        self.left -= taken
        return taken


def read_usage(
    seen: UsageField, source: UsageSource, served: str | None = None, *, cites: bool = False
) -> Usage:
    """The disjoint vector. Figures that contradict each other are clamped, and ``note`` says so.

    ``served``: the ``service_tier`` that stands beside the usage. ``cites``: the answer cites pages of the web.
    """
    tier = service_tier_of(served)
    fees = _fees(seen, cites=cites) if cites or _may_have_fees(seen) else ()
    if _is_plain(seen):
        return Usage(
            input=seen.prompt_tokens or 0,
            output=seen.completion_tokens or 0,
            source=source,
            service_tier=tier,
            fees=fees,
        )
    notes: list[str] = []
    given_prompt, given_completion = seen.prompt_tokens or 0, seen.completion_tokens or 0
    if given_prompt < 0 or given_completion < 0:
        notes.append("negative token count")
    prompt = _Share(max(given_prompt, 0))
    details = seen.prompt_tokens_details or _NO_PROMPT_DETAILS
    cached = details.cached_tokens
    cache_read = prompt.take(cached if cached is not None else seen.prompt_cache_hit_tokens)
    cache_write = prompt.take(details.cache_write_tokens)
    audio = prompt.take(details.audio_tokens)
    image = prompt.take(details.image_tokens)
    if prompt.over:
        notes.append(f"the parts of the prompt exceed its {given_prompt} tokens")

    outcome = seen.completion_tokens_details or _NO_COMPLETION_DETAILS
    thought = outcome.reasoning_tokens or 0
    total = seen.total_tokens
    plain = given_prompt + given_completion
    beside = thought > 0 and total == plain + thought
    completion = _Share(max(given_completion, 0))
    audio_out = completion.take(outcome.audio_tokens)
    image_out = completion.take(outcome.image_tokens)
    reasoning = thought if beside else completion.take(thought)
    if completion.over:
        notes.append(f"the parts of the completion exceed its {given_completion} tokens")
    if total is not None and total != plain and not beside:
        notes.append(f"total_tokens {total} is not {given_prompt} + {given_completion}")
    return Usage(
        input=prompt.left,
        cache_read=cache_read,
        cache_write_5m=cache_write,
        input_audio=audio,
        input_image=image,
        output=completion.left,
        reasoning=reasoning,
        output_audio=audio_out,
        output_image=image_out,
        source=source,
        service_tier=tier,
        fees=fees,
        note="; ".join(notes),
    )


class ResponsesUsage(Struct, gc=False):
    """``usage`` of the Responses API and of the images endpoint: the same inclusive figures by other names."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None


def read_responses_usage(seen: ResponsesUsage, source: UsageSource, served: str | None = None) -> Usage:
    """The disjoint vector of a Responses API reply. What its own tools did stands in its output, not here."""
    same = UsageField(
        prompt_tokens=seen.input_tokens,
        completion_tokens=seen.output_tokens,
        total_tokens=seen.total_tokens,
        prompt_tokens_details=seen.input_tokens_details,
        completion_tokens_details=seen.output_tokens_details,
    )
    return read_usage(same, source, served)


def _may_have_fees(seen: UsageField) -> bool:
    """Most replies have none: this is asked for each, so it asks for little."""
    return (
        seen.server_tool_use is not None
        or seen.search_context_size is not None
        or seen.num_search_queries is not None
        or seen.num_sources_used is not None
        or seen.server_tool_use_details is not None
        or seen.citation_tokens is not None
    )


def _fees(seen: UsageField, *, cites: bool) -> tuple[tuple[str, int], ...]:
    tools = seen.server_tool_use or seen.server_tool_use_details
    searches = seen.num_search_queries if tools is None else tools.web_search_requests
    size = seen.search_context_size
    if searches is None and (size or (cites and not seen.num_sources_used)):
        searches = 1
    unit = f"web_search:{size}" if size else "web_search"
    fees = (
        (unit, searches),
        ("search_source", seen.num_sources_used),
        ("citation", seen.citation_tokens),
    )
    return tuple([(unit, quantity) for unit, quantity in fees if quantity is not None and quantity > 0])


def _is_plain(seen: UsageField) -> bool:
    """Nothing but input and output, and no contradiction: most replies. The long way would say the same, slower."""
    prompt, completion = seen.prompt_tokens or 0, seen.completion_tokens or 0
    details, outcome, total = seen.prompt_tokens_details, seen.completion_tokens_details, seen.total_tokens
    return (
        (total is None or total == prompt + completion)
        and prompt >= 0
        and completion >= 0
        and not seen.prompt_cache_hit_tokens
        and (details is None or not any(astuple(details)))
        and (outcome is None or not any(astuple(outcome)))
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """``usage`` as an OpenAI client reads it. Figures that we counted ourselves say so."""
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
            "audio_tokens": usage.input_audio,
            "image_tokens": usage.input_image,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.output_audio,
            "image_tokens": usage.output_image,
        },
    }
    if usage.source in ("counted", "estimated"):
        body["estimated"] = True
    return body

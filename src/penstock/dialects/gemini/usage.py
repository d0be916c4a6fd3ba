"""``usageMetadata``: Google's inclusive counts -> the disjoint vector.

Rules: ``promptTokenCount`` includes the cached; total = prompt + candidates + tool use + thoughts, and where the sum does
not hold, the figures say so (``Usage.note``).
"""

from msgspec import Struct

from penstock.base.usage import Usage, UsageSource, service_tier_of


class _Modality(Struct, rename="camel", gc=False):
    modality: str | None = None
    token_count: int | None = None


class Counts(Struct, rename="camel", gc=False):
    """``usageMetadata``."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    service_tier: str | None = None
    traffic_type: str | None = None


_TRAFFIC = {
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_OFFPEAK": "off_peak",
}
"""Vertex's traffic types (SDK 3.4, TrafficType) as the catalogue calls such prices; provisioned throughput has none."""


def read_usage(
    counts: Counts,
    source: UsageSource,
    fees: tuple[tuple[str, int], ...] = (),
    *,
    grounded_only: bool = False,
) -> Usage:
    """Google's inclusive counts -> the disjoint vector. A negative count is none, and said.

    What a tool brought in is input (pages of url_context, results of code), but for searches: Google charges by query
    and gives what they found. ``grounded_only``: no other tool was at work, so all of it is theirs, ``grounded_input``.
    """
    prompt = max(counts.prompt_token_count or 0, 0)
    tool_use = max(counts.tool_use_prompt_token_count or 0, 0)
    thoughts = max(counts.thoughts_token_count or 0, 0)
    candidates, note = _candidates(counts, prompt + tool_use, thoughts)
    if candidates < 0:
        candidates, note = 0, "negative token count"
    if grounded_only and tool_use:
        fees, tool_use = (*fees, ("grounded_input", tool_use)), 0
    cached = max(counts.cached_content_token_count or 0, 0)
    audio = image = 0
    if _mixed(counts.prompt_tokens_details):
        audio = _of(counts.prompt_tokens_details, "AUDIO") - _of(counts.cache_tokens_details, "AUDIO")
        image = _of(counts.prompt_tokens_details, "IMAGE") - _of(counts.cache_tokens_details, "IMAGE")
    # Where Google does not say which part was cached, the parts may overlap: the whole must stay the whole.
    if cached or audio or image:
        cached = min(cached, prompt)
        audio = min(max(audio, 0), prompt - cached)
        image = min(max(image, 0), prompt - cached - audio)
    cached_audio = 0
    if cached and counts.cache_tokens_details:
        cached_audio = min(max(_of(counts.cache_tokens_details, "AUDIO"), 0), cached)
    out_audio = out_image = 0
    if _mixed(counts.candidates_tokens_details):
        out_audio = min(_of(counts.candidates_tokens_details, "AUDIO"), candidates)
        out_image = min(_of(counts.candidates_tokens_details, "IMAGE"), candidates - out_audio)
    return Usage(
        input=prompt + tool_use - cached - audio - image,
        cache_read=cached,
        input_audio=audio,
        input_image=image,
        output=candidates - out_audio - out_image,
        reasoning=thoughts,
        output_audio=out_audio,
        output_image=out_image,
        source=source,
        service_tier=_served(counts),
        fees=fees,
        cache_read_audio=cached_audio,
        note=note,
    )


def _served(counts: Counts) -> str:
    """AI Studio says ``serviceTier``, Vertex ``trafficType``."""
    traffic = counts.traffic_type
    return service_tier_of(counts.service_tier or (_TRAFFIC.get(traffic, traffic) if traffic else None))


def _candidates(counts: Counts, incoming: int, thoughts: int) -> tuple[int, str]:
    """Visible output tokens, and what is odd about the total."""
    total = counts.total_token_count
    given = counts.candidates_token_count
    if not total:
        return given or 0, ""
    if given is None:
        rest = total - incoming - thoughts
        if rest == 0:
            return 0, ""
        return max(rest, 0), f"candidatesTokenCount is missing; taken from totalTokenCount {total}"
    if total == incoming + given + thoughts:
        return given, ""
    if thoughts and total == incoming + given:
        return max(given - thoughts, 0), "candidatesTokenCount includes the thoughts"
    return given, f"totalTokenCount {total} is not the sum of its parts, {incoming + given + thoughts}"


def _mixed(details: list[_Modality] | None) -> bool:
    """Anything but text alone? (Asked for every chunk of a stream, and nearly always not.)"""
    return bool(details) and (len(details) > 1 or details[0].modality != "TEXT")


def _of(details: list[_Modality] | None, modality: str) -> int:
    return sum(one.token_count or 0 for one in details or () if one.modality == modality)

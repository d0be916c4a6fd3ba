"""OpenRouter's clients read a call's cost and tokens here as they do there."""

import msgspec

from penstock.base.usage import Usage
from penstock.ledger.generation import generation
from tests.ledger.make import entry, record

OPENROUTER_REQUIRED = {
    # GenerationResponseData's required fields (openrouter.ai/docs, read 2026-11).
    "api_type", "app_id", "cache_discount", "cancelled", "created_at", "data_region", "external_user",
    "finish_reason", "generation_time", "http_referer", "id", "is_byok", "latency", "model", "moderation_latency",
    "native_finish_reason", "native_tokens_cached", "native_tokens_completion", "native_tokens_completion_images",
    "native_tokens_prompt", "native_tokens_reasoning", "num_fetches", "num_input_audio_prompt",
    "num_media_completion", "num_media_prompt", "num_search_results", "origin", "preset_id", "provider_name",
    "provider_responses", "router", "service_tier", "streamed", "tokens_completion", "tokens_prompt", "total_cost",
    "upstream_id", "upstream_inference_cost", "usage", "user_agent", "web_search_engine",
}  # fmt: skip


def shown(whole):
    """The JSON that a client gets, and its ``data``."""
    text = msgspec.json.encode(generation(whole))
    return text, msgspec.json.decode(text)["data"]


def test_it_has_openrouters_fields():
    """Every field that their schema requires is there; what we cannot know is null."""
    _, data = shown(record("r1"))
    assert set(data) >= OPENROUTER_REQUIRED
    assert data["num_search_results"] is None


def test_the_answering_attempt_speaks_and_all_attempts_are_billed():
    """Tokens and provider are those of the attempt that answered; the cost is the sum over all."""
    cut = entry("r1", 1, klass="billed_not_delivered", status=200, provider="gemini", model="flash")
    usage = Usage(input=7, cache_read=3, output=5, reasoning=15, source="stream")
    served = entry("r1", 2, usage=usage, stream=True, latency_ms=99.6)
    _, data = shown(record("r1", cut, served, stream=True, latency_ms=130.5))
    assert data["provider_name"] == "openai"
    assert data["model"] == "gpt-4o-mini-2024-07-18"
    assert (data["tokens_prompt"], data["tokens_completion"]) == (10, 20)
    assert (data["native_tokens_cached"], data["native_tokens_reasoning"]) == (3, 15)
    assert data["total_cost"] == (270_000 + 7 * 150 + 3 * 75 + 20 * 600) / 1e9
    assert (data["streamed"], data["cancelled"]) == (True, False)
    assert (data["latency"], data["generation_time"]) == (130, 100)
    assert [part["provider_name"] for part in data["provider_responses"]] == ["gemini", "openai"]
    assert (data["id"], data["request_id"]) == ("chatcmpl-r1", "r1")
    assert data["created_at"] == "2026-11-18T11:06:40.000+00:00"


def test_the_cost_is_exact_decimal_text():
    """The number is written from integers: no exponent, no float's tail."""
    text, data = shown(record("r1", entry("r1", cost_nusd=123_456_789_012_345_678)))
    assert b'"total_cost":123456789.012345678,' in text
    text, data = shown(record("r1", entry("r1", cost_nusd=1500)))
    assert b'"total_cost":0.0000015,' in text
    assert data["total_cost"] == 0.0000015


def test_unknown_is_null_not_zero():
    """One attempt without a known price makes the sum null."""
    _, data = shown(record("r1", entry("r1", 1), entry("r1", 2, row=None)))
    assert data["total_cost"] is None
    assert data["usage"] is None


def test_a_call_without_attempts():
    """A call that was refused before any attempt has no provider, and is known to have cost nothing."""
    whole = record("r1", status=503, error_code="no_target_left", body_id="")
    whole.entries = ()
    _, data = shown(whole)
    assert (data["id"], data["provider_name"], data["tokens_prompt"], data["total_cost"]) == (
        "r1",
        None,
        None,
        0,
    )
    assert data["provider_responses"] == []


def test_a_caller_that_hung_up_is_cancelled_and_unknown_usage_is_null():
    """Cancelled is said; tokens that nobody counted are null, not 0."""
    gone = entry("r1", klass="failed", usage=Usage(), usage_source=None)
    _, data = shown(record("r1", gone, status=499, error_code="caller_gone"))
    assert data["cancelled"] is True
    assert data["tokens_prompt"] is None


def test_the_class_of_service_is_that_of_the_answering_attempt():
    """The provider's word where it named one; the list price, and what is not known, are null."""
    tiers = [
        shown(
            record(
                "r1", entry("r1", 1, klass="failed", service_tier="flex"), entry("r1", 2, service_tier=tier)
            )
        )[1]
        for tier in ("priority", "", None)
    ]
    assert [data["service_tier"] for data in tiers] == ["priority", None, None]

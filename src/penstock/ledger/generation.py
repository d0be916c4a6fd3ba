"""A call as OpenRouter's ``GET /generation`` shows it, so that its clients read their costs here too.

The shape is OpenRouter's GenerationResponse (openrouter.ai/docs, read 2026-11; wire.md 1.8). What we do not know is
null; what cannot happen here (searches, moderation) is null as well.

Rules
- ``total_cost`` is the sum over all attempts, null if any is unknown; a JSON number made of exact decimal text, so
  that nano-dollars never pass through a float. It is a ``msgspec.Raw``: encode with msgspec.
- Tokens, provider and reasons are those of the attempt that answered, or of the last one where none did.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.base.money import usd_text
from penstock.ledger.entry import Entry, Record


def generation(record: Record) -> dict[str, Any]:
    """``{"data": {...}}``, to be encoded with msgspec."""
    call = record.call
    entry = answering(record)
    cost = record.cost_nusd
    usd = None if cost is None else msgspec.Raw(usd_text(cost).encode())
    data: dict[str, Any] = {
        "id": call.body_id or call.request_id,
        "request_id": call.request_id,
        "total_cost": usd,
        "usage": usd,
        "upstream_inference_cost": usd,
        "cache_discount": None,
        "created_at": datetime.fromtimestamp(call.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "api_type": "completions",
        "streamed": call.stream,
        "cancelled": call.error_code == CANCELLED,
        "latency": round(call.latency_ms),
        "moderation_latency": None,
        "is_byok": False,
        "router": None,
        "app_id": None,
        "origin": "",
        "external_user": None,
        "session_id": None,
        "data_region": "global",
        "workspace_id": None,
        "preset_id": None,
        "http_referer": None,
        "user_agent": None,
        "web_search_engine": None,
        "num_search_results": None,
        "num_fetches": None,
        "num_media_prompt": None,
        "num_input_audio_prompt": None,
        "num_media_completion": None,
        "response_cache_source_id": None,
        "provider_responses": [_response(entry) for entry in record.entries],
    }
    data.update(_answer(entry, call.asked_model))
    return {"data": data}


CANCELLED = "caller_gone"
"""Call.error_code of a caller that hung up (base.errors.CallerGone)."""


def answering(record: Record) -> Entry | None:
    """The attempt that the caller got its answer from; else the last; None where no target was tried."""
    for entry in reversed(record.entries):
        if entry.klass in ("delivered", "cache_hit"):
            return entry
    return record.entries[-1] if record.entries else None


def _answer(entry: Entry | None, asked_model: str) -> dict[str, Any]:
    known = entry is not None and entry.usage_source is not None
    prompt = entry.prompt_tokens if entry is not None and known else None
    completion = entry.completion_tokens if entry is not None and known else None
    return {
        "model": asked_model if entry is None else entry.model_served or entry.model,
        "provider_name": None if entry is None else entry.provider,
        "upstream_id": None if entry is None else entry.upstream_id or None,
        "generation_time": None if entry is None else round(entry.latency_ms),
        "service_tier": None if entry is None else entry.service_tier or None,
        "finish_reason": None if entry is None else entry.finish_reason,
        "native_finish_reason": None if entry is None else entry.native_finish_reason,
        "tokens_prompt": prompt,
        "tokens_completion": completion,
        "native_tokens_prompt": prompt,
        "native_tokens_completion": completion,
        "native_tokens_reasoning": entry.reasoning if entry is not None and known else None,
        "native_tokens_cached": entry.cache_read if entry is not None and known else None,
        "native_tokens_completion_images": entry.output_image if entry is not None and known else None,
    }


def _response(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.upstream_id or entry.id,
        "endpoint_id": f"{entry.provider}/{entry.model}",
        "provider_name": entry.provider,
        "status": entry.status or None,
        "latency": round(entry.latency_ms),
        "is_byok": False,
    }

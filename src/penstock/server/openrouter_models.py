"""A model and its endpoints as OpenRouter's ``/models`` shows them. Pure: facts and measurements in, plain data out.

The shapes are Model and PublicEndpoint of OpenRouter's openapi.yaml and its SDK 1.3.84 (wire.md 1.8).

Rules
- Prices are dollars per token, or per request or picture, as exact decimal text. A price that is not known is "-1", as
  OpenRouter writes one that cannot be told beforehand; what has no price is left out.
- What was never measured, and what nobody knows, is null. ``created`` is 0: no catalogue tells it.
- A model is shown with the facts of its cheapest endpoint.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from penstock.base.models import ModelFacts, PriceRow, Target
from penstock.base.money import Price
from penstock.gateway.listing import Offered
from penstock.routing.health import Health
from penstock.routing.observed import DAY_S, MINUTES_5_S, MINUTES_30_S, Observed, Percentiles
from penstock.routing.ordering import usd_per_million

UNKNOWN_PRICE = "-1"
_PRICES = {
    "request": "request",
    "image": "image_input",
    "audio": "input_audio",
    "audio_output": "output_audio",
    "image_output": "output_image",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write_5m",
    "input_cache_write_1h": "cache_write_1h",
    "internal_reasoning": "reasoning",
    "web_search": "web_search",
}
"""OpenRouter's words -> our units, beside prompt and completion."""
_MODALITIES = {"document": "file"}
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "tools": ("tools", "tool_choice"),
    "parallel_tools": ("parallel_tool_calls",),
    "json_schema": ("response_format", "structured_outputs"),
    "sampling": ("temperature", "top_p"),
}
_ALWAYS = ("max_tokens", "stop")
_PICO = Decimal(10) ** 12


def price_text(price: Price) -> str:
    """Dollars for one unit, exactly."""
    text = format(Decimal(price.pico_usd) / price.per / _PICO, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def pricing(row: PriceRow | None) -> dict[str, str]:
    """``pricing``."""
    units = {} if row is None else row.units
    found = {
        word: price_text(units[unit]) if unit in units else UNKNOWN_PRICE
        for word, unit in (("prompt", "input"), ("completion", "output"))
    }
    return found | {word: price_text(units[unit]) for word, unit in _PRICES.items() if unit in units}


def architecture(facts: ModelFacts) -> dict[str, Any]:
    """``architecture``."""
    into = sorted(_MODALITIES.get(word, word) for word in facts.modalities_in)
    out = sorted(_MODALITIES.get(word, word) for word in facts.modalities_out)
    return {
        "modality": f"{'+'.join(into)}->{'+'.join(out)}",
        "input_modalities": into,
        "output_modalities": out,
        "tokenizer": "Other",
        "instruct_type": None,
    }


def parameters(facts: ModelFacts) -> list[str]:
    """``supported_parameters``: what the catalogue knows that the model takes."""
    names: list[str] = list(_ALWAYS)
    for capability in sorted(facts.capabilities or ()):
        names += _PARAMETERS.get(capability, ())
    if facts.reasoning not in (None, "none"):
        names += ["reasoning", "include_reasoning"]
    return sorted(names)


def cheapest(targets: Sequence[Target]) -> Target:
    """The endpoint whose facts stand for the model; one of unknown price comes last."""
    return min(targets, key=lambda target: (price := usd_per_million(target)) is None or price)


def model(offered: Offered, targets: Sequence[Target]) -> dict[str, Any]:
    """One row of ``/models``. ``targets`` are the endpoints that the caller may use."""
    facts = cheapest(targets).facts
    row: dict[str, Any] = {
        "id": offered.slug,
        "canonical_slug": offered.slug.partition(":")[0],
        "name": offered.slug,
        "created": 0,
        "description": "",
        "context_length": facts.context_tokens,
        "architecture": architecture(facts),
        "pricing": pricing(facts.price),
        "top_provider": {
            "context_length": facts.context_tokens,
            "max_completion_tokens": facts.max_output_tokens,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": parameters(facts),
        "default_parameters": None,
        "supported_voices": None,
        "expiration_date": facts.retires or None,
        "knowledge_cutoff": None,
        "hugging_face_id": None,
        "links": {"details": f"/api/v1/models/{offered.slug}/endpoints"},
    }
    if facts.reasoning not in (None, "none"):
        row["reasoning"] = {
            "mandatory": facts.reasoning == "always",
            "supports_max_tokens": facts.budget is not None,
        }
    return row


def endpoint(target: Target, slug: str, observed: Observed, health: Health, now_s: float) -> dict[str, Any]:
    """One endpoint of ``/models/{author}/{slug}/endpoints``."""
    facts, name = target.facts, target.name
    tools = facts.capabilities is not None and "tools" in facts.capabilities
    return {
        "name": f"{target.provider} | {slug}",
        "model_id": slug,
        "model_name": slug,
        "provider_name": target.provider,
        "tag": _tag(target),
        "context_length": facts.context_tokens or 0,
        "max_completion_tokens": facts.max_output_tokens,
        "max_prompt_tokens": None,
        "pricing": pricing(facts.price),
        "quantization": target.offer.quantization or None,
        "supported_parameters": parameters(facts),
        "supports_implicit_caching": facts.price is not None and "cache_read" in facts.price.units,
        "supports_tool_choice": dict.fromkeys(("auto", "none", "required", "function"), tools),
        "supports_diarization": False,
        "native_tools": {},
        "service_tier": None,
        "status": status(target, observed, health, now_s),
        "latency_last_30m": _milliseconds(observed.latency_s(name, now_s, MINUTES_30_S)),
        "throughput_last_30m": _rounded(observed.throughput(name, now_s, MINUTES_30_S), 1.0),
        "uptime_last_5m": _percent(observed.uptime(name, now_s, MINUTES_5_S)),
        "uptime_last_30m": _percent(observed.uptime(name, now_s, MINUTES_30_S)),
        "uptime_last_1d": _percent(observed.uptime(name, now_s, DAY_S)),
        "data_policy": {
            "training": target.offer.trains,
            "zdr": target.offer.zdr,
            "source": target.offer.source or None,
            "date": target.offer.date or None,
        },
    }


def status(target: Target, observed: Observed, health: Health, now_s: float) -> Literal[0, -1, -2, -5]:
    """0 works; -1 had trouble in the last 30 s, -2 its breaker is open, -5 it is dropped: the provider lacks the model."""
    state = health.state(target.name, now_s)
    if state == "dropped":
        return -5
    if state != "closed":
        return -2
    return -1 if observed.troubled(target.name, now_s) else 0


def _tag(target: Target) -> str:
    location = target.options.get("location")
    base = f"{target.provider}/{location}" if location else target.provider
    return f"{base}/{target.offer.quantization}" if target.offer.quantization else base


def _milliseconds(found: Percentiles | None) -> dict[str, float] | None:
    return _rounded(found, 1000.0)


def _rounded(found: Percentiles | None, factor: float) -> dict[str, float] | None:
    if found is None:
        return None
    return {
        word: round(value * factor, 2)
        for word, value in zip(
            ("p50", "p75", "p90", "p99"), (found.p50, found.p75, found.p90, found.p99), strict=True
        )
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 3)

"""What a reply says of itself to callers who are told more than OpenAI's: who served, at what cost, by which route.

The cost is made by the functions that settle a call, so that what the reply says is what the ledger keeps.
"""

import time
from typing import Any

import msgspec

from penstock.base.decisions import Rejected
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.gateway.house import House
from penstock.gateway.settle import CallFacts
from penstock.ledger.prices import price_lines, row_at
from penstock.wire.ports import Charge, Identity

_WRITTEN = frozenset({"output", "reasoning", "output_audio", "output_image", "output_video"})
_READ_STARTS = ("input", "cache_")


def identity_of(house: House, facts: CallFacts, base: Identity, target: Target, *, story: bool) -> Identity:
    """``base`` for a reply of ``target``. ``story``: the caller asked how it was routed."""

    def charge(usage: Usage, served: str) -> Charge | None:
        return charge_of(house, target, usage, served, facts.at_ms)

    return msgspec.structs.replace(
        base,
        model=asked_name(house, facts, target) or base.model or target.name,
        provider=target.provider,
        charge=charge,
        story=(lambda: routed(house, facts, target)) if story else None,
    )


def asked_name(house: House, facts: CallFacts, target: Target) -> str:
    """Of several models asked for, the one that served: OpenRouter's ``model`` of a reply is the model used."""
    ask = facts.ask
    if ask is None or not (ask.models or ask.fallbacks):
        return ""
    chain = house.names.chain(ask.model, models=ask.models, fallbacks=ask.fallbacks, spread=True)
    if isinstance(chain, Rejected):
        return ""
    return next(
        (asked for name, asked in zip(chain.names, chain.asked, strict=False) if name == target.name), ""
    )


def charge_of(house: House, target: Target, usage: Usage, served: str, at_ms: int) -> Charge | None:
    """The cost of one reply; None: not known."""
    facts: ModelFacts = target.facts
    if served and house.drift is not None:
        facts = house.drift.of(target.provider, facts, served) or facts
    lines, total = price_lines(usage, row_at(facts.price, at_ms))
    if total is None:
        return None
    read = sum(line.cost_nusd or 0 for line in lines if line.unit.startswith(_READ_STARTS))
    written = sum(line.cost_nusd or 0 for line in lines if line.unit in _WRITTEN)
    return Charge(total, read, written)


def routed(house: House, facts: CallFacts, target: Target) -> dict[str, Any]:
    """``openrouter_metadata`` (OpenRouter's openapi.yaml, OpenRouterMetadata; wire.md 1.6)."""
    ask, explain = facts.ask, facts.explain
    asked = "" if ask is None else ask.model or next(iter(ask.models), "")
    tried = facts.outcomes
    fell_back = bool(tried) and tried[0].target.name != target.name
    steps = [step.target for step in explain.steps]
    return {
        "requested": asked,
        "strategy": "fallback" if fell_back else "direct",
        "region": target.options.get("location"),
        "summary": f"{explain.route_reason}; {_reason(facts, target)}",
        "attempt": len(tried),
        "is_byok": False,
        "endpoints": {
            "total": len(steps),
            "available": [
                {
                    "provider": name.partition("/")[0],
                    "model": name.partition("/")[2],
                    "selected": name == target.name,
                    "reason": step.reason,
                }
                for name, step in zip(steps, explain.steps, strict=True)
            ],
            "excluded": [
                {"endpoint": refusal.target, "code": refusal.code, "reason": refusal.reason}
                for refusal in explain.refused
            ],
        },
        "attempts": [
            {"provider": one.target.provider, "model": one.target.model, "status": one.status or None}
            for one in tried
        ],
        "params": {"adjusted": list(facts.adjusted)},
        "pipeline": [],
        "generation_time": round((time.monotonic() - facts.received_s) * 1000),
    }


def _reason(facts: CallFacts, target: Target) -> str:
    return next((step.reason for step in facts.explain.steps if step.target == target.name), "")

"""Small makers of targets, steps, keys and errors for the tests of routing."""

from typing import Any

from penstock.base.errors import UpstreamAuthFailed, UpstreamRateLimited
from penstock.base.models import ModelFacts, Target
from penstock.routing.keys import KeyRing, ProviderKey
from penstock.routing.plan import Step


def facts(provider: str = "openai", model: str = "m", **more: Any) -> ModelFacts:
    """Facts that are known unless ``source`` says otherwise."""
    return ModelFacts(provider=provider, model=model, **{"source": "a test", **more})


def target(name: str, *, dialect: str = "openai", **more: Any) -> Target:
    """A target by its provider/model; ``more`` are its facts."""
    provider, _, model = name.partition("/")
    return Target(provider=provider, model=model, dialect=dialect, facts=facts(provider, model, **more))


def steps(*names: str) -> tuple[Step, ...]:
    """Steps in the order of the names."""
    return tuple(Step(target(name), "in a test", True, "same dialect") for name in names)


def ring(**weights: float) -> KeyRing:
    """A ring whose keys are named and weighted by the keywords."""
    return KeyRing(
        "openai", tuple(ProviderKey("openai", name, f"sk-{name}", weight) for name, weight in weights.items())
    )


def rate_limited(retry_after_s: float | None = None, *, quota: bool = False) -> UpstreamRateLimited:
    """A 429."""
    error = UpstreamRateLimited("Too many requests.", retry_after_s=retry_after_s, upstream_status=429)
    error.quota_exhausted = quota
    return error


def refused(status: int = 401) -> UpstreamAuthFailed:
    """A 401, 402 or 403, whose sentence quotes a part of the key as OpenAI's does."""
    return UpstreamAuthFailed("Incorrect API key provided: sk-ab***yz", upstream_status=status)

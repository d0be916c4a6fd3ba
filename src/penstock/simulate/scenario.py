"""What the simulator is told: speeds, keys, models and faults, from Python or from a file."""

import math
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct, field

from penstock.simulate.faults import Fault

_P95_SIGMAS = 1.6448536269514722


class Distribution(Struct, frozen=True, forbid_unknown_fields=True):
    """A lognormal by its median and 95th percentile; without ``p95`` a constant."""

    p50: float
    p95: float | None = None

    def draw(self, rng: Random) -> float:
        """One value."""
        if self.p95 is None or self.p50 <= 0 or self.p95 == self.p50:
            return self.p50
        sigma = math.log(self.p95 / self.p50) / _P95_SIGMAS
        return math.exp(rng.gauss(math.log(self.p50), sigma))


def draw(value: "Distribution | float", rng: Random) -> float:
    """One value of a distribution or of a plain number."""
    return value.draw(rng) if isinstance(value, Distribution) else value


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """How a model behaves.

    ``ttft_ms``: until the reply's head. ``tokens_per_s``: 0 is at once. ``output_tokens``: length of an answer that
    the caller does not fix. ``tokens_per_event``: how many tokens a stream's event carries. ``text``: the answer,
    instead of filler words. ``answers``: the answer to a last user message, word for word, before ``text``: a model that
    knows which questions mean the same.
    """

    ttft_ms: Distribution | float = 0.0
    tokens_per_s: Distribution | float = 0.0
    output_tokens: int = 16
    tokens_per_event: int = 1
    text: str = ""
    answers: dict[str, str] = field(default_factory=dict[str, str])


class ProviderSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One provider: the name under ``/p/NAME/``, or the dialect's name for what is served without a prefix.

    ``models``: globs of the models it knows; empty knows all, any other is the vendor's 404. ``unknown_fields``: the
    vendors refuse them; OpenAI-compatible servers mostly accept them. ``reasoning_field``: where an
    OpenAI-compatible server puts visible thoughts (OpenAI itself shows none). ``obfuscation``: OpenAI's padding.
    """

    profiles: dict[str, Profile] = field(default_factory=dict[str, Profile])
    models: tuple[str, ...] = ()
    unknown_fields: Literal["refuse", "accept"] = "refuse"
    obfuscation: bool = False
    reasoning_field: Literal["", "reasoning", "reasoning_content"] = ""


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything. ``keys``: provider -> accepted keys; a provider that is not named accepts any.

    ``profiles``: model glob -> behaviour, first match wins; a provider's own profiles come before these.
    ``keep_requests`` and ``keep_body_bytes`` bound the log. ``batch_delay_s``: how long a batch takes;
    ``batch_listed_after_s``: how long it is in no list. ``file_looks``: how many looks
    at one of Gemini's files find it still being processed.
    """

    seed: int = 0
    keys: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    profiles: dict[str, Profile] = field(default_factory=dict[str, Profile])
    providers: dict[str, ProviderSettings] = field(default_factory=dict[str, ProviderSettings])
    faults: list[Fault] = field(default_factory=list[Fault])
    keep_requests: int = 10_000
    keep_body_bytes: int = 256 * 1024 * 1024
    token_lifetime_s: int = 3599
    batch_delay_s: float = 0.0
    batch_listed_after_s: float = 0.0
    file_looks: int = 0

    def profile(self, provider: str, model: str) -> Profile:
        """The first profile whose glob matches: the provider's, then everyone's, then the default."""
        settings = self.providers.get(provider)
        for table in (settings.profiles if settings else {}, self.profiles):
            for glob, profile in table.items():
                if fnmatchcase(model, glob):
                    return profile
        return _DEFAULT_PROFILE


_DEFAULT_PROFILE = Profile()


def load_scenario(path: Path) -> Scenario:
    """Read a YAML or JSON file. Raises OSError, or ValueError with the place of the fault."""
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            return msgspec.json.decode(data, type=Scenario)
        return msgspec.yaml.decode(data, type=Scenario)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: {error}") from error

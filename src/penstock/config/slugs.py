"""Which of a provider's ids name one model: OpenRouter's author/slug, bare names, dates, regions, all to one word.

Theory: vendors write one model in many ways: ``anthropic/claude-haiku-4.5``, ``claude-haiku-4-5-20251001``,
``us.anthropic.claude-haiku-4-5-20251001-v1:0``. ``canonical`` takes off what does not change the model (author, date,
region, version of a listing, suffix after a colon) and writes dots as dashes. What it leaves equal is one model.

Rules
- An author that is known not to make the model names no model: ``anthropic/gpt-4o`` is nobody's, and so is ``azure/gpt-4o``
  or ``foo/gpt-4o``, where the model's makers are known by their names.
- Of several ids of one provider, the one that was written counts, then the undated one, then the newest.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from penstock.base.models import ModelFacts
from penstock.config.model_names import undated

_RESOURCE = re.compile(r"^(?:models/|publishers/[^/]+/models/|projects/.+/models/)")
_BEDROCK = re.compile(
    r"^(?:(?:us|eu|apac|global|jp|au|ca|in|us-gov)\.)?"
    r"(?:anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai|qwen|google|minimax|moonshot|stability|writer|nvidia)\."
)
_LISTING = re.compile(r"-v\d+$")
SUFFIXES = frozenset({"nitro", "floor", "free", "online", "exacto", "thinking"})
"""What may stand after a colon and is a wish, not a name (wire.md 1.3)."""


@lru_cache(maxsize=16_384)
def canonical(model: str) -> str:
    """One word for all spellings of a model."""
    name = _RESOURCE.sub("", model.lower()).rpartition("/")[2].partition(":")[0]
    bedrock = _BEDROCK.match(name)
    if bedrock:
        name = _LISTING.sub("", name[bedrock.end() :])
    return undated(name).replace("@", "-").replace(".", "-")


def split_suffix(model: str) -> tuple[str, str]:
    """``author/slug:nitro`` -> the model and "nitro"; "" where what stands after a colon is no wish."""
    name, colon, suffix = model.rpartition(":")
    return (name, suffix) if colon and suffix in SUFFIXES else (model, "")


class Slugs:
    """Chat models of each provider by their canonical word. Filled as providers are asked for."""

    def __init__(
        self,
        chat_models: Callable[[str], list[str]],
        makers: Iterable[tuple[str, tuple[str, ...], tuple[str, ...]]],
    ) -> None:
        """``makers``: each provider's name, how its authors are called, and the prefixes of models that it makes."""
        self._chat_models = chat_models
        self._known: dict[str, dict[str, list[str]]] = {}
        rows = tuple(makers)
        self.authors = {author: name for name, authors, _ in rows for author in authors}
        self._named = frozenset(self.authors.values())
        """Makers whose names as authors are known: who is called otherwise is somebody else."""
        self._makes = [(prefix, name) for name, _, prefixes in rows for prefix in prefixes]

    def at(self, provider: str, slug: str) -> str | None:
        """The id under which ``provider`` (the catalogue's name) sells ``slug``."""
        ids = self._ids(provider).get(canonical(slug))
        if not ids:
            return None
        bare = slug.rpartition("/")[2].lower()
        return slug if slug in ids else min(ids, key=lambda one: (one.lower() != bare, *_oddity(one)))

    def made_by_another(self, name: str) -> bool:
        """``author/slug`` whose model is known to be made by somebody who is not called so."""
        author, slash, slug = name.lower().partition("/")
        made = next((maker for prefix, maker in self._makes if slug.startswith(prefix)), None)
        if not slash or made is None:
            return False
        known = self.authors.get(author.lstrip("~"))
        return made in self._named if known is None else made != known

    def author_of(self, model: str) -> str:
        """Who makes it, as slugs call him; "" where that is not known."""
        name = model.lower().rpartition("/")[2]
        maker = next((maker for prefix, maker in self._makes if name.startswith(prefix)), "")
        return next((author for author, known in self.authors.items() if known == maker), "")

    def _ids(self, provider: str) -> dict[str, list[str]]:
        known = self._known.get(provider)
        if known is None:
            known = self._known[provider] = {}
            for model in self._chat_models(provider):
                known.setdefault(canonical(model), []).append(model)
        return known


def _oddity(model: str) -> tuple[bool, int, bool, bool, tuple[int, ...]]:
    """The plainest first: no wish, no region before it, no other cloud's way to write a date, undated, else the newest."""
    return (
        bool(split_suffix(model)[1]),
        model.count("/") + model.count("."),
        "@" in model,
        undated(model) != model,
        tuple(-ord(mark) for mark in model),
    )


class Drift:
    """Whether a provider answered with another model than it was asked for, and what that one costs.

    Only what the catalogue knows can be told: a name that it lacks, asked for or answered, is no drift (a deployment's
    own name, a local server's file). Another date, an alias or ``-latest`` is none either.
    """

    __slots__ = ("_facts", "_memo")

    def __init__(self, facts: Callable[[str, str], ModelFacts]) -> None:
        self._facts = facts
        self._memo: dict[tuple[str, str, str], ModelFacts | None] = {}

    def of(self, provider: str, asked: ModelFacts, served: str) -> ModelFacts | None:
        """The facts of the model that answered, where it is another one. ``provider`` is the configured name."""
        if not served or served == asked.model or not asked.known:
            return None
        key = (provider, asked.model, served)
        if key not in self._memo:
            if len(self._memo) >= 4096:
                self._memo.clear()
            self._memo[key] = self._look_up(provider, asked, served)
        return self._memo[key]

    def _look_up(self, provider: str, asked: ModelFacts, served: str) -> ModelFacts | None:
        one, other = canonical(asked.model), canonical(served)
        if one == other or asked.model.lower().endswith("-latest"):
            return None
        facts = self._facts(provider, served)
        if not facts.known:
            return None
        # Rows may call one model by two names; a catalogue that finds the same row knows better than a spelling.
        return None if facts.source == asked.source and facts.price == asked.price and one in other else facts

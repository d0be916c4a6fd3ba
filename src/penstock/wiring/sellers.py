"""Which configured providers sell a model, whatever it is called: the endpoints of OpenRouter's ``author/slug``.

Rules
- An alias of a provider (``models``) counts, by its whole name or by its last part; then the catalogue.
- ``provider/model`` of a provider whose name is no author's means that provider alone, configured or not: no endpoints here,
  but those whose own id begins so (``nvidia/...`` at OpenRouter).
- What nobody sells by its name, and what its author does not make, has no endpoints either.
"""

import difflib
from functools import partial

from penstock.base.decisions import Rejected
from penstock.config.catalogue import Catalogue
from penstock.config.schema import Config
from penstock.config.slugs import Slugs, canonical, split_suffix
from penstock.gateway.kinds import spoken_there
from penstock.gateway.listing import Offered
from penstock.routing.names import MakeTarget, Names

_MAX_KEPT = 4096
_NAMED = frozenset({"chat", "embedding", "rerank"})
"""The modes of models that callers name by ``author/slug``."""


class Sellers:
    """Endpoints by name, remembered within bounds. Names come from callers."""

    def __init__(self, config: Config, built: frozenset[str], catalogue: Catalogue, make: MakeTarget) -> None:
        self._config = config
        self._make = make
        self._chat_models = catalogue.chat_models
        self._is_provider = catalogue.provider
        self._built = built
        self._known = {name: catalogue.provider(name) for name in config.providers}
        self._slugs = Slugs(
            partial(catalogue.chat_models, modes=_NAMED),
            [(row.name, row.authors, row.makes) for row in catalogue.providers()],
        )
        self._memo: dict[str, list[tuple[str, str]]] = {}

    def of(self, name: str) -> list[tuple[str, str]]:
        """Each configured provider that sells ``name``, and its id there, in the configuration's order."""
        found = self._memo.get(name)
        if found is None:
            if len(self._memo) >= _MAX_KEPT:
                self._memo.clear()
            found = self._memo[name] = [] if self._misspelt(name) else self._look_up(name)
        return found

    def _misspelt(self, name: str) -> bool:
        """``opnai/gpt-4o-mini`` is a provider's name gone wrong, and nobody's slug: it is refused with a hint."""
        author, slash, _ = name.partition("/")
        if not slash or author in self._built or author in self._slugs.authors:
            return False
        return bool(difflib.get_close_matches(author, self._built, n=1, cutoff=0.8))

    def offered(self, names: Names) -> list[Offered]:
        """Every model that can be asked for: routes, aliases, then all that the catalogue knows of the providers."""
        found: list[Offered] = []
        for route in (*self._config.routes, *self._config.mcp):
            chain = names.chain(route.id)
            if not isinstance(chain, Rejected):
                found.append(Offered(route.id, chain.targets, route.id))
        slugs: dict[str, str] = {}
        for provider, settings in self._config.providers.items():
            if provider not in self._built:
                continue
            known = self._known[provider]
            for alias, model in settings.models.items():
                target = self._make(provider, model, {})
                if target is not None:
                    found.append(Offered(f"{provider}/{alias}", (target,)))
            for model in () if known is None else self._chat_models(known.name):
                slugs.setdefault(canonical(model), self.slug(provider, model))
        return found + [one for slug in slugs.values() if (one := self.find(slug)) is not None]

    def find(self, name: str) -> Offered | None:
        """A model by any spelling, with all its endpoints."""
        pairs = self.of(name)
        if not pairs:
            provider, slash, model = name.partition("/")
            pairs = (
                [(provider, model)]
                if slash and provider in self._built and self._sold(provider, model)
                else []
            )
        targets = [self._make(provider, model, {}) for provider, model in pairs]
        kept = tuple(target for target in targets if target is not None)
        return Offered(name, kept) if kept else None

    def slug(self, provider: str, model: str) -> str:
        """How OpenRouter's callers write a model: its own slug where there is one, else its maker's name before it."""
        own = self._slugs.at("openrouter", model)
        if own is not None:
            return own
        maker = self._slugs.author_of(model)
        return f"{maker or provider}/{model.rpartition('/')[2]}"

    def _sold(self, provider: str, model: str) -> bool:
        known = self._known[provider]
        return known is not None and self._slugs.at(known.name, model) is not None

    def _look_up(self, name: str) -> list[tuple[str, str]]:
        author, slash, _ = name.lower().partition("/")
        if slash and author in self._config.providers and author not in self._slugs.authors:
            return []
        another = self._slugs.made_by_another(name)
        # Who names a provider that is not configured does not mean another who happens to sell the same.
        elsewhere = slash and author not in self._slugs.authors and self._is_provider(author)
        found: list[tuple[str, str]] = []
        for provider, settings in self._config.providers.items():
            if provider not in self._built:
                continue
            model = settings.models.get(name) if another or elsewhere else self._alias(settings.models, name)
            known = self._known[provider]
            if model is None and known is not None and not another:
                model = self._slugs.at(known.name, name)
                if not spoken_there(known.dialect, model or ""):
                    model = None
                if elsewhere and (model or "").partition("/")[0].lower() != author:
                    model = None
            if model is not None:
                found.append((provider, model))
        return found

    def _alias(self, aliases: dict[str, str], name: str) -> str | None:
        plain = split_suffix(name)[0]
        wanted = canonical(plain)
        for word in (name, plain, plain.rpartition("/")[2]):
            if word in aliases:
                return aliases[word]
        return next((model for model in aliases.values() if canonical(model) == wanted), None)

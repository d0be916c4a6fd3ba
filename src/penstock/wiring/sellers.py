"""Which configured providers sell a model, whatever it is called: the endpoints of OpenRouter's ``author/slug``.

Rules
- An alias of a provider (``models``) counts, by its whole name or by its last part; then the catalogue.
- ``provider/model`` of a configured provider whose name is no author's means that provider alone: no endpoints here.
- What nobody sells by its name, and what its author does not make, has no endpoints either.
"""

from penstock.config.catalogue import Catalogue
from penstock.config.schema import Config
from penstock.config.slugs import Slugs, canonical, split_suffix

_MAX_KEPT = 4096
_VERTEX_SPEAKS = ("gemini", "gemma")
"""Vertex's dialect is Gemini's: what other makers sell there is spoken to otherwise."""


class Sellers:
    """Endpoints by name, remembered within bounds. Names come from callers."""

    def __init__(self, config: Config, built: frozenset[str], catalogue: Catalogue) -> None:
        self._config = config
        self._built = built
        self._known = {name: catalogue.provider(name) for name in config.providers}
        self._slugs = Slugs(
            catalogue.chat_models, [(row.name, row.authors, row.makes) for row in catalogue.providers()]
        )
        self._memo: dict[str, list[tuple[str, str]]] = {}

    @property
    def authors(self) -> dict[str, str]:
        """How makers are called in slugs -> the catalogue's name of them."""
        return self._slugs.authors

    def of(self, name: str) -> list[tuple[str, str]]:
        """Each configured provider that sells ``name``, and its id there, in the configuration's order."""
        found = self._memo.get(name)
        if found is None:
            if len(self._memo) >= _MAX_KEPT:
                self._memo.clear()
            found = self._memo[name] = self._look_up(name)
        return found

    def _look_up(self, name: str) -> list[tuple[str, str]]:
        author, slash, _ = name.lower().partition("/")
        if slash and author in self._config.providers and author not in self._slugs.authors:
            return []
        if self._slugs.made_by_another(name):
            return []
        found: list[tuple[str, str]] = []
        for provider, settings in self._config.providers.items():
            if provider not in self._built:
                continue
            model = self._alias(settings.models, name)
            known = self._known[provider]
            if model is None and known is not None:
                model = self._slugs.at(known.name, name)
                if known.dialect == "vertex" and not (model or "").startswith(_VERTEX_SPEAKS):
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

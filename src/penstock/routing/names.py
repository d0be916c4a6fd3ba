"""From the name in ``model`` to a chain of targets.

Rules, in order; the first that fits decides
1. a route's id (``routes``, ``mcp``);
2. ``provider/model`` of a configured provider (its aliases resolved);
3. an alias of a configured provider (``providers.X.models``);
4. a bare name: the configured chain (``fallbacks``) whose primary has it, else the one configured provider that
   sells it by the catalogue (first-party first, then in the configuration's order); others are only mentioned;
5. ``author/model``, where a provider named openrouter, or one at openrouter.ai, is configured.

Then the request's own ``models`` and ``fallbacks`` are appended. Where the caller gave none and named no route, the
configured chain of the first target is. A target named twice stays twice.

Endpoints: who asks as OpenRouter's callers do (``spread``) means a model, not a provider, unless he names a provider that
is no author. Rules 2 to 5 then come after this one: all configured providers that sell the model, by an alias or by the
catalogue, are its endpoints. A route, and a chain of the configuration, stay what the operator made them.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, NoTargetLeft, NotFound, PenstockError
from penstock.base.models import Target
from penstock.config.schema import Config, FallbackConfig, RouteConfig, TargetConfig, TargetRef
from penstock.config.slugs import split_suffix

_MAX_MEMO = 4096
_MAX_NAMED = 16
"""More ``models`` and ``fallbacks`` than this are refused: each one is a target to try."""
MAX_NAME_CHARS = 512
"""Names are remembered in many tables (breakers, keys, metrics, the ledger); no provider has longer ones."""

_OF_SEGMENTS = frozenset({"", ".", ".."})
"""Between slashes, these are no part of a model's name."""

MakeTarget = Callable[[str, str, dict[str, Any]], Target | None]


class Chain(Struct, frozen=True):
    """Targets in order. ``route`` is a named route's id, or "".

    ``names`` (each target's ``provider/model``) and ``routes`` (the id of the route that brought each target, ""
    where the caller named the target) run parallel to ``targets``; a chain made by hand may leave them out, and
    then ``route`` stands for all. ``routes`` matters to allow-lists: a key that may use a route may use what the
    operator put into it, but not what the caller appended.
    """

    targets: tuple[Target, ...]
    route: str
    max_attempts: int | None = None
    reason: str = ""
    names: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    """Which of the names asked for each target is an endpoint of; -1: it has its place in a chain. Empty: all have."""
    asked: tuple[str, ...] = ()
    """The name that brought each target; empty: not kept."""


class _Found(Struct, frozen=True):
    """One name, resolved: its targets, the route's id if it was one."""

    targets: tuple[Target, ...]
    reason: str
    route: str = ""
    max_attempts: int | None = None
    endpoints: bool = False


Endpoints = Callable[[str], list[tuple[str, str]]]
"""Of a model's name: each configured provider that sells it, and its id there."""


class Names:
    """Resolves names against one configuration. Answers are remembered, within bounds."""

    __slots__ = (
        "_aliases",
        "_bare",
        "_chains",
        "_endpoints",
        "_make",
        "_memo",
        "_nearest",
        "_openrouter",
        "_plain",
        "_primaries",
        "_providers",
        "_routes",
    )

    def __init__(
        self,
        *,
        config: Config,
        make_target: MakeTarget,
        bare: Callable[[str], list[tuple[str, str]]],
        nearest: Callable[[str], list[str]],
        endpoints: Endpoints | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._make = make_target
        self._bare = bare
        self._nearest = nearest
        self._providers = config.providers
        self._aliases: dict[str, tuple[str, str]] = {}
        for provider, settings in config.providers.items():
            for alias, model in settings.models.items():
                self._aliases.setdefault(alias, (provider, model))
        self._openrouter = next(
            (
                name
                for name, settings in config.providers.items()
                if name == "openrouter" or "openrouter.ai" in (settings.network.base_url or "")
            ),
            None,
        )
        self._memo: dict[tuple[str, tuple[str, ...], tuple[str, ...], bool], Chain | Rejected] = {}
        self._plain: dict[str, Chain | Rejected] = {}
        # Order matters below: configured references are resolved by the rules above, without routes and chains.
        self._chains: dict[str, tuple[Target, ...]] = {}
        self._primaries: dict[str, str] = {}
        self._routes: dict[str, _Found | Rejected] = {}
        for chain in config.fallbacks:
            self._keep_chain(chain)
        for route in (*config.routes, *config.mcp):
            self._routes.setdefault(route.id, self._route(route))

    def own(self) -> frozenset[str]:
        """Every name that the configuration gives: routes, aliases, and the targets of both and of chains."""
        names = {*self._routes, *self._aliases, *self._primaries}
        for found in self._routes.values():
            if isinstance(found, _Found):
                names.update(target.name for target in found.targets)
        for targets in self._chains.values():
            names.update(target.name for target in targets)
        for provider, settings in self._providers.items():
            for alias, model in settings.models.items():
                names |= {f"{provider}/{alias}", f"{provider}/{model}"}
        return frozenset(names)

    def chain(
        self,
        model: str,
        *,
        models: tuple[str, ...] = (),
        fallbacks: tuple[str, ...] = (),
        spread: bool = False,
    ) -> Chain | Rejected:
        """The chain for a request, or Rejected: unknown-model (``param`` names the field), no-model, too-many-models.

        ``spread``: a name means all endpoints of a model.
        """
        if not models and not fallbacks and not spread:
            known = self._plain.get(model)
            if known is None:
                known = self._resolve_all(model, models, fallbacks)
                if len(model) <= MAX_NAME_CHARS:
                    _remember(self._plain, model, known)
            return known
        key = (model, models, fallbacks, spread)
        known = self._memo.get(key)
        if known is None:
            known = self._resolve_all(model, models, fallbacks, spread=spread)
            if sum(map(len, (model, *models, *fallbacks))) <= MAX_NAME_CHARS:
                _remember(self._memo, key, known)
        return known

    def _given(self, name: str) -> bool:
        """The configuration gives it."""
        return name in self._routes or name in self._aliases or name in self._primaries

    def owns(self, name: str) -> bool:
        """The operator gave this name, colon and all, or a provider of his stands in front of it."""
        if self._given(name):
            return True
        provider, slash, _ = name.partition("/")
        return bool(slash) and provider in self._providers and not (self._endpoints and self._endpoints(name))

    def _resolve_all(
        self, model: str, models: tuple[str, ...], fallbacks: tuple[str, ...], *, spread: bool = False
    ) -> Chain | Rejected:
        # OpenRouter's callers may leave ``model`` out, or repeat it as the first of ``models``.
        if models and (not model or models[0] == model):
            asked = [(models[0], "models"), *((name, "models") for name in models[1:])]
        elif model:
            asked = [(model, "model"), *((name, "models") for name in models)]
        else:
            return Rejected("no-model", "The request names no model.", param="model", caller_fault=True)
        asked += [(name, "fallbacks") for name in fallbacks]
        if len(asked) > _MAX_NAMED:
            return Rejected(
                "too-many-models",
                f"A request may name at most {_MAX_NAMED} models, this one names {len(asked)}.",
                param=asked[-1][1],
                caller_fault=True,
            )
        founds: list[_Found] = []
        for name, param in asked:
            if len(name) > MAX_NAME_CHARS:
                # No model has such a name; it would only fill what is remembered by model further on.
                return Rejected(
                    "unknown-model",
                    f"There is no model {name[:100]!r}... of {len(name)} characters.",
                    param=param,
                    caller_fault=True,
                )
            if not self._given(name) and not _OF_SEGMENTS.isdisjoint(name.split("/")):
                # A path is made of it, and what another server takes it for is not what allow-lists were asked about.
                return Rejected(
                    "unknown-model",
                    f"There is no model {name[:100]!r}: a name has no empty and no dotted segments.",
                    param=param,
                    caller_fault=True,
                )
            found = self._spread(name) if spread else None
            if found is None:
                found = self._resolve(name, param)
            if spread and isinstance(found, Rejected) and not self.owns(name):
                found = self._resolve(split_suffix(name)[0], param)
            if isinstance(found, Rejected):
                return found
            founds.append(found)
        first = founds[0]
        if len(founds) == 1 and not (first.route or first.endpoints):
            founds = [self._with_configured_chain(first)]
        return _chain_of(founds, tuple(name for name, _ in asked))

    def _spread(self, name: str) -> _Found | None:
        """All endpoints of a model; None where the name is the operator's own, or is sold by nobody here."""
        if name in self._routes or name in self._primaries or self._endpoints is None:
            return None
        made = [self._make(provider, model, {}) for provider, model in self._endpoints(name)]
        targets = tuple(target for target in made if target is not None)
        if not targets:
            return None
        chained = next((target for target in targets if target.name in self._chains), None)
        if chained is not None:
            return _Found((chained,), f"{chained.provider} sells {name}")
        count = "the only endpoint" if len(targets) == 1 else f"{len(targets)} endpoints"
        return _Found(targets, f"{count} of {name}", endpoints=True)

    def _resolve(self, name: str, param: str) -> _Found | Rejected:
        route = self._routes.get(name)
        return self._find(name, param) if route is None else route

    def _find(self, name: str, param: str, params: dict[str, Any] | None = None) -> _Found | Rejected:
        """Rules 2 to 5."""
        overrides = params or {}
        provider, slash, rest = name.partition("/")
        settings = self._providers.get(provider) if slash and rest else None
        if settings is not None:
            target = self._make(provider, settings.models.get(rest, rest), overrides)
            if target is not None:
                return _Found((target,), f"{provider} is configured")
            # Not on to OpenRouter: the operator means this provider, not an author of that name.
            return Rejected(
                "unknown-model",
                f"The provider {provider} is configured, but cannot be called with {rest!r} here.",
                param=param,
                caller_fault=True,
            )
        alias = self._aliases.get(name)
        if alias is not None:
            target = self._make(*alias, overrides)
            if target is not None:
                return _Found((target,), f"{name} is an alias of {alias[0]} for {alias[1]}")
        found = self._find_bare(name, overrides)
        if found is not None:
            return found
        if slash and rest and self._openrouter is not None:
            target = self._make(self._openrouter, name, overrides)
            if target is not None:
                return _Found(
                    (target,), f"{provider} is not configured; {self._openrouter} takes author/model"
                )
        return self._unknown(name, param)

    def _find_bare(self, name: str, overrides: dict[str, Any]) -> _Found | None:
        primary = self._primaries.get(name)
        if primary is not None:
            first = self._chains[primary][0]
            target = structs.replace(first, overrides=overrides) if overrides else first
            return _Found((target,), f"{name} is the primary {primary} of a configured chain")
        sellers = self._bare(name)
        places = {provider: place for place, provider in enumerate(self._providers)}
        # The catalogue's first is the maker where the maker sells it; the rest is the operator's order.
        ranked = sorted(
            (place > 0, places[provider], provider, model)
            for place, (provider, model) in enumerate(sellers)
            if provider in places
        )
        for _, _, provider, model in ranked:
            target = self._make(provider, model, overrides)
            if target is not None:
                others = [f"{other}/{its}" for _, _, other, its in ranked if other != provider]
                also = f"; also sold by {', '.join(others)}" if others else ""
                return _Found((target,), f"{provider} sells {name}{also}")
        return None

    def _unknown(self, name: str, param: str) -> Rejected:
        shown = name if len(name) <= 100 else f"{name[:100]}..."
        provider, slash, _ = name.partition("/")
        if slash and provider not in self._providers:
            sentence = f"There is no model {shown!r}: no provider {provider[:50]!r} is configured."
        else:
            sentence = f"There is no model {shown!r} here; write provider/model for one the catalogue lacks."
        near = [other for other in self._nearest(name) if self._sold(other)]
        if near:
            sentence += f" Did you mean {' or '.join(near[:3])}?"
        return Rejected("unknown-model", sentence, param=param, caller_fault=True)

    def _sold(self, name: str) -> bool:
        """Could a configured provider be asked for it? A hint must not name what would be refused again."""
        provider, slash, _ = name.partition("/")
        if slash and provider in self._providers:
            return True
        return any(seller in self._providers for seller, _ in self._bare(name))

    def _with_configured_chain(self, found: _Found) -> _Found:
        target = found.targets[0]
        chain = self._chains.get(target.name)
        if chain is None:
            return found
        head = target if target.overrides else chain[0]
        return structs.replace(
            found,
            targets=(head, *chain[1:]),
            reason=f"{found.reason}; the configured chain of {target.name} follows",
        )

    def _keep_chain(self, chain: FallbackConfig) -> None:
        refs = [chain.primary, chain.secondary, chain.tertiary, *chain.fallbacks]
        targets = [self._configured(ref) for ref in refs if ref is not None]
        if targets[0] is None:
            return
        kept = tuple(target for target in targets if target is not None)
        first = kept[0]
        if first.name not in self._chains:
            self._chains[first.name] = kept
            self._primaries.setdefault(first.model, first.name)

    def _route(self, route: RouteConfig) -> _Found | Rejected:
        refs = (route.primary, *route.fallbacks)
        targets = tuple(target for ref in refs if (target := self._configured(ref)) is not None)
        if not targets:
            return Rejected(
                "route-without-targets",
                f"No target of the route {route.id} can be reached with this configuration.",
                param="model",
            )
        left_out = len(refs) - len(targets)
        aside = f" ({left_out} of its targets are not configured)" if left_out else ""
        return _Found(targets, f"the route {route.id}{aside}", route.id, route.max_attempts)

    def _configured(self, ref: TargetRef) -> Target | None:
        """A target of the configuration. One that cannot be built is left out: ``penstock check`` names it."""
        name, params = (ref.model, ref.params) if isinstance(ref, TargetConfig) else (ref, {})
        found = self._find(name, "model", params)
        return None if isinstance(found, Rejected) else found.targets[0]


def no_chain(rejected: Rejected) -> PenstockError:
    """The error for a name without a chain: 404 for an unknown ``model``, 400 elsewhere, 503 for a dead route."""
    if not rejected.caller_fault:
        return NoTargetLeft(rejected.reason, reasons=(rejected.reason,))
    if rejected.code == "unknown-model" and rejected.param == "model":
        return NotFound(rejected.reason, code="model_not_found", param="model")
    return BadRequest(rejected.reason, param=rejected.param)


def _chain_of(founds: list[_Found], asked: tuple[str, ...]) -> Chain:
    first = founds[0]
    targets: list[Target] = []
    routes: list[str] = []
    groups: list[int] = []
    names: list[str] = []
    for place, found in enumerate(founds):
        count = len(found.targets)
        targets += found.targets
        routes += [found.route] * count
        groups += [place if found.endpoints else -1] * count
        names += [asked[place]] * count
    appended = f"; {len(founds) - 1} more named by the caller" if len(founds) > 1 else ""
    return Chain(
        targets=tuple(
            target if target.position == place else structs.replace(target, position=place)
            for place, target in enumerate(targets)
        ),
        route=first.route,
        max_attempts=first.max_attempts,
        reason=first.reason + appended,
        names=tuple(target.name for target in targets),
        routes=tuple(routes),
        groups=tuple(groups) if any(found.endpoints for found in founds) else (),
        asked=tuple(names),
    )


def _remember(memo: dict[Any, Chain | Rejected], key: object, answer: Chain | Rejected) -> None:
    if len(memo) >= _MAX_MEMO:
        del memo[next(iter(memo))]
    memo[key] = answer
